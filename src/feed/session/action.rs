//! What a session says and is told: actions, notes, failures of dials, the rules from the settings.

use std::time::Duration;

use crate::config::settings;
use crate::market::GapReason;

/// The number of a connection: counts up over the life of a session.
pub type ConnId = u32;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection with this number.
    Dial(ConnId),
    /// Send a text on a connection.
    Send(ConnId, String),
    /// Send a WebSocket ping on a connection: whatever comes back shows life.
    Ping(ConnId),
    /// Close a connection, if it is open; stop dialling, if it is not.
    Close(ConnId),
    /// No connection is live any more; holes that show from now on have this reason.
    Lost(GapReason),
    /// Whether two connections are live now.
    Overlap(bool),
    /// Something that people and metrics want to know.
    Note(Note),
}

/// A transition, for logs, status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A connection is open.
    Connected(ConnId),
    /// All subscribes of a connection are answered.
    Subscribed(ConnId),
    /// A connection is gone.
    Lost {
        /// Its number.
        conn: ConnId,
        /// Why.
        why: String,
        /// The next attempt comes after this.
        retry_in: Duration,
        /// Whether it was ever open.
        opened: bool,
    },
    /// A successor is on its way.
    Rotating(String),
    /// The successor has taken over.
    Rotated,
    /// The venue refuses a request for several symbols and does not say which is at fault: it is split.
    Split {
        /// How many symbols it named.
        symbols: usize,
        /// The venue's own words.
        reason: String,
    },
    /// The venue accepts symbols that it has refused before.
    Accepted {
        /// The venue symbols.
        symbols: Vec<String>,
    },
    /// The venue refuses a symbol.
    Rejected {
        /// The venue symbols at fault.
        symbols: Vec<String>,
        /// The venue's own words.
        reason: String,
    },
}

/// Why a dial failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialFailure {
    /// For people.
    pub message: String,
    /// The HTTP status of the refusal, if it came that far.
    pub status: Option<u16>,
    /// What `Retry-After` said.
    pub retry_after: Option<Duration>,
}

/// The rules of one session that do not come from the venue.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// First and longest wait before a reconnect.
    pub backoff: (Duration, Duration),
    /// How long the old connection runs beside its successor, at most.
    pub overlap: Duration,
    /// No data message for this long means a stall; `None`: the venue's own rule on silence.
    pub stall: Option<Duration>,
    /// Whether silent symbols are looked up in the venue's history, so that silence alone proves nothing.
    pub looks: bool,
}

impl Rules {
    /// The rules that settings make.
    #[must_use]
    pub fn new(feed: &settings::Feed, stall: Option<Duration>, looks: bool) -> Self {
        let backoff = (feed.backoff_min.duration(), feed.backoff_max.duration());
        Self { backoff, overlap: feed.rotation_overlap.duration(), stall, looks }
    }
}
