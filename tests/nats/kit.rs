//! What these tests share: settings, a publisher with a record of what was pushed into it, waiting for a condition.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use data_manager::config::Secret;
use data_manager::config::settings::Nats;
use data_manager::market::subject::subject;
use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1, RECORD_BYTES};
use data_manager::market::{
    GapMsg, GapReason, GapStrength, Instrument, Record, SubjectKind, Symbol, TradeMsg, Universe,
};
use data_manager::transport::Transport as _;
use data_manager::transport::nats::publisher::{self, Anchor, NatsTransport};
use data_manager::transport::nats::{DrainReport, NatsState, NatsStatus};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::support::trades::{Expected, compare};
use crate::support::{Read, client, read_all};

/// Every pinned server, the newest first.
pub(crate) const VERSIONS: [&str; 4] = ["2.15.1", "2.14.6", "2.12.8", "2.10.26"];
/// Long enough for any machine; reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The stream of the settings.
pub(crate) const STREAM: &str = "MARKET_DATA";

/// Settings for the server at `url`, otherwise the defaults with a bound that a test's server can hold.
pub(crate) fn settings(url: &str) -> Nats {
    let mut settings = Nats { servers: vec![url.to_owned()], ..Nats::default() };
    settings.jetstream.max_bytes = (1 << 30).into();
    settings
}

/// A secret that stands in the configuration itself.
pub(crate) fn secret(text: &str) -> Option<Secret> {
    Some(toml::Value::String(text.to_owned()).try_into().unwrap())
}

/// Runs what needs tasks on this thread.
pub(crate) fn local<'a, T>(future: impl Future<Output = T> + 'a) -> LocalBoxFuture<'a, T> {
    let future = Box::pin(future);
    Box::pin(async { LocalSet::new().run_until(future).await })
}

/// The symbol of a route.
pub(crate) fn symbol(route: u32) -> String {
    format!("COIN{route}USDT")
}

/// The subject of a route.
pub(crate) fn subject_of(route: u32, kind: SubjectKind) -> String {
    subject("market", "binance", &symbol(route), kind)
}

/// So many instruments of one venue.
pub(crate) fn universe(instruments: u32) -> Universe {
    let mut universe = Universe::default();
    for route in 0..instruments {
        let symbol = Symbol::new(&symbol(route)).unwrap();
        universe.add(Instrument::new("binance", symbol, format!("COIN{route}"))).unwrap();
    }
    universe
}

/// The `n`th trade of a route.
pub(crate) fn trade(universe: &Universe, route: u32, n: u64) -> TradeMsg {
    TradeMsg {
        ts_event: 1_700_000_000_000_000_000 + n * 1_000_000,
        ts_recv: 1_700_000_000_000_100_000 + n * 1_000_000,
        trade_id: 1_000 + n,
        price: 6_183_763,
        size: 12_345,
        instrument_id: universe.get(route as usize).unwrap().id,
        price_scale: 2,
        size_scale: 5,
        flags: 1,
        kind: KIND_TRADE_V1,
    }
}

/// A publisher at work, and what it was given.
pub(crate) struct Rig {
    pub(crate) transport: NatsTransport,
    /// What was pushed, by subject.
    pub(crate) pushed: Expected,
    /// What the publisher said of the last stored trade of each route: its trade id.
    pub(crate) anchors: Heard,
    universe: Universe,
    task: JoinHandle<DrainReport>,
    stop: CancellationToken,
    next: u64,
}

/// Route and last stored id, as the publisher told them.
type Heard = Rc<RefCell<Vec<(u32, Option<u64>)>>>;

impl Rig {
    /// The only publisher of its stream, for three instruments. Inside of `local`.
    pub(crate) fn start(settings: Nats) -> Self {
        Self::start_with(settings, 3, true, Duration::from_secs(30))
    }

