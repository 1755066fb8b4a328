//! Binance spot: `@trade` over combined streams.
//!
//! Ids are contiguous per symbol. The server pings; a connection lives 24 hours and is announced to end by
//! `serverShutdown`. `@aggTrade` frames are understood too, though never subscribed.

mod rest;

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire;
use super::{
    DecodeError, Event, Exchange, ExchangeError, Frame, Heartbeat, HistoryRule, IdRule, InstrumentInfo, Pace, Page,
    PageOrder, Profile, Refused, Reply, Request, Trades, Want,
};
use crate::market::{Flags, Side, Symbol, SymbolError, TradeMsg};

/// Streams named in one SUBSCRIBE: keeps a message below 8 KiB, whatever the symbols.
const STREAMS_PER_REQUEST: usize = 200;

/// Binance spot.
#[derive(Debug)]
pub struct Binance;

static PROFILE: Profile = Profile {
    name: "binance",
    title: "Binance spot",
    ws_url: "wss://stream.binance.com:9443",
    rest_url: "https://api.binance.com",
    example: ("BTCUSDT", "BTCUSDT"),
    symbols_per_connection: 1_024,
    messages: Pace { count: 5, per: Duration::from_secs(1) },
    connects: Pace { count: 300, per: Duration::from_secs(300) },
    subscribe_within: None,
    ack_within: Duration::from_secs(10),
    lifetime: Some(Duration::from_secs(24 * 3_600)),
    heartbeat: Heartbeat::ServerPing { every: Duration::from_secs(20) },
    silence: Duration::from_secs(60),
    ids: IdRule::Contiguous,
    history: Some(HistoryRule {
        order: PageOrder::Ascending,
        budget: Pace { count: 6_000, per: Duration::from_secs(60) },
        page_weight: 25,
        look_weight: 4,
        used_header: Some("x-mbx-used-weight-1m"),
    }),
};

/// Every frame that matters, raw or combined; which one it is shows by what is there.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    code: Option<i64>,
    #[serde(borrow, default)]
    msg: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(borrow)]
    s: Cow<'a, str>,
    t: u64,
    #[serde(borrow)]
    p: Cow<'a, str>,
    #[serde(borrow)]
    q: Cow<'a, str>,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

#[derive(Deserialize)]
struct AggTrade<'a> {
    #[serde(borrow)]
    s: Cow<'a, str>,
    a: u64,
    #[serde(borrow)]
    p: Cow<'a, str>,
    #[serde(borrow)]
    q: Cow<'a, str>,
    f: i64,
    l: i64,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(default)]
    code: Option<i64>,
    #[serde(borrow, default)]
    msg: Option<Cow<'a, str>>,
}

impl Exchange for Binance {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn canonical(&self, venue_symbol: &str) -> Result<Symbol, SymbolError> {
        Symbol::new(venue_symbol)
    }

    fn venue_symbol(&self, symbol: &str) -> Result<String, ExchangeError> {
        let plain = !symbol.is_empty() && !symbol.contains(['-', '/', '_', '@', '"', '\\', ' ']);
        plain.then(|| symbol.to_uppercase()).ok_or_else(|| ExchangeError::Symbol {
            exchange: PROFILE.name,
            symbol: symbol.to_owned(),
            hint: "write base and quote without a separator, as in BTCUSDT".to_owned(),
        })
    }

    fn connect_url(&self, base: &str, _venue_symbols: &[&str]) -> String {
        format!("{base}/stream")
    }

    fn subscribe(&self, venue_symbols: &[&str], first_id: u64) -> Vec<Request> {
        let chunks = venue_symbols.chunks(STREAMS_PER_REQUEST).zip(first_id..);
        chunks
            .map(|(symbols, id)| {
                let streams: Vec<String> =
                    symbols.iter().map(|symbol| format!("{}@trade", symbol.to_lowercase())).collect();
                let text = serde_json::json!({ "method": "SUBSCRIBE", "params": streams, "id": id }).to_string();
                Request { id: Some(id), text, symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect() }
            })
            .collect()
    }

    fn decode(&self, frame: Frame<'_>, out: &mut Trades) -> Result<Event, DecodeError> {
        let text = wire::object(wire::text(&frame)?)?;
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| wire::json(&error))?;
        match (&envelope.stream, envelope.data, &envelope.e) {
            (Some(stream), Some(data), _) => combined(stream, data.get(), out),
            (_, _, Some(event)) => raw(event, text, out),
            _ => control(&envelope),
        }
    }

    fn instruments_paths(&self) -> Vec<String> {
        vec!["/api/v3/exchangeInfo".to_owned()]
    }

    fn parse_instruments(&self, body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
        rest::instruments(body)
    }

    fn history_path(&self, venue_symbol: &str, want: Want) -> Option<String> {
        Some(rest::history_path(venue_symbol, want))
    }

    fn parse_history(&self, venue_symbol: &str, want: Want, reply: &Reply, out: &mut Trades) -> Result<Page, Refused> {
        rest::history(venue_symbol, want, reply, out)
    }
}

