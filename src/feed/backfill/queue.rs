//! What a venue's feeds, its repairs and the daemon tell each other, all on one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use super::job::Aim;
use super::watch::Pulse;
use crate::market::GapMsg;

/// What is asked for and not taken yet, at most: repairs take it at every turn.
const ASKS_MAX: usize = 20_000;

/// Something that a venue's repairs are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// A hole whose ids are known.
    Fill {
        /// The symbol.
        route: u32,
        /// The gap as it was declared.
        gap: GapMsg,
        /// Where what is found belongs.
        aim: Aim,
    },
    /// A line is subscribed anew.
    Subscribed {
        /// Its number.
        line: usize,
    },
}

/// What repairs of a venue have done and are doing.
#[derive(Clone, Debug, Default)]
pub struct RepairStatus {
    /// Requests made.
    pub requests: u64,
    /// Requests that the venue's limits refused.
    pub limited: u64,
    /// Requests that failed otherwise.
    pub failed: u64,
    /// Looks at the latest trade of a silent symbol.
    pub looks: u64,
    /// Lines that were called mute.
    pub mute: u64,
    /// Trades found and handed over.
    pub trades: u64,
    /// Holes that are whole now.
    pub whole: u64,
    /// Holes that could not be filled, or not wholly.
    pub partial: u64,
    /// Holes being repaired now.
    pub open: u64,
    /// Why the last request failed; empty: it did not.
    pub last_error: String,
}

/// Shared by a venue's feeds and its repairs.
#[derive(Debug, Default)]
pub struct RepairQueue {
    asks: RefCell<VecDeque<Ask>>,
    pub(super) wake: Notify,
    /// By line, then by route: what has come.
    pulses: RefCell<Vec<Vec<Pulse>>>,
    live: RefCell<Vec<bool>>,
    mute: RefCell<Vec<Option<String>>>,
    /// Wakes the feeds: one of them has to replace its connection.
    pub(crate) muted: Notify,
    /// What repairs say of themselves.
    pub status: RefCell<RepairStatus>,
    /// Set once repairs run; without them nobody listens.
    attended: Cell<bool>,
}

/// Repairs run. Once they do not, whether they have ended or panicked, nothing is asked of them any more.
#[derive(Debug)]
pub(super) struct Attendance<'a>(&'a RepairQueue);

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        self.0.neglect();
    }
}

impl RepairQueue {
    /// Asks for something. False where no repairs run, or far too much is asked of them: nothing comes of it.
    pub fn ask(&self, ask: Ask) -> bool {
        let mut asks = self.asks.borrow_mut();
        let taken = self.attended.get() && asks.len() < ASKS_MAX;
        if taken {
            asks.push_back(ask);
            self.wake.notify_one();
        }
        taken
    }

    /// Repairs will run: what is asked from here on is kept for them.
    pub fn attend(&self) {
        self.attended.set(true);
    }

    /// Repairs do not run: what they were asked for is forgotten, and nothing more is taken.
    pub fn neglect(&self) {
        self.attended.set(false);
        self.asks.borrow_mut().clear();
        self.status.borrow_mut().open = 0;
    }

    /// Repairs run, until what this gives is dropped.
    pub(super) fn attendance(&self) -> Attendance<'_> {
        self.attend();
        Attendance(self)
    }

    /// Takes what was asked for.
    pub(super) fn take(&self) -> Option<Ask> {
        self.asks.borrow_mut().pop_front()
    }

    /// A row of a symbol has come on a line.
    #[inline]
    pub fn beat(&self, line: usize, route: u32, id: u64, now: std::time::Instant) {
        let mut pulses = self.pulses.borrow_mut();
        if let Some(pulse) = pulses.get_mut(line).and_then(|line| line.get_mut(route as usize)) {
            pulse.rows += 1;
            pulse.last_id = pulse.last_id.max(id);
            pulse.at = Some(now);
            return;
        }
        drop(pulses);
        self.grow(line, route);
        if self.pulse(line, route).is_some() {
            self.beat(line, route, id, now);
        }
    }

    /// The venue itself says that nothing newer than this id was traded: as good as a row.
    pub fn quiet(&self, line: usize, route: u32, id: u64, now: std::time::Instant) {
        if let Some(pulse) = self.pulses.borrow_mut().get_mut(line).and_then(|line| line.get_mut(route as usize))
            && pulse.last_id >= id
        {
            pulse.at = Some(now);
        }
    }

    #[cold]
    fn grow(&self, line: usize, route: u32) {
        let mut pulses = self.pulses.borrow_mut();
        if pulses.len() <= line {
            pulses.resize_with(line + 1, Vec::new);
        }
        if let Some(of_line) = pulses.get_mut(line)
            && of_line.len() <= route as usize
        {
            of_line.resize(route as usize + 1, Pulse::default());
        }
    }

    /// What has come of a symbol on a line.
    pub(super) fn pulse(&self, line: usize, route: u32) -> Option<Pulse> {
        self.pulses.borrow().get(line).and_then(|line| line.get(route as usize)).copied()
    }

    /// Whether a line has a connection on which all is subscribed.
    pub fn set_live(&self, line: usize, live: bool) {
        let mut lines = self.live.borrow_mut();
        if lines.len() <= line {
            lines.resize(line + 1, false);
        }
        if let Some(slot) = lines.get_mut(line) {
            *slot = live;
        }
        drop(lines);
        if live {
            self.ask(Ask::Subscribed { line });
        }
    }

    pub(super) fn is_live(&self, line: usize) -> bool {
        self.live.borrow().get(line).copied().unwrap_or(false)
    }

    /// Calls a line mute, for the reason given.
    pub(super) fn call_mute(&self, line: usize, why: String) {
        let mut mute = self.mute.borrow_mut();
        if mute.len() <= line {
            mute.resize(line + 1, None);
        }
        if let Some(slot) = mute.get_mut(line) {
            *slot = Some(why);
        }
        drop(mute);
        self.muted.notify_waiters();
    }

    /// Whether a line was called mute since it was last asked, and why.
    pub fn take_mute(&self, line: usize) -> Option<String> {
        self.mute.borrow_mut().get_mut(line).and_then(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_repairs_that_do_not_run() {
        let queue = RepairQueue::default();
        let ask = || queue.ask(Ask::Subscribed { line: 0 });
        assert!(!ask());
        queue.attend();
        assert!(ask(), "they will run");
        let attendance = queue.attendance();
        assert!(ask());
        queue.status.borrow_mut().open = 3;
        drop(attendance);
        assert!(!ask() && queue.take().is_none());
        assert_eq!(queue.status.borrow().open, 0);
        let _again = queue.attendance();
        assert!(ask());
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let queue = RepairQueue::default();
        queue.attend();
        let asked = (0..ASKS_MAX + 10).filter(|_| queue.ask(Ask::Subscribed { line: 0 })).count();
        assert_eq!(asked, ASKS_MAX);
    }
}
