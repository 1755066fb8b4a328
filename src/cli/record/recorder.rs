//! The files that are open, when they are completed, and what came of all of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::progress::{Progress, plural};
use super::super::recording::folder::{Folder, Name};
use super::super::recording::{Format, Refused, Row, Writer};
use crate::config::settings::Nats;
use crate::telemetry::clock;
use crate::transport::nats::bucket::Bucket;

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
    bucket: Option<Bucket>,
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

/// What came of it.
#[derive(Default)]
struct Done {
    records: u64,
    files: u64,
    refused: Refused,
    /// Records, or messages, that were not to be had.
    lost: u64,
    /// What stood where records should.
    unreadable: u64,
}

impl Recorder {
    pub(super) fn new(folder: Folder, format: Format, limits: Limits) -> Self {
        let progress = Progress::new("recording");
        Self { folder, format, limits, open: BTreeMap::new(), bucket: None, done: Done::default(), progress }
    }

    /// Has each complete file put into this object store too; those that it has not yet are put there first.
    pub(super) async fn upload_to(&mut self, nats: &Nats, name: &str) -> Result<(), Failure> {
        let bucket = Bucket::create(nats, name).await.map_err(Failure::failed)?;
        let there = bucket.names().await.map_err(Failure::failed)?;
        for path in self.folder.files()? {
            if !there.iter().any(|name| path.file_name().is_some_and(|file| file == name.as_str())) {
                bucket.put(&path).await.map_err(Failure::failed)?;
            }
        }
        self.bucket = Some(bucket);
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

    /// Takes the records of one message, of the stream or the ring of this name. They are not torn apart.
    pub(super) async fn take(&mut self, of: &str, rows: &[Row], part: Option<(u64, u64)>) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let ((epoch, first), (_, last)) = (first.place.numbers(), last.place.numbers());
        if self.open.get(of).is_some_and(|open| open.epoch != epoch) {
            self.complete(of).await?;
        }
        if !self.open.contains_key(of) {
            let (temporary, file) = self.folder.create()?;
            let writer = Writer::new(self.format, file, &self.folder.text).map_err(Failure::failed)?;
            let open = Open { temporary, writer, epoch, first, last, rows: 0, since: clock::now() };
            self.open.insert(of.to_owned(), open);
        }
        let Some(open) = self.open.get_mut(of) else { return Ok(()) };
        if let Err(why) = open.writer.push(rows) {
            return Err(self.give_up(of, &why));
        }
        open.last = last;
        for _ in rows {
            open.rows += 1;
            self.done.records += 1;
            self.progress.tell(self.done.records, || part);
        }
        if open.rows >= self.limits.records { self.complete(of).await } else { Ok(()) }
    }

    /// Drops a file that something could not be written to: under a final name it would hide what it lacks, as the next
    /// run goes on behind the last complete file.
    fn give_up(&mut self, of: &str, why: &str) -> Failure {
        let Some(Open { temporary, first, rows, .. }) = self.open.remove(of) else { return Failure::failed(why) };
        self.done.records -= rows;
        // What cannot be removed goes with the next run.
        let _ = std::fs::remove_file(&temporary);
        Failure::failed(format!(
            "{}: {why}; all of {of} from {first} on is not recorded: run again, and it goes on from there",
            temporary.display()
        ))
    }

    /// Completes the files that were written for long enough.
    pub(super) async fn tick(&mut self) -> Result<(), Failure> {
        let now = clock::now();
        let due = |open: &Open| now.saturating_duration_since(open.since) >= self.limits.time;
        let due: Vec<String> = self.open.iter().filter(|(_, open)| due(open)).map(|(of, _)| of.clone()).collect();
        for of in due {
            self.complete(&of).await?;
        }
        Ok(())
    }

    /// Completes all files.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        self.progress.end();
        while let Some(of) = self.open.keys().next().cloned() {
            self.complete(&of).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, of: &str) -> Result<(), Failure> {
        let Entry::Occupied(open) = self.open.entry(of.to_owned()) else { return Ok(()) };
        let Open { temporary, writer, epoch, first, last, .. } = open.remove();
        let fail = |why| Failure::failed(format!("{}: {why}", temporary.display()));
        let (file, refused) = writer.finish().map_err(fail)?;
        for (why, count) in refused {
            *self.done.refused.entry(why).or_default() += count;
        }
        let name = Name { of: of.to_owned(), epoch, first, last };
        let path = self.folder.complete(&temporary, file, &name)?;
        self.done.files += 1;
        match &self.bucket {
            Some(bucket) => bucket.put(&path).await.map_err(Failure::failed),
            None => Ok(()),
        }
    }

    /// Records that were not to be had.
    pub(super) fn lost(&mut self, count: u64, what: &str) {
        self.done.lost += count;
        self.say(what);
    }

    /// Something that stands where a record should.
    pub(super) fn unreadable(&mut self, what: &str) {
        self.done.unreadable += 1;
        self.say(&format!("{what}; passed over"));
    }

    /// Says something in between.
    pub(super) fn say(&self, what: &str) {
        self.progress.end();
        eprintln!("{what}");
    }

    /// Whether everything that was there is recorded, or refused by the format.
    pub(super) const fn is_whole(&self) -> bool {
        self.done.lost == 0 && self.done.unreadable == 0
    }

    /// Tells what came of it.
    pub(super) fn tell(&self) {
        let Done { records, files, refused, lost, unreadable } = &self.done;
        let left_out: u64 = refused.values().sum();
        let mut text = format!(
            "{} in {} in {}",
            plural(records - left_out, "record"),
            plural(*files, "file"),
            self.folder.path.display()
        );
        for (count, what) in [(lost, "lost before they were read"), (unreadable, "unreadable")] {
            if *count > 0 {
                text = format!("{text}; {count} {what}");
            }
        }
        eprintln!("{text}");
        for (why, count) in refused {
            eprintln!("left out, as {} cannot hold it: {why}: {}", self.format.ending(), plural(*count, "record"));
        }
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
