//! Settings of the KV buckets that tell of venues and instruments.

use serde::{Deserialize, Serialize};

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

impl Default for Kv {
    fn default() -> Self {
        Self { enabled: true, status_bucket: "venue-status".to_owned(), instruments_bucket: "instruments".to_owned() }
    }
}
