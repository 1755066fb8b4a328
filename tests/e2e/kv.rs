//! What the KV buckets tell of venues and instruments, through all that happens to venues, brokers and rights.

use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, kv};
use data_manager::config::settings::Nats;
use data_manager::exchange::by_name;
use data_manager::feed::instruments::instruments;
use data_manager::market::instrument::instrument_id;
use data_manager::sim::{Fault, Sim, Which};
use data_manager::transport::nats::stream_manager;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::chain::two_venues;
use crate::daemon::{DEADLINE, Daemon, Spec};
use crate::support::{Server, client};

mod several;

const STATUS: &str = "venue-status";
const INSTRUMENTS: &str = "instruments";
const TROUBLE: &str = "cannot write the KV bucket";

/// Users `all`, whom everybody is, and `few`, who may not publish to these subjects.
fn denying(subjects: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: all, password: p }}, {{ user: few, password: p, permissions: {{ \
         publish: {{ deny: [{subjects}] }} }} }} ] }}\nno_auth_user: all"
    )
}

/// An entry; `None` where there is none.
async fn read(client: &Client, bucket: &str, key: &str) -> Option<Value> {
    let store = jetstream::new(client.clone()).get_key_value(bucket).await.ok()?;
    let value = store.get(key).await.ok()??;
    Some(serde_json::from_slice(&value).unwrap())
}

