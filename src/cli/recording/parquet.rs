//! Parquet recordings, by the format's own column writers: a row group for so many records, each field its own column.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use xxhash_rust::xxh3::Xxh3;

use super::columns::{COLUMNS, Take};
use super::{Place, Row};
use crate::market::{GapMsg, Record, TradeMsg};

/// Records of a row group: what is held in memory, and what a reader reads at a time.
const GROUP_ROWS: usize = 65_536;
/// How a file says that it is a recording; its value is what it is a recording of.
const KEY: &str = "data-manager.recording";
/// The hash of all records, with their names and places: a page that is damaged need not show.
const HASH: &str = "data-manager.xxh3-64";

/// Writes a file.
pub(crate) struct Writer {
    file: SerializedFileWriter<File>,
    rows: Vec<Row>,
    hash: Xxh3,
}

/// Adds a record to the hash of a file.
fn add(hash: &mut Xxh3, row: &Row) {
    for name in [&row.exchange, &row.symbol] {
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    let (one, other) = match row.place {
        Place::Stream { sequence, index } => (sequence, u64::from(index)),
        Place::Ring { epoch, position } => (epoch, position),
    };
    hash.update(&one.to_le_bytes());
    hash.update(&other.to_le_bytes());
    hash.update(row.record.as_bytes());
}

impl Writer {
    pub(super) fn new(file: File, about: &str) -> Result<Self, String> {
        let columns: Vec<String> = COLUMNS.iter().map(|column| column.kind.replacen("{}", column.name, 1)).collect();
        let schema = format!("message record {{ {} }}", columns.join(" "));
        let schema = parse_message_type(&schema).map_err(|error| error.to_string())?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("data-manager {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(vec![KeyValue::new(KEY.to_owned(), about.to_owned())]))
            .build();
        let file = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        Ok(Self { file: file.map_err(|error| error.to_string())?, rows: Vec::new(), hash: Xxh3::new() })
    }

    pub(super) fn push(&mut self, row: &Row) -> Result<(), String> {
        add(&mut self.hash, row);
        self.rows.push(row.clone());
        if self.rows.len() >= GROUP_ROWS { self.group().map_err(|error| error.to_string()) } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<File, String> {
        let group = if self.rows.is_empty() { Ok(()) } else { self.group() };
        let hash = format!("{:016x}", self.hash.digest());
        self.file.append_key_value_metadata(KeyValue::new(HASH.to_owned(), hash));
        group.and_then(|()| self.file.into_inner()).map_err(|error| error.to_string())
    }

    fn group(&mut self) -> parquet::errors::Result<()> {
        let mut group = self.file.next_row_group()?;
        for column in &COLUMNS {
            let rows = &self.rows;
            match column.take {
                Take::Long(take) => write::<Int64Type>(&mut group, rows.iter().map(take)),
                Take::Int(take) => write::<Int32Type>(&mut group, rows.iter().map(take)),
                Take::Text(take) => {
                    write::<ByteArrayType>(&mut group, rows.iter().map(|row| take(row).map(ByteArray::from)))
                }
                Take::Decimal(take) => {
                    let bytes = |value: i128| FixedLenByteArray::from(value.to_be_bytes().to_vec());
                    write::<FixedLenByteArrayType>(&mut group, rows.iter().map(|row| take(row).map(bytes)))
                }
            }?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }
}

/// Writes the next column of a row group.
fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> parquet::errors::Result<()> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

/// What a file says of what it is a recording of.
pub(super) fn about(file: File) -> Option<String> {
    let file = SerializedFileReader::new(file).ok()?;
    let pairs = file.metadata().file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == KEY)?.value.clone()
}

/// Reads a file.
pub(crate) struct Reader {
    file: SerializedFileReader<File>,
    /// Where each column stands.
    places: HashMap<String, usize>,
    group: usize,
    rows: VecDeque<Row>,
    /// Names that were read, so that a row's cost no allocation.
    names: HashMap<Vec<u8>, Arc<str>>,
    hash: Xxh3,
    /// What the hash is to be.
    expected: String,
}

impl Reader {
    pub(crate) fn new(file: File) -> Result<Self, String> {
        let whole =
            |error| format!("no whole Parquet file: {error}; a file of `record` is complete under its final name");
        let file = SerializedFileReader::new(file).map_err(whole)?;
        let metadata = file.metadata().file_metadata();
        let pairs = metadata.key_value_metadata().into_iter().flatten();
        let value = |key: &str| pairs.clone().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
        let (Some(_), Some(expected)) = (value(KEY), value(HASH)) else {
            return Err("a Parquet file, but none that `data-manager record` has written".to_owned());
        };
        let columns = metadata.schema_descr().columns().iter().enumerate();
        let places = columns.map(|(at, column)| (column.name().to_owned(), at)).collect();
        Ok(Self { file, places, group: 0, rows: VecDeque::new(), names: HashMap::new(), hash: Xxh3::new(), expected })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Row>, String> {
        while self.rows.is_empty() {
            if self.group >= self.file.num_row_groups() {
                let found = format!("{:016x}", self.hash.digest());
                let damaged = || {
                    format!("it is damaged: its records have hash {found}, and it was written with {}", self.expected)
                };
                return if found == self.expected { Ok(None) } else { Err(damaged()) };
            }
            self.read_group().map_err(|why| format!("row group {}: {why}", self.group))?;
            self.group += 1;
        }
        let row = self.rows.pop_front();
        row.iter().for_each(|row| add(&mut self.hash, row));
        Ok(row)
    }

    fn read_group(&mut self) -> Result<(), String> {
        let group = self.file.get_row_group(self.group).map_err(|error| error.to_string())?;
        let count = usize::try_from(group.metadata().num_rows()).map_err(|error| error.to_string())?;
        let cells = Cells { group: &*group, places: &self.places, count };
        let exchange = cells.texts("exchange", &mut self.names)?;
        let symbol = cells.texts("symbol", &mut self.names)?;
        let places = Places::read(&cells)?;
        let records = Records::read(&cells)?;
        for (at, (exchange, symbol)) in exchange.into_iter().zip(symbol).enumerate() {
            let row =
                || Some(Row { exchange: exchange?, symbol: symbol?, place: places.of(at)?, record: records.of(at)? });
            self.rows.push_back(row().ok_or_else(|| format!("record {at}: a field is missing or out of range"))?);
        }
        Ok(())
    }
}

/// The cells of a column, null where there is none.
macro_rules! read {
    ($cells:expr, $name:expr, $column:expr) => {{
        let (mut levels, mut values, mut count) = (Vec::new(), Vec::new(), 0);
        loop {
            let left = $cells.count - count;
            let read = $column.read_records(left, Some(&mut levels), None, &mut values);
            let (records, ..) = read.map_err(|error| format!("column {}: {error}", $name))?;
            count += records;
            if records == 0 || count >= $cells.count {
                break;
            }
        }
        let mut values = values.into_iter();
        let cells: Vec<_> = levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect();
        if cells.len() == $cells.count {
            Ok(cells)
        } else {
            Err(format!("column {} has {} cells of {}", $name, cells.len(), $cells.count))
        }
    }};
}

/// The cells of a row group.
struct Cells<'a> {
    group: &'a dyn RowGroupReader,
    places: &'a HashMap<String, usize>,
    count: usize,
}

impl Cells<'_> {
    fn column(&self, name: &str) -> Result<ColumnReader, String> {
        let place = self.places.get(name).ok_or_else(|| format!("no column {name}"))?;
        self.group.get_column_reader(*place).map_err(|error| format!("column {name}: {error}"))
    }

    fn longs(&self, name: &str) -> Result<Vec<Option<i64>>, String> {
        match self.column(name)? {
            ColumnReader::Int64ColumnReader(mut column) => read!(self, name, column),
            _ => Err(format!("column {name} is of another type")),
        }
    }

    fn ints(&self, name: &str) -> Result<Vec<Option<i32>>, String> {
        match self.column(name)? {
            ColumnReader::Int32ColumnReader(mut column) => read!(self, name, column),
            _ => Err(format!("column {name} is of another type")),
        }
    }

    fn texts(&self, name: &str, known: &mut HashMap<Vec<u8>, Arc<str>>) -> Result<Vec<Option<Arc<str>>>, String> {
        let cells: Vec<Option<ByteArray>> = match self.column(name)? {
            ColumnReader::ByteArrayColumnReader(mut column) => read!(self, name, column)?,
            _ => return Err(format!("column {name} is of another type")),
        };
        let mut text = |bytes: ByteArray| {
            if let Some(text) = known.get(bytes.data()) {
                return Ok(Arc::clone(text));
            }
            let text = bytes.as_utf8().map_err(|error| format!("column {name}: {error}"))?;
            let text: Arc<str> = text.into();
            known.insert(bytes.data().to_vec(), Arc::clone(&text));
            Ok(text)
        };
        cells.into_iter().map(|cell| cell.map(&mut text).transpose()).collect()
    }
}

/// Where the records of a row group stood.
struct Places {
    sequence: Vec<Option<i64>>,
    index: Vec<Option<i32>>,
    epoch: Vec<Option<i64>>,
    position: Vec<Option<i64>>,
}

impl Places {
    fn read(cells: &Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            sequence: cells.longs("sequence")?,
            index: cells.ints("message_index")?,
            epoch: cells.longs("ring_epoch")?,
            position: cells.longs("ring_position")?,
        })
    }

    fn of(&self, at: usize) -> Option<Place> {
        let long = |cells: &[Option<i64>]| cells.get(at).copied().flatten().map(i64::cast_unsigned);
        if let Some(sequence) = long(&self.sequence) {
            let index = self.index.get(at).copied().flatten()?.cast_unsigned();
            return Some(Place::Stream { sequence, index });
        }
        Some(Place::Ring { epoch: long(&self.epoch)?, position: long(&self.position)? })
    }
}

