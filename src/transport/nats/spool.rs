//! The store on disk behind the outbox: when the broker is away for long, records wait here and come back in order.
//!
//! | file | what it knows |
//! |---|---|
//! | `layout` | names and bytes |
//! | `limits` | how much there may be |
//! | `files` | the directory: lock, creation, what is set aside |
//! | `walk` | the blocks of one segment, damaged ones passed over |
//! | `recover` | what a directory holds when it is opened |
//! | `reader` | where reading stands |
//! | `lost` | what was given up, instrument by instrument |
//! | `leave` | the end, with what the caller still has in memory in front |
//!
//! A synchronous library type: every call may wait for the disk, so it is driven by a thread that may wait. It reads no
//! clock and knows no broker.
//!
//! # What it guarantees
//!
//! - [`Spool::read`] gives the appended records in the order in which they were appended, each once per open, and no
//!   record whose checksum does not hold.
//! - What [`Spool::append`] has returned for survives the death of this process. A loss of power may cost what came
//!   since the last segment was begun or the spool was [closed](Spool::close).
//! - [`Spool::bytes`] never exceeds [`Limits::bytes`] after an append. What has to go for that are the oldest segments,
//!   and what was in them and had not been read is told ([`Dropped`]).
//! - A failed call has stored nothing, and leaves the spool usable.
//!
//! # What it leaves to the caller
//!
//! To release what the broker has acknowledged. A position lives as long as the open spool: after another open, reading
//! starts at the oldest segment that is still there, so records may come that were acknowledged before. To the stream
//! these are duplicates like any others.

mod error;
mod files;
mod layout;
mod leave;
mod limits;
mod lost;
mod reader;
mod recover;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub use error::{Broken, Damage, SpoolError};
pub use files::left_in;
pub use layout::BLOCK_RECORDS_MAX;
pub use leave::{LeftBehind, Remains};
pub use limits::{Limits, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use lost::{Dropped, Lost};
pub use reader::Reading;
pub use recover::Recovered;

use crate::market::trade::RECORD_BYTES;
use crate::transport::files::Lock;
use layout::{BLOCK_HEADER_BYTES, HEADER_BYTES, SegmentHeader};
use reader::Reader;
use recover::Segment;

/// A place between two records, in the order in which they were appended. It counts broken records too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what was given up has to be declared"]
pub struct Appended {
    /// The place behind the appended records.
    pub position: Position,
    /// What had to be given up for them.
    pub dropped: Dropped,
}

/// A directory of records. See the module's documentation.
///
/// # Examples
/// ```
/// use data_manager::transport::nats::spool::{Limits, Spool};
/// # let directory = tempfile::tempdir()?;
/// let (mut spool, recovered) = Spool::open(directory.path(), Limits::default(), "TRADES")?;
/// assert_eq!(recovered.records, 0);
/// let appended = spool.append(1_700_000_000_000_000_000, &[[7; 48], [8; 48]])?;
/// assert!(appended.dropped.is_empty());
/// let mut records = Vec::new();
/// let reading = spool.read(100, &mut records)?;
/// assert_eq!(records, [[7; 48], [8; 48]]);
/// spool.release(reading.position)?;
/// assert!(spool.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    limits: Limits,
    owner: String,
    /// Which opening of the directory this is.
    life: u64,
    seed: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The last segment's file, while it still takes blocks.
    active: Option<File>,
    /// Number of the next segment.
    next_segment: u64,
    /// Number of the next record.
    end: u64,
    /// Number behind the last released record.
    released: u64,
    reader: Reader,
    /// What was given up by an append that then failed.
    dropped: Dropped,
    /// A block on its way to the file.
    block: Vec<u8>,
    /// Held until everything else is closed.
    _lock: Lock,
}

