//! A shard's venue connections and their repairs: what is kept of them across their lives, and what they share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::board::{FeedView, VenueView};
use super::outlet::Outlet;
use super::plan::{ShardPlan, VenuePlan};
use crate::config::Settings;
use crate::feed::backfill::{self, RepairQueue, RepairShared, RepairSpec, RestBudget};
use crate::feed::sequence::SequenceStats;
use crate::feed::socket::Dialer;
use crate::feed::{Budget, FeedShared, FeedSpec, FeedStatus, Rules, Sequencer};
use crate::market::{GapReason, Instrument};

/// A feed that panicked is started anew after this; so are repairs.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// A connection and what is kept of it across its lives.
pub(super) struct Feed {
    exchange: &'static str,
    pub(super) spec: FeedSpec,
    pub(super) sequencer: Rc<RefCell<Sequencer>>,
    pub(super) status: Rc<RefCell<FeedStatus>>,
    budget: Rc<RefCell<Budget>>,
    repairs: Rc<RepairQueue>,
    symbols: Arc<[(u32, String, String)]>,
}

/// The repairs of a venue.
pub(super) struct Repair {
    pub(super) spec: RepairSpec,
    pub(super) queue: Rc<RepairQueue>,
    budget: Rc<RefCell<RestBudget>>,
}

/// The feeds of a shard, one for each line of each connection's worth of symbols, and the repairs of its venues.
pub(super) fn of(plan: &ShardPlan, settings: &Settings) -> (Vec<Feed>, Vec<Repair>) {
    let (mut feeds, mut repairs) = (Vec::new(), Vec::new());
    for venue in &plan.venues {
        let queue = Rc::<RepairQueue>::default();
        let lines = feeds_of(venue, settings, &queue, &mut feeds);
        let history = venue.exchange.profile().history;
        if let Some(rule) = history.filter(|_| settings.feed.repair) {
            queue.attend();
            let spec = RepairSpec {
                exchange: venue.exchange,
                rest_url: venue.rest_url.clone(),
                instruments: venue.instruments.clone(),
                lines,
                horizon: settings.feed.repair_horizon.duration(),
            };
            repairs.push(Repair { spec, queue, budget: Rc::new(RefCell::new(RestBudget::new(rule))) });
        }
    }
    (feeds, repairs)
}

/// Adds the feeds of a venue; the routes of each of its lines.
fn feeds_of(venue: &VenuePlan, settings: &Settings, queue: &Rc<RepairQueue>, feeds: &mut Vec<Feed>) -> Vec<Vec<u32>> {
    let profile = venue.exchange.profile();
    let budget = Rc::new(RefCell::new(Budget::new(profile.connects)));
    let looks = settings.feed.repair && profile.history.is_some();
    let rules = Rules::new(&settings.feed, venue.stall, looks);
    let mut lines = Vec::new();
    for instruments in venue.instruments.chunks(profile.symbols_per_connection.max(1)) {
        let hold = settings.feed.hold.duration();
        let sequencer = Rc::new(RefCell::new(Sequencer::new(profile.ids, hold)));
        let names = instruments.iter().map(|(route, i)| (*route, i.symbol.to_string(), i.venue_symbol.clone()));
        let symbols: Arc<[_]> = names.collect();
        for _ in 0..venue.redundancy.max(1) {
            feeds.push(Feed {
                exchange: profile.name,
                spec: feed_spec(venue, lines.len(), instruments, rules),
                sequencer: Rc::clone(&sequencer),
                status: Rc::default(),
                budget: Rc::clone(&budget),
                repairs: Rc::clone(queue),
                symbols: Arc::clone(&symbols),
            });
            lines.push(instruments.iter().map(|(route, _)| *route).collect());
        }
    }
    lines
}

fn feed_spec(venue: &VenuePlan, line: usize, instruments: &[(u32, Instrument)], rules: Rules) -> FeedSpec {
    FeedSpec {
        exchange: venue.exchange,
        name: format!("{}/{line}", venue.exchange.profile().name),
        ws_url: venue.ws_url.clone(),
        instruments: instruments.to_vec(),
        line,
        rules,
        seed: fastrand::u64(..),
    }
}

/// The repairs of each route, where its venue has any.
pub(super) fn queues(plan: &ShardPlan, repairs: &[Repair]) -> Vec<Option<Rc<RepairQueue>>> {
    let mut queues = vec![None; plan.universe.instruments().len()];
    for repair in repairs {
        for (route, _) in &repair.spec.instruments {
            if let Some(slot) = queues.get_mut(*route as usize) {
                *slot = Some(Rc::clone(&repair.queue));
            }
        }
    }
    queues
}

impl Repair {
    /// What repairs share with the feeds, anew for each of their lives.
    pub(super) fn shared(
        &self,
        feeds: &[Feed],
        outlet: &Rc<RefCell<Outlet>>,
    ) -> impl Fn() -> RepairShared<Outlet> + use<> {
        let ours = feeds.iter().filter(|feed| Rc::ptr_eq(&feed.repairs, &self.queue));
        let of = |feed: &'_ Feed| -> Vec<_> {
            feed.spec.instruments.iter().map(|(route, _)| (*route, Rc::clone(&feed.sequencer))).collect()
        };
        let sequencers: BTreeMap<_, _> = ours.flat_map(of).collect();
        let (deliver, queue, budget) = (Rc::clone(outlet), Rc::clone(&self.queue), Rc::clone(&self.budget));
        move || RepairShared {
            sequencers: sequencers.clone(),
            deliver: Rc::clone(&deliver),
            queue: Rc::clone(&queue),
            budget: Rc::clone(&budget),
        }
    }
}

