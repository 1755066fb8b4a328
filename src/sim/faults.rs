//! What can go wrong at a venue, on demand, by script or by plan.
//!
//! It names faults only. What one leaves waiting is in [`pending`] and [`ills`], how a frame is broken in [`spoil`],
//! how a fault is spelled in [`text`]; the venue's connections do the rest.

pub(super) mod ills;
pub(super) mod keys;
pub(super) mod pending;
pub(super) mod spoil;
pub(super) mod text;

use std::time::Duration;

/// Which of a venue's connections a fault hits, of those that are open when it is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// The one that was opened first.
    Oldest,
    /// The one that was opened last.
    Newest,
}

/// Something that goes wrong. Symbols are canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are reset: no close frame, what was queued is gone.
    Drop {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
    },
    /// Connections are closed by a close frame, after what was queued.
    Close {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// The close code, such as 1001, 1008, 1012 or 4000.
        code: u16,
        /// The close reason, at most 123 bytes.
        reason: String,
    },
    /// The venue's own notice (`serverShutdown` where it has one), and the end after `grace`.
    Shutdown {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// From the notice to the close.
        grace: Duration,
    },
    /// Connections stay open and answer pings, and nothing else is sent on them any more.
    Stall {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
    },
    /// Stalled connections go on, without what they missed.
    Resume {
        /// The exchange's token.
        exchange: String,
    },
    /// The next trades of a symbol are sent twice.
    Duplicate {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many trades.
        count: u64,
    },
    /// The next trades of a symbol happen, and REST knows them, but they are never sent.
    Withhold {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many trades.
        count: u64,
        /// From whom: `All` from every connection, later ones too.
        which: Which,
    },
    /// The ids of a symbol jump by `count`: a hole that no call can fill. Not with a capture.
    SkipIds {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many ids are never used.
        count: u64,
    },
    /// The next subscribes that name a symbol are refused by the venue's error message.
    RefuseSymbol {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many subscribes; `u64::MAX` is for ever.
        times: u64,
    },
    /// The next WebSocket upgrades are answered by an HTTP status.
    RefuseUpgrade {
        /// The exchange's token.
        exchange: String,
        /// Such as 429, 418, 403 or 503.
        status: u16,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
        /// How many upgrades; `u64::MAX` is for ever.
        times: u64,
    },
    /// The next REST requests are answered by an HTTP status and an empty body.
    RefuseRest {
        /// The exchange's token.
        exchange: String,
        /// Such as 429, 418 or 500.
        status: u16,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
        /// How many requests; `u64::MAX` is for ever.
        times: u64,
    },
    /// This text is sent as a frame: garbage, an unknown event, whatever a test wants.
    Send {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// The frame.
        text: String,
    },
    /// Connections end without a close frame, after what was queued: FIN instead of RST.
    HangUp {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
    },
    /// Connections stay open, and nothing is read from them or written to them any more, pings included. What they
    /// would have been sent is lost. `Resume` ends it, and after two minutes ([`super::Rules::half_open_for`]) a reset.
    HalfOpen {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
    },
    /// The next trades are told by a broken frame, and by no other.
    Spoil {
        /// The exchange's token.
        exchange: String,
        /// The symbol; `None`: of any.
        symbol: Option<String>,
        /// To whom: `All` to every connection, later ones too.
        which: Which,
        /// How the frame is broken.
        damage: Damage,
        /// How many trades.
        count: u64,
    },
    /// The next trades are followed by a frame with the same id and another size. The first one is the true one.
    Conflict {
        /// The exchange's token.
        exchange: String,
        /// The symbol; `None`: of any.
        symbol: Option<String>,
        /// To whom.
        which: Which,
        /// How many trades.
        count: u64,
    },
    /// The next trades are told with a wrong venue time. REST and the oracle keep the true one.
    Retime {
        /// The exchange's token.
        exchange: String,
        /// The symbol; `None`: of any.
        symbol: Option<String>,
        /// To whom.
        which: Which,
        /// The time that is told.
        time: WireTime,
        /// How many trades.
        count: u64,
    },
    /// A trade is held back until `by` later ones of its symbol have been sent; 1 swaps neighbours.
    Delay {
        /// The exchange's token.
        exchange: String,
        /// The symbol; `None`: of any.
        symbol: Option<String>,
        /// From whom.
        which: Which,
        /// How many trades overtake it, 1 or more.
        by: u64,
        /// How many trades are held back, one after the other.
        count: u64,
    },
    /// The last trades are sent once more, oldest first, of every symbol that a connection is subscribed to.
    Replay {
        /// The exchange's token.
        exchange: String,
        /// The symbol; `None`: of each.
        symbol: Option<String>,
        /// To whom, of those that are connected.
        which: Which,
        /// How many trades of a symbol.
        count: u64,
    },
    /// The ids begin again at 1, and REST knows nothing from before. Not with a capture.
    RestartIds {
        /// The exchange's token.
        exchange: String,
        /// The symbol; `None`: of each.
        symbol: Option<String>,
    },
    /// One frame of this size is sent: JSON that is no trade.
    Huge {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// Its size in bytes, from 1 KiB to 256 MiB.
        bytes: u64,
    },
    /// Trades come `factor` times as fast. Not flat out.
    Burst {
        /// The exchange's token.
        exchange: String,
        /// How many times as fast, 1 or more.
        factor: u32,
        /// For how long.
        lasting: Duration,
    },
    /// The next acks of subscribes are not as they should be. The subscriptions hold all the same.
    Ack {
        /// The exchange's token.
        exchange: String,
        /// Acks of subscribes that name this symbol; `None`: all.
        symbol: Option<String>,
        /// What is wrong with the ack.
        fault: AckFault,
        /// How many acks; `u64::MAX` is for ever.
        times: u64,
    },
    /// The next REST answers are not as they should be.
    Rest {
        /// The exchange's token.
        exchange: String,
        /// Requests that name this symbol; `None`: all.
        symbol: Option<String>,
        /// What is wrong with the answer.
        fault: RestFault,
        /// How many answers; `u64::MAX` is for ever.
        times: u64,
    },
}

