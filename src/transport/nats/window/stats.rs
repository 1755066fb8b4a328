//! What a window counts.

use std::time::Duration;

/// Plain counts and gauges. Records unless it says messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records taken.
    pub taken: u64,
    /// Trades and gaps acknowledged, or found stored.
    pub acked: u64,
    /// Records that were stored already when they came, and were left out.
    pub duplicates: u64,
    /// Messages sent more than once.
    pub resent: u64,
    /// Records dropped (bound of the outbox, or refused for ever); each is inside a declared gap.
    pub dropped: u64,
    /// Messages that the server would refuse for ever; their records are among `dropped`.
    pub poisoned: u64,
    /// Gap records that the window itself declared.
    pub declared: u64,
    /// Acknowledged records that the broker lost: those still retained were sent again, the others are in a declared
    /// gap.
    pub broker_lost: u64,
    /// Messages of other writers found in the stream.
    pub foreign: u64,
    /// Epochs begun.
    pub epochs: u32,
    /// Records that wait now.
    pub waiting: u64,
    /// Bytes that wait now, with what keeping them costs.
    pub waiting_bytes: usize,
    /// Messages sent and not acknowledged.
    pub in_flight: usize,
    /// Records among them.
    pub in_flight_records: u64,
    /// Acknowledged messages that are kept.
    pub retained: usize,
    /// Their bytes, with what keeping them costs.
    pub retained_bytes: usize,
    /// Messages by the time from send to acknowledgement: bucket `i` counts up to [`LATENCY_BOUNDS`]`[i]`, the last one
    /// the rest.
    pub ack_latency: [u64; LATENCY_BOUNDS.len() + 1],
    /// Sum of those times, microseconds.
    pub ack_latency_sum_us: u64,
}

/// Upper bounds of the buckets of [`Stats::ack_latency`].
pub const LATENCY_BOUNDS: [Duration; 12] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