/// Waits until an entry is as it should be.
async fn until(daemon: &Daemon, client: &Client, at: (&str, &str), is: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let entry = read(client, at.0, at.1).await;
        if let Some(entry) = entry.clone().filter(|entry| is(entry)) {
            return entry;
        }
        let page = || daemon.page("/status").1;
        assert!(start.elapsed() < DEADLINE, "{at:?} is {entry:?}; /status says {}\n{}", page(), daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn connected(daemon: &Daemon, client: &Client, exchange: &str) -> Value {
    until(daemon, client, (STATUS, exchange), |entry| entry["state"] == "connected").await
}

async fn streams(client: &Client) -> Vec<String> {
    let context = jetstream::new(client.clone());
    let mut names: Vec<String> = context.stream_names().map(Result::unwrap).collect().await;
    names.sort();
    names
}

fn kv_of(daemon: &Daemon) -> Value {
    serde_json::from_str::<Value>(&daemon.page("/status").1).unwrap()["kv"].clone()
}

/// Each instrument of a venue is told as the venue's own list has it.
async fn assert_instruments(daemon: &Daemon, client: &Client, sim: &Sim, exchange: &str) {
    let rest_url = sim.endpoint(exchange).unwrap().rest_url;
    let listed = instruments(by_name(exchange).unwrap(), &rest_url, Duration::from_secs(30)).await.unwrap();
    for symbol in sim.symbols(exchange) {
        let key = format!("{exchange}.{symbol}");
        let entry = until(daemon, client, (INSTRUMENTS, &key), |entry| !entry["tick"].is_null()).await;
        let one = listed.iter().find(|one| one.symbol.as_str() == symbol).unwrap();
        let wanted = json!({
            "exchange": exchange, "symbol": symbol, "venue_symbol": one.venue_symbol,
            "id": instrument_id(exchange, &symbol), "tick": one.tick_size, "lot": one.lot_size, "trading": true,
        });
        assert_eq!(entry, wanted);
    }
}

async fn assert_natures(client: &Client) {
    let context = jetstream::new(client.clone());
    let (memory, file) = (jetstream::stream::StorageType::Memory, jetstream::stream::StorageType::File);
    for (bucket, storage, ttl) in [(STATUS, memory, 300), (INSTRUMENTS, file, 86_400)] {
        let stream = context.get_stream(format!("KV_{bucket}")).await.unwrap();
        let config = &stream.cached_info().config;
        assert_eq!((config.storage, config.max_age.as_secs()), (storage, ttl), "{bucket}");
        assert_eq!(config.max_messages_per_subject, 1, "{bucket}");
    }
}

async fn a_life(version: &str) {
    let server = Server::builder().version(version).start();
    let sim = two_venues(500.0, 1_000_000);
    let daemon = Spec::new(&sim).nats(&server.url()).with("FEED__BACKOFF_MAX", "500ms").start();
    let client = client(&server.url()).await;
    for exchange in sim.venues() {
        let entry = connected(&daemon, &client, exchange).await;
        let told = ["exchange", "reason", "connections", "live", "symbols"].map(|field| entry[field].clone());
        let wanted = json!([exchange, "", 1, 1, sim.symbols(exchange).len()]);
        assert_eq!(json!(told), wanted, "{entry}");
        assert_eq!(entry["version"], env!("CARGO_PKG_VERSION"));
        let instance = entry["instance"].as_str().unwrap();
        assert!(instance.ends_with(&format!("-{}", daemon.pid())), "{instance}");
        assert_instruments(&daemon, &client, &sim, exchange).await;
    }
    assert_natures(&client).await;
    let mut puts = client.subscribe("$KV.venue-status.binance").await.unwrap();
    client.flush().await.unwrap();
    let exchange = || "binance".to_owned();
    let refuse = Fault::RefuseUpgrade { exchange: exchange(), status: 503, retry_after: None, times: 8 };
    sim.inject(refuse).unwrap();
    sim.inject(Fault::Drop { exchange: exchange(), which: Which::All }).unwrap();
    let mut next = async |state: &str| loop {
        let put = tokio::time::timeout(DEADLINE, puts.next()).await.unwrap().unwrap();
        let entry: Value = serde_json::from_slice(&put.payload).unwrap();
        if entry["state"] == state {
            return entry;
        }
    };
    let down = next("down").await;
    assert!(down["reason"].as_str().unwrap().starts_with("binance has no live connection"), "{down}");
    assert_eq!((&down["live"], &down["connections"]), (&json!(0), &json!(1)));
    let back = next("connected").await;
    assert!(back["since"].as_str() > down["since"].as_str(), "{back} after {down}");
    assert_eq!(connected(&daemon, &client, "coinbase").await["reason"], "", "it was never away");
    let log = daemon.drain();
    assert!(!log.contains(TROUBLE), "{log}");
    for exchange in sim.venues() {
        let last = read(&client, STATUS, exchange).await.unwrap();
        assert_eq!((&last["state"], &last["reason"], &last["live"]), (&json!("down"), &json!("stopped"), &json!(0)));
    }
}

#[tokio::test]
async fn a_life_is_told_from_connect_to_drain() {
    a_life("2.15.1").await;
}

#[tokio::test]
async fn a_life_is_told_from_connect_to_drain_on_2_12() {
    a_life("2.12.8").await;
}

#[tokio::test]
async fn a_life_is_told_from_connect_to_drain_on_2_10() {
    a_life("2.10.26").await;
}

#[tokio::test]
async fn a_broker_that_starts_anew_is_told_all_again() {
    for version in ["2.10.26", "2.12.8", "2.15.1"] {
        let mut server = Server::builder().version(version).start();
        let sim = two_venues(500.0, 1_000_000);
        let daemon = Spec::new(&sim).nats(&server.url()).start();
        let client = client(&server.url()).await;
        connected(&daemon, &client, "binance").await;
        let key = format!("binance.{}", sim.symbols("binance")[0]);
        until(&daemon, &client, (INSTRUMENTS, &key), |entry| !entry["tick"].is_null()).await;
        for _ in 0..2 {
            server.kill9();
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.restart_live().await;
            connected(&daemon, &client, "binance").await;
            connected(&daemon, &client, "coinbase").await;
            until(&daemon, &client, (INSTRUMENTS, &key), |entry| !entry["tick"].is_null()).await;
        }
        daemon.drain();
        assert_eq!(read(&client, STATUS, "binance").await.unwrap()["reason"], "stopped", "{version}");
    }
}

#[tokio::test]
async fn a_bucket_that_somebody_removes_comes_back() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let daemon = Spec::new(&sim).nats(&server.url()).with("FEED__BACKOFF_MAX", "500ms").start();
    let client = client(&server.url()).await;
    connected(&daemon, &client, "binance").await;
    jetstream::new(client.clone()).delete_key_value(STATUS).await.unwrap();
    // The next change finds out; a connection that is back at once may be none.
    let start = Instant::now();
    while read(&client, STATUS, "binance").await.is_none() {
        assert!(start.elapsed() < DEADLINE, "{}", daemon.log());
        sim.inject(Fault::Drop { exchange: "binance".to_owned(), which: Which::All }).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    connected(&daemon, &client, "binance").await;
    connected(&daemon, &client, "coinbase").await;
    let log = daemon.drain();
    assert_eq!(log.matches(TROUBLE).count(), 1, "{log}");
    assert!(log.contains("the KV bucket is written again"), "{log}");
}

#[tokio::test]
async fn rights_that_are_missing_disturb_nothing_and_are_told_once_with_the_cure() {
    let deny = "\"$KV.venue-status.>\", \"$JS.API.STREAM.CREATE.KV_instruments\"";
    let server = Server::builder().config(&denying(deny)).start();
    let sim = two_venues(500.0, 1_000_000);
    let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__USER", "few");
    let mut daemon = spec.with("TRANSPORT__NATS__PASSWORD", "p").start();
    let client = client(&server.url()).await;
    let failed = |daemon: &mut Daemon| {
        let often = ["status", "instruments"];
        let often = often.map(|bucket| daemon.metric_of("kv_failures_total", &format!("bucket=\"{bucket}\"")) >= 3);
        (often == [true, true]).then_some(())
    };
    daemon.wait(failed, "to try several times");
    let before = daemon.metric("published_trades_total");
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > before + 500).then_some(()), "to publish");
    assert_eq!(daemon.page("/readyz").0, 200, "{}", daemon.page("/readyz").1);
    assert_eq!(daemon.metric("publish_window_rewinds_total"), 0, "{}", daemon.log());
    let log = daemon.log();
    assert_eq!(log.matches(TROUBLE).count(), 2, "{log}");
    assert!(log.contains("let this user publish to $KV.venue-status.>"), "{log}");
    assert!(log.contains("let this user publish to $JS.API.STREAM.CREATE.KV_instruments"), "{log}");
    assert_eq!(daemon.metric("kv_written"), 0);
    assert_eq!(kv_of(&daemon)[0]["state"], "waiting");
    assert!(kv_of(&daemon)[0]["last_error"].as_str().unwrap().contains("venue-status"));
    server.reload(&denying("\"nothing\""));
    connected(&daemon, &client, "binance").await;
    assert_instruments(&daemon, &client, &sim, "coinbase").await;
    daemon.wait(|daemon| (daemon.metric("kv_written") == 2).then_some(()), "to say so");
    daemon.drain();
}

