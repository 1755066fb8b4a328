//! What may still go to the broker of a symbol of which another instance, or an earlier run, has stored trades. Pure.
//!
//! The sequencer and the repairs work for the ring too, which wants everything that was missed here. The broker wants
//! only what the stream does not have: younger trades than its newest, and what its open gaps miss.

use crate::feed::ranges::Ranges;
use crate::market::{Flags, GapMsg, GapStrength, Record, TradeMsg};

/// Lower ids with times beyond this are ids that a venue has begun anew, nanoseconds.
const RESTART_NS: u64 = 10_000_000_000;

/// By route: what the stream is known to hold.
#[derive(Debug, Default)]
pub(super) struct Gate(Vec<Option<End>>);

#[derive(Debug)]
struct End {
    id: u64,
    ts: u64,
    /// Ids below it that the stream misses.
    open: Ranges,
    gaps: Vec<GapMsg>,
}

impl Gate {
    /// The stream holds everything up to this trade, but for what [`Self::open`] names.
    pub(super) fn stored(&mut self, route: u32, trade: &TradeMsg) {
        if trade.flag_set().has(Flags::HASHED_ID) {
            return;
        }
        let index = route as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.0.get_mut(index) {
            match slot {
                Some(end) if end.id >= trade.trade_id && end.ts >= trade.ts_event => {}
                Some(end) => (end.id, end.ts) = (trade.trade_id, trade.ts_event),
                None => {
                    let (id, ts) = (trade.trade_id, trade.ts_event);
                    *slot = Some(End { id, ts, open: Ranges::default(), gaps: Vec::new() });
                }
            }
        }
    }

    /// The stream misses what a gap of its own says, but for these ids.
    pub(super) fn open(&mut self, route: u32, gap: &GapMsg, come: &[(u64, u64)]) {
        if let Some(Some(end)) = self.0.get_mut(route as usize) {
            end.open.add(gap.first_id, gap.last_id);
            come.iter().for_each(|(first, last)| end.open.remove(*first, *last));
            end.gaps.push(*gap);
        }
    }

    /// Whether a record may go to the broker.
    #[inline]
    pub(super) fn passes(&mut self, route: u32, record: &Record) -> bool {
        let Some(slot) = self.0.get_mut(route as usize) else { return true };
        let Some(end) = slot else { return true };
        match record {
            Record::Trade(trade) if trade.trade_id > end.id => true,
            Record::Gap(gap) if end.is_outlived_by(gap) => {
                *slot = None;
                true
            }
            _ => end.misses(record),
        }
    }
}

impl End {
    /// Whether the sequencer has come to this end and then lost the count: the ids behind it may be those of a venue
    /// that counts anew, and say nothing about what is stored.
    const fn is_outlived_by(&self, gap: &GapMsg) -> bool {
        gap.strength == GapStrength::Possible as u8 && gap.flags == 0 && !gap.is_exact() && gap.ts_start >= self.ts
    }

    fn misses(&mut self, record: &Record) -> bool {
        let restart = self.ts.saturating_add(RESTART_NS);
        // What came late fills a hole of this count, however late a receive time that stands in for its own.
        let untimed = |trade: &TradeMsg| trade.flag_set().has(Flags::BACKFILLED) && !trade.has_venue_time();
        match record {
            Record::Trade(trade) if trade.ts_event > restart && !untimed(trade) => true,
            Record::Trade(trade) => {
                let missed = self.open.has(trade.trade_id);
                self.open.remove(trade.trade_id, trade.trade_id);
                missed
            }
            Record::Gap(gap) if !gap.is_exact() || gap.last_id > self.id || gap.ts_start > restart => true,
            // What the stream has declared may be declared filled; what it has passed need not be declared.
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => {
                let before = self.gaps.len();
                self.gaps.retain(|open| (open.first_id, open.last_id) != (gap.first_id, gap.last_id));
                self.gaps.len() < before
            }
            Record::Gap(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(id: u64, ts: u64) -> Record {
        Record::Trade(TradeMsg { trade_id: id, ts_event: ts, kind: 1, ..bytemuck::Zeroable::zeroed() })
    }

    fn gap(first_id: u64, last_id: u64, flags: u8) -> GapMsg {
        let strength = GapStrength::Proved as u8;
        let missing = last_id - first_id + 1;
        GapMsg { first_id, last_id, missing, flags, strength, kind: 2, ..bytemuck::Zeroable::zeroed() }
    }

    fn gate() -> Gate {
        let (mut gate, Record::Trade(end)) = (Gate::default(), trade(100, 1_000)) else { panic!("no trade") };
        gate.stored(0, &end);
        gate
    }

    #[test]
    fn only_what_the_stream_does_not_have_passes() {
        let mut gate = gate();
        assert!(gate.passes(0, &trade(101, 900)) && gate.passes(1, &trade(5, 5)));
        assert!(!gate.passes(0, &trade(100, 1_000)) && !gate.passes(0, &trade(60, 5)));
        assert!(!gate.passes(0, &Record::Gap(gap(50, 60, 0))));
        assert!(!gate.passes(0, &Record::Gap(gap(50, 60, Flags::BACKFILLED))));
        assert!(gate.passes(0, &Record::Gap(gap(90, 110, 0))));
        assert!(gate.passes(0, &trade(1, 1_000 + RESTART_NS + 1)), "a venue that counts anew");
    }

    #[test]
    fn what_comes_late_without_a_venue_time_passes_only_where_the_stream_misses_it() {
        let mut gate = gate();
        gate.open(0, &gap(50, 60, 0), &[]);
        let late = |id, ts_recv| {
            let Record::Trade(trade) = trade(id, 1_000 + 2 * RESTART_NS) else { panic!("no trade") };
            Record::Trade(TradeMsg { ts_recv, flags: Flags::BACKFILLED, ..trade })
        };
        assert!(!gate.passes(0, &late(70, 1_000 + 2 * RESTART_NS)), "the stream has it, under another time");
        assert!(gate.passes(0, &late(50, 1_000 + 2 * RESTART_NS)));
        assert!(gate.passes(0, &late(70, 5)), "a hole of a new count");
    }

    #[test]
    fn ids_that_begin_anew_right_behind_the_end_pass_from_their_gap_on() {
        let anew = |ts_start| {
            let strength = GapStrength::Possible as u8;
            Record::Gap(GapMsg { ts_start, ts_end: ts_start + 1, strength, kind: 2, ..bytemuck::Zeroable::zeroed() })
        };
        let mut gate = gate();
        assert!(gate.passes(0, &anew(900)), "it is for the broker to say that it knows");
        assert!(!gate.passes(0, &trade(1, 1_001)), "the stream is ahead: another instance has passed that gap");
        assert!(gate.passes(0, &anew(1_000)) && gate.passes(0, &trade(1, 1_001)) && gate.passes(0, &trade(2, 1_001)));
    }

    #[test]
    fn what_the_stream_declared_missing_passes_once() {
        let mut gate = gate();
        gate.open(0, &gap(50, 60, 0), &[(52, 53)]);
        assert!(gate.passes(0, &trade(50, 5)) && !gate.passes(0, &trade(50, 5)));
        assert!(!gate.passes(0, &trade(52, 5)));
        let filled = Record::Gap(gap(50, 60, Flags::BACKFILLED));
        assert!(gate.passes(0, &filled) && !gate.passes(0, &filled));
    }
}
