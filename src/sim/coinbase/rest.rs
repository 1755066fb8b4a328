//! The REST API of Coinbase Exchange: products, and trades newest first with cursors in the headers.
//!
//! Pure: the server hands it requests, and the book holds what it tells.

use serde_json::{Value, json};

use super::{maker_side, time_text};
use crate::market::TradeMsg;
use crate::sim::history::Book;
use crate::sim::twin::{Answer, Listing, Target, fixed, price_text};

/// Rows of a page, unless the request says fewer.
const LIMIT_MAX: usize = 1_000;

pub(super) fn answer(wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
    let mut parts = target.path.split('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("time"), None, ..) => ok(&json!({"iso": time_text(wall_ns), "epoch": wall_ns / 1_000_000_000})),
        (Some("products"), None, ..) => ok(&book.listings().iter().map(product).collect()),
        (Some("products"), Some(id), None, _) => match book.find(id) {
            Some((_, listing)) => ok(&product(listing)),
            None => not_found(),
        },
        (Some("products"), Some(id), Some("trades"), None) => match book.find(id) {
            Some((index, _)) => trades(target, book, index),
            None => not_found(),
        },
        _ => not_found(),
    }
}

fn ok(body: &Value) -> Answer {
    Answer::new(200, body.to_string())
}

fn not_found() -> Answer {
    Answer::new(404, json!({"message": "NotFound"}).to_string())
}

fn bad_request(message: &str) -> Answer {
    Answer::new(400, json!({"message": message}).to_string())
}

fn product(listing: &Listing) -> Value {
    json!({
        "id": listing.venue_symbol,
        "base_currency": listing.base,
        "quote_currency": listing.quote,
        "quote_increment": fixed(1, listing.price_decimals, 0),
        "base_increment": fixed(1, listing.size_decimals, 0),
        "display_name": format!("{}/{}", listing.base, listing.quote),
        "min_market_funds": "1",
        "margin_enabled": false,
        "post_only": false,
        "limit_only": false,
        "cancel_only": false,
        "status": "online",
        "status_message": "",
        "trading_disabled": false,
        "fx_stablecoin": false,
        "auction_mode": false,
    })
}

/// `before` is newer and `after` is older than the cursor: not chronological words.
fn trades(target: &Target<'_>, book: &Book, index: usize) -> Answer {
    let cursor = |name| target.parameter(name).map(|text| text.parse::<u64>()).transpose();
    let (Ok(limit), Ok(before), Ok(after)) = (cursor("limit"), cursor("before"), cursor("after")) else {
        return bad_request("limit, before and after must be integers");
    };
    let limit = limit.map_or(LIMIT_MAX, |limit| usize::try_from(limit).unwrap_or(LIMIT_MAX)).clamp(1, LIMIT_MAX);
    let limit = limit.min(target.rows_max);
    let older_than = after.unwrap_or(u64::MAX);
    let newer_than = before.unwrap_or(0);
    let page = book.trades_below(index, older_than).take_while(|trade| trade.trade_id > newer_than);
    let page: Vec<&TradeMsg> = page.take(limit).collect();
    let rows: Value = page.iter().map(|trade| row(trade)).collect();
    let answer = ok(&rows);
    match (page.first(), page.last()) {
        (Some(newest), Some(oldest)) => answer.with("cb-before", newest.trade_id).with("cb-after", oldest.trade_id),
        _ => answer,
    }
}

fn row(trade: &TradeMsg) -> Value {
    json!({
        "time": time_text(trade.ts_event),
        "trade_id": trade.trade_id,
        "price": price_text(trade, 0),
        "size": fixed(trade.size, trade.size_scale, 0),
        "side": maker_side(trade),
    })
}
