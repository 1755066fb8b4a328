//! How long to wait before a reconnect, and how many connects a venue allows. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::exchange::Pace;

/// Doubling waits with jitter, so that many connections that broke together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// Waits from `min` up to `max`; `seed` decides the jitter.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max: max.max(min), failures: 0, rng: fastrand::Rng::with_seed(seed) }
    }

    /// The wait before the next attempt: half of the doubled minimum, and up to as much again by chance.
    pub fn wait(&mut self) -> Duration {
        let doubled = self.min.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1).min(31);
        doubled.mul_f64(0.5 + self.rng.f64() / 2.0)
    }

    /// A connection has lived long enough to start over with short waits.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// At most so many events in any window of time: connects of a venue, messages of a connection.
#[derive(Debug)]
pub struct Budget {
    pace: Pace,
    taken: VecDeque<Instant>,
}

impl Budget {
    /// A budget that is still whole.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, taken: VecDeque::new() }
    }

    /// Takes one event.
    ///
    /// # Errors
    /// When the budget is spent: the time at which the next event is allowed.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.taken.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.pace.per) {
            self.taken.pop_front();
        }
        if self.taken.len() < self.pace.count.max(1) as usize {
            self.taken.push_back(now);
            return Ok(());
        }
        Err(self.taken.front().map_or(now, |oldest| *oldest + self.pace.per))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), 7);
        let waits: Vec<Duration> = (0..40).map(|_| backoff.wait()).collect();
        for (number, wait) in waits.iter().enumerate() {
            let full = Duration::from_millis(100 << number.min(10)).min(Duration::from_secs(2));
            assert!(*wait >= full / 2 && *wait <= full, "{number}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn no_window_ever_holds_more_than_the_budget() {
        let pace = Pace { count: 300, per: Duration::from_secs(300) };
        let (mut budget, start) = (Budget::new(pace), crate::telemetry::clock::now());
        let mut taken = Vec::new();
        for tick in 0..40_000_u64 {
            let now = start + Duration::from_millis(tick * 50);
            if budget.take(now).is_ok() {
                taken.push(now);
            }
        }
        assert!(taken.len() > 1_500, "the budget is used: {}", taken.len());
        assert!(taken.windows(301).all(|window| window[300] - window[0] >= pace.per));
    }
}
