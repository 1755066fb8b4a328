//! What may be asked of a venue's REST API: its own weights, its headers, and the waits that it orders. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::exchange::{HistoryRule, RETRY_AFTER_MAX};

/// The share of a venue's allowance that is used, in percent: others on the same address want some too.
const SHARE: u32 = 80;
/// First wait after a refusal without `Retry-After`; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A ban (418) without `Retry-After` lasts at least this long.
const BAN: Duration = Duration::from_secs(120);

/// The REST allowance of one venue.
#[derive(Debug)]
pub struct RestBudget {
    rule: HistoryRule,
    taken: VecDeque<(Instant, u32)>,
    blocked: Option<Instant>,
    refusals: u32,
}

impl RestBudget {
    /// An allowance that is still whole.
    #[must_use]
    pub const fn new(rule: HistoryRule) -> Self {
        Self { rule, taken: VecDeque::new(), blocked: None, refusals: 0 }
    }

    /// Takes the weight of a request.
    ///
    /// # Errors
    /// When it is not allowed now: the time at which it may be asked for again.
    pub fn take(&mut self, now: Instant, weight: u32) -> Result<(), Instant> {
        if let Some(until) = self.blocked.filter(|until| now < *until) {
            return Err(until);
        }
        while self.taken.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.rule.budget.per) {
            self.taken.pop_front();
        }
        let most = (self.rule.budget.count.saturating_mul(SHARE) / 100).max(weight);
        if self.used().saturating_add(weight) <= most {
            self.taken.push_back((now, weight));
            return Ok(());
        }
        Err(self.taken.front().map_or(now, |(at, _)| *at + self.rule.budget.per))
    }

    /// The venue says how much was used in its running window: by us, or by others at this address.
    pub fn reported(&mut self, now: Instant, used: u32) {
        let more = used.saturating_sub(self.used());
        if more > 0 {
            self.taken.push_back((now, more));
        }
    }

    /// The venue refused: nothing is asked for a while.
    pub fn refused(&mut self, now: Instant, status: u16, retry_after: Option<Duration>) -> Duration {
        let doubled = WAIT_MIN.saturating_mul(1 << self.refusals.min(6)).min(WAIT_MAX);
        let least = if status == 418 { BAN } else { doubled };
        let wait = retry_after.unwrap_or(least).min(RETRY_AFTER_MAX);
        self.refusals = self.refusals.saturating_add(1);
        self.blocked = Some(now + wait);
        wait
    }

    /// The venue answered: the next refusal is a first one again.
    pub const fn answered(&mut self) {
        self.refusals = 0;
    }

    fn used(&self) -> u32 {
        self.taken.iter().fold(0, |sum: u32, (_, weight)| sum.saturating_add(*weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Pace, PageOrder};
    use crate::telemetry::clock;

    fn budget() -> RestBudget {
        RestBudget::new(HistoryRule {
            order: PageOrder::Ascending,
            budget: Pace { count: 100, per: Duration::from_secs(60) },
            page_weight: 25,
            look_weight: 4,
            used_header: None,
        })
    }

    #[test]
    fn a_fifth_of_the_allowance_is_left_to_others() {
        let (mut budget, start) = (budget(), clock::now());
        assert!((0..3).all(|_| budget.take(start, 25).is_ok()));
        assert!(budget.take(start, 5).is_ok());
        assert_eq!(budget.take(start, 1), Err(start + Duration::from_secs(60)));
        assert_eq!(budget.take(start + Duration::from_secs(60), 25), Ok(()));
    }

    #[test]
    fn what_others_used_counts() {
        let (mut budget, start) = (budget(), clock::now());
        assert_eq!(budget.take(start, 25), Ok(()));
        budget.reported(start, 70);
        assert!(budget.take(start, 25).is_err());
        budget.reported(start, 10);
        assert_eq!(budget.take(start, 10), Ok(()));
    }

    #[test]
    fn refusals_are_obeyed_and_double_where_no_time_is_given() {
        let (mut budget, start) = (budget(), clock::now());
        assert_eq!(budget.refused(start, 429, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(budget.take(start + Duration::from_secs(6), 1), Err(start + Duration::from_secs(7)));
        assert_eq!(budget.refused(start, 429, None), Duration::from_secs(2));
        assert_eq!(budget.refused(start, 418, None), BAN);
        budget.answered();
        assert_eq!(budget.refused(start, 429, None), WAIT_MIN);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (mut budget, start) = (budget(), clock::now());
        for wait in [Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(budget.refused(start, 429, Some(wait)), RETRY_AFTER_MAX);
            assert_eq!(budget.take(start, 1), Err(start + RETRY_AFTER_MAX));
        }
        assert_eq!(budget.take(start + RETRY_AFTER_MAX, 1), Ok(()));
    }
}
