//! A stream for each exchange: each holds its exchange's trades alone, and whole, whatever happens to the broker.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use data_manager::market::{Record, TradeMsg};
use data_manager::sim::Sim;
use data_manager::source::{HandoverSource, NatsConfig, TradeSource as _};

use serde_json::Value;

use crate::chain::two_venues;
use crate::daemon::{DEADLINE, Daemon, Spec};
use crate::readers::{rings, stream};
use crate::support::{Server, client};
use crate::truth::{STREAM, Trades, issued, stored_in, wait_for_end};

pub(crate) const EXCHANGES: [&str; 2] = ["binance", "coinbase"];
const SETTING: &str = "TRANSPORT__NATS__JETSTREAM__STREAM_PER_EXCHANGE";

/// A daemon that publishes each exchange to a stream of its own.
pub(crate) fn spec(sim: &Sim, server: &Server) -> Spec {
    Spec::new(sim).nats(&server.url()).with(SETTING, "true")
}

pub(crate) fn stream_of(exchange: &str) -> String {
    format!("{STREAM}_{}", exchange.to_ascii_uppercase())
}

/// What was issued of an exchange.
pub(crate) fn of(issued: &Trades, exchange: &str) -> Trades {
    issued.iter().filter(|((name, _), _)| name == exchange).map(|(key, trades)| (key.clone(), trades.clone())).collect()
}

async fn assert_whole(server: &Server, issued: &Trades) {
    for exchange in EXCHANGES {
        let stream = stream_of(exchange);
        stored_in(&server.url(), &stream).await.assert_whole(&of(issued, exchange), &stream);
    }
}

fn publishes_again(daemon: &mut Daemon) {
    daemon.wait(|daemon| (daemon.metric("publisher_live") == 2).then_some(()), "to publish to both streams");
}

/// The binary with this setting and both exchanges.
fn command(server: &Server, arguments: &[&str]) -> Output {
    prepared(server, arguments).output().unwrap()
}

fn prepared(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    command.args(arguments).env_remove("DATA_MANAGER_CONFIG").env_remove("RUST_LOG");
    command.env("DATA_MANAGER__TRANSPORT__NATS__SERVERS", server.url()).env(format!("DATA_MANAGER__{SETTING}"), "true");
    for exchange in EXCHANGES {
        command.env(format!("DATA_MANAGER__EXCHANGES__{}__SYMBOLS", exchange.to_ascii_uppercase()), "BTCUSD");
    }
    // Less than the store of the test server.
    command.env("DATA_MANAGER__TRANSPORT__NATS__JETSTREAM__MAX_BYTES", "1GiB");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn each_exchange_has_its_stream_whole_over_a_kill_of_the_broker() {
    for version in ["2.10.26", "2.12.8", "2.15.1"] {
        let mut server = Server::builder().version(version).start();
        let sim = two_venues(4_000.0, 12_000);
        let mut daemon = spec(&sim, &server).with("SHARDS", "7").start();
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 6_000).then_some(()), "to publish");
        server.kill9();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.restart();
        publishes_again(&mut daemon);
        assert!(!sim.finished(), "the kill came too late to meet trades");
        wait_for_end(&mut daemon, &sim);
        let (_, status) = daemon.page("/status");
        for exchange in EXCHANGES {
            assert!(status.contains(&format!("\"stream\":\"{}\"", stream_of(exchange))), "{status}");
        }
        handed_over(&daemon, &server, &issued(&sim));
        let log = daemon.drain();
        assert!(log.contains("\"shards\":2") && log.contains("\"stream\":\"MARKET_DATA_COINBASE\""), "{log}");
        assert_whole(&server, &issued(&sim)).await;
        let context = jetstream::new(client(&server.url()).await);
        // Two streams, and the buckets of venues and instruments.
        assert_eq!(context.query_account().await.unwrap().streams, 4, "{version}");
        read_by_commands(&server, &issued(&sim));
    }
}

/// A ring and its exchange's stream, one after the other.
fn handed_over(daemon: &Daemon, server: &Server, issued: &Trades) {
    for exchange in EXCHANGES {
        let ipc = rings(daemon, exchange);
        let mut nats = NatsConfig { stream_per_exchange: true, ..stream(server, "all", "") };
        let wanted: usize = of(issued, exchange).values().map(Vec::len).sum();
        let read = std::thread::spawn(move || {
            let refused = HandoverSource::open(&ipc, &NatsConfig { durable: "x".to_owned(), ..nats.clone() });
            assert!(refused.is_err());
            let both = data_manager::source::NatsSource::open(&nats).err().unwrap().to_string();
            assert!(
                both.contains("data_source.nats.stream_per_exchange") && both.contains("a source for each"),
                "{both}"
            );
            nats.exchanges = vec![exchange.to_owned()];
            let ipc = data_manager::source::IpcConfig { exchanges: nats.exchanges.clone(), ..ipc };
            let mut source = HandoverSource::open(&ipc, &nats).unwrap();
            let (begun, mut count) = (Instant::now(), 0);
            while !source.is_live() {
                count += usize::from(source.next(Duration::from_millis(50)).unwrap().is_some());
                assert!(begun.elapsed() < DEADLINE, "the seam never came");
            }
            while source.next(Duration::from_millis(300)).unwrap().is_some() {
                count += 1;
            }
            count
        });
        // History that a venue sends at a subscription stands in both too.
        assert!(read.join().unwrap() >= wanted, "{exchange}");
    }
}

