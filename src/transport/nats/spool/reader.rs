//! Where reading stands: block by block through the segments, and what the unread part of a segment holds.

use std::collections::VecDeque;
use std::io;

use super::Position;
use super::error::{Broken, Damage, SpoolError};
use super::files::open_segment;
use super::lost::Dropped;
use super::recover::{Segment, broken};
use super::walk::{Hole, Step, Walk};
use crate::market::trade::RECORD_BYTES;

/// What [`Spool::read`](super::Spool::read) did besides giving records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what is broken has to be declared"]
pub struct Reading {
    /// The place behind the last record that was given: what to release once all before it is acknowledged.
    pub position: Position,
    /// Damage that was passed over and had not been told before. It stood before the first record that this call gave.
    pub broken: Vec<Broken>,
    /// Records that stood before the first one that this call gave, and behind the last one given before, are not
    /// there: what `broken` tells, what was told when the spool was opened, or what a given up segment could not tell.
    pub torn: bool,
}

/// The reading end of a spool.
#[derive(Debug)]
pub(super) struct Reader {
    /// Number of the next record to give.
    position: u64,
    /// Something in front of the next record is not there, and the caller was not told that it is missing here.
    torn: bool,
    /// The segment that is being read.
    current: Option<Current>,
}

/// A segment on its way to being read.
#[derive(Debug)]
struct Current {
    /// The segment's number.
    number: u64,
    /// `None`: its file is gone, and all of it is a hole.
    walk: Option<Walk>,
    /// Number of the first record that was not read when it was opened.
    from: u64,
    /// Holes of the segment that were passed.
    holes: usize,
    /// Numbers of the block that is being given.
    block: std::ops::Range<u64>,
}

/// What comes next in a segment.
enum Found {
    Block,
    Broken(Hole),
    /// What was found broken at open.
    Known(Hole),
    End,
}

impl Reader {
    pub(super) const fn new(position: u64) -> Self {
        Self { position, torn: false, current: None }
    }

    pub(super) const fn is_torn(&self) -> bool {
        self.torn
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Goes to `position`, never back. A block that is being given stays where it is: its numbers tell what is left.
    pub(super) const fn move_to(&mut self, position: u64) {
        if position > self.position {
            self.position = position;
        }
    }

    /// A segment's file was removed: an open one would keep its place on the disk.
    pub(super) fn forget(&mut self, number: u64) {
        self.current = self.current.take().filter(|current| current.number != number);
    }

    pub(super) fn read(
        &mut self,
        segments: &VecDeque<Segment>,
        seed: u64,
        (limit, max): (u64, usize),
        out: &mut Vec<[u8; RECORD_BYTES]>,
    ) -> Result<Reading, SpoolError> {
        let mut told = Vec::new();
        let mut given = 0;
        while given < max && self.position < limit {
            let Some(segment) = self.segment(segments) else { break };
            if segment.torn && self.position <= segment.first {
                if given > 0 {
                    break;
                }
                self.torn = true;
            }
            let mut current = match self.current.take() {
                Some(current) if current.number == segment.number => current,
                _ => match Current::open(segment, seed, self.position) {
                    Ok(current) => current,
                    Err(error) if given == 0 && told.is_empty() => return Err(error),
                    // What was read must reach the caller; the next call meets the error again.
                    Err(_) => break,
                },
            };
            given += self.give(&current, (limit, max - given), out);
            let place = current.place();
            // What is left of a block stands behind the limit.
            let ended = current.block.end > self.position;
            if given < max && !ended {
                match current.next(segment) {
                    Found::Block => {}
                    Found::End => self.position = self.position.max(segment.end),
                    // What is broken is told before what stands behind it: the next call finds it again.
                    Found::Broken(_) if given > 0 => {
                        current.go_back(place);
                        self.current = Some(current);
                        break;
                    }
                    Found::Known(hole) if given > 0 && hole.tears(self.position) => {
                        current.go_back(place);
                        self.current = Some(current);
                        break;
                    }
                    Found::Known(hole) => {
                        self.torn |= hole.tears(self.position);
                        self.position = self.position.max(hole.next.unwrap_or(0));
                    }
                    Found::Broken(hole) => {
                        self.torn |= hole.tears(self.position);
                        self.position = self.position.max(hole.next.unwrap_or(segment.end));
                        told.push(broken(&segment.path, &hole));
                    }
                }
            }
            self.current = Some(current);
            if ended {
                break;
            }
        }
        // What is torn in front of a record that is still to come is told with it once more.
        let torn = if given > 0 { std::mem::take(&mut self.torn) } else { self.torn };
        Ok(Reading { position: Position(self.position), broken: told, torn })
    }

    /// Adds the unread part of a segment to what is lost.
    pub(super) fn lose(&mut self, segment: &Segment, seed: u64, dropped: &mut Dropped) -> Result<(), SpoolError> {
        if segment.end <= self.position {
            return Ok(());
        }
        let mut current = Current::open(segment, seed, self.position)?;
        self.torn |= segment.torn && self.position <= segment.first;
        loop {
            match current.next(segment) {
                Found::End => return Ok(()),
                Found::Block => current.rest(self.position).iter().for_each(|bytes| dropped.add(bytes)),
                Found::Known(hole) => self.torn |= hole.tears(self.position),
                Found::Broken(hole) if hole.next.is_some_and(|next| next <= self.position) => {}
                Found::Broken(hole) => {
                    self.torn |= hole.tears(self.position);
                    dropped.records += hole.records.unwrap_or(0);
                    dropped.broken.push(broken(&segment.path, &hole));
                }
            }
        }
    }

    /// What is left of the block in which a place is that stands inside of a segment: its records from there on.
    pub(super) fn block_rest(
        segment: &Segment,
        seed: u64,
        position: u64,
    ) -> Result<Vec<[u8; RECORD_BYTES]>, SpoolError> {
        if position <= segment.first {
            return Ok(Vec::new());
        }
        let mut current = Current::open(segment, seed, position)?;
        loop {
            match current.next(segment) {
                Found::End => return Ok(Vec::new()),
                Found::Block if current.block.end <= position => {}
                Found::Block if current.block.start <= position => return Ok(current.rest(position).to_vec()),
                // What is missing there shows when it is read.
                Found::Block => return Ok(Vec::new()),
                Found::Broken(_) | Found::Known(_) => {}
            }
        }
    }

    /// The segment in which the next record stands.
    fn segment<'a>(&self, segments: &'a VecDeque<Segment>) -> Option<&'a Segment> {
        let index = segments.partition_point(|segment| segment.end <= self.position);
        segments.get(index)
    }

    /// Gives records of the block at hand.
    fn give(&mut self, current: &Current, (limit, max): (u64, usize), out: &mut Vec<[u8; RECORD_BYTES]>) -> usize {
        let (rest, from) = (current.rest(self.position), self.position.max(current.block.start));
        let max = max.min(usize::try_from(limit.saturating_sub(from)).unwrap_or(usize::MAX));
        let given = rest.get(..max).unwrap_or(rest);
        if !given.is_empty() {
            out.extend_from_slice(given);
            self.position = from + given.len() as u64;
        }
        given.len()
    }
}

