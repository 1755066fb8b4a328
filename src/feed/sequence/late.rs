//! Trades that come when their place has passed: inside declared gaps, from a venue that counts anew, or far ahead.

use std::time::Instant;

use super::state::{Fills, Hole, Mark, Unproved};
use super::{Out, RESTART_MAX, RESTART_RUN, Sequencer, UNPROVED_GRACE};
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

    /// Whether a declared gap was filled, as far as that is remembered.
    #[must_use]
    pub fn is_filled(&self, route: u32, gap: &GapMsg) -> bool {
        self.routes.get(&route).is_some_and(|state| state.filled.contains(&(gap.first_id, gap.last_id)))
    }

    /// Times that the venue began to count anew.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.stats.restarts
    }

    /// The last trade that was delivered of a symbol, or that an earlier run had stored: its id and venue time.
    #[cfg(test)]
    pub(super) fn last(&self, route: u32) -> Option<(u64, u64)> {
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
        // It may stand behind younger ones: who reads where the stream ends must not take it for the newest.
        let msg = TradeMsg { flags: row.msg.flags | Flags::BACKFILLED, ..row.msg };
        out.push((route, Record::Trade(msg)));
        if hole.left.is_empty() {
            let gap = GapMsg { flags: Flags::BACKFILLED, ..hole.gap };
            state.close(place);
            self.stats.filled += 1;
            out.push((route, Record::Gap(gap)));
        }
        true
    }

    /// An id that was passed already: a double, unless the venue has begun to count anew.
    pub(super) fn known(&mut self, now: Instant, route: u32, last: Mark, row: Fills, out: &mut Out) {
        self.stats.duplicates += 1;
        let Some(state) = self.routes.get_mut(&route) else { return };
        let (id, ts) = (row.msg.trade_id, row.msg.ts_event);
        let twin = state.newest.iter().find(|msg| msg.trade_id == id);
        if !row.is_timed() {
            let other = twin.map(|twin| row.differs(twin));
            return self.unproved(now, route, last, row, other, out);
        }
        if twin.is_some() || state.is_long_past(&row) {
            // Of a trade just delivered, or of one from long before: nearly every double.
            state.unproved = None;
            return;
        }
        let lately = state.lately();
        // A time that cannot be right moves no bound.
        let floor = if state.last_timed { lately.min(last.ts) } else { lately };
        if ts < floor {
            state.unproved = None;
            return;
        }
        if state.restart.len() >= RESTART_MAX {
            state.restart.retain(|_, row| row.msg.ts_event > lately);
        }
        state.restart.insert(id, row);
        // Trades at the very time of the last ones prove nothing, but may be the first of the new count.
        if state.restart.values().filter(|row| row.msg.ts_event > lately).count() >= RESTART_RUN {
            self.begin_anew(route, lately, out);
        }
    }

    /// A passed id whose time says nothing; `other` tells whether a trade that is remembered under it was another one.
    ///
    /// It is no evidence of a new count: every copy of a trade whose venue time cannot be right comes with a later
    /// receive time. So it counts as a double. A venue that has no possible times at all and does count anew is not
    /// believed then, for a stream with doubles would be worse, but nothing of it is lost unsaid: as long as such rows
    /// come and nothing shows that they are copies, trades are declared as possibly missing, time and again. It is
    /// believed as soon as its times are right, or its ids have passed those of the old count.
    fn unproved(&mut self, now: Instant, route: u32, last: Mark, row: Fills, other: Option<bool>, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        if other == Some(false) {
            // Where a line comes to a trade just delivered, what it brought before were copies.
            state.unproved = None;
            return;
        }
        let unproved = state.unproved.get_or_insert(Unproved { since: now, rows: 0, others: 0 });
        unproved.rows += 1;
        unproved.others += usize::from(other.is_some());
        let lasting = unproved.rows >= RESTART_RUN && now >= unproved.since + UNPROVED_GRACE;
        if lasting || unproved.others >= RESTART_RUN {
            *unproved = Unproved { since: now, rows: 0, others: 0 };
            self.declare(route, last, row.last(), GapStrength::Possible, out);
        }
    }

    /// The venue has begun to count anew: what waited for the proof goes out, behind a gap of unknown size.
    fn begin_anew(&mut self, route: u32, lately: u64, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let mut run: Vec<Fills> = std::mem::take(&mut state.restart).into_values().collect();
        let later = |row: &Fills| row.msg.ts_event > lately;
        let mut start = run.iter().position(later).unwrap_or(0);
        while start > 0 && run[start].follows(run[start - 1].msg.trade_id) {
            start -= 1;
        }
        run.drain(..start);
        // What waits behind a hole is of the old count, and so is every hole.
        self.release(route, out);
        let Some(state) = self.routes.get_mut(&route) else { return };
        let (Some(last), Some(first)) = (state.last, run.first().map(Fills::first)) else { return };
        state.holes.clear();
        state.newest.clear();
        state.beat = None;
        state.began = Some(first.ts);
        self.stats.restarts += 1;
        self.stats.duplicates = self.stats.duplicates.saturating_sub(run.len() as u64);
        self.declare(route, last, first, GapStrength::Possible, out);
        for (place, row) in run.into_iter().enumerate() {
            let last = self.routes.get(&route).and_then(|state| state.last);
            match last {
                Some(last) if place > 0 && !row.follows(last.id) => self.deliver_behind_gap(route, row, out),
                _ => self.deliver(route, row, out),
            }
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
                // What waits behind a hole lies in front of the leap.
                self.release(route, out);
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