#[tokio::test]
async fn one_refused_entry_silences_no_other_and_a_short_life_is_nobodys_doing() {
    let server = Server::builder().config(&denying("\"$KV.venue-status.coinbase\"")).start();
    let sim = two_venues(500.0, 1_000_000);
    let client = client(&server.url()).await;
    let (bucket, max_age) = (STATUS.to_owned(), Duration::from_secs(6));
    let short = kv::Config { bucket, max_age, history: 1, ..kv::Config::default() };
    jetstream::new(client.clone()).create_key_value(short).await.unwrap();
    let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__USER", "few");
    let mut daemon = spec.with("TRANSPORT__NATS__PASSWORD", "p").start();
    connected(&daemon, &client, "binance").await;
    let failed = |daemon: &mut Daemon| (daemon.metric_of("kv_failures_total", "bucket=\"status\"") >= 3).then_some(());
    daemon.wait(failed, "to try the other one several times");
    for _ in 0..80 {
        assert!(read(&client, STATUS, "binance").await.is_some(), "{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((daemon.metric("kv_written"), read(&client, STATUS, "coinbase").await), (2, None));
    assert!(kv_of(&daemon)[0]["last_error"].as_str().unwrap().contains("venue-status.coinbase"));
    server.reload(&denying("\"nothing\""));
    connected(&daemon, &client, "coinbase").await;
    let log = daemon.drain();
    assert!(log.matches(TROUBLE).count() == 1 && !log.contains("somebody else"), "{log}");
}

#[tokio::test]
async fn with_verify_nothing_is_created_and_the_documented_rights_are_enough() {
    let may = [
        "market.>",
        "$JS.API.STREAM.INFO.MARKET_DATA",
        "$JS.API.STREAM.MSG.GET.MARKET_DATA",
        "$JS.API.DIRECT.GET.MARKET_DATA",
        "$JS.API.DIRECT.GET.MARKET_DATA.>",
        "$JS.API.CONSUMER.*.MARKET_DATA",
        "$JS.API.CONSUMER.*.MARKET_DATA.>",
        "$JS.API.CONSUMER.MSG.NEXT.MARKET_DATA.>",
        "$KV.venue-status.>",
        "$KV.instruments.>",
        "$JS.API.STREAM.INFO.KV_venue-status",
        "$JS.API.STREAM.INFO.KV_instruments",
    ];
    let config = format!(
        "authorization {{ users: [ {{ user: all, password: p }}, {{ user: few, password: p, permissions: {{ \
         publish: {may:?}, subscribe: [\"_INBOX.>\"] }} }} ] }}\nno_auth_user: all"
    );
    let server = Server::builder().config(&config).start();
    let client = client(&server.url()).await;
    let mut settings = Nats::default();
    settings.jetstream.max_bytes = (1 << 30).into();
    stream_manager::ensure(&client, &settings).await.unwrap();
    let sim = two_venues(500.0, 1_000_000);
    let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__JETSTREAM__MANAGE", "verify");
    let spec = spec.with("TRANSPORT__NATS__USER", "few").with("TRANSPORT__NATS__PASSWORD", "p");
    let mut daemon = spec.start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 500).then_some(()), "to publish");
    let told = |daemon: &mut Daemon| (daemon.log().matches(TROUBLE).count() == 2).then_some(());
    daemon.wait(told, "to tell what is missing");
    let cure = "`nats kv add venue-status --history 1 --ttl 5m --storage memory`";
    assert!(daemon.log().contains(cure), "{}", daemon.log());
    assert_eq!(streams(&client).await, ["MARKET_DATA"]);
    assert_eq!(daemon.page("/readyz").0, 200);
    let context = jetstream::new(client.clone());
    for bucket in [STATUS, INSTRUMENTS] {
        let bucket = bucket.to_owned();
        context.create_key_value(kv::Config { bucket, history: 1, ..kv::Config::default() }).await.unwrap();
    }
    connected(&daemon, &client, "coinbase").await;
    assert_instruments(&daemon, &client, &sim, "binance").await;
    let log = daemon.drain();
    assert!(log.contains("the KV bucket is used as it is: max_age is unlimited, configured 5m"), "{log}");
    assert_eq!(log.matches(TROUBLE).count(), 2, "{log}");
    assert_eq!(streams(&client).await, ["KV_instruments", "KV_venue-status", "MARKET_DATA"]);
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__KV__ENABLED", "false").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 500).then_some(()), "to publish");
    assert_eq!(kv_of(&daemon), json!([]));
    daemon.drain();
    assert_eq!(streams(&client(&server.url()).await).await, ["MARKET_DATA"]);
}

