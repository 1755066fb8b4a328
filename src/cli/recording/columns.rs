//! The columns of a Parquet recording: a name, a type, and what a record has there.
//!
//! Trades and gaps share a table; what only the other kind has is null.

use super::{Place, Row};
use crate::market::decimal::SCALE_MAX;
use crate::market::{GapMsg, GapReason, GapStrength, Record, TradeMsg};

/// What a column takes from a record.
pub(super) enum Take {
    Long(fn(&Row) -> Option<i64>),
    Int(fn(&Row) -> Option<i32>),
    Text(fn(&Row) -> Option<&str>),
    /// A number of 128 bits, of which the last 18 decimal digits stand behind the point.
    Decimal(fn(&Row) -> Option<i128>),
}

/// A column.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its type as Parquet writes it, `{}` for the name.
    pub(super) kind: &'static str,
    pub(super) take: Take,
}

const U64: &str = "OPTIONAL INT64 {} (INTEGER(64,false));";
const U32: &str = "OPTIONAL INT32 {} (INTEGER(32,false));";
const U8: &str = "OPTIONAL INT32 {} (INTEGER(8,false));";
const I64: &str = "OPTIONAL INT64 {} (INTEGER(64,true));";
const TIME: &str = "OPTIONAL INT64 {} (TIMESTAMP(NANOS,true));";
const TEXT: &str = "OPTIONAL BYTE_ARRAY {} (STRING);";
const DECIMAL: &str = "OPTIONAL FIXED_LEN_BYTE_ARRAY (16) {} (DECIMAL(38,18));";

const fn column(name: &'static str, kind: &'static str, take: Take) -> Column {
    Column { name, kind, take }
}

/// All columns, in the order of the file.
pub(super) const COLUMNS: [Column; 28] = [
    column("exchange", TEXT, Take::Text(|row| Some(&row.exchange))),
    column("symbol", TEXT, Take::Text(|row| Some(&row.symbol))),
    column("sequence", U64, Take::Long(|row| stream(row).map(|(sequence, _)| bits(sequence)))),
    column("message_index", U32, Take::Int(|row| stream(row).map(|(_, index)| index.cast_signed()))),
    column("ring_epoch", U64, Take::Long(|row| ring(row).map(|(epoch, _)| bits(epoch)))),
    column("ring_position", U64, Take::Long(|row| ring(row).map(|(_, position)| bits(position)))),
    column("kind", U8, Take::Int(|row| Some(tail(row).kind))),
    column("instrument_id", U32, Take::Int(|row| Some(row.record.instrument_id().cast_signed()))),
    column("flags", U8, Take::Int(|row| Some(tail(row).flags))),
    column("side", TEXT, Take::Text(|row| trade(row).map(|trade| trade.side().as_str()))),
    column("ts_event", TIME, Take::Long(|row| trade(row).map(|trade| bits(trade.ts_event)))),
    column("ts_recv", TIME, Take::Long(|row| trade(row).map(|trade| bits(trade.ts_recv)))),
    column("trade_id", U64, Take::Long(|row| trade(row).map(|trade| bits(trade.trade_id)))),
    column("price", DECIMAL, Take::Decimal(|row| scaled(i128::from(trade(row)?.price), trade(row)?.price_scale))),
    column("size", DECIMAL, Take::Decimal(|row| scaled(i128::from(trade(row)?.size), trade(row)?.size_scale))),
    column("price_mantissa", I64, Take::Long(|row| trade(row).map(|trade| trade.price))),
    column("price_scale", U8, Take::Int(|row| trade(row).map(|trade| i32::from(trade.price_scale)))),
    column("size_mantissa", U64, Take::Long(|row| trade(row).map(|trade| bits(trade.size)))),
    column("size_scale", U8, Take::Int(|row| trade(row).map(|trade| i32::from(trade.size_scale)))),
    column("gap_ts_start", TIME, Take::Long(|row| gap(row).map(|gap| bits(gap.ts_start)))),
    column("gap_ts_end", TIME, Take::Long(|row| gap(row).map(|gap| bits(gap.ts_end)))),
    column("gap_first_id", U64, Take::Long(|row| gap(row).map(|gap| bits(gap.first_id)))),
    column("gap_last_id", U64, Take::Long(|row| gap(row).map(|gap| bits(gap.last_id)))),
    column("gap_missing", U64, Take::Long(|row| gap(row).map(|gap| bits(gap.missing)))),
    column("gap_strength", U8, Take::Int(|row| gap(row).map(|gap| i32::from(gap.strength)))),
    column("gap_reason", U8, Take::Int(|row| gap(row).map(|gap| i32::from(gap.reason)))),
    column(
        "gap_strength_name",
        TEXT,
        Take::Text(|row| GapStrength::from_wire(gap(row)?.strength).map(GapStrength::as_str)),
    ),
    column("gap_reason_name", TEXT, Take::Text(|row| GapReason::from_wire(gap(row)?.reason).map(GapReason::as_str))),
];

/// The bytes that both kinds have at the same places.
struct Tail {
    flags: i32,
    kind: i32,
}

fn tail(row: &Row) -> Tail {
    let (flags, kind) = match &row.record {
        Record::Trade(trade) => (trade.flags, trade.kind),
        Record::Gap(gap) => (gap.flags, gap.kind),
    };
    Tail { flags: i32::from(flags), kind: i32::from(kind) }
}

const fn trade(row: &Row) -> Option<&TradeMsg> {
    match &row.record {
        Record::Trade(trade) => Some(trade),
        Record::Gap(_) => None,
    }
}

const fn gap(row: &Row) -> Option<&GapMsg> {
    match &row.record {
        Record::Gap(gap) => Some(gap),
        Record::Trade(_) => None,
    }
}

const fn stream(row: &Row) -> Option<(u64, u32)> {
    match row.place {
        Place::Stream { sequence, index } => Some((sequence, index)),
        Place::Ring { .. } => None,
    }
}

const fn ring(row: &Row) -> Option<(u64, u64)> {
    match row.place {
        Place::Ring { epoch, position } => Some((epoch, position)),
        Place::Stream { .. } => None,
    }
}

/// Parquet stores unsigned numbers in signed ones of the same bits.
const fn bits(value: u64) -> i64 {
    value.cast_signed()
}

/// A decimal as its value × 10^18: at most 38 digits. None for a scale that no record can have.
fn scaled(mantissa: i128, scale: u8) -> Option<i128> {
    let digits = SCALE_MAX.checked_sub(scale)?;
    mantissa.checked_mul(10_i128.pow(u32::from(digits)))
}
