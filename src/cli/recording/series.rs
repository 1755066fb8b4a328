//! All files of a recording as one row of records: in the order of their places, several rings by time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::folder::{self, Name};
use super::{Place, Reader, Row, cut_off};
use crate::market::Record;

/// What to do where a file is missing between two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is an error, where it is known that something is missing; else it is said.
    Refuse,
    /// It is said.
    Allow,
    /// It was said.
    Known,
}

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
    /// Where the last record of the file stood.
    last: Option<Place>,
}

/// The files that arguments name: files, and the complete ones of folders. A file that is named twice is one.
///
/// # Errors
/// When there is none, or a folder cannot be read.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let fail = |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let folder = folder::look(path).map_err(fail)?;
        for path in folder.foreign {
            eprintln!("{}: not read: it has not the name that `record` gives to complete files", path.display());
        }
        if folder.complete.is_empty() {
            let text = format!("{}: no complete file of a recording in it", path.display());
            return Err(Failure::failed(text));
        }
        found.extend(folder.complete.into_iter().map(|(_, path)| path));
    }
    let mut known = BTreeSet::new();
    // One that cannot be found is told where it is opened.
    found.retain(|path| path.canonicalize().map_or(true, |path| known.insert(path)));
    Ok(found)
}

impl Series {
    /// Opens these files. Those of one stream or exchange are read in their order, wherever they lie.
    ///
    /// # Errors
    /// When two of them hold the same records, or are of different recordings, or one cannot be read, or is missing
    /// between two others and that is to be refused.
    pub(crate) fn open(files: &[PathBuf], missing: Missing) -> Result<Self, Failure> {
        let mut lines: BTreeMap<Option<String>, Vec<(Option<Name>, PathBuf)>> = BTreeMap::new();
        let mut origin = Origin::default();
        for path in files {
            let name = Name::read(path);
            if name.is_none() && files.len() > 1 {
                let what = "by its name it cannot be known where it belongs: give it the name that `record` gave it";
                return Err(Failure::failed(format!("{}: {what}", path.display())));
            }
            origin.add(path)?;
            lines.entry(name.as_ref().map(|name| name.of.clone())).or_default().push((name, path.clone()));
        }
        let line = |files| Line { files, next: 0, reader: None, head: None, last: None };
        let mut lines: Vec<Line> = lines.into_values().map(line).collect();
        for line in &mut lines {
            line.sort()?;
            line.look_for_holes(&origin, missing)?;
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
    /// Puts the files in order.
    fn sort(&mut self) -> Result<(), Failure> {
        self.files.sort();
        for pair in self.files.windows(2) {
            let [(Some(before), one), (Some(behind), two)] = pair else { continue };
            if before.epoch == behind.epoch && behind.first <= before.last {
                let text = format!("{} and {} hold the same records; name one of them", one.display(), two.display());
                return Err(Failure::failed(text));
            }
        }
        Ok(())
    }

    /// Looks whether something is missing between two files.
    fn look_for_holes(&self, origin: &Origin, missing: Missing) -> Result<(), Failure> {
        if missing == Missing::Known {
            return Ok(());
        }
        if origin.holds_all() == Some(false) {
            self.tell_holes();
            return Ok(());
        }
        for pair in self.files.windows(2) {
            let [(Some(before), one), (Some(behind), two)] = pair else { continue };
            if before.epoch != behind.epoch || behind.first - before.last <= 1 {
                continue;
            }
            let what = format!("{} to {} are missing between", before.last + 1, behind.first - 1);
            let what = format!("{what} {} and {}: a file is not there, or", one.display(), two.display());
            match (origin.holds_all(), missing) {
                (Some(true), Missing::Refuse) => {
                    let cure = "they were never recorded; with --allow-missing it goes on without them";
                    return Err(Failure::failed(format!("{what} {cure}")));
                }
                (Some(true), _) => eprintln!("{what} they were never recorded"),
                (_, _) => eprintln!("{what} they were not asked for, or never recorded"),
            }
        }
        Ok(())
    }

    /// Says that something is missing between files of a recording of something in particular: what lay there is not
    /// known, and it is so between most of them.
    fn tell_holes(&self) {
        let is_hole = |pair: &&[(Option<Name>, PathBuf)]| match pair {
            [(Some(before), _), (Some(behind), _)] => before.epoch == behind.epoch && behind.first - before.last > 1,
            _ => false,
        };
        let holes = self.files.windows(2).filter(is_hole).count();
        if let Some((Some(name), _)) = self.files.first().filter(|_| holes > 0) {
            let what = "not everything was recorded, so it is not known whether a file is missing there";
            eprintln!("{}: its files do not adjoin in {holes} of {} places: {what}", name.of, self.files.len() - 1);
        }
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
                    follows(name.as_ref(), self.last, row.place).map_err(fail)?;
                    self.last = Some(row.place);
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

/// Sees whether a record can stand behind the last one of its file, or at the beginning of a file of this name.
fn follows(name: Option<&Name>, last: Option<Place>, place: Place) -> Result<(), String> {
    let (epoch, at) = place.numbers();
    let index = |place: Place| if let Place::Stream { index, .. } = place { u64::from(index) } else { 0 };
    let fits = match (last, name) {
        (Some(last), _) if last.numbers() == (epoch, at) => {
            matches!(place, Place::Stream { .. }) && index(place) == index(last) + 1
        }
        (Some(last), _) => last.numbers().0 == epoch && at > last.numbers().1 && index(place) == 0,
        (None, Some(name)) => (epoch, at) == (name.epoch, name.first) && index(place) == 0,
        (None, None) => index(place) == 0,
    };
    if fits {
        return Ok(());
    }
    let behind = match (last, name) {
        (Some(last), _) => format!("behind {last:?}"),
        (None, Some(name)) => format!("at the beginning, and by its name it begins at {}", name.first),
        (None, None) => "at the beginning".to_owned(),
    };
    Err(format!("{place:?} stands {behind}: it is damaged, or was renamed"))
}

/// What files are recordings of, as far as that is known.
#[derive(Default)]
struct Origin {
    known: Option<(serde_json::Value, PathBuf)>,
    /// Whether that is known of each file.
    partly: bool,
}

impl Origin {
    /// Adds a file, which must be of the same recording as the others.
    fn add(&mut self, path: &Path) -> Result<(), Failure> {
        let Some(about) = about(path) else {
            self.partly = true;
            return Ok(());
        };
        match &self.known {
            None => self.known = Some((about, path.to_owned())),
            Some((known, other)) if *known != about => {
                let (one, two) = (other.display(), path.display());
                return Err(Failure::failed(format!(
                    "{one} and {two} are of different recordings ({known}, {about}): replay one after the other"
                )));
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Whether whatever there was is in these files, nothing being asked for in particular; `None` where that is not
    /// known.
    fn holds_all(&self) -> Option<bool> {
        let (about, _) = self.known.as_ref().filter(|_| !self.partly)?;
        let empty = |key: &str| about.get(key).and_then(serde_json::Value::as_array).map(Vec::is_empty);
        Some(empty("exchanges")? && empty("symbols")?)
    }
}

/// What a file is a recording of: it says so itself, or its folder does; how it is written does not count.
fn about(path: &Path) -> Option<serde_json::Value> {
    let text = super::about(path).or_else(|| folder::about(path.parent()?))?;
    let mut about: serde_json::Value = serde_json::from_str(&text).ok()?;
    about.as_object_mut()?.remove("format");
    Some(about)
}

/// When a record was received; a gap, as far as it tells.
pub(crate) const fn time(record: &Record) -> u64 {
    match record {
        Record::Trade(trade) if trade.ts_recv == 0 => trade.ts_event,
        Record::Trade(trade) => trade.ts_recv,
        Record::Gap(gap) => gap.ts_end,
    }
}
