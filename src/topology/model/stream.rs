//! A stream: what it takes in, what it keeps, and for how long.
//!
//! The keys are the server's words where it has one; times and sizes have their units.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Consumer;
use crate::config::{Bytes, Span};

/// A stream.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// For people.
    pub description: String,
    /// What it takes in; none for a mirror, or for one that only has sources.
    pub subjects: Vec<String>,
    /// Where messages are kept.
    pub storage: Storage,
    /// When messages are removed.
    pub retention: Retention,
    /// Messages older than this are removed; zero: never.
    pub max_age: Span,
    /// Bound of the whole stream; zero: none.
    pub max_bytes: Bytes,
    /// Messages in the whole stream; 0: no bound.
    pub max_msgs: u64,
    /// Messages of one subject; 0: no bound.
    pub max_msgs_per_subject: u64,
    /// Bound of one subject in bytes. The server knows only a count: it becomes `max_msgs_per_subject` with
    /// `message_bytes`, and `plan` says so.
    pub max_bytes_per_subject: Bytes,
    /// Longest message; zero: no bound but the server's `max_payload`.
    pub max_msg_size: Bytes,
    /// Consumers at a time; 0: no bound.
    pub max_consumers: u32,
    /// What a full stream does.
    pub discard: Discard,
    /// With `discard = "new"`: a full subject refuses too.
    pub discard_new_per_subject: bool,
    /// Copies in a cluster, 1..=5.
    pub replicas: u8,
    /// How long message ids are remembered; zero: two minutes, or `max_age` where that is shorter.
    pub duplicate_window: Span,
    /// Whether messages are compressed on disk.
    pub compression: Compression,
    /// Streams that it copies from, beside its own subjects.
    pub sources: Vec<Source>,
    /// The stream that it is a copy of.
    pub mirror: Option<Source>,
    /// How subjects are changed on the way in.
    pub subject_transform: Option<SubjectMapping>,
    /// Where what is stored is published again.
    pub republish: Option<Republish>,
    /// Publishers get no acknowledgement.
    pub no_ack: bool,
    /// Every copy answers for single messages, without the leader.
    pub allow_direct: bool,
    /// As `allow_direct`, on behalf of the stream that it mirrors.
    pub mirror_direct: bool,
    /// Where it is placed in a cluster.
    pub placement: Option<Placement>,
    /// Nobody may delete single messages.
    pub deny_delete: bool,
    /// Nobody may purge.
    pub deny_purge: bool,
    /// A message may replace what is in front of it (`Nats-Rollup`).
    pub allow_rollup: bool,
    /// What its consumers may ask for.
    pub consumer_limits: Option<ConsumerLimits>,
    /// Messages may have a life of their own (`Nats-TTL`); server 2.11.
    pub allow_msg_ttl: bool,
    /// Markers in the place of what has expired live this long; server 2.11.
    pub subject_delete_marker_ttl: Span,
    /// Batches that are stored whole or not at all; server 2.12.
    pub allow_atomic: bool,
    /// Messages count (`Nats-Incr`); server 2.12.
    pub allow_msg_counter: bool,
    /// Messages may be sent later (`Nats-Schedule`); server 2.12.
    pub allow_msg_schedules: bool,
    /// Whether an acknowledgement waits for the store; server 2.12.
    pub persist_mode: PersistMode,
    /// Fast-ingest batches; server 2.14.
    pub allow_batched: bool,
    /// Text by key, for people and tools.
    pub metadata: BTreeMap<String, String>,
    /// Its consumers by name.
    pub consumers: BTreeMap<String, Consumer>,
    /// Messages a second that are expected, for the audit; 0: not known.
    pub expected_rate: f64,
    /// What a message takes in the store, with its subject and headers; for the audit and for `max_bytes_per_subject`.
    pub message_bytes: Bytes,
    /// It is to be gone: `apply --allow-destructive` deletes it.
    pub absent: bool,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In the server's memory: gone when it stops.
    Memory,
}

