//! How a venue's past trades are asked for over REST: what can be wanted, what a reply says. Pure.

use std::time::Duration;

use super::{DecodeError, Pace};

/// No venue is stayed away from for longer, whatever it asks for: somebody has to see that it still refuses.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// What is fixed about a venue's REST history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRule {
    /// Which end of a range its pages begin at.
    pub order: PageOrder,
    /// Weight that the venue allows one address in a window of time.
    pub budget: Pace,
    /// Weight of one page of trades.
    pub page_weight: u32,
    /// Weight of a look at the latest trade.
    pub look_weight: u32,
    /// The header in which a reply tells the weight used in the running window, lower case.
    pub used_header: Option<&'static str>,
}

/// Which end of a range of trades a page begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOrder {
    /// The oldest: the next page begins behind the newest row.
    Ascending,
    /// The newest: the next page ends before the oldest row.
    Descending,
}

/// What is wanted of the history of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The latest trade, as cheaply as the venue tells it.
    Latest,
    /// One page of the trades with ids from `first` to `last`, from the end that [`PageOrder`] names.
    Range {
        /// The lowest id that is missing.
        first: u64,
        /// The highest id that is missing.
        last: u64,
    },
    /// The first trade at or after this time, in nanoseconds since the Unix epoch.
    Since(u64),
}

/// A venue's reply to a request for trades.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What a page says apart from its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The venue's own cursor to older trades: ids below this one are on the next page.
    pub older: Option<u64>,
}

/// Why a reply holds no trades.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Too many requests, however the venue says so.
    #[error("too many requests: {0}")]
    Limited(String),
    /// The venue has another reason.
    #[error("the venue refuses: {0}")]
    Words(String),
    /// The body is not what the venue documents.
    #[error("an undocumented answer: {0}")]
    Broken(#[from] DecodeError),
}

impl Reply {
    /// A header's value; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How long the venue asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after").and_then(retry_after)
    }

    /// The body of a reply with status 2xx.
    ///
    /// # Errors
    /// [`Refused::Limited`] for 429 and 418, [`Refused::Words`] with the venue's own words for any other status.
    pub fn success(&self) -> Result<&str, Refused> {
        let words = || format!("{} {}", self.status, self.body.chars().take(200).collect::<String>()).trim().to_owned();
        match self.status {
            200..=299 => Ok(&self.body),
            429 | 418 => Err(Refused::Limited(words())),
            _ => Err(Refused::Words(words())),
        }
    }
}

/// The wait that a `Retry-After` header asks for, no longer than [`RETRY_AFTER_MAX`]; `None` where it does not tell it
/// in seconds.
#[must_use]
pub fn retry_after(header: &str) -> Option<Duration> {
    let text = header.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number has are a long wait, too.
    digits.then(|| text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_a_venue_asks_for_is_bounded() {
        let seconds = |text: &str| retry_after(text).map(|wait| wait.as_secs());
        assert_eq!((seconds(" 7 "), seconds("0")), (Some(7), Some(0)));
        let long = ["3601", "18446744073709551615", "18446744073709551616", "99999999999999999999999999"];
        assert!(long.iter().all(|text| seconds(text) == Some(3_600)));
        assert!(["", "-1", "+5", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT"].iter().all(|text| seconds(text).is_none()));
        let headers = vec![("retry-after".to_owned(), u64::MAX.to_string())];
        assert_eq!(Reply { headers, ..Reply::default() }.retry_after(), Some(RETRY_AFTER_MAX));
    }
}
