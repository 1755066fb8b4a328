//! Of several daemons on the same buckets: who writes, who does not, and what is said of it.

use std::time::{Duration, Instant};

use data_manager::sim::{Fault, Which};
use futures_util::StreamExt as _;
use rustix::process::Signal;
use serde_json::Value;

use super::{STATUS, TROUBLE, assert_instruments, connected, denying, kv_of, read, until};
use crate::chain::two_venues;
use crate::daemon::{DEADLINE, Daemon, Spec};
use crate::support::{Server, client};

#[tokio::test]
async fn of_a_pair_the_one_that_publishes_writes() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let one = |id: &str| {
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__PAIR__ENABLED", "true");
        // A busy machine does not make a leader late.
        spec.with("TRANSPORT__NATS__PAIR__ID", id).with("TRANSPORT__NATS__PAIR__LEASE", "5s").start()
    };
    let client = client(&server.url()).await;
    let is = |id: &'static str| move |entry: &Value| entry["instance"] == id && entry["state"] == "connected";
    let first = one("first");
    until(&first, &client, (STATUS, "binance"), is("first")).await;
    let mut second = one("second");
    let stands_by = |daemon: &mut Daemon| (kv_of(daemon)[0]["state"] == "standing by").then_some(());
    second.wait(stands_by, "to stand by");
    // Both see the same changes, and only one tells of them: nothing of the other is even refused.
    let mut puts = client.subscribe("$KV.venue-status.>").await.unwrap();
    client.flush().await.unwrap();
    for state in ["down", "connected"] {
        let start = Instant::now();
        loop {
            if state != "connected" {
                // A connection that is back at once may be no change: once more, until there is one.
                sim.inject(Fault::Drop { exchange: "binance".to_owned(), which: Which::All }).unwrap();
            }
            let Ok(put) = tokio::time::timeout(Duration::from_secs(1), puts.next()).await else {
                assert!(start.elapsed() < DEADLINE, "{state}: {}", first.log());
                continue;
            };
            let put = put.unwrap();
            let entry: Value = serde_json::from_slice(&put.payload).unwrap();
            assert_eq!(entry["instance"], "first", "{}: {entry}\n{}", put.subject, first.log());
            if entry["exchange"] == "binance" && (entry["state"] == "connected") == (state == "connected") {
                break;
            }
        }
    }
    puts.unsubscribe().await.unwrap();
    assert_eq!((second.metric("kv_puts_total"), second.metric("kv_failures_total")), (0, 0));
    let log = first.drain();
    assert!(!log.contains(TROUBLE), "{log}");
    // However the last word of the first one and the first of the second one met.
    until(&second, &client, (STATUS, "binance"), is("second")).await;
    until(&second, &client, (STATUS, "coinbase"), is("second")).await;
    let mut third = one("third");
    third.wait(stands_by, "to stand by");
    second.signal(Signal::KILL);
    until(&third, &client, (STATUS, "binance"), is("third")).await;
    assert_instruments(&third, &client, &sim, "binance").await;
    third.drain();
    assert_eq!(read(&client, STATUS, "binance").await.unwrap()["reason"], "stopped");
}

