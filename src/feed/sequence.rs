//! Order, doubles and holes of each symbol, by the venue's own ids. Pure.
//!
//! What is delivered is delivered once; what is missing is declared as a [`GapMsg`] in line. Trades behind a hole wait
//! for a moment while a second connection may still bring what is missing. A declared gap is what a repair from the
//! venue's history starts from; what it finds comes back by [`Sequencer::fill`].

mod ends;
mod late;
mod state;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::exchange::IdRule;
use crate::market::trade::KIND_GAP_V1;
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};
use state::{Beat, Fills, Hole, Mark, State};

/// Trades of one symbol that wait behind a hole, at most.
const HELD_MAX: usize = 10_000;
/// Declared holes of one symbol that are remembered, so that a late trade still finds its place.
const HOLES_MAX: usize = 1_024;
/// Ids of one symbol that are remembered where ids have no order.
const RECENT_MAX: usize = 4_096;
/// Trades with lower ids and later times, and none in order, that mean: the venue counts anew.
const RESTART_RUN: usize = 8;
/// Rows that wait for such a proof, at most, before those that prove nothing are let go.
const RESTART_MAX: usize = 1_024;
/// Rows that are copies or a new count, without a time that tells: after so long they are declared as possibly missing.
/// Hardly any line is so far behind another.
const UNPROVED_GRACE: Duration = Duration::from_secs(10);
/// A step of ids beyond this is taken for a broken id until its successor has come too.
const LEAP_MIN: u64 = 10_000_000;
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
    /// Trades whose id was so far ahead of all others that it cannot be right: declared, never delivered.
    pub absurd: u64,
}

/// Order, doubles and holes of all symbols of one connection.
#[derive(Debug)]
pub struct Sequencer {
    rule: IdRule,
    hold: Duration,
    /// By line: whether two of its connections are live, and whether any is.
    lines: Vec<Line>,
    routes: BTreeMap<u32, State>,
    stats: SequenceStats,
}

/// A line brings the same symbols as every other line of a sequencer, over connections of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// A connection of it is live.
    up: bool,
    /// Two are: one takes over from the other.
    overlap: bool,
}