/// `{"stream":"btcusdt@trade","data":{..}}`: the stream's name says what the data is.
fn combined(stream: &str, data: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    match stream.rsplit_once('@') {
        Some((_, "trade")) => trade(data, out),
        Some((_, "aggTrade")) => agg_trade(data, out),
        _ if stream == "!serverShutdown" => Ok(shutdown()),
        _ => Ok(Event::Ignored),
    }
}

fn raw(event: &str, text: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    match event {
        "trade" => trade(text, out),
        "aggTrade" => agg_trade(text, out),
        "serverShutdown" => Ok(shutdown()),
        _ => Ok(Event::Ignored),
    }
}

fn trade(text: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    let trade: Trade<'_> = serde_json::from_str(wire::object(text)?).map_err(|error| wire::json(&error))?;
    let flags = Flags::new(aggressor(trade.m));
    push(&trade.s, trade.t, (&trade.p, &trade.q), trade.time, flags, out)
}

fn agg_trade(text: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    let trade: AggTrade<'_> = serde_json::from_str(wire::object(text)?).map_err(|error| wire::json(&error))?;
    let side = Flags::new(aggressor(trade.m));
    let flags = if trade.l > trade.f { side.with(Flags::AGGREGATED) } else { side };
    push(&trade.s, trade.a, (&trade.p, &trade.q), trade.time, flags, out)
}

fn push(
    symbol: &str,
    trade_id: u64,
    (price, size): (&str, &str),
    time: u64,
    flags: Flags,
    out: &mut Trades,
) -> Result<Event, DecodeError> {
    let (price, price_scale) = wire::price("p", price)?;
    let (size, size_scale) = wire::size("q", size)?;
    let ts_event = wire::millis_or_micros("T", time)?;
    let msg = TradeMsg {
        ts_event,
        trade_id,
        price,
        size,
        price_scale,
        size_scale,
        flags: flags.bits(),
        ..bytemuck::Zeroable::zeroed()
    };
    out.push(symbol, msg)?;
    Ok(Event::Trades)
}

/// `m` says that the buyer was the maker: then the seller was the aggressor.
const fn aggressor(buyer_is_maker: bool) -> Side {
    if buyer_is_maker { Side::Sell } else { Side::Buy }
}

fn shutdown() -> Event {
    Event::Closing { reason: "serverShutdown".to_owned() }
}

