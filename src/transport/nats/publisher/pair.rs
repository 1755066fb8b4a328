//! One of several instances publishes; the others follow what it stores, and are ready to go on behind it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::inherited::is_passed;
use super::{Anchor, Publisher};
use crate::config::settings::Nats;
use crate::market::{Record, TradeMsg};
use crate::telemetry::clock;
use crate::transport::nats::lease::{Done, Keeper};
use crate::transport::nats::link::Link;
use crate::transport::nats::read::{self, Outcome, ReadError};
use crate::transport::nats::status::NatsState;
use crate::transport::nats::window::{Stored, Tail};

/// What the other instance has stored is looked at this often, at most; many instruments make it rarer.
const FOLLOW_MIN: Duration = Duration::from_secs(1);
const FOLLOW_PER_ROUTE: Duration = Duration::from_millis(5);

/// The lease, and what is done without it.
pub(super) struct Pair {
    pub(super) keeper: Keeper,
    /// Another instance publishes, or nobody can tell.
    pub(super) stands_by: bool,
    /// When the stream is looked at next.
    pub(super) due: Option<Instant>,
    /// The connection that it is looked at over.
    link: Option<Link>,
    told: Option<String>,
    told_namesake: bool,
    /// Why the lease could not be had, until it is ours or its leader is known: a stream that can be read, or a lease
    /// that can be looked at, says nothing of that.
    trouble: String,
}

impl Pair {
    pub(super) fn new(settings: Rc<Nats>) -> Self {
        let now = clock::now();
        let (told, told_namesake, trouble) = (None, false, String::new());
        Self {
            keeper: Keeper::new(settings),
            stands_by: true,
            due: Some(now),
            link: None,
            told,
            told_namesake,
            trouble,
        }
    }

    /// When it must stop to publish, unless the lease is renewed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.keeper.lease.until().filter(|_| !self.stands_by)
    }
}

impl Publisher {
    /// Whether another instance publishes.
    pub(super) fn stands_by(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.stands_by)
    }

    /// Whether this instance may send; where that has changed, what follows from it is done.
    pub(super) fn may_publish(&mut self) -> bool {
        let Some(pair) = &mut self.pair else { return true };
        let leads = pair.keeper.lease.leads(clock::now());
        match (leads, pair.stands_by) {
            (true, true) => {
                tracing::info!(stream = %self.settings.jetstream.stream_name, "this instance publishes from here on");
                pair.stands_by = false;
                pair.told = None;
                pair.link = None;
                self.reading = None;
            }
            (false, false) => {
                let stream = &self.settings.jetstream.stream_name;
                tracing::warn!(%stream, "the lease was lost: this instance stands by");
                pair.stands_by = true;
                pair.due = Some(clock::now());
                // What the old connection has under way is refused by the server once another has stored anything, but
                // where it happens to fit: there the other one finds it.
                self.link = None;
                self.reading = None;
                self.announced.live = false;
                self.shared.window.borrow_mut().demote(clock::now());
            }
            _ => {}
        }
        leads
    }

    /// Looks at what the other instance has stored, now and then.
    pub(super) fn stand_by(&mut self) {
        self.unless_draining(NatsState::Standby);
        let now = clock::now();
        let Some(pair) = self.pair.as_mut().filter(|pair| self.reading.is_none() && pair.due <= Some(now)) else {
            return;
        };
        pair.due = None;
        let link = pair.link.take();
        let query = self.shared.window.borrow().standby_query();
        self.reading = Some(Box::pin(read::read(self.to_read(link), query)));
    }

    pub(super) fn followed(&mut self, outcome: Outcome) {
        let Outcome { link, stored, stream, .. } = outcome;
        self.shared.window.borrow_mut().follow(clock::now(), &stored);
        self.leave_inherited(&stored);
        for tail in &stored.tails {
            if let Some(Ok(Record::Trade(trade))) = tail.last.map(|last| Record::from_bytes(&last.record)) {
                (self.on_anchor)(tail.key.route, Anchor::Followed(&trade));
            }
        }
        let mut status = self.shared.status.borrow_mut();
        status.server = link.server();
        status.stream = Some(stream);
        self.pair.as_ref().map_or("", |pair| &pair.trouble).clone_into(&mut status.last_error);
        drop(status);
        let routes = u32::try_from(stored.tails.len()).unwrap_or(u32::MAX);
        if let Some(pair) = &mut self.pair {
            pair.link = Some(link);
            pair.due = Some(clock::now() + FOLLOW_MIN.max(FOLLOW_PER_ROUTE * routes));
        }
    }

    /// What an earlier run left on disk is of no use once the other instance's stream is beyond all of it; until then
    /// it waits there, since nobody else may have it.
    fn leave_inherited(&self, stored: &Stored) {
        let mut backlog = self.shared.backlog.borrow_mut();
        let Some(backlog) = backlog.as_mut().filter(|backlog| backlog.inherits()) else { return };
        if self.pair.as_ref().is_none_or(|pair| pair.keeper.lease.holder().is_none()) {
            return;
        }
        let end = |tail: &Tail| match tail.last.map(|last| Record::from_bytes(&last.record)) {
            Some(Ok(Record::Trade(end))) => Some((end.trade_id, end.ts_event)),
            _ => None,
        };
        let has_passed = |left: &TradeMsg| {
            let Some(route) = self.routes.get(&left.instrument_id) else { return true };
            let mut ends = stored.tails.iter().filter(|tail| tail.key.route == *route).filter_map(end);
            ends.any(|(id, ts)| is_passed(id, ts, left))
        };
        if backlog.all_left_behind().all(has_passed) {
            tracing::info!("the other instance has stored all that an earlier run left in the spool: it is left out");
            backlog.skip_inherited();
        }
    }

    pub(super) fn not_followed(&mut self, error: &ReadError) {
        self.complain(&error.to_string());
        if let Some(pair) = &mut self.pair {
            pair.due = Some(clock::now() + FOLLOW_MIN);
        }
    }

    /// Something was done about the lease.
    pub(super) fn leased(&mut self, done: &Done) {
        if let Done::Failed(why) = done
            && self.stands_by()
        {
            self.complain(why);
        }
        let Some(pair) = &mut self.pair else { return };
        let lease = &pair.keeper.lease;
        match done {
            Done::Failed(why) => pair.trouble.clone_from(why),
            Done::Ours(_) => pair.trouble.clear(),
            _ if lease.leader().is_some() => pair.trouble.clear(),
            _ => {}
        }
        lease.leader().unwrap_or_default().clone_into(&mut self.shared.status.borrow_mut().leader);
        let holder = lease.holder().map(str::to_owned);
        if pair.keeper.lease.has_namesake() && !std::mem::replace(&mut pair.told_namesake, true) {
            let id = &self.settings.pair.id;
            tracing::warn!(id, "another instance has the same transport.nats.pair.id: give each one its own, or none");
        }
        if pair.stands_by && holder.is_some() && holder != pair.told {
            let stream = &self.settings.jetstream.stream_name;
            tracing::info!(%stream, holder = holder.as_deref(), "another instance publishes: standing by");
            pair.told = holder;
        }
    }
}
