//! Between the window and the backlog behind it: records go to disk when memory is full, and come back when it is not.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::inherited::Verdict;
use super::{Publisher, Shared};
use crate::market::{GapMsg, Record};
use crate::telemetry::clock;
use crate::transport::nats::backlog::{Back, Backlog, Origin, Trails};

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

    /// Declares what is missing in front of all that waits.
    pub(super) fn declare(&self, route: u32, gaps: Vec<GapMsg>) {
        let mut window = self.window.borrow_mut();
        gaps.into_iter().for_each(|gap| window.declare(route, gap));
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

    /// What has come back already, at the end.
    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<Option<Back>> {
        self.backlog.borrow_mut().as_mut().map_or(Poll::Ready(None), |backlog| backlog.poll_rest(cx))
    }
}

impl Publisher {
    /// The end: what is still in memory goes to disk in front of what waits there, where the next run finds it.
    pub(super) async fn leave_behind(&mut self) {
        let shared = Rc::clone(&self.shared);
        while let Some(back) = poll_fn(|cx| shared.poll_rest(cx)).await {
            self.came_back(&back);
        }
        let Some(backlog) = shared.backlog.borrow_mut().take() else { return };
        let mut remains = shared.window.borrow().remains();
        // What the disk gave up, and could not be held against the stream, is the next run's to declare: what this run
        // has lost behind what earlier ones have left.
        let (inherited, own) = self.ends.unjudged();
        remains.extend(inherited.iter().map(|gap| *gap.as_bytes()));
        backlog.leave(remains, own);
    }

    /// Asks for what waits on disk, while memory has room for it; and lets go of what is stored.
    pub(super) fn refill(&self) {
        let mut backlog = self.shared.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut() else { return };
        let window = self.shared.window.borrow();
        if backlog.owes() {
            backlog.done(window.done());
        }
        // What an earlier run left is held against the stream's end: that has to be known first.
        let ready = !backlog.inherits() || self.announced.live;
        if ready && backlog.waiting() > 0 && window.waiting_bytes() < self.shared.memory / 4 * 3 {
            backlog.fetch();
        }
    }

    /// Records came back from disk.
    pub(super) fn came_back(&mut self, back: &Back) {
        for (origin, gap) in &back.lost {
            if let Some(gap) = self.ends.too_early(*origin, gap) {
                self.given_up(*origin, &gap);
            }
        }
        let shared = Rc::clone(&self.shared);
        let mut backlog = shared.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut() else { return };
        for record in back.records.iter().filter_map(|bytes| Record::from_bytes(bytes).ok()) {
            // The thread keeps what is not configured any more.
            let Some(route) = self.route(record.instrument_id()) else { continue };
            match self.ends.judge(route, &record, back.origin, &backlog.trails) {
                Verdict::Passed => continue,
                Verdict::Behind(gaps) => shared.declare(route, gaps),
                Verdict::Pass => {}
            }
            if backlog.trails.believes(route, &record) {
                shared.hand_over(&mut backlog.trails, route, &record);
            }
        }
        if let Some(position) = back.position {
            backlog.given(position, shared.window.borrow().taken());
        }
    }

    /// Declares what the disk has given up, as far as the stream does not hold it.
    pub(super) fn given_up(&mut self, origin: Origin, gap: &GapMsg) {
        let Some(route) = self.route(gap.instrument_id) else {
            let instrument = gap.instrument_id;
            return tracing::error!(instrument, "the disk has given up records of a symbol that is not configured now");
        };
        let shared = Rc::clone(&self.shared);
        let mut backlog = shared.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut() else { return };
        let verdict = self.ends.judge(route, &Record::Gap(*gap), origin, &backlog.trails);
        match verdict {
            Verdict::Passed => return,
            Verdict::Behind(gaps) => shared.declare(route, gaps),
            Verdict::Pass => {}
        }
        shared.given_up(&mut backlog.trails, route, &self.ends.rest(route, *gap, origin));
    }

    fn route(&self, instrument_id: u32) -> Option<u32> {
        self.routes.get(&instrument_id).copied()
    }
}

#[cfg(test)]
mod tests;
