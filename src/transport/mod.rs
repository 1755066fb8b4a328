//! Where records go. No transport knows which venue a trade came from beyond its exchange token.

#[cfg(feature = "ipc")]
mod files;
#[cfg(feature = "ipc")]
pub mod ipc;
#[cfg(feature = "nats")]
pub mod nats;

use crate::market::Record;

/// A place where records go. It never waits: what it cannot take at once it keeps, bounded, and declares what it drops.
pub trait Transport {
    /// `ipc` or `nats`, for logs and metrics.
    fn name(&self) -> &'static str;

    /// Takes one record. `route` is the instrument's index in the [`Universe`](crate::market::Universe).
    fn publish(&mut self, route: u32, record: &Record);

    /// Makes what was taken visible: called once after each drained batch of frames, not after each record.
    fn flush(&mut self);

    /// What it has done so far.
    fn stats(&self) -> TransportStats;
}

/// Plain counts of a transport since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// Records taken.
    pub taken: u64,
    /// Records done with: visible in the ring, or acknowledged by the broker.
    pub done: u64,
    /// Records that wait now.
    pub waiting: u64,
    /// Records dropped because a bound was reached; each is inside a declared gap.
    pub dropped: u64,
}
