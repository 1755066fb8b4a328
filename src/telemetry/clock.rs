//! The one place that reads the clock: wall time for stamps, monotonic time for every decision.

#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch. Never used to decide anything: it may step.
#[must_use]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Monotonic time, for every time-out, interval and deadline.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
