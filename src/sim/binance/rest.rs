//! The REST API of Binance spot: instruments, recent and historical trades, weights and errors.
//!
//! Pure: the server hands it requests, and the book holds what it tells.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PLACES;
use crate::market::{Side, TradeMsg};
use crate::sim::history::Book;
use crate::sim::twin::{Answer, Listing, Target, fixed, price_text};

/// Rows of a page unless the request says otherwise, and at most.
const LIMIT: usize = 500;
const LIMIT_MAX: usize = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The weight used in the minute at hand.
#[derive(Debug)]
pub(super) struct Weight {
    since: Option<Instant>,
    used: u32,
    max: u32,
}

impl Weight {
    pub(super) const fn new(max: u32) -> Self {
        Self { since: None, used: 0, max }
    }

    /// Takes `weight`; the error is the wait until the next minute.
    fn take(&mut self, now: Instant, weight: u32) -> Result<(), Duration> {
        let since = match self.since {
            Some(since) if now.saturating_duration_since(since) < MINUTE => since,
            _ => {
                self.used = 0;
                *self.since.insert(now)
            }
        };
        self.used = self.used.saturating_add(weight);
        if self.used <= self.max { Ok(()) } else { Err((since + MINUTE).saturating_duration_since(now)) }
    }
}

pub(super) fn answer(weight: &mut Weight, now: Instant, wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
    let cost = match target.path {
        "/api/v3/exchangeInfo" => 20,
        "/api/v3/trades" | "/api/v3/historicalTrades" => 25,
        "/api/v3/aggTrades" => 4,
        _ => 1,
    };
    let answer = match weight.take(now, cost) {
        Ok(()) => route(wall_ns, target, book),
        Err(wait) => too_much(weight.max).with("retry-after", wait.as_secs() + 1),
    };
    answer.with("x-mbx-used-weight-1m", weight.used)
}

fn route(wall_ns: u64, target: &Target<'_>, book: &Book) -> Answer {
    let answered = match target.path {
        "/api/v3/ping" => Ok(json!({})),
        "/api/v3/time" => Ok(json!({"serverTime": wall_ns / 1_000_000})),
        "/api/v3/exchangeInfo" => exchange_info(wall_ns, target, book),
        "/api/v3/trades" => trades(target, book),
        "/api/v3/historicalTrades" => historical_trades(target, book),
        "/api/v3/aggTrades" => aggregate_trades(target, book),
        _ => return Answer::new(404, String::new()),
    };
    answered.map_or_else(|error| error, |body| Answer::new(200, body.to_string()))
}

fn too_much(max: u32) -> Answer {
    let message = format!(
        "Too much request weight used; current limit is {max} request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."
    );
    error(429, -1003, &message)
}

fn error(status: u16, code: i32, message: &str) -> Answer {
    Answer::new(status, json!({"code": code, "msg": message}).to_string())
}

fn exchange_info(wall_ns: u64, target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let wanted: Option<Vec<String>> = match (target.parameter("symbol"), target.parameter("symbols")) {
        (Some(symbol), _) => Some(vec![symbol]),
        (None, Some(list)) => Some(serde_json::from_str(&list).map_err(|_| malformed("symbols"))?),
        (None, None) => None,
    };
    if let Some(unknown) = wanted.iter().flatten().find(|symbol| book.find(symbol).is_none()) {
        return Err(invalid_symbol(unknown));
    }
    let is_wanted = |listing: &&Listing| wanted.as_ref().is_none_or(|wanted| wanted.contains(&listing.venue_symbol));
    let symbols: Vec<Value> = book.listings().iter().filter(is_wanted).map(instrument).collect();
    Ok(json!({
        "timezone": "UTC",
        "serverTime": wall_ns / 1_000_000,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}],
        "exchangeFilters": [],
        "symbols": symbols,
    }))
}

fn instrument(listing: &Listing) -> Value {
    let tick = fixed(1, listing.price_decimals, PLACES);
    let lot = fixed(1, listing.size_decimals, PLACES);
    json!({
        "symbol": listing.venue_symbol,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": true,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000.00000000", "stepSize": lot},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    })
}

fn trades(target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let symbol = symbol(target, book)?;
    let limit = limit(target)?;
    let newest: Vec<Value> = book.trades(symbol).rev().take(limit).map(row).collect();
    Ok(newest.into_iter().rev().collect())
}

fn historical_trades(target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let Some(from) = number(target, "fromId")? else { return trades(target, book) };
    let symbol = symbol(target, book)?;
    let limit = limit(target)?;
    Ok(book.trades_from(symbol, from).take(limit).map(row).collect())
}

