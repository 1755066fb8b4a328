//! One hole to repair: which page to ask for next, what a page has brought, and when there is nothing more to be had.
//! Pure.
//!
//! Pages are walked from the oldest missing id to the newest, whatever end of a range a venue's pages begin at, so that
//! what is found can be stored in order. What a page should have held and did not is asked for again in later rounds: a
//! venue's history may lag behind its feed.

use std::time::{Duration, Instant};

use crate::exchange::{Page, PageOrder, Want};
use crate::feed::ranges::Ranges;
use crate::market::{GapMsg, TradeMsg};

/// Ids that are walked from their newest end before any of them is handed over.
const WINDOW: u64 = 20_000;
/// Rounds in which nothing came of what is missing, before it is given up.
const ROUNDS: u32 = 6;
/// Wait before the second round; it doubles.
const ROUND_WAIT: Duration = Duration::from_millis(500);
/// Requests in a row that may fail, and the waits behind them.
const FAILURES: u32 = 20;
const FAILURE_WAIT: Duration = Duration::from_millis(500);
const FAILURE_WAIT_MAX: Duration = Duration::from_secs(30);
/// A gap of more ids than this is searched for the place where the horizon lies.
const SEARCH_MIN: u64 = 2_000;

/// Where what is found belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Nobody has seen it: to the ring and to the broker.
    Everywhere,
    /// The ring had it, the broker has lost or never got it.
    Broker,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for this.
    Ask(Want),
    /// Nothing before this time.
    Wait(Instant),
    /// It is over: whole, or as whole as it will be.
    Done,
}

/// A hole on its way to be filled.
#[derive(Debug)]
pub struct Job {
    /// The symbol.
    pub route: u32,
    /// What was declared.
    pub gap: GapMsg,
    /// Where it belongs.
    pub aim: Aim,
    order: PageOrder,
    missing: Ranges,
    /// Of `missing`, what this round has not asked for yet.
    walk: Ranges,
    /// The end of the window being walked down, with newest-first pages.
    window: Option<(u64, u64)>,
    found: Vec<TradeMsg>,
    /// Trades before this are not wanted, nanoseconds since the Unix epoch.
    horizon: u64,
    /// Where between two ids the horizon lies.
    search: Option<(u64, u64)>,
    round: u32,
    failures: u32,
    not_before: Instant,
    /// `None`: later than any time that there is.
    deadline: Option<Instant>,
}

impl Job {
    /// A job for a gap whose ids are known. What is older than `horizon` is left; after `lifetime` it is over.
    #[must_use]
    pub fn new(
        now: Instant,
        route: u32,
        gap: GapMsg,
        aim: Aim,
        order: PageOrder,
        horizon: u64,
        lifetime: Duration,
    ) -> Self {
        let missing = Ranges::of(gap.first_id, gap.last_id);
        let old = gap.ts_start < horizon && missing.count() > SEARCH_MIN;
        Self {
            route,
            gap,
            aim,
            order,
            walk: missing.clone(),
            missing,
            window: None,
            found: Vec::new(),
            horizon,
            search: old.then_some((gap.first_id, gap.last_id)),
            round: 0,
            failures: 0,
            not_before: now,
            deadline: now.checked_add(lifetime),
        }
    }

    /// What is still missing.
    #[must_use]
    pub const fn missing(&self) -> &Ranges {
        &self.missing
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant) -> Step {
        if self.missing.is_empty() || self.deadline.is_some_and(|at| now >= at) || self.failures >= FAILURES {
            return Step::Done;
        }
        if now < self.not_before {
            return Step::Wait(self.not_before);
        }
        if let Some((low, high)) = self.search {
            if high - low > SEARCH_MIN {
                let middle = low + (high - low) / 2;
                return Step::Ask(Want::Range { first: middle, last: middle });
            }
            self.search = None;
            if let Some(too_old) = low.checked_sub(1) {
                self.missing.remove(0, too_old);
                self.walk.remove(0, too_old);
            }
        }
        let Some((first, last)) = self.walk.lowest() else { return self.next_round(now) };
        match self.order {
            PageOrder::Ascending => Step::Ask(Want::Range { first, last }),
            PageOrder::Descending => {
                let (first, last) =
                    *self.window.get_or_insert_with(|| (first, last.min(first.saturating_add(WINDOW - 1))));
                Step::Ask(Want::Range { first, last })
            }
        }
    }

