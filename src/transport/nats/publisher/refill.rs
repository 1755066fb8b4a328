//! Between the window and the backlog behind it: records go to disk when memory is full, and come back when it is not.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::{Publisher, Shared};
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg, trade::KIND_GAP_V1};
use crate::telemetry::clock;
use crate::transport::nats::backlog::{Back, Backlog, Trails};
use crate::transport::nats::window::message::RESTART_NS;

impl Shared {
    /// Takes a record: into memory, or behind everything that waits on disk.
    pub(super) fn push(&self, route: u32, record: &Record) {
        let mut backlog = self.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut() else {
            return self.window.borrow_mut().push(clock::now(), route, record);
        };
        let full = || self.window.borrow().waiting_bytes() >= self.memory;
        if backlog.is_available() && (!backlog.is_empty() || full()) {
            return backlog.push(record);
        }
        self.hand_over(&mut backlog.trails, route, record);
    }

    /// Gives the window a record behind all others of its route, and in front of it what the disk has lost.
    fn hand_over(&self, trails: &mut Trails, route: u32, record: &Record) {
        let (now, mut window) = (clock::now(), self.window.borrow_mut());
        for gap in trails.missing(route, record) {
            window.declare_behind(now, route, &gap);
        }
        trails.pass(route, record);
        window.push(now, route, record);
    }

    /// Declares what the disk has given up in front of all that waits.
    fn given_up(&self, trails: &mut Trails, route: u32, gap: &GapMsg) {
        let (mut window, record) = (self.window.borrow_mut(), Record::Gap(*gap));
        let lost = trails.missing(route, &record);
        lost.into_iter().chain([*gap]).for_each(|gap| window.declare(route, gap));
        trails.pass(route, &record);
    }

    /// Whether it is known what an earlier run left on disk.
    pub(super) fn is_open(&self) -> bool {
        self.backlog.borrow().as_ref().is_none_or(Backlog::is_open)
    }

    /// Records that wait on disk.
    pub(super) fn spooled(&self) -> u64 {
        self.backlog.borrow().as_ref().map_or(0, Backlog::waiting)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.window.borrow().is_drained() && self.spooled() == 0
    }

    pub(super) fn poll_backlog(&self, cx: &mut Context<'_>) -> Poll<Back> {
        self.backlog.borrow_mut().as_mut().map_or(Poll::Pending, |backlog| backlog.poll_next(cx))
    }

    /// The end: what is still in memory goes to disk, where the next run finds it.
    pub(super) fn leave_behind(&self) {
        let Some(mut backlog) = self.backlog.borrow_mut().take() else { return };
        let remains = self.window.borrow().remains();
        if !remains.is_empty() && backlog.is_available() && backlog.is_empty() {
            tracing::info!(
                records = remains.len(),
                "what the broker did not take is left in the spool for the next run"
            );
            remains.iter().filter_map(|bytes| Record::from_bytes(bytes).ok()).for_each(|record| backlog.push(&record));
        }
        backlog.close();
    }
}

impl Publisher {
    /// Asks for what waits on disk, while memory has room for it; and lets go of what is stored.
    pub(super) fn refill(&self) {
        let mut backlog = self.shared.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut() else { return };
        let window = self.shared.window.borrow();
        if backlog.owes() {
            backlog.done(window.done());
        }
        // What an earlier run left is held against the stream's end: that has to be known first.
        let ready = !backlog.inherits() || self.announced.live || self.pair.as_ref().is_some_and(|pair| pair.stands_by);
        if ready && backlog.waiting() > 0 && window.waiting_bytes() < self.shared.memory / 4 * 3 {
            backlog.fetch();
        }
    }

    /// Records came back from disk.
    pub(super) fn came_back(&mut self, back: &Back) {
        let shared = Rc::clone(&self.shared);
        let mut backlog = shared.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut() else { return };
        for gap in &back.lost {
            if let Some(route) = self.route(gap.instrument_id) {
                shared.given_up(&mut backlog.trails, route, gap);
            }
        }
        let mut strangers = 0_u64;
        for (place, bytes) in back.records.iter().enumerate() {
            let Ok(record) = Record::from_bytes(bytes) else { continue };
            let Some(route) = self.route(record.instrument_id()) else {
                strangers += 1;
                continue;
            };
            let goes_on = place >= back.inherited || self.continues(&backlog.trails, route, &record);
            if goes_on && backlog.trails.believes(route, &record) {
                shared.hand_over(&mut backlog.trails, route, &record);
            }
        }
        if strangers > 0 {
            tracing::error!(
                records = strangers,
                "the spool holds records of symbols that are not configured any more: they are left out"
            );
        }
        if let Some(position) = back.position {
            backlog.given(position, shared.window.borrow().taken());
        }
    }

