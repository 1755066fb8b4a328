//! The server side of Coinbase Exchange: `matches` and `heartbeat`, with its order, errors and time limits.
//!
//! Its REST API is in [`rest`]. It knows no socket.

mod rest;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytemuck::Zeroable as _;
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::{Rules, SimError};
use super::faults::spoil::Keys;
use super::history::Book;
use super::twin::{
    Answer, Context, Control, Listing, Meter, Out, Recorded, Row, Session, Shape, Target, Twin, write_fixed,
    write_price,
};
use crate::market::symbol::{Symbol, split_pair};
use crate::market::trade::KIND_TRADE_V1;
use crate::market::{Decimal, Flags, Side, TradeMsg};

/// The step of sizes: `base_increment` has 8 decimals.
const SIZE_DECIMALS: u8 = 8;
/// Order events of a product between two of its trades, about: why `sequence` jumps.
const SEQUENCE_STEP: u64 = 17;

const MATCHES: &str = "matches";
const HEARTBEAT: &str = "heartbeat";

/// Coinbase Exchange.
#[derive(Debug)]
pub(super) struct Coinbase {
    rules: Rules,
    requests: Meter,
}

impl Coinbase {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, requests: Meter::per_second(rules.rest_per_second) }
    }
}

impl Twin for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn usual_symbols(&self) -> &'static [&'static str] {
        &["BTCUSD", "ETHUSD", "SOLUSD"]
    }

    fn list(&self, symbol: &str) -> Result<Listing, SimError> {
        match split_pair(symbol) {
            Some((base, quote)) if !symbol.contains('-') => {
                Ok(Listing::new(symbol, &format!("{base}-{quote}"), base, quote, Some(SIZE_DECIMALS)))
            }
            _ => Err(SimError::Symbol {
                exchange: "coinbase",
                symbol: symbol.to_owned(),
                hint: "base and a usual quote asset in upper case without a separator, such as BTCUSD",
            }),
        }
    }

    fn time_step(&self) -> u64 {
        1_000
    }

    fn accept(&self, now: Instant, _target: &Target<'_>) -> Result<Box<dyn Session>, Answer> {
        Ok(Box::new(CoinbaseSession::new(self.rules, now)))
    }

    fn rest(&mut self, now: Instant, wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
        if !self.requests.take(now) {
            return Answer::new(429, json!({"message": "Public rate limit exceeded"}).to_string());
        }
        rest::answer(wall_ns, target, book)
    }

    fn frame(&self, _shape: Shape, listing: &Listing, row: &Row, out: &mut BytesMut) {
        write_match(out, "match", listing, &row.trade);
    }

    fn keys(&self) -> Keys {
        Keys { price: "price", size: "size", time: "time" }
    }

    fn false_ack(&self, _ack: &str, strange: bool) -> String {
        let strangers = json!([{"name": MATCHES, "product_ids": ["ZZZ-USD"]}]);
        let channels = if strange { strangers } else { json!([]) };
        format!(r#"{{"type":"subscriptions","channels":{channels}}}"#)
    }

    fn asks_for_trades(&self, target: &Target<'_>) -> bool {
        target.path.starts_with("/products/") && target.path.ends_with("/trades")
    }

    fn read(&self, frame: &str) -> Recorded {
        match read_match(frame) {
            Some((symbol, trade)) => Recorded::Trade(symbol, Box::new(trade)),
            None if frame.contains(r#""type":"subscriptions""#) => Recorded::Answer,
            None => Recorded::Other,
        }
    }
}

/// `side` is the maker's, so it is the opposite of the aggressor's.
fn write_match(out: &mut BytesMut, kind: &str, listing: &Listing, trade: &TradeMsg) {
    let product = &listing.venue_symbol;
    let maker = maker_side(trade);
    // Writing to a BytesMut cannot fail: it grows.
    let _ = write!(out, r#"{{"type":"{kind}","trade_id":{},"maker_order_id":""#, trade.trade_id);
    write_uuid(out, product, trade.trade_id, 1);
    let _ = out.write_str(r#"","taker_order_id":""#);
    // A taker meets several makers: its order id stays for a run of trades.
    write_uuid(out, product, trade.trade_id / 4, 2);
    let _ = write!(out, r#"","side":"{maker}","size":""#);
    write_fixed(out, false, trade.size, trade.size_scale, 0);
    let _ = out.write_str(r#"","price":""#);
    write_price(out, trade, 0);
    let _ = write!(out, r#"","product_id":"{product}","sequence":{},"time":""#, sequence(trade.trade_id));
    write_time(out, trade.ts_event);
    let _ = out.write_str("\"}");
}

fn maker_side(trade: &TradeMsg) -> &'static str {
    if trade.side() == Side::Buy { "sell" } else { "buy" }
}

/// A trade's place among all order events of its product: grows, with holes.
fn sequence(trade_id: u64) -> u64 {
    let jitter = xxh3_64_with_seed(&trade_id.to_le_bytes(), 3) % 11;
    trade_id.saturating_mul(SEQUENCE_STEP).saturating_add(jitter)
}

/// An order id of the usual form, fixed by product and number.
fn write_uuid(out: &mut BytesMut, product: &str, number: u64, kind: u64) {
    let high = xxh3_64_with_seed(product.as_bytes(), number ^ (kind << 62));
    let low = high.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number;
    let _ = write!(
        out,
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        low >> 48 & 0x3FFF | 0x8000,
        low & 0xFFFF_FFFF_FFFF
    );
}

/// `2021-04-17T16:43:30.244075Z`.
fn write_time(out: &mut BytesMut, ts: u64) {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ts)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.to_hms_micro();
    let _ = write!(out, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z", u8::from(month));
}

fn time_text(ts: u64) -> String {
    let mut out = BytesMut::new();
    write_time(&mut out, ts);
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Deserialize)]
struct Wire<'a> {
    r#type: &'a str,
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    product_id: &'a str,
    time: &'a str,
}

fn read_match(frame: &str) -> Option<(String, TradeMsg)> {
    let wire: Wire<'_> = serde_json::from_str(frame).ok()?;
    let side = match (wire.r#type, wire.side) {
        ("match" | "last_match", "sell") => Side::Buy,
        ("match" | "last_match", "buy") => Side::Sell,
        _ => return None,
    };
    let (base, quote) = wire.product_id.split_once('-')?;
    let time = OffsetDateTime::parse(wire.time, &Rfc3339).ok()?;
    let (price, size) = (Decimal::parse(wire.price).ok()?, Decimal::parse(wire.size).ok()?);
    let trade = TradeMsg {
        ts_event: u64::try_from(time.unix_timestamp_nanos()).ok()?,
        trade_id: wire.trade_id,
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
struct CoinbaseSession {
    rules: Rules,
    /// Products of each channel, in the order in which they were asked for.
    matches: Vec<String>,
    heartbeat: Vec<String>,
    /// Until when the first subscribe must have come.
    subscribe_until: Option<Instant>,
    next_heartbeat: Option<Instant>,
    end: Option<Instant>,
    inbound: Meter,
}

impl CoinbaseSession {
    fn new(rules: Rules, now: Instant) -> Self {
        Self {
            matches: Vec::new(),
            heartbeat: Vec::new(),
            subscribe_until: Some(now + rules.subscribe_within),
            next_heartbeat: None,
            end: None,
            inbound: Meter::per_second(rules.messages_per_second.unwrap_or(100)),
            rules,
        }
    }

    fn count_inbound(&mut self, now: Instant, out: &mut Vec<Out>) -> bool {
        let within = self.inbound.take(now);
        if !within {
            out.push(error("Rate limit exceeded", "too many messages"));
            out.push(Out::Close(1008, "rate limit exceeded".to_owned()));
        }
        within
    }

    fn channel(&mut self, name: &str) -> Option<&mut Vec<String>> {
        match name {
            MATCHES => Some(&mut self.matches),
            HEARTBEAT => Some(&mut self.heartbeat),
            _ => None,
        }
    }

    fn subscribe(&mut self, cx: &mut Context<'_>, wanted: &[(String, Vec<String>)], out: &mut Vec<Out>) {
        for product in wanted.iter().flat_map(|(_, products)| products) {
            if cx.book.find(product).is_none() || cx.faults.refuses(product) {
                out.push(error("Failed to subscribe", &format!("{product} is not a valid product")));
                return;
            }
        }
        let mut joined = Vec::new();
        for (channel, products) in wanted {
            for product in products {
                let Some(there) = self.channel(channel) else { continue };
                if !there.contains(product) {
                    there.push(product.clone());
                    if channel == MATCHES {
                        joined.push(product.clone());
                    }
                }
            }
        }
        self.subscribe_until = None;
        if self.next_heartbeat.is_none() && !self.heartbeat.is_empty() {
            self.next_heartbeat = Some(cx.now + self.rules.heartbeat_every);
        }
        out.push(self.subscriptions());
        out.extend(joined.iter().filter_map(|product| last_match(cx.book, product)));
    }

    fn unsubscribe(&mut self, wanted: &[(String, Vec<String>)], out: &mut Vec<Out>) {
        for (channel, products) in wanted {
            if let Some(there) = self.channel(channel) {
                there.retain(|product| !products.contains(product) && !products.is_empty());
            }
        }
        out.push(self.subscriptions());
    }

    fn subscriptions(&self) -> Out {
        let channels = [(MATCHES, &self.matches), (HEARTBEAT, &self.heartbeat)];
        let listed = channels.iter().filter(|(_, products)| !products.is_empty());
        let channels: Vec<_> = listed.map(|(name, products)| json!({"name": name, "product_ids": products})).collect();
        Out::Ack(format!(r#"{{"type":"subscriptions","channels":{}}}"#, json!(channels)))
    }
}

impl Session for CoinbaseSession {
    fn on_text(&mut self, cx: &mut Context<'_>, text: &str, out: &mut Vec<Out>) {
        if !self.count_inbound(cx.now, out) {
            return;
        }
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            out.push(error("Malformed JSON", "the message is not JSON"));
            return;
        };
        let kind = request.get("type").and_then(Value::as_str).unwrap_or_default();
        match (kind, wanted(&request)) {
            ("subscribe", Ok(wanted)) => self.subscribe(cx, &wanted, out),
            ("unsubscribe", Ok(wanted)) => self.unsubscribe(&wanted, out),
            ("subscribe" | "unsubscribe", Err(reason)) => out.push(error(&format!("Failed to {kind}"), &reason)),
            _ => out.push(error("Type has to be either subscribe or unsubscribe", "unknown type")),
        }
    }

    fn on_control(&mut self, now: Instant, _control: Control<'_>, out: &mut Vec<Out>) {
        self.count_inbound(now, out);
    }

    fn on_tick(&mut self, cx: &mut Context<'_>, out: &mut Vec<Out>) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= cx.now);
        if due(self.subscribe_until) {
            self.subscribe_until = None;
            out.push(Out::Close(1008, "no subscribe in time".to_owned()));
        }
        if due(self.end) {
            self.end = None;
            out.push(Out::Close(1001, "going away".to_owned()));
        }
        if due(self.next_heartbeat) {
            self.next_heartbeat = Some(cx.now + self.rules.heartbeat_every);
            out.extend(self.heartbeat.iter().filter_map(|product| heartbeat(cx, product)));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [self.subscribe_until, self.next_heartbeat, self.end].into_iter().flatten().min()
    }

    fn wants(&self, listing: &Listing) -> Option<Shape> {
        self.matches.contains(&listing.venue_symbol).then_some(0)
    }

    /// The venue documents no notice: only the end.
    fn shut_down(&mut self, now: Instant, _wall_ns: u64, grace: Duration, _out: &mut Vec<Out>) {
        self.end = Some(now + grace);
    }
}

/// Channels and products of a request: a channel is a name, or a name with products of its own.
fn wanted(request: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let products = |value: &Value| -> Vec<String> {
        let list = value.get("product_ids").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let common = products(request);
    let channels = request.get("channels").and_then(Value::as_array).ok_or("channels must be a list")?;
    let mut wanted = Vec::new();
    for channel in channels {
        let name = channel.as_str().or_else(|| channel.get("name").and_then(Value::as_str)).unwrap_or_default();
        if name != MATCHES && name != HEARTBEAT {
            return Err(format!("{name} is not a valid channel"));
        }
        let mut of_channel = products(channel);
        of_channel.extend(common.iter().cloned());
        wanted.push((name.to_owned(), of_channel));
    }
    if wanted.is_empty() {
        return Err("no channels specified".to_owned());
    }
    Ok(wanted)
}

fn error(message: &str, reason: &str) -> Out {
    Out::Text(format!(r#"{{"type":"error","message":{},"reason":{}}}"#, json!(message), json!(reason)))
}

/// The latest trade before a client joined.
fn last_match(book: &Book, product: &str) -> Option<Out> {
    let (index, listing) = book.find(product)?;
    let mut out = BytesMut::new();
    write_match(&mut out, "last_match", listing, book.latest(index)?);
    Some(Out::Text(String::from_utf8_lossy(&out).into_owned()))
}

fn heartbeat(cx: &Context<'_>, product: &str) -> Option<Out> {
    let (index, _) = cx.book.find(product)?;
    let last = cx.book.latest(index).map_or(0, |trade| trade.trade_id);
    // Behind the last trade and before the next one, among the order events.
    let sequence = sequence(last) + 3;
    let time = time_text(cx.wall_ns);
    let text = format!(
        r#"{{"type":"heartbeat","sequence":{sequence},"last_trade_id":{last},"product_id":{},"time":"{time}"}}"#,
        json!(product)
    );
    Some(Out::Text(text))
}