    fn next_round(&mut self, now: Instant) -> Step {
        self.round += 1;
        if self.round >= ROUNDS || self.missing.is_empty() {
            return Step::Done;
        }
        self.walk = self.missing.clone();
        self.not_before = now + ROUND_WAIT.saturating_mul(1 << (self.round - 1));
        Step::Wait(self.not_before)
    }

    /// What was asked for has come. What may be handed over goes to `out`, ascending.
    pub fn page(&mut self, want: Want, mut rows: Vec<TradeMsg>, page: Page, out: &mut Vec<TradeMsg>) {
        self.failures = 0;
        rows.sort_unstable_by_key(|row| row.trade_id);
        let Want::Range { first, last } = want else { return };
        if self.search.is_some() {
            return self.searched(first, &rows);
        }
        let fresh = |row: &&TradeMsg| self.missing.has(row.trade_id) && row.ts_event >= self.horizon;
        let mut wanted: Vec<TradeMsg> = rows.iter().filter(fresh).copied().collect();
        wanted.dedup_by_key(|row| row.trade_id);
        if wanted.iter().any(|row| !self.found.iter().any(|known| known.trade_id == row.trade_id)) {
            self.round = 0;
        }
        self.found.append(&mut wanted);
        match self.order {
            PageOrder::Ascending => {
                // An empty page, or one that begins behind the range: there is nothing to be had here now.
                let reached = rows.iter().map(|row| row.trade_id).filter(|id| (first..=last).contains(id)).max();
                let beyond = rows.iter().any(|row| row.trade_id > last);
                self.walk.remove(first, reached.filter(|_| !beyond).unwrap_or(last));
                self.hand_over(out);
            }
            PageOrder::Descending => {
                let oldest = rows.iter().map(|row| row.trade_id).filter(|id| *id <= last).min();
                let cursor = page.older.filter(|older| oldest.is_some_and(|oldest| *older <= oldest)).or(oldest);
                let too_old = rows.first().is_some_and(|row| row.ts_event < self.horizon);
                match cursor.filter(|cursor| *cursor > first && !too_old) {
                    Some(cursor) => {
                        self.walk.remove(cursor, last);
                        self.window = Some((first, cursor - 1));
                    }
                    None => {
                        self.walk.remove(first, last);
                        self.window = None;
                        self.hand_over(out);
                    }
                }
            }
        }
    }

    /// A request failed, for reasons other than the venue's limits.
    pub fn failed(&mut self, now: Instant) {
        let wait = FAILURE_WAIT.saturating_mul(1 << self.failures.min(6)).min(FAILURE_WAIT_MAX);
        self.failures += 1;
        self.not_before = now + wait;
    }

    fn searched(&mut self, middle: u64, rows: &[TradeMsg]) {
        let Some((low, high)) = self.search else { return };
        let old = match (rows.first(), self.order) {
            (Some(row), _) => row.ts_event < self.horizon,
            // The history does not reach back that far; or the venue has nothing newer.
            (None, PageOrder::Descending) => true,
            (None, PageOrder::Ascending) => false,
        };
        self.search = Some(if old { (middle.saturating_add(1).min(high), high) } else { (low, middle.max(low)) });
    }

    fn hand_over(&mut self, out: &mut Vec<TradeMsg>) {
        self.found.sort_unstable_by_key(|row| row.trade_id);
        for row in self.found.drain(..) {
            if self.missing.has(row.trade_id) {
                self.missing.remove(row.trade_id, row.trade_id);
                out.push(row);
            }
        }
    }
}

#[cfg(test)]
mod tests;
