//! One shard: a thread that owns venue connections, their rings and one NATS connection, with no lock between them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::anchor;
use super::board::{Board, ShardView};
use super::feeds::{self, Feed, Repair};
use super::outlet::Outlet;
use super::plan::ShardPlan;
use crate::config::Settings;
use crate::feed::socket::Dialer;
use crate::telemetry::clock;
use crate::transport::Transport as _;
use crate::transport::ipc::IpcTransport;
use crate::transport::nats::publisher;
use crate::transport::nats::window::Stats;
use crate::transport::nats::{DrainReport, NatsState, NatsStatus, NatsTransport, SpoolWorker};

/// The stream's tails are waited for this long before feeds start: trades then go on behind what is stored. A broker
/// that is away longer does not keep the ring waiting.
const ANCHOR_WAIT: Duration = Duration::from_secs(2);

/// How often a shard shows itself on the board and shows life on its rings.
const TICK: Duration = Duration::from_millis(250);

/// What venue connections get to say good-bye when the daemon drains.
const FEEDS_END: Duration = Duration::from_millis(1_500);

/// What a shard is given.
pub struct ShardSpec {
    /// Its number, for logs and the board.
    pub number: usize,
    /// What it owns.
    pub plan: ShardPlan,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Where it shows itself.
    pub board: Arc<Board>,
    /// Cancelled when the daemon drains.
    pub stop: CancellationToken,
    /// Ids of the instruments that other shards own.
    pub elsewhere: BTreeSet<u32>,
    /// Whether it is the only shard: then its publisher is the stream's only writer.
    pub sole: bool,
    /// Its rings, created before the thread was started, so that a failure is told at start.
    pub ring: Option<IpcTransport>,
}

struct Shard {
    spec: ShardSpec,
    outlet: Rc<RefCell<Outlet>>,
    feeds: Rc<[Feed]>,
    repairs: Rc<[Repair]>,
    /// When the publisher last got on, or had nothing to do.
    published_at: Option<Instant>,
    /// What the log was told of losses.
    told: Stats,
}

/// Runs a shard on this thread until it has drained.
///
/// # Errors
/// A text when the thread's runtime or TLS cannot be had.
pub fn run(spec: ShardSpec) -> Result<DrainReport, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("shard {}: no runtime: {error}", spec.number))?;
    let report = LocalSet::new().block_on(&runtime, live(spec));
    // A name that is being looked up must not hold the end up.
    runtime.shutdown_background();
    report
}

async fn live(mut spec: ShardSpec) -> Result<DrainReport, String> {
    let anchored = Rc::new(Notify::new());
    let publish_stop = CancellationToken::new();
    let drain = spec.settings.shutdown_timeout.duration();
    let nats = spec.settings.transport.nats.clone();
    let (feeds, repairs) = feeds::of(&spec.plan, &spec.settings);
    let (feeds, repairs): (Rc<[Feed]>, Rc<[Repair]>) = (feeds.into(), repairs.into());
    let outlet: Rc<RefCell<Outlet>> = Rc::default();
    let mut spooling = None;
    let (transport, publishing) = if nats.enabled {
        let on_anchor = anchor::on_anchor(Rc::clone(&feeds), Rc::clone(&outlet), Rc::clone(&anchored));
        let (transport, publisher) = publisher::new(nats, &spec.plan.universe, spec.sole, on_anchor);
        let publisher = publisher.repairing(spec.settings.feed.repair_horizon.duration());
        spooling = spool(publisher.spooling(spec.number, std::mem::take(&mut spec.elsewhere)), spec.number)?;
        let task = tokio::task::spawn_local(publisher.run(publish_stop.clone(), drain));
        (Some(transport), Some(task))
    } else {
        (None, None)
    };
    let queues = feeds::queues(&spec.plan, &repairs);
    *outlet.borrow_mut() = Outlet::new(spec.ring.take(), transport, &spec.settings.feed, queues);
    let mut shard = Shard { spec, outlet, feeds, repairs, published_at: None, told: Stats::default() };
    shard.show();
    if publishing.is_some() {
        shard.wait_for_anchors(&anchored).await;
    }
    let report = shard.work(publishing, publish_stop).await;
    shard.show();
    if let Some(thread) = spooling {
        // It has been told to end, and what it still writes is what the next run wants to find.
        let _ = thread.join();
    }
    shard.outlet.borrow_mut().close_rings();
    report
}

/// Starts the thread that owns the spool on disk.
fn spool(worker: Option<SpoolWorker>, number: usize) -> Result<Option<std::thread::JoinHandle<()>>, String> {
    let Some(worker) = worker else { return Ok(None) };
    let thread = std::thread::Builder::new().name(format!("spool-{number}")).spawn(move || worker.run());
    thread.map(Some).map_err(|error| format!("no thread for the spool of shard {number}: {error}"))
}