#[tokio::test]
async fn a_leader_without_its_broker_does_not_stand_by() {
    let mut server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__PAIR__ENABLED", "true");
    let mut daemon = spec.with("TRANSPORT__NATS__PAIR__ID", "only").start();
    let client = client(&server.url()).await;
    connected(&daemon, &client, "binance").await;
    server.kill9();
    let waits = |daemon: &mut Daemon| (kv_of(daemon)[0]["state"] == "waiting").then_some(());
    daemon.wait(waits, "to wait");
    let lost = |daemon: &mut Daemon| daemon.log().contains("the lease was lost").then_some(());
    daemon.wait(lost, "to lose the lease");
    for _ in 0..10 {
        assert_eq!(kv_of(&daemon)[0]["state"], "waiting");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.restart_live().await;
    connected(&daemon, &client, "binance").await;
    daemon.drain();
}

#[tokio::test]
async fn a_pair_that_cannot_use_its_lease_is_not_ready_and_says_why() {
    let server = Server::builder().config(&denying("\"$JS.API.STREAM.CREATE.KV_DATA_MANAGER\"")).start();
    let sim = two_venues(500.0, 1_000_000);
    let client = client(&server.url()).await;
    let one = || {
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__PAIR__ENABLED", "true");
        let spec = spec.with("TRANSPORT__NATS__USER", "few").with("TRANSPORT__NATS__PASSWORD", "p");
        spec.with("TRANSPORT__NATS__JETSTREAM__STREAM_NAME", "TRADES@EU").start()
    };
    let mut pair = [one(), one()];
    for daemon in &mut pair {
        let said = |daemon: &mut Daemon| {
            let (code, text) = daemon.page("/readyz");
            (code == 503 && text.contains("$JS.API.STREAM.CREATE.KV_DATA_MANAGER")).then_some(())
        };
        daemon.wait(said, "to say why nobody publishes");
        // The stream can be read all the while, and that makes nobody ready.
        for _ in 0..30 {
            assert_eq!(daemon.page("/readyz").0, 503, "{}", daemon.page("/status").1);
            assert_eq!(kv_of(daemon)[0]["state"], "waiting");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // A lease that may be looked at and not be written is nobody's either.
    server.reload(&denying("\"$KV.DATA_MANAGER.>\""));
    for daemon in &mut pair {
        let right = "let this user publish to $KV.DATA_MANAGER.>";
        let said = |daemon: &mut Daemon| daemon.page("/readyz").1.contains(right).then_some(());
        daemon.wait(said, "to say what else is missing");
        assert_eq!((daemon.page("/readyz").0, daemon.metric("published_trades_total")), (503, 0));
    }
    server.reload(&denying("\"nothing\""));
    connected(&pair[0], &client, "binance").await;
    for daemon in &mut pair {
        daemon.wait(|daemon| (daemon.page("/readyz").0 == 200).then_some(()), "to be ready");
    }
    let status = pair.each_ref().map(|daemon| daemon.page("/status").1);
    let follow = status.iter().filter(|status| status.contains("\"state\":\"standing by\"")).count();
    assert!(follow > 0, "{status:?}");
    pair.into_iter().for_each(|daemon| drop(daemon.drain()));
}

#[tokio::test]
async fn two_of_one_name_are_told_and_do_not_take_turns() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let one = || {
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__PAIR__ENABLED", "true");
        spec.with("TRANSPORT__NATS__PAIR__ID", "same").with("TRANSPORT__NATS__PAIR__LEASE", "5s").start()
    };
    let client = client(&server.url()).await;
    let mut first = one();
    connected(&first, &client, "binance").await;
    let mut second = one();
    let told = |daemon: &mut Daemon| daemon.log().contains("has the same transport.nats.pair.id").then_some(());
    second.wait(told, "to tell");
    let before = first.metric("published_trades_total");
    first.wait(|daemon| (daemon.metric("published_trades_total") > before + 500).then_some(()), "to go on");
    let status: Value = serde_json::from_str(&second.page("/status").1).unwrap();
    assert_eq!(status["shards"][0]["nats"]["leader"], "same", "{status}");
    assert_eq!(second.metric("published_trades_total"), 0);
    let log = second.drain();
    assert!(!log.contains("this instance publishes"), "{log}");
    let log = first.drain();
    assert!(!log.contains("the lease was lost"), "{log}");
}

#[tokio::test]
async fn two_daemons_on_one_bucket_are_told() {
    let server = Server::start();
    let sim = two_venues(500.0, 1_000_000);
    let client = client(&server.url()).await;
    let one = |name: &str| {
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__JETSTREAM__STREAM_NAME", name);
        spec.with("TRANSPORT__NATS__JETSTREAM__SUBJECT_PREFIX", name).with("FEED__BACKOFF_MAX", "500ms").start()
    };
    let daemons = [one("one"), one("two")];
    let start = Instant::now();
    let is_told = || daemons.iter().any(|daemon| daemon.log().contains("somebody else writes the same entries"));
    while !is_told() {
        assert!(start.elapsed() < DEADLINE, "{}", daemons[0].log());
        connected(&daemons[0], &client, "binance").await;
        sim.inject(Fault::Drop { exchange: "binance".to_owned(), which: Which::All }).unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    connected(&daemons[0], &client, "binance").await;
    for daemon in daemons {
        let log = daemon.drain();
        assert!(log.matches("somebody else writes").count() <= 1 && !log.contains(TROUBLE), "{log}");
    }
}