/// Acks and errors: `{"result":null,"id":1}`, `{"code":2,"msg":"..","id":1}`, `{"error":{"code":..,"msg":..},"id":1}`.
fn control(envelope: &Envelope<'_>) -> Result<Event, DecodeError> {
    let id = envelope.id.and_then(|id| id.get().trim_matches('"').parse().ok());
    let (code, msg) = match envelope.error {
        Some(error) => {
            let body: ErrorBody<'_> = serde_json::from_str(error.get()).map_err(|error| wire::json(&error))?;
            (body.code, body.msg.map(Cow::into_owned))
        }
        None => (envelope.code, envelope.msg.as_deref().map(str::to_owned)),
    };
    if code.is_some() || msg.is_some() {
        let reason = format!("{} (code {})", msg.unwrap_or_default(), code.unwrap_or_default());
        return Ok(Event::Rejected { id, symbol: None, reason });
    }
    Ok(id.map_or(Event::Ignored, Event::AckedRequest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> (Result<Event, DecodeError>, Vec<TradeMsg>) {
        let mut out = Trades::open(&Binance);
        let event = Binance.decode(Frame::Text(text), &mut out);
        (event, out.rows().iter().map(|row| row.msg).collect())
    }

    const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000124,"s":"BTCUSDT","t":41,"p":"37012.10000000","q":"0.00350000","T":1700000000123,"m":true,"M":true}}"#;

    #[test]
    fn a_maker_buyer_means_that_the_seller_was_the_aggressor() {
        let (event, rows) = decode(TRADE);
        assert_eq!(event, Ok(Event::Trades));
        assert_eq!((rows[0].price, rows[0].price_scale), (370_121, 1));
        assert_eq!((rows[0].size, rows[0].size_scale), (35, 4));
        assert_eq!((rows[0].side(), rows[0].trade_id), (Side::Sell, 41));
        assert_eq!(rows[0].ts_event, 1_700_000_000_123_000_000);
        assert_eq!(decode(&TRADE.replace("\"m\":true", "\"m\":false")).1[0].side(), Side::Buy);
    }

    #[test]
    fn raw_frames_and_microseconds_are_understood() {
        let raw = r#"{"e":"trade","E":1700000000124000,"s":"ETHUSDT","t":7,"b":1,"a":2,"p":"2000","q":"1","T":1700000000123456,"m":false,"M":true,"new":[{}]}"#;
        assert_eq!(decode(raw).1[0].ts_event, 1_700_000_000_123_456_000);
    }

    #[test]
    fn several_fills_in_a_row_are_flagged() {
        let agg = r#"{"e":"aggTrade","E":1,"s":"ETHUSDT","a":7,"p":"2000","q":"1","f":10,"l":12,"T":1700000000123,"m":false}"#;
        assert!(decode(agg).1[0].flag_set().has(Flags::AGGREGATED));
        assert!(!decode(&agg.replace("\"l\":12", "\"l\":10")).1[0].flag_set().has(Flags::AGGREGATED));
    }

    #[test]
    fn acks_errors_and_shutdowns_are_told_apart() {
        let rejected = |id, reason: &str| Ok(Event::Rejected { id, symbol: None, reason: reason.to_owned() });
        assert_eq!(decode(r#"{"result":null,"id":3}"#).0, Ok(Event::AckedRequest(3)));
        assert_eq!(decode(r#"{"result":null,"id":"3"}"#).0, Ok(Event::AckedRequest(3)));
        let error = r#"{"code":2,"msg":"Invalid request: bad","id":4}"#;
        assert_eq!(decode(error).0, rejected(Some(4), "Invalid request: bad (code 2)"));
        let nested = r#"{"error":{"code":3,"msg":"Invalid JSON"}}"#;
        assert_eq!(decode(nested).0, rejected(None, "Invalid JSON (code 3)"));
        assert_eq!(decode(r#"{"e":"serverShutdown","E":1}"#).0, Ok(shutdown()));
        assert_eq!(decode(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#).0, Ok(shutdown()));
        assert_eq!(decode(r#"{"stream":"btcusdt@depth","data":{"e":"depthUpdate"}}"#).0, Ok(Event::Ignored));
    }

    #[test]
    fn what_would_be_a_wrong_trade_is_refused_and_leaves_nothing() {
        for (from, to, kind) in [
            ("\"m\":true", "\"m\":\"yes\"", "json"),
            ("\"p\":\"37012.10000000\"", "\"p\":\"NaN\"", "number"),
            ("\"p\":\"37012.10000000\"", "\"p\":37012.1", "json"),
            ("\"q\":\"0.00350000\"", "\"q\":\"-1\"", "number"),
            ("\"q\":\"0.00350000\"", "\"q\":\"0.0000000000000000001\"", "number"),
            ("\"t\":41,", "", "json"),
            ("\"t\":41", "\"t\":41,\"t\":42", "json"),
            ("\"t\":41", "\"t\":18446744073709551616", "json"),
            ("\"T\":1700000000123", "\"T\":18446744073709551615", "time"),
        ] {
            let (event, rows) = decode(&TRADE.replace(from, to));
            assert_eq!(event.map_err(|error| error.kind()), Err(kind), "{to}");
            assert!(rows.is_empty());
        }
    }

    #[test]
    fn an_array_is_no_object_in_disguise() {
        for text in [
            r#"["btcusdt@trade",["BTCUSDT",1,"2","3",5,true]]"#,
            r#"{"stream":"btcusdt@trade","data":["BTCUSDT",1,"2","3",5,true]}"#,
            "[]",
        ] {
            let (event, trades) = decode(text);
            assert!(matches!(event, Err(DecodeError::Json { .. })) && trades.is_empty(), "{text}: {event:?}");
        }
    }

    #[test]
    fn a_thousand_symbols_go_out_in_batches() {
        let names: Vec<String> = (0..450).map(|number| format!("C{number}USDT")).collect();
        let symbols: Vec<&str> = names.iter().map(String::as_str).collect();
        let requests = Binance.subscribe(&symbols, 5);
        assert_eq!(requests.iter().map(|request| request.symbols.len()).collect::<Vec<_>>(), [200, 200, 50]);
        assert_eq!(requests.iter().map(|request| request.id).collect::<Vec<_>>(), [Some(5), Some(6), Some(7)]);
        assert!(requests[0].text.contains("\"c0usdt@trade\""));
    }
}
