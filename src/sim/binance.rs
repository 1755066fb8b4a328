//! The server side of Binance spot: streams, requests, limits and endings as the venue documents them.
//!
//! Its REST API is in [`rest`]. It knows no socket.

mod rest;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytemuck::Zeroable as _;
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{Rules, SimError};
use super::faults::spoil::Keys;
use super::history::Book;
use super::twin::{
    Answer, Context, Control, Listing, Meter, Out, Recorded, Row, Session, Shape, Target, Twin, write_fixed,
    write_price,
};
use crate::market::symbol::split_pair;
use crate::market::trade::KIND_TRADE_V1;
use crate::market::{Decimal, Flags, Side, TradeMsg};

/// Bit of a shape: wrapped as `{"stream":..,"data":..}`.
const COMBINED: Shape = 1;
/// Bit of a shape: times in microseconds.
const MICROSECONDS: Shape = 2;

/// Most streams of a connection.
const STREAMS_MAX: usize = 1_024;
/// Longest text of a request id.
const ID_CHARS_MAX: usize = 36;
/// Decimals to which prices and sizes are padded.
const PLACES: u8 = 8;
const METHODS: &str = "SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY";

/// Binance spot.
#[derive(Debug)]
pub(super) struct Binance {
    rules: Rules,
    weight: rest::Weight,
}

impl Binance {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, weight: rest::Weight::new(rules.rest_weight_per_minute) }
    }
}

