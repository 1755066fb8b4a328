//! Order, doubles and holes of each symbol, by the venue's own ids. Pure.
//!
//! What is delivered is delivered once; what is missing is declared as a [`GapMsg`] in line. Trades behind a hole wait
//! for a moment while a second connection may still bring what is missing. Asking the venue's REST history for it
//! would start where `Sequencer::declare` is called.

mod ends;
mod state;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::exchange::IdRule;
use crate::market::trade::KIND_GAP_V1;
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};
use state::{Beat, Hole, Mark, State};

/// Trades of one symbol that wait behind a hole, at most.
const HELD_MAX: usize = 10_000;
/// Declared holes of one symbol that are remembered, so that a late trade still finds its place.
const HOLES_MAX: usize = 64;
/// Ids of one symbol that are remembered where ids have no order.
const RECENT_MAX: usize = 4_096;
/// Trades in a row with lower ids and later times that mean: the venue counts anew.
const RESTART_RUN: usize = 8;
/// A heartbeat may overtake the trade that it speaks of by this much.
const BEAT_GRACE: Duration = Duration::from_secs(2);

/// Records on their way out, each with its route.
pub type Out = Vec<(u32, Record)>;

/// What a sequencer has seen, as plain totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceStats {
    /// Trades delivered.
    pub delivered: u64,
    /// Trades that had been delivered before.
    pub duplicates: u64,
    /// Gaps declared.
    pub gaps: u64,
    /// Trades inside declared gaps, as far as the count is known.
    pub missing: u64,
    /// Trades that came after the gap that they lie in was declared.
    pub late: u64,
    /// Gaps that were filled after they were declared.
    pub filled: u64,
    /// Times that a venue began to count its ids anew.
    pub restarts: u64,
}

/// Order, doubles and holes of all symbols of one connection.
#[derive(Debug)]
pub struct Sequencer {
    rule: IdRule,
    hold: Duration,
    /// Two connections live: a hole may still be filled by the other one.
    overlap: bool,
    routes: BTreeMap<u32, State>,
    stats: SequenceStats,
}

impl Sequencer {
    /// A sequencer for ids of this kind; `hold` is how long trades behind a hole wait during an overlap.
    #[must_use]
    pub fn new(rule: IdRule, hold: Duration) -> Self {
        Self { rule, hold, overlap: false, routes: BTreeMap::new(), stats: SequenceStats::default() }
    }

    /// Totals so far.
    #[must_use]
    pub fn stats(&self) -> SequenceStats {
        self.stats
    }

    /// Whether trades wait behind a hole.
    #[must_use]
    pub fn holding(&self) -> bool {
        self.routes.values().any(|state| !state.held.is_empty())
    }

    /// Whether a second connection is live, so that holes are waited for instead of declared at once.
    pub fn set_overlap(&mut self, overlap: bool) {
        self.overlap = overlap;
    }

    /// No connection is live any more; holes that show from now on have this reason.
    pub fn disconnected(&mut self, reason: GapReason) {
        self.overlap = false;
        for state in self.routes.values_mut() {
            state.cause = Some(reason);
            state.doubt = self.rule != IdRule::Contiguous && state.last.is_some();
            state.beat = None;
        }
    }

    /// Takes a trade that a connection brought; what is to be delivered goes to `out`.
    pub fn trade(&mut self, now: Instant, route: u32, msg: TradeMsg, out: &mut Out) {
        let state = self.routes.entry(route).or_default();
        state.instrument_id = msg.instrument_id;
        match self.rule {
            IdRule::Contiguous => self.contiguous(now, route, msg, out),
            IdRule::Increasing => {
                let known = state.last.is_some_and(|last| msg.trade_id <= last.id);
                self.unless_known(route, msg, known, out);
            }
            IdRule::Unique => {
                let known = state.recent_set.contains(&msg.trade_id);
                self.unless_known(route, msg, known, out);
            }
        }
    }

