//! Going through the blocks of one segment: what holds is given, what does not is passed over and told.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::error::Damage;
use super::layout::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES};

/// Bytes that are read at once, so that small blocks do not cost a system call each.
const CHUNK: usize = 256 * 1024;

/// A place in a segment, on its way to the end.
#[derive(Debug)]
pub(super) struct Walk {
    file: File,
    seed: u64,
    /// Bytes of the file from `start` on.
    buffer: Vec<u8>,
    start: u64,
    /// Where the last block's payload lies in the buffer.
    payload: Range<usize>,
    /// Offset of the next block.
    pub(super) at: u64,
    /// Number of the record that should stand there; `None` where nothing tells.
    pub(super) expected: Option<u64>,
}

/// What stands at a place.
#[derive(Debug)]
pub(super) enum Step {
    /// A block that holds; [`Walk::payload`] has its records.
    Block {
        /// Number of its first record.
        first: u64,
        /// Number behind its last record.
        end: u64,
    },
    /// Something that does not hold.
    Hole(Hole),
    /// The end.
    End,
}

/// A range of bytes that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Number of the record behind it; `None` where it reaches to the end.
    pub(super) next: Option<u64>,
    /// Records lost by it; `None` where nothing tells.
    pub(super) records: Option<u64>,
    pub(super) damage: Damage,
}

impl Hole {
    /// Whether records are missing by it that a reader at `position` has not passed.
    pub(super) fn tears(&self, position: u64) -> bool {
        self.records != Some(0) && self.next.is_none_or(|next| next >= position)
    }
}

impl Walk {
    /// Stands at the first block of a segment.
    pub(super) const fn new(file: File, seed: u64, expected: Option<u64>) -> Self {
        Self { file, seed, buffer: Vec::new(), start: 0, payload: 0..0, at: HEADER_BYTES as u64, expected }
    }

    /// The next block or hole before offset `limit`, and goes behind it. Only blocks in the order of their numbers are
    /// given.
    pub(super) fn step(&mut self, limit: u64) -> Step {
        let at = self.at;
        if at >= limit {
            return Step::End;
        }
        let header = match self.header_at(at, limit) {
            Ok(Some(header)) => header,
            Ok(None) if limit - at < BLOCK_HEADER_BYTES as u64 => return self.skip_to_end(limit, Damage::Cut),
            Ok(None) => return self.seek_block(limit),
            Err(error) => return self.skip_to_end(limit, Damage::Unreadable(error.to_string())),
        };
        if self.expected.is_some_and(|expected| header.first < expected) {
            let next = self.expected;
            return self.over(at + header.bytes() as u64, next, Some(0), Damage::Repeated);
        }
        if let Some(expected) = self.expected.filter(|expected| *expected < header.first) {
            return self.over(at, Some(header.first), Some(header.first - expected), Damage::Missing);
        }
        let end = at + header.bytes() as u64;
        if end > limit {
            return self.skip_to_end(limit, Damage::Cut);
        }
        match self.load(at, header.bytes(), limit) {
            Ok(block) if block.len() == header.bytes() => {
                self.payload = block.start + BLOCK_HEADER_BYTES..block.end;
                if !header.holds(self.payload()) {
                    return self.over(end, Some(header.end()), Some(u64::from(header.count)), Damage::Checksum);
                }
                self.at = end;
                self.expected = Some(header.end());
                Step::Block { first: header.first, end: header.end() }
            }
            // The file has become shorter than it was.
            Ok(_) => self.skip_to_end(limit, Damage::Cut),
            Err(error) => self.skip_to_end(limit, Damage::Unreadable(error.to_string())),
        }
    }

    /// The records of the block that the last step gave.
    pub(super) fn payload(&self) -> &[u8] {
        self.buffer.get(self.payload.clone()).unwrap_or_default()
    }

    /// Goes over a hole that is known already.
    pub(super) fn skip(&mut self, hole: &Hole) {
        self.at = hole.to;
        self.expected = hole.next.or(self.expected);
    }

    /// Looks for the next header that holds: behind a damaged one, nothing tells where it is.
    fn seek_block(&mut self, limit: u64) -> Step {
        let mut probe = self.at + BLOCK_ALIGN;
        while probe < limit {
            match self.header_at(probe, limit) {
                Ok(Some(header)) if self.expected.is_none_or(|expected| header.first >= expected) => {
                    let records = self.expected.map(|expected| header.first - expected);
                    return self.over(probe, Some(header.first), records, Damage::BlockHeader);
                }
                Ok(_) => probe += BLOCK_ALIGN,
                Err(error) => return self.skip_to_end(limit, Damage::Unreadable(error.to_string())),
            }
        }
        self.skip_to_end(limit, Damage::BlockHeader)
    }

    fn header_at(&mut self, at: u64, limit: u64) -> io::Result<Option<BlockHeader>> {
        let range = self.load(at, BLOCK_HEADER_BYTES, limit)?;
        Ok(self.buffer.get(range).and_then(|bytes| BlockHeader::decode(bytes, self.seed)))
    }

    fn skip_to_end(&mut self, limit: u64, damage: Damage) -> Step {
        self.over(limit, None, None, damage)
    }

    fn over(&mut self, to: u64, next: Option<u64>, records: Option<u64>, damage: Damage) -> Step {
        let hole = Hole { from: self.at, to, next, records, damage };
        self.skip(&hole);
        Step::Hole(hole)
    }

    /// Where `length` bytes from offset `at` lie in the buffer; fewer where `limit` or the file ends before.
    ///
    /// Nothing beyond `limit` is ever kept: it may be written yet.
    fn load(&mut self, at: u64, length: usize, limit: u64) -> io::Result<Range<usize>> {
        let wanted = length.min(usize::try_from(limit.saturating_sub(at)).unwrap_or(length));
        let from = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        if let Some(from) = from.filter(|from| from.saturating_add(wanted) <= self.buffer.len()) {
            return Ok(from..from + wanted);
        }
        let chunk = usize::try_from(limit.saturating_sub(at)).unwrap_or(CHUNK).min(CHUNK.max(wanted));
        self.start = at;
        self.buffer.resize(chunk, 0);
        let mut filled = 0;
        while filled < chunk {
            let rest = self.buffer.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(rest, at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(filled);
        Ok(0..wanted.min(filled))
    }
}