#[tokio::test]
async fn what_a_venue_does_not_list_or_does_not_tell_is_said() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let exchange = "coinbase".to_owned();
    sim.inject(Fault::RefuseRest { exchange, status: 500, retry_after: None, times: u64::MAX }).unwrap();
    let mut symbols = sim.symbols("binance");
    symbols.push("NOSUCHUSDT".to_owned());
    let spec = Spec::new(&sim).nats(&server.url()).with("EXCHANGES__BINANCE__SYMBOLS", &symbols.join(","));
    let daemon = spec.start();
    let client = client(&server.url()).await;
    let unlisted = |entry: &Value| entry["state"] == "degraded" && entry["reason"].as_str().unwrap().contains("NOSUCH");
    until(&daemon, &client, (STATUS, "binance"), unlisted).await;
    let at = (INSTRUMENTS, "binance.NOSUCHUSDT");
    let entry = until(&daemon, &client, at, |_| true).await;
    assert_eq!((&entry["tick"], &entry["trading"]), (&Value::Null, &json!(false)));
    let symbol = sim.symbols("coinbase").remove(0);
    let key = format!("coinbase.{symbol}");
    let entry = until(&daemon, &client, (INSTRUMENTS, &key), |_| true).await;
    let id = json!(instrument_id("coinbase", &symbol));
    assert_eq!((&entry["tick"], &entry["lot"], &entry["trading"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!((&entry["id"], &entry["symbol"]), (&id, &json!(symbol)));
    connected(&daemon, &client, "coinbase").await;
    daemon.drain();
}

#[tokio::test]
async fn buckets_are_made_after_the_stream() {
    let server = Server::builder().config(&denying("\"$JS.API.STREAM.CREATE.MARKET_DATA\"")).start();
    let sim = two_venues(500.0, 1_000_000);
    let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__USER", "few");
    let mut daemon = spec.with("TRANSPORT__NATS__PASSWORD", "p").start();
    let client = client(&server.url()).await;
    let says = |daemon: &mut Daemon| {
        let is_early = |view: &Value| view["last_error"].as_str().is_some_and(|error| error.contains("has its stream"));
        (kv_of(daemon).as_array().unwrap().iter().all(is_early) && daemon.log().contains("cannot publish"))
            .then_some(())
    };
    daemon.wait(says, "to say what it waits for");
    assert_eq!(streams(&client).await, [""; 0]);
    server.reload(&denying("\"nothing\""));
    connected(&daemon, &client, "binance").await;
    assert_instruments(&daemon, &client, &sim, "coinbase").await;
    assert_eq!(streams(&client).await, ["KV_instruments", "KV_venue-status", "MARKET_DATA"]);
    let log = daemon.drain();
    assert!(!log.contains(TROUBLE), "{log}");
}

#[tokio::test]
async fn what_an_earlier_run_was_told_stays_while_the_list_cannot_be_had() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let client = client(&server.url()).await;
    let first = Spec::new(&sim).nats(&server.url()).start();
    assert_instruments(&first, &client, &sim, "coinbase").await;
    first.drain();
    let exchange = "coinbase".to_owned();
    sim.inject(Fault::RefuseRest { exchange, status: 500, retry_after: None, times: u64::MAX }).unwrap();
    let mut puts = client.subscribe("$KV.instruments.coinbase.>").await.unwrap();
    client.flush().await.unwrap();
    let mut second = Spec::new(&sim).nats(&server.url()).start();
    let mut left: Vec<String> = sim.symbols("coinbase").iter().map(|one| format!("coinbase.{one}")).collect();
    while !left.is_empty() {
        let put = tokio::time::timeout(DEADLINE, puts.next()).await.unwrap().unwrap();
        let tried: Value = serde_json::from_slice(&put.payload).unwrap();
        assert_eq!(tried["tick"], Value::Null);
        left.retain(|key| !put.subject.ends_with(key));
    }
    second.wait(|daemon| (daemon.metric("kv_written") == 2).then_some(()), "to go on");
    for symbol in sim.symbols("coinbase") {
        let entry = read(&client, INSTRUMENTS, &format!("coinbase.{symbol}")).await.unwrap();
        assert!(entry["tick"].is_string() && entry["trading"] == true, "{entry}");
    }
    let log = second.drain();
    assert!(!log.contains(TROUBLE), "{log}");
}
