//! What shards publish of themselves and the main thread reads: nothing here is ever waited for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::feed::backfill::RepairStatus;
use crate::feed::mend::MendStats;
use crate::feed::{FeedState, FeedStatus};
use crate::telemetry::clock;
use crate::transport::TransportStats;
use crate::transport::nats::{NatsState, NatsStatus};

/// A shard that has not shown itself for this long is stuck.
const STUCK: Duration = Duration::from_secs(5);

/// One of several connections of a venue may be away for this long.
const CONNECT_GRACE: Duration = Duration::from_secs(30);

/// A publisher that has lost its broker, or is in doubt of what is stored, counts as ready for this long: a broker that
/// is back at once and a short look at the stream are no outage.
const RECONCILE_GRACE: Duration = Duration::from_secs(1);

/// A publisher that waits for acknowledgements counts as ready for this long: a broker may be slow.
const ACK_GRACE: Duration = Duration::from_secs(5);

/// The daemon's state, as all threads see it.
#[derive(Debug)]
pub struct Board {
    shards: Vec<Mutex<Option<Arc<ShardView>>>>,
    draining: AtomicBool,
    clock_steps: AtomicU64,
    /// Configured symbols that a venue does not have, by venue.
    missed: Mutex<BTreeMap<&'static str, Vec<String>>>,
    /// The KV buckets, where there are any.
    buckets: Mutex<Vec<BucketView>>,
    /// When the daemon started, nanoseconds since the Unix epoch.
    pub started_ns: u64,
    started: Instant,
}

/// One shard at one moment.
#[derive(Clone, Debug)]
pub struct ShardView {
    /// When.
    pub at: Instant,
    /// Its venues.
    pub venues: Vec<VenueView>,
    /// Its rings: exchange and path, and what all of them have done.
    pub ring: Option<(Vec<(&'static str, PathBuf)>, TransportStats)>,
    /// What waits for repairs on its way to the broker.
    pub mending: MendStats,
    /// Its publisher.
    pub nats: Option<NatsStatus>,
    /// When the publisher last got on, or had nothing to do.
    pub published_at: Option<Instant>,
}

/// A KV bucket at one moment.
#[derive(Clone, Debug)]
pub struct BucketView {
    /// What it is for: `status` or `instruments`.
    pub role: &'static str,
    /// Its name.
    pub bucket: String,
    /// Whether it is written: `written`, `waiting`, or `standing by` where another instance writes it.
    pub state: &'static str,
    /// Keys that this daemon has to tell.
    pub entries: usize,
    /// Values put.
    pub puts: u64,
    /// Attempts to reach the bucket or to put something that failed.
    pub failures: u64,
    /// Why it is not written; empty: it is, or need not be.
    pub last_error: String,
}

/// One venue at one moment.
#[derive(Clone, Debug)]
pub struct VenueView {
    /// The exchange's token.
    pub exchange: &'static str,
    /// Its connections: name, state, and canonical symbols by route.
    pub feeds: Vec<FeedView>,
    /// What its repairs say, where it has any.
    pub repair: Option<RepairStatus>,
}

/// One connection at one moment.
#[derive(Clone, Debug)]
pub struct FeedView {
    /// Such as `binance/0`.
    pub name: String,
    /// What it says.
    pub status: FeedStatus,
    /// Route, canonical and venue symbol.
    pub symbols: Arc<[(u32, String, String)]>,
}

impl Board {
    /// A board for this many shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::new(None)).collect(),
            draining: AtomicBool::new(false),
            clock_steps: AtomicU64::new(0),
            missed: Mutex::default(),
            buckets: Mutex::default(),
            started_ns: clock::wall_ns(),
            started: clock::now(),
        }
    }

    /// A shard shows itself.
    pub fn show(&self, shard: usize, view: ShardView) {
        if let Some(place) = self.shards.get(shard) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        }
    }

    /// What every shard showed last; `None` where one has not yet.
    pub fn views(&self) -> Vec<Option<Arc<ShardView>>> {
        self.shards.iter().map(|place| place.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// From here on the daemon is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether it drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The configured symbols that a venue does not have, in words: in place of what was said of it before.
    pub fn miss(&self, exchange: &'static str, texts: Vec<String>) {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).insert(exchange, texts);
    }

    /// What was said last of symbols that a venue does not have.
    #[must_use]
    pub fn missed(&self, exchange: &str) -> Vec<String> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).get(exchange).cloned().unwrap_or_default()
    }

    /// The KV buckets show themselves.
    pub fn show_buckets(&self, views: Vec<BucketView>) {
        *self.buckets.lock().unwrap_or_else(PoisonError::into_inner) = views;
    }

    /// How the KV buckets showed themselves last; empty where there are none.
    #[must_use]
    pub fn buckets(&self) -> Vec<BucketView> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The wall clock stepped.
    pub fn count_clock_step(&self) {
        self.clock_steps.fetch_add(1, Relaxed);
    }

    /// How often the wall clock stepped.
    #[must_use]
    pub fn clock_steps(&self) -> u64 {
        self.clock_steps.load(Relaxed)
    }

    /// How long the daemon has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    /// Why the daemon does not live; empty: it does. Only what a restart could mend.
    #[must_use]
    pub fn ailments(&self, now: Instant) -> Vec<String> {
        self.stuck(&self.views(), now)
    }

    fn stuck(&self, views: &[Option<Arc<ShardView>>], now: Instant) -> Vec<String> {
        let mut list = Vec::new();
        for (shard, view) in views.iter().enumerate() {
            let age = view.as_ref().map_or_else(|| self.uptime(), |view| now.saturating_duration_since(view.at));
            list.extend(stuck(shard, age));
        }
        list
    }

    /// Why the daemon does not do its job; empty: it does.
    #[must_use]
    pub fn reasons(&self, now: Instant) -> Vec<String> {
        if self.is_draining() {
            return vec!["draining".to_owned()];
        }
        let views = self.views();
        let mut list = self.stuck(&views, now);
        list.extend(self.missed.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned());
        for (shard, view) in views.iter().enumerate() {
            match view {
                Some(view) => view.reasons(now, views.len() > 1, &mut list),
                None => list.push(format!("shard {shard} is starting")),
            }
        }
        list
    }
}

