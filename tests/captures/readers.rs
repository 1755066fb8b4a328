//! Reads trades by way of generic JSON values: no line of it is shared with the decoders.

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Trade, plain, text};

pub(crate) fn read_binance(frame: &Value) -> Vec<Trade> {
    binance_trade(frame).into_iter().collect()
}

fn binance_trade(frame: &Value) -> Option<Trade> {
    let data = frame.get("data").unwrap_or(frame);
    let id = match data.get("e")?.as_str()? {
        "trade" => "t",
        "aggTrade" => "a",
        _ => return None,
    };
    let seller_took = data.get("m")?.as_bool()?;
    let several = data.get("l").and_then(Value::as_i64) > data.get("f").and_then(Value::as_i64);
    Some(Trade {
        venue_symbol: text(data, "s"),
        price: plain(&text(data, "p")),
        size: plain(&text(data, "q")),
        side: if seller_took { "sell" } else { "buy" }.to_owned(),
        trade_id: data[id].as_u64()?.to_string(),
        ts_event: data["T"].as_u64().map(|time| time * if time < 100_000_000_000_000 { 1_000_000 } else { 1_000 })?,
        flags: several.then(|| "aggregated".to_owned()).into_iter().collect(),
    })
}

pub(crate) fn read_okx(frame: &Value) -> Vec<Trade> {
    let rows = frame["data"].as_array().filter(|_| frame["arg"]["channel"] == "trades");
    rows.into_iter().flatten().map(okx_trade).collect()
}

fn okx_trade(row: &Value) -> Trade {
    let several = row["count"].as_str().is_some_and(|count| count != "1");
    Trade {
        venue_symbol: text(row, "instId"),
        price: plain(&text(row, "px")),
        size: plain(&text(row, "sz")),
        side: text(row, "side"),
        trade_id: text(row, "tradeId"),
        ts_event: text(row, "ts").parse::<u64>().unwrap() * 1_000_000,
        flags: several.then(|| "aggregated".to_owned()).into_iter().collect(),
    }
}

pub(crate) fn read_coinbase(frame: &Value) -> Vec<Trade> {
    coinbase_trade(frame).into_iter().collect()
}

fn coinbase_trade(frame: &Value) -> Option<Trade> {
    let history = match frame.get("type")?.as_str()? {
        "match" => false,
        "last_match" => true,
        _ => return None,
    };
    let time = OffsetDateTime::parse(frame["time"].as_str()?, &Rfc3339).ok()?;
    Some(Trade {
        venue_symbol: text(frame, "product_id"),
        price: plain(&text(frame, "price")),
        size: plain(&text(frame, "size")),
        side: if frame["side"] == "sell" { "buy" } else { "sell" }.to_owned(),
        trade_id: frame["trade_id"].as_u64()?.to_string(),
        ts_event: u64::try_from(time.unix_timestamp_nanos()).ok()?,
        flags: history.then(|| "snapshot".to_owned()).into_iter().collect(),
    })
}