/// A symbol need not be in each stream; one that is in none is told.
fn by_symbol(server: &Server, issued: &Trades) {
    let is_in = |exchange: &str, symbol: &str| issued.contains_key(&(exchange.to_owned(), symbol.to_owned()));
    let mut symbols = issued.keys().map(|(_, symbol)| symbol.as_str());
    let only = symbols.find(|symbol| is_in("binance", symbol) && !is_in("coinbase", symbol)).unwrap();
    let done = command(server, &["verify", "--symbols", only]);
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success() && out.contains(only), "{out}\n{err}");
    let done = command(server, &["verify", "--symbols", &format!("{only},NOSUCHUSD")]);
    let err = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{err}");
    assert!(err.contains("none of the streams holds trades of NOSUCHUSD"), "{err}");
    // Spelled otherwise, and twice.
    let twice =
        ["tail", "--nats", "--since", "start", "--count", "1", "--exchange", "Binance", "--exchange", "binance"];
    let done = command(server, &twice);
    assert!(done.status.success() && text(&done.stdout).lines().count() >= 1, "{}", text(&done.stderr));
    let mistaken = ["tail", "--nats", "--since", "start", "--count", "1", "--exchange", "okx", "--exchange", "binanse"];
    let done = command(server, &[mistaken.as_slice(), &["--exchange", "binance"]].concat());
    assert!(text(&done.stderr).contains("did you mean binance?"), "{}", text(&done.stderr));
}

fn read_by_commands(server: &Server, issued: &Trades) {
    let done = command(server, &["verify"]);
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
    let heads = EXCHANGES.map(|exchange| out.find(&format!("stream {}", stream_of(exchange))));
    assert!(heads[0] < heads[1] && heads[0].is_some(), "{out}");
    let done = command(server, &["verify", "--json"]);
    let lines: Vec<Value> = text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_kind = |kind: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["kind"] == kind).map(|line| &line["stream"]).collect()
    };
    assert_eq!(
        of_kind("verdict"),
        EXCHANGES.map(|exchange| Value::from(stream_of(exchange))).iter().collect::<Vec<_>>()
    );
    assert!(of_kind("instrument").iter().all(|stream| stream.is_string()), "{}", text(&done.stdout));
    let done = command(server, &["verify", "--exchange", "coinbase", "--exchange", "okx"]);
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(1), "{out}\n{err}");
    assert!(out.contains("coinbase") && err.contains("MARKET_DATA_OKX"), "{out}\n{err}");

    by_symbol(server, issued);
    let all: usize = issued.values().map(Vec::len).sum();
    let tail = ["tail", "--nats", "--since", "start", "--format", "csv", "--count"];
    let done = command(server, &[tail.as_slice(), &[&all.to_string()]].concat());
    let out = text(&done.stdout);
    let has = |exchange: &str| out.lines().any(|line| line.split(',').any(|cell| cell == exchange));
    assert!(EXCHANGES.into_iter().all(has), "{}\n{}", text(&done.stderr), out.len());
    let both = ["--exchange", "binance", "--exchange", "coinbase"];
    let done = command(server, &[tail.as_slice(), &[&all.to_string()], &both].concat());
    assert!(done.status.success() && text(&done.stdout).lines().count() == all + 1, "{}", text(&done.stderr));
    one_is_missing(server, of(issued, "coinbase").values().map(Vec::len).sum());
    let done = command(server, &["tail", "--nats", "--since", "#5", "--count", "1"]);
    assert!(text(&done.stderr).contains("choose it by one --exchange"), "{}", text(&done.stderr));

    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("all").display().to_string();
    let done = command(server, &["record", "--nats", "-o", &folder]);
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("`record` takes one of MARKET_DATA_BINANCE, MARKET_DATA_COINBASE"));
    let done = command(server, &["record", "--nats", "--exchange", "coinbase", "-o", &folder]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".parquet"))
        .collect();
    assert!(!names.is_empty() && names.iter().all(|name| name.starts_with("MARKET_DATA_COINBASE-")), "{names:?}");
    let again = ["replay", &folder, "--to-nats", "--stream", "AGAIN", "--subject-prefix", "again", "--speed", "max"];
    let done = command(server, &again);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("to stream AGAIN"), "{}", text(&done.stderr));
    let again = ["replay", &folder, "--to-nats", "--subject-prefix", "each", "--speed", "max"];
    let mut again = prepared(server, &again);
    let done = again.env("DATA_MANAGER__TRANSPORT__NATS__JETSTREAM__STREAM_NAME", "EACH").output().unwrap();
    assert!(text(&done.stderr).contains("to stream EACH_COINBASE"), "{}", text(&done.stderr));
    assert!(done.status.success(), "{}", text(&done.stderr));
}

