//! Recordings read back: what `tail` writes as JSON, as CSV, and as the records themselves; `decode` writes the same.
//!
//! A line that cannot be read ends the reading, with its number and the cure: behind it nothing is certain.

use std::borrow::Cow;
use std::io::{self, BufRead, Read as _};

use serde::Deserialize;

use super::super::Failure;
use super::super::format::csv_cells;
use crate::market::instrument::instrument_id;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1, RECORD_BYTES};
use crate::market::{Decimal, Flags, GapMsg, GapReason, GapStrength, Record, Side, TradeMsg};

/// How a recording is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Csv,
    Raw,
}

/// A record of a recording, with its place: a line's number from 1, or a raw record's.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) at: u64,
    /// Exchange and symbol, where the recording has them.
    pub(super) names: Option<(&'a str, &'a str)>,
    /// The record, or why it is none.
    pub(super) record: Result<Record, String>,
}

const CURE: &str = "a recording is what `data-manager tail --format json`, `csv` or `raw` (as *.bin) writes, or \
                    `record` as Parquet or CSV";

/// What a recording is, by its name and its beginning.
pub(super) fn kind(name: &str, beginning: &[u8]) -> Result<Kind, Failure> {
    if [".bin", ".raw"].iter().any(|ending| name.ends_with(ending)) {
        return Ok(Kind::Raw);
    }
    let line = beginning.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let header = |name: &[u8]| line.trim_ascii().split(|byte| *byte == b',').any(|column| column == name);
    if line.trim_ascii().starts_with(b"{") {
        Ok(Kind::Json)
    } else if header(b"exchange") && header(b"trade_id") {
        Ok(Kind::Csv)
    } else {
        Err(Failure::failed(format!("{name}, line 1: neither JSON lines nor CSV with its header; {CURE}")))
    }
}

/// Reads all of a recording.
///
/// # Errors
/// What is wrong at which line, and what would help.
pub(super) fn read(
    name: &str,
    kind: Kind,
    input: impl BufRead,
    take: impl FnMut(Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match kind {
        Kind::Raw => raw(name, input, take),
        Kind::Json => lines(name, input, &mut |line| json(line).map(Some), take),
        Kind::Csv => {
            let mut columns = None;
            let mut one = |line: &str| match &columns {
                None => Columns::read(line).map(|found| {
                    columns = Some(found);
                    None
                }),
                Some(columns) => csv(columns, line).map(Some),
            };
            lines(name, input, &mut one, take)
        }
    }
}

/// Names and record of one line.
type Named = (String, String, Record);

fn lines(
    name: &str,
    mut input: impl BufRead,
    one: &mut dyn FnMut(&str) -> Result<Option<Named>, String>,
    mut take: impl FnMut(Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for at in 1.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes).map_err(|error| cannot_read(name, &error))? == 0 {
            break;
        }
        let whole = bytes.ends_with(b"\n");
        let read = std::str::from_utf8(&bytes).map_err(|error| format!("not UTF-8: {error}"));
        let read = read.and_then(|line| if line.trim().is_empty() { Ok(None) } else { one(line.trim()) });
        match read {
            Ok(None) => {}
            Ok(Some((exchange, symbol, record))) => {
                take(Found { at, names: Some((&exchange, &symbol)), record: Ok(record) })?;
            }
            Err(why) if !whole => {
                let cure = "the recording is cut off here: remove its last line";
                return Err(Failure::failed(format!("{name}, line {at}: {why}; {cure}")));
            }
            Err(why) => return Err(Failure::failed(format!("{name}, line {at}: {why}; {CURE}"))),
        }
    }
    Ok(())
}

