//! The end of a spool with records that stand in front of what has not been read: what the caller has in memory, among
//! it what it was given from here and does not know to be stored.
//!
//! They go into one segment before all others, and its numbers end where what has not been read goes on. It has its
//! name only when it is whole. From then on what stands before that place in the files behind it is passed over, so
//! that a kill at any moment neither loses nor doubles a record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::layout::{self, BLOCK_HEADER_BYTES, BLOCK_RECORDS_MAX, HEADER_BYTES, SegmentHeader};
use super::{Dropped, Position, Reader, Segment, Spool, SpoolError, files};
use crate::market::GapReason;
use crate::market::trade::RECORD_BYTES;

/// Where numbers begin in a directory that holds nothing: below them there is room in front, for any number of ends.
const FIRST_SEGMENT: u64 = 1_000_000;
const FIRST_RECORD: u64 = 1 << 40;

type Bytes = [u8; RECORD_BYTES];

/// What a caller leaves to whoever opens the directory next.
#[derive(Clone, Copy, Debug)]
pub struct Remains<'a> {
    /// What it has in memory, oldest first.
    pub records: &'a [Bytes],
    /// The place behind the last record that it was given: what stands before it is done with, or among `records`.
    pub at: Position,
    /// Between these and what stands behind that place something may be missing.
    pub torn: bool,
}

/// What [`Spool::leave`] did.
#[derive(Debug, Default)]
#[must_use = "what was given up has to be told"]
pub struct LeftBehind {
    /// The oldest of what remained, which found no room: gaps that declare it stand in its place.
    pub dropped: Dropped,
    /// Why all of it was given up; `None`: at most the limit was reached.
    pub error: Option<SpoolError>,
}

/// Where the new segment stands.
struct Place {
    /// The number behind its last record.
    end: u64,
    /// What is left of the block in which the caller stands: the rest of its file is read from behind it.
    rest: Vec<Bytes>,
    /// Which life it is taken for.
    life: u64,
    /// Whether anything stands behind it.
    goes_on: bool,
}

impl Spool {
    /// Begins to count high where the directory holds nothing, so that [`Self::leave`] has room in front.
    #[must_use]
    pub fn with_room(mut self) -> Self {
        if self.segments.is_empty() {
            (self.next_segment, self.end, self.released) = (FIRST_SEGMENT, FIRST_RECORD, FIRST_RECORD);
            self.reader = Reader::new(FIRST_RECORD);
        }
        self
    }

    /// Ends it, as [`Self::close`] does, so that whoever opens the directory next reads what remains in the caller's
    /// memory first, then all that the caller was not given.
    ///
    /// Where that is more than the limit allows, less what the next run needs to begin with, or the disk has no room,
    /// the oldest of what remains are given up, and gaps that declare them stand in their place.
    ///
    /// # Errors
    /// [`SpoolError`] where no more than what was given from here could be written: then all that the directory holds
    /// stays, and what was given is read again. Or where the system cannot say that it has stored everything.
    pub fn leave(mut self, created_ns: u64, remains: &Remains<'_>) -> Result<LeftBehind, SpoolError> {
        let at = remains.at.0.clamp(self.released, self.end);
        let place = self.place(at, remains.torn);
        if remains.records.is_empty() && place.rest.is_empty() {
            self.release(Position(at))?;
            return self.close().map(|()| LeftBehind::default());
        }
        let (dropped, kept) = self.fit(&place, remains.records);
        let declared = gaps(&dropped);
        let mut left = LeftBehind { dropped, error: None };
        if let Err(error) = self.put(created_ns, &place, [&declared, kept, &place.rest]) {
            // What was given and is not known to be stored is still on disk, and the youngest of what remains: rather
            // than to give that up, its files are left, and it is read twice.
            let given = usize::try_from(at - self.released).unwrap_or(usize::MAX);
            left = self.put_less(created_ns, &place, remains.records, kept.len(), given, error)?;
        }
        files::sync_directory(&self.directory)?;
        // A file that stays is passed over.
        let is_passed = |segment: &Segment| segment.end <= place.end;
        for segment in self.segments.iter().filter(|segment| is_passed(segment)) {
            let _ = files::remove(&segment.path);
        }
        self.segments.retain(|segment| !is_passed(segment));
        self.close().map(|()| left)
    }

