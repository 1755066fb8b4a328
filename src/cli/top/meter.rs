//! Rates from counts: of the last interval, and over ten seconds. It is told the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the smoothed rate looks back.
pub(super) const SMOOTH: Duration = Duration::from_secs(10);
/// Intervals that the trend remembers.
const TREND_MAX: usize = 60;

/// A count, and how fast it grows.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) total: u64,
    /// Totals at the ends of intervals, the oldest first; the first one is as old as `SMOOTH` or the oldest there is.
    ends: VecDeque<(Instant, u64)>,
    trend: VecDeque<f64>,
}

impl Meter {
    /// A meter that has counted nothing since `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self { total: 0, ends: VecDeque::from([(start, 0)]), trend: VecDeque::new() }
    }

    /// An interval ends.
    pub(super) fn tick(&mut self, now: Instant) {
        let rate = self.ends.back().map_or(0.0, |end| rate(*end, (now, self.total)));
        if self.trend.len() == TREND_MAX {
            self.trend.pop_front();
        }
        self.trend.push_back(rate);
        self.ends.push_back((now, self.total));
        while self.ends.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SMOOTH) {
            self.ends.pop_front();
        }
    }

    /// A second in the last interval.
    pub(super) fn now(&self) -> f64 {
        self.trend.back().copied().unwrap_or(0.0)
    }

    /// A second over the last ten seconds, or since the start.
    pub(super) fn smooth(&self) -> f64 {
        match (self.ends.front(), self.ends.back()) {
            (Some(first), Some(last)) => rate(*first, *last),
            _ => 0.0,
        }
    }

    /// Rates of the last intervals, the oldest first.
    pub(super) fn trend(&self) -> Vec<f64> {
        self.trend.iter().copied().collect()
    }
}

/// A second between two readings.
fn rate(from: (Instant, u64), to: (Instant, u64)) -> f64 {
    let seconds = to.0.saturating_duration_since(from.0).as_secs_f64();
    if seconds > 0.0 { to.1.saturating_sub(from.1) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn the_rate_is_of_the_last_interval_and_the_smooth_one_of_ten_seconds() {
        let start = clock::now();
        let mut meter = Meter::new(start);
        assert_eq!((meter.now(), meter.smooth()), (0.0, 0.0));
        for second in 1..=20_u32 {
            meter.total += if second <= 10 { 100 } else { 20 };
            meter.tick(start + Duration::from_secs(second.into()));
            if second == 1 {
                assert_eq!((meter.now(), meter.smooth()), (100.0, 100.0), "not divided by seconds that were not");
            }
            if second == 15 {
                assert_eq!((meter.now(), meter.smooth()), (20.0, 60.0));
            }
        }
        assert_eq!((meter.now(), meter.smooth()), (20.0, 20.0));
        assert_eq!(meter.trend().len(), 20);
        meter.tick(start + Duration::from_secs(20));
        assert_eq!(meter.now(), 0.0, "no time, no rate");
    }
}