/// What a feed shares with the daemon, anew for each of its lives.
pub(super) fn shared(
    feed: &Feed,
    dialer: &Dialer,
    outlet: &Rc<RefCell<Outlet>>,
) -> impl Fn() -> FeedShared<Outlet> + use<> {
    let (budget, sequencer) = (Rc::clone(&feed.budget), Rc::clone(&feed.sequencer));
    let (deliver, status) = (Rc::clone(outlet), Rc::clone(&feed.status));
    let (repairs, dialer) = (Rc::clone(&feed.repairs), dialer.clone());
    move || FeedShared {
        dialer: dialer.clone(),
        budget: Rc::clone(&budget),
        sequencer: Rc::clone(&sequencer),
        deliver: Rc::clone(&deliver),
        status: Rc::clone(&status),
        repairs: Rc::clone(&repairs),
        tap: None,
    }
}

/// What all feeds that share a sequencer say of themselves.
pub(super) fn group(feeds: &[Feed], feed: &Feed) -> Vec<Rc<RefCell<FeedStatus>>> {
    let same = feeds.iter().filter(|other| Rc::ptr_eq(&other.sequencer, &feed.sequencer));
    same.map(|other| Rc::clone(&other.status)).collect()
}

/// Runs a feed; one that panics is started anew, since other venues have nothing to do with it.
pub(super) async fn keep_running(
    shared: impl Fn() -> FeedShared<Outlet>,
    group: Vec<Rc<RefCell<FeedStatus>>>,
    spec: FeedSpec,
    stop: CancellationToken,
) {
    let life = || crate::feed::run(spec.clone(), shared(), stop.clone());
    let panicked = |error: &JoinError| {
        tracing::error!(conn = %spec.name, err = %error, "a feed panicked and is started anew");
        forget_undelivered(&shared(), &group, spec.line);
    };
    start_anew(life, panicked, &stop).await;
}

/// Runs the repairs of a venue; where they panic they are started anew. What they were about to repair is lost with
/// them: those gaps stay declared, until the next run of the daemon finds them open in the stream. What waited for one
/// of them goes on at once.
pub(super) async fn keep_repairing(
    shared: impl Fn() -> RepairShared<Outlet>,
    spec: RepairSpec,
    stop: CancellationToken,
) {
    let life = || backfill::run(spec.clone(), shared(), stop.clone());
    let panicked = |error: &JoinError| {
        let exchange = spec.exchange.profile().name;
        tracing::error!(exchange, err = %error, "repairs panicked and are started anew; open gaps stay declared");
        shared().deliver.borrow_mut().unrepaired(spec.instruments.iter().map(|(route, _)| *route));
    };
    start_anew(life, panicked, &stop).await;
}

/// Runs a task, and after a panic the next, until one ends by itself.
async fn start_anew<L: Future<Output = ()> + 'static>(
    life: impl Fn() -> L,
    panicked: impl Fn(&JoinError),
    stop: &CancellationToken,
) {
    loop {
        // Ended with us: a task that is given up must not push behind a drained publisher.
        let life = AbortOnDropHandle::new(tokio::task::spawn_local(life()));
        let Err(error) = life.await else { return };
        panicked(&error);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_AFTER) => {}
        }
    }
}

/// What the sequencer had taken and nobody was given counts as not seen, so that its absence shows as a gap.
fn forget_undelivered(shared: &FeedShared<Outlet>, group: &[Rc<RefCell<FeedStatus>>], line: usize) {
    let mut sequencer = shared.sequencer.borrow_mut();
    let mut delivered = BTreeMap::new();
    for status in group {
        for (route, status) in status.borrow().routes.iter().filter(|(_, status)| status.trades > 0) {
            let newest = delivered.entry(*route).or_insert((0, 0));
            *newest = (*newest).max((status.last_id, status.last_ts));
        }
    }
    for (route, (id, ts)) in delivered {
        sequencer.rewind(route, id, ts);
    }
    sequencer.disconnected(line, GapReason::VenueDisconnect);
}

/// What a shard's feeds and repairs say of themselves, venue by venue.
pub(super) fn views(feeds: &[Feed], repairs: &[Repair]) -> Vec<VenueView> {
    let mut venues: Vec<VenueView> = Vec::new();
    for (place, feed) in feeds.iter().enumerate() {
        let mut status = feed.status.borrow().clone();
        if feeds.iter().take(place).any(|other| Rc::ptr_eq(&other.sequencer, &feed.sequencer)) {
            // Counted with the first line of the same symbols.
            status.sequence = SequenceStats::default();
        }
        let view = FeedView { name: feed.spec.name.clone(), status, symbols: Arc::clone(&feed.symbols) };
        match venues.last_mut() {
            Some(venue) if venue.exchange == feed.exchange => venue.feeds.push(view),
            _ => {
                let of = |repair: &&Repair| Rc::ptr_eq(&repair.queue, &feed.repairs);
                let repair = repairs.iter().find(of).map(|repair| repair.queue.status.borrow().clone());
                venues.push(VenueView { exchange: feed.exchange, feeds: vec![view], repair });
            }
        }
    }
    venues
}
