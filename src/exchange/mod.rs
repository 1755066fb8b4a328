//! What is particular to a venue, and nothing else. A venue is one file here and one line in [`registry`].
//!
//! Everything is pure: no clock, no task, no socket, no allocation a trade. No venue's name appears outside this room.

pub mod binance;
pub mod coinbase;
pub mod history;
pub mod okx;
pub mod profile;
pub mod registry;
pub mod trades;
pub mod wire;

use std::fmt;

pub use history::{HistoryRule, Page, PageOrder, RETRY_AFTER_MAX, Refused, Reply, Want, retry_after};
pub use profile::{Heartbeat, IdRule, Pace, Profile};
pub use registry::{all, by_name};
pub use trades::{Row, Trades};

use crate::market::{DecimalError, Symbol, SymbolError};

/// A venue and product, as pure functions over its wire format.
///
/// # Adding a venue
/// One file that implements this trait, one line in [`registry`], one fixture folder under `tests/fixtures`.
pub trait Exchange: Send + Sync + fmt::Debug {
    /// What is fixed about the venue: name, endpoints, limits, heartbeat, identity of a trade.
    fn profile(&self) -> &Profile;

    /// The canonical symbol of a venue symbol.
    ///
    /// # Errors
    /// When the venue symbol cannot be one of this venue's.
    fn canonical(&self, venue_symbol: &str) -> Result<Symbol, SymbolError>;

    /// The venue's spelling of a canonical symbol. A symbol that is in the venue's own spelling already is taken too.
    ///
    /// # Errors
    /// [`ExchangeError::Symbol`] when the venue could not have such a symbol; the message says what would do.
    fn venue_symbol(&self, symbol: &str) -> Result<String, ExchangeError>;

    /// The URL to dial for these venue symbols, from the configured base (`wss://host[:port]`).
    fn connect_url(&self, base: &str, venue_symbols: &[&str]) -> String;

    /// The frames that subscribe `venue_symbols`, each within the venue's own limits, in the order in which they go
    /// out. `first_id` is the first request id to use where the venue takes one; each request counts it up by one.
    fn subscribe(&self, venue_symbols: &[&str], first_id: u64) -> Vec<Request>;

    /// Decodes one frame. Trades are pushed to `out` in the order in which they happened; the return value says what
    /// else the frame was. Frames of other channels are [`Event::Ignored`].
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not what the venue documents. Trades pushed before the error was found stay.
    fn decode(&self, frame: Frame<'_>, out: &mut Trades) -> Result<Event, DecodeError>;

    /// The REST requests that together list the instruments: path and query behind `rest_url`.
    fn instruments_paths(&self) -> Vec<String>;

    /// Reads the answer to one of [`Self::instruments_paths`].
    ///
    /// # Errors
    /// [`ExchangeError::Answer`] when the answer is not what the venue documents.
    fn parse_instruments(&self, body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError>;

    /// The REST request for past trades of an instrument: path and query behind `rest_url`; `None` where the venue
    /// cannot be asked for that.
    fn history_path(&self, venue_symbol: &str, want: Want) -> Option<String>;

    /// Reads the reply to [`Self::history_path`]: its trades are pushed to `out`, in whatever order they stand there.
    /// A look at the latest trade may push a row that is an aggregate of several.
    ///
    /// # Errors
    /// [`Refused`] when the venue says no, or says something undocumented.
    fn parse_history(&self, venue_symbol: &str, want: Want, reply: &Reply, out: &mut Trades) -> Result<Page, Refused>;
}

/// One WebSocket data message, without its framing.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// A text message; the socket has checked that it is UTF-8.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// A message to send, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The id that the venue's answer will carry, where the venue has ids.
    pub id: Option<u64>,
    /// The text to send.
    pub text: String,
    /// The venue symbols that it subscribes.
    pub symbols: Vec<String>,
}

/// What a frame was, apart from the trades in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Trades, now in the batch.
    Trades,
    /// The request with this id was accepted.
    AckedRequest(u64),
    /// These venue symbols are subscribed now; the list may repeat what was acked before.
    AckedSymbols(Vec<String>),
    /// A request was refused.
    Rejected {
        /// The id of the refused request, if the venue names it.
        id: Option<u64>,
        /// The venue symbol at fault, if the venue names it.
        symbol: Option<String>,
        /// The venue's own words.
        reason: String,
    },
    /// The venue tells the id of its latest trade of a symbol: a check for quiet symbols.
    LastTrade {
        /// The row's route, as in [`Row::route`].
        route: u32,
        /// The id of the latest trade.
        trade_id: u64,
        /// The venue's time of this statement, nanoseconds since the Unix epoch, 0 unknown.
        ts: u64,
    },
    /// An application-level ping that wants this text back.
    Ping {
        /// The text to send.
        reply: String,
    },
    /// The answer to our own application-level ping.
    Pong,
    /// The venue will close the connection soon: connect anew and overlap.
    Closing {
        /// The venue's own words.
        reason: String,
    },
    /// Something known that carries no trade.
    Ignored,
}

