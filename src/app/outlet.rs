//! Where a shard's feeds put their records: the ring first, so that a broker's trouble cannot delay it, then NATS, by
//! way of the mender, which keeps a symbol's records while a hole in front of them is repaired.

use std::rc::Rc;
use std::time::Instant;

use super::gate::Gate;
use crate::config::settings;
use crate::feed::Deliver;
use crate::feed::backfill::{Ask, RepairQueue, job::Aim};
use crate::feed::mend::{MendStats, Mender};
use crate::market::{Flags, GapMsg, Record, TradeMsg};
use crate::telemetry::clock;
use crate::transport::Transport;
use crate::transport::ipc::IpcTransport;
use crate::transport::nats::NatsTransport;

/// The transports of a shard.
#[derive(Default)]
pub struct Outlet {
    ring: Option<IpcTransport>,
    nats: Option<NatsTransport>,
    mender: Mender,
    gate: Gate,
    /// By route: who repairs its holes.
    repairs: Vec<Option<Rc<RepairQueue>>>,
    /// Records on their way out of the mender.
    mended: Vec<(u32, Record)>,
}

impl Outlet {
    /// An outlet to these transports. `repairs` names those who repair the holes of each route.
    #[must_use]
    pub fn new(
        ring: Option<IpcTransport>,
        nats: Option<NatsTransport>,
        feed: &settings::Feed,
        repairs: Vec<Option<Rc<RepairQueue>>>,
    ) -> Self {
        let repairable = repairs.iter().map(Option::is_some).collect();
        let bound = usize::try_from(feed.repair_hold_bytes.get()).unwrap_or(usize::MAX);
        let mender = Mender::new(feed.repair_hold.duration(), bound, repairable);
        Self { ring, nats, mender, gate: Gate::default(), repairs, mended: Vec::new() }
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

    /// What waits for repairs.
    #[must_use]
    pub const fn mending(&self) -> MendStats {
        self.mender.stats()
    }

    /// Puts a gap into the ring and asks for its repair; somebody else sees to the broker.
    pub fn declared(&mut self, route: u32, gap: &GapMsg) {
        if let Some(ring) = &mut self.ring {
            ring.publish(route, &Record::Gap(*gap));
            ring.flush();
        }
        self.ask(route, gap, Aim::Everywhere);
    }

    /// The stream holds everything of a route up to this trade.
    pub fn stored(&mut self, route: u32, trade: &TradeMsg) {
        self.gate.stored(route, trade);
    }

    /// A gap that the stream declares, of which these ranges of ids have come since: it is to be repaired.
    pub fn reopen(&mut self, route: u32, gap: &GapMsg, come: &[(u64, u64)], left: u64) {
        self.gate.open(route, gap, come);
        if left > 0 {
            self.ask(route, gap, Aim::Everywhere);
        } else {
            // It was filled, and the end came before that was said.
            self.publish(route, &Record::Gap(GapMsg { flags: Flags::BACKFILLED, ..*gap }));
        }
    }

    /// Lets time pass: holes that were waited for long enough are declared, and what the broker has lost is asked for.
    pub fn tick(&mut self, now: Instant) {
        self.mender.poll(now, &mut self.mended);
        self.let_go();
        let lost = self.nats.as_ref().map(NatsTransport::take_lost).unwrap_or_default();
        for (route, mut gap) in lost {
            // What the broker lost is known by its ends; how many that are is for the venue to say.
            if gap.missing == 0 && gap.first_id <= gap.last_id {
                gap.missing = (gap.last_id - gap.first_id).saturating_add(1);
            }
            self.ask(route, &gap, Aim::Broker);
        }
    }

    /// The feeds have ended: what waits for a repair goes out, its holes declared.
    pub fn finish(&mut self) {
        self.mender.finish(&mut self.mended);
        self.let_go();
        self.batch_end();
    }

    /// Closes the rings: readers drain them and then see the end.
    pub fn close_rings(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.close();
        }
    }

    fn ask(&self, route: u32, gap: &GapMsg, aim: Aim) {
        if gap.is_exact()
            && let Some(Some(repairs)) = self.repairs.get(route as usize)
        {
            repairs.ask(Ask::Fill { route, gap: *gap, aim });
        }
    }

    fn publish(&mut self, route: u32, record: &Record) {
        if let Some(nats) = &mut self.nats
            && self.gate.passes(route, record)
        {
            nats.publish(route, record);
        }
    }

    fn let_go(&mut self) {
        if self.mended.is_empty() {
            return;
        }
        for (route, record) in std::mem::take(&mut self.mended) {
            self.publish(route, &record);
        }
        if let Some(nats) = &mut self.nats {
            nats.flush();
        }
    }
}

impl Deliver for Outlet {
    fn record(&mut self, route: u32, record: &Record) {
        if let Some(ring) = &mut self.ring {
            ring.publish(route, record);
        }
        if let Record::Gap(gap) = record
            && gap.flags == 0
        {
            self.ask(route, gap, Aim::Everywhere);
        }
        if self.nats.is_none() {
            return;
        }
        if self.mender.passes(route, record) {
            return self.publish(route, record);
        }
        self.mender.take(clock::now(), route, *record, &mut self.mended);
        self.let_go();
    }

    fn batch_end(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.flush();
        }
        if let Some(nats) = &mut self.nats {
            nats.flush();
        }
    }

    fn restore(&mut self, route: u32, record: &Record) {
        if let Some(nats) = &mut self.nats {
            nats.publish(route, record);
        }
    }

    fn has_room(&self) -> bool {
        self.nats.as_ref().is_none_or(NatsTransport::has_room)
    }

    fn give_up(&mut self, route: u32, gap: &GapMsg) {
        self.mender.give_up(clock::now(), route, gap, &mut self.mended);
        self.let_go();
    }
}
