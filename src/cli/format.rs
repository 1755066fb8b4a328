//! How a record looks on a line: JSON, CSV, or columns for people.

use std::borrow::Cow;
use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::market::{Decimal, Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};

const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One object a line.
    Json,
    /// Comma-separated, with a header line.
    Csv,
    /// Columns for people.
    Pretty,
}

/// What stands beside a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) symbol: &'a str,
    /// Only from `decode`: the frame's line, the trade's place in it, the venue's spelling.
    pub(crate) frame: Option<(u64, usize, &'a str)>,
}

#[derive(Serialize)]
struct TradeLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<usize>,
    exchange: &'a str,
    symbol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue_symbol: Option<&'a str>,
    price: String,
    size: String,
    side: &'static str,
    ts_event: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts_recv: Option<u64>,
    trade_id: String,
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct GapLine<'a> {
    exchange: &'a str,
    symbol: &'a str,
    gap: Gap,
}

#[derive(Serialize)]
struct Gap {
    ts_start: u64,
    ts_end: u64,
    first_id: String,
    last_id: String,
    missing: u64,
    strength: &'static str,
    reason: &'static str,
    flags: Vec<&'static str>,
}

/// The header of CSV; `decode` has three columns more, and no time of receipt.
pub(crate) const fn csv_header(from_decode: bool) -> &'static str {
    if from_decode {
        "line,i,exchange,symbol,venue_symbol,price,size,side,ts_event,trade_id,flags"
    } else {
        "exchange,symbol,price,size,side,ts_event,trade_id,flags,ts_recv"
    }
}

/// One line, without its end.
pub(crate) fn line(format: Format, place: Place<'_>, record: &Record) -> String {
    match (format, record) {
        (Format::Json, Record::Trade(trade)) => json(&trade_line(place, trade)),
        (Format::Json, Record::Gap(gap)) => {
            json(&GapLine { exchange: place.exchange, symbol: place.symbol, gap: gap_line(gap) })
        }
        (Format::Csv, Record::Trade(trade)) => csv(&trade_line(place, trade)),
        (Format::Csv, Record::Gap(gap)) => csv_gap(place, gap),
        (Format::Pretty, Record::Trade(trade)) => pretty(place, trade),
        (Format::Pretty, Record::Gap(gap)) => pretty_gap(place, gap),
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

fn trade_line<'a>(place: Place<'a>, trade: &TradeMsg) -> TradeLine<'a> {
    TradeLine {
        line: place.frame.map(|(line, _, _)| line),
        i: place.frame.map(|(_, i, _)| i),
        exchange: place.exchange,
        symbol: place.symbol,
        venue_symbol: place.frame.map(|(_, _, venue_symbol)| venue_symbol),
        price: Decimal::from_price(trade.price, trade.price_scale).to_string(),
        size: Decimal::from_size(trade.size, trade.size_scale).to_string(),
        side: trade.side().as_str(),
        ts_event: trade.ts_event,
        // A frame that is decoded carries no time of receipt.
        ts_recv: place.frame.is_none().then_some(trade.ts_recv),
        trade_id: trade.trade_id.to_string(),
        flags: trade.flag_set().names().collect(),
    }
}

fn gap_line(gap: &GapMsg) -> Gap {
    Gap {
        ts_start: gap.ts_start,
        ts_end: gap.ts_end,
        first_id: gap.first_id.to_string(),
        last_id: gap.last_id.to_string(),
        missing: gap.missing,
        strength: GapStrength::from_wire(gap.strength).map_or("unknown", GapStrength::as_str),
        reason: GapReason::from_wire(gap.reason).map_or("unknown", GapReason::as_str),
        flags: Flags::from_bits(gap.flags).names().collect(),
    }
}

fn csv(line: &TradeLine<'_>) -> String {
    let mut text = String::new();
    if let (Some(number), Some(i)) = (line.line, line.i) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{number},{i},");
    }
    let _ = write!(text, "{},{},", cell(line.exchange), cell(line.symbol));
    if let Some(venue_symbol) = line.venue_symbol {
        let _ = write!(text, "{venue_symbol},");
    }
    let flags = line.flags.join(" ");
    let _ = write!(text, "{},{},{},{},{},{flags}", line.price, line.size, line.side, line.ts_event, line.trade_id);
    if let Some(ts_recv) = line.ts_recv {
        let _ = write!(text, ",{ts_recv}");
    }
    text
}

/// A gap in a table of trades. As in the record itself the last id stands where a trade has its price, the number where
/// it has its size, and the end where it has its time of receipt; the side says what it is.
fn csv_gap(place: Place<'_>, gap: &GapMsg) -> String {
    let line = gap_line(gap);
    let flags: String = line.flags.iter().map(|flag| format!(" {flag}")).collect();
    let (reason, strength) = (line.reason, line.strength);
    format!(
        "{},{},{},{},gap,{},{},{reason} {strength}{flags},{}",
        cell(place.exchange),
        cell(place.symbol),
        line.last_id,
        line.missing,
        line.ts_start,
        line.first_id,
        line.ts_end
    )
}