/// The fields of the records of a row group, by the names of their columns.
struct Records {
    longs: HashMap<&'static str, Vec<Option<i64>>>,
    ints: HashMap<&'static str, Vec<Option<i32>>>,
}

impl Records {
    fn read(cells: &Cells<'_>) -> Result<Self, String> {
        let mut this = Self { longs: HashMap::new(), ints: HashMap::new() };
        for column in &COLUMNS {
            match column.take {
                Take::Long(_) => drop(this.longs.insert(column.name, cells.longs(column.name)?)),
                Take::Int(_) => drop(this.ints.insert(column.name, cells.ints(column.name)?)),
                Take::Text(_) | Take::Decimal(_) => {}
            }
        }
        Ok(this)
    }

    fn of(&self, at: usize) -> Option<Record> {
        let signed = |name: &str| self.longs.get(name)?.get(at).copied().flatten();
        let long = |name: &str| signed(name).map(i64::cast_unsigned);
        let int = |name: &str| self.ints.get(name)?.get(at).copied().flatten();
        let byte = |name: &str| u8::try_from(int(name)?).ok();
        let (kind, flags) = (byte("kind")?, byte("flags")?);
        let instrument_id = int("instrument_id")?.cast_unsigned();
        let record = if signed("price_mantissa").is_some() {
            Record::Trade(TradeMsg {
                ts_event: long("ts_event")?,
                ts_recv: long("ts_recv")?,
                trade_id: long("trade_id")?,
                price: signed("price_mantissa")?,
                size: long("size_mantissa")?,
                instrument_id,
                price_scale: byte("price_scale")?,
                size_scale: byte("size_scale")?,
                flags,
                kind,
            })
        } else {
            Record::Gap(GapMsg {
                ts_start: long("gap_ts_start")?,
                ts_end: long("gap_ts_end")?,
                first_id: long("gap_first_id")?,
                last_id: long("gap_last_id")?,
                missing: long("gap_missing")?,
                instrument_id,
                strength: byte("gap_strength")?,
                reason: byte("gap_reason")?,
                flags,
                kind,
            })
        };
        // A kind that contradicts the columns is none.
        (Record::from_bytes(record.as_bytes()) == Ok(record)).then_some(record)
    }
}
