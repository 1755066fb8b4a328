//! OKX v5: the `trades` channel of the public socket.
//!
//! A row stands for one taker order's fills at one price: `count` of them, `tradeId` being the last one's id. REST
//! tells single fills, so the two are joined by ids and never by rows. We send the text `ping`, the venue answers with
//! the text `pong`; neither is JSON. After a subscribe the latest row comes once more, without a mark.

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

/// Instruments named in one subscribe: keeps a message far below the venue's 64 KiB.
const ARGS_PER_REQUEST: usize = 100;

/// "The connection will soon be closed for a service upgrade."
const CODE_UPGRADE: &str = "64008";

/// OKX v5.
#[derive(Debug)]
pub struct Okx;

static PROFILE: Profile = Profile {
    name: "okx",
    title: "OKX",
    ws_url: "wss://ws.okx.com:8443",
    rest_url: "https://www.okx.com",
    example: ("BTCUSDT", "BTC-USDT"),
    symbols_per_connection: 200,
    messages: Pace { count: 2, per: Duration::from_secs(1) },
    connects: Pace { count: 3, per: Duration::from_secs(1) },
    subscribe_within: Some(Duration::from_secs(30)),
    ack_within: Duration::from_secs(10),
    lifetime: None,
    heartbeat: Heartbeat::ClientText { text: "ping", every: Duration::from_secs(20), within: Duration::from_secs(8) },
    silence: Duration::from_secs(30),
    ids: IdRule::Contiguous,
    history: Some(HistoryRule {
        order: PageOrder::Descending,
        budget: Pace { count: 20, per: Duration::from_secs(2) },
        page_weight: 1,
        look_weight: 1,
        used_header: None,
    }),
};

/// Every frame that is JSON; what it is shows by what is there.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arg: Option<Arg<'a>>,
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    msg: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arg<'a> {
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    inst_id: Cow<'a, str>,
}

/// A row of the channel, or of REST: the same but for `count`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trade<'a> {
    #[serde(borrow)]
    inst_id: Cow<'a, str>,
    #[serde(borrow)]
    trade_id: Cow<'a, str>,
    #[serde(borrow)]
    px: Cow<'a, str>,
    #[serde(borrow)]
    sz: Cow<'a, str>,
    #[serde(borrow)]
    side: Cow<'a, str>,
    #[serde(borrow)]
    ts: Cow<'a, str>,
    #[serde(borrow, default)]
    count: Option<Cow<'a, str>>,
}

impl Exchange for Okx {
    fn profile(&self) -> &Profile {
        &PROFILE
    }

