//! What was handed out of the stream and is to be acknowledged.

use std::time::{Duration, Instant};

use super::config::NatsConfig;
use crate::transport::nats::durable::Acks;

/// What was handed out and is to be acknowledged.
pub(super) struct Commits {
    pub(super) acks: Acks,
    pub(super) auto: bool,
    every: u32,
    /// Messages that are dealt with and not acknowledged.
    pub(super) unsaid: u32,
    interval: Duration,
    /// The message that the record handed out last came from.
    pub(super) handed: u64,
    /// The last message of which all records are dealt with.
    pub(super) done: u64,
    /// The last one that was acknowledged, and when something was.
    pub(super) said: u64,
    pub(super) said_at: Option<Instant>,
}

impl Commits {
    pub(super) fn new(acks: Acks, config: &NatsConfig) -> Self {
        Self {
            acks,
            auto: config.auto_commit,
            every: config.ack_every,
            unsaid: 0,
            interval: config.ack_interval.duration(),
            handed: 0,
            done: 0,
            said: 0,
            said_at: None,
        }
    }

    /// Whether it is time to say what is dealt with.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.done > self.said && (self.unsaid >= self.every || self.due_in(now) == Some(Duration::ZERO))
    }

    /// When it will be time, while nothing more is handed out.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let due = |at: Instant| (at + self.interval).saturating_duration_since(now);
        (self.auto && self.done > self.said).then(|| self.said_at.map_or(Duration::ZERO, due))
    }

    /// The stream's sequences count anew, from this one on: what was handed out before is nobody's to acknowledge.
    pub(super) const fn begin_anew(&mut self, from: u64) {
        let last = from.saturating_sub(1);
        (self.handed, self.done, self.said, self.unsaid) = (last, last, last, 0);
    }
}
