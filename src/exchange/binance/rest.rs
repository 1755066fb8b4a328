//! The REST API of Binance spot, as far as it is read: instruments, and trades by id.

use std::borrow::Cow;

use serde::Deserialize;

use super::{PROFILE, aggressor, push, wire};
use crate::exchange::{ExchangeError, InstrumentInfo, Page, Refused, Reply, Trades, Want};
use crate::market::{Flags, Symbol, SymbolError};

/// Rows of a page.
const PAGE_ROWS: u32 = 1_000;

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    #[serde(borrow)]
    symbols: Vec<SymbolInfo<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymbolInfo<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    filters: Vec<Filter<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(borrow)]
    filter_type: Cow<'a, str>,
    #[serde(borrow, default)]
    tick_size: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    step_size: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PastTrade<'a> {
    id: u64,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    qty: Cow<'a, str>,
    time: u64,
    is_buyer_maker: bool,
}

/// Fills of one order at one price: `f` is the first of them, `l` the last.
#[derive(Deserialize)]
struct PastAggregate<'a> {
    #[serde(borrow)]
    p: Cow<'a, str>,
    #[serde(borrow)]
    q: Cow<'a, str>,
    f: u64,
    l: u64,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

pub(super) fn instruments(body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
    let answer = |message: String| ExchangeError::Answer { exchange: PROFILE.name, message };
    let info: ExchangeInfo<'_> = serde_json::from_str(body).map_err(|error| answer(error.to_string()))?;
    info.symbols.iter().map(|symbol| symbol.info().map_err(|error| answer(error.to_string()))).collect()
}

impl SymbolInfo<'_> {
    fn info(&self) -> Result<InstrumentInfo, SymbolError> {
        let step = |kind: &str, pick: fn(&Filter<'_>) -> Option<String>| {
            self.filters.iter().find(|filter| filter.filter_type == kind).and_then(pick)
        };
        Ok(InstrumentInfo {
            venue_symbol: self.symbol.clone().into_owned(),
            symbol: Symbol::new(&self.symbol)?,
            tick_size: step("PRICE_FILTER", |filter| wire::step(filter.tick_size.as_deref())),
            lot_size: step("LOT_SIZE", |filter| wire::step(filter.step_size.as_deref())),
            trading: self.status == "TRADING",
        })
    }
}

/// Aggregates cost a sixth of single trades, and tell the ids of the trades that they stand for.
pub(super) fn history_path(venue_symbol: &str, want: Want) -> String {
    match want {
        Want::Latest => format!("/api/v3/aggTrades?symbol={venue_symbol}&limit=1"),
        Want::Since(ts) => {
            format!("/api/v3/aggTrades?symbol={venue_symbol}&startTime={}&limit=1", ts / 1_000_000)
        }
        Want::Range { first, last } => {
            let rows = last.saturating_sub(first).saturating_add(1).min(u64::from(PAGE_ROWS));
            format!("/api/v3/historicalTrades?symbol={venue_symbol}&fromId={first}&limit={rows}")
        }
    }
}

pub(super) fn history(venue_symbol: &str, want: Want, reply: &Reply, out: &mut Trades) -> Result<Page, Refused> {
    let body = reply.success()?;
    match want {
        Want::Range { .. } => {
            let rows: Vec<PastTrade<'_>> = serde_json::from_str(body).map_err(|error| wire::json(&error))?;
            for row in &rows {
                let flags = Flags::new(aggressor(row.is_buyer_maker));
                push(venue_symbol, row.id, (&row.price, &row.qty), row.time, flags, out)?;
            }
        }
        Want::Latest | Want::Since(_) => {
            let rows: Vec<PastAggregate<'_>> = serde_json::from_str(body).map_err(|error| wire::json(&error))?;
            for row in &rows {
                let id = if want == Want::Latest { row.l } else { row.f };
                let flags = Flags::new(aggressor(row.m)).with(Flags::AGGREGATED);
                push(venue_symbol, id, (&row.p, &row.q), row.time, flags, out)?;
            }
        }
    }
    Ok(Page::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange as _, binance::Binance};
    use crate::market::Side;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.to_owned(), headers: Vec::new() }
    }

    #[test]
    fn instruments_come_with_tick_and_lot() {
        let body = r#"{"timezone":"UTC","symbols":[{"symbol":"BTCUSDT","status":"TRADING","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","stepSize":"0.00001000"}]},{"symbol":"OLD","status":"BREAK","filters":[]}]}"#;
        let instruments = Binance.parse_instruments(body).unwrap();
        assert_eq!(instruments[0].tick_size.as_deref(), Some("0.01"));
        assert_eq!(instruments[0].lot_size.as_deref(), Some("0.00001"));
        assert!(instruments[0].trading && !instruments[1].trading);
    }

    #[test]
    fn pages_begin_at_the_first_missing_id_and_ask_for_no_more() {
        let path = history_path("BTCUSDT", Want::Range { first: 41, last: 50 });
        assert_eq!(path, "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=41&limit=10");
        assert!(history_path("BTCUSDT", Want::Range { first: 41, last: u64::MAX }).ends_with("fromId=41&limit=1000"));
    }

    #[test]
    fn rows_of_the_history_are_the_trades_of_the_feed() {
        let body = r#"[{"id":41,"price":"37012.10000000","qty":"0.00350000","quoteQty":"129.54","time":1700000000123,"isBuyerMaker":true,"isBestMatch":true}]"#;
        let mut out = Trades::open(&Binance);
        history("BTCUSDT", Want::Range { first: 41, last: 41 }, &reply(200, body), &mut out).unwrap();
        let msg = out.rows()[0].msg;
        assert_eq!((msg.trade_id, msg.price, msg.price_scale, msg.size, msg.size_scale), (41, 370_121, 1, 35, 4));
        assert_eq!((msg.side(), msg.ts_event), (Side::Sell, 1_700_000_000_123_000_000));
    }

    #[test]
    fn a_look_tells_the_last_trade_of_an_aggregate_and_a_time_its_first() {
        let body = r#"[{"a":5,"p":"1","q":"2","f":10,"l":12,"T":1700000000123,"m":false,"M":true}]"#;
        for (want, id) in [(Want::Latest, 12), (Want::Since(1_700_000_000_000_000_000), 10)] {
            let mut out = Trades::open(&Binance);
            history("BTCUSDT", want, &reply(200, body), &mut out).unwrap();
            assert_eq!(out.rows()[0].msg.trade_id, id);
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let mut out = Trades::open(&Binance);
        let mut ask = |status, body: &str| history("BTCUSDT", Want::Latest, &reply(status, body), &mut out);
        assert!(matches!(ask(429, ""), Err(Refused::Limited(_))));
        assert!(matches!(ask(418, ""), Err(Refused::Limited(_))));
        assert!(
            matches!(ask(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#), Err(Refused::Words(w)) if w.contains("Invalid symbol"))
        );
        assert!(matches!(ask(200, "[{"), Err(Refused::Broken(_))));
        assert_eq!(ask(200, "[]"), Ok(Page::default()));
    }
}