impl Shard {
    async fn wait_for_anchors(&mut self, anchored: &Notify) {
        let deadline = clock::now() + ANCHOR_WAIT;
        loop {
            tokio::select! {
                () = anchored.notified() => return,
                () = self.spec.stop.cancelled() => return,
                () = tokio::time::sleep_until(deadline.into()) => {
                    tracing::warn!("the stream cannot be read yet; feeds start, and trades wait in the outbox");
                    return;
                }
                () = tokio::time::sleep(TICK) => self.show(),
            }
        }
    }

    /// Runs feeds until the daemon drains, then lets the publisher finish.
    async fn work(
        &mut self,
        mut publishing: Option<tokio::task::JoinHandle<DrainReport>>,
        publish_stop: CancellationToken,
    ) -> Result<DrainReport, String> {
        let settings = Arc::clone(&self.spec.settings);
        let frame_bytes_max = usize::try_from(settings.feed.frame_bytes_max.get()).unwrap_or(usize::MAX);
        let dialer =
            Dialer::new(settings.feed.connect_timeout.duration(), frame_bytes_max).map_err(|e| e.to_string())?;
        let mut running = JoinSet::new();
        for feed in self.feeds.iter() {
            let shared = feeds::shared(feed, &dialer, &self.outlet);
            let group = feeds::group(&self.feeds, feed);
            running.spawn_local(feeds::keep_running(shared, group, feed.spec.clone(), self.spec.stop.clone()));
        }
        for repair in self.repairs.iter() {
            let shared = repair.shared(&self.feeds, &self.outlet);
            running.spawn_local(feeds::keep_repairing(shared, repair.spec.clone(), self.spec.stop.clone()));
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stop = self.spec.stop.clone();
        let too_slow = async {
            stop.cancelled().await;
            tokio::time::sleep(FEEDS_END).await;
        };
        tokio::pin!(too_slow);
        loop {
            tokio::select! {
                _ = tick.tick() => self.show(),
                done = running.join_next() => if done.is_none() { break },
                ended = ended(&mut publishing) => return Err(format!("the publisher ended by itself: {ended}")),
                () = &mut too_slow => {
                    tracing::warn!("a venue connection does not end and is dropped");
                    break;
                }
            }
        }
        drop(running);
        // No feed runs any more: what they left behind goes out, and what waits for a repair with it.
        self.outlet.borrow_mut().finish();
        publish_stop.cancel();
        let Some(mut publishing) = publishing else { return Ok(DrainReport::default()) };
        loop {
            tokio::select! {
                report = &mut publishing => return report.map_err(|error| format!("the publisher failed: {error}")),
                _ = tick.tick() => self.show(),
            }
        }
    }

    /// Shows the shard on the board, and life on its rings.
    fn show(&mut self) {
        self.outlet.borrow_mut().tick(clock::now());
        let outlet = self.outlet.borrow();
        let ring = outlet.ring().map(|ring| {
            ring.heartbeat(clock::wall_ns());
            let paths = ring.rings().map(|(exchange, path)| (exchange, path.to_owned())).collect();
            (paths, ring.stats())
        });
        let nats = outlet.nats().map(NatsTransport::status);
        let mending = outlet.mending();
        drop(outlet);
        let now = clock::now();
        if let Some(nats) = &nats {
            self.judge(now, nats);
        }
        let venues = feeds::views(&self.feeds, &self.repairs);
        let view = ShardView { at: now, venues, ring, mending, nats, published_at: self.published_at };
        self.spec.board.show(self.spec.number, view);
    }

    /// Whether the publisher gets on, and what it lost since we last looked.
    fn judge(&mut self, now: Instant, nats: &NatsStatus) {
        let stats = &nats.window;
        let idle = nats.state == NatsState::Publishing && stats.waiting + stats.in_flight_records == 0;
        if idle || nats.follows() || stats.acked > self.told.acked {
            self.published_at = Some(now);
        }
        let losses = [
            (stats.dropped, self.told.dropped, "records were dropped, each inside a declared gap: the outbox is full"),
            (stats.poisoned, self.told.poisoned, "messages were refused for ever, and declared as gaps"),
            (stats.broker_lost, self.told.broker_lost, "the broker lost records that it had acknowledged"),
        ];
        for (count, told, what) in losses {
            if count > told {
                tracing::error!(count = count - told, total = count, "{what}");
            }
        }
        if self.spec.sole
            && !self.spec.settings.transport.nats.pair.enabled
            && stats.foreign > 0
            && self.told.foreign == 0
        {
            tracing::warn!("somebody else writes to the stream: run one data-manager a stream");
        }
        self.told = stats.clone();
    }
}

/// Resolves when the publisher ends though nobody asked it to.
async fn ended(publishing: &mut Option<tokio::task::JoinHandle<DrainReport>>) -> String {
    match publishing {
        Some(task) => task.await.map_or_else(|error| error.to_string(), |report| format!("{report:?}")),
        None => std::future::pending().await,
    }
}
