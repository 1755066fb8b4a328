//! CSV recordings: the columns of `tail --format csv` first, so that whoever reads those reads these, then the record's
//! place and its numbers as they stand in its bytes.
//!
//! Text alone does not give the bytes back: a price of 0 has one spelling and 19 scales.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::sync::Arc;

use super::super::format::{self, Format, Place as Beside};
use super::{Place, Row};
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{GapMsg, Record, TradeMsg};

/// What follows on the columns of `tail`. Of a gap its last id and its number stand as the mantissas, its strength and
/// its reason as the scales: these are their places in the record.
const MORE: &str = "sequence,message_index,ring_epoch,ring_position,kind,instrument_id,flag_bits,price_mantissa,\
                    price_scale,size_mantissa,size_scale";
/// How many columns these are.
const MORE_COLUMNS: usize = 11;

/// Writes a file.
pub(crate) struct Writer {
    out: BufWriter<File>,
}

impl Writer {
    pub(super) fn new(file: File) -> Result<Self, String> {
        let mut out = BufWriter::new(file);
        writeln!(out, "{},{MORE}", format::csv_header(false)).map_err(|error| error.to_string())?;
        Ok(Self { out })
    }

    pub(super) fn push(&mut self, row: &Row) -> Result<(), String> {
        if [&row.exchange, &row.symbol].iter().any(|name| name.contains([',', '"', '\n', '\r'])) {
            return Err(format!("{} {}: CSV cannot hold this name; use --format parquet", row.exchange, row.symbol));
        }
        let beside = Beside { exchange: &row.exchange, symbol: &row.symbol, frame: None };
        let line = format::line(Format::Csv, beside, &row.record);
        let place = match row.place {
            Place::Stream { sequence, index } => format!("{sequence},{index},,"),
            Place::Ring { epoch, position } => format!(",,{epoch},{position}"),
        };
        let id = row.record.instrument_id();
        let written = match &row.record {
            Record::Trade(t) => writeln!(
                self.out,
                "{line},{place},{},{id},{},{},{},{},{}",
                t.kind, t.flags, t.price, t.price_scale, t.size, t.size_scale
            ),
            Record::Gap(g) => writeln!(
                self.out,
                "{line},{place},{},{id},{},{},{},{},{}",
                g.kind, g.flags, g.last_id, g.strength, g.missing, g.reason
            ),
        };
        written.map_err(|error| error.to_string())
    }

    pub(super) fn finish(self) -> Result<File, String> {
        self.out.into_inner().map_err(|error| error.to_string())
    }
}

/// Reads a file.
pub(crate) struct Reader {
    input: BufReader<File>,
    line: u64,
    text: String,
    /// The last names: the next record mostly has the same ones.
    names: Option<(Arc<str>, Arc<str>)>,
}

impl Reader {
    pub(super) fn new(file: File) -> Result<Self, String> {
        let mut this =
            Self { input: BufReader::with_capacity(1 << 16, file), line: 0, text: String::new(), names: None };
        this.read_line()?;
        if this.text.trim_end() == format!("{},{MORE}", format::csv_header(false)) {
            return Ok(this);
        }
        Err("line 1: not the header that `data-manager record --format csv` writes (`tail` writes fewer columns than \
             give the bytes back)"
            .to_owned())
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>, String> {
        if !self.read_line()? {
            return Ok(None);
        }
        let text = std::mem::take(&mut self.text);
        let row = if text.ends_with('\n') { self.row(text.trim_end()) } else { Err("it is cut off here".to_owned()) };
        self.text = text;
        row.map(Some).map_err(|why| format!("line {}: {why}", self.line))
    }

    fn read_line(&mut self) -> Result<bool, String> {
        self.text.clear();
        self.line += 1;
        let read = self.input.read_line(&mut self.text);
        read.map(|count| count > 0).map_err(|error| format!("line {}: {error}", self.line))
    }

    fn row(&mut self, text: &str) -> Result<Row, String> {
        let fields: Vec<&str> = text.split(',').collect();
        let count = format::csv_header(false).split(',').count() + MORE_COLUMNS;
        if fields.len() != count {
            return Err(format!("{} columns, and the header has {count}", fields.len()));
        }
        let (head, more) = fields.split_at(count - MORE_COLUMNS);
        let record = record(head, more)?;
        let place = if more[0].is_empty() {
            Place::Ring { epoch: number(more[2])?, position: number(more[3])? }
        } else {
            Place::Stream { sequence: number(more[0])?, index: number(more[1])? }
        };
        let (exchange, symbol) = self.names(head[0], head[1]);
        Ok(Row { exchange, symbol, place, record })
    }

    fn names(&mut self, exchange: &str, symbol: &str) -> (Arc<str>, Arc<str>) {
        if let Some((last, other)) = &self.names
            && (&**last, &**other) == (exchange, symbol)
        {
            return (Arc::clone(last), Arc::clone(other));
        }
        self.names.insert((exchange.into(), symbol.into())).clone()
    }
}

/// The record of a line: `head` as `tail` writes it, `more` as above.
fn record(head: &[&str], more: &[&str]) -> Result<Record, String> {
    // exchange, symbol, price, size, side, ts_event, trade_id, flags, ts_recv
    let (ts_event, trade_id, ts_recv) = (number(head[5])?, number(head[6])?, number(head[8])?);
    let (instrument_id, flags) = (number(more[5])?, number(more[6])?);
    match number(more[4])? {
        kind @ KIND_TRADE_V1 => Ok(Record::Trade(TradeMsg {
            ts_event,
            ts_recv,
            trade_id,
            price: number(more[7])?,
            size: number(more[9])?,
            instrument_id,
            price_scale: number(more[8])?,
            size_scale: number(more[10])?,
            flags,
            kind,
        })),
        kind @ KIND_GAP_V1 => Ok(Record::Gap(GapMsg {
            ts_start: ts_event,
            ts_end: ts_recv,
            first_id: trade_id,
            last_id: number(more[7])?,
            missing: number(more[9])?,
            instrument_id,
            strength: number(more[8])?,
            reason: number(more[10])?,
            flags,
            kind,
        })),
        kind => Err(format!("a record of unknown kind {kind}")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number that stands there"))
}
