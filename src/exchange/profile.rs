//! What is fixed about a venue, as data: endpoints, limits, heartbeat, identity of a trade.

use std::time::Duration;

use super::HistoryRule;

/// Longest frame that is taken, in bytes. Trade frames are below 100 KiB everywhere; the rest is a fault or an attack.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// What is fixed about a venue.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The exchange's token in subjects and configuration, such as `binance`.
    pub name: &'static str,
    /// The name that people use, such as `Binance spot`.
    pub title: &'static str,
    /// Default WebSocket base, `wss://host[:port]`.
    pub ws_url: &'static str,
    /// Default REST base, `https://host`.
    pub rest_url: &'static str,
    /// Symbols of which both spellings are shown in help and errors: canonical, then the venue's.
    pub example: (&'static str, &'static str),
    /// Most symbols that one connection carries.
    pub symbols_per_connection: usize,
    /// Messages that a client may send on a connection, pings and pongs included.
    pub messages: Pace,
    /// Connection attempts that the venue allows.
    pub connects: Pace,
    /// The subscribe must follow the connect within this.
    pub subscribe_within: Option<Duration>,
    /// Every subscribe is answered within this, else the connection is suspect.
    pub ack_within: Duration,
    /// The venue closes a connection at this age; it is replaced, with overlap, some time before.
    pub lifetime: Option<Duration>,
    /// Who shows life, and how.
    pub heartbeat: Heartbeat,
    /// Nothing at all received for this long means that the connection is dead, whatever TCP says.
    pub silence: Duration,
    /// What the trade ids of one symbol promise.
    pub ids: IdRule,
    /// What its REST history allows; `None`: it has none.
    pub history: Option<HistoryRule>,
}

/// At most `count` events in any window of length `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub count: u32,
    /// In what time.
    pub per: Duration,
}

/// Who shows life on a quiet connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The venue sends WebSocket pings at about this interval; the socket answers them by itself.
    ServerPing {
        /// Their interval.
        every: Duration,
    },
    /// The venue sends data messages that show life at about this interval.
    ServerMessage {
        /// Their interval.
        every: Duration,
    },
    /// We send this text at this interval, and the venue answers with [`super::Event::Pong`].
    ClientText {
        /// The text.
        text: &'static str,
        /// Our interval.
        every: Duration,
        /// The answer must come within this.
        within: Duration,
    },
}

/// What the trade ids of one symbol promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRule {
    /// Each trade's id is its predecessor's plus one: a hole proves a loss and its size.
    Contiguous,
    /// Ids grow, with holes: they prove a double, never a loss.
    Increasing,
    /// Ids are unique and no more: a double shows only within the ids that are remembered.
    Unique,
}