/// Why a frame could not be decoded. Never a reason to drop the connection by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not the JSON that the venue documents.
    #[error("not the documented JSON: {message}")]
    Json {
        /// What the parser said, with its position.
        message: String,
    },
    /// A binary frame where only text is documented, or the other way round.
    #[error("unexpected {what} frame")]
    FrameType {
        /// `text` or `binary`.
        what: &'static str,
    },
    /// A number that a record cannot hold exactly, or that is no number.
    #[error("{field} {text:?}: {source}")]
    Number {
        /// The field's name on the wire.
        field: &'static str,
        /// The text, cut to 64 bytes.
        text: String,
        /// What is wrong with it.
        source: DecimalError,
    },
    /// A time that cannot be.
    #[error("{field} {text:?} is no time of this venue")]
    Time {
        /// The field's name on the wire.
        field: &'static str,
        /// The text, cut to 64 bytes.
        text: String,
    },
    /// A value outside the documented set where it decides what the trade means (side, for one).
    #[error("{field} has the undocumented value {text:?}")]
    Value {
        /// The field's name on the wire.
        field: &'static str,
        /// The text, cut to 64 bytes.
        text: String,
    },
    /// A trade of a symbol that nobody subscribed.
    #[error("a trade of {symbol:?}, which was not subscribed")]
    UnknownSymbol {
        /// The venue symbol, cut to 64 bytes.
        symbol: String,
    },
    /// A frame longer than [`profile::FRAME_BYTES_MAX`].
    #[error("a frame of {bytes} bytes; at most {max} are taken", max = profile::FRAME_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl DecodeError {
    /// A short fixed name for metric labels: `json`, `frame_type`, `number`, `time`, `value`, `unknown_symbol`,
    /// `too_long`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Json { .. } => "json",
            Self::FrameType { .. } => "frame_type",
            Self::Number { .. } => "number",
            Self::Time { .. } => "time",
            Self::Value { .. } => "value",
            Self::UnknownSymbol { .. } => "unknown_symbol",
            Self::TooLong { .. } => "too_long",
        }
    }
}

/// What a venue's pure functions refuse apart from frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// A symbol that the venue could not have.
    #[error("{exchange} cannot have a symbol {symbol:?}: {hint}")]
    Symbol {
        /// The exchange's token.
        exchange: &'static str,
        /// What was asked for.
        symbol: String,
        /// What would do.
        hint: String,
    },
    /// An answer of the venue's REST API that is not as documented.
    #[error("{exchange} answered something undocumented: {message}")]
    Answer {
        /// The exchange's token.
        exchange: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

/// One instrument as the venue lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstrumentInfo {
    /// The venue's spelling.
    pub venue_symbol: String,
    /// The canonical symbol.
    pub symbol: Symbol,
    /// Smallest price step, as the venue writes it, trailing zeros dropped; `None` where the venue gives none.
    pub tick_size: Option<String>,
    /// Smallest size step, likewise.
    pub lot_size: Option<String>,
    /// Whether it trades now.
    pub trading: bool,
}
