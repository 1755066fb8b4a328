//! The files that are open, when they are completed, and what came of all of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::progress::Progress;
use super::super::recording::folder::{Folder, Name};
use super::super::recording::seen::{Key, Seen};
use super::super::recording::{Format, Row, Writer};
use super::super::signals::Stop;
use super::done::Done;
use super::uploads::Uploads;
use crate::config::settings::Nats;
use crate::telemetry::clock;

/// When files, and all of it, are complete.
pub(super) struct Limits {
    /// Records of a file.
    pub(super) records: u64,
    /// How long a file is written.
    pub(super) time: Duration,
    /// Records of this run.
    pub(super) all: Option<u64>,
}

/// Writes files.
pub(super) struct Recorder {
    pub(super) folder: Folder,
    format: Format,
    limits: Limits,
    /// By stream or exchange.
    open: BTreeMap<String, Open>,
    /// Where the complete files end.
    ends: BTreeMap<Key, u64>,
    /// What earlier runs have seen behind that.
    seen: Seen,
    /// What this run has seen: up to there, what is wanted was taken.
    ahead: BTreeMap<Key, Option<u64>>,
    uploads: Option<Uploads>,
    done: Done,
    progress: Progress,
}

/// A file that is written.
struct Open {
    temporary: PathBuf,
    writer: Writer,
    epoch: u64,
    first: u64,
    last: u64,
    rows: u64,
    since: Instant,
}

impl Recorder {
    pub(super) fn new(folder: Folder, format: Format, limits: Limits) -> Result<Self, Failure> {
        let (ends, seen) = (folder.ends()?, Seen::read(&folder.path));
        Ok(Self {
            folder,
            format,
            limits,
            open: BTreeMap::new(),
            ends,
            seen,
            ahead: BTreeMap::new(),
            uploads: None,
            done: Done::default(),
            progress: Progress::new("recording"),
        })
    }

    /// Begins to record this, unless the folder is of something else. What was known of the folder before holds only
    /// where it was of the same.
    pub(super) fn claim(&mut self, about: &serde_json::Value) -> Result<(), Failure> {
        self.folder.claim(about)?;
        (self.ends, self.seen) = (self.folder.ends()?, Seen::read(&self.folder.path));
        if let Some(uploads) = &mut self.uploads {
            // Not before: a folder of something else is none of this object store's. Where it becomes another one,
            // and is claimed again, it has no files.
            self.folder.files()?.into_iter().for_each(|path| uploads.add(path));
        }
        Ok(())
    }

    /// Has each complete file put into this object store too, those of earlier runs first: those once it is claimed.
    pub(super) async fn upload_to(&mut self, nats: &Nats, name: &str) -> Result<(), Failure> {
        let uploads = Uploads::open(nats, name).await;
        self.uploads = Some(uploads.map_err(Failure::failed)?);
        Ok(())
    }

    /// How files are written.
    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// Whether there are as many records as were asked for.
    pub(super) fn is_full(&self) -> bool {
        self.limits.all.is_some_and(|all| self.done.records >= all)
    }

    /// Where the complete files of a stream or a ring end.
    pub(super) fn recorded(&self, of: &str, epoch: u64) -> Option<u64> {
        self.ends.get(&(of.to_owned(), epoch)).copied()
    }

    /// Up to where earlier runs have taken all that is wanted of it.
    pub(super) fn end(&self, of: &str, epoch: u64) -> Option<u64> {
        let recorded = self.recorded(of, epoch);
        recorded.max(self.seen.of(&(of.to_owned(), epoch), recorded))
    }

    /// Whether nothing was recorded here before.
    pub(super) fn is_first(&self) -> bool {
        self.ends.is_empty() && !self.seen.keys().any(|(of, epoch)| self.has_begun(of, *epoch))
    }

    /// Whether this was recorded, or is known to have nothing yet that is wanted.
    pub(super) fn has_begun(&self, of: &str, epoch: u64) -> bool {
        let recorded = self.recorded(of, epoch);
        recorded.is_some() || self.seen.has(&(of.to_owned(), epoch), recorded)
    }

    /// Whether anything of this name was recorded, of whichever epoch.
    pub(super) fn knows(&self, of: &str) -> bool {
        let mut keys = self.ends.keys().chain(self.seen.keys()).filter(|(known, _)| known == of);
        keys.any(|(_, epoch)| self.has_begun(of, *epoch))
    }

    /// All that is wanted up to here was taken.
    pub(super) fn sees(&mut self, of: &str, epoch: u64, place: u64) {
        let ahead = self.ahead.entry((of.to_owned(), epoch)).or_default();
        *ahead = Some(place).max(*ahead);
    }

    /// The first run begins here. On the disk before anything is read: a next run does not begin at a later place,
    /// however this one ends.
    pub(super) fn begins(&mut self, of: &str, epoch: u64, next: u64) -> Result<(), Failure> {
        let ahead = self.ahead.entry((of.to_owned(), epoch)).or_default();
        *ahead = next.checked_sub(1).max(*ahead);
        self.keep_seen()
    }

