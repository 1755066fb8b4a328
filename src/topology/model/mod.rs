//! What a topology file can declare: server, accounts, users, streams with their consumers, KV buckets.
//!
//! Every key has the server's own default, so that a file says only what matters. It checks nothing beyond types.

mod consumer;
mod stream;
mod user;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::consumer::{AckPolicy, Consumer, DeliverPolicy, Priority, PriorityPolicy, Push, Replay};
pub use self::stream::{
    Compression, ConsumerLimits, Discard, External, PersistMode, Placement, Republish, Retention, Source, Storage,
    Stream, SubjectMapping,
};
pub use self::user::{Account, Limits, Replies, Server, User};
use crate::config::{Bytes, Span};

/// All that one or several files declare.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topology {
    /// Limits of the server itself.
    pub server: Server,
    /// Accounts by name. Streams, buckets and consumers of a file live in the account of whoever applies it.
    pub accounts: BTreeMap<String, Account>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Streams by name.
    pub streams: BTreeMap<String, Stream>,
    /// KV buckets by name.
    pub buckets: BTreeMap<String, Bucket>,
}

/// A KV bucket. The server keeps it as the stream `KV_<name>` on `$KV.<name>.>`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bucket {
    /// For people.
    pub description: String,
    /// Where entries are kept.
    pub storage: Storage,
    /// An entry lives this long; zero: for ever.
    pub ttl: Span,
    /// Revisions kept of each key, 1..=64.
    pub history: u8,
    /// Copies in a cluster, 1..=5.
    pub replicas: u8,
    /// Bound of the whole bucket; zero: none.
    pub max_bytes: Bytes,
    /// Longest value; zero: no bound but the server's.
    pub max_value_size: Bytes,
    /// Whether values are compressed on disk.
    pub compression: Compression,
    /// Markers of deleted and expired keys live this long, and entries may have a ttl of their own; server 2.11.
    pub limit_marker_ttl: Span,
    /// Where it is placed in a cluster.
    pub placement: Option<Placement>,
    /// It is to be gone: `apply --allow-destructive` deletes it.
    pub absent: bool,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            description: String::new(),
            storage: Storage::File,
            ttl: Span::default(),
            history: 1,
            replicas: 1,
            max_bytes: Bytes::default(),
            max_value_size: Bytes::default(),
            compression: Compression::None,
            limit_marker_ttl: Span::default(),
            placement: None,
            absent: false,
        }
    }
}

impl Bucket {
    /// The stream that the server keeps a bucket in.
    #[must_use]
    pub fn stream_name(name: &str) -> String {
        format!("KV_{name}")
    }

    /// The stream that this bucket is, named `KV_<name>`.
    #[must_use]
    pub fn as_stream(&self, name: &str) -> Stream {
        Stream {
            description: self.description.clone(),
            subjects: vec![format!("$KV.{name}.>")],
            storage: self.storage,
            max_age: self.ttl,
            max_bytes: self.max_bytes,
            max_msgs_per_subject: u64::from(self.history),
            max_msg_size: self.max_value_size,
            discard: Discard::New,
            replicas: self.replicas,
            compression: self.compression,
            placement: self.placement.clone(),
            deny_delete: true,
            allow_rollup: true,
            allow_direct: true,
            allow_msg_ttl: !self.limit_marker_ttl.is_zero(),
            subject_delete_marker_ttl: self.limit_marker_ttl,
            absent: self.absent,
            ..Stream::default()
        }
    }
}