/// How a trade's frame is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its second half is missing.
    Truncated,
    /// The price is a list.
    WrongType,
    /// The price is `NaN`.
    NotANumber,
    /// The price is `1e400`.
    TooLarge,
    /// The size is below zero.
    Negative,
    /// The price is not there.
    MissingField,
    /// The price is a list in a list, a thousand deep.
    Nested,
    /// A text frame whose bytes are no UTF-8: the client's library ends the connection.
    BadUtf8,
    /// A binary frame.
    Binary,
}

/// The venue time that a trade is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireTime {
    /// Zero, or the start of 1970.
    Zero,
    /// One hour ahead.
    Future,
    /// Seconds, in place of the venue's unit.
    Seconds,
    /// Microseconds, in place of the venue's unit.
    Micros,
}

/// What is wrong with an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckFault {
    /// It never comes.
    Missing,
    /// It comes so much later, behind the first trades.
    Late(Duration),
    /// It acknowledges something else.
    Wrong,
    /// It names a symbol that nobody asked for; where acks name none, a request that nobody made.
    OtherSymbol,
}

/// What is wrong with a REST answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestFault {
    /// Any answer comes so much later.
    Slow(Duration),
    /// A page of trades is empty, whatever there is.
    Empty,
    /// A page of trades has so many rows at most.
    Short(u64),
    /// A page of trades breaks off in the middle of its JSON.
    Broken,
}

/// A fault at a fixed place of a venue's tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripted {
    /// It happens right after this many trades of the venue.
    pub after: u64,
    /// What happens.
    pub fault: Fault,
}

impl Fault {
    /// The venue that it hits.
    #[must_use]
    pub fn exchange(&self) -> &str {
        match self {
            Self::Drop { exchange, .. }
            | Self::Close { exchange, .. }
            | Self::Shutdown { exchange, .. }
            | Self::Stall { exchange, .. }
            | Self::Resume { exchange }
            | Self::Duplicate { exchange, .. }
            | Self::Withhold { exchange, .. }
            | Self::SkipIds { exchange, .. }
            | Self::RefuseSymbol { exchange, .. }
            | Self::RefuseUpgrade { exchange, .. }
            | Self::RefuseRest { exchange, .. }
            | Self::Send { exchange, .. }
            | Self::HangUp { exchange, .. }
            | Self::HalfOpen { exchange, .. }
            | Self::Spoil { exchange, .. }
            | Self::Conflict { exchange, .. }
            | Self::Retime { exchange, .. }
            | Self::Delay { exchange, .. }
            | Self::Replay { exchange, .. }
            | Self::RestartIds { exchange, .. }
            | Self::Huge { exchange, .. }
            | Self::Burst { exchange, .. }
            | Self::Ack { exchange, .. }
            | Self::Rest { exchange, .. } => exchange,
        }
    }

    /// The symbol that it hits, if it hits one.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Duplicate { symbol, .. }
            | Self::Withhold { symbol, .. }
            | Self::SkipIds { symbol, .. }
            | Self::RefuseSymbol { symbol, .. } => Some(symbol),
            Self::Spoil { symbol, .. }
            | Self::Conflict { symbol, .. }
            | Self::Retime { symbol, .. }
            | Self::Delay { symbol, .. }
            | Self::Replay { symbol, .. }
            | Self::RestartIds { symbol, .. }
            | Self::Ack { symbol, .. }
            | Self::Rest { symbol, .. } => symbol.as_deref(),
            _ => None,
        }
    }
}
