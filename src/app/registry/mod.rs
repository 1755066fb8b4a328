//! Tells of venues and instruments in KV buckets, for whoever reads the stream.
//!
//! A task of the main thread that reads the board. What it cannot put it tries again with growing waits, and says so
//! once; nothing that carries trades knows of it.

mod entries;
mod puts;

use std::collections::BTreeSet;
use std::mem::{Discriminant, discriminant};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::entries::{Seen, Venues};
use self::puts::Puts;
use super::board::{Board, BucketView, ShardView};
use super::listed::Listed;
use super::plan::VenuePlan;
use crate::config::settings::Nats;
use crate::feed::backoff::Backoff;
use crate::market::subject::key_token;
use crate::telemetry::clock;
use crate::transport::nats::NatsState;
use crate::transport::nats::kv::{Answer, Found, KvError, Role, Store, instance};

/// How often the board is read.
const TICK: Duration = Duration::from_millis(250);

/// Between two attempts after a failure, shortest and longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
}

/// One bucket.
struct Bucket {
    role: Role,
    puts: Puts,
    /// Whether it was found, on this connection.
    open: bool,
    /// When it was last looked at, on this connection.
    looked: Option<Instant>,
    /// What it was when it was last found.
    found: Option<Found>,
    due: Instant,
    backoff: Backoff,
    /// What the log was told of its trouble.
    told: Option<Discriminant<KvError>>,
    done: u64,
    failures: u64,
    last_error: String,
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
        })
    }

    /// Tells until `stop`, and then that this daemon has stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
        // Whoever is not told in time finds the entries expired.
        let _ = tokio::time::timeout(END, self.say_stopped()).await;
    }

    async fn work(&mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look_around();
            if !self.stands_by() {
                self.write().await;
            }
            self.show();
        }
    }

    /// Whether there is nothing for this instance to tell of.
    fn stands_by(&self) -> bool {
        self.settings.pair.enabled && self.ours.is_empty()
    }

    /// Reads the board and the lists.
    fn look_around(&mut self) {
        let (now, wall_ns) = (clock::now(), clock::wall_ns());
        let mut ours = BTreeSet::new();
        for (number, shard) in self.board.views().iter().enumerate() {
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
                instruments.puts.want(key, value);
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
        let store = match &mut self.store {
            Some(store) => store,
            None => match dial(&self.settings).await {
                Ok(store) => {
                    self.buckets.iter_mut().for_each(Bucket::begin);
                    self.store.insert(store)
                }
                Err(error) => {
                    self.buckets.iter_mut().for_each(|bucket| bucket.fail(&error));
                    return;
                }
            },
        };
        for bucket in self.buckets.iter_mut().filter(|bucket| bucket.due <= now) {
            if let Err(error) = bucket.write(store, self.settings.pair.enabled).await {
                bucket.fail(&error);
                if matches!(error, KvError::Lost) {
                    self.store = None;
                    return;
                }
            }
        }
    }

    fn show(&self) {
        let view = |bucket: &Bucket| {
            let state = match (self.stands_by(), bucket.open) {
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

impl Bucket {
    fn new(role: Role) -> Self {
        Self {
            role,
            puts: Puts::new(role.ttl()),
            open: false,
            looked: None,
            found: None,
            due: clock::now(),
            backoff: Backoff::new(AGAIN.0, AGAIN.1, clock::wall_ns()),
            told: None,
            done: 0,
            failures: 0,
            last_error: String::new(),
        }
    }

    /// A new connection: the server may be another one, and what was in memory gone.
    fn begin(&mut self) {
        (self.open, self.looked) = (false, None);
        self.puts.again();
    }

    async fn write(&mut self, store: &mut Store, fenced: bool) -> Result<(), KvError> {
        // Somebody may remove a bucket, or a server that keeps it in memory may start anew behind another one.
        let every = Puts::new(Role::Status.ttl()).refresh();
        let now = clock::now();
        if self.looked.is_none_or(|at| now >= at + every) {
            if let Some(found) = store.look(self.role).await? {
                self.found(found);
            }
            self.looked = Some(now);
        }
        let puts = self.puts.due(now, fenced);
        if puts.is_empty() && self.told.is_some() {
            // Only what is taken shows that it is taken again.
            return Ok(());
        }
        if !puts.is_empty() {
            for (key, answer) in store.put(self.role, puts).await? {
                self.puts.answered(&key, clock::now(), answer);
                self.done += u64::from(answer != Answer::Stale);
            }
        }
        self.open = true;
        self.last_error.clear();
        self.backoff.reset();
        if self.told.take().is_some() {
            tracing::info!(bucket = self.role.as_str(), "the KV bucket is written again");
        }
        Ok(())
    }

    /// Takes note of how the bucket was found.
    fn found(&mut self, found: Found) {
        let role = self.role.as_str();
        if found.created_now {
            tracing::info!(bucket = role, "KV bucket created");
        }
        let before = self.found.as_ref();
        if before.is_some_and(|before| before.created_ns != found.created_ns) || found.last_seq < self.puts.last() {
            self.puts.again();
        }
        if before.is_none_or(|before| before.differences != found.differences) {
            for difference in &found.differences {
                tracing::warn!(bucket = role, "the KV bucket is used as it is: {difference}");
            }
        }
        self.found = Some(found);
    }

    fn fail(&mut self, error: &KvError) {
        self.open = false;
        self.looked = None;
        self.puts.failed();
        self.due = clock::now() + self.backoff.wait();
        self.failures += 1;
        self.last_error = error.to_string();
        // A connection that breaks and cannot be had again is one trouble.
        let kind = discriminant(if matches!(error, KvError::Connect(_)) { &KvError::Lost } else { error });
        if self.told.replace(kind) != Some(kind) {
            tracing::warn!(bucket = self.role.as_str(), err = %error, "cannot write the KV bucket, trying again");
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
