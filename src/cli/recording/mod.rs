//! Recordings: files of records, each with its names and its place, that give back every byte of what was recorded.
//!
//! | file | what it knows |
//! |---|---|
//! | `folder` | names, temporary names, what is complete, whose folder it is |
//! | `seen` | how far streams and rings were seen behind their last record |
//! | `columns`, `parquet` | Parquet: the columns; writing and reading them |
//! | `csv` | the lines of `tail --format csv`, with what is needed to rebuild the bytes |
//! | `dbn` | DBN, and what it cannot hold |
//! | `series` | all files of a recording as one row of records |

mod columns;
pub(super) mod csv;
pub(super) mod dbn;
pub(super) mod folder;
pub(super) mod parquet;
pub(super) mod seen;
pub(super) mod series;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use self::folder::Name;
use super::Failure;
use crate::market::Record;

/// How a recording is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns, compressed; price and size also as DECIMAL(38,18).
    #[default]
    Parquet,
    /// Lines as of `tail --format csv`, with more columns.
    Csv,
    /// Databento's encoding, schema `trades`. It cannot hold gaps, ids or sizes beyond 32 bits, sizes that are no whole
    /// number, nor prices finer than 1e-9: such records are left out and counted. Flags but the side are dropped, which
    /// is counted too.
    Dbn,
}

impl Format {
    /// How its files end.
    pub(super) const fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Dbn => "dbn",
        }
    }

    /// The format of a file, by its ending.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        [Self::Parquet, Self::Csv, Self::Dbn].into_iter().find(|format| format.ending() == ending)
    }
}

/// Where a record stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the stream: its message, and the record's place in that message.
    Stream { sequence: u64, index: u32 },
    /// In a ring: when its writer began, and the record's number since then.
    Ring { epoch: u64, position: u64 },
}

impl Place {
    /// What files are named by: the epoch (0 in a stream), and the sequence or the position.
    pub(super) const fn numbers(self) -> (u64, u64) {
        match self {
            Self::Stream { sequence, .. } => (0, sequence),
            Self::Ring { epoch, position } => (epoch, position),
        }
    }
}

/// A record with its names and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) exchange: Arc<str>,
    pub(super) symbol: Arc<str>,
    pub(super) place: Place,
    pub(super) record: Record,
}

/// What a format cannot hold.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Records that are not in the file: why, and how many.
    pub(super) records: BTreeMap<String, u64>,
    /// Records that are, without some of their flags.
    pub(super) flags: u64,
}

/// A file that is being written.
pub(super) enum Writer {
    Parquet(Box<parquet::Writer>),
    Csv(csv::Writer),
    Dbn(dbn::Writer),
}

impl Writer {
    pub(super) fn new(format: Format, file: File, about: &str) -> Result<Self, String> {
        Ok(match format {
            Format::Parquet => Self::Parquet(Box::new(parquet::Writer::new(file, about)?)),
            Format::Csv => Self::Csv(csv::Writer::new(file)?),
            Format::Dbn => Self::Dbn(dbn::Writer::new(file)),
        })
    }

    /// Takes the records of the next message.
    ///
    /// # Errors
    /// When they cannot be written; what the file holds then is no recording.
    pub(super) fn push(&mut self, message: &[Row]) -> Result<(), String> {
        match self {
            Self::Parquet(writer) => message.iter().try_for_each(|row| writer.push(row)),
            Self::Csv(writer) => writer.push(message),
            Self::Dbn(writer) => {
                message.iter().for_each(|row| writer.push(row));
                Ok(())
            }
        }
    }

    /// Writes what is left; gives what could not be held.
    pub(super) fn finish(self) -> Result<(File, Refused), String> {
        match self {
            Self::Parquet(writer) => writer.finish().map(|file| (file, Refused::default())),
            Self::Csv(writer) => writer.finish().map(|file| (file, Refused::default())),
            Self::Dbn(writer) => writer.finish(),
        }
    }
}

/// A file that is read.
pub(super) enum Reader {
    Parquet(Box<parquet::Reader>),
    Csv(Box<csv::Reader>),
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no recording that can be read back.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let open = || File::open(path).map_err(|error| Failure::failed(format!("cannot read {name}: {error}")));
        let read = match Format::of(path) {
            Some(Format::Parquet) => parquet::Reader::new(open()?).map(|reader| Self::Parquet(Box::new(reader))),
            Some(Format::Csv) => csv::Reader::new(open()?).map(|reader| Self::Csv(Box::new(reader))),
            Some(Format::Dbn) => {
                Err("DBN does not hold all that a record has: nothing can be replayed from it".to_owned())
            }
            None => Err("no recording by its name: it ends neither in .parquet nor in .csv".to_owned()),
        };
        read.map_err(|why| Failure::failed(format!("{name}: {why}")))
    }

    /// The next record; `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<Row>, String> {
        match self {
            Self::Parquet(reader) => reader.next(),
            Self::Csv(reader) => reader.next(),
        }
    }
}

/// What a file says of what it is a recording of.
fn about(path: &Path) -> Option<String> {
    match Format::of(path)? {
        Format::Parquet => parquet::about(File::open(path).ok()?),
        Format::Csv | Format::Dbn => None,
    }
}

/// What is wrong with a file whose name says more than it holds.
fn cut_off(name: &Name, last: Option<Place>) -> Option<String> {
    let (last, end) = (last.map(Place::numbers), (name.epoch, name.last));
    (last != Some(end)).then(|| {
        let found = last.map_or_else(|| "is empty".to_owned(), |(_, at)| format!("ends at {at}"));
        format!("it {found}, and by its name ends at {}: it is damaged, or was renamed", name.last)
    })
}
