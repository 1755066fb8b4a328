//! Gaps of what is lost on its way: the gap that one record leaves, and several joined to one.

use super::Record;
use super::trade::{Flags, GapMsg, GapReason, GapStrength, KIND_GAP_V1, TradeMsg};

impl Record {
    /// The gap that this record leaves where it is given up.
    #[must_use]
    pub const fn lost(&self, reason: GapReason) -> GapMsg {
        match self {
            Self::Trade(trade) => lost_trade(trade, reason),
            Self::Gap(gap) => lost_gap(gap, reason),
        }
    }
}

impl GapMsg {
    /// Whether `later` begins where this one ends, by the venue's own ids.
    #[must_use]
    pub fn is_followed_by(&self, later: &Self) -> bool {
        self.last_id != 0 && self.last_id.checked_add(1) == Some(later.first_id)
    }

    /// A part of it, where it counts by the venue's own ids.
    #[must_use]
    pub const fn part(self, first_id: u64, last_id: u64) -> Self {
        Self { first_id, last_id, missing: last_id.saturating_sub(first_id).saturating_add(1), ..self }
    }

    /// That something may be missing there.
    #[must_use]
    pub const fn possible(self) -> Self {
        Self { first_id: 0, last_id: 0, missing: 0, strength: GapStrength::Possible as u8, ..self }
    }

    /// What is left of it behind a stream that ends with this id, at this venue time.
    #[must_use]
    pub fn behind(self, id: u64, ts: u64) -> Self {
        if self.first_id == 0 || self.first_id > id || self.last_id <= id {
            return self;
        }
        let first_id = id.saturating_add(1);
        let ts_start = ts.clamp(self.ts_start, self.ts_end.max(self.ts_start));
        let rest = self.part(first_id, self.last_id);
        Self { ts_start, missing: rest.missing.min(self.missing), ..rest }
    }

    /// Joins another gap of the same instrument, declared later, to this one. What comes of it is exact only where they
    /// follow on each other: otherwise it counts fewer trades than lie between its ends.
    pub fn join(&mut self, later: &Self) {
        if later.first_id <= self.last_id {
            // One inside the other, or behind it: their sum counts some twice, and proves nothing.
            self.strength = self.strength.max(GapStrength::FramesLost as u8);
        }
        self.ts_start = self.ts_start.min(later.ts_start);
        self.ts_end = self.ts_end.max(later.ts_end);
        if self.first_id == 0 {
            self.first_id = later.first_id;
        }
        if later.last_id != 0 {
            self.last_id = later.last_id;
        }
        // 0 means unknown: an unknown part makes the sum unknown.
        let known = self.missing != 0 && later.missing != 0;
        self.missing = if known { self.missing.saturating_add(later.missing) } else { 0 };
        self.strength = self.strength.max(later.strength);
    }
}

const fn lost_trade(trade: &TradeMsg, reason: GapReason) -> GapMsg {
    // One row for several fills does not tell how far it reaches back.
    let strength = match trade.flag_set().has(Flags::AGGREGATED) {
        true => GapStrength::FramesLost,
        false => GapStrength::Proved,
    };
    GapMsg {
        ts_start: trade.ts_event,
        ts_end: trade.ts_event,
        first_id: trade.trade_id,
        last_id: trade.trade_id,
        missing: 1,
        instrument_id: trade.instrument_id,
        strength: strength as u8,
        reason: reason as u8,
        flags: 0,
        kind: KIND_GAP_V1,
    }
}

/// A gap that is given up lives on in the gap that replaces it. One that said that it had been filled does so too, as
/// its filling may be lost with it, but it proves nothing: fetched again, what is stored of it would be stored twice.
const fn lost_gap(gap: &GapMsg, reason: GapReason) -> GapMsg {
    let filled = gap.flags & Flags::BACKFILLED != 0;
    let strength = match filled && gap.strength < GapStrength::FramesLost as u8 {
        true => GapStrength::FramesLost as u8,
        false => gap.strength,
    };
    GapMsg { reason: reason as u8, flags: 0, strength, ..*gap }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(id: u64, flags: u8) -> Record {
        Record::Trade(TradeMsg { trade_id: id, ts_event: id * 10, flags, kind: 1, ..bytemuck::Zeroable::zeroed() })
    }

    fn joined(records: &[Record]) -> GapMsg {
        let mut gaps = records.iter().map(|record| record.lost(GapReason::OutboxOverflow));
        let mut sum = gaps.next().unwrap();
        gaps.for_each(|gap| sum.join(&gap));
        sum
    }

    #[test]
    fn trades_that_follow_on_each_other_leave_one_exact_gap() {
        let sum = joined(&[trade(5, 0), trade(6, 0), trade(7, 0)]);
        assert_eq!((sum.first_id, sum.last_id, sum.missing, sum.ts_start, sum.ts_end), (5, 7, 3, 50, 70));
        assert!(sum.is_exact());
    }

    #[test]
    fn what_would_claim_trades_that_are_stored_is_not_exact() {
        let inside =
            joined(&[joined(&[trade(1, 0), trade(9, 0)]), trade(5, 0).lost(GapReason::Stall)].map(Record::Gap));
        assert!(!inside.is_exact(), "{inside:?}");
        assert!(!joined(&[trade(5, 0), trade(7, 0)]).is_exact());
        assert!(!joined(&[trade(7, 0), trade(5, 0)]).is_exact());
        assert!(!joined(&[trade(5, Flags::AGGREGATED)]).is_exact());
        let filled = GapMsg { flags: Flags::BACKFILLED, ..joined(&[trade(5, 0), trade(6, 0)]) };
        let lost = Record::Gap(filled).lost(GapReason::OutboxOverflow);
        assert!(!lost.is_exact() && lost.flags == 0);
    }
}