impl Twin for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn usual_symbols(&self) -> &'static [&'static str] {
        &["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    }

    fn list(&self, symbol: &str) -> Result<Listing, SimError> {
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || !c.is_ascii();
        if symbol.is_empty() || !symbol.chars().all(plain) {
            let hint = "base and quote asset in upper case without a separator, such as BTCUSDT";
            return Err(SimError::Symbol { exchange: "binance", symbol: symbol.to_owned(), hint });
        }
        let (base, quote) = split_pair(symbol).unwrap_or((symbol, ""));
        Ok(Listing::new(symbol, symbol, base, quote, None))
    }

    fn time_step(&self) -> u64 {
        1_000_000
    }

    fn accept(&self, now: Instant, target: &Target<'_>) -> Result<Box<dyn Session>, Answer> {
        let not_found = || Answer::new(404, String::new());
        let combined = target.path == "/stream";
        let streams: Vec<String> = match target.path.strip_prefix("/ws") {
            Some("" | "/") => Vec::new(),
            Some(names) => split_streams(names.strip_prefix('/').ok_or_else(not_found)?),
            None if combined => split_streams(&target.parameter("streams").unwrap_or_default()),
            None => return Err(not_found()),
        };
        if streams.len() > STREAMS_MAX {
            return Err(Answer::new(400, String::new()));
        }
        let micros = target.parameter("timeUnit").is_some_and(|unit| unit.eq_ignore_ascii_case("MICROSECOND"));
        Ok(Box::new(BinanceSession::new(self.rules, now, streams, combined, micros)))
    }

    fn rest(&mut self, now: Instant, wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
        rest::answer(&mut self.weight, now, wall_ns, target, book)
    }

    fn frame(&self, shape: Shape, listing: &Listing, row: &Row, out: &mut BytesMut) {
        let trade = &row.trade;
        let per_unit = if shape & MICROSECONDS == 0 { 1_000_000 } else { 1_000 };
        let traded = trade.ts_event / per_unit;
        // The event leaves the venue a moment after the trade: 0 to 2 ms, fixed by the id.
        let sent = (trade.ts_event + trade.trade_id % 3 * 1_000_000) / per_unit;
        let symbol = &listing.venue_symbol;
        // Writing to a BytesMut cannot fail: it grows.
        if shape & COMBINED != 0 {
            let _ = write!(out, r#"{{"stream":"{}@trade","data":"#, listing.stream_symbol);
        }
        let _ = write!(out, r#"{{"e":"trade","E":{sent},"s":"{symbol}","t":{},"p":""#, trade.trade_id);
        write_price(out, trade, PLACES);
        let _ = out.write_str(r#"","q":""#);
        write_fixed(out, false, trade.size, trade.size_scale, PLACES);
        let _ = write!(out, r#"","T":{traded},"m":{},"M":true}}"#, trade.side() == Side::Sell);
        if shape & COMBINED != 0 {
            let _ = out.write_str("}");
        }
    }

    fn keys(&self) -> Keys {
        Keys { price: "p", size: "q", time: "T" }
    }

    fn false_ack(&self, ack: &str, strange: bool) -> String {
        if strange { ack.replacen("\"id\":", "\"id\":99", 1) } else { ack.replacen("null", "[\"foo@trade\"]", 1) }
    }

    fn asks_for_trades(&self, target: &Target<'_>) -> bool {
        ["/api/v3/trades", "/api/v3/historicalTrades", "/api/v3/aggTrades"].contains(&target.path)
    }

    fn read(&self, frame: &str) -> Recorded {
        match read_trade(frame) {
            Some((symbol, trade)) => Recorded::Trade(symbol, Box::new(trade)),
            // Only answers to requests have these at the top.
            None if frame.contains("\"result\":") || frame.starts_with("{\"code\":") => Recorded::Answer,
            None => Recorded::Other,
        }
    }
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: Wire<'a>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    e: &'a str,
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    traded: u64,
    m: bool,
}

fn read_trade(frame: &str) -> Option<(String, TradeMsg)> {
    let wire = match serde_json::from_str::<Wrapped<'_>>(frame) {
        Ok(wrapped) => wrapped.data,
        Err(_) => serde_json::from_str(frame).ok()?,
    };
    if wire.e != "trade" {
        return None;
    }
    let (price, size) = (Decimal::parse(wire.p).ok()?, Decimal::parse(wire.q).ok()?);
    let trade = TradeMsg {
        ts_event: wire.traded.checked_mul(1_000_000)?,
        trade_id: wire.t,
        price: price.price().ok()?,
        size: size.size().ok()?,
        price_scale: price.scale(),
        size_scale: size.scale(),
        flags: Flags::new(if wire.m { Side::Sell } else { Side::Buy }).bits(),
        kind: KIND_TRADE_V1,
        ..TradeMsg::zeroed()
    };
    Some((wire.s.to_owned(), trade))
}

fn split_streams(text: &str) -> Vec<String> {
    text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// One connection.
struct BinanceSession {
    rules: Rules,
    streams: Vec<String>,
    combined: bool,
    micros: bool,
    inbound: Meter,
    next_ping: Instant,
    /// The ping that waits for its pong, and until when.
    pinged: Option<(String, Instant)>,
    /// When `serverShutdown` is sent, and when the connection ends.
    notice: Option<Instant>,
    end: Option<Instant>,
}

impl BinanceSession {
    fn new(rules: Rules, now: Instant, streams: Vec<String>, combined: bool, micros: bool) -> Self {
        let end = rules.lifetime.map(|lifetime| now + lifetime);
        let notice = rules.lifetime.map(|lifetime| now + lifetime.saturating_sub(rules.shutdown_notice));
        let inbound = Meter::per_second(rules.messages_per_second.unwrap_or(5));
        let next_ping = now + rules.ping_every;
        Self { rules, streams, combined, micros, inbound, next_ping, pinged: None, notice, end }
    }

    fn count_inbound(&mut self, now: Instant, out: &mut Vec<Out>) -> bool {
        let within = self.inbound.take(now);
        if !within {
            out.push(Out::Close(1008, "Too many requests".to_owned()));
        }
        within
    }

    fn shutdown_notice(&self, wall_ns: u64) -> Out {
        let unit = if self.micros { 1_000 } else { 1_000_000 };
        let event = format!(r#"{{"e":"serverShutdown","E":{}}}"#, wall_ns / unit);
        Out::Text(if self.combined { format!(r#"{{"stream":"!serverShutdown","data":{event}}}"#) } else { event })
    }

    /// Answers a request, or says what is wrong with it.
    fn request(&mut self, cx: &mut Context<'_>, request: &Value) -> Result<Value, String> {
        let method = request.get("method").and_then(Value::as_str).ok_or("missing field `method`")?;
        match method {
            "SUBSCRIBE" => {
                let names = stream_names(request)?;
                self.subscribe(cx, names)?;
                Ok(Value::Null)
            }
            "UNSUBSCRIBE" => {
                let names = stream_names(request)?;
                self.streams.retain(|stream| !names.contains(stream));
                Ok(Value::Null)
            }
            "LIST_SUBSCRIPTIONS" => Ok(json!(self.streams)),
            "SET_PROPERTY" => match property(request)? {
                Some(value) => {
                    self.combined = value;
                    Ok(Value::Null)
                }
                None => Err("value must be a boolean".to_owned()),
            },
            "GET_PROPERTY" => {
                property(request)?;
                Ok(json!(self.combined))
            }
            other => Err(format!("unknown variant `{other}`, expected one of {METHODS}")),
        }
    }

    fn subscribe(&mut self, cx: &mut Context<'_>, names: Vec<String>) -> Result<(), String> {
        let refused = names.iter().find(|name| {
            let symbol = name.split('@').next().unwrap_or_default().to_uppercase();
            cx.faults.refuses(&symbol)
        });
        if let Some(name) = refused {
            return Err(format!("stream {name} is not available"));
        }
        let mut after = self.streams.clone();
        for name in names {
            if !after.contains(&name) {
                after.push(name);
            }
        }
        if after.len() > STREAMS_MAX {
            return Err(format!("too many streams, at most {STREAMS_MAX} a connection"));
        }
        self.streams = after;
        Ok(())
    }
}

impl Session for BinanceSession {
    fn on_text(&mut self, cx: &mut Context<'_>, text: &str, out: &mut Vec<Out>) {
        if !self.count_inbound(cx.now, out) {
            return;
        }
        let request = match serde_json::from_str::<Value>(text) {
            Ok(request) => request,
            Err(error) => {
                out.push(Out::Text(json!({"code": 3, "msg": format!("Invalid JSON: {error}")}).to_string()));
                return;
            }
        };
        out.push(match request_id(&request) {
            Err(problem) => Out::Text(json!({"code": 2, "msg": format!("Invalid request: {problem}")}).to_string()),
            // Written by hand for the venue's order of fields.
            Ok(id) => match self.request(cx, &request) {
                Ok(Value::Null) => Out::Ack(format!(r#"{{"result":null,"id":{id}}}"#)),
                Ok(result) => Out::Text(format!(r#"{{"result":{result},"id":{id}}}"#)),
                Err(problem) => {
                    let message = json!(format!("Invalid request: {problem}"));
                    Out::Text(format!(r#"{{"code":2,"msg":{message},"id":{id}}}"#))
                }
            },
        });
    }

    fn on_control(&mut self, now: Instant, control: Control<'_>, out: &mut Vec<Out>) {
        if !self.count_inbound(now, out) {
            return;
        }
        // An unsolicited pong, or one with another payload, shows no life.
        if let (Control::Pong(payload), Some((expected, _))) = (control, &self.pinged)
            && payload == expected.as_bytes()
        {
            self.pinged = None;
        }
    }

    fn on_tick(&mut self, cx: &mut Context<'_>, out: &mut Vec<Out>) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= cx.now);
        if due(self.notice) {
            self.notice = None;
            out.push(self.shutdown_notice(cx.wall_ns));
        }
        if due(self.end) {
            self.end = None;
            out.push(Out::Close(1001, "connection lifetime reached".to_owned()));
            return;
        }
        if due(self.pinged.as_ref().map(|(_, until)| *until)) {
            self.pinged = None;
            out.push(Out::Close(1008, "pong timeout".to_owned()));
            return;
        }
        if self.next_ping <= cx.now {
            self.next_ping = cx.now + self.rules.ping_every;
            let payload = (cx.wall_ns / 1_000_000).to_string();
            // The clock of an unanswered ping goes on, though a later ping's payload is what counts now.
            let until = self.pinged.take().map_or(cx.now + self.rules.pong_within, |(_, until)| until);
            self.pinged = Some((payload.clone(), until));
            out.push(Out::Ping(payload));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let pong = self.pinged.as_ref().map(|(_, until)| *until);
        [Some(self.next_ping), pong, self.notice, self.end].into_iter().flatten().min()
    }

    fn wants(&self, listing: &Listing) -> Option<Shape> {
        let wanted = self.streams.iter().any(|stream| stream.strip_suffix("@trade") == Some(&listing.stream_symbol));
        let combined = if self.combined { COMBINED } else { 0 };
        let micros = if self.micros { MICROSECONDS } else { 0 };
        wanted.then_some(combined | micros)
    }

    fn shut_down(&mut self, now: Instant, wall_ns: u64, grace: Duration, out: &mut Vec<Out>) {
        self.notice = None;
        self.end = Some(now + grace);
        out.push(self.shutdown_notice(wall_ns));
    }
}

/// The request's id as it is to be echoed: a 64-bit integer, a short text, or null.
fn request_id(request: &Value) -> Result<Value, &'static str> {
    match request.get("id") {
        None => Ok(Value::Null),
        Some(id @ Value::Null) => Ok(id.clone()),
        Some(id @ Value::Number(number)) if number.is_i64() => Ok(id.clone()),
        Some(id @ Value::String(text)) if text.chars().count() <= ID_CHARS_MAX => Ok(id.clone()),
        Some(_) => Err("request ID must be a 64-bit integer, a string of at most 36 characters, or null"),
    }
}

fn stream_names(request: &Value) -> Result<Vec<String>, String> {
    let Some(params) = request.get("params").and_then(Value::as_array) else {
        return Err("missing field `params`".to_owned());
    };
    let name =
        |value: &Value| value.as_str().filter(|name| name.contains('@') || name.starts_with('!')).map(str::to_owned);
    params.iter().map(|value| name(value).ok_or_else(|| format!("{value} is not a stream name"))).collect()
}

/// The value of `combined` in the request, if it has one.
fn property(request: &Value) -> Result<Option<bool>, String> {
    let params = request.get("params").and_then(Value::as_array).ok_or("missing field `params`")?;
    match params.first().and_then(Value::as_str) {
        Some("combined") => Ok(params.get(1).and_then(Value::as_bool)),
        _ => Err("unknown property".to_owned()),
    }
}
