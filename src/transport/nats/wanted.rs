//! What is to be read of the stream: which instruments, from where on, how fast. Pure.

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::market::{SubjectKind, subject};

/// What to read. Empty lists mean all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Exchange tokens.
    pub exchanges: Vec<String>,
    /// Canonical symbols.
    pub symbols: Vec<String>,
    /// Only trades, or only gaps; none: both.
    pub kind: Option<SubjectKind>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// What comes from now on.
    #[default]
    Now,
    /// The oldest that is stored.
    Start,
    /// What was stored at this time or later, nanoseconds since the Unix epoch.
    Time(u64),
    /// This stream sequence.
    Sequence(u64),
    /// The last record of each subject, then what comes from now on.
    Last,
}

/// How fast what is stored comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// As fast as it is read.
    #[default]
    Instant,
    /// At the rate at which it was stored.
    Original,
}

impl Replay {
    pub(super) const fn policy(self) -> ReplayPolicy {
        match self {
            Self::Instant => ReplayPolicy::Instant,
            Self::Original => ReplayPolicy::Original,
        }
    }
}

impl Filter {
    /// The subjects of what is asked for.
    pub(super) fn subjects(&self, prefix: &str) -> Vec<String> {
        let any = |names: &[String]| {
            if names.is_empty() {
                return vec!["*".to_owned()];
            }
            // A server refuses subjects that overlap: what is named twice is asked for once.
            let mut tokens: Vec<String> = Vec::new();
            for token in names.iter().map(|name| subject::token(name)) {
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            }
            tokens
        };
        let mut subjects = Vec::new();
        for exchange in any(&self.exchanges) {
            for symbol in any(&self.symbols) {
                let kinds = [SubjectKind::Trades, SubjectKind::Gaps].into_iter();
                let kinds = kinds.filter(|kind| self.kind.is_none_or(|only| only == *kind));
                subjects.extend(kinds.map(|kind| format!("{prefix}.{exchange}.{symbol}.{}", kind.as_str())));
            }
        }
        subjects
    }
}

impl Since {
    /// Reads what people write of a place: `now` (or `new`), `start` (or `all`), `last`, a time ago (`5m`), a time
    /// (`2026-01-31T08:00:00Z`) or a sequence (`#1000`). `now_ns` is in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// What is wrong with it, and what can stand there.
    pub fn parse(text: &str, now_ns: u64) -> Result<Self, String> {
        if let Some(sequence) = text.strip_prefix('#') {
            return sequence.parse().map(Self::Sequence).map_err(|_| format!("{text}: no sequence"));
        }
        match text {
            "now" | "new" => return Ok(Self::Now),
            "start" | "all" => return Ok(Self::Start),
            "last" => return Ok(Self::Last),
            _ => {}
        }
        if let Ok(ago) = humantime::parse_duration(text) {
            let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
            return Ok(Self::Time(now_ns.saturating_sub(ago)));
        }
        let time =
            OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|time| u64::try_from(time.unix_timestamp_nanos()).ok());
        time.map(Self::Time).ok_or_else(|| {
            format!("{text:?} is neither `now`, `start`, `last`, `5m`, `2026-01-31T08:00:00Z` nor `#1000`")
        })
    }

    /// Where a consumer begins; `from` is the sequence to go on from, once one is known.
    pub(super) fn policy(self, from: Option<u64>) -> DeliverPolicy {
        match (from, self) {
            (None, Self::Now) => DeliverPolicy::New,
            (None, Self::Start) => DeliverPolicy::All,
            (None, Self::Last) => DeliverPolicy::LastPerSubject,
            (Some(start_sequence), _) | (None, Self::Sequence(start_sequence)) => {
                DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) }
            }
            (None, Self::Time(ns)) => match OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                Err(_) => DeliverPolicy::All,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_twice_is_asked_for_once() {
        let filter = Filter {
            exchanges: vec!["okx".to_owned(), "okx".to_owned()],
            symbols: vec!["BTCUSD".to_owned(); 3],
            kind: Some(SubjectKind::Trades),
        };
        assert_eq!(filter.subjects("market"), ["market.okx.BTCUSD.trades"]);
    }
}
