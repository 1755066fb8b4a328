//! The stream as a source, without a place on the server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use data_manager::config::settings::Nats;
use data_manager::market::{Record, SubjectKind, subject};
use data_manager::source::{NatsConfig, NatsSource, TradeSource as _};
use data_manager::transport::nats::consumer::Replay;
use data_manager::transport::nats::stream_manager;
use tokio::runtime::Runtime;

use crate::support::{Server, client};
use crate::{DEADLINE, gap, nothing, numbers, refused, short, take, trade};

/// A server with a stream, and a writer to it.
pub(crate) struct Scene {
    pub(crate) server: Server,
    runtime: Runtime,
    pub(crate) context: Context,
}

impl Scene {
    pub(crate) fn start() -> Self {
        let server = Server::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let context = runtime.block_on(async {
            let client = client(&server.url()).await;
            let mut settings = Nats { servers: vec![server.url()], ..Nats::default() };
            settings.jetstream.max_bytes = (1 << 30).into();
            stream_manager::ensure(&client, &settings).await.unwrap();
            jetstream::new(client)
        });
        Self { server, runtime, context }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn config(&self) -> NatsConfig {
        NatsConfig { servers: vec![self.server.url()], start: "all".to_owned(), ..NatsConfig::default() }
    }

    /// Stores records, each in a message of its own.
    pub(crate) fn store(&self, exchange: &str, symbol: &str, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.store_packed(exchange, symbol, &[record]);
        }
    }

    pub(crate) fn store_packed(&self, exchange: &str, symbol: &str, records: &[Record]) {
        let kind = match records[0] {
            Record::Trade(_) => SubjectKind::Trades,
            Record::Gap(_) => SubjectKind::Gaps,
        };
        let payload: Vec<u8> = records.iter().flat_map(|record| *record.as_bytes()).collect();
        let subject = subject::subject("market", exchange, symbol, kind);
        self.run(async { self.context.publish(subject, payload.into()).await.unwrap().await.unwrap() });
    }

    /// Stores a trade of `one BTCUSDT`, as often as it takes: the connection may be on its way back.
    fn store_again(&self, record: &Record) {
        let begun = Instant::now();
        let payload = record.as_bytes().to_vec();
        self.run(async {
            loop {
                let sent = self.context.publish("market.one.BTCUSDT.trades", payload.clone().into()).await;
                if sent.unwrap().await.is_ok() {
                    return;
                }
                assert!(begun.elapsed() < DEADLINE, "nothing can be stored");
            }
        });
    }

    /// Stores trades of `one BTCUSDT` over a connection that may be on its way back.
    pub(crate) fn again(&self, ids: impl IntoIterator<Item = u64>) {
        ids.into_iter().for_each(|id| self.store_again(&trade("one", "BTCUSDT", id)));
    }

    /// Changes the stream, as an operator would.
    pub(crate) fn limit(&self, change: impl FnOnce(&mut jetstream::stream::Config)) {
        self.run(async {
            let mut config = self.context.get_stream("MARKET_DATA").await.unwrap().cached_info().config.clone();
            change(&mut config);
            self.context.update_stream(config).await.unwrap();
        });
    }

    /// Waits until the stream has no more messages than these.
    pub(crate) fn until_left(&self, messages: u64) {
        let begun = Instant::now();
        while self.run(async {
            self.context.get_stream("MARKET_DATA").await.unwrap().cached_info().state.messages > messages
        }) {
            assert!(begun.elapsed() < DEADLINE, "nothing is removed");
        }
    }

    /// Removes the stream and makes it anew.
    pub(crate) fn renew(&self) {
        self.run(async {
            let config = self.context.get_stream("MARKET_DATA").await.unwrap().cached_info().config.clone();
            self.context.delete_stream("MARKET_DATA").await.unwrap();
            self.context.create_stream(config).await.unwrap();
        });
    }

    pub(crate) fn trades(&self, exchange: &str, symbol: &str, ids: impl IntoIterator<Item = u64>) {
        self.store(exchange, symbol, ids.into_iter().map(|id| trade(exchange, symbol, id)));
    }
}

#[test]
fn everything_is_read_in_the_streams_order_gaps_in_line() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=3);
    scene.store("one", "BTCUSDT", [gap("one", "BTCUSDT", 4, 5)]);
    scene.trades("two", "A.B C", [1]);
    scene.store_packed("one", "BTCUSDT", &[6, 7, 8].map(|id| trade("one", "BTCUSDT", id)));
    let mut source = NatsSource::open(&scene.config()).unwrap();
    let mut wanted = numbers("one BTCUSDT", 1..=3);
    wanted.extend(["one BTCUSDT gap 4-5", "two A.B C 1"].map(str::to_owned));
    wanted.extend(numbers("one BTCUSDT", 6..=8));
    assert_eq!(take(&mut source, 8), wanted);
    nothing(&mut source);
    scene.trades("one", "BTCUSDT", 9..=10);
    assert_eq!(take(&mut source, 2), numbers("one BTCUSDT", 9..=10));
    source.commit().unwrap();
}

