//! The REST API of OKX v5: instruments, latest and older trades, newest first, in one envelope for answers and errors.
//!
//! Pure: the server hands it requests, and the book holds what it tells. Its rows are single fills.

use serde_json::{Value, json};

use super::{price, side, size};
use crate::market::TradeMsg;
use crate::sim::history::Book;
use crate::sim::twin::{Answer, Listing, Target, fixed};

/// Rows of a page of older trades, unless the request says fewer.
const HISTORY_MAX: usize = 100;
/// Rows of the latest trades, unless the request says otherwise, and at most.
const LATEST: usize = 100;
const LATEST_MAX: usize = 500;

pub(super) fn answer(wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
    let answered = match target.path {
        "/api/v5/public/time" => Ok(json!([{"ts": (wall_ns / 1_000_000).to_string()}])),
        "/api/v5/public/instruments" => instruments(target, book),
        "/api/v5/market/trades" => latest(target, book),
        "/api/v5/market/history-trades" => history(target, book),
        _ => return error(404, "50404", "Not Found"),
    };
    answered.map_or_else(|error| error, |data| Answer::new(200, format!(r#"{{"code":"0","msg":"","data":{data}}}"#)))
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, format!(r#"{{"code":"{code}","msg":{},"data":[]}}"#, json!(message)))
}

fn instruments(target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let kind = target.parameter("instType").ok_or_else(|| missing("instType"))?;
    match (kind.as_str(), target.parameter("instId")) {
        ("SPOT", Some(id)) => {
            let (_, listing) = book.find(&id).ok_or_else(unknown)?;
            Ok(json!([instrument(listing)]))
        }
        ("SPOT", None) => Ok(book.listings().iter().map(instrument).collect()),
        // Kinds that it knows and of which this one lists none.
        ("MARGIN" | "SWAP" | "FUTURES" | "OPTION", _) => Ok(json!([])),
        _ => Err(wrong("instType")),
    }
}

fn instrument(listing: &Listing) -> Value {
    json!({
        "instType": "SPOT",
        "instId": listing.venue_symbol,
        "instFamily": "",
        "uly": "",
        "baseCcy": listing.base,
        "quoteCcy": listing.quote,
        "settleCcy": "",
        "ctVal": "",
        "ctMult": "",
        "ctValCcy": "",
        "tickSz": fixed(1, listing.price_decimals, 0),
        "lotSz": fixed(1, listing.size_decimals, 0),
        "minSz": fixed(1, listing.size_decimals, 0),
        "listTime": "1606468572000",
        "expTime": "",
        "state": "live",
    })
}

fn latest(target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let (index, listing) = listed(target, book)?;
    let limit = limit(target, LATEST, LATEST_MAX)?;
    Ok(book.trades(index).rev().take(limit).map(|trade| row(listing, trade)).collect())
}

/// `after` is older and `before` is newer than the cursor: an id, or with `type=2` a time in milliseconds.
fn history(target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let (index, listing) = listed(target, book)?;
    let limit = limit(target, HISTORY_MAX, HISTORY_MAX)?;
    let (after, before) = (number(target, "after")?, number(target, "before")?);
    let key = match target.parameter("type").as_deref() {
        None | Some("1") => |trade: &TradeMsg| trade.trade_id,
        Some("2") => |trade: &TradeMsg| trade.ts_event / 1_000_000,
        Some(_) => return Err(wrong("type")),
    };
    let older = |trade: &&TradeMsg| after.is_none_or(|after| key(trade) < after);
    let newer = |trade: &&TradeMsg| before.is_none_or(|before| key(trade) > before);
    let newest_first = book.trades(index).rev();
    let page = newest_first.skip_while(|trade| !older(trade)).take_while(newer).take(limit);
    Ok(page.map(|trade| row(listing, trade)).collect())
}

fn row(listing: &Listing, trade: &TradeMsg) -> Value {
    json!({
        "instId": listing.venue_symbol,
        "side": side(trade),
        "sz": size(trade).to_string(),
        "px": price(trade).to_string(),
        "tradeId": trade.trade_id.to_string(),
        "ts": (trade.ts_event / 1_000_000).to_string(),
    })
}

fn listed<'a>(target: &Target<'_>, book: &'a Book) -> Result<(usize, &'a Listing), Answer> {
    let id = target.parameter("instId").filter(|id| !id.is_empty()).ok_or_else(|| missing("instId"))?;
    book.find(&id).ok_or_else(unknown)
}

fn limit(target: &Target<'_>, usual: usize, most: usize) -> Result<usize, Answer> {
    let limit = number(target, "limit")?.map_or(usual, |limit| usize::try_from(limit).unwrap_or(most));
    Ok(limit.clamp(1, most).min(target.rows_max))
}

fn number(target: &Target<'_>, name: &str) -> Result<Option<u64>, Answer> {
    target.parameter(name).map(|text| text.parse().map_err(|_| wrong(name))).transpose()
}

fn unknown() -> Answer {
    error(200, "51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
}

fn missing(name: &str) -> Answer {
    error(400, "50014", &format!("Parameter {name} can not be empty."))
}

fn wrong(name: &str) -> Answer {
    error(400, "51000", &format!("Parameter {name} error"))
}