    /// `drain` bounds what `stop` waits for.
    pub(crate) fn start_with(settings: Nats, instruments: u32, sole: bool, drain: Duration) -> Self {
        let universe = universe(instruments);
        let anchors = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&anchors);
        let on_anchor = Box::new(move |route, anchor: Anchor<'_>| {
            let id = match anchor {
                Anchor::Trade(trade, _) | Anchor::AtLeast(trade) | Anchor::Followed(trade) => Some(trade.trade_id),
                Anchor::Fresh | Anchor::Forgotten => None,
            };
            heard.borrow_mut().push((route, id));
            None
        });
        let (transport, publisher) = publisher::new(settings, &universe, sole, on_anchor);
        let stop = CancellationToken::new();
        let task = tokio::task::spawn_local(publisher.run(stop.clone(), drain));
        Self { transport, pushed: Expected::new(), anchors, universe, task, stop, next: 0 }
    }

    /// As `start`, when it publishes.
    pub(crate) async fn publishing(settings: Nats) -> Self {
        let rig = Self::start(settings);
        rig.until("it publishes", |status| status.state == NatsState::Publishing).await;
        rig
    }

    /// Pushes so many trades, to one instrument after the other, and flushes.
    pub(crate) fn trades(&mut self, count: u64) {
        let routes = self.universe.instruments().len() as u64;
        for n in self.next..self.next + count {
            let route = u32::try_from(n % routes).unwrap();
            let trade = trade(&self.universe, route, n / routes);
            self.push(route, Record::Trade(trade));
        }
        self.next += count;
        self.transport.flush();
    }

    /// Pushes so many trades in small portions, with turns for the publisher between them.
    pub(crate) async fn trades_slowly(&mut self, count: u64) {
        for _ in 0..count / 50 {
            self.trades(50);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Pushes a gap of three trades, right behind the route's last one.
    pub(crate) fn gap(&mut self, route: u32) {
        let routes = self.universe.instruments().len() as u64;
        let trade = trade(&self.universe, route, (self.next + routes - 1 - u64::from(route)) / routes);
        let gap = GapMsg {
            ts_start: trade.ts_event,
            ts_end: trade.ts_event + 5,
            first_id: trade.trade_id,
            last_id: trade.trade_id + 2,
            missing: 3,
            instrument_id: trade.instrument_id,
            strength: GapStrength::Proved as u8,
            reason: GapReason::VenueDisconnect as u8,
            flags: 0,
            kind: KIND_GAP_V1,
        };
        self.push(route, Record::Gap(gap));
        self.transport.flush();
    }

    fn push(&mut self, route: u32, record: Record) {
        let kind = if matches!(record, Record::Gap(_)) { SubjectKind::Gaps } else { SubjectKind::Trades };
        self.pushed.entry(subject_of(route, kind)).or_default().push(*record.as_bytes());
        self.transport.publish(route, &record);
    }

    /// How many records were pushed.
    pub(crate) fn count(&self) -> u64 {
        self.pushed.values().map(|records| records.len() as u64).sum()
    }

    /// Waits for what the status is to say.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&NatsStatus) -> bool) {
        until(
            &format!("that {what}"),
            || condition(&self.transport.status()),
            || format!("{:?}", self.transport.status()),
        )
        .await;
    }

    /// Waits until all that was pushed is acknowledged.
    pub(crate) async fn settled(&self) {
        self.until("all is acknowledged", |status| {
            status.state == NatsState::Publishing && status.window.waiting + status.window.in_flight_records == 0
        })
        .await;
    }

    /// Drains, and ends.
    pub(crate) async fn stop(self) -> (DrainReport, Expected) {
        self.stop.cancel();
        (self.task.await.unwrap(), self.pushed)
    }

    /// Drains, and compares the stream with what was pushed: each record once, in order, nothing dropped.
    pub(crate) async fn finish(self, url: &str) -> Vec<Read> {
        let count = self.count();
        let (report, pushed) = self.stop().await;
        assert_eq!((report.unacked, report.dropped), (0, 0), "{report:?}");
        let read = read_all(&client(url).await, STREAM).await;
        compare(&pushed, &each_record(&read)).assert_clean();
        assert!(report.acked <= count, "{report:?} of {count}");
        read
    }
}

/// Each record is there once and in order, or in a declared gap: nothing else can be done for what a stranger came
/// before, when what follows it was on its way.
pub(crate) fn whole_but_for_what_is_declared(report: &DrainReport, pushed: &Expected, read: &[Read]) {
    let found = compare(pushed, &each_record(read));
    let declared = |(_, subject, payload): &Read| match Record::from_bytes(payload) {
        Ok(Record::Gap(gap)) if subject.ends_with(".gaps") => gap.missing,
        _ => 0,
    };
    let declared: u64 = read.iter().map(declared).sum();
    assert_eq!((report.unacked, report.dropped), (0, declared), "{report:?}");
    assert_eq!((found.lost.count, found.doubled.count, found.disordered.count), (declared, 0, 0), "{found}");
}

/// Packed messages as their records.
pub(crate) fn each_record(read: &[Read]) -> Vec<Read> {
    let records = |(sequence, subject, payload): &Read| {
        let (sequence, subject) = (*sequence, subject.clone());
        let parts: Vec<Read> =
            payload.chunks(RECORD_BYTES).map(|part| (sequence, subject.clone(), part.to_vec())).collect();
        parts
    };
    read.iter().flat_map(records).collect()
}

/// Waits for a condition; `describe` says what there is instead.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool, describe: impl Fn() -> String) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited for {what} for {DEADLINE:?}: {}", describe());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The subject and the message id of every message.
pub(crate) async fn message_ids(url: &str) -> Vec<(String, String)> {
    let stream = jetstream::new(client(url).await).get_stream(STREAM).await.unwrap();
    let count = usize::try_from(stream.cached_info().state.messages).unwrap();
    let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(count).map(|message| {
        let message = message.unwrap();
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        (message.subject.to_string(), id.map(ToString::to_string).unwrap_or_default())
    });
    tokio::time::timeout(DEADLINE, messages.collect()).await.unwrap()
}