    fn route(&self, instrument_id: u32) -> Option<u32> {
        self.routes.get(&instrument_id).copied()
    }

    /// Whether a record that an earlier run left goes on behind what the stream holds; what is missing in between was
    /// in that run's memory, and is declared.
    fn continues(&mut self, trails: &Trails, route: u32, record: &Record) -> bool {
        let Some(Some(end)) = self.ends.get_mut(route as usize) else { return true };
        if end.has_open(record) {
            return false;
        }
        if end.met {
            return true;
        }
        let next = match Next::of(record) {
            // It says nothing of where the spool begins; it is fetched anew with what stood before it.
            Next::Late => return false,
            Next::Vague => return true,
            Next::InLine(next) => next,
        };
        if end.knows(&next) {
            return false;
        }
        // Where the disk has lost something too, all of it shows as one gap.
        if !trails.is_torn(route) && next.first > end.id.saturating_add(1) {
            let gap = lost_in_memory(end, &next, record.instrument_id());
            self.shared.window.borrow_mut().declare(route, gap);
        }
        // From here on the spool itself is whole, or declares what is not, or its trails show it.
        end.met = true;
        if next.last <= end.id {
            // The venue began to count anew.
            end.id = 0;
        }
        true
    }
}

/// What an inherited record says of where the spool begins.
enum Next {
    /// It came late, or tells that a gap was filled.
    Late,
    /// A gap that names no ids.
    Vague,
    InLine(Ids),
}

/// The ids that a trade or a gap stands for.
struct Ids {
    first: u64,
    last: u64,
    ts: u64,
    /// Whether the first id is known for certain.
    certain: bool,
}

impl Next {
    fn of(record: &Record) -> Self {
        match record {
            Record::Trade(trade) if trade.flag_set().has(Flags::BACKFILLED) => Self::Late,
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => Self::Late,
            Record::Trade(trade) => {
                // A row for several fills does not tell its first one: what is fetched could be in it.
                let certain = !trade.flag_set().has(Flags::AGGREGATED);
                Self::InLine(Ids { first: trade.trade_id, last: trade.trade_id, ts: trade.ts_event, certain })
            }
            Record::Gap(gap) if gap.is_exact() => {
                Self::InLine(Ids { first: gap.first_id, last: gap.last_id, ts: gap.ts_start, certain: true })
            }
            Record::Gap(_) => Self::Vague,
        }
    }
}

/// Where the stream ended of an instrument when this run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    id: u64,
    ts: u64,
    /// What goes on behind it has come.
    met: bool,
}

impl End {
    pub(super) const fn of(newest: &TradeMsg) -> Self {
        Self { id: newest.trade_id, ts: newest.ts_event, met: false }
    }

    /// Whether the stream has passed these ids: stored them, or declared them. Times of one venue are in order but for
    /// moments; ids far later by time are those of a venue that counts anew.
    const fn knows(&self, next: &Ids) -> bool {
        next.last <= self.id && next.ts <= self.ts.saturating_add(RESTART_NS)
    }

    /// Whether a record fills, or says to have filled, a gap that the stream declares. That one is open, the venue is
    /// asked for it anew, and what is fetched twice must not be stored twice, nor be declared there when it is not.
    const fn has_open(&self, record: &Record) -> bool {
        match record {
            Record::Trade(trade) => trade.flag_set().has(Flags::BACKFILLED) && trade.trade_id <= self.id,
            Record::Gap(gap) => gap.flags & Flags::BACKFILLED != 0 && gap.first_id <= self.id,
        }
    }
}

fn lost_in_memory(end: &End, next: &Ids, instrument_id: u32) -> GapMsg {
    let (first_id, last_id) = (end.id.saturating_add(1), next.first.saturating_sub(1));
    GapMsg {
        ts_start: end.ts,
        ts_end: next.ts.max(end.ts),
        first_id,
        last_id,
        missing: last_id.saturating_sub(first_id).saturating_add(1),
        instrument_id,
        strength: if next.certain { GapStrength::Proved } else { GapStrength::FramesLost } as u8,
        reason: GapReason::OutboxOverflow as u8,
        flags: 0,
        kind: KIND_GAP_V1,
    }
}

#[cfg(test)]
mod tests;
