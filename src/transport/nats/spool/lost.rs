//! What a segment that was given up held, instrument by instrument, so that a gap can be declared for each.

use std::collections::BTreeMap;

use super::error::Broken;
use crate::market::trade::{KIND_GAP_V1, RECORD_BYTES};
use crate::market::{GapMsg, GapReason, GapStrength, Record};

/// What was given up to keep within the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what was given up has to be declared"]
pub struct Dropped {
    /// Segments whose files were removed.
    pub segments: u64,
    /// Records in them that had not been read: the sum of `lost`, and what `broken` counts.
    pub records: u64,
    /// What is lost of each instrument.
    pub lost: BTreeMap<u32, Lost>,
    /// Places that could not be read to the end, and were not told before.
    pub broken: Vec<Broken>,
}

/// Records of one instrument that were given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// As in [`TradeMsg::instrument_id`](crate::market::TradeMsg::instrument_id).
    pub instrument_id: u32,
    /// The oldest of them.
    pub first: [u8; RECORD_BYTES],
    /// The newest of them.
    pub last: [u8; RECORD_BYTES],
    /// How many.
    pub records: u64,
    /// Earliest venue time of a trade or start of a gap, nanoseconds since the Unix epoch.
    pub ts_start: u64,
    /// Latest venue time of a trade or end of a gap, nanoseconds since the Unix epoch.
    pub ts_end: u64,
    /// Trades that are missing now: those given up, and those that gaps among them had declared; 0 unknown.
    pub missing: u64,
    gap: GapMsg,
}

impl Dropped {
    /// Whether nothing was given up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments == 0
    }

    /// These records, as if a segment had held them: for a caller that could not append them.
    pub fn of(records: &[[u8; RECORD_BYTES]]) -> Self {
        let mut dropped = Self { segments: 1, ..Self::default() };
        records.iter().for_each(|record| dropped.add(record));
        dropped
    }

    pub(super) fn add(&mut self, bytes: &[u8; RECORD_BYTES]) {
        self.records += 1;
        // Both kinds have the instrument at the same place, and a later kind will too.
        let [.., a, b, c, d, _, _, _, _] = *bytes;
        let instrument_id = u32::from_le_bytes([a, b, c, d]);
        match self.lost.get_mut(&instrument_id) {
            Some(lost) => lost.add(bytes),
            None => {
                self.lost.insert(instrument_id, Lost::of(instrument_id, bytes));
            }
        }
    }
}

impl Lost {
    /// One gap that declares all of it.
    #[must_use]
    pub const fn gap(&self, reason: GapReason) -> GapMsg {
        GapMsg { instrument_id: self.instrument_id, reason: reason as u8, flags: 0, ..self.gap }
    }

    fn of(instrument_id: u32, bytes: &[u8; RECORD_BYTES]) -> Self {
        let mut this = Self {
            instrument_id,
            first: *bytes,
            last: *bytes,
            records: 0,
            ts_start: 0,
            ts_end: 0,
            missing: 0,
            gap: lost(bytes),
        };
        this.count(bytes);
        this
    }

    fn add(&mut self, bytes: &[u8; RECORD_BYTES]) {
        self.gap.join(&lost(bytes));
        self.count(bytes);
    }

    fn count(&mut self, bytes: &[u8; RECORD_BYTES]) {
        self.last = *bytes;
        self.records += 1;
        (self.ts_start, self.ts_end, self.missing) = (self.gap.ts_start, self.gap.ts_end, self.gap.missing);
    }
}

/// The gap that one lost record leaves.
fn lost(bytes: &[u8; RECORD_BYTES]) -> GapMsg {
    match Record::from_bytes(bytes) {
        Ok(record) => record.lost(GapReason::OutboxOverflow),
        // Of a later kind: that something is lost is all that can be said. Its first field is a time in all kinds.
        Err(_) => {
            let [a, b, c, d, e, f, g, h, ..] = *bytes;
            let time = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let strength = GapStrength::FramesLost as u8;
            GapMsg { ts_start: time, ts_end: time, strength, kind: KIND_GAP_V1, ..bytemuck::Zeroable::zeroed() }
        }
    }
}
