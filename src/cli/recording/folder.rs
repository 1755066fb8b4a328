//! The folder of a recording: what is complete in it, whose it is, and how a file becomes complete.
//!
//! A file is written under a name that begins with a dot. Under its final name it is whole and on the disk.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::seen::{Key, Seen};
use super::{Format, Reader, Row};

/// What the folder is a recording of; locked by whoever records into it.
const ABOUT: &str = "recording.json";
/// What is not complete ends so.
const PART: &str = ".part";

/// A file's name: `MARKET_DATA-000000000001-000000100000.parquet`, of a ring with the epoch behind the exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// The stream, or the exchange.
    pub(crate) of: String,
    /// When the ring's writer began; 0 in a stream.
    pub(crate) epoch: u64,
    /// The first sequence, or position.
    pub(crate) first: u64,
    /// The last one.
    pub(crate) last: u64,
}

impl Name {
    /// Reads a name, without its ending.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let (rest, last) = stem.rsplit_once('-')?;
        let (rest, first) = rest.rsplit_once('-')?;
        let digits = |text: &str, least: usize| {
            let all = text.len() >= least && text.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (first, last) = (digits(first, 12)?, digits(last, 12)?);
        let ring = rest.rsplit_once('-').and_then(|(of, epoch)| Some((of, digits(epoch, 20)?)));
        let (of, epoch) = ring.unwrap_or((rest, 0));
        (!of.is_empty() && first <= last).then(|| Self { of: of.to_owned(), epoch, first, last })
    }

    fn file(&self, format: Format) -> String {
        let Self { of, epoch, first, last } = self;
        let ending = format.ending();
        match epoch {
            0 => format!("{of}-{first:012}-{last:012}.{ending}"),
            epoch => format!("{of}-{epoch:020}-{first:012}-{last:012}.{ending}"),
        }
    }
}

/// Whether a file of this name is one that a recorder writes: `.7.parquet.part`.
fn is_part(name: &str) -> bool {
    let number = name.strip_prefix('.').and_then(|name| name.strip_suffix(PART));
    let number = number.and_then(|name| name.rsplit_once('.')).filter(|(_, ending)| {
        [Format::Parquet, Format::Csv, Format::Dbn].iter().any(|format| format.ending() == *ending)
    });
    number.is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What lies in a folder.
pub(crate) struct Look {
    /// Complete files, in order.
    pub(crate) complete: Vec<(Name, PathBuf)>,
    /// What ends like them, and has another name.
    pub(crate) foreign: Vec<PathBuf>,
}

/// Looks into a folder.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn look(directory: &Path) -> io::Result<Look> {
    let mut look = Look { complete: Vec::new(), foreign: Vec::new() };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || Format::of(&path).is_none() {
            continue;
        }
        match Name::read(&path) {
            Some(name) => look.complete.push((name, path)),
            None => look.foreign.push(path),
        }
    }
    look.complete.sort();
    look.foreign.sort();
    Ok(look)
}

fn complete(directory: &Path) -> io::Result<Vec<(Name, PathBuf)>> {
    look(directory).map(|look| look.complete)
}

/// What a folder says of what it is a recording of.
pub(crate) fn about(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(ABOUT)).ok().filter(|text| !text.trim().is_empty())
}

/// A folder that is recorded into.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    format: Format,
    /// Held as long as it is recorded into.
    about: File,
    /// What the folder is a recording of, as text; known once [`Self::claim`] was called.
    pub(crate) text: String,
    files: u64,
}

