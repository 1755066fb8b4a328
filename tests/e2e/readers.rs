//! Readers of what a daemon writes, at the same time and each in its own way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use data_manager::market::Record;
use data_manager::source::{
    Begin, DataSource, Event, HandoverSource, IpcConfig, NatsConfig, SourceError, TradeSource, open,
};

use crate::chain::two_venues;
use crate::daemon::{DEADLINE, Daemon, Spec};
use crate::support::Server;
use crate::truth::{in_rings, stored, wait_for_end};

/// What a reader got, by exchange and symbol, in order.
type Got = BTreeMap<(String, String), Vec<Record>>;

/// A reader on a thread of its own: it reads until it has been told to end and nothing more comes.
struct Reading {
    thread: JoinHandle<Got>,
    end: Arc<AtomicBool>,
}

impl Reading {
    fn start(mut source: impl TradeSource + Send + 'static) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut got = Got::new();
            loop {
                let ending = told.load(Ordering::Relaxed);
                let event = source.next(Duration::from_millis(300)).unwrap();
                match event {
                    Some(Event::Trade(trade)) => {
                        let name = (trade.exchange.to_owned(), trade.symbol.to_owned());
                        got.entry(name).or_default().push(Record::Trade(trade.msg));
                    }
                    Some(Event::WriterGone { .. }) => {}
                    Some(other) => panic!("{other:?}"),
                    None if ending => return got,
                    None => {}
                }
            }
        });
        Self { thread, end }
    }

    fn end(self) -> Got {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Any(Box<dyn TradeSource + Send>);

impl TradeSource for Any {
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        self.0.next(wait)
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.0.commit()
    }
}

/// Where a daemon's rings lie.
pub(crate) fn rings(daemon: &Daemon, exchange: &str) -> IpcConfig {
    let segment = daemon.segment(exchange);
    let name = segment.file_name().unwrap().to_str().unwrap();
    IpcConfig {
        directory: segment.parent().map(Path::to_owned).unwrap(),
        shm_path_prefix: format!("/{}", name.strip_suffix(exchange).unwrap()),
        begin: Begin::Oldest,
        ..IpcConfig::default()
    }
}

pub(crate) fn stream(server: &Server, start: &str, durable: &str) -> NatsConfig {
    NatsConfig {
        servers: vec![server.url()],
        start: start.to_owned(),
        durable: durable.to_owned(),
        ..NatsConfig::default()
    }
}

fn same(what: &str, got: &Got, wanted: &Got) {
    assert_eq!(got.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{what}");
    for (name, wanted) in wanted {
        let got = &got[name];
        let at = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
        assert_eq!(at, None, "{what}: {name:?} differs");
        assert_eq!(got.len(), wanted.len(), "{what}: {name:?} has another number of records");
    }
}

#[tokio::test]
async fn several_readers_at_once_get_the_same_one_of_them_replaying() {
    let server = Server::start();
    let sim = two_venues(3_000.0, 15_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    let (ipc, durable) = (rings(&daemon, "binance"), stream(&server, "all", "reader"));
    // A runtime of their own is not begun on a thread that has one.
    let all = std::thread::spawn(move || {
        let config = |ipc, nats| DataSource { ipc, nats };
        [config(Some(ipc), None), config(None, Some(durable))].map(|config| Any(open(&config).unwrap()))
    });
    let [ring, durable] = all.join().unwrap().map(Reading::start);
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 12_000).then_some(()), "to publish more");
    let config = stream(&server, "all", "");
    let opened = std::thread::spawn(move || open(&DataSource { ipc: None, nats: Some(config) }).map(Any).unwrap());
    let replay = Reading::start(opened.join().unwrap());
    wait_for_end(&mut daemon, &sim);
    same("the ring's reader", &ring.end(), &in_rings(&daemon, &sim).records);
    let wanted = stored(&server.url()).await.records;
    same("the durable reader", &durable.end(), &wanted);
    same("the replaying reader", &replay.end(), &wanted);
}

#[tokio::test]
async fn nothing_is_missing_or_repeated_between_what_is_stored_and_the_rings() {
    let server = Server::start();
    let sim = two_venues(3_000.0, 15_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    let mut readers = Vec::new();
    for published in [100, 8_000, 16_000] {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > published).then_some(()), "to publish");
        let (ipc, nats) = (rings(&daemon, "binance"), stream(&server, "all", ""));
        let opened = std::thread::spawn(move || {
            let mut source = HandoverSource::open(&ipc, &nats).unwrap();
            assert!(source.next(Duration::from_secs(5)).unwrap().is_some() && !source.is_live());
            let mut again = HandoverSource::open(&ipc, &nats).unwrap();
            // Nothing of it yet: what follows is all that there is.
            assert!(again.commit().is_ok());
            again
        });
        readers.push(Reading::start(Watched(opened.join().unwrap())));
    }
    wait_for_end(&mut daemon, &sim);
    let wanted = stored(&server.url()).await.records;
    for (at, reader) in readers.into_iter().enumerate() {
        same(&format!("reader {at}"), &reader.end(), &wanted);
    }
}

/// Fails where the seam never comes.
struct Watched(HandoverSource);

impl TradeSource for Watched {
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        self.0.next(wait)
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.0.commit()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        assert!(self.0.is_live() || std::thread::panicking(), "the seam never came");
    }
}

#[tokio::test]
async fn a_quiet_ring_is_handed_over_to_as_well() {
    let server = Server::start();
    let sim = two_venues(5_000.0, 5_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_end(&mut daemon, &sim);
    for start in ["new", "all"] {
        let (ipc, nats) = (rings(&daemon, "binance"), stream(&server, start, ""));
        let source = std::thread::spawn(move || {
            let mut source = HandoverSource::open(&ipc, &nats).unwrap();
            let begun = Instant::now();
            let mut count = 0;
            while !source.is_live() {
                count += u64::from(source.next(Duration::from_millis(50)).unwrap().is_some());
                assert!(begun.elapsed() < DEADLINE, "the seam never came");
            }
            while source.next(Duration::from_millis(300)).unwrap().is_some() {
                count += 1;
            }
            count
        });
        let count = source.join().unwrap();
        let wanted: usize = stored(&server.url()).await.records.values().map(Vec::len).sum();
        assert_eq!(count, if start == "new" { 0 } else { wanted as u64 }, "{start}");
    }
}
