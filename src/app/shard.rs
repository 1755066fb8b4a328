//! One shard: a thread that owns venue connections, their rings and one NATS connection, with no lock between them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::board::{Board, FeedView, ShardView, VenueView};
use super::outlet::Outlet;
use super::plan::{ShardPlan, VenuePlan};
use crate::config::Settings;
use crate::feed::socket::Dialer;
use crate::feed::{Budget, Deliver as _, FeedShared, FeedSpec, FeedStatus, Rules, Sequencer};
use crate::market::{Record, TradeMsg};
use crate::telemetry::clock;
use crate::transport::Transport as _;
use crate::transport::ipc::IpcTransport;
use crate::transport::nats::{DrainReport, NatsState, publisher};

/// The stream's tails are waited for this long before feeds start: trades then go on behind what is stored. A broker
/// that is away longer does not keep the ring waiting.
const ANCHOR_WAIT: Duration = Duration::from_secs(2);

/// How often a shard shows itself on the board and shows life on its rings.
const TICK: Duration = Duration::from_millis(250);

/// A feed that panicked is started anew after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);

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
    /// Whether it is the only shard: then its publisher is the stream's only writer.
    pub sole: bool,
    /// Its rings, created before the thread was started, so that a failure is told at start.
    pub ring: Option<IpcTransport>,
}

/// Tails of the stream, as the publisher read them.
type Anchors = Rc<RefCell<Vec<(u32, TradeMsg)>>>;

struct Shard {
    spec: ShardSpec,
    outlet: Rc<RefCell<Outlet>>,
    feeds: Vec<Feed>,
    published_at: Option<Instant>,
}

/// A connection and what is kept of it across its lives.
struct Feed {
    exchange: &'static str,
    spec: FeedSpec,
    sequencer: Rc<RefCell<Sequencer>>,
    status: Rc<RefCell<FeedStatus>>,
    budget: Rc<RefCell<Budget>>,
    symbols: Arc<[(u32, String, String)]>,
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
    LocalSet::new().block_on(&runtime, live(spec))
}

async fn live(mut spec: ShardSpec) -> Result<DrainReport, String> {
    let anchors: Anchors = Rc::default();
    let anchored = Rc::new(Notify::new());
    let publish_stop = CancellationToken::new();
    let drain = spec.settings.shutdown_timeout.duration();
    let nats = spec.settings.transport.nats.clone();
    let (transport, publishing) = if nats.enabled {
        let (heard, told) = (Rc::clone(&anchors), Rc::clone(&anchored));
        let on_anchor = Box::new(move |route: u32, trade: Option<&TradeMsg>| {
            heard.borrow_mut().extend(trade.map(|trade| (route, *trade)));
            told.notify_one();
        });
        let (transport, publisher) = publisher::new(nats, &spec.plan.universe, spec.sole, on_anchor);
        let task = tokio::task::spawn_local(publisher.run(publish_stop.clone(), drain));
        (Some(transport), Some(task))
    } else {
        (None, None)
    };
    let outlet = Rc::new(RefCell::new(Outlet::new(spec.ring.take(), transport)));
    let feeds = feeds(&spec);
    let mut shard = Shard { spec, outlet, feeds, published_at: None };
    shard.show();
    if publishing.is_some() {
        shard.wait_for_anchors(&anchored).await;
    }
    shard.anchor(&anchors);
    let report = shard.work(&anchors, &anchored, publishing, publish_stop).await;
    shard.show();
    shard.outlet.borrow_mut().close_rings();
    report
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

    /// Hands the stream's tails to the sequencers, and what follows from them to the transports.
    fn anchor(&self, anchors: &Anchors) {
        let mut out = Vec::new();
        for (route, trade) in anchors.borrow_mut().drain(..) {
            let feed = self.feeds.iter().find(|feed| feed.spec.instruments.iter().any(|(known, _)| *known == route));
            if let Some(feed) = feed {
                feed.sequencer.borrow_mut().anchor(route, &trade, &mut out);
            }
        }
        let mut outlet = self.outlet.borrow_mut();
        for (route, record) in &out {
            crate::feed::Deliver::record(&mut *outlet, *route, record);
            if let Record::Gap(gap) = record {
                tracing::warn!(route, missing = gap.missing, "trades are missing since the last run");
            }
        }
        outlet.batch_end();
    }

    /// Runs feeds until the daemon drains, then lets the publisher finish.
    async fn work(
        &mut self,
        anchors: &Anchors,
        anchored: &Notify,
        mut publishing: Option<tokio::task::JoinHandle<DrainReport>>,
        publish_stop: CancellationToken,
    ) -> Result<DrainReport, String> {
        let settings = Arc::clone(&self.spec.settings);
        let frame_bytes_max = usize::try_from(settings.feed.frame_bytes_max.get()).unwrap_or(usize::MAX);
        let dialer =
            Dialer::new(settings.feed.connect_timeout.duration(), frame_bytes_max).map_err(|e| e.to_string())?;
        let mut running = JoinSet::new();
        for feed in &self.feeds {
            running.spawn_local(keep_running(self.shared(feed, &dialer), feed.spec.clone(), self.spec.stop.clone()));
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.show(),
                () = anchored.notified() => self.anchor(anchors),
                done = running.join_next() => if done.is_none() { break },
                ended = ended(&mut publishing) => return Err(format!("the publisher ended by itself: {ended}")),
            }
        }
        // No feed runs any more: what they left behind goes out.
        self.outlet.borrow_mut().batch_end();
        publish_stop.cancel();
        let Some(publishing) = publishing else { return Ok(DrainReport::default()) };
        let mut publishing = publishing;
        loop {
            tokio::select! {
                report = &mut publishing => return report.map_err(|error| format!("the publisher failed: {error}")),
                _ = tick.tick() => self.show(),
            }
        }
    }

    fn shared(&self, feed: &Feed, dialer: &Dialer) -> impl Fn() -> FeedShared<Outlet> + use<> {
        let (budget, sequencer) = (Rc::clone(&feed.budget), Rc::clone(&feed.sequencer));
        let (deliver, status) = (Rc::clone(&self.outlet), Rc::clone(&feed.status));
        let dialer = dialer.clone();
        move || FeedShared {
            dialer: dialer.clone(),
            budget: Rc::clone(&budget),
            sequencer: Rc::clone(&sequencer),
            deliver: Rc::clone(&deliver),
            status: Rc::clone(&status),
            tap: None,
        }
    }

    /// Shows the shard on the board, and life on its rings.
    fn show(&mut self) {
        let outlet = self.outlet.borrow();
        let ring = outlet.ring().map(|ring| {
            ring.heartbeat(clock::wall_ns());
            let paths = ring.rings().map(|(exchange, path)| (exchange, path.to_owned())).collect();
            (paths, ring.stats())
        });
        let nats = outlet.nats().map(crate::transport::nats::NatsTransport::status);
        drop(outlet);
        let now = clock::now();
        if nats.as_ref().is_some_and(|nats| nats.state == NatsState::Publishing) {
            self.published_at = Some(now);
        }
        let view = ShardView { at: now, venues: self.venues(), ring, nats, published_at: self.published_at };
        self.spec.board.show(self.spec.number, view);
    }

    fn venues(&self) -> Vec<VenueView> {
        let mut venues: Vec<VenueView> = Vec::new();
        for feed in &self.feeds {
            let status = feed.status.borrow().clone();
            let view = FeedView { name: feed.spec.name.clone(), status, symbols: Arc::clone(&feed.symbols) };
            match venues.last_mut() {
                Some(venue) if venue.exchange == feed.exchange => venue.feeds.push(view),
                _ => venues.push(VenueView { exchange: feed.exchange, feeds: vec![view] }),
            }
        }
        venues
    }
}

