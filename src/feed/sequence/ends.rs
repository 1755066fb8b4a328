//! Where a sequencer begins and ends: behind what an earlier run stored, and with nothing left in its hands.

use super::state::{Fills, Mark};
use super::{IdRule, Out, Sequencer};
use crate::market::{GapReason, GapStrength, TradeMsg};

impl Sequencer {
    /// What the stream holds of a symbol from an earlier run: trades go on behind it, and what is missing between it
    /// and the first trade of this run is declared.
    pub fn anchor(&mut self, route: u32, stored: &TradeMsg, out: &mut Out) {
        let state = self.routes.entry(route).or_default();
        let mark = Mark { id: stored.trade_id, ts: stored.ts_event };
        state.last_timed = Fills { msg: *stored, span: 1 }.is_timed();
        state.instrument_id = stored.instrument_id;
        let Some(first) = state.first else {
            if state.last.is_none_or(|last| last.id < mark.id) {
                state.last = Some(mark);
            }
            // Ids that prove nothing cannot tell what was traded while we were away.
            state.doubt = self.rule != IdRule::Contiguous;
            return;
        };
        let strength = match self.rule {
            IdRule::Contiguous if first.id <= mark.id.saturating_add(1) => return,
            IdRule::Contiguous => GapStrength::Proved,
            IdRule::Increasing | IdRule::Unique => GapStrength::Possible,
        };
        self.declare(route, mark, first, strength, out);
    }

    /// An earlier run stored trades and the stream holds none of them any more: what was traded meanwhile is unknown.
    pub fn anchor_lost(&mut self, route: u32, instrument_id: u32, out: &mut Out) {
        let state = self.routes.entry(route).or_default();
        state.instrument_id = instrument_id;
        match state.first {
            Some(first) => self.declare(route, Mark { id: 0, ts: 0 }, first, GapStrength::Possible, out),
            None => state.unknown_before = true,
        }
    }

    /// A connection did not bring what its venue traded: trades of any symbol may be missing before the next one.
    pub fn stalled(&mut self) {
        for state in self.routes.values_mut() {
            state.cause.get_or_insert(GapReason::Stall);
        }
    }

    /// A frame could not be read: trades of any symbol may be missing before the next one.
    pub fn undecodable(&mut self) {
        for state in self.routes.values_mut() {
            state.cause.get_or_insert(GapReason::UndecodableFrame);
        }
    }

    /// What was taken behind this trade was never delivered: it counts as not seen, so that its absence shows.
    pub fn rewind(&mut self, route: u32, id: u64, ts: u64) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        if state.last.is_some_and(|last| last.id > id) {
            state.last = Some(Mark { id, ts });
            state.held.clear();
            state.held_until = None;
        }
    }

    /// The feed ends: what waits behind a hole, or for proof that a venue counts anew, goes out.
    pub fn finish(&mut self, out: &mut Out) {
        let routes: Vec<u32> = self.routes.keys().copied().collect();
        for route in routes {
            self.release(route, out);
            let Some(state) = self.routes.get_mut(&route) else { continue };
            let (waiting, leap, last) = (std::mem::take(&mut state.restart), state.leap.take(), state.last);
            let later = |row: &Fills| last.is_none_or(|last| row.msg.ts_event > last.ts);
            for row in waiting.into_values().filter(later) {
                self.stats.duplicates = self.stats.duplicates.saturating_sub(1);
                self.deliver(route, row, out);
            }
            if let Some((last, leap)) = last.zip(leap) {
                self.absurd(route, last, leap, out);
            }
        }
    }
}
