//! The seam between the server and a venue: [`Twin`] is a venue's server side, [`Session`] one connection to it.
//!
//! Both are pure: they take `now`, text and requests, and give frames and answers. Sockets are the server's.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::config::SimError;
use super::faults::pending::{Pending, Refusal};
use super::faults::spoil::Keys;
use super::generator::usual_price;
use super::history::Book;
use crate::market::TradeMsg;

/// A symbol that a simulated venue lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Canonical.
    pub(super) symbol: String,
    /// As the venue spells it in its frames.
    pub(super) venue_symbol: String,
    /// `venue_symbol` in lower case, as stream names have it.
    pub(super) stream_symbol: String,
    /// The asset that is bought and sold.
    pub(super) base: String,
    /// The asset that it is priced in.
    pub(super) quote: String,
    /// The price around which generated trades move, in ticks.
    pub(super) price_ticks: i64,
    /// A tick is 10^-this.
    pub(super) price_decimals: u8,
    /// The smallest step of sizes is 10^-this.
    pub(super) size_decimals: u8,
}

impl Listing {
    /// A listing with a usual price; `size_decimals` where the venue has one step for all.
    pub(super) fn new(symbol: &str, venue_symbol: &str, base: &str, quote: &str, size_decimals: Option<u8>) -> Self {
        let (price_ticks, price_decimals, usual_decimals) = usual_price(base, quote);
        Self {
            symbol: symbol.to_owned(),
            venue_symbol: venue_symbol.to_owned(),
            stream_symbol: venue_symbol.to_lowercase(),
            base: base.to_owned(),
            quote: quote.to_owned(),
            price_ticks,
            price_decimals,
            size_decimals: size_decimals.unwrap_or(usual_decimals),
        }
    }
}

/// A trade as a venue's socket tells it: one fill, or several of one taker at one price, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its id is that of the last fill, its size is the sum.
    pub(super) trade: TradeMsg,
    /// How many fills, 1 or more.
    pub(super) fills: u32,
}

impl Row {
    /// A row of these fills, oldest first. `None` for none.
    pub(super) fn of(fills: &[TradeMsg]) -> Option<Self> {
        let mut trade = *fills.last()?;
        trade.size = fills.iter().fold(0, |sum: u64, fill| sum.saturating_add(fill.size));
        Some(Self { trade, fills: u32::try_from(fills.len()).unwrap_or(u32::MAX) })
    }
}

/// A variant of a venue's trade frame, below [`SHAPES`]: connections of one shape share the bytes.
pub(super) type Shape = u8;

/// How many shapes a venue can have.
pub(super) const SHAPES: usize = 4;

/// A venue's server side.
pub(super) trait Twin: Send {
    /// The exchange's token.
    fn name(&self) -> &'static str;

    /// Canonical symbols that it lists when none are configured.
    fn usual_symbols(&self) -> &'static [&'static str];

    /// Lists a canonical symbol.
    fn list(&self, symbol: &str) -> Result<Listing, SimError>;

    /// The step of trade times on the wire, in nanoseconds.
    fn time_step(&self) -> u64;

    /// Most fills that its socket tells as one row. 1: every fill is told by itself.
    fn fills_max(&self) -> u32 {
        1
    }

    /// Decides on a WebSocket upgrade.
    fn accept(&self, now: Instant, target: &Target<'_>) -> Result<Box<dyn Session>, Answer>;

    /// Answers a REST request.
    fn rest(&mut self, now: Instant, wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer;

    /// Writes the frame of a row.
    fn frame(&self, shape: Shape, listing: &Listing, row: &Row, out: &mut BytesMut);

    /// How its frames name the fields of a trade.
    fn keys(&self) -> Keys;

    /// Another ack in place of this one: `strange` names a symbol that nobody asked for, or answers a request that
    /// nobody made where acks name none; otherwise it acknowledges something else.
    fn false_ack(&self, ack: &str, strange: bool) -> String;

    /// Whether a REST request is for a page of trades.
    fn asks_for_trades(&self, target: &Target<'_>) -> bool;

    /// Reads a recorded frame: the venue's spelling of the symbol, and the trade. It shares nothing with the adapter
    /// under test, so that an error there cannot hide in the oracle.
    fn read(&self, frame: &str) -> Recorded;
}

/// What a recorded frame is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Recorded {
    /// A trade of this canonical symbol.
    Trade(String, Box<TradeMsg>),
    /// An answer to the recording's own requests: not replayed, the venue gives its own.
    Answer,
    /// Anything else: noise that every adapter must bear.
    Other,
}

/// One connection's state at the venue.
pub(super) trait Session {
    /// A text message came.
    fn on_text(&mut self, cx: &mut Context<'_>, text: &str, out: &mut Vec<Out>);

    /// A ping (already answered) or a pong came.
    fn on_control(&mut self, now: Instant, control: Control<'_>, out: &mut Vec<Out>);

    /// The deadline has come.
    fn on_tick(&mut self, cx: &mut Context<'_>, out: &mut Vec<Out>);

    /// When [`Self::on_tick`] is due.
    fn deadline(&self) -> Option<Instant>;

    /// The shape in which this connection wants trades of a symbol, if it is subscribed.
    fn wants(&self, listing: &Listing) -> Option<Shape>;

    /// The venue will go down after `grace`.
    fn shut_down(&mut self, now: Instant, wall_ns: u64, grace: Duration, out: &mut Vec<Out>);
}

/// What a session may look at.
pub(super) struct Context<'a> {
    /// Monotonic time.
    pub(super) now: Instant,
    /// Wall time, nanoseconds since the Unix epoch.
    pub(super) wall_ns: u64,
    /// When something was last written to this connection.
    pub(super) written: Option<Instant>,
    /// What has traded.
    pub(super) book: &'a Book,
    /// Refusals to come.
    pub(super) faults: &'a mut Pending,
}

/// A control frame from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control<'a> {
    Ping,
    Pong(&'a [u8]),
}

/// What a session sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Text(String),
    /// The answer to a subscribe that was taken.
    Ack(String),
    Ping(String),
    Close(u16, String),
}

/// Path and query of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// Most rows that a page of trades may have, whatever is asked for.
    pub(super) rows_max: usize,
}

impl<'a> Target<'a> {
    /// A parameter of the query, percent signs decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let value = self.pairs().find(|(key, _)| *key == name).map(|(_, value)| value)?;
        Some(percent_decoded(value))
    }

    /// Whether it names a symbol in the venue's spelling.
    pub(super) fn names(&self, venue_symbol: &str) -> bool {
        self.path.split('/').any(|part| part == venue_symbol) || self.pairs().any(|(_, value)| value == venue_symbol)
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.query.split('&').filter_map(|pair| pair.split_once('='))
    }
}