/// Runs a feed; one that panics is started anew, since other venues have nothing to do with it.
async fn keep_running(shared: impl Fn() -> FeedShared<Outlet>, spec: FeedSpec, stop: CancellationToken) {
    loop {
        let life = tokio::task::spawn_local(crate::feed::run(spec.clone(), shared(), stop.clone()));
        let Err(error) = life.await else { return };
        tracing::error!(conn = %spec.name, err = %error, "a feed panicked and is started anew");
        shared().sequencer.borrow_mut().disconnected(crate::market::GapReason::VenueDisconnect);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_AFTER) => {}
        }
    }
}

/// Resolves when the publisher ends though nobody asked it to.
async fn ended(publishing: &mut Option<tokio::task::JoinHandle<DrainReport>>) -> String {
    match publishing {
        Some(task) => task.await.map_or_else(|error| error.to_string(), |report| format!("{report:?}")),
        None => std::future::pending().await,
    }
}

/// One feed for each connection's worth of symbols.
fn feeds(spec: &ShardSpec) -> Vec<Feed> {
    let mut feeds = Vec::new();
    for venue in &spec.plan.venues {
        let profile = venue.exchange.profile();
        let budget = Rc::new(RefCell::new(Budget::new(profile.connects)));
        let rules = Rules::new(&spec.settings.feed, venue.stall);
        for (number, instruments) in venue.instruments.chunks(profile.symbols_per_connection.max(1)).enumerate() {
            let names = instruments.iter().map(|(route, i)| (*route, i.symbol.to_string(), i.venue_symbol.clone()));
            feeds.push(Feed {
                exchange: profile.name,
                spec: feed_spec(venue, number, instruments, rules),
                sequencer: Rc::new(RefCell::new(Sequencer::new(profile.ids, spec.settings.feed.hold.duration()))),
                status: Rc::default(),
                budget: Rc::clone(&budget),
                symbols: names.collect(),
            });
        }
    }
    feeds
}

fn feed_spec(
    venue: &VenuePlan,
    number: usize,
    instruments: &[(u32, crate::market::Instrument)],
    rules: Rules,
) -> FeedSpec {
    FeedSpec {
        exchange: venue.exchange,
        name: format!("{}/{number}", venue.exchange.profile().name),
        ws_url: venue.ws_url.clone(),
        instruments: instruments.to_vec(),
        rules,
        seed: fastrand::u64(..),
    }
}