impl Position {
    /// The number of the record behind it, as the directory counts them.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl Spool {
    /// Opens a directory, makes it where it is missing (for its owner alone), takes its lock, and reads all that it
    /// holds once. Reading then starts at the oldest record.
    ///
    /// `owner` is whose records these are: the stream's name.
    ///
    /// # Errors
    /// [`SpoolError::Limits`]; [`SpoolError::Busy`] while another spool is open on the directory;
    /// [`SpoolError::Owner`] and [`SpoolError::Version`] for a directory that was written by somebody else, which is
    /// then left as it was; [`SpoolError::Io`] for files that cannot be read. Damaged bytes are no error.
    pub fn open(directory: &Path, limits: Limits, owner: &str) -> Result<(Self, Recovered), SpoolError> {
        limits.check()?;
        files::ensure_directory(directory)?;
        let lock = files::take_lock(directory)?;
        let (segments, recovered) = recover::recover(directory, owner)?;
        let end = segments.back().map_or(0, |segment| segment.end);
        let first = segments.front().map_or(end, |segment| segment.first);
        let spool = Self {
            directory: directory.to_owned(),
            limits,
            owner: owner.to_owned(),
            life: fastrand::u64(..),
            seed: layout::owner_hash(owner),
            next_segment: segments.back().map_or(1, |segment| segment.number + 1),
            segments,
            active: None,
            end,
            released: first,
            reader: Reader::new(first),
            dropped: Dropped::default(),
            block: Vec::new(),
            _lock: lock,
        };
        Ok((spool, recovered))
    }

    /// Appends records behind all others, all of them or none. Where the limit would be exceeded, the oldest segments
    /// are given up first; the reader moves on if it stands in one of them.
    ///
    /// `created_ns`, nanoseconds since the Unix epoch, goes into the header of a segment that is begun for them.
    ///
    /// # Errors
    /// [`SpoolError::TooMany`] beyond [`BLOCK_RECORDS_MAX`]; [`SpoolError::Full`] where the disk, a quota or a file
    /// size limit leaves no room; [`SpoolError::Io`]. What was given up before the failure is told by the next append
    /// that succeeds, or by [`Self::take_dropped`].
    pub fn append(&mut self, created_ns: u64, records: &[[u8; RECORD_BYTES]]) -> Result<Appended, SpoolError> {
        if records.len() > BLOCK_RECORDS_MAX {
            return Err(SpoolError::TooMany { count: records.len() });
        }
        if !records.is_empty() {
            let bytes = (BLOCK_HEADER_BYTES + records.len() * RECORD_BYTES) as u64;
            let len = self.segments.back().map_or(0, |segment| segment.len);
            if self.active.is_some() && len + bytes > self.limits.segment_bytes {
                self.seal()?;
            }
            let header = if self.active.is_some() { 0 } else { HEADER_BYTES as u64 };
            while self.bytes() + header + bytes > self.limits.bytes && self.drop_front()? {}
            if self.active.is_none() {
                self.begin(created_ns)?;
            }
            self.write(records)?;
        }
        Ok(Appended { position: Position(self.end), dropped: self.take_dropped() })
    }

    /// Appends up to `max` records to `out`, oldest first. None come when all are read.
    ///
    /// Nothing is removed: that is what [`Self::release`] is for.
    ///
    /// # Errors
    /// [`SpoolError::Io`] where a segment cannot be opened for a reason that may pass; nothing is then read or lost.
    /// Damage is no error: it is passed over and told in [`Reading::broken`].
    pub fn read(&mut self, max: usize, out: &mut Vec<[u8; RECORD_BYTES]>) -> Result<Reading, SpoolError> {
        self.read_until(Position(u64::MAX), max, out)
    }

