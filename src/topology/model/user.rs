//! Who may do what: accounts, users, and the limits of the server itself.
//!
//! A user's password is never here: only the name of the environment variable that the server takes it from.

use serde::{Deserialize, Serialize};

use crate::config::{Bytes, Span};

/// Limits of the server itself, as `acl` writes them. Zero: the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where JetStream keeps its files. The block that `acl` writes stands in place of the server's own `jetstream`
    /// block, so limits of the store need it.
    pub store_dir: String,
    /// Memory that JetStream may use for messages.
    pub max_memory_store: Bytes,
    /// Disk that JetStream may use for messages.
    pub max_file_store: Bytes,
    /// How often files are synced.
    pub sync_interval: Span,
    /// Files are synced before each acknowledgement.
    pub sync_always: bool,
    /// Longest message.
    pub max_payload: Bytes,
    /// Connections at a time.
    pub max_connections: u32,
    /// Subscriptions of one connection.
    pub max_subscriptions: u32,
    /// What may wait for a slow client before it is cut off.
    pub max_pending: Bytes,
}

/// An account: users of one cannot see what users of another do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// It is the system account: it sees the server's own events, and has no JetStream.
    pub system: bool,
    /// What its streams may take; zero: no bound but the server's.
    pub limits: Limits,
}

/// What an account's JetStream may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory.
    pub max_memory: Bytes,
    /// Disk.
    pub max_file: Bytes,
    /// Streams.
    pub max_streams: u32,
    /// Consumers.
    pub max_consumers: u32,
}

/// A user and its rights: nothing but what is written here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// For people.
    pub description: String,
    /// Its account; empty: the only one that is no system account.
    pub account: String,
    /// The environment variable that the server takes its password (or the bcrypt hash of it) from.
    pub password_env: String,
    /// In place of a password: its public NKey (`U...`).
    pub nkey: String,
    /// What it does, of which its rights follow: `publish STREAM`, `resume STREAM`, `consume STREAM/CONSUMER`,
    /// `read STREAM`, `kv-read BUCKET`, `kv-write BUCKET`, `monitor`, `admin`.
    pub work: Vec<String>,
    /// Subjects that it may publish on, beside what its work needs.
    pub publish: Vec<String>,
    /// Subjects that it may subscribe to, beside what its work needs.
    pub subscribe: Vec<String>,
    /// Subjects that it may not publish on, whatever else says so.
    pub deny_publish: Vec<String>,
    /// Subjects that it may not subscribe to, whatever else says so.
    pub deny_subscribe: Vec<String>,
    /// Whether it may answer requests.
    pub allow_responses: Option<Replies>,
    /// Prefix of its reply inboxes; empty: `_INBOX_<user>`. A prefix of its own keeps others from reading replies.
    pub inbox_prefix: String,
}

/// How a user may answer requests on subjects that it has no right to otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replies {
    /// Answers to one request, from 1.
    pub max: u32,
    /// For how long; zero: the server's two minutes.
    pub expires: Span,
}

impl Default for Replies {
    fn default() -> Self {
        Self { max: 1, expires: Span::default() }
    }
}

impl User {
    /// The prefix of its reply inboxes.
    #[must_use]
    pub fn inbox(&self, name: &str) -> String {
        if self.inbox_prefix.is_empty() { format!("_INBOX_{name}") } else { self.inbox_prefix.clone() }
    }
}
