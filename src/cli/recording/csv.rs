//! CSV recordings: the columns of `tail --format csv` first, so that whoever reads those reads these, then the record's
//! place and its numbers as they stand in its bytes.
//!
//! Text alone does not give the bytes back: a price of 0 has one spelling and 19 scales. Nor does it show where lines
//! are missing: so each line says how many of its message follow, and ends with a hash of itself and of all before it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::format::{self, Format, Place as Beside};
use super::{Place, Row};
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{GapMsg, Record, TradeMsg};

/// What follows on the columns of `tail`. Of a gap its last id and its number stand as the mantissas, its strength and
/// its reason as the scales: these are their places in the record.
const MORE: &str = "sequence,message_index,ring_epoch,ring_position,kind,instrument_id,flag_bits,price_mantissa,\
                    price_scale,size_mantissa,size_scale,message_left,xxh3_64";
/// A line that is longer is none.
const LINE_MAX: u64 = 1 << 16;
/// How many columns these are.
const MORE_COLUMNS: usize = 13;

/// Writes a file.
pub(crate) struct Writer {
    out: BufWriter<File>,
    hash: u64,
}

/// The hash of a line without its own, behind lines of that hash.
fn hash(before: u64, line: &str) -> u64 {
    xxh3_64_with_seed(line.as_bytes(), before)
}

impl Writer {
    pub(super) fn new(file: File) -> Result<Self, String> {
        let mut out = BufWriter::new(file);
        writeln!(out, "{},{MORE}", format::csv_header(false)).map_err(|error| error.to_string())?;
        Ok(Self { out, hash: 0 })
    }

    /// Takes the records of a message.
    pub(super) fn push(&mut self, message: &[Row]) -> Result<(), String> {
        for (row, left) in message.iter().zip((0..message.len()).rev()) {
            let line = line(row, left);
            self.hash = hash(self.hash, &line);
            writeln!(self.out, "{line},{:016x}", self.hash).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<File, String> {
        self.out.into_inner().map_err(|error| error.to_string())
    }
}

/// A line, but for its hash.
fn line(row: &Row, left: usize) -> String {
    let beside = Beside { exchange: &row.exchange, symbol: &row.symbol, frame: None };
    let line = format::line(Format::Csv, beside, &row.record);
    let place = match row.place {
        Place::Stream { sequence, index } => format!("{sequence},{index},,"),
        Place::Ring { epoch, position } => format!(",,{epoch},{position}"),
    };
    let id = row.record.instrument_id();
    match &row.record {
        Record::Trade(t) => format!(
            "{line},{place},{},{id},{},{},{},{},{},{left}",
            t.kind, t.flags, t.price, t.price_scale, t.size, t.size_scale
        ),
        Record::Gap(g) => format!(
            "{line},{place},{},{id},{},{},{},{},{},{left}",
            g.kind, g.flags, g.last_id, g.strength, g.missing, g.reason
        ),
    }
}

/// Reads a file.
pub(crate) struct Reader {
    input: BufReader<File>,
    line: u64,
    hash: u64,
    /// Records of the last message that are to follow.
    left: u64,
    text: String,
    /// The last names: the next record mostly has the same ones.
    names: Option<(Arc<str>, Arc<str>)>,
}

impl Reader {
    pub(super) fn new(file: File) -> Result<Self, String> {
        let mut this = Self {
            input: BufReader::with_capacity(1 << 16, file),
            line: 0,
            hash: 0,
            left: 0,
            text: String::new(),
            names: None,
        };
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
            return match self.left {
                0 => Ok(None),
                left => {
                    Err(format!("line {}: it is cut off here: {left} records of its message are missing", self.line))
                }
            };
        }
        let text = std::mem::take(&mut self.text);
        let row = match text.strip_suffix('\n') {
            Some(line) => self.row(line),
            None => Err("it is cut off here".to_owned()),
        };
        self.text = text;
        row.map(Some).map_err(|why| format!("line {}: {why}", self.line))
    }

    /// Reads a line; names may have line ends in them.
    fn read_line(&mut self) -> Result<bool, String> {
        self.text.clear();
        self.line += 1;
        loop {
            let read = (&mut self.input).take(LINE_MAX).read_line(&mut self.text);
            let count = read.map_err(|error| format!("line {}: {error}", self.line))?;
            let quotes = self.text.bytes().filter(|byte| *byte == b'"').count();
            if count == 0 || quotes.is_multiple_of(2) || self.text.len() as u64 > LINE_MAX {
                return Ok(!self.text.is_empty());
            }
        }
    }

    fn row(&mut self, text: &str) -> Result<Row, String> {
        let fields = format::csv_cells(text);
        let fields: Vec<&str> = fields.iter().map(|field| &**field).collect();
        let count = format::csv_header(false).split(',').count() + MORE_COLUMNS;
        if fields.len() != count {
            return Err(format!("{} columns, and the header has {count}", fields.len()));
        }
        let (head, more) = fields.split_at(count - MORE_COLUMNS);
        let hashed = text.rsplit_once(',').map_or(text, |(line, _)| line);
        self.hash = hash(self.hash, hashed);
        if more[12] != format!("{:016x}", self.hash) {
            return Err("it is damaged, or a line before it is missing: its hash is another".to_owned());
        }
        self.left = number(more[11])?;
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