#[test]
fn what_is_asked_for_is_read_and_nothing_else() {
    let scene = Scene::start();
    for exchange in ["one", "two", "three"] {
        scene.trades(exchange, "BTCUSDT", 1..=2);
        scene.trades(exchange, "ETHUSDT", 1..=2);
    }
    let read = |exchanges: &[&str], symbols: &[&str], count: usize| {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let mut source =
            NatsSource::open(&NatsConfig { exchanges: names(exchanges), symbols: names(symbols), ..scene.config() })
                .unwrap();
        let taken: BTreeSet<String> = take(&mut source, count).into_iter().collect();
        nothing(&mut source);
        taken
    };
    let set = |list: &[&str]| -> BTreeSet<String> { list.iter().flat_map(|name| numbers(name, 1..=2)).collect() };
    assert_eq!(read(&["one"], &["btcusdt"], 2), set(&["one BTCUSDT"]));
    assert_eq!(read(&["two"], &[], 4), set(&["two BTCUSDT", "two ETHUSDT"]));
    assert_eq!(read(&[], &["ETHUSDT"], 6), set(&["one ETHUSDT", "two ETHUSDT", "three ETHUSDT"]));
    let both = read(&["one", "three"], &["BTCUSDT", "ETHUSDT"], 8);
    assert_eq!(both, set(&["one BTCUSDT", "one ETHUSDT", "three BTCUSDT", "three ETHUSDT"]));
}

#[test]
fn it_begins_where_it_is_told_to() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=5);
    scene.trades("one", "ETHUSDT", 1..=5);
    // Sequences count from 1; 6 is the first of ETHUSDT.
    let moment = scene.run(async {
        let stream = scene.context.get_stream("MARKET_DATA").await.unwrap();
        stream.get_raw_message(8).await.unwrap().time
    });
    let open = |start: &str| NatsSource::open(&NatsConfig { start: start.to_owned(), ..scene.config() }).unwrap();
    assert_eq!(take(&mut open("#9"), 2), numbers("one ETHUSDT", 4..=5));
    assert_eq!(take(&mut open("last"), 2), ["one BTCUSDT 5", "one ETHUSDT 5"]);
    assert_eq!(take(&mut open("1h"), 10).len(), 10);
    let moment = moment.format(&time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(take(&mut open(&moment), 3), numbers("one ETHUSDT", 3..=5));
    let mut new = open("new");
    nothing(&mut new);
    let mut after = NatsSource::open(&NatsConfig { after: Some(9), ..scene.config() }).unwrap();
    assert_eq!(take(&mut after, 1), ["one ETHUSDT 5"]);
    scene.trades("one", "BTCUSDT", [6]);
    assert_eq!(take(&mut new, 1), ["one BTCUSDT 6"]);
    let original = NatsConfig { replay: Replay::Original, ..scene.config() };
    assert_eq!(take(&mut NatsSource::open(&original).unwrap(), 11).len(), 11);
}

#[test]
fn a_message_that_is_none_of_ours_is_told_and_passed_over() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", [1]);
    let odd =
        [("one.BTCUSDT.trades", vec![0; 47]), ("one.BTCUSDT.trades", gap("one", "BTCUSDT", 1, 1).as_bytes().to_vec())];
    for (subject, payload) in odd {
        let subject = format!("market.{subject}");
        scene.run(async { scene.context.publish(subject, payload.into()).await.unwrap().await.unwrap() });
    }
    scene.trades("one", "BTCUSDT", [2]);
    let mut source = NatsSource::open(&scene.config()).unwrap();
    let taken = take(&mut source, 4);
    assert_eq!((&taken[0][..], &taken[3][..]), ("one BTCUSDT 1", "one BTCUSDT 2"));
    assert!(taken[1].starts_with("error: sequence 2 on market.one.BTCUSDT.trades: 47 bytes"), "{taken:?}");
    assert!(taken[2].starts_with("error: sequence 3") && taken[2].contains("other kind"), "{taken:?}");
}

#[test]
fn a_server_that_goes_and_comes_costs_nothing() {
    let mut scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=50);
    let mut source = NatsSource::open(&scene.config()).unwrap();
    let mut taken = take(&mut source, 20);
    for round in 0..2 {
        scene.server.kill9();
        // A call that ends before the connection is made anew must not begin it anew each time.
        for _ in 0..20 {
            taken.extend(source.next(Duration::from_millis(5)).unwrap().map(|event| short(&event)));
        }
        scene.server.restart();
        scene.again(51 + round * 10..=60 + round * 10);
        let wanted = usize::try_from(60 + round * 10).unwrap();
        taken.extend(take(&mut source, wanted - taken.len()));
        assert_eq!(taken, numbers("one BTCUSDT", 1..=60 + round * 10), "{round}");
    }
}

#[test]
fn what_cannot_be_opened_is_named_in_the_readers_own_words() {
    let scene = Scene::start();
    let stream = refused(NatsSource::open(&NatsConfig { stream_name: "NONE".to_owned(), ..scene.config() }));
    assert!(stream.contains("NONE"), "{stream}");
    let start = refused(NatsSource::open(&NatsConfig { start: "soon".to_owned(), ..scene.config() }));
    assert!(start.contains("data_source.nats.start") && start.contains("#1000"), "{start}");
    let server = refused(NatsSource::open(&NatsConfig { servers: Vec::new(), ..scene.config() }));
    assert!(server.contains("data_source.nats") && !server.contains("transport.nats"), "{server}");
    let name = refused(NatsSource::open(&NatsConfig { durable: "a.b".to_owned(), ..scene.config() }));
    assert!(name.contains("data_source.nats.durable"), "{name}");
    for config in [scene.config(), NatsConfig { durable: "reader".to_owned(), ..scene.config() }] {
        let beyond = refused(NatsSource::open(&NatsConfig { after: Some(7), ..config.clone() }));
        assert!(beyond.contains("ends at sequence 0") && beyond.contains("made anew"), "{beyond}");
        let inside = scene.run(async { NatsSource::open(&config).map(|_| ()) });
        assert!(refused(inside).contains("thread of its own"));
    }
}
