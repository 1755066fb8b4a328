//! Where a shard's feeds put their records: the ring first, so that a broker's trouble cannot delay it, then NATS.

use crate::feed::Deliver;
use crate::market::Record;
use crate::transport::Transport;
use crate::transport::ipc::IpcTransport;
use crate::transport::nats::NatsTransport;

/// The transports of a shard.
#[derive(Default)]
pub struct Outlet {
    ring: Option<IpcTransport>,
    nats: Option<NatsTransport>,
}

impl Outlet {
    /// An outlet to these transports.
    #[must_use]
    pub const fn new(ring: Option<IpcTransport>, nats: Option<NatsTransport>) -> Self {
        Self { ring, nats }
    }

    /// The ring, if there is one.
    #[must_use]
    pub const fn ring(&self) -> Option<&IpcTransport> {
        self.ring.as_ref()
    }

    /// NATS, if it is on.
    #[must_use]
    pub const fn nats(&self) -> Option<&NatsTransport> {
        self.nats.as_ref()
    }

    /// Puts a record into the ring and nowhere else.
    pub fn ring_only(&mut self, route: u32, record: &Record) {
        if let Some(ring) = &mut self.ring {
            ring.publish(route, record);
            ring.flush();
        }
    }

    /// Closes the rings: readers drain them and then see the end.
    pub fn close_rings(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.close();
        }
    }
}

impl Deliver for Outlet {
    fn record(&mut self, route: u32, record: &Record) {
        if let Some(ring) = &mut self.ring {
            ring.publish(route, record);
        }
        if let Some(nats) = &mut self.nats {
            nats.publish(route, record);
        }
    }

    fn batch_end(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.flush();
        }
        if let Some(nats) = &mut self.nats {
            nats.flush();
        }
    }
}
