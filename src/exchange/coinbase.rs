//! Coinbase Exchange: `matches` and `heartbeat`.
//!
//! `side` is the maker's side and is inverted here; `last_match` is history; ids are contiguous per product; the
//! heartbeat tells the last trade id of a quiet product. `sequence` counts order events and says nothing of trades.

mod rest;

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::wire::{self, parse};
use super::{
    DecodeError, Event, Exchange, ExchangeError, Frame, Heartbeat, HistoryRule, IdRule, InstrumentInfo, Pace, Page,
    PageOrder, Profile, Refused, Reply, Request, Trades, Want,
};
use crate::market::{Flags, Side, Symbol, SymbolError, TradeMsg, symbol};

/// Products named in one subscribe: keeps a message small.
const PRODUCTS_PER_REQUEST: usize = 100;

/// Coinbase Exchange.
#[derive(Debug)]
pub struct Coinbase;

static PROFILE: Profile = Profile {
    name: "coinbase",
    title: "Coinbase Exchange",
    ws_url: "wss://ws-feed.exchange.coinbase.com",
    rest_url: "https://api.exchange.coinbase.com",
    example: ("BTCUSD", "BTC-USD"),
    symbols_per_connection: 200,
    messages: Pace { count: 100, per: Duration::from_secs(1) },
    connects: Pace { count: 8, per: Duration::from_secs(1) },
    subscribe_within: Some(Duration::from_secs(5)),
    ack_within: Duration::from_secs(10),
    lifetime: None,
    heartbeat: Heartbeat::ServerMessage { every: Duration::from_secs(1) },
    silence: Duration::from_secs(10),
    ids: IdRule::Contiguous,
    history: Some(HistoryRule {
        order: PageOrder::Descending,
        budget: Pace { count: 10, per: Duration::from_secs(1) },
        page_weight: 1,
        look_weight: 1,
        used_header: None,
    }),
};

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Match<'a> {
    trade_id: u64,
    #[serde(borrow)]
    side: Cow<'a, str>,
    #[serde(borrow)]
    size: Cow<'a, str>,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    product_id: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Beat<'a> {
    last_trade_id: u64,
    #[serde(borrow)]
    product_id: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Subscriptions<'a> {
    #[serde(borrow)]
    channels: Vec<Channel<'a>>,
}

#[derive(Deserialize)]
struct Channel<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    product_ids: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

impl Exchange for Coinbase {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn canonical(&self, venue_symbol: &str) -> Result<Symbol, SymbolError> {
        match venue_symbol.split_once('-') {
            Some((base, quote)) => Symbol::from_pair(base, quote),
            None => Symbol::new(venue_symbol),
        }
    }

    fn venue_symbol(&self, symbol: &str) -> Result<String, ExchangeError> {
        let upper = symbol.to_uppercase();
        let pair = upper.split_once(['-', '/']).or_else(|| symbol::split_pair(&upper));
        match pair {
            Some((base, quote)) if is_asset(base) && is_asset(quote) => Ok(format!("{base}-{quote}")),
            _ => Err(ExchangeError::Symbol {
                exchange: PROFILE.name,
                symbol: symbol.to_owned(),
                hint: "write BTCUSD, or BTC-USD where the quote asset is a rare one".to_owned(),
            }),
        }
    }

    fn connect_url(&self, base: &str, _venue_symbols: &[&str]) -> String {
        base.to_owned()
    }

    fn subscribe(&self, venue_symbols: &[&str], _first_id: u64) -> Vec<Request> {
        let request = |symbols: &[&str]| Request {
            id: None,
            text: json!({ "type": "subscribe", "product_ids": symbols, "channels": ["matches", "heartbeat"] })
                .to_string(),
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        };
        venue_symbols.chunks(PRODUCTS_PER_REQUEST).map(request).collect()
    }

    fn decode(&self, frame: Frame<'_>, out: &mut Trades) -> Result<Event, DecodeError> {
        let text = wire::object(wire::text(&frame)?)?;
        let kind: Kind<'_> = parse(text)?;
        match &*kind.kind {
            "match" => trade(text, false, out),
            "last_match" => trade(text, true, out),
            "heartbeat" => heartbeat(text, out),
            "subscriptions" => subscriptions(text),
            "error" => error(text),
            _ => Ok(Event::Ignored),
        }
    }

    fn instruments_paths(&self) -> Vec<String> {
        vec!["/products".to_owned()]
    }

    fn parse_instruments(&self, body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
        rest::instruments(self, body)
    }

    fn history_path(&self, venue_symbol: &str, want: Want) -> Option<String> {
        rest::history_path(venue_symbol, want)
    }

    fn parse_history(&self, venue_symbol: &str, _want: Want, reply: &Reply, out: &mut Trades) -> Result<Page, Refused> {
        rest::history(venue_symbol, reply, out)
    }
}

fn trade(text: &str, history: bool, out: &mut Trades) -> Result<Event, DecodeError> {
    let trade: Match<'_> = parse(text)?;
    let (price, price_scale) = wire::price("price", &trade.price)?;
    let (size, size_scale) = wire::size("size", &trade.size)?;
    let side = Flags::new(aggressor(&trade.side)?);
    let flags = if history { side.with(Flags::SNAPSHOT) } else { side };
    let msg = TradeMsg {
        ts_event: wire::iso_time("time", &trade.time)?,
        trade_id: trade.trade_id,
        price,
        size,
        price_scale,
        size_scale,
        flags: flags.bits(),
        ..bytemuck::Zeroable::zeroed()
    };
    out.push(&trade.product_id, msg)?;
    Ok(Event::Trades)
}