impl Sequencer {
    /// A sequencer for ids of this kind; `hold` is how long trades behind a hole wait while another connection may
    /// still bring what is missing.
    #[must_use]
    pub fn new(rule: IdRule, hold: Duration) -> Self {
        Self { rule, hold, lines: Vec::new(), routes: BTreeMap::new(), stats: SequenceStats::default() }
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

    /// Whether a line has two connections live, so that holes are waited for instead of declared at once.
    pub fn set_overlap(&mut self, line: usize, overlap: bool) {
        self.line(line).overlap = overlap;
    }

    /// A line has a connection on which all is subscribed.
    pub fn connected(&mut self, line: usize) {
        self.line(line).up = true;
    }

    /// A line has no connection any more. Once no line has one, holes that show have this reason.
    pub fn disconnected(&mut self, line: usize, reason: GapReason) {
        *self.line(line) = Line::default();
        if self.lines.iter().any(|line| line.up) {
            return;
        }
        for state in self.routes.values_mut() {
            state.cause = Some(reason);
            state.doubt = self.rule != IdRule::Contiguous && state.last.is_some();
            state.beat = None;
        }
    }

    fn line(&mut self, number: usize) -> &mut Line {
        if self.lines.len() <= number {
            self.lines.resize(number + 1, Line::default());
        }
        &mut self.lines[number]
    }

    /// Whether another connection may still bring what one has missed.
    fn overlap(&self) -> bool {
        self.lines.iter().any(|line| line.overlap) || self.lines.iter().filter(|line| line.up).count() > 1
    }

    /// Takes a trade that a connection brought; what is to be delivered goes to `out`.
    pub fn trade(&mut self, now: Instant, route: u32, msg: TradeMsg, out: &mut Out) {
        self.row(now, route, msg, 1, out);
    }

    /// As [`Self::trade`], for a row that stands for `span` fills whose last id is the trade's.
    pub fn row(&mut self, now: Instant, route: u32, msg: TradeMsg, span: u32, out: &mut Out) {
        let state = self.routes.entry(route).or_default();
        state.instrument_id = msg.instrument_id;
        match self.rule {
            IdRule::Contiguous => self.contiguous(now, route, Fills { msg, span }, out),
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

    fn contiguous(&mut self, now: Instant, route: u32, row: Fills, out: &mut Out) {
        let overlap = self.overlap();
        let Some(state) = self.routes.get_mut(&route) else { return };
        let Some(last) = state.last else { return self.deliver(route, row, out) };
        if row.msg.trade_id <= last.id {
            if !self.late(route, row, out) {
                self.known(now, route, last, row, out);
            }
        } else if row.follows(last.id) {
            self.deliver(route, row, out);
            self.follow(route, out);
        } else if self.routes.get(&route).is_some_and(|state| state.outlived(&row)) {
            self.stats.duplicates += 1;
        } else if row.first_id().saturating_sub(last.id) > LEAP_MIN && !self.leaps(route, last, row, out) {
            // Put aside.
        } else if !overlap && self.routes.get(&route).is_some_and(|state| state.held.is_empty()) {
            self.deliver_behind_gap(route, row, out);
        } else {
            self.hold(now, route, row, out);
        }
    }

    fn hold(&mut self, now: Instant, route: u32, row: Fills, out: &mut Out) {
        let until = now + self.hold;
        let Some(state) = self.routes.get_mut(&route) else { return };
        if state.held.insert(row.msg.trade_id, row).is_some() {
            self.stats.duplicates += 1;
        }
        state.held_until.get_or_insert(until);
        if state.held.len() > HELD_MAX {
            self.release(route, out);
        }
    }

    /// Held trades that now follow the last one.
    fn follow(&mut self, route: u32, out: &mut Out) {
        while let Some(state) = self.routes.get_mut(&route) {
            let last = state.last.map_or(0, |last| last.id);
            // A late trade may have been delivered by way of the other connection meanwhile.
            while state.held.first_key_value().is_some_and(|(id, _)| *id <= last) {
                state.held.pop_first();
                self.stats.duplicates += 1;
            }
            let next = state.held.first_entry().filter(|entry| entry.get().follows(last));
            let Some(row) = next.map(|entry| entry.remove()) else {
                if state.held.is_empty() {
                    state.held_until = None;
                }
                return;
            };
            self.deliver(route, row, out);
        }
    }

    /// Gives up waiting: declares the holes and delivers what was held, in order.
    fn release(&mut self, route: u32, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        state.held_until = None;
        for (id, row) in std::mem::take(&mut state.held) {
            let last = self.routes.get(&route).and_then(|state| state.last);
            match last {
                Some(last) if id <= last.id => self.stats.duplicates += 1,
                Some(last) if row.follows(last.id) => self.deliver(route, row, out),
                _ => self.deliver_behind_gap(route, row, out),
            }
        }
    }

    fn settle_beat(&mut self, route: u32, mark: Mark, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        let Some(last) = state.last.filter(|last| last.id < mark.id && state.held.is_empty()) else { return };
        self.missing_to(route, last, mark, out);
    }

    fn deliver_behind_gap(&mut self, route: u32, row: Fills, out: &mut Out) {
        let Some(last) = self.routes.get(&route).and_then(|state| state.last) else {
            return self.deliver(route, row, out);
        };
        if row.first_id() > last.id {
            self.declare(route, last, row.first(), GapStrength::Proved, out);
            return self.deliver(route, row, out);
        }
        // The row is partly known: its other fills cannot be told apart in it, but the venue's history has them.
        self.stats.duplicates += 1;
        self.missing_to(route, last, row.last(), out);
    }

    /// What lies between a mark and another, that one included, is missing.
    fn missing_to(&mut self, route: u32, last: Mark, to: Mark, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        state.last = Some(to);
        let end = Mark { id: to.id.saturating_add(1), ts: to.ts };
        self.declare(route, last, end, GapStrength::Proved, out);
    }

    fn deliver(&mut self, route: u32, row: Fills, out: &mut Out) {
        let Some(state) = self.routes.get_mut(&route) else { return };
        if std::mem::take(&mut state.unknown_before) {
            self.declare(route, Mark { id: 0, ts: 0 }, row.first(), GapStrength::Possible, out);
            return self.deliver(route, row, out);
        }
        let (mark, mut msg) = (row.last(), row.msg);
        let behind = |hole: &Hole| hole.gap.last_id.checked_add(1) == Some(row.first_id());
        if state.holes.back().is_some_and(behind) {
            msg.flags |= Flags::AFTER_GAP;
        }
        state.first.get_or_insert_with(|| row.first());
        state.last = Some(mark);
        state.last_timed = row.is_timed();
        // In order: whatever was feared has taken nothing of this symbol.
        state.cause = None;
        state.delivered(row.msg);
        if state.beat.is_some_and(|beat| beat.mark.id <= mark.id) {
            state.beat = None;
        }
        self.stats.delivered += 1;
        out.push((route, Record::Trade(msg)));
        if let Some(leap) = state.leap.take() {
            self.absurd(route, mark, leap, out);
        }
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
            state.holes.push_back(Hole::of(gap));
        }
        self.stats.gaps += 1;
        self.stats.missing += gap.missing;
        out.push((route, Record::Gap(gap)));
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
        self.deliver(route, Fills { msg, span: 1 }, out);
    }
}

#[cfg(test)]
mod tests;
