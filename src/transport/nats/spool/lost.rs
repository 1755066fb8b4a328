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
    first_id: u64,
    last_id: u64,
    strength: u8,
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
        GapMsg {
            ts_start: self.ts_start,
            ts_end: self.ts_end,
            first_id: self.first_id,
            last_id: self.last_id,
            missing: self.missing,
            instrument_id: self.instrument_id,
            strength: self.strength,
            reason: reason as u8,
            flags: 0,
            kind: KIND_GAP_V1,
        }
    }

    fn of(instrument_id: u32, bytes: &[u8; RECORD_BYTES]) -> Self {
        let gap = as_gap(bytes);
        Self {
            instrument_id,
            first: *bytes,
            last: *bytes,
            records: 1,
            ts_start: gap.ts_start,
            ts_end: gap.ts_end,
            missing: gap.missing,
            first_id: gap.first_id,
            last_id: gap.last_id,
            strength: gap.strength,
        }
    }

    fn add(&mut self, bytes: &[u8; RECORD_BYTES]) {
        let gap = as_gap(bytes);
        self.last = *bytes;
        self.records += 1;
        self.ts_start = self.ts_start.min(gap.ts_start);
        self.ts_end = self.ts_end.max(gap.ts_end);
        // 0 means unknown: an unknown part makes the sum unknown.
        let known = self.missing != 0 && gap.missing != 0;
        self.missing = if known { self.missing.saturating_add(gap.missing) } else { 0 };
        if self.first_id == 0 {
            self.first_id = gap.first_id;
        }
        if gap.last_id != 0 {
            self.last_id = gap.last_id;
        }
        self.strength = self.strength.max(gap.strength);
    }
}

/// The gap that one lost record leaves.
fn as_gap(bytes: &[u8; RECORD_BYTES]) -> GapMsg {
    let (time, id, missing, strength) = match Record::from_bytes(bytes) {
        Ok(Record::Gap(gap)) => return gap,
        Ok(Record::Trade(trade)) => (trade.ts_event, trade.trade_id, 1, GapStrength::Proved),
        // Of a later kind: that something is lost is all that can be said. Its first field is a time in all kinds.
        Err(_) => {
            let [a, b, c, d, e, f, g, h, ..] = *bytes;
            (u64::from_le_bytes([a, b, c, d, e, f, g, h]), 0, 0, GapStrength::FramesLost)
        }
    };
    GapMsg {
        ts_start: time,
        ts_end: time,
        first_id: id,
        last_id: id,
        missing,
        instrument_id: 0,
        strength: strength as u8,
        reason: 0,
        flags: 0,
        kind: KIND_GAP_V1,
    }
}
