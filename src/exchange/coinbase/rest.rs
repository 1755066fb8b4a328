//! The REST API of Coinbase Exchange, as far as it is read: products, and trades newest first with a cursor in the
//! headers.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Coinbase, PROFILE, aggressor, wire};
use crate::exchange::{Exchange as _, ExchangeError, InstrumentInfo, Page, Refused, Reply, Trades, Want};
use crate::market::{Flags, TradeMsg};

/// Rows of a page.
const PAGE_ROWS: u64 = 1_000;

#[derive(Deserialize)]
struct Product<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    quote_increment: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    base_increment: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(default)]
    trading_disabled: bool,
}

#[derive(Deserialize)]
struct PastTrade<'a> {
    trade_id: u64,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    size: Cow<'a, str>,
    #[serde(borrow)]
    side: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

pub(super) fn instruments(venue: &Coinbase, body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
    let answer = |message: String| ExchangeError::Answer { exchange: PROFILE.name, message };
    let products: Vec<Product<'_>> = serde_json::from_str(body).map_err(|error| answer(error.to_string()))?;
    let info = |product: &Product<'_>| {
        Ok(InstrumentInfo {
            venue_symbol: product.id.clone().into_owned(),
            symbol: venue.canonical(&product.id).map_err(|error| answer(error.to_string()))?,
            tick_size: wire::step(product.quote_increment.as_deref()),
            lot_size: wire::step(product.base_increment.as_deref()),
            trading: product.status == "online" && !product.trading_disabled,
        })
    };
    products.iter().map(info).collect()
}

/// `after` is older than the cursor: not a chronological word.
pub(super) fn history_path(venue_symbol: &str, want: Want) -> Option<String> {
    match want {
        Want::Latest => Some(format!("/products/{venue_symbol}/trades?limit=1")),
        Want::Range { first, last } => {
            let rows = last.saturating_sub(first).saturating_add(1).min(PAGE_ROWS);
            Some(format!("/products/{venue_symbol}/trades?limit={rows}&after={}", last.saturating_add(1)))
        }
        Want::Since(_) => None,
    }
}

pub(super) fn history(venue_symbol: &str, reply: &Reply, out: &mut Trades) -> Result<Page, Refused> {
    let rows: Vec<PastTrade<'_>> = serde_json::from_str(reply.success()?).map_err(|error| wire::json(&error))?;
    for row in &rows {
        let (price, price_scale) = wire::price("price", &row.price)?;
        let (size, size_scale) = wire::size("size", &row.size)?;
        let msg = TradeMsg {
            ts_event: wire::iso_time("time", &row.time)?,
            trade_id: row.trade_id,
            price,
            size,
            price_scale,
            size_scale,
            flags: Flags::new(aggressor(&row.side)?).bits(),
            ..bytemuck::Zeroable::zeroed()
        };
        out.push(venue_symbol, msg)?;
    }
    Ok(Page { older: reply.header("cb-after").and_then(|cursor| cursor.parse().ok()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Side;

    #[test]
    fn products_come_with_tick_and_lot() {
        let body = r#"[{"id":"BTC-USD","base_currency":"BTC","quote_increment":"0.01","base_increment":"0.00000001","status":"online","trading_disabled":false},{"id":"OLD-USD","status":"delisted"}]"#;
        let products = Coinbase.parse_instruments(body).unwrap();
        assert_eq!(products[0].tick_size.as_deref(), Some("0.01"));
        assert_eq!(products[0].lot_size.as_deref(), Some("0.00000001"));
        assert!(products[0].trading && !products[1].trading);
    }

    #[test]
    fn pages_end_below_the_last_missing_id() {
        let path = history_path("BTC-USD", Want::Range { first: 41, last: 50 });
        assert_eq!(path.as_deref(), Some("/products/BTC-USD/trades?limit=10&after=51"));
        assert_eq!(history_path("BTC-USD", Want::Since(1)), None);
    }

    #[test]
    fn the_history_names_the_maker_too_and_its_cursor_stands_in_a_header() {
        let body = r#"[{"time":"2020-03-20T00:36:59.860Z","trade_id":86327327,"price":"6225.32000000","size":"0.06469797","side":"sell"}]"#;
        let headers = vec![("cb-after".to_owned(), "86327327".to_owned())];
        let mut out = Trades::open(&Coinbase);
        let page = history("BTC-USD", &Reply { status: 200, headers, body: body.to_owned() }, &mut out);
        assert_eq!(page, Ok(Page { older: Some(86_327_327) }));
        let msg = out.rows()[0].msg;
        assert_eq!((msg.side(), msg.price, msg.price_scale), (Side::Buy, 622_532, 2));
        assert_eq!(msg.ts_event, 1_584_664_619_860_000_000);
    }
}
