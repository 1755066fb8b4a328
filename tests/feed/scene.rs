//! A feed under test: the real one, on a thread of its own, and what it delivered and says of itself.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use data_manager::config::settings;
use data_manager::config::{Bytes, Span};
use data_manager::exchange;
use data_manager::feed::socket::Dialer;
use data_manager::feed::{self, Budget, Deliver, FeedShared, FeedSpec, FeedState, FeedStatus, Rules, Sequencer};
use data_manager::market::{GapMsg, Instrument, Record, Symbol, TradeMsg};
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

/// Longest frame that the feeds here take.
pub(crate) const FRAME_BYTES_MAX: usize = 4_096;
/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a feed is started with, beside the venue's URL.
pub(crate) struct Setup {
    pub(crate) exchange: &'static str,
    /// Venue symbols.
    pub(crate) symbols: &'static [&'static str],
    pub(crate) stall: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    /// Certificates that are trusted.
    pub(crate) trusted: Vec<CertificateDer<'static>>,
}

/// A running feed.
pub(crate) struct Scene {
    pub(crate) status: Rc<RefCell<FeedStatus>>,
    pub(crate) tapped: Rc<RefCell<Vec<String>>>,
    sink: Rc<RefCell<Sink>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Records count as delivered at the end of their batch, as in the daemon.
#[derive(Default)]
struct Sink {
    pending: Vec<(u32, Record)>,
    visible: Vec<(u32, Record)>,
}

impl Deliver for Sink {
    fn record(&mut self, route: u32, record: &Record) {
        self.pending.push((route, *record));
    }

    fn batch_end(&mut self) {
        self.visible.append(&mut self.pending);
    }
}

/// Runs a test on one thread, as the daemon runs a shard.
pub(crate) fn on_a_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let done = local.block_on(&runtime, async { tokio::time::timeout(2 * DEADLINE, test).await });
    done.expect("the test hangs");
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            exchange: "binance",
            symbols: &["BTCUSDT"],
            stall: None,
            connect_timeout: Duration::from_secs(10),
            trusted: Vec::new(),
        }
    }
}

impl Setup {
    pub(crate) fn coinbase() -> Self {
        Self { exchange: "coinbase", symbols: &["BTC-USD", "FOO-USD"], ..Self::default() }
    }

    /// Starts the feed towards this URL.
    pub(crate) fn start(self, ws_url: String) -> Scene {
        let exchange = exchange::by_name(self.exchange).unwrap();
        let settings = settings::Feed {
            backoff_min: Span::millis(5),
            backoff_max: Span::millis(20),
            rotation_overlap: Span::secs(10),
            hold: Span::secs(5),
            connect_timeout: self.connect_timeout.into(),
            frame_bytes_max: Bytes::from(FRAME_BYTES_MAX as u64),
            ..settings::Feed::default()
        };
        let instrument = |name: &&str| Instrument::new(exchange.profile().name, symbol(exchange, name), (*name).into());
        let spec = FeedSpec {
            exchange,
            name: format!("{}/0", self.exchange),
            ws_url,
            instruments: (0..).zip(self.symbols.iter().map(instrument)).collect(),
            line: 0,
            rules: Rules::new(&settings, self.stall, false),
            seed: 7,
        };
        let mut roots = rustls::RootCertStore::empty();
        self.trusted.into_iter().for_each(|certificate| roots.add(certificate).unwrap());
        let tapped = Rc::<RefCell<Vec<String>>>::default();
        let seen = Rc::clone(&tapped);
        let shared = FeedShared {
            dialer: Dialer::with_roots(roots, settings.connect_timeout.duration(), FRAME_BYTES_MAX).unwrap(),
            budget: Rc::new(RefCell::new(Budget::new(exchange.profile().connects))),
            sequencer: Rc::new(RefCell::new(Sequencer::new(exchange.profile().ids, settings.hold.duration()))),
            deliver: Rc::new(RefCell::new(Sink::default())),
            status: Rc::new(RefCell::new(FeedStatus::default())),
            repairs: Rc::default(),
            tap: Some(Box::new(move |frame: &str, _| seen.borrow_mut().push(frame.to_owned()))),
        };
        let (status, sink) = (Rc::clone(&shared.status), Rc::clone(&shared.deliver));
        let stop = CancellationToken::new();
        let task = tokio::task::spawn_local(feed::run(spec, shared, stop.clone()));
        Scene { status, tapped, sink, stop, task }
    }
}

fn symbol(exchange: &dyn exchange::Exchange, venue_symbol: &str) -> Symbol {
    exchange.canonical(venue_symbol).unwrap()
}

impl Scene {
    /// Waits until this holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&FeedStatus) -> bool) {
        let waiting = async {
            while !holds(&self.status.borrow()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!("{what} never came: {:?}, {:?}", self.status.borrow(), self.sink.borrow().visible);
        }
    }

    pub(crate) async fn live(&self) {
        self.until("live", |status| status.state == FeedState::Live).await;
    }

    /// Waits until so many records are visible, and returns all of them.
    pub(crate) async fn records(&self, count: usize) -> Vec<(u32, Record)> {
        let sink = Rc::clone(&self.sink);
        self.until("record", move |_| sink.borrow().visible.len() >= count).await;
        self.sink.borrow().visible.clone()
    }

    /// As [`Self::records`], trade ids only; a gap panics.
    pub(crate) async fn ids(&self, count: usize) -> Vec<u64> {
        self.records(count).await.iter().map(|(_, record)| trade(record).trade_id).collect()
    }

    /// Ends the feed, as the daemon does; returns when it has said good-bye.
    pub(crate) async fn stop(self) -> FeedStatus {
        self.stop.cancel();
        self.task.await.unwrap();
        self.status.borrow().clone()
    }
}

pub(crate) fn trade(record: &Record) -> &TradeMsg {
    match record {
        Record::Trade(trade) => trade,
        Record::Gap(gap) => panic!("{gap:?} instead of a trade"),
    }
}

pub(crate) fn gap(record: &Record) -> &GapMsg {
    match record {
        Record::Gap(gap) => gap,
        Record::Trade(trade) => panic!("{trade:?} instead of a gap"),
    }
}
