//! What came of a recording, and what it says of it.

use std::path::Path;

use super::super::progress::plural;
use super::super::recording::{Format, Refused};

/// Faults that are said one by one; a stream can have a hole behind each message.
const TOLD_MAX: u64 = 20;

/// What came of it.
#[derive(Default)]
pub(super) struct Done {
    pub(super) records: u64,
    pub(super) files: u64,
    pub(super) refused: Refused,
    /// Records, or messages, that were not to be had.
    pub(super) lost: u64,
    /// How often something may be missing.
    pub(super) doubts: u64,
    /// What stood where records should.
    pub(super) unreadable: u64,
    /// Files that the object store does not have.
    pub(super) not_put: u64,
    /// Files under whose names the object store has others.
    pub(super) collided: u64,
    told: u64,
}

impl Done {
    /// What is to be said of the next fault.
    pub(super) fn next_told(&mut self, what: &str) -> Option<String> {
        self.told += 1;
        match self.told {
            ..TOLD_MAX => Some(what.to_owned()),
            TOLD_MAX => Some(format!("{what}; what else there is of this kind is counted, and told at the end")),
            _ => None,
        }
    }

    /// Whether everything that was there is recorded, or refused by the format.
    pub(super) const fn is_whole(&self) -> bool {
        self.lost == 0 && self.doubts == 0 && self.unreadable == 0 && self.not_put == 0 && self.collided == 0
    }

    /// Tells it.
    pub(super) fn tell(&self, format: Format, folder: &Path) {
        let left_out: u64 = self.refused.records.values().sum();
        let (records, files) = (plural(self.records - left_out, "record"), plural(self.files, "file"));
        let mut text = format!("{records} in {files} in {}", folder.display());
        for (count, what) in [
            (self.lost, "lost before they were read"),
            (self.doubts, "times something may be missing"),
            (self.unreadable, "unreadable"),
            (self.collided, "files whose names the object store has of others"),
            (self.not_put, "files not in the object store; the next run with --bucket puts them there"),
        ] {
            if count > 0 {
                text = format!("{text}; {count} {what}");
            }
        }
        eprintln!("{text}");
        for (why, count) in &self.refused.records {
            eprintln!("left out, as {} cannot hold it: {why}: {}", format.ending(), plural(*count, "record"));
        }
        if self.refused.flags > 0 {
            let what = plural(self.refused.flags, "record");
            eprintln!("without flags that {} cannot hold: {what}", format.ending());
        }
    }
}