/// When messages are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// By age, size and count.
    #[default]
    Limits,
    /// When every consumer has acknowledged.
    Interest,
    /// When one consumer has acknowledged.
    WorkQueue,
}

/// What a full stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// It removes the oldest.
    #[default]
    Old,
    /// It refuses the new.
    New,
}

/// Whether messages are compressed on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As they come.
    #[default]
    None,
    /// With S2.
    S2,
}

/// Whether an acknowledgement waits for the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PersistMode {
    /// It does.
    #[default]
    Default,
    /// It does not: faster, and a crash of the server loses what it acknowledged.
    Async,
}

/// A stream to copy from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Only this subject, without a change.
    pub filter_subject: String,
    /// Only these subjects, changed.
    pub subject_transforms: Vec<SubjectMapping>,
    /// From this sequence on; 0: from the start.
    pub start_sequence: u64,
    /// From this time on, RFC 3339.
    pub start_time: String,
    /// Where it is, if not in this account and domain.
    pub external: Option<External>,
}

/// A stream of another account or domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct External {
    /// Prefix of its API, such as `$JS.hub.API`.
    pub api: String,
    /// Prefix that it delivers to.
    pub deliver: String,
}

/// From subject to subject, as in `src = "a.*.>"`, `dest = "b.{{wildcard(1)}}.>"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectMapping {
    /// What is taken.
    pub src: String,
    /// What becomes of it.
    pub dest: String,
}

/// What is stored is published again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Republish {
    /// What is taken.
    pub src: String,
    /// Where it goes.
    pub dest: String,
    /// Without its payload.
    #[serde(default)]
    pub headers_only: bool,
}

/// Where a stream is placed in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// The cluster's name.
    pub cluster: String,
    /// Tags that its servers have.
    pub tags: Vec<String>,
}

/// What a stream's consumers may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerLimits {
    /// Longest time without anybody before one is removed; zero: no bound.
    pub inactive_threshold: Span,
    /// Most messages that wait for an acknowledgement; 0: no bound.
    pub max_ack_pending: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            description: String::new(),
            subjects: Vec::new(),
            storage: Storage::File,
            retention: Retention::Limits,
            max_age: Span::default(),
            max_bytes: Bytes::default(),
            max_msgs: 0,
            max_msgs_per_subject: 0,
            max_bytes_per_subject: Bytes::default(),
            max_msg_size: Bytes::default(),
            max_consumers: 0,
            discard: Discard::Old,
            discard_new_per_subject: false,
            replicas: 1,
            duplicate_window: Span::default(),
            compression: Compression::None,
            sources: Vec::new(),
            mirror: None,
            subject_transform: None,
            republish: None,
            no_ack: false,
            allow_direct: false,
            mirror_direct: false,
            placement: None,
            deny_delete: false,
            deny_purge: false,
            allow_rollup: false,
            consumer_limits: None,
            allow_msg_ttl: false,
            subject_delete_marker_ttl: Span::default(),
            allow_atomic: false,
            allow_msg_counter: false,
            allow_msg_schedules: false,
            persist_mode: PersistMode::Default,
            allow_batched: false,
            metadata: BTreeMap::new(),
            consumers: BTreeMap::new(),
            expected_rate: 0.0,
            message_bytes: Bytes::default(),
            absent: false,
        }
    }
}

impl Stream {
    /// Messages of one subject that the server is told to keep: `max_msgs_per_subject`, or what `max_bytes_per_subject`
    /// is in messages of `message_bytes`. 0: no bound.
    #[must_use]
    pub fn messages_per_subject(&self) -> u64 {
        let bytes = self.max_bytes_per_subject.get();
        if bytes == 0 { self.max_msgs_per_subject } else { (bytes / self.message_bytes.get().max(1)).max(1) }
    }

    /// The streams that it copies from.
    pub fn origins(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().chain(&self.mirror)
    }
}
