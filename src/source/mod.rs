//! Reading it back: one interface over the rings of this host and the stream of a server, so that a program says in its
//! configuration where its trades come from.
//!
//! | source | reads | says |
//! |---|---|---|
//! | [`IpcSource`] | rings in shared memory | exactly how many records it lost, and when a writer goes and comes |
//! | [`NatsSource`] | the stream, by a durable consumer or without any | each record once, in the stream's order |
//! | [`HandoverSource`] | what is stored, then the rings | each trade once over the seam |
//!
//! Declared gaps stand in line among the trades in all of them.
//!
//! # Examples
//! ```no_run
//! use std::time::Duration;
//! use data_manager::source::{self, Event, TradeSource as _};
//!
//! let mut source = source::open_file("strategy.toml".as_ref())?;
//! loop {
//!     match source.next(Duration::from_millis(100))? {
//!         Some(Event::Trade(trade)) => println!("{} {} {}", trade.exchange, trade.symbol, trade.price()),
//!         Some(other) => eprintln!("{other:?}"),
//!         None => {} // Nothing within 100 ms.
//!     }
//! }
//! # Ok::<(), data_manager::source::SourceError>(())
//! ```

#[cfg(feature = "nats")]
mod commits;
mod config;
#[cfg(all(feature = "ipc", feature = "nats"))]
mod handover;
#[cfg(feature = "ipc")]
mod ipc;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
mod own;

use std::time::Duration;

pub use self::config::{Begin, DataSource, IpcConfig, NatsConfig, Waiting, open, open_file};
#[cfg(all(feature = "ipc", feature = "nats"))]
pub use self::handover::HandoverSource;
#[cfg(feature = "ipc")]
pub use self::ipc::IpcSource;
#[cfg(feature = "nats")]
pub use self::nats::NatsSource;
use crate::market::{Decimal, GapMsg, TradeMsg};
#[cfg(feature = "ipc")]
use crate::transport::ipc::{Gone, OpenError};
#[cfg(feature = "nats")]
use crate::transport::nats::consumer::TailError;

/// Where trades come from.
pub trait TradeSource {
    /// The next event; waits for it as long as this, [`Duration::ZERO`] not at all. `None`: nothing came.
    ///
    /// # Errors
    /// [`SourceError`]. The next call goes on behind what was wrong; whoever wants to end, ends.
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError>;

    /// Everything that was handed out is dealt with: a durable consumer need not bring it again. It does not wait for
    /// the server's answer. Sources without a memory do nothing.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be said.
    fn commit(&mut self) -> Result<(), SourceError>;

    /// Why nothing can come at present, though the source goes on trying: the connection to the server is lost, say.
    /// What a ring's writer does comes as an event.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// What a source hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A trade.
    Trade(Trade<'a>),
    /// Trades are missing here, as the publisher has declared.
    Gap(Gap<'a>),
    /// Records that this reader will not get.
    Lost(Lost<'a>),
    /// The writer of a ring shows no life, or has ended. Nothing is missing yet; what comes next is told.
    #[cfg(feature = "ipc")]
    WriterGone {
        /// The exchange's token.
        exchange: &'a str,
        /// How it went.
        reason: Gone,
    },
    /// Another writer has taken over a ring, which is read from its oldest record. What it could not repair it has
    /// declared.
    WriterChanged {
        /// The exchange's token.
        exchange: &'a str,
        /// When it began, ns since the Unix epoch.
        epoch: u64,
    },
}

/// A trade with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade<'a> {
    /// The record.
    pub msg: TradeMsg,
    /// The exchange's token.
    pub exchange: &'a str,
    /// The canonical symbol.
    pub symbol: &'a str,
    /// Where it stood.
    pub place: Place,
}

/// A declared gap with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The record.
    pub msg: GapMsg,
    /// The exchange's token.
    pub exchange: &'a str,
    /// The canonical symbol.
    pub symbol: &'a str,
    /// Where it stood.
    pub place: Place,
}

/// Records that a reader did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost<'a> {
    /// The writer of a ring has overtaken this reader.
    Lagged {
        /// The exchange's token.
        exchange: &'a str,
        /// How many, exactly.
        records: u64,
    },
    /// The stream has removed messages before they were read; whether any of them was asked for is not known.
    Removed {
        /// Exchange and symbol, where it was only messages of this instrument; none: all messages.
        instrument: Option<(&'a str, &'a str)>,
        /// The first sequence.
        first: u64,
        /// The last sequence.
        last: u64,
    },
}

/// Where a record stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a ring.
    Ring {
        /// When its writer began, ns since the Unix epoch.
        epoch: u64,
        /// The record's number since then.
        position: u64,
    },
    /// In the stream.
    Stream {
        /// The sequence of its message.
        sequence: u64,
        /// Whether it is the last record of its message: with `transport.nats.pack` above 1 there may be more, and
        /// `after` is for messages of which all are dealt with.
        whole: bool,
    },
}

/// Why a source hands out nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The configuration cannot be used.
    #[error("{message}")]
    Config {
        /// What is wrong where, and what would do.
        message: String,
    },
    /// A ring cannot be read.
    #[cfg(feature = "ipc")]
    #[error(transparent)]
    Ring(#[from] OpenError),
    /// A ring holds a record that this version does not know. It was passed over.
    #[error("record {position} of {exchange} is of kind {kind}, which this version does not know; update this reader")]
    Kind {
        /// The exchange's token.
        exchange: String,
        /// The record's number.
        position: u64,
        /// Its kind.
        kind: u8,
    },
    /// The stream cannot be read, or a message in it is none of ours; it was passed over.
    #[cfg(feature = "nats")]
    #[error("{}", in_words_of_the_reader(.0))]
    Stream(#[source] TailError),
    /// The system gives no runtime.
    #[error("no runtime: {0}")]
    Runtime(#[source] std::io::Error),
}

/// The keys of a reader's configuration stand in another table than the daemon's.
#[cfg(feature = "nats")]
fn in_words_of_the_reader(error: &TailError) -> String {
    error.to_string().replace("transport.nats", "data_source.nats")
}

impl Trade<'_> {
    /// The price, exact.
    #[must_use]
    pub const fn price(&self) -> Decimal {
        Decimal::from_price(self.msg.price, self.msg.price_scale)
    }

    /// The size in the venue's own unit, exact.
    #[must_use]
    pub const fn size(&self) -> Decimal {
        Decimal::from_size(self.msg.size, self.msg.size_scale)
    }
}
