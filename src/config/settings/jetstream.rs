//! The settings of the stream, or of each exchange's. What is done with them is the transport's.

use serde::{Deserialize, Serialize};

use crate::config::units::{Bytes, Span};

/// The stream that trades are stored in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JetStream {
    /// What to do about the stream at start.
    pub manage: Manage,
    /// Its name; with `stream_per_exchange` the first part of each name.
    pub stream_name: String,
    /// Whether each exchange's records go to a stream of their own, `MARKET_DATA_BINANCE`. All bounds are of each.
    pub stream_per_exchange: bool,
    /// The exchange whose stream these settings are about, as [`Self::of`] leaves them; empty: the stream of all. It is
    /// no setting.
    #[serde(skip)]
    pub only: String,
    /// First token of all subjects.
    pub subject_prefix: String,
    /// Where messages are kept.
    pub storage: Storage,
    /// When messages are removed.
    pub retention: Retention,
    /// Messages older than this are removed.
    pub max_age: Span,
    /// Bound of the whole stream.
    pub max_bytes: Bytes,
    /// Bound of one subject; the server knows only a message count, so it is converted, and said so.
    pub max_bytes_per_subject: Bytes,
    /// Copies in a cluster, 1..=5.
    pub replicas: usize,
    /// How long the server remembers message ids.
    pub duplicate_window: Span,
}

/// What to do about the stream at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Manage {
    /// Create it where it is missing; report where an existing one differs, and leave it alone.
    Create,
    /// Report where it differs; wait, visibly, while it is missing.
    Verify,
    /// Do not compare; wait, visibly, while it is missing.
    None,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On disk.
    File,
    /// In the server's memory.
    Memory,
}

/// When messages are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// By age, size and count.
    Limits,
    /// When every consumer has acknowledged.
    Interest,
    /// When one consumer has acknowledged.
    WorkQueue,
}

impl Default for JetStream {
    fn default() -> Self {
        Self {
            manage: Manage::Create,
            stream_name: "MARKET_DATA".to_owned(),
            stream_per_exchange: false,
            only: String::new(),
            subject_prefix: "market".to_owned(),
            storage: Storage::File,
            retention: Retention::Limits,
            max_age: Span::secs(3_600),
            max_bytes: Bytes::gib(10),
            max_bytes_per_subject: Bytes::mib(100),
            replicas: 1,
            duplicate_window: Span::secs(120),
        }
    }
}

impl JetStream {
    /// The name of the stream that holds an exchange's records.
    ///
    /// # Examples
    /// ```
    /// let mut stream = data_manager::config::settings::JetStream::default();
    /// assert_eq!(stream.stream_of("binance-usdm"), "MARKET_DATA");
    /// stream.stream_per_exchange = true;
    /// assert_eq!(stream.stream_of("binance-usdm"), "MARKET_DATA_BINANCE_USDM");
    /// ```
    #[must_use]
    pub fn stream_of(&self, exchange: &str) -> String {
        if self.stream_per_exchange { self.of(exchange).stream_name } else { self.stream_name.clone() }
    }

    /// These settings for the stream of this exchange alone, whether `stream_per_exchange` says so or not.
    #[must_use]
    pub fn of(&self, exchange: &str) -> Self {
        if !self.only.is_empty() {
            return self.clone();
        }
        // A token has no underscore, so no two of them become the same name.
        let token = exchange.trim().to_ascii_uppercase().replace('-', "_");
        let stream_name = format!("{}_{token}", self.stream_name);
        let only = exchange.trim().to_ascii_lowercase();
        Self { stream_name, stream_per_exchange: true, only, ..self.clone() }
    }

    /// The exchange whose stream these settings are about; `None`: the stream is of all.
    #[must_use]
    pub fn exchange(&self) -> Option<&str> {
        Some(self.only.as_str()).filter(|only| !only.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exchange_has_its_stream_and_no_other_setting_changes() {
        let all = JetStream { stream_per_exchange: true, ..JetStream::default() };
        let one = all.of("binance-usdm");
        assert_eq!((one.stream_name.as_str(), one.exchange()), ("MARKET_DATA_BINANCE_USDM", Some("binance-usdm")));
        assert_eq!(one.stream_of("binance-usdm"), one.stream_name, "it stays the same, asked twice");
        assert_eq!((one.max_bytes, one.max_age, one.replicas), (all.max_bytes, all.max_age, all.replicas));
        assert_eq!((all.stream_of("okx"), all.exchange()), ("MARKET_DATA_OKX".to_owned(), None));
        assert_eq!(JetStream::default().stream_of("okx"), "MARKET_DATA");
    }
}