    /// The venue's own word on its latest trade of a symbol: a check for quiet ones.
    pub fn last_trade(&mut self, now: Instant, route: u32, id: u64, ts: u64) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let behind = state.last.is_some_and(|last| last.id < id);
        if behind && state.beat.is_none() && self.rule == IdRule::Contiguous {
            state.beat = Some(Beat { mark: Mark { id, ts }, due: now + BEAT_GRACE });
        }
    }

    /// When [`Self::expire`] should be called next.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let due = |state: &State| [state.held_until, state.beat.map(|beat| beat.due)].into_iter().flatten().min();
        self.routes.values().filter_map(due).min()
    }

    /// Declares what was waited for in vain.
    pub fn expire(&mut self, now: Instant, out: &mut Out) {
        let held = |state: &State| state.held_until.is_some_and(|until| until <= now);
        let beat = |state: &State| state.beat.is_some_and(|beat| beat.due <= now);
        let due: Vec<u32> = self.routes.iter().filter(|(_, s)| held(s) || beat(s)).map(|(route, _)| *route).collect();
        for route in due {
            let Some(state) = self.routes.get_mut(&route) else { continue };
            let overdue = if beat(state) { state.beat.take() } else { None };
            if held(state) {
                self.release(route, out);
            }
            if let Some(beat) = overdue {
                self.settle_beat(route, beat.mark, out);
            }
        }
    }

    fn contiguous(&mut self, now: Instant, route: u32, msg: TradeMsg, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let id = msg.trade_id;
        let Some(last) = state.last else { return self.deliver(route, msg, out) };
        if id == last.id.wrapping_add(1) {
            self.deliver(route, msg, out);
            self.follow(route, out);
        } else if id > last.id {
            if !self.overlap && state.held.is_empty() {
                return self.deliver_behind_gap(route, msg, out);
            }
            if state.held.insert(id, msg).is_some() {
                self.stats.duplicates += 1;
            }
            state.held_until.get_or_insert(now + self.hold);
            if state.held.len() > HELD_MAX {
                self.release(route, out);
            }
        } else if !self.late(route, &msg, out) {
            self.known(route, last, msg, out);
        }
    }

    /// Held trades that now follow the last one.
    fn follow(&mut self, route: u32, out: &mut Out) {
        while let Some(state) = self.routes.get_mut(&route) {
            let next = state.last.map_or(0, |last| last.id.wrapping_add(1));
            // A late trade may have been delivered by way of the other connection meanwhile.
            while state.held.first_key_value().is_some_and(|(id, _)| *id < next) {
                state.held.pop_first();
                self.stats.duplicates += 1;
            }
            let Some(msg) = state.held.remove(&next) else {
                if state.held.is_empty() {
                    state.held_until = None;
                }
                return;
            };
            self.deliver(route, msg, out);
        }
    }

    /// Gives up waiting: declares the holes and delivers what was held, in order.
    fn release(&mut self, route: u32, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        state.held_until = None;
        for (id, msg) in std::mem::take(&mut state.held) {
            let last = self.routes.get(&route).and_then(|state| state.last);
            match last {
                Some(last) if id <= last.id => self.stats.duplicates += 1,
                Some(last) if Some(id) == last.id.checked_add(1) => self.deliver(route, msg, out),
                _ => self.deliver_behind_gap(route, msg, out),
            }
        }
    }

    fn settle_beat(&mut self, route: u32, mark: Mark, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let Some(last) = state.last.filter(|last| last.id < mark.id && state.held.is_empty()) else { return };
        state.last = Some(mark);
        let end = Mark { id: mark.id.saturating_add(1), ts: mark.ts };
        self.declare(route, last, end, GapStrength::Proved, out);
    }

    fn deliver_behind_gap(&mut self, route: u32, mut msg: TradeMsg, out: &mut Out) {
        if let Some(last) = self.routes.get(&route).and_then(|state| state.last) {
            let mark = Mark { id: msg.trade_id, ts: msg.ts_event };
            self.declare(route, last, mark, GapStrength::Proved, out);
            msg.flags |= Flags::AFTER_GAP;
        }
        self.deliver(route, msg, out);
    }

    fn deliver(&mut self, route: u32, msg: TradeMsg, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let mark = Mark { id: msg.trade_id, ts: msg.ts_event };
        if std::mem::take(&mut state.unknown_before) {
            self.declare(route, Mark { id: 0, ts: 0 }, mark, GapStrength::Possible, out);
            return self.deliver(route, msg, out);
        }
        state.first.get_or_insert(mark);
        state.last = Some(mark);
        // In order: whatever was feared has taken nothing of this symbol.
        state.cause = None;
        state.restart.clear();
        if state.beat.is_some_and(|beat| beat.mark.id <= mark.id) {
            state.beat = None;
        }
        self.stats.delivered += 1;
        out.push((route, Record::Trade(msg)));
    }

    /// Declares the trades between two marks as missing.
    fn declare(&mut self, route: u32, after: Mark, before: Mark, strength: GapStrength, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let proved = strength == GapStrength::Proved;
        let (first_id, last_id) =
            if proved { (after.id.saturating_add(1), before.id.saturating_sub(1)) } else { (0, 0) };
        let gap = GapMsg {
            ts_start: after.ts,
            ts_end: before.ts.max(after.ts),
            first_id,
            last_id,
            missing: if proved { last_id.saturating_sub(first_id).saturating_add(1) } else { 0 },
            instrument_id: state.instrument_id,
            strength: strength as u8,
            reason: state.cause.take().unwrap_or(GapReason::VenueDisconnect) as u8,
            flags: 0,
            kind: KIND_GAP_V1,
        };
        if proved {
            if state.holes.len() == HOLES_MAX {
                state.holes.pop_front();
            }
            state.holes.push_back(Hole { gap, left: vec![(first_id, last_id)] });
        }
        self.stats.gaps += 1;
        self.stats.missing += gap.missing;
        out.push((route, Record::Gap(gap)));
    }

    /// A trade inside a declared gap: delivered after all; the last one of a gap declares it filled.
    fn late(&mut self, route: u32, msg: &TradeMsg, out: &mut Out) -> bool {
        let Some(state) = self.routes.get_mut(&route) else { return false };
        let id = msg.trade_id;
        let Some(place) = state.holes.iter().position(|hole| hole.misses(id)) else { return false };
        let Some(hole) = state.holes.get_mut(place) else { return false };
        hole.found(id);
        self.stats.late += 1;
        self.stats.delivered += 1;
        out.push((route, Record::Trade(*msg)));
        if hole.left.is_empty() {
            let gap = GapMsg { flags: Flags::BACKFILLED, ..hole.gap };
            state.holes.remove(place);
            self.stats.filled += 1;
            out.push((route, Record::Gap(gap)));
        }
        true
    }

    /// An id that was passed already: a double, unless the venue has begun to count anew.
    fn known(&mut self, route: u32, last: Mark, msg: TradeMsg, out: &mut Out) {
        self.stats.duplicates += 1;
        let Some(state) = self.routes.get_mut(&route) else { return };
        if state.restart.last().is_some_and(|before| before.trade_id == msg.trade_id) {
            // The other connection's copy.
            return;
        }
        let follows = state.restart.last().is_none_or(|before| Some(msg.trade_id) == before.trade_id.checked_add(1));
        if msg.ts_event <= last.ts || !follows {
            state.restart.clear();
            return;
        }
        state.restart.push(msg);
        if state.restart.len() < RESTART_RUN {
            return;
        }
        let run = std::mem::take(&mut state.restart);
        state.holes.clear();
        self.stats.restarts += 1;
        self.stats.duplicates -= run.len() as u64;
        let first = run.first().map_or(last, |msg| Mark { id: msg.trade_id, ts: msg.ts_event });
        self.declare(route, last, first, GapStrength::Possible, out);
        for msg in run {
            self.deliver(route, msg, out);
        }
    }

    /// Venues whose ids prove no loss: a disconnect in between is declared as a possible one.
    fn unless_known(&mut self, route: u32, mut msg: TradeMsg, known: bool, out: &mut Out) {
        if known {
            self.stats.duplicates += 1;
            return;
        }
        let Some(state) = self.routes.get_mut(&route) else { return };
        if self.rule == IdRule::Unique {
            if state.recent.len() == RECENT_MAX
                && let Some(oldest) = state.recent.pop_front()
            {
                state.recent_set.remove(&oldest);
            }
            state.recent.push_back(msg.trade_id);
            state.recent_set.insert(msg.trade_id);
        }
        if std::mem::take(&mut state.doubt)
            && let Some(last) = state.last
        {
            let mark = Mark { id: msg.trade_id, ts: msg.ts_event };
            self.declare(route, last, mark, GapStrength::Possible, out);
            msg.flags |= Flags::AFTER_GAP;
        }
        self.deliver(route, msg, out);
    }
}

#[cfg(test)]
mod tests;
