//! A stream for each exchange: daemons that are killed, exchanges that are added, pairs. No spool is another's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use data_manager::market::{GapMsg, Record};
use rustix::process::Signal;

use crate::daemon::{Daemon, Spec};
use crate::repair::{venues, wait_for_repairs_of_late_life};
use crate::streams::{EXCHANGES, of, spec, stream_of};
use crate::support::Server;
use crate::truth::{Found, STREAM, Trade, Trades, by_id, issued, stored_in};

/// Memory for less than half a second of trades.
const MEMORY: &str = "64KiB";
const VERSIONS: [&str; 3] = ["2.10.26", "2.12.8", "2.15.1"];

fn spooled(daemon: &mut Daemon, records: u64) {
    daemon.wait(|daemon| (daemon.metric("spool_waiting_records") > records).then_some(()), "to keep records on disk");
}

/// Each stream holds what was issued of its exchange, once and nothing else. What was in the memory of a process that
/// was killed may be missing, and is declared then.
async fn assert_all(server: &Server, issued: &Trades, exchanges: &[&str]) {
    for exchange in exchanges {
        assert_in(server, &stream_of(exchange), &of(issued, exchange)).await;
    }
}

async fn assert_in(server: &Server, stream: &str, expected: &Trades) {
    let found = stored_in(&server.url(), stream).await;
    let mut declared: BTreeMap<(String, String), Vec<GapMsg>> = BTreeMap::new();
    for (key, records) in &found.records {
        declared.insert(key.clone(), records.iter().filter_map(gap).collect());
    }
    let declares = |key: &(String, String), id: u64| {
        declared.get(key).is_some_and(|gaps| gaps.iter().any(|gap| (gap.first_id..=gap.last_id).contains(&id)))
    };
    let silent = |key: &(String, String), there: &[Trade]| -> Vec<u64> {
        let there: BTreeSet<u64> = there.iter().map(|trade| trade.id).collect();
        let ids = expected[key].iter().map(|trade| trade.id);
        ids.filter(|id| !there.contains(id) && !declares(key, *id)).collect()
    };
    let trades = by_id(Found { trades: found.trades, history: found.history, ..Found::default() }, expected);
    assert_eq!(trades.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{stream}");
    for (key, there) in &trades {
        let silent = silent(key, there);
        assert!(silent.is_empty(), "{stream} {key:?}: missing, and not declared: {silent:?}; {declared:?}");
        let double = there.windows(2).find(|pair| pair[0].id == pair[1].id);
        assert_eq!(double, None, "{stream} {key:?}");
        assert!(
            there.iter().all(|trade| expected[key]
                .binary_search_by_key(&trade.id, |known| known.id)
                .is_ok_and(|at| &expected[key][at] == trade)),
            "{stream} {key:?}: nobody issued it"
        );
        let missing = expected[key].len() - there.len();
        assert!(missing < 2_000, "{stream} {key:?}: {missing} are missing, more than fit into memory");
    }
}

fn gap(record: &Record) -> Option<GapMsg> {
    match record {
        Record::Gap(gap) => Some(*gap),
        Record::Trade(_) => None,
    }
}

#[tokio::test]
async fn what_a_killed_daemon_left_on_disk_goes_to_the_same_streams() {
    for version in VERSIONS {
        let mut server = Server::builder().version(version).start();
        let sim = venues(4_000.0, 20_000);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let make = |server: &Server| {
            let spec = spec(&sim, server).with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY);
            spec.with("TRANSPORT__NATS__OUTBOX_DIR", &path)
        };
        let mut daemon = make(&server).start();
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 3_000).then_some(()), "to publish");
        let next = make(&server);
        server.kill9();
        spooled(&mut daemon, 4_000);
        daemon.kill9();
        let mut daemon = next.start();
        daemon.wait(|daemon| (daemon.metric("spool_recovered_records_total") > 3_000).then_some(()), "to find both");
        server.restart();
        wait_for_repairs_of_late_life(&mut daemon, &sim);
        let issued = issued(&sim);
        daemon.drain();
        assert_all(&server, &issued, &EXCHANGES).await;
    }
}

