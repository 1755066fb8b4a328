//! The server side of OKX v5: the public socket with its `trades` channel, its errors, notice and idle rule.
//!
//! `trades` tells the fills of one taker at one price as one row, REST tells every fill. Its REST API is in [`rest`].
//! It knows no socket.

mod rest;

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytemuck::Zeroable as _;
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::{Rules, SimError};
use super::faults::spoil::Keys;
use super::history::Book;
use super::twin::{Answer, Context, Control, Listing, Meter, Out, Recorded, Row, Session, Shape, Target, Twin};
use crate::market::symbol::{Symbol, split_pair};
use crate::market::trade::KIND_TRADE_V1;
use crate::market::{Decimal, Flags, Side, TradeMsg};

/// The step of sizes: `lotSz` has 8 decimals.
const SIZE_DECIMALS: u8 = 8;
/// Most fills of a row.
const FILLS_MAX: u32 = 5;
/// Subscribe and unsubscribe requests that a connection may send in an hour.
const REQUESTS_PER_HOUR: u32 = 480;
const HOUR: Duration = Duration::from_secs(3_600);
/// Longest request id.
const ID_CHARS_MAX: usize = 32;

const TRADES: &str = "trades";

/// OKX spot.
#[derive(Debug)]
pub(super) struct Okx {
    rules: Rules,
    requests: Meter,
    /// Connections accepted: what their ids are made of.
    accepted: Cell<u64>,
}

impl Okx {
    pub(super) fn new(rules: Rules) -> Self {
        let requests = Meter::within(rules.rest_per_two_seconds, Duration::from_secs(2));
        Self { rules, requests, accepted: Cell::new(0) }
    }
}