fn raw(
    name: &str,
    mut input: impl BufRead,
    mut take: impl FnMut(Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    for at in 1_u64.. {
        bytes.clear();
        let length = input.by_ref().take(RECORD_BYTES as u64).read_to_end(&mut bytes);
        match length.map_err(|error| cannot_read(name, &error))? {
            0 => break,
            RECORD_BYTES => {
                take(Found { at, names: None, record: Record::from_bytes(&bytes).map_err(|error| error.to_string()) })?;
            }
            length => {
                let whole = (at - 1) * RECORD_BYTES as u64;
                return Err(Failure::failed(format!(
                    "{name}, record {at}: {length} bytes are no record of {RECORD_BYTES}; it is cut off (`head -c \
                     {whole}` keeps what is whole), or no file of raw records: {CURE}"
                )));
            }
        }
    }
    Ok(())
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot read {name}: {error}"))
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    exchange: Cow<'a, str>,
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    size: Option<Cow<'a, str>>,
    #[serde(borrow)]
    side: Option<Cow<'a, str>>,
    ts_event: Option<u64>,
    ts_recv: Option<u64>,
    #[serde(borrow)]
    trade_id: Option<Cow<'a, str>>,
    flags: Option<Vec<String>>,
    #[serde(borrow)]
    gap: Option<Gap<'a>>,
}

#[derive(Deserialize)]
struct Gap<'a> {
    ts_start: u64,
    ts_end: u64,
    #[serde(borrow)]
    first_id: Cow<'a, str>,
    #[serde(borrow)]
    last_id: Cow<'a, str>,
    missing: u64,
    #[serde(borrow)]
    strength: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    flags: Vec<String>,
}

fn json(text: &str) -> Result<Named, String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| format!("not the JSON of a trade: {error}"))?;
    let id = id_of(&line.exchange, &line.symbol);
    let record = if let Some(gap) = &line.gap {
        Record::Gap(GapMsg {
            ts_start: gap.ts_start,
            ts_end: gap.ts_end,
            first_id: number("first_id", &gap.first_id)?,
            last_id: number("last_id", &gap.last_id)?,
            missing: gap.missing,
            instrument_id: id,
            strength: strength(&gap.strength),
            reason: reason(&gap.reason),
            flags: flags(gap.flags.iter().map(String::as_str))?,
            kind: KIND_GAP_V1,
        })
    } else {
        let flags = flags(line.flags.iter().flatten().map(String::as_str))?;
        let field = |name: &str, value: &Option<Cow<'_, str>>| {
            value.as_deref().map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
        };
        trade(&Texts {
            price: &field("price", &line.price)?,
            size: &field("size", &line.size)?,
            side: &field("side", &line.side)?,
            trade_id: &field("trade_id", &line.trade_id)?,
            ts_event: line.ts_event.ok_or_else(|| "ts_event is missing".to_owned())?,
            ts_recv: line.ts_recv.unwrap_or(0),
            flags,
            id,
        })?
    };
    Ok((line.exchange.into_owned(), line.symbol.into_owned(), record))
}

/// Where in a row what stands.
struct Columns {
    exchange: usize,
    symbol: usize,
    price: usize,
    size: usize,
    side: usize,
    ts_event: usize,
    trade_id: usize,
    flags: usize,
    /// Not in what `decode` writes.
    ts_recv: Option<usize>,
    count: usize,
}

impl Columns {
    fn read(header: &str) -> Result<Self, String> {
        let place = |name: &str| header.split(',').position(|column| column.trim() == name);
        let must = |name: &str| place(name).ok_or_else(|| format!("no column {name} in the header"));
        Ok(Self {
            exchange: must("exchange")?,
            symbol: must("symbol")?,
            price: must("price")?,
            size: must("size")?,
            side: must("side")?,
            ts_event: must("ts_event")?,
            trade_id: must("trade_id")?,
            flags: must("flags")?,
            ts_recv: place("ts_recv"),
            count: header.split(',').count(),
        })
    }
}