/// A stream that is not there ends neither what reads the other one, nor is it passed over in silence.
fn one_is_missing(server: &Server, there: usize) {
    let one = ["--exchange", "okx", "--exchange", "coinbase"];
    let count = there.to_string();
    let done = command(server, &[["tail", "--nats", "--since", "start", "--count", &count].as_slice(), &one].concat());
    let told = text(&done.stderr);
    assert!(done.status.success() && text(&done.stdout).lines().count() == there, "{told}");
    assert!(told.contains("MARKET_DATA_OKX") && told.contains("the others are read"), "{told}");
    let done =
        command(server, &[["top", "--nats", "--json", "--count", "1", "--status", ""].as_slice(), &one].concat());
    let out = text(&done.stdout);
    assert!(done.status.success() && out.contains("MARKET_DATA_OKX"), "{out}\n{}", text(&done.stderr));
    for reader in ["tail", "top"] {
        let done = command(server, &[reader, "--nats", "--exchange", "okx", "--exchange", "binance-usdm"]);
        let told = text(&done.stderr);
        assert!(done.status.code() == Some(1) && told.contains("_OKX") && told.contains("_BINANCE_USDM"), "{told}");
    }
}

#[tokio::test]
async fn a_stream_that_comes_later_is_read_from_its_first_record() {
    for version in ["2.10.26", "2.15.1"] {
        let server = Server::builder().version(version).start();
        let context = jetstream::new(client(&server.url()).await);
        let make = async |exchange: &str| {
            let subjects = vec![format!("market.{exchange}.*.trades"), format!("market.{exchange}.*.gaps")];
            let config = jetstream::stream::Config { name: stream_of(exchange), subjects, ..Default::default() };
            context.create_stream(config).await.unwrap();
        };
        make("coinbase").await;
        let one = ["tail", "--nats", "--exchange", "okx", "--exchange", "coinbase", "--count", "1", "--format", "csv"];
        let mut tail = prepared(&server, &one);
        let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(tail.stderr.take().unwrap()).lines();
        let waits = |line: &str| line.contains("MARKET_DATA_OKX") && line.contains("it is tried again");
        assert!(told.any(|line| waits(&line.unwrap())), "{version}");
        make("okx").await;
        let trade = TradeMsg { trade_id: 7, kind: 1, ..bytemuck::Zeroable::zeroed() };
        let payload = Record::Trade(trade).as_bytes().to_vec();
        context.publish("market.okx.BTCUSDT.trades", payload.into()).await.unwrap().await.unwrap();
        let done = tail.wait_with_output().unwrap();
        assert!(text(&done.stdout).lines().nth(1).is_some_and(|line| line.contains("okx")), "{version}: {done:?}");
    }
}

#[tokio::test]
async fn the_stream_of_all_that_is_still_there_is_told_with_its_cure_and_nothing_is_lost_meanwhile() {
    let mut server = Server::start();
    let sim = two_venues(4_000.0, 20_000);
    let mut all = Spec::new(&sim).nats(&server.url()).with("SHUTDOWN_TIMEOUT", "1s").start();
    all.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    server.kill9();
    all.wait(|daemon| (daemon.metric("publish_waiting_records") > 2_000).then_some(()), "to keep records");
    all.signal(rustix::process::Signal::TERM);
    assert_eq!(all.ended().code(), Some(1), "{}", all.log());
    server.restart();

    let sim = two_venues(4_000.0, 8_000);
    let mut each = Spec::instead_of(&sim, &mut all).nats(&server.url()).with(SETTING, "true").start();
    let told = |daemon: &mut Daemon| {
        let log = daemon.log();
        let words = [
            "cannot create stream MARKET_DATA_BINANCE",
            "cannot create stream MARKET_DATA_COINBASE",
            "stream MARKET_DATA takes market.binance.*.trades and market.binance.*.gaps already",
            "stream_per_exchange = false",
            "another run left records on disk, and no shard of this one sends them",
        ];
        words.iter().all(|word| log.contains(word)).then_some(())
    };
    each.wait(told, "to tell what is wrong, and what the run before has left");
    each.wait(|_| sim.finished().then_some(()), "to read all that was traded");
    let (code, reasons) = each.page("/readyz");
    assert!(code == 503 && reasons.contains("nats (MARKET_DATA_COINBASE) is connecting"), "{reasons}");
    let context = jetstream::new(client(&server.url()).await);
    context.delete_stream(STREAM).await.unwrap();
    wait_for_end(&mut each, &sim);
    each.drain();
    assert_whole(&server, &issued(&sim)).await;
}
