//! What the publisher says of itself: plain values, read by the daemon a few times a second.

use super::backlog::BacklogStats;
use super::stream_manager::StreamReport;
use super::window::{Mode, Stats};

/// Where the publisher is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatsState {
    /// No connection, or the stream cannot be used.
    #[default]
    Connecting,
    /// It knows what is stored, and sends.
    Publishing,
    /// In doubt: it reads what is stored.
    Reconciling,
    /// Another instance publishes; it follows.
    Standby,
    /// It publishes what waits, and ends.
    Draining,
    /// Ended.
    Stopped,
}

impl NatsState {
    /// The name that status and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Publishing => "publishing",
            Self::Reconciling => "reconciling",
            Self::Standby => "standing by",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// What the publisher says of itself.
#[derive(Clone, Debug, Default)]
pub struct NatsStatus {
    /// Where it is.
    pub state: NatsState,
    /// The name of the stream that it publishes to.
    pub stream_name: String,
    /// How messages are sent, once known.
    pub mode: Option<Mode>,
    /// The server that it is connected to, with its version; empty: none.
    pub server: String,
    /// Why it is not publishing, or was not last time; empty: it always was.
    pub last_error: String,
    /// The instance that publishes instead, as its lease says; empty: this one does, or nobody knows.
    pub leader: String,
    /// When something was acknowledged last, nanoseconds since the Unix epoch; 0: never.
    pub last_ack_ns: u64,
    /// Reconciles that succeeded, the first one apart.
    pub rewinds: u64,
    /// The stream, as it was found last.
    pub stream: Option<StreamReport>,
    /// Counts of the window.
    pub window: Stats,
    /// Counts of what waits on disk, where anything may.
    pub backlog: Option<BacklogStats>,
}

impl NatsStatus {
    /// Whether another instance is known to publish. Who stands by and does not get on may have lost the broker
    /// himself, and a lease that nobody can have is nobody's.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.state == NatsState::Standby && self.last_error.is_empty() && !self.leader.is_empty()
    }
}

impl Mode {
    /// The name that logs and status use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FastIngest => "fast-ingest batches",
            Self::Chained => "chained sequence",
        }
    }

    /// What the mode guarantees, for the log.
    #[must_use]
    pub const fn guarantee(self) -> &'static str {
        match self {
            Self::FastIngest => "the server refuses what comes after a hole; other publishers may write beside us",
            Self::Chained => {
                "the server refuses what comes after a hole, as long as nobody else writes to the stream; a server of \
                 2.14 or later and a stream with fast ingest would lift that condition"
            }
        }
    }
}

/// What a drain came to. Records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Acknowledged in all.
    pub acked: u64,
    /// Sent or waiting, and never acknowledged.
    pub unacked: u64,
    /// Dropped in all; each was inside a declared gap.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_knows_whom_it_follows() {
        let of = |state, last_error: &str, leader: &str| {
            let (last_error, leader) = (last_error.to_owned(), leader.to_owned());
            NatsStatus { state, last_error, leader, ..NatsStatus::default() }.follows()
        };
        assert!(of(NatsState::Standby, "", "other"));
        assert!(!of(NatsState::Standby, "", ""), "both of a pair stand by where no lease can be had");
        assert!(!of(NatsState::Standby, "no connection", "other"));
        assert!(!of(NatsState::Connecting, "", "other"));
    }
}