impl Folder {
    /// Opens a folder, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be had, or somebody else records into it.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Self, Failure> {
        let fail = |what: &Path, error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", what.display()));
        fs::create_dir_all(path).map_err(|error| fail(path, &error))?;
        let about = path.join(ABOUT);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&about);
        let mut file = file.map_err(|error| fail(&about, &error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => fail(path, &"another process records into it; give each recording its own"),
            TryLockError::Error(error) => fail(&about, &error),
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| fail(&about, &error))?;
        Ok(Self { path: path.to_owned(), format, about: file, text, files: 0 })
    }

    /// Removes what is incomplete, of this recording.
    fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if is_part(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
                let path = entry.path();
                fs::remove_file(&path)?;
                eprintln!("{}: removed; an earlier recorder has not completed it", path.display());
            }
        }
        Ok(())
    }

    /// How far each stream or ring is recorded: the last sequence or position, by its name and its epoch. Epochs need
    /// not grow: a clock that was set back begins an earlier one.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn ends(&self) -> Result<BTreeMap<Key, u64>, Failure> {
        let files =
            complete(&self.path).map_err(|error| Failure::failed(format!("{}: {error}", self.path.display())))?;
        // They are sorted: what comes last ends last.
        Ok(files.into_iter().map(|(name, _)| ((name.of, name.epoch), name.last)).collect())
    }

    /// The complete files.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let files =
            complete(&self.path).map_err(|error| Failure::failed(format!("{}: {error}", self.path.display())))?;
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// The message that a stream's last complete file ends with, of this sequence; nothing of a format that gives no
    /// bytes back.
    ///
    /// # Errors
    /// When that file cannot be read: what comes behind it would be of no use.
    pub(crate) fn last_message(&self, of: &str, sequence: u64) -> Result<Vec<Row>, Failure> {
        let files =
            complete(&self.path).map_err(|error| Failure::failed(format!("{}: {error}", self.path.display())))?;
        let mut files = files.into_iter().filter(|(name, _)| name.of == of && name.last == sequence);
        let Some((_, path)) = files.next().filter(|_| self.format != Format::Dbn) else { return Ok(Vec::new()) };
        let (mut reader, mut rows) = (Reader::open(&path)?, Vec::new());
        let fail = |why| Failure::failed(format!("{}: {why}", path.display()));
        while let Some(row) = reader.next().map_err(fail)? {
            if row.place.numbers() == (0, sequence) {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Says what the folder is a recording of, and removes what an earlier recorder has left incomplete. What the
    /// folder says already must be the same.
    ///
    /// # Errors
    /// When it is a recording of something else.
    pub(crate) fn claim(&mut self, about: &serde_json::Value) -> Result<(), Failure> {
        let path = self.path.join(ABOUT);
        let fail = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
        let before: serde_json::Value = serde_json::from_str(&self.text).unwrap_or_default();
        if before == *about {
            return self.tidy().map_err(|error| fail(&error));
        }
        let files = complete(&self.path).map_err(|error| fail(&error))?;
        if !files.is_empty() {
            return Err(fail(&format!(
                "the folder holds another recording ({}), this one is {about}; record into another folder",
                if before.is_null() { "of which it is not known what it is of".to_owned() } else { before.to_string() }
            )));
        }
        // How far something else was seen says nothing of this: it goes first.
        Seen::forget(&self.path).map_err(|error| fail(&error))?;
        self.text = about.to_string();
        let written = self.about.set_len(0).and_then(|()| {
            use std::os::unix::fs::FileExt as _;
            self.about.write_all_at(format!("{about}\n").as_bytes(), 0)
        });
        let written = written.and_then(|()| self.about.sync_all()).and_then(|()| self.sync());
        written.and_then(|()| self.tidy()).map_err(|error| fail(&error))
    }

    /// A new file under a temporary name.
    pub(crate) fn create(&mut self) -> Result<(PathBuf, File), Failure> {
        self.files += 1;
        let path = self.path.join(format!(".{}.{}{PART}", self.files, self.format.ending()));
        let file = File::create_new(&path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Ok((path, file))
    }

    /// Gives a file, whole and on the disk, its final name.
    pub(crate) fn complete(&self, temporary: &Path, mut file: File, name: &Name) -> Result<PathBuf, Failure> {
        let path = self.path.join(name.file(self.format));
        // Nobody else records here, so nothing comes in between; what is there stays as it is.
        if fs::symlink_metadata(&path).is_ok() {
            return Err(Failure::failed(format!("{}: there is a file of this name already", path.display())));
        }
        let done = file.flush().and_then(|()| file.sync_all());
        let done = done.and_then(|()| fs::rename(temporary, &path)).and_then(|()| self.sync());
        done.map(|()| path.clone()).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_recorder_has_left_is_removed_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let there = |name: &str| directory.path().join(name).exists();
        for name in [".1.csv.part", ".download.part", ".1.csv.part.part", ".1.txt.part", "1.csv.part", ".x.csv.part"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        fs::create_dir(directory.path().join(".2.csv.part")).unwrap();
        let mut folder = Folder::open(directory.path(), Format::Csv).unwrap();
        assert!(there(".1.csv.part"), "a folder that is not ours yet");
        folder.claim(&serde_json::json!({"recording": 1})).unwrap();
        assert!(!there(".1.csv.part"));
        for kept in [".download.part", ".1.csv.part.part", ".1.txt.part", "1.csv.part", ".x.csv.part", ".2.csv.part"] {
            assert!(there(kept), "{kept}");
        }
        let name = Name { of: "S".to_owned(), epoch: 0, first: 1, last: 2 };
        fs::write(directory.path().join(name.file(Format::Csv)), "kept").unwrap();
        let (temporary, file) = folder.create().unwrap();
        let why = folder.complete(&temporary, file, &name).unwrap_err();
        assert!(why.message.contains("already"), "{}", why.message);
        assert_eq!(fs::read_to_string(directory.path().join(name.file(Format::Csv))).unwrap(), "kept");
    }

    #[test]
    fn names_are_read_back_and_sort_by_time() {
        let stream = Name { of: "MARKET_DATA".to_owned(), epoch: 0, first: 1, last: 100_000 };
        assert_eq!(stream.file(Format::Parquet), "MARKET_DATA-000000000001-000000100000.parquet");
        let ring = Name { of: "binance-usdm".to_owned(), epoch: 1_700_000_000_000_000_000, first: 0, last: 9 };
        for name in [&stream, &ring] {
            assert_eq!(Name::read(Path::new(&name.file(Format::Csv))).as_ref(), Some(name));
        }
        for foreign in
            ["trades.parquet", "a-1-2.csv", "-000000000001-000000000002.csv", "a-000000000002-000000000001.csv"]
        {
            assert_eq!(Name::read(Path::new(foreign)), None, "{foreign}");
        }
    }
}