impl Current {
    fn open(segment: &Segment, seed: u64, position: u64) -> Result<Self, SpoolError> {
        let walk = match open_segment(&segment.path) {
            Ok(file) => Some(Walk::new(file, seed, Some(segment.first))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(SpoolError::of("read", segment.path.clone(), source)),
        };
        Ok(Self { number: segment.number, walk, from: position.max(segment.first), holes: 0, block: 0..0 })
    }

    /// What comes next.
    fn next(&mut self, segment: &Segment) -> Found {
        self.block = 0..0;
        let Some(walk) = &mut self.walk else {
            self.holes += 1;
            let records = segment.end.saturating_sub(self.from);
            return if self.holes > 1 { Found::End } else { Found::Broken(rest_of(segment, 0, records, gone())) };
        };
        if let Some(known) = segment.holes.get(self.holes).filter(|hole| hole.from == walk.at) {
            walk.skip(known);
            self.holes += 1;
            return Found::Known(known.clone());
        }
        let (at, missing) = (walk.at, segment.end.saturating_sub(walk.expected.unwrap_or(segment.end)));
        match walk.step(segment.len) {
            Step::Block { first, end } => {
                self.block = first..end;
                Found::Block
            }
            Step::Hole(hole) if hole.next.is_some() => Found::Broken(hole),
            // Here it is known what stood to the end.
            Step::Hole(hole) => {
                walk.expected = Some(segment.end);
                Found::Broken(Hole { records: Some(missing), ..hole })
            }
            Step::End if missing > 0 => {
                walk.expected = Some(segment.end);
                Found::Broken(rest_of(segment, at, missing, Damage::Missing))
            }
            Step::End => Found::End,
        }
    }

    /// The records of the block at hand that have a number from `position` on.
    fn rest(&self, position: u64) -> &[[u8; RECORD_BYTES]] {
        let Some(walk) = self.walk.as_ref().filter(|_| !self.block.is_empty()) else { return &[] };
        let (records, _) = walk.payload().as_chunks();
        let passed = usize::try_from(position.saturating_sub(self.block.start)).unwrap_or(usize::MAX);
        records.get(passed..).unwrap_or_default()
    }

    /// Where it stands between two blocks.
    fn place(&self) -> (Option<(u64, Option<u64>)>, usize) {
        (self.walk.as_ref().map(|walk| (walk.at, walk.expected)), self.holes)
    }

    fn go_back(&mut self, (place, holes): (Option<(u64, Option<u64>)>, usize)) {
        if let (Some(walk), Some((at, expected))) = (&mut self.walk, place) {
            walk.at = at;
            walk.expected = expected;
        }
        self.holes = holes;
    }
}

/// A hole from `from` to the end of a segment.
const fn rest_of(segment: &Segment, from: u64, records: u64, damage: Damage) -> Hole {
    Hole { from, to: segment.len, next: None, records: Some(records), damage }
}

fn gone() -> Damage {
    Damage::Unreadable("the file is gone".to_owned())
}
