//! The faults of the broker and the link, and how they strike.

use super::{Event, Input, Read, World};
use crate::broker::Stored;

/// A fault of the broker or the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks; both ends see it.
    Cut,
    /// The connection is a black hole from now on; nobody tells.
    HalfOpen,
    /// The broker's process dies and comes back.
    Kill,
    /// The broker loses what was not synced, and comes back.
    PowerLoss,
    /// The next messages are refused.
    Refuse(u32),
    /// Another leader takes over.
    ChangeLeader,
    /// Another leader takes over, and takes for known what the last one never stored.
    StaleIds(u32),
    /// Others write, now and in a moment.
    Stranger,
    /// Answers take longer than the publisher waits.
    SlowAnswers,
    /// All readable messages are removed.
    Purge,
}

impl World {
    /// A fault strikes; the next one is planned.
    pub(super) fn fault(&mut self, read: &dyn Fn(&Stored) -> Read) -> Option<Input> {
        if self.now >= self.faults_end || self.schedule.faults.is_empty() {
            return None;
        }
        self.last_fault = self.now;
        let at = self.now + self.rng.u64(self.schedule.fault_every / 10..self.schedule.fault_every * 2);
        self.push(at, Event::Fault);
        let fault = self.schedule.faults[self.rng.usize(0..self.schedule.faults.len())];
        self.strike(fault, read)
    }

    fn strike(&mut self, fault: Fault, read: &dyn Fn(&Stored) -> Read) -> Option<Input> {
        self.faults += 1;
        match fault {
            Fault::Cut => {}
            Fault::HalfOpen => {
                self.black_hole = self.alive;
                return None;
            }
            Fault::Kill | Fault::PowerLoss => {
                if fault == Fault::Kill {
                    self.broker.kill(self.now);
                } else {
                    self.broker.power_loss(self.now);
                }
                let at = self.now + self.rng.u64(1_000..100_000);
                self.push(at, Event::Restart);
            }
            Fault::Refuse(most) => {
                self.broker.refuse(self.rng.u32(1..=most));
                return None;
            }
            Fault::ChangeLeader => {
                self.broker.change_leader(self.now);
                return None;
            }
            Fault::Stranger => {
                let count = self.rng.u32(1..=3);
                (0..count).for_each(|_| self.broker.stranger());
                return None;
            }
            Fault::StaleIds(most) => {
                self.broker.swallow(self.rng.u32(1..=most));
                return None;
            }
            Fault::SlowAnswers => {
                self.slow_until = self.now + self.rng.u64(10_000..200_000);
                return None;
            }
            Fault::Purge => {
                self.remember_purged(read);
                self.broker.purge();
                return None;
            }
        }
        let was_alive = self.alive && !self.black_hole;
        self.strand();
        was_alive.then_some(Input::Disconnected)
    }
}
