//! Settings of what is kept in key-value buckets of the servers: the lease of a pair, and what is told of venues and
//! instruments.

use serde::{Deserialize, Serialize};

use crate::config::units::Span;

/// Several instances that read the same symbols: one publishes, the others stand by and take over.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pair {
    /// Whether there are others. Every instance of the stream must say so.
    pub enabled: bool,
    /// The KV bucket that holds the lease.
    pub bucket: String,
    /// A holder that has not renewed for this long is displaced, 300ms..=1m.
    pub lease: Span,
    /// This instance's name in the lease; empty: host, process and chance.
    pub id: String,
}

/// What is told of venues and instruments, in two buckets. How long entries live, where they are kept and that each key
/// has one value are not settings: readers go by it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kv {
    /// Whether the buckets are written.
    pub enabled: bool,
    /// The bucket with the state of each venue: in memory, for five minutes.
    pub status_bucket: String,
    /// The bucket with the instruments that are read: on disk, for a day.
    pub instruments_bucket: String,
}

impl Default for Pair {
    fn default() -> Self {
        Self { enabled: false, bucket: "DATA_MANAGER".to_owned(), lease: Span::secs(1), id: String::new() }
    }
}

impl Default for Kv {
    fn default() -> Self {
        Self { enabled: true, status_bucket: "venue-status".to_owned(), instruments_bucket: "instruments".to_owned() }
    }
}
