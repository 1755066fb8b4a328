//! What the daemon says of itself: metrics, logs, build info; and the one place that reads the clock.

#[cfg(feature = "daemon")]
pub mod build;
pub mod clock;
#[cfg(feature = "daemon")]
pub mod logging;
#[cfg(feature = "daemon")]
pub mod metrics;