/// The wire names the maker's side: who took is the other one.
fn aggressor(maker: &str) -> Result<Side, DecodeError> {
    match maker {
        "buy" => Ok(Side::Sell),
        "sell" => Ok(Side::Buy),
        other => Err(DecodeError::Value { field: "side", text: wire::cut(other) }),
    }
}

fn heartbeat(text: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    let beat: Beat<'_> = parse(text)?;
    let ts = wire::iso_time("time", &beat.time)?;
    // A heartbeat of a product that is not ours says nothing, but it shows life.
    Ok(out.route(&beat.product_id).map_or(Event::Ignored, |route| Event::LastTrade {
        route,
        trade_id: beat.last_trade_id,
        ts,
    }))
}

fn subscriptions(text: &str) -> Result<Event, DecodeError> {
    let answer: Subscriptions<'_> = parse(text)?;
    let matches = answer.channels.iter().filter(|channel| channel.name == "matches");
    let symbols = matches.flat_map(|channel| channel.product_ids.iter().map(|id| id.clone().into_owned()));
    Ok(Event::AckedSymbols(symbols.collect()))
}

fn error(text: &str) -> Result<Event, DecodeError> {
    let error: Error<'_> = parse(text)?;
    // "matches is not a valid product" names what was asked for in front.
    let named = error.reason.split_whitespace().find(|word| word.contains('-') && word.chars().all(is_product_char));
    let symbol = named.map(|word| word.trim_matches('"').to_owned());
    let reason = format!("{} {}", error.message, error.reason).trim().to_owned();
    Ok(Event::Rejected { id: None, symbol, reason })
}

fn is_product_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-' || c == '"'
}

fn is_asset(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> (Result<Event, DecodeError>, Vec<TradeMsg>) {
        let mut out = Trades::open(&Coinbase);
        let event = Coinbase.decode(Frame::Text(text), &mut out);
        (event, out.rows().iter().map(|row| row.msg).collect())
    }

    const MATCH: &str = r#"{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"a","taker_order_id":"b","time":"2021-04-17T16:43:30.244075Z","product_id":"BTC-USD","size":"0.0400","price":"90.34000000","side":"sell"}"#;

    #[test]
    fn the_maker_side_is_inverted() {
        let (event, rows) = decode(MATCH);
        assert_eq!(event, Ok(Event::Trades));
        assert_eq!((rows[0].side(), rows[0].trade_id), (Side::Buy, 10));
        assert_eq!((rows[0].price, rows[0].price_scale, rows[0].size, rows[0].size_scale), (9_034, 2, 4, 2));
        assert_eq!(rows[0].ts_event, 1_618_677_810_244_075_000);
        assert_eq!(decode(&MATCH.replace("sell", "buy")).1[0].side(), Side::Sell);
        let (event, rows) = decode(&MATCH.replace("\"sell\"", "\"bid\""));
        assert_eq!((event.map_err(|error| error.kind()), rows.len()), (Err("value"), 0));
    }

    #[test]
    fn last_match_is_history() {
        assert!(!decode(MATCH).1[0].flag_set().has(Flags::SNAPSHOT));
        assert!(decode(&MATCH.replace("\"match\"", "\"last_match\"")).1[0].flag_set().has(Flags::SNAPSHOT));
    }

    #[test]
    fn a_heartbeat_tells_the_last_trade() {
        let beat = r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2021-04-17T16:43:30Z"}"#;
        let expected = Event::LastTrade { route: 0, trade_id: 20, ts: 1_618_677_810_000_000_000 };
        assert_eq!(decode(beat).0, Ok(expected));
    }

    #[test]
    fn acks_list_the_products_and_errors_name_the_one_at_fault() {
        let ack = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["ETH-USD"]},{"name":"matches","product_ids":["BTC-USD","ETH-USD"]}]}"#;
        assert_eq!(decode(ack).0, Ok(Event::AckedSymbols(vec!["BTC-USD".into(), "ETH-USD".into()])));
        let error = r#"{"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}"#;
        let Ok(Event::Rejected { symbol, reason, .. }) = decode(error).0 else { panic!("not rejected") };
        assert_eq!(symbol.as_deref(), Some("FOO-USD"));
        assert_eq!(reason, "Failed to subscribe FOO-USD is not a valid product");
    }

    #[test]
    fn both_spellings_are_taken() {
        for (given, venue) in [("BTCUSD", "BTC-USD"), ("btc-usd", "BTC-USD"), ("ETHUSDT", "ETH-USDT")] {
            assert_eq!(Coinbase.venue_symbol(given).unwrap(), venue);
        }
        assert!(Coinbase.venue_symbol("BTC").is_err());
        assert!(Coinbase.venue_symbol("BTC-").is_err());
        assert_eq!(Coinbase.canonical("BTC-USD").unwrap().as_str(), "BTCUSD");
    }
}
