//! What the daemon says of itself: metrics, logs, build info; and the one place that reads the clock.

pub mod build;
pub mod clock;
pub mod logging;
pub mod metrics;
