//! Trades that come when their place has passed: inside declared gaps, from a venue that counts anew, or far ahead.

use super::state::{Fills, Hole, Mark};
use super::{Out, RESTART_RUN, Sequencer};
use crate::market::trade::KIND_GAP_V1;
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};

impl Sequencer {
    /// A trade from the venue's history, flagged by the caller. False when nobody misses it.
    pub fn fill(&mut self, route: u32, msg: TradeMsg, out: &mut Out) -> bool {
        self.late(route, Fills { msg, span: 1 }, out)
    }

    /// A gap that an earlier run declared, of which these ranges of ids have come since: what is found of the rest is
    /// let through. How many ids that is.
    pub fn reopen(&mut self, route: u32, gap: GapMsg, come: &[(u64, u64)]) -> u64 {
        let mut hole = Hole::of(gap);
        come.iter().for_each(|(first, last)| hole.left.remove(*first, *last));
        let left = hole.left.count();
        let state = self.routes.entry(route).or_default();
        state.instrument_id = gap.instrument_id;
        if left > 0 {
            state.holes.push_front(hole);
        }
        left
    }

    /// Whether trades of a declared gap are still missing.
    #[must_use]
    pub fn is_open(&self, route: u32, gap: &GapMsg) -> bool {
        let of = |hole: &Hole| (hole.gap.first_id, hole.gap.last_id) == (gap.first_id, gap.last_id);
        self.routes.get(&route).is_some_and(|state| state.holes.iter().any(of))
    }

    /// The last trade that was delivered of a symbol, or that an earlier run had stored: its id and venue time.
    #[must_use]
    pub fn last(&self, route: u32) -> Option<(u64, u64)> {
        self.routes.get(&route)?.last.map(|last| (last.id, last.ts))
    }

    /// A row inside a declared gap: delivered after all; the last one of a gap declares it filled.
    pub(super) fn late(&mut self, route: u32, row: Fills, out: &mut Out) -> bool {
        let Some(state) = self.routes.get_mut(&route) else { return false };
        let (first, last) = (row.first_id(), row.msg.trade_id);
        let Some(place) = state.holes.iter().position(|hole| hole.left.covers(first, last)) else { return false };
        let Some(hole) = state.holes.get_mut(place) else { return false };
        hole.left.remove(first, last);
        self.stats.late += 1;
        self.stats.delivered += 1;
        out.push((route, Record::Trade(row.msg)));
        if hole.left.is_empty() {
            let gap = GapMsg { flags: Flags::BACKFILLED, ..hole.gap };
            state.holes.remove(place);
            self.stats.filled += 1;
            out.push((route, Record::Gap(gap)));
        }
        true
    }

    /// An id that was passed already: a double, unless the venue has begun to count anew.
    pub(super) fn known(&mut self, route: u32, last: Mark, row: Fills, out: &mut Out) {
        self.stats.duplicates += 1;
        let Some(state) = self.routes.get_mut(&route) else { return };
        let before = state.restart.last().map(|before| before.msg.trade_id);
        if before == Some(row.msg.trade_id) {
            // The other connection's copy.
            return;
        }
        // A time that cannot be right proves no new count; nor does a good one beside it.
        let later = row.msg.ts_event > last.ts && row.is_timed() && state.last_timed;
        if !later || !before.is_none_or(|before| row.follows(before)) {
            state.restart.clear();
            return;
        }
        state.restart.push(row);
        if state.restart.len() < RESTART_RUN {
            return;
        }
        let run = std::mem::take(&mut state.restart);
        state.holes.clear();
        self.stats.restarts += 1;
        self.stats.duplicates -= run.len() as u64;
        let first = run.first().map_or(last, Fills::first);
        self.declare(route, last, first, GapStrength::Possible, out);
        for row in run {
            self.deliver(route, row, out);
        }
    }

    /// A row so far ahead that its id is more likely broken than right: put aside until another one stands beside it.
    /// True when it is to be believed.
    pub(super) fn leaps(&mut self, route: u32, last: Mark, row: Fills, out: &mut Out) -> bool {
        let Some(state) = self.routes.get_mut(&route) else { return false };
        match state.leap.replace(row) {
            Some(before) if before.msg.trade_id == row.msg.trade_id => false,
            Some(before) if row.follows(before.msg.trade_id) => {
                state.leap = None;
                self.deliver_behind_gap(route, before, out);
                self.deliver(route, row, out);
                false
            }
            Some(before) => {
                self.absurd(route, last, before, out);
                false
            }
            None => false,
        }
    }

    /// Declares a trade that cannot be delivered, since its id cannot be right.
    pub(super) fn absurd(&mut self, route: u32, last: Mark, row: Fills, out: &mut Out) {
        self.stats.absurd += 1;
        self.stats.gaps += 1;
        self.stats.missing += 1;
        let gap = GapMsg {
            ts_start: last.ts,
            ts_end: row.msg.ts_event.max(last.ts),
            first_id: 0,
            last_id: 0,
            missing: 1,
            instrument_id: row.msg.instrument_id,
            strength: GapStrength::FramesLost as u8,
            reason: GapReason::UndecodableFrame as u8,
            flags: 0,
            kind: KIND_GAP_V1,
        };
        out.push((route, Record::Gap(gap)));
    }
}