fn csv(columns: &Columns, row: &str) -> Result<Named, String> {
    let fields = csv_cells(row);
    if fields.len() != columns.count {
        return Err(format!("{} columns, and the header has {}", fields.len(), columns.count));
    }
    let field = |place: usize| fields.get(place).map_or("", |field| &**field);
    let (exchange, symbol) = (field(columns.exchange), field(columns.symbol));
    let id = id_of(exchange, symbol);
    let words = field(columns.flags).split(' ').filter(|word| !word.is_empty());
    let ts_event = number("ts_event", field(columns.ts_event))?;
    let ts_recv = columns.ts_recv.map_or(Ok(0), |place| number("ts_recv", field(place)))?;
    let record = if field(columns.side) == "gap" {
        let mut words = words;
        let reason = reason(words.next().unwrap_or_default());
        let Some(strength) = words.next().map(strength) else {
            return Err("a gap without its strength: an older tail has written it; record as JSON".to_owned());
        };
        Record::Gap(GapMsg {
            ts_start: ts_event,
            ts_end: ts_recv,
            first_id: number("trade_id", field(columns.trade_id))?,
            last_id: number("price", field(columns.price))?,
            missing: number("size", field(columns.size))?,
            instrument_id: id,
            strength,
            reason,
            flags: flags(words)?,
            kind: KIND_GAP_V1,
        })
    } else {
        trade(&Texts {
            price: field(columns.price),
            size: field(columns.size),
            side: field(columns.side),
            trade_id: field(columns.trade_id),
            ts_event,
            ts_recv,
            flags: flags(words)?,
            id,
        })?
    };
    Ok((exchange.to_owned(), symbol.to_owned(), record))
}

/// A trade as text.
struct Texts<'a> {
    price: &'a str,
    size: &'a str,
    side: &'a str,
    trade_id: &'a str,
    ts_event: u64,
    ts_recv: u64,
    flags: u8,
    id: u32,
}

fn trade(texts: &Texts<'_>) -> Result<Record, String> {
    let decimal = |name: &str, text: &str| Decimal::parse(text).map_err(|error| format!("{name} {text:?}: {error}"));
    let (price, size) = (decimal("price", texts.price)?, decimal("size", texts.size)?);
    let side = match texts.side {
        "none" => Side::None,
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        other => return Err(format!("side {other:?} is neither none, buy, sell nor gap")),
    };
    Ok(Record::Trade(TradeMsg {
        ts_event: texts.ts_event,
        ts_recv: texts.ts_recv,
        trade_id: number("trade_id", texts.trade_id)?,
        price: price.price().map_err(|error| format!("price {:?}: {error}", texts.price))?,
        size: size.size().map_err(|error| format!("size {:?}: {error}", texts.size))?,
        instrument_id: texts.id,
        price_scale: price.scale(),
        size_scale: size.scale(),
        flags: texts.flags | side as u8,
        kind: KIND_TRADE_V1,
    }))
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{name} {text:?} is no number of 64 bits"))
}

/// The id of names; an instrument that a ring did not name is written by its id.
fn id_of(exchange: &str, symbol: &str) -> u32 {
    let unnamed = symbol.strip_prefix('#').and_then(|id| id.parse().ok());
    unnamed.unwrap_or_else(|| instrument_id(exchange, symbol))
}

fn flags<'a>(names: impl Iterator<Item = &'a str>) -> Result<u8, String> {
    let bit = |name: &str| Flags::NAMES.iter().find(|(_, known)| *known == name).map(|(bit, _)| *bit);
    names.map(|name| bit(name).ok_or_else(|| format!("no flag {name:?}"))).try_fold(0, |all, bit| Ok(all | bit?))
}

/// The wire value of a name; 0, which none has, for one that is unknown.
fn strength(name: &str) -> u8 {
    (0..=u8::MAX).find(|wire| GapStrength::from_wire(*wire).is_some_and(|known| known.as_str() == name)).unwrap_or(0)
}

fn reason(name: &str) -> u8 {
    (0..=u8::MAX).find(|wire| GapReason::from_wire(*wire).is_some_and(|known| known.as_str() == name)).unwrap_or(0)
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