    fn canonical(&self, venue_symbol: &str) -> Result<Symbol, SymbolError> {
        let mut parts = venue_symbol.splitn(3, '-');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(base), Some(quote), None) => Symbol::from_pair(base, quote),
            (Some(base), Some(quote), Some(suffix)) => Symbol::from_pair_and_suffix(base, quote, suffix),
            _ => Symbol::new(venue_symbol),
        }
    }

    fn venue_symbol(&self, symbol: &str) -> Result<String, ExchangeError> {
        let upper = symbol.to_uppercase();
        let (pair, suffix) = match upper.split_once('-') {
            // A canonical derivative: its suffix is a kind or a date.
            Some((pair, suffix)) if suffix == "SWAP" || suffix.starts_with(|c: char| c.is_ascii_digit()) => {
                (pair, Some(suffix))
            }
            _ => (upper.as_str(), None),
        };
        let named = match suffix {
            Some(_) => symbol::split_pair(pair).map(|(base, quote)| (base, quote, suffix)),
            None => split(pair),
        };
        match named {
            Some((base, quote, suffix)) if [base, quote].iter().all(|asset| is_asset(asset)) => {
                let suffix = suffix.map(|suffix| format!("-{suffix}")).unwrap_or_default();
                Ok(format!("{base}-{quote}{suffix}"))
            }
            _ => Err(ExchangeError::Symbol {
                exchange: PROFILE.name,
                symbol: symbol.to_owned(),
                hint: "write BTCUSDT or BTC-USDT, and BTCUSDT-SWAP or BTC-USDT-SWAP for a derivative".to_owned(),
            }),
        }
    }

    fn connect_url(&self, base: &str, _venue_symbols: &[&str]) -> String {
        format!("{base}/ws/v5/public")
    }

    fn subscribe(&self, venue_symbols: &[&str], _first_id: u64) -> Vec<Request> {
        let request = |symbols: &[&str]| {
            let args: Vec<_> = symbols.iter().map(|symbol| json!({ "channel": "trades", "instId": symbol })).collect();
            Request {
                id: None,
                text: json!({ "op": "subscribe", "args": args }).to_string(),
                symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            }
        };
        venue_symbols.chunks(ARGS_PER_REQUEST).map(request).collect()
    }

    fn decode(&self, frame: Frame<'_>, out: &mut Trades) -> Result<Event, DecodeError> {
        let text = wire::text(&frame)?;
        if text == "pong" {
            return Ok(Event::Pong);
        }
        let envelope: Envelope<'_> = parse(wire::object(text)?)?;
        match (&envelope.event, &envelope.arg, envelope.data) {
            (Some(event), ..) => Ok(control(event, &envelope)),
            (None, Some(arg), Some(data)) if arg.channel == "trades" => trades(data.get(), out),
            _ => Ok(Event::Ignored),
        }
    }

    fn instruments_paths(&self) -> Vec<String> {
        rest::instruments_paths()
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

fn trades(data: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    // serde would read an array of arrays as rows, field by field.
    let rows: Vec<&serde_json::value::RawValue> = parse(data)?;
    if rows.is_empty() {
        return Ok(Event::Ignored);
    }
    for row in rows {
        let row: Trade<'_> = parse(wire::object(row.get())?)?;
        row.push(&row.inst_id, out)?;
    }
    Ok(Event::Trades)
}

impl Trade<'_> {
    fn push(&self, venue_symbol: &str, out: &mut Trades) -> Result<(), DecodeError> {
        let (price, price_scale) = wire::price("px", &self.px)?;
        let (size, size_scale) = wire::size("sz", &self.sz)?;
        let trade_id = number("tradeId", &self.trade_id)?;
        let count: u32 = self.count.as_deref().map_or(Ok(1), |count| number("count", count))?;
        let side = match &*self.side {
            "buy" => Flags::new(Side::Buy),
            "sell" => Flags::new(Side::Sell),
            other => return Err(DecodeError::Value { field: "side", text: wire::cut(other) }),
        };
        let flags = if count > 1 { side.with(Flags::AGGREGATED) } else { side };
        let msg = TradeMsg {
            ts_event: wire::millis_or_micros("ts", number("ts", &self.ts)?)?,
            trade_id,
            price,
            size,
            price_scale,
            size_scale,
            flags: flags.bits(),
            ..bytemuck::Zeroable::zeroed()
        };
        out.push_fills(venue_symbol, msg, count)
    }
}

/// A decimal text that is a whole number.
fn number<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, DecodeError> {
    text.parse().map_err(|_| DecodeError::Value { field, text: wire::cut(text) })
}

fn control(event: &str, envelope: &Envelope<'_>) -> Event {
    let (code, words) = (envelope.code.as_deref().unwrap_or_default(), envelope.msg.as_deref().unwrap_or_default());
    match (event, &envelope.arg) {
        ("subscribe", Some(arg)) if arg.channel == "trades" => {
            Event::AckedSymbols(vec![arg.inst_id.clone().into_owned()])
        }
        ("error", _) => Event::Rejected { id: None, symbol: named(words), reason: format!("{words} (code {code})") },
        ("notice", _) if code == CODE_UPGRADE => Event::Closing { reason: format!("{words} (code {code})") },
        _ => Event::Ignored,
    }
}

/// The instrument in `channel:trades,instId:FOO-USDT doesn't exist`.
fn named(words: &str) -> Option<String> {
    let (_, behind) = words.split_once("instId:")?;
    let name: String = behind.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    (!name.is_empty()).then_some(name)
}

/// Base, quote and suffix of the venue's own spelling, or of a canonical pair.
fn split(name: &str) -> Option<(&str, &str, Option<&str>)> {
    let mut parts = name.splitn(3, ['-', '/']);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(base), Some(quote), suffix) => Some((base, quote, suffix)),
        _ => symbol::split_pair(name).map(|(base, quote)| (base, quote, None)),
    }
}

fn is_asset(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests;
