//! The end that records are pushed into.

use super::NatsTransport;
use crate::market::{GapMsg, Record};
use crate::transport::nats::backlog::Backlog;
use crate::transport::nats::status::NatsStatus;
use crate::transport::{Transport, TransportStats};

impl NatsTransport {
    /// What the publisher says of itself.
    #[must_use]
    pub fn status(&self) -> NatsStatus {
        let mut status = self.shared.status.borrow().clone();
        status.window = self.shared.window.borrow().stats();
        status.backlog = self.shared.backlog.borrow().as_ref().map(Backlog::stats);
        status
    }

    /// Whether little waits: the broker takes what it is given.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.window.borrow().waiting_bytes() < self.shared.memory / 2 && self.shared.spooled() == 0
    }

    /// Gaps that the broker has been told of since the last call: what it lost, or never got.
    #[must_use]
    pub fn take_lost(&self) -> Vec<(u32, GapMsg)> {
        self.shared.window.borrow_mut().take_lost()
    }
}

impl Transport for NatsTransport {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn publish(&mut self, route: u32, record: &Record) {
        self.shared.push(route, record);
        self.pushed = true;
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.pushed) {
            if let Some(backlog) = self.shared.backlog.borrow_mut().as_mut() {
                backlog.flush();
            }
            self.shared.wake.notify_one();
        }
    }

    fn stats(&self) -> TransportStats {
        let stats = self.shared.window.borrow().stats();
        TransportStats {
            taken: stats.taken,
            // Gaps that the window declares are acknowledged and were never taken.
            done: (stats.acked + stats.duplicates).min(stats.taken),
            waiting: stats.waiting + stats.in_flight_records + self.shared.spooled(),
            dropped: stats.dropped,
        }
    }
}
