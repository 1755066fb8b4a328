//! How far streams and rings were seen behind their last record: where little is asked for, much is passed over, and
//! what is removed of that is no loss.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Beside the files of a recording.
const FILE: &str = "seen.json";
/// As it is written.
const PART: &str = ".seen.json.new";

/// A stream, or a ring and when its writer began.
pub(crate) type Key = (String, u64);

/// What is known of each.
#[derive(Default)]
pub(crate) struct Seen {
    path: PathBuf,
    entries: BTreeMap<Key, Entry>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Entry {
    of: String,
    epoch: u64,
    /// The end of the complete files. Where they end elsewhere, somebody has taken some away, and this is of no use.
    recorded: Option<u64>,
    /// Up to here there is nothing else that is wanted; nothing where it was begun at the very start.
    seen: Option<u64>,
}

impl Seen {
    /// Reads what a folder has. What cannot be read is not known: it spares false alarms, and tells where the first run
    /// began until that has completed a file.
    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join(FILE)).unwrap_or_default();
        let entries: Vec<Entry> = serde_json::from_slice(&text).unwrap_or_default();
        let entries = entries.into_iter().map(|entry| ((entry.of.clone(), entry.epoch), entry)).collect();
        Self { path: folder.to_owned(), entries }
    }

    /// Of what anything is known.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.keys()
    }

    /// How far it was seen, where complete files end at `recorded`.
    pub(crate) fn of(&self, key: &Key, recorded: Option<u64>) -> Option<u64> {
        self.entries.get(key).filter(|entry| entry.recorded == recorded)?.seen
    }

    /// Whether it was begun, where complete files end at `recorded`.
    pub(crate) fn has(&self, key: &Key, recorded: Option<u64>) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.recorded == recorded)
    }

    /// Forgets what is known of a folder, which is to be one of something else: gone from the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn forget(folder: &Path) -> io::Result<()> {
        match fs::remove_file(folder.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| File::open(folder)?.sync_all()),
        }
    }

    /// Keeps how far they were seen: on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&mut self, ahead: impl Iterator<Item = (Key, Option<u64>, Option<u64>)>) -> io::Result<()> {
        let mut changed = false;
        for ((of, epoch), recorded, seen) in ahead {
            let entry = Entry { of: of.clone(), epoch, recorded, seen };
            changed |= self.entries.insert((of, epoch), entry.clone()) != Some(entry);
        }
        if !changed {
            return Ok(());
        }
        let part = self.path.join(PART);
        let mut file = File::create(&part)?;
        let entries: Vec<&Entry> = self.entries.values().collect();
        file.write_all(&serde_json::to_vec(&entries)?)?;
        file.sync_all()?;
        fs::rename(&part, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }
}