    /// As [`Self::read`], but no record that stands behind `limit`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_until(
        &mut self,
        limit: Position,
        max: usize,
        out: &mut Vec<[u8; RECORD_BYTES]>,
    ) -> Result<Reading, SpoolError> {
        self.reader.read(&self.segments, self.seed, (limit.0, max), out)
    }

    /// Everything before `position` has been acknowledged: segments that lie wholly before it are removed. How many
    /// these are is returned. The reader moves on if it stands before `position`.
    ///
    /// # Errors
    /// [`SpoolError::Io`] where a file cannot be removed; it is tried again at the next release.
    pub fn release(&mut self, position: Position) -> Result<u64, SpoolError> {
        self.released = self.released.max(position.0.min(self.end));
        self.reader.move_to(self.released);
        let mut removed = 0;
        while self.segments.front().is_some_and(|segment| segment.end <= self.released) {
            self.remove_front()?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Gives up the oldest segment, whatever it holds: for a caller to whom the disk is too full to append. What was
    /// given up by a failed append is told with it. Nothing is given up when no segment is left.
    ///
    /// # Errors
    /// [`SpoolError::Io`] where the segment cannot be opened or removed; it is then still there.
    pub fn drop_oldest(&mut self) -> Result<Dropped, SpoolError> {
        self.drop_front()?;
        Ok(self.take_dropped())
    }

    /// What was given up by an append that then failed.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Makes everything last through a loss of power, and gives the directory back. What is not released stays.
    ///
    /// # Errors
    /// [`SpoolError::Io`] where the system cannot say that it has stored everything.
    pub fn close(mut self) -> Result<(), SpoolError> {
        self.trim()?;
        self.seal()?;
        files::sync_directory(&self.directory)
    }

    /// Whether nothing is held: all records are released.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records() == 0
    }

    /// Records that are held: appended and not released. Broken ones count until they are released.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.end - self.released
    }

    /// The place where reading stands.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.reader.position())
    }

    /// The place behind all records.
    #[must_use]
    pub const fn end(&self) -> Position {
        Position(self.end)
    }

    /// Records that [`Self::read`] has still to give or to pass over.
    #[must_use]
    pub const fn unread(&self) -> u64 {
        self.end.saturating_sub(self.reader.position())
    }

    /// Whether records in front of the next one that is read are not there, as [`Reading::torn`] will tell.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.reader.is_torn()
    }

    /// Bytes of all segments together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins the next segment.
    fn begin(&mut self, created_ns: u64) -> Result<(), SpoolError> {
        let number = self.next_segment;
        let header = SegmentHeader::new(&self.owner, created_ns, number, self.end, self.life);
        let (file, path) = files::begin_segment(&self.directory, &header, |_| Ok(()))?;
        self.active = Some(file);
        self.next_segment += 1;
        self.segments.push_back(Segment {
            number,
            path,
            first: self.end,
            end: self.end,
            len: HEADER_BYTES as u64,
            holes: Vec::new(),
            torn: false,
            life: Some(self.life),
        });
        Ok(())
    }

    /// Writes one block behind the last whole one. Where that fails, what was written of it is cut off again.
    fn write(&mut self, records: &[[u8; RECORD_BYTES]]) -> Result<(), SpoolError> {
        let (Some(file), Some(segment)) = (&self.active, self.segments.back_mut()) else { return Ok(()) };
        layout::encode_block(&mut self.block, records, self.end, self.seed);
        if let Err(source) = file.write_all_at(&self.block, segment.len) {
            let error = SpoolError::of("write", segment.path.clone(), source);
            if file.set_len(segment.len).is_err() {
                // Nothing may follow bytes that cannot be removed.
                self.active = None;
            }
            return Err(error);
        }
        segment.len += self.block.len() as u64;
        self.end += records.len() as u64;
        segment.end = self.end;
        Ok(())
    }

    /// Nothing more goes into the last segment, and what is in it lasts.
    fn seal(&mut self) -> Result<(), SpoolError> {
        let (Some(file), Some(segment)) = (self.active.take(), self.segments.back()) else { return Ok(()) };
        file.sync_data().map_err(|source| SpoolError::of("sync", segment.path.clone(), source))?;
        files::sync_directory(&self.directory)
    }

    /// Gives up the oldest segment and notes what is lost; false when there is none.
    fn drop_front(&mut self) -> Result<bool, SpoolError> {
        let Some(segment) = self.segments.front() else { return Ok(false) };
        let mut dropped = self.dropped.clone();
        self.reader.lose(segment, self.seed, &mut dropped)?;
        let end = segment.end;
        self.remove_front()?;
        dropped.segments += 1;
        self.dropped = dropped;
        self.released = self.released.max(end);
        self.reader.move_to(end);
        Ok(true)
    }

    /// Removes the files that hold nothing which is not released.
    fn trim(&mut self) -> Result<(), SpoolError> {
        self.release(Position(self.released)).map(drop)
    }

    fn remove_front(&mut self) -> Result<(), SpoolError> {
        let Some(segment) = self.segments.front() else { return Ok(()) };
        files::remove(&segment.path)?;
        self.reader.forget(segment.number);
        self.segments.pop_front();
        if self.segments.is_empty() {
            // It was the last one, so the one that was written to.
            self.active = None;
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`.
        let _ = self.trim();
    }
}
