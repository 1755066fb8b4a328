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

    /// Who repaired the holes of these routes does not any more: they are declared, and nothing waits for them.
    pub fn unrepaired(&mut self, routes: impl Iterator<Item = u32>) {
        let now = clock::now();
        routes.for_each(|route| self.mender.give_up_all(now, route, &mut self.mended));
        self.let_go();
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

    /// Asks for the repair of a gap; false where nobody will see to it.
    fn ask(&self, route: u32, gap: &GapMsg, aim: Aim) -> bool {
        match self.repairs.get(route as usize) {
            Some(Some(repairs)) if gap.is_exact() => repairs.ask(Ask::Fill { route, gap: *gap, aim }),
            _ => false,
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
        // What nobody repairs is not waited for.
        let vain = match record {
            Record::Gap(gap) if gap.flags == 0 => Some(gap).filter(|gap| !self.ask(route, gap, Aim::Everywhere)),
            _ => None,
        };
        if self.nats.is_none() {
            return;
        }
        if self.mender.passes(route, record) {
            return self.publish(route, record);
        }
        let now = clock::now();
        self.mender.take(now, route, *record, &mut self.mended);
        if let Some(gap) = vain {
            self.mender.give_up(now, route, gap, &mut self.mended);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Nats;
    use crate::market::{GapReason, GapStrength, Instrument, Symbol, Universe};
    use crate::transport::nats::publisher;

    fn gap(first_id: u64) -> Record {
        let (strength, reason) = (GapStrength::Proved as u8, GapReason::VenueDisconnect as u8);
        let ids = GapMsg { first_id, last_id: first_id, missing: 1, ..bytemuck::Zeroable::zeroed() };
        Record::Gap(GapMsg { strength, reason, kind: 2, ..ids })
    }

    fn trade(id: u64) -> Record {
        Record::Trade(TradeMsg { trade_id: id, kind: 1, ..bytemuck::Zeroable::zeroed() })
    }

    #[test]
    fn a_hole_that_nobody_repairs_is_not_waited_for() {
        let mut universe = Universe::default();
        universe.add(Instrument::new("binance", Symbol::new("BTCUSDT").unwrap(), "BTCUSDT".to_owned())).unwrap();
        let (nats, _publisher) = publisher::new(Nats::default(), &universe, true, Box::new(|_, _| None));
        let repairs = Rc::new(RepairQueue::default());
        let mut outlet = Outlet::new(None, Some(nats), &settings::Feed::default(), vec![Some(Rc::clone(&repairs))]);
        let seen = |outlet: &Outlet| (outlet.mending().waiting, outlet.nats().map_or(0, |nats| nats.stats().taken));
        repairs.attend();
        [gap(1), trade(2), gap(3), trade(4)].iter().for_each(|record| outlet.record(0, record));
        assert_eq!(seen(&outlet), (4, 0), "they will be filled");
        // Who was to fill them has panicked.
        repairs.neglect();
        outlet.unrepaired([0].into_iter());
        assert_eq!(seen(&outlet), (0, 4), "they are declared");
        [gap(5), trade(6)].iter().for_each(|record| outlet.record(0, record));
        assert_eq!(seen(&outlet), (0, 6));
    }
}
