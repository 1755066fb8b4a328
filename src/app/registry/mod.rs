//! Tells of venues and instruments in KV buckets, for whoever reads the stream.
//!
//! A task of the main thread that reads the board. What it cannot put it tries again with growing waits, and says so
//! once; nothing that carries trades knows of it.

mod bucket;
mod entries;
mod puts;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::bucket::Bucket;
use self::entries::{Seen, Venues};
use self::puts::Puts;
use super::board::{Board, BucketView, ShardView};
use super::listed::Listed;
use super::plan::VenuePlan;
use crate::config::settings::Nats;
use crate::market::subject::key_token;
use crate::telemetry::clock;
use crate::transport::nats::kv::{KvError, Role, Store, instance};
use crate::transport::nats::{NatsState, NatsStatus};

/// How often the board is read.
const TICK: Duration = Duration::from_millis(250);

/// A connection, or the attempt at one.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a bucket that is written is called.
pub(super) const WRITTEN: &str = "written";

/// What the last words may take when the daemon ends.
pub(super) const END: Duration = Duration::from_secs(1);

/// How often the venues' lists are asked for.
pub(super) fn list_every() -> Duration {
    Puts::new(Role::Instruments.ttl()).refresh()
}

/// The task.
pub(super) struct Registry {
    settings: Nats,
    board: Arc<Board>,
    plans: Vec<VenuePlan>,
    listed: Rc<Listed>,
    /// How much of the lists was told.
    told_lists: u64,
    venues: Venues,
    store: Option<Store>,
    buckets: [Bucket; 2],
    /// The venues that are ours to tell of: with a pair, those whose trades this instance publishes.
    ours: BTreeSet<&'static str>,
    /// Another instance publishes all of them.
    stands_by: bool,
    /// Each publisher has had its stream: what buckets take of the server's room is not what a stream needs.
    has_streams: bool,
}

impl Registry {
    /// The task, where the settings ask for it.
    pub(super) fn of(settings: &Nats, plans: &[VenuePlan], board: &Arc<Board>, listed: &Rc<Listed>) -> Option<Self> {
        (settings.enabled && settings.kv.enabled).then(|| Self {
            settings: settings.clone(),
            board: Arc::clone(board),
            plans: plans.to_vec(),
            listed: Rc::clone(listed),
            told_lists: 0,
            venues: Venues::new(instance(settings)),
            store: None,
            buckets: Role::ALL.map(Bucket::new),
            ours: BTreeSet::new(),
            stands_by: false,
            has_streams: false,
        })
    }

