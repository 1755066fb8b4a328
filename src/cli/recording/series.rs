//! All files of a recording as one row of records: in the order of their places, several rings by time.

use std::path::{Path, PathBuf};

use super::super::Failure;
use super::folder::{self, Name};
use super::{Reader, Row, cut_off};
use crate::market::Record;

/// A recording.
pub(crate) struct Series {
    lines: Vec<Line>,
}

/// The files of one stream, or of one ring.
struct Line {
    files: Vec<(Option<Name>, PathBuf)>,
    next: usize,
    reader: Option<Reader>,
    /// The record that comes next, and its time of receipt.
    head: Option<(Row, u64)>,
    /// Where the last record stood: epoch, and sequence or position.
    last: Option<(u64, u64)>,
}

/// The files that arguments name: files, and the complete ones of folders.
///
/// # Errors
/// When there is none, or a folder cannot be read.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let complete = folder::complete(path);
        let complete = complete.map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
        if complete.is_empty() {
            let text = format!("{}: no complete file of a recording in it", path.display());
            return Err(Failure::failed(text));
        }
        found.extend(complete.into_iter().map(|(_, path)| path));
    }
    Ok(found)
}

impl Series {
    /// Opens these files. Those of one stream or ring, by their names, are read in their order, others as they stand.
    ///
    /// # Errors
    /// When two of them hold the same records, or one cannot be read.
    pub(crate) fn open(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut lines: Vec<Line> = Vec::new();
        for path in files {
            let name = Name::read(path);
            let of = |name: &Option<Name>| name.as_ref().map(|name| (name.of.clone(), folder_of(path)));
            let same = |line: &&mut Line| {
                let (other, there) = &line.files[0];
                other.as_ref().map(|name| (name.of.clone(), folder_of(there))) == of(&name)
            };
            match lines.iter_mut().find(same) {
                Some(line) => line.files.push((name, path.clone())),
                None => lines.push(Line::new((name, path.clone()))),
            }
        }
        for line in &mut lines {
            line.sort()?;
            line.advance()?;
        }
        Ok(Self { lines })
    }

    /// The next record.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn next(&mut self) -> Result<Option<Row>, Failure> {
        let heads = self.lines.iter_mut().filter(|line| line.head.is_some());
        let Some(line) = heads.min_by_key(|line| line.head.as_ref().map(|(_, time)| *time)) else { return Ok(None) };
        let row = line.head.take().map(|(row, _)| row);
        line.advance()?;
        Ok(row)
    }
}

impl Line {
    fn new(file: (Option<Name>, PathBuf)) -> Self {
        Self { files: vec![file], next: 0, reader: None, head: None, last: None }
    }

    /// Puts the files in order.
    fn sort(&mut self) -> Result<(), Failure> {
        if self.files.iter().all(|(name, _)| name.is_some()) {
            self.files.sort();
        }
        for pair in self.files.windows(2) {
            let [(Some(before), one), (Some(behind), two)] = pair else { continue };
            if before.epoch == behind.epoch && behind.first <= before.last {
                let text = format!("{} and {} hold the same records; name one of them", one.display(), two.display());
                return Err(Failure::failed(text));
            }
        }
        Ok(())
    }

    /// Reads the next record, of the next file where one has ended.
    fn advance(&mut self) -> Result<(), Failure> {
        loop {
            if self.reader.is_none() {
                let Some((_, path)) = self.files.get(self.next) else { return Ok(()) };
                self.reader = Some(Reader::open(path)?);
                self.next += 1;
                self.last = None;
            }
            let Some((name, path)) = self.files.get(self.next - 1) else { return Ok(()) };
            let fail = |why: String| Failure::failed(format!("{}: {why}", path.display()));
            match self.reader.as_mut().map(Reader::next).transpose().map_err(fail)?.flatten() {
                Some(row) => {
                    self.last = Some(row.place.numbers());
                    let time = time(&row.record);
                    self.head = Some((row, time));
                    return Ok(());
                }
                None => match name.as_ref().and_then(|name| cut_off(name, self.last)) {
                    Some(why) => return Err(fail(why)),
                    None => self.reader = None,
                },
            }
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// When a record was received; a gap, as far as it tells.
pub(crate) const fn time(record: &Record) -> u64 {
    match record {
        Record::Trade(trade) if trade.ts_recv == 0 => trade.ts_event,
        Record::Trade(trade) => trade.ts_recv,
        Record::Gap(gap) => gap.ts_end,
    }
}