/// What is said of a shard that has not shown itself for this long; `None`: nothing is wrong with that.
#[must_use]
pub fn stuck(shard: usize, age: Duration) -> Option<String> {
    (age > STUCK).then(|| format!("shard {shard} has not shown itself for {} s", age.as_secs()))
}

impl VenueView {
    /// How many of its connections are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.feeds.iter().filter(|feed| feed.status.state == FeedState::Live).count()
    }

    /// Why it does not bring everything. One of several connections may be away for `grace`.
    pub fn reasons(&self, now: Instant, grace: Duration, list: &mut Vec<String>) {
        let live = self.live();
        let long =
            |feed: &&FeedView| feed.status.since.is_none_or(|since| now.saturating_duration_since(since) >= grace);
        for feed in self.feeds.iter().filter(|feed| feed.status.state != FeedState::Live && live > 0).filter(long) {
            let error = &feed.status.last_error;
            let why = if error.is_empty() { String::new() } else { format!(": {error}") };
            list.push(format!("{} is {}{why}", feed.name, feed.status.state.as_str()));
        }
        for feed in &self.feeds {
            for (route, symbol, _) in feed.symbols.iter() {
                let refused = feed.status.routes.get(route).filter(|route| !route.rejected.is_empty());
                if let Some(refused) = refused {
                    list.push(format!("{} refuses {symbol}: {}", self.exchange, refused.rejected));
                }
            }
        }
        if live == 0 {
            let error = self.feeds.iter().map(|feed| feed.status.last_error.as_str()).find(|error| !error.is_empty());
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            list.push(format!("{} has no live connection{why}", self.exchange));
        }
    }
}

impl ShardView {
    /// `several` says that other shards may have the same trouble.
    fn reasons(&self, now: Instant, several: bool, list: &mut Vec<String>) {
        for venue in &self.venues {
            venue.reasons(now, CONNECT_GRACE, list);
        }
        if let Some(nats) = &self.nats {
            let stuck = nats.state == NatsState::Publishing;
            let grace = if stuck { ACK_GRACE } else { RECONCILE_GRACE };
            let recently = self.published_at.is_some_and(|at| now.saturating_duration_since(at) < grace);
            if !recently {
                let why = match nats.last_error.as_str() {
                    "" if nats.state == NatsState::Standby => ", and nobody is known to publish".to_owned(),
                    "" => String::new(),
                    error => format!(": {error}"),
                };
                let state = if stuck { "publishing, and nothing is acknowledged" } else { nats.state.as_str() };
                let stream = if several { format!(" ({})", nats.stream_name) } else { String::new() };
                list.push(format!("nats{stream} is {state}{why}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(state: NatsState, last_error: &str, silent: Duration) -> Vec<String> {
        let board = Board::new(1);
        let (now, nats) = (board.started + Duration::from_secs(60), NatsStatus { state, ..NatsStatus::default() });
        let view = ShardView {
            at: now,
            venues: Vec::new(),
            ring: None,
            mending: MendStats::default(),
            nats: Some(NatsStatus { last_error: last_error.to_owned(), ..nats }),
            published_at: Some(now - silent),
        };
        board.show(0, view);
        board.reasons(now)
    }

    #[test]
    fn a_lost_broker_is_told_sooner_than_a_slow_one() {
        let long = Duration::from_millis(1_500);
        assert_eq!(reasons(NatsState::Connecting, "refused", long), ["nats is connecting: refused"]);
        assert_eq!(reasons(NatsState::Reconciling, "", long), ["nats is reconciling"]);
        assert_eq!(reasons(NatsState::Publishing, "", long), [""; 0]);
        assert_eq!(reasons(NatsState::Standby, "", long), ["nats is standing by, and nobody is known to publish"]);
        assert_eq!(reasons(NatsState::Connecting, "refused", long / 2), [""; 0], "it may be back at once");
    }

    #[test]
    fn a_broker_that_acknowledges_nothing_is_told() {
        let told = reasons(NatsState::Publishing, "", ACK_GRACE);
        assert_eq!(told, ["nats is publishing, and nothing is acknowledged"]);
    }
}
