//! A consumer that the server remembers: what it brings, to whom, and when it brings it again.
//!
//! It is a pull consumer unless `push` says where it delivers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Bytes, Span};

/// A durable consumer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consumer {
    /// For people.
    pub description: String,
    /// What it brings; none: everything in the stream.
    pub filters: Vec<String>,
    /// Where it begins.
    pub deliver: DeliverPolicy,
    /// With `deliver = "by_start_sequence"`.
    pub start_sequence: u64,
    /// With `deliver = "by_start_time"`, RFC 3339.
    pub start_time: String,
    /// Which messages are to be acknowledged.
    pub ack: AckPolicy,
    /// A message that is not acknowledged for this long is brought again; zero: 30 s.
    pub ack_wait: Span,
    /// A message is brought so often at most; 0: no bound.
    pub max_deliver: u32,
    /// Waits before the second, third, ... time, in place of `ack_wait`.
    pub backoff: Vec<Span>,
    /// Messages that may wait for an acknowledgement; 0: the server's 1,000; -1: no bound.
    pub max_ack_pending: i64,
    /// How fast what is stored already is brought.
    pub replay: Replay,
    /// Without payloads.
    pub headers_only: bool,
    /// It is removed when nobody asked for so long; zero: never.
    pub inactive_threshold: Span,
    /// Copies of its place; 0: as many as the stream has.
    pub replicas: u8,
    /// Its place is kept in memory, whatever the stream's storage is.
    pub memory: bool,
    /// Requests that may wait; 0: the server's 512. Pull only.
    pub max_waiting: u32,
    /// Messages a request may ask for; 0: no bound. Pull only.
    pub max_request_batch: u32,
    /// How long a request may wait; zero: no bound. Pull only.
    pub max_request_expires: Span,
    /// Bytes a request may ask for; zero: no bound. Pull only.
    pub max_request_bytes: Bytes,
    /// Clients in groups, of which one gets what comes; server 2.11. Pull only.
    pub priority: Option<Priority>,
    /// So many of a hundred acknowledgements are told to who watches; 0: none.
    pub sample_percent: u8,
    /// It delivers by itself.
    pub push: Option<Push>,
    /// Text by key, for people and tools.
    pub metadata: BTreeMap<String, String>,
    /// It is to be gone: `apply --allow-destructive` deletes it.
    pub absent: bool,
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// With the oldest that is stored.
    #[default]
    All,
    /// With the last that is stored.
    Last,
    /// With what comes from now on.
    New,
    /// With the last of each subject.
    LastPerSubject,
    /// With a sequence.
    ByStartSequence,
    /// With a time.
    ByStartTime,
}

/// Which messages are to be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPolicy {
    /// Each.
    #[default]
    Explicit,
    /// Each, by the last.
    All,
    /// None.
    None,
}

/// How fast what is stored already is brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// At once.
    #[default]
    Instant,
    /// As it came.
    Original,
}

/// A push consumer's way of delivering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Push {
    /// Where it delivers.
    pub deliver_subject: String,
    /// The queue group, if members share the work.
    pub deliver_group: String,
    /// It waits for slow receivers.
    pub flow_control: bool,
    /// It shows life so often; zero: never.
    pub idle_heartbeat: Span,
    /// Bits a second; 0: no bound.
    pub rate_limit_bps: u64,
}

/// Clients in groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Priority {
    /// How clients of a group stand to each other.
    pub policy: PriorityPolicy,
    /// The groups.
    pub groups: Vec<String>,
    /// With `pinned_client`: a silent client loses its place after this long; zero: two minutes.
    pub timeout: Span,
}

/// How clients of a group stand to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityPolicy {
    /// A client gets what comes once enough waits.
    #[default]
    Overflow,
    /// One client gets everything, until it is silent.
    PinnedClient,
    /// By the priority that a client asks with; server 2.12.
    Prioritized,
}

impl Default for Consumer {
    fn default() -> Self {
        Self {
            description: String::new(),
            filters: Vec::new(),
            deliver: DeliverPolicy::All,
            start_sequence: 0,
            start_time: String::new(),
            ack: AckPolicy::Explicit,
            ack_wait: Span::default(),
            max_deliver: 0,
            backoff: Vec::new(),
            max_ack_pending: 0,
            replay: Replay::Instant,
            headers_only: false,
            inactive_threshold: Span::default(),
            replicas: 0,
            memory: false,
            max_waiting: 0,
            max_request_batch: 0,
            max_request_expires: Span::default(),
            max_request_bytes: Bytes::default(),
            priority: None,
            sample_percent: 0,
            push: None,
            metadata: BTreeMap::new(),
            absent: false,
        }
    }
}