    /// Tells until `stop`, and then that this daemon has stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let too_slow = async {
            stop.cancelled().await;
            tokio::time::sleep(END / 2).await;
        };
        tokio::select! {
            () = too_slow => {}
            // What is under way has to be answered: the last word follows it.
            () = self.work(&stop) => {}
        }
        // Whoever is not told in time finds the entries expired.
        let _ = tokio::time::timeout(END / 2, self.say_stopped()).await;
    }

    async fn work(&mut self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => self.look_around(),
            }
            if !self.is_idle() {
                self.write().await;
            }
            self.show();
        }
    }

    /// Whether there is nothing for this instance to tell of.
    fn is_idle(&self) -> bool {
        self.settings.pair.enabled && self.ours.is_empty()
    }

    /// Reads the board and the lists.
    fn look_around(&mut self) {
        let (now, wall_ns) = (clock::now(), clock::wall_ns());
        let mut ours = BTreeSet::new();
        let views = self.board.views();
        let all = |is: fn(&NatsStatus) -> bool| {
            let mut all = views.iter().map(|shard| shard.as_ref().and_then(|shard| shard.nats.as_ref()));
            all.all(|nats| nats.is_some_and(is))
        };
        self.has_streams = self.has_streams || all(|nats| nats.stream.is_some());
        self.stands_by = all(NatsStatus::follows);
        for (number, shard) in views.iter().enumerate() {
            let Some(shard) = shard else { continue };
            for venue in &shard.venues {
                let missed = self.board.missed(venue.exchange);
                let said = self.venues.say(Seen::of(number, shard, venue, &missed, now), now, wall_ns);
                if !self.settings.pair.enabled || publishes(shard) {
                    ours.insert(venue.exchange);
                    let [status, _] = &mut self.buckets;
                    status.puts.want(said.0, said.1);
                }
            }
        }
        if ours != self.ours {
            for left in self.ours.difference(&ours) {
                let is_left = |key: &str| entries::exchange_of(key) == key_token(left);
                self.buckets.iter_mut().for_each(|bucket| bucket.puts.leave(is_left));
            }
            self.ours = ours;
            self.told_lists = 0;
        }
        if self.told_lists != self.listed.changes() {
            self.told_lists = self.listed.changes();
            self.tell_instruments();
        }
    }

    fn tell_instruments(&mut self) {
        let [_, instruments] = &mut self.buckets;
        for plan in &self.plans {
            let name = plan.exchange.profile().name;
            let Some(list) = self.listed.of(name).filter(|_| self.ours.contains(name)) else { continue };
            for (_, instrument) in &plan.instruments {
                let (key, value) = entries::instrument(instrument, list.as_deref());
                // What an earlier run was told is more than nothing.
                match list {
                    Some(_) => instruments.puts.want(key, value),
                    None => instruments.puts.want_if_absent(key, value),
                }
            }
        }
    }

    /// Puts what is due.
    async fn write(&mut self) {
        if self.store.as_mut().is_some_and(Store::is_lost) {
            self.store = None;
        }
        let now = clock::now();
        if self.buckets.iter().all(|bucket| now < bucket.due) {
            return;
        }
        if self.store.is_none() {
            match dial(&self.settings).await {
                Ok(store) => {
                    self.buckets.iter_mut().for_each(Bucket::begin);
                    self.store = Some(store);
                }
                Err(error) => {
                    self.buckets.iter_mut().for_each(|bucket| bucket.fail(&error));
                    return;
                }
            }
        }
        for at in 0..self.buckets.len() {
            let Err(error) = self.write_one(at, now).await else { continue };
            if let Some(bucket) = self.buckets.get_mut(at) {
                bucket.fail(&error);
            }
            if matches!(error, KvError::Lost) {
                self.store = None;
                return;
            }
        }
    }

    /// Looks at a bucket that was due at `now`, and puts what is due.
    async fn write_one(&mut self, at: usize, now: Instant) -> Result<(), KvError> {
        let may_create = self.has_streams;
        let bucket = self.buckets.get_mut(at).filter(|bucket| bucket.due <= now);
        let (Some(store), Some(bucket)) = (&mut self.store, bucket) else { return Ok(()) };
        let Some(is_found) = bucket.look(store, may_create).await? else { return Ok(()) };
        // A dial, a look, another bucket's puts: each takes its time, in which another instance may have taken over.
        self.look_around();
        let (Some(store), Some(bucket)) = (&mut self.store, self.buckets.get_mut(at)) else { return Ok(()) };
        bucket.put(store, self.settings.pair.enabled, is_found).await
    }

    fn show(&self) {
        let view = |bucket: &Bucket| {
            let state = match (self.stands_by, bucket.open && !self.is_idle()) {
                (true, _) => NatsState::Standby.as_str(),
                (false, true) => WRITTEN,
                (false, false) => "waiting",
            };
            BucketView {
                role: bucket.role.as_str(),
                bucket: bucket.role.bucket(&self.settings.kv).to_owned(),
                state,
                entries: bucket.puts.len(),
                puts: bucket.done,
                failures: bucket.failures,
                last_error: bucket.last_error.clone(),
            }
        };
        self.board.show_buckets(self.buckets.iter().map(view).collect());
    }

    /// Says of each venue whose entry is ours that it is down, unless somebody else has written it meanwhile.
    async fn say_stopped(&mut self) {
        let (Some(store), [status, _]) = (&mut self.store, &self.buckets) else { return };
        let fenced = self.settings.pair.enabled;
        let last = |(key, value): (String, bytes::Bytes)| status.puts.last_of(&key, value, fenced);
        let puts: Vec<_> = self.venues.stopped(clock::wall_ns()).into_iter().filter_map(last).collect();
        if let Err(error) = store.put(Role::Status, puts).await {
            tracing::debug!(err = %error, "the venues could not be told to be down");
        }
    }
}

async fn dial(settings: &Nats) -> Result<Store, KvError> {
    // A server that accepts and says nothing looks like one that is away.
    tokio::time::timeout(OPEN_TIMEOUT, Store::open(settings)).await.unwrap_or(Err(KvError::Lost))
}

/// Whether this instance of a pair publishes what the shard reads.
fn publishes(shard: &ShardView) -> bool {
    let state = shard.nats.as_ref().map(|nats| nats.state);
    matches!(state, Some(NatsState::Publishing | NatsState::Reconciling))
}