/// The exchange that is added takes the number that the other one's shard had.
#[tokio::test]
async fn an_exchange_that_is_added_does_not_inherit_the_spool_of_another() {
    let mut server = Server::start();
    let sim = venues(4_000.0, 24_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    let make = |server: &Server| -> Spec {
        let spec = spec(&sim, server).with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY);
        spec.with("TRANSPORT__NATS__OUTBOX_DIR", &path)
    };
    let mut daemon = make(&server).without("binance").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    let next = make(&server);
    server.kill9();
    spooled(&mut daemon, 3_000);
    daemon.kill9();
    let mut daemon = next.start();
    daemon.wait(|daemon| (daemon.metric("spool_recovered_records_total") > 2_000).then_some(()), "to find the spool");
    let (_, status) = daemon.page("/status");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    for shard in status["shards"].as_array().unwrap() {
        let recovered = shard["nats"]["spool"]["recovered"].as_u64().unwrap();
        assert_eq!(recovered > 0, shard["nats"]["stream"] == "MARKET_DATA_COINBASE", "{status}");
    }
    assert_eq!(status["shards"][0]["nats"]["stream"], "MARKET_DATA_BINANCE", "the numbers have changed");
    server.restart();
    wait_for_repairs_of_late_life(&mut daemon, &sim);
    let issued = issued(&sim);
    assert!(!daemon.log().contains("not configured any more"), "{}", daemon.log());
    daemon.drain();
    assert_all(&server, &issued, &["coinbase"]).await;
    let added = stored_in(&server.url(), &stream_of("binance")).await;
    assert!(added.records.keys().all(|(exchange, _)| exchange == "binance"), "{:?}", added.records.keys());
}

/// The second shard publishes what the first one has of its exchange on disk: sent from there, it would come behind.
#[tokio::test]
async fn what_one_shard_left_of_two_exchanges_is_kept_by_two_shards_and_told() {
    let mut server = Server::start();
    let sim = venues(4_000.0, 20_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    let make = |server: &Server, shards: &str| -> Spec {
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY);
        spec.with("SHARDS", shards).with("TRANSPORT__NATS__OUTBOX_DIR", &path)
    };
    let mut daemon = make(&server, "1").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 3_000).then_some(()), "to publish");
    let next = make(&server, "2");
    server.kill9();
    spooled(&mut daemon, 4_000);
    daemon.kill9();
    let left = files(&directory.path().join("0"));
    assert!(left.values().any(|bytes| bytes.len() > 100_000), "{:?}", left.keys());
    let mut daemon = next.start();
    let told = "left records of symbols that another shard publishes now";
    daemon.wait(|daemon| daemon.log().contains(told).then_some(()), "to tell what it keeps");
    spooled(&mut daemon, 500);
    server.restart();
    wait_for_repairs_of_late_life(&mut daemon, &sim);
    let issued = issued(&sim);
    let log = daemon.drain();
    assert!(!log.contains("not configured any more"), "{log}");
    let mut after = files(&directory.path().join("0"));
    after.retain(|name, _| left.contains_key(name));
    assert!(after == left, "what was kept has changed");
    assert_in(&server, STREAM, &issued).await;
}

/// The segments of a spool.
fn files(directory: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "spool"));
    segments.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn a_pair_holds_a_lease_for_each_stream() {
    let server = Server::start();
    let sim = venues(1_500.0, 12_000);
    let one = || spec(&sim, &server).with("TRANSPORT__NATS__PAIR__ENABLED", "true").start();
    let count =
        |daemon: &Daemon, state: &str| daemon.page("/status").1.matches(&format!("\"state\":\"{state}\"")).count();
    let mut first = one();
    first.wait(|daemon| (count(daemon, "publishing") == 2).then_some(()), "to publish both");
    let mut second = one();
    second.wait(|daemon| (count(daemon, "standing by") == 2).then_some(()), "to stand by for both");
    first.wait(|daemon| (daemon.metric("published_trades_total") > 3_000).then_some(()), "to get on");
    first.signal(Signal::KILL);
    second.wait(|daemon| (count(daemon, "publishing") == 2).then_some(()), "to take over both");
    wait_for_repairs_of_late_life(&mut second, &sim);
    let issued = issued(&sim);
    second.drain();
    assert_all(&server, &issued, &EXCHANGES).await;
}