impl Twin for Okx {
    fn name(&self) -> &'static str {
        "okx"
    }

    fn usual_symbols(&self) -> &'static [&'static str] {
        &["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    }

    fn list(&self, symbol: &str) -> Result<Listing, SimError> {
        match split_pair(symbol) {
            Some((base, quote)) if !symbol.contains('-') => {
                Ok(Listing::new(symbol, &format!("{base}-{quote}"), base, quote, Some(SIZE_DECIMALS)))
            }
            _ => Err(SimError::Symbol {
                exchange: "okx",
                symbol: symbol.to_owned(),
                hint: "base and a usual quote asset in upper case without a separator, such as BTCUSDT",
            }),
        }
    }

    fn time_step(&self) -> u64 {
        1_000_000
    }

    fn fills_max(&self) -> u32 {
        FILLS_MAX
    }

    fn accept(&self, now: Instant, target: &Target<'_>) -> Result<Box<dyn Session>, Answer> {
        if target.path != "/ws/v5/public" {
            return Err(Answer::new(404, String::new()));
        }
        self.accepted.set(self.accepted.get() + 1);
        let id = xxh3_64_with_seed(b"connId", self.accepted.get()) & 0xFFFF_FFFF;
        Ok(Box::new(OkxSession::new(self.rules, now, format!("{id:08x}"))))
    }

    fn rest(&mut self, now: Instant, wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
        if !self.requests.take(now) {
            return rest::error(429, "50011", "Too Many Requests");
        }
        rest::answer(wall_ns, target, book)
    }

    fn frame(&self, _shape: Shape, listing: &Listing, row: &Row, out: &mut BytesMut) {
        write_row(out, listing, row);
    }

    fn keys(&self) -> Keys {
        Keys { price: "px", size: "sz", time: "ts" }
    }

    fn false_ack(&self, ack: &str, strange: bool) -> String {
        let (before, instrument) = ack.split_once("\"instId\":\"").unwrap_or((ack, ""));
        match instrument.split_once('"') {
            Some((_, behind)) if strange => format!("{before}\"instId\":\"ZZZ-USDT\"{behind}"),
            _ => ack.replacen("\"trades\"", "\"tickers\"", 1),
        }
    }

    fn asks_for_trades(&self, target: &Target<'_>) -> bool {
        ["/api/v5/market/trades", "/api/v5/market/history-trades"].contains(&target.path)
    }

    fn read(&self, frame: &str) -> Recorded {
        match read_row(frame) {
            Some((symbol, trade)) => Recorded::Trade(symbol, Box::new(trade)),
            None if frame.contains("\"event\":") || frame == "pong" => Recorded::Answer,
            None => Recorded::Other,
        }
    }
}

fn write_row(out: &mut BytesMut, listing: &Listing, row: &Row) {
    let instrument = &listing.venue_symbol;
    let trade = &row.trade;
    // Writing to a BytesMut cannot fail: it grows.
    let _ = write!(out, r#"{{"arg":{{"channel":"{TRADES}","instId":"{instrument}"}},"data":[{{"instId":"#);
    let _ = write!(out, r#""{instrument}","tradeId":"{}","px":"{}""#, trade.trade_id, price(trade));
    let _ = write!(out, r#","sz":"{}","side":"{}""#, size(trade), side(trade));
    let _ = write!(out, r#","ts":"{}","count":"{}"}}]}}"#, trade.ts_event / 1_000_000, row.fills);
}

/// Unlike other venues it pads no decimals: `30236`, not `30236.0`.
fn price(trade: &TradeMsg) -> Decimal {
    let (magnitude, scale) = trimmed(trade.price.unsigned_abs(), trade.price_scale);
    Decimal::from_price(i64::try_from(magnitude).unwrap_or(i64::MAX) * trade.price.signum(), scale)
}

fn size(trade: &TradeMsg) -> Decimal {
    let (mantissa, scale) = trimmed(trade.size, trade.size_scale);
    Decimal::from_size(mantissa, scale)
}

/// Without trailing zeros.
const fn trimmed(mut mantissa: u64, mut scale: u8) -> (u64, u8) {
    while scale > 0 && mantissa.is_multiple_of(10) {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa, scale)
}

fn side(trade: &TradeMsg) -> &'static str {
    if trade.side() == Side::Buy { "buy" } else { "sell" }
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    arg: Arg<'a>,
    data: [Wire<'a>; 1],
}

#[derive(Deserialize)]
struct Arg<'a> {
    channel: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    inst_id: &'a str,
    trade_id: &'a str,
    px: &'a str,
    sz: &'a str,
    side: &'a str,
    ts: &'a str,
}

/// Frames of one row, as the venue sends them. How many fills a recorded row is of is not kept.
fn read_row(frame: &str) -> Option<(String, TradeMsg)> {
    let Push { arg, data: [row] } = serde_json::from_str(frame).ok()?;
    let side = match (arg.channel, row.side) {
        (TRADES | "trades-all", "buy") => Side::Buy,
        (TRADES | "trades-all", "sell") => Side::Sell,
        _ => return None,
    };
    let (base, quote) = row.inst_id.split_once('-')?;
    let (price, size) = (Decimal::parse(row.px).ok()?, Decimal::parse(row.sz).ok()?);
    let trade = TradeMsg {
        ts_event: row.ts.parse::<u64>().ok()?.checked_mul(1_000_000)?,
        trade_id: row.trade_id.parse().ok()?,
        price: price.price().ok()?,
        size: size.size().ok()?,
        price_scale: price.scale(),
        size_scale: size.scale(),
        flags: Flags::new(side).bits(),
        kind: KIND_TRADE_V1,
        ..TradeMsg::zeroed()
    };
    Some((Symbol::from_pair(base, quote).ok()?.to_string(), trade))
}

/// One connection.
struct OkxSession {
    rules: Rules,
    id: String,
    /// Instruments of the `trades` channel.
    trades: Vec<String>,
    requests: Meter,
    /// When the client last sent something.
    heard: Instant,
    /// When the idle rule is looked at next.
    look: Instant,
    end: Option<Instant>,
}

impl OkxSession {
    fn new(rules: Rules, now: Instant, id: String) -> Self {
        let requests = Meter::within(REQUESTS_PER_HOUR, HOUR);
        Self { rules, id, trades: Vec::new(), requests, heard: now, look: now + rules.idle_within, end: None }
    }

    fn error(&self, code: &str, message: &str, id: Option<&str>) -> Out {
        let (id, message) = (id_field(id), json!(message));
        Out::Text(format!(r#"{{{id}"event":"error","code":"{code}","msg":{message},"connId":"{}"}}"#, self.id))
    }

    fn request(&mut self, cx: &mut Context<'_>, text: &str, out: &mut Vec<Out>) {
        let malformed = |this: &Self| this.error("60012", &format!("Invalid request: {text}"), None);
        let Some((request, subscribes)) = Request::parse(text) else {
            out.push(malformed(self));
            return;
        };
        let id = request.id.as_deref();
        if id.is_some_and(|id| id.len() > ID_CHARS_MAX || !id.chars().all(|c| c.is_ascii_alphanumeric())) {
            out.push(self.error("60012", "Invalid request: id", None));
            return;
        }
        if !self.requests.take(cx.now) {
            out.push(self.error("60014", "Requests too frequent", id));
            return;
        }
        for arg in &request.args {
            let (channel, instrument) = (arg_text(arg, "channel"), arg_text(arg, "instId"));
            let known = channel == TRADES && cx.book.find(instrument).is_some();
            if !known || (subscribes && cx.faults.refuses(instrument)) {
                let message = format!("channel:{channel},instId:{instrument} doesn't exist");
                out.push(self.error("60018", &message, id));
                continue;
            }
            let event = if subscribes { "subscribe" } else { "unsubscribe" };
            let arg = format!(r#"{{"channel":"{TRADES}","instId":"{instrument}"}}"#);
            let id = id_field(id);
            out.push(Out::Ack(format!(r#"{{{id}"event":"{event}","arg":{arg},"connId":"{}"}}"#, self.id)));
            if !subscribes {
                self.trades.retain(|there| there != instrument);
            } else if !self.trades.iter().any(|there| there == instrument) {
                self.trades.push(instrument.to_owned());
                out.extend(latest(cx.book, instrument));
            }
        }
    }
}

impl Session for OkxSession {
    fn on_text(&mut self, cx: &mut Context<'_>, text: &str, out: &mut Vec<Out>) {
        self.heard = cx.now;
        if text == "ping" {
            out.push(Out::Text("pong".to_owned()));
            return;
        }
        self.request(cx, text, out);
    }

    fn on_control(&mut self, now: Instant, _control: Control<'_>, _out: &mut Vec<Out>) {
        self.heard = now;
    }

    fn on_tick(&mut self, cx: &mut Context<'_>, out: &mut Vec<Out>) {
        if self.end.is_some_and(|end| end <= cx.now) {
            self.end = None;
            out.push(Out::Close(1001, "service upgrade".to_owned()));
            return;
        }
        if self.look <= cx.now {
            let last = cx.written.map_or(self.heard, |written| written.max(self.heard));
            self.look = last + self.rules.idle_within;
            if self.look <= cx.now {
                self.look = cx.now + self.rules.idle_within;
                out.push(Out::Close(4004, "No data received in 30s.".to_owned()));
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [Some(self.look), self.end].into_iter().flatten().min()
    }

    fn wants(&self, listing: &Listing) -> Option<Shape> {
        self.trades.contains(&listing.venue_symbol).then_some(0)
    }

    fn shut_down(&mut self, now: Instant, _wall_ns: u64, grace: Duration, out: &mut Vec<Out>) {
        self.end = Some(now + grace);
        let message = "The connection will soon be closed for a service upgrade. Please reconnect.";
        out.push(Out::Text(format!(r#"{{"event":"notice","code":"64008","msg":"{message}","connId":"{}"}}"#, self.id)));
    }
}

/// A request to subscribe or to unsubscribe.
struct Request {
    id: Option<String>,
    args: Vec<Value>,
}

impl Request {
    /// The request, and whether it is a subscribe. `None` where it is malformed.
    fn parse(text: &str) -> Option<(Self, bool)> {
        let request: Value = serde_json::from_str(text).ok()?;
        let subscribes = match request.get("op")?.as_str()? {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return None,
        };
        let args = request.get("args")?.as_array().filter(|args| !args.is_empty())?.clone();
        if !args.iter().all(|arg| arg.get("channel").is_some_and(Value::is_string)) {
            return None;
        }
        let id = request.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        Some((Self { id, args }, subscribes))
    }
}

fn arg_text<'a>(arg: &'a Value, name: &str) -> &'a str {
    arg.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The request's id, as answers begin with it.
fn id_field(id: Option<&str>) -> String {
    id.map_or_else(String::new, |id| format!(r#""id":"{id}","#))
}

/// The latest row before a client joined: the venue pushes it again.
fn latest(book: &Book, instrument: &str) -> Option<Out> {
    let (index, listing) = book.find(instrument)?;
    let mut out = BytesMut::new();
    write_row(&mut out, listing, &book.latest_row(index)?);
    Some(Out::Text(String::from_utf8_lossy(&out).into_owned()))
}