    /// Takes the records of one message, of the stream or the ring of this name. They are not torn apart.
    pub(super) fn take(&mut self, of: &str, rows: &[Row], part: Option<(u64, u64)>) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let ((epoch, first), (_, last)) = (first.place.numbers(), last.place.numbers());
        if self.open.get(of).is_some_and(|open| open.epoch != epoch) {
            self.complete(of)?;
        }
        let before = self.open.get(of).map(|open| open.last).or_else(|| self.recorded(of, epoch));
        if let Some(before) = before.filter(|before| first <= *before) {
            return Err(Failure::failed(format!(
                "{of}: {first} came behind {before}: it was made anew, or went back; record into another folder"
            )));
        }
        if !self.open.contains_key(of) {
            let (temporary, file) = self.folder.create()?;
            let writer = Writer::new(self.format, file, &self.folder.text).map_err(Failure::failed)?;
            let open = Open { temporary, writer, epoch, first, last, rows: 0, since: clock::now() };
            self.open.insert(of.to_owned(), open);
        }
        let Some(open) = self.open.get_mut(of) else { return Ok(()) };
        if let Err(why) = open.writer.push(rows) {
            let Some(open) = self.open.remove(of) else { return Ok(()) };
            return Err(self.give_up(of, &open.temporary, (open.first, open.rows), why));
        }
        open.last = last;
        for _ in rows {
            open.rows += 1;
            self.done.records += 1;
            self.progress.tell(self.done.records, || part);
        }
        if open.rows >= self.limits.records { self.complete(of) } else { Ok(()) }
    }

    /// Drops a file that something could not be written to: under a final name it would hide what it lacks, as the next
    /// run goes on behind the last complete file.
    fn give_up(&mut self, of: &str, temporary: &std::path::Path, (first, rows): (u64, u64), why: String) -> Failure {
        self.done.records -= rows;
        // It was seen, and is gone with the file: what is on the disk of this tells of complete files only.
        self.ahead.retain(|(seen, _), _| seen != of);
        // What cannot be removed goes with the next run.
        let _ = std::fs::remove_file(temporary);
        let path = temporary.display();
        Failure::failed(format!("{path}: {why}; {of} is not recorded from {first} on: the next run begins there"))
    }

    /// Completes the files that were written for long enough, and goes on with those that an object store is to have.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        if let Some(said) = self.uploads.as_mut().and_then(Uploads::work) {
            self.say(&said);
        }
        if self.open.is_empty() {
            return Ok(());
        }
        let now = clock::now();
        let due = |open: &Open| now.saturating_duration_since(open.since) >= self.limits.time;
        let due: Vec<String> = self.open.iter().filter(|(_, open)| due(open)).map(|(of, _)| of.clone()).collect();
        due.iter().try_for_each(|of| self.complete(of))
    }

    /// Waits so long; files go on into the object store meanwhile.
    pub(super) async fn idle(&mut self, time: Duration) {
        let Some(uploads) = &mut self.uploads else { return tokio::time::sleep(time).await };
        let said = tokio::time::timeout(time, uploads.wait()).await;
        if let Ok(said) = said {
            self.say(&said);
        }
    }

    /// Completes all files; the first error of any of them.
    pub(super) async fn finish(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        self.progress.end();
        let mut result = Ok(());
        while let Some(of) = self.open.keys().next().cloned() {
            let done = self.complete(&of);
            result = result.and(done);
        }
        let kept = self.keep_seen();
        result = result.and(kept);
        if let Some(uploads) = &mut self.uploads {
            uploads.finish(stop, |said| eprintln!("{said}")).await;
            (self.done.not_put, self.done.collided) = uploads.missing();
        }
        result
    }

    fn complete(&mut self, of: &str) -> Result<(), Failure> {
        let Some(open) = self.open.remove(of) else { return Ok(()) };
        let Open { temporary, writer, epoch, first, last, rows, .. } = open;
        let name = Name { of: of.to_owned(), epoch, first, last };
        let done = writer.finish().and_then(|(file, refused)| {
            let path = self.folder.complete(&temporary, file, &name).map_err(|failure| failure.message)?;
            Ok((path, refused))
        });
        let (path, refused) = match done {
            Ok(done) => done,
            Err(why) => return Err(self.give_up(of, &temporary, (first, rows), why)),
        };
        for (why, count) in refused.records {
            *self.done.refused.records.entry(why).or_default() += count;
        }
        self.done.refused.flags += refused.flags;
        self.done.files += 1;
        self.ends.insert((of.to_owned(), epoch), last);
        self.sees(of, epoch, last);
        if let Some(uploads) = &mut self.uploads {
            uploads.add(path);
        }
        self.keep_seen()
    }

    /// Keeps how far streams and rings were seen, where all that was taken of them is in complete files.
    fn keep_seen(&mut self) -> Result<(), Failure> {
        let closed = self.ahead.iter().filter(|((of, _), _)| !self.open.contains_key(of));
        let kept = self.seen.keep(closed.map(|(key, seen)| (key.clone(), self.ends.get(key).copied(), *seen)));
        kept.map_err(|error| Failure::failed(format!("{}: {error}", self.folder.path.display())))
    }

    /// Records that were not to be had.
    pub(super) fn lost(&mut self, count: u64, what: &str) {
        self.done.lost += count;
        self.tell_some(what);
    }

    /// Something of which it is not known whether it was wanted, or how much it was.
    pub(super) fn doubt(&mut self, what: &str) {
        self.done.doubts += 1;
        self.tell_some(what);
    }

    /// Something that stands where a record should.
    pub(super) fn unreadable(&mut self, what: &str) {
        self.done.unreadable += 1;
        self.tell_some(&format!("{what}; passed over"));
    }

    /// Says something in between.
    pub(super) fn say(&self, what: &str) {
        self.progress.end();
        eprintln!("{what}");
    }

    /// Says the first faults; the rest is counted.
    fn tell_some(&mut self, what: &str) {
        if let Some(text) = self.done.next_told(what) {
            self.say(&text);
        }
    }

    /// Whether everything that was there is recorded, or refused by the format.
    pub(super) const fn is_whole(&self) -> bool {
        self.done.is_whole()
    }

    /// Tells what came of it.
    pub(super) fn tell(&self) {
        self.done.tell(self.format, &self.folder.path);
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