/// An HTTP answer with a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) const fn new(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(super) fn with(mut self, header: &'static str, value: impl ToString) -> Self {
        self.headers.push((header, value.to_string()));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let answer = Self::new(refusal.status, String::new());
        match refusal.retry_after {
            Some(seconds) => answer.with("retry-after", seconds),
            None => answer,
        }
    }
}

/// Counts events and tells when there are more than `count` in any span of `window`.
#[derive(Debug)]
pub(super) struct Meter {
    recent: std::collections::VecDeque<Instant>,
    count: usize,
    window: Duration,
}

impl Meter {
    pub(super) fn per_second(count: u32) -> Self {
        Self::within(count, Duration::from_secs(1))
    }

    pub(super) fn within(count: u32, window: Duration) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self { recent: std::collections::VecDeque::new(), count, window }
    }

    /// Takes one event; false when it is one too many.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|first| now.saturating_duration_since(*first) >= self.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.count {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

/// Writes `mantissa × 10^-scale` with at least `places` decimals.
pub(super) fn write_fixed(out: &mut BytesMut, negative: bool, mantissa: u64, scale: u8, places: u8) {
    let unit = 10_u64.saturating_pow(u32::from(scale));
    let missing = places.saturating_sub(scale);
    let width = usize::from(scale.max(places));
    let fraction = (mantissa % unit) * 10_u64.saturating_pow(u32::from(missing));
    let sign = if negative { "-" } else { "" };
    // Writing to a BytesMut cannot fail: it grows.
    let _ = match width {
        0 => write!(out, "{sign}{mantissa}"),
        _ => write!(out, "{sign}{}.{fraction:0width$}", mantissa / unit),
    };
}

/// As [`write_fixed`], as text.
pub(super) fn fixed(mantissa: u64, scale: u8, places: u8) -> String {
    let mut out = BytesMut::new();
    write_fixed(&mut out, false, mantissa, scale, places);
    String::from_utf8_lossy(&out).into_owned()
}

/// A price with at least `places` decimals.
pub(super) fn price_text(trade: &TradeMsg, places: u8) -> String {
    let mut out = BytesMut::new();
    write_price(&mut out, trade, places);
    String::from_utf8_lossy(&out).into_owned()
}

/// As [`price_text`], appended.
pub(super) fn write_price(out: &mut BytesMut, trade: &TradeMsg, places: u8) {
    write_fixed(out, trade.price < 0, trade.price.unsigned_abs(), trade.price_scale, places);
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn decimals_are_padded_and_never_cut() {
        assert_eq!(fixed(6_183_763, 2, 8), "61837.63000000");
        assert_eq!(fixed(92, 8, 8), "0.00000092");
        assert_eq!(fixed(5, 0, 0), "5");
        assert_eq!(fixed(5, 0, 2), "5.00");
        assert_eq!(fixed(1_234, 3, 2), "1.234");
    }

    #[test]
    fn queries_are_split_and_decoded() {
        let target = Target { path: "/", query: "symbols=%5B%22BTCUSDT%22%5D&limit=5&broken&odd=%zz%4", rows_max: 9 };
        assert_eq!(target.parameter("symbols").as_deref(), Some("[\"BTCUSDT\"]"));
        assert_eq!(target.parameter("limit").as_deref(), Some("5"));
        assert_eq!(target.parameter("odd").as_deref(), Some("%zz%4"));
        assert_eq!(target.parameter("broken"), None);
    }

    #[test]
    fn a_meter_counts_any_second_not_whole_ones() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::per_second(2);
        assert!(meter.take(at(0)));
        assert!(meter.take(at(900)));
        assert!(!meter.take(at(950)));
        assert!(meter.take(at(1_000)));
        assert!(!meter.take(at(1_100)));
    }
}