    /// Puts what finds room, half as much each time: the disk does not say how much it still takes.
    fn put_less(
        &mut self,
        created_ns: u64,
        place: &Place,
        records: &[Bytes],
        tried: usize,
        least: usize,
        error: SpoolError,
    ) -> Result<LeftBehind, SpoolError> {
        let mut most = tried;
        while most > least {
            most = if most / 2 > least { most / 2 } else { least };
            let (gone, kept) = records.split_at(records.len() - most.min(records.len()));
            let dropped = Dropped::of(gone);
            if self.put(created_ns, place, [&gaps(&dropped), kept, &place.rest]).is_ok() {
                return Ok(LeftBehind { dropped, error: Some(error) });
            }
        }
        Err(error)
    }

    fn place(&self, at: u64, torn: bool) -> Place {
        let Some(next) = self.segments.iter().find(|segment| segment.end > at) else {
            return Place { end: at, rest: Vec::new(), life: self.life, goes_on: false };
        };
        // Where it cannot be read, all of its file is read again rather than lost.
        let (at, rest) = match Reader::block_rest(next, self.seed, at) {
            Ok(rest) => (at, rest),
            Err(_) => (at.min(next.first), Vec::new()),
        };
        // The end of a life tells whoever reads it that records need not follow on each other.
        let torn = torn || self.reader.is_torn() || next.torn && at <= next.first;
        let life = next.life.filter(|_| !torn).unwrap_or_else(|| fastrand::u64(..));
        Place { end: at + rest.len() as u64, rest, life, goes_on: true }
    }

    /// What is given up, and what is left of the remains.
    fn fit<'a>(&self, place: &Place, records: &'a [Bytes]) -> (Dropped, &'a [Bytes]) {
        let behind: u64 =
            self.segments.iter().filter(|segment| segment.end > place.end).map(|segment| segment.len).sum();
        // The next run needs room for its own first records: to make some it would give up all of the new segment.
        let reserve = (2 * self.limits.segment_bytes).min(self.limits.bytes / 4);
        let own = (HEADER_BYTES + 3 * BLOCK_HEADER_BYTES) as u64 + reserve;
        let bytes = self.limits.bytes.saturating_sub(behind + own);
        let block = (BLOCK_HEADER_BYTES + BLOCK_RECORDS_MAX * RECORD_BYTES) as u64;
        let blocks = bytes / block * BLOCK_RECORDS_MAX as u64;
        let mut most = blocks + (bytes % block).saturating_sub(BLOCK_HEADER_BYTES as u64) / RECORD_BYTES as u64;
        if place.goes_on && !self.segments.is_empty() {
            most = most.min(place.end);
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(place.rest.len());
        let mut cut = records.len().saturating_sub(most);
        loop {
            let (gone, kept) = records.split_at(cut);
            let dropped = if gone.is_empty() { Dropped::default() } else { Dropped::of(gone) };
            let over = (kept.len() + dropped.lost.len()).saturating_sub(most);
            if over == 0 || kept.is_empty() {
                return (dropped, kept);
            }
            cut = (cut + over).min(records.len());
        }
    }

    /// Writes a whole segment, or nothing.
    fn put(&mut self, created_ns: u64, place: &Place, parts: [&[Bytes]; 3]) -> Result<(), SpoolError> {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        let first = place.end.checked_sub(count as u64);
        let in_front = self.segments.front().map(|front| front.number.checked_sub(1).zip(first));
        let (number, first) = match in_front {
            Some(Some(numbers)) => numbers,
            Some(None) if place.goes_on => return Err(self.no_room()),
            // It holds nothing; or its numbers begin too low, and all of it was given.
            Some(None) | None => (self.next_segment, self.end),
        };
        let header = SegmentHeader::new(&self.owner, created_ns, number, first, place.life);
        let (block, seed) = (&mut self.block, self.seed);
        files::begin_segment(&self.directory, &header, |file| fill(file, block, (first, seed), parts)).map(drop)
    }

    fn no_room(&self) -> SpoolError {
        SpoolError::of("begin", self.directory.clone(), io::Error::other("no number is left in front"))
    }
}

fn fill(file: &File, block: &mut Vec<u8>, (mut first, seed): (u64, u64), parts: [&[Bytes]; 3]) -> io::Result<()> {
    let mut at = HEADER_BYTES as u64;
    for records in parts.iter().flat_map(|part| part.chunks(BLOCK_RECORDS_MAX)) {
        layout::encode_block(block, records, first, seed);
        file.write_all_at(block, at)?;
        at += block.len() as u64;
        first += records.len() as u64;
    }
    file.sync_data()
}

fn gaps(dropped: &Dropped) -> Vec<Bytes> {
    dropped.lost.values().map(|lost| *lost.gap(GapReason::OutboxOverflow).as_bytes()).collect()
}