/// A name as a cell of CSV: in quotes where it would end its cell (RFC 4180).
fn cell(name: &str) -> Cow<'_, str> {
    if name.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(name)
    }
}

/// The cells of a line of CSV, without their quotes.
pub(crate) fn csv_cells(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains('"') {
        return line.split(',').map(Cow::Borrowed).collect();
    }
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(Cow::Owned(std::mem::take(&mut cell))),
            letter => cell.push(letter),
        }
    }
    cells.push(Cow::Owned(cell));
    cells
}

fn pretty(place: Place<'_>, trade: &TradeMsg) -> String {
    let line = trade_line(place, trade);
    format!(
        "{}  {:<10} {:<14} {:<4} {:>16} x {:<16} #{:<14} {}",
        when(line.ts_event),
        line.exchange,
        line.symbol,
        line.side,
        line.price,
        line.size,
        line.trade_id,
        line.flags.join(" ")
    )
    .trim_end()
    .to_owned()
}

fn pretty_gap(place: Place<'_>, gap: &GapMsg) -> String {
    let line = gap_line(gap);
    let missing = if gap.missing == 0 { "an unknown number of".to_owned() } else { gap.missing.to_string() };
    let filled = if line.flags.is_empty() { "" } else { ", filled since" };
    format!(
        "{}  {:<10} {:<14} gap  {missing} trades missing, ids {} to {}, {} ({}){filled}",
        when(line.ts_start),
        place.exchange,
        place.symbol,
        line.first_id,
        line.last_id,
        line.reason,
        line.strength
    )
}

fn when(ns: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns))
        .ok()
        .and_then(|time| time.format(TIME).ok())
        .unwrap_or_else(|| ns.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Side;
    use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};

    fn trade() -> Record {
        Record::Trade(TradeMsg {
            ts_event: 1_652_459_224_818_000_000,
            ts_recv: 1,
            trade_id: 338_476_307,
            price: 30_236,
            size: 2,
            instrument_id: 1,
            price_scale: 0,
            size_scale: 4,
            flags: Flags::new(Side::Buy).bits(),
            kind: KIND_TRADE_V1,
        })
    }

    #[test]
    fn a_line_is_what_the_contract_says() {
        let place = Place { exchange: "x", symbol: "BTCUSDT", frame: Some((0, 0, "BTC-USDT")) };
        assert_eq!(
            line(Format::Json, place, &trade()),
            r#"{"line":0,"i":0,"exchange":"x","symbol":"BTCUSDT","venue_symbol":"BTC-USDT","price":"30236","size":"0.0002","side":"buy","ts_event":1652459224818000000,"trade_id":"338476307","flags":[]}"#
        );
        assert_eq!(
            line(Format::Csv, place, &trade()),
            "0,0,x,BTCUSDT,BTC-USDT,30236,0.0002,buy,1652459224818000000,338476307,"
        );
        assert_eq!(csv_header(true).split(',').count(), line(Format::Csv, place, &trade()).split(',').count());
        let place = Place { frame: None, ..place };
        let whole = line(Format::Json, place, &trade());
        assert!(whole.starts_with(r#"{"exchange":"x","symbol":"BTCUSDT","price""#), "{whole}");
        assert!(whole.contains(r#""ts_event":1652459224818000000,"ts_recv":1,"trade_id""#), "{whole}");
        assert_eq!(csv_header(false).split(',').count(), line(Format::Csv, place, &trade()).split(',').count());
        assert!(line(Format::Pretty, place, &trade()).starts_with("2022-05-13T16:27:04.818000Z  x "));
    }

    #[test]
    fn names_that_would_end_their_cell_are_quoted() {
        for symbol in ["A,B", "\"", "a\"\"b", "A\nB", ",", "plain"] {
            let place = Place { exchange: "x", symbol, frame: None };
            let line = line(Format::Csv, place, &trade());
            let cells = csv_cells(&line);
            assert_eq!(cells.len(), csv_header(false).split(',').count(), "{line}");
            assert_eq!(cells[1], symbol, "{line}");
        }
        assert_eq!(csv_cells(r#"x,"A,B",1"#), ["x", "A,B", "1"]);
    }

    #[test]
    fn a_gap_tells_what_is_missing() {
        let gap = Record::Gap(GapMsg {
            ts_start: 5,
            ts_end: 6,
            first_id: 10,
            last_id: 12,
            missing: 3,
            instrument_id: 1,
            strength: 1,
            reason: 2,
            flags: 0,
            kind: KIND_GAP_V1,
        });
        let place = Place { exchange: "x", symbol: "BTCUSDT", frame: None };
        let text = line(Format::Json, place, &gap);
        assert!(text.contains(r#""missing":3,"strength":"proved","reason":"stall""#), "{text}");
        assert_eq!(csv_header(false).split(',').count(), line(Format::Csv, place, &gap).split(',').count());
        assert!(line(Format::Pretty, place, &gap).contains("3 trades missing, ids 10 to 12, stall (proved)"));
    }
}