/// Every trade stands as an aggregate of itself: enough for paging by id, and `f` follows `l` as it should.
fn aggregate_trades(target: &Target<'_>, book: &Book) -> Result<Value, Answer> {
    let symbol = symbol(target, book)?;
    let limit = limit(target)?;
    let row = |trade: &TradeMsg| {
        let id = trade.trade_id;
        json!({"a": id, "p": price_text(trade, PLACES), "q": size(trade), "f": id, "l": id,
            "T": trade.ts_event / 1_000_000, "m": trade.side() == Side::Sell, "M": true})
    };
    let start = number(target, "startTime")?.map(|ms| ms.saturating_mul(1_000_000));
    let end = number(target, "endTime")?.map_or(u64::MAX, |ms| ms.saturating_mul(1_000_000));
    match (number(target, "fromId")?, start) {
        (Some(from), _) => Ok(book.trades_from(symbol, from).take(limit).map(row).collect()),
        (None, Some(start)) => {
            let within = |trade: &&TradeMsg| trade.ts_event >= start && trade.ts_event <= end;
            Ok(book.trades(symbol).filter(within).take(limit).map(row).collect())
        }
        (None, None) => {
            let newest: Vec<Value> = book.trades(symbol).rev().take(limit).map(row).collect();
            Ok(newest.into_iter().rev().collect())
        }
    }
}

fn row(trade: &TradeMsg) -> Value {
    let quote = u128::from(trade.price.unsigned_abs()) * u128::from(trade.size);
    json!({
        "id": trade.trade_id,
        "price": price_text(trade, PLACES),
        "qty": size(trade),
        "quoteQty": quote_text(quote, trade.price_scale + trade.size_scale),
        "time": trade.ts_event / 1_000_000,
        "isBuyerMaker": trade.side() == Side::Sell,
        "isBestMatch": true,
    })
}

fn size(trade: &TradeMsg) -> String {
    fixed(trade.size, trade.size_scale, PLACES)
}

/// Price times size, cut to 8 decimals as the venue gives it.
fn quote_text(value: u128, scale: u8) -> String {
    let places = u32::from(PLACES);
    let scale = u32::from(scale);
    let value = if scale > places { value / 10_u128.pow(scale - places) } else { value * 10_u128.pow(places - scale) };
    let unit = 10_u128.pow(places);
    format!("{}.{:08}", value / unit, value % unit)
}

fn symbol(target: &Target<'_>, book: &Book) -> Result<usize, Answer> {
    let Some(symbol) = target.parameter("symbol").filter(|symbol| !symbol.is_empty()) else {
        let message = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.";
        return Err(error(400, -1102, message));
    };
    book.find(&symbol).map(|(index, _)| index).ok_or_else(|| invalid_symbol(&symbol))
}

fn invalid_symbol(symbol: &str) -> Answer {
    // The venue takes upper case only, and tells the two errors apart.
    let legal =
        symbol.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_.".contains(c) || !c.is_ascii());
    if legal {
        return error(400, -1121, "Invalid symbol.");
    }
    error(400, -1100, "Illegal characters found in parameter 'symbol'; legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'.")
}

fn limit(target: &Target<'_>) -> Result<usize, Answer> {
    let limit = number(target, "limit")?.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(LIMIT_MAX));
    Ok(limit.clamp(1, LIMIT_MAX).min(target.rows_max))
}

fn number(target: &Target<'_>, name: &str) -> Result<Option<u64>, Answer> {
    target.parameter(name).map(|text| text.parse().map_err(|_| malformed(name))).transpose()
}

fn malformed(name: &str) -> Answer {
    let message = format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.");
    error(400, -1100, &message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn weight_is_refused_beyond_the_limit_until_the_minute_ends() {
        let start = clock::now();
        let mut weight = Weight::new(50);
        assert_eq!(weight.take(start, 25), Ok(()));
        assert_eq!(weight.take(start, 25), Ok(()));
        assert_eq!(weight.take(start + Duration::from_secs(20), 1), Err(Duration::from_secs(40)));
        assert_eq!(weight.take(start + MINUTE, 1), Ok(()));
        assert_eq!(weight.used, 1);
    }

    #[test]
    fn the_quote_quantity_is_price_times_size_in_eight_decimals() {
        assert_eq!(quote_text(4_000_001 * 12, 6), "48.00001200");
        assert_eq!(quote_text(123_456_789, 10), "0.01234567");
    }
}
