//! The harness itself: that servers, clusters, the proxy and the credentials of `support` are what they say.
#![allow(clippy::unwrap_used, reason = "a test that cannot run must stop")]

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use data_manager::telemetry::clock;
use support::{Cluster, Proxy, Server, Way, client, read_all, read_all_within, trades};
use tokio::time::timeout;

mod support;

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);
/// For what must not happen: long enough that it would, on any machine that is not overloaded.
const QUIET: Duration = Duration::from_millis(300);

async fn create(client: &async_nats::Client, replicas: usize) -> jetstream::Context {
    let context = jetstream::new(client.clone());
    let config = stream::Config {
        name: "TRADES".to_owned(),
        subjects: vec!["market.*.*.trades".to_owned()],
        num_replicas: replicas,
        ..stream::Config::default()
    };
    let start = clock::now();
    // A leader of the cluster elected just now takes its peers for offline until it has heard of them; one that is
    // being elected answers nobody.
    while let Err(error) = context.create_stream(&config).await {
        let passes = ["no suitable peers", "timed out"].iter().any(|words| error.to_string().contains(words));
        assert!(start.elapsed() < DEADLINE && passes, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    context
}

fn record(n: u64) -> [u8; 48] {
    let mut record = [0; 48];
    record[..8].copy_from_slice(&n.to_le_bytes());
    record
}

fn subject(n: u64) -> String {
    format!("market.sim.S{n}.trades")
}

/// Publishes `records` over three subjects and says what is expected.
async fn publish(context: &jetstream::Context, records: u64) -> trades::Expected {
    let mut expected: trades::Expected = BTreeMap::new();
    let mut last = None;
    for n in 0..records {
        let subject = subject(n % 3);
        expected.entry(subject.clone()).or_default().push(record(n));
        last = Some(context.publish(subject, record(n).to_vec().into()).await.unwrap());
        if n % 1_000 == 999 {
            last.take().unwrap().await.unwrap();
        }
    }
    if let Some(last) = last {
        last.await.unwrap();
    }
    expected
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let mut server = Server::start();
    let context = create(&client(&server.url()).await, 1).await;
    let expected = publish(&context, 30).await;
    let (url, port) = (server.url(), server.port());
    server.kill9();
    assert!(!server.is_running() && !server.is_ready());
    server.restart();
    assert_eq!((server.url(), server.port()), (url, port));
    let read = read_all(&client(&server.url()).await, "TRADES").await;
    trades::compare(&expected, &read).assert_clean();
    assert!(server.terminate().unwrap().success());
    server.restart_live().await;
    assert_eq!(read_all(&client(&server.url()).await, "TRADES").await, read);
    assert_eq!(server.log().matches("Server is ready").count(), 3, "{}", server.log());
}

#[tokio::test]
async fn every_pinned_version_starts() {
    for version in [support::DEFAULT_VERSION, "2.14.6", "2.12.8", "2.10.26"] {
        let server = Server::builder().version(version).start();
        let client = client(&server.url()).await;
        create(&client, 1).await;
        assert!(read_all(&client, "TRADES").await.is_empty());
        let told = client.server_info().version;
        assert!(told == version || std::env::var_os("NATS_SERVER").is_some(), "{told} is not {version}");
    }
}

#[tokio::test]
async fn two_hundred_thousand_messages_are_read_in_order() {
    let server = Server::start();
    let client = client(&server.url()).await;
    let context = create(&client, 1).await;
    let expected = publish(&context, 200_000).await;
    let read = read_all(&client, "TRADES").await;
    assert!(read.iter().map(|(sequence, _, _)| *sequence).eq(1..=200_000));
    trades::compare(&expected, &read).assert_clean();
}

#[tokio::test]
#[should_panic(expected = "read 0 of an unknown number of messages of stream TRADES within")]
async fn reading_gives_up_and_says_how_far_it_came() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url());
    let client = client(&proxy.url()).await;
    create(&client, 1).await;
    proxy.black_hole(Way::ToClient);
    read_all_within(&client, "TRADES", QUIET).await;
}

#[tokio::test]
async fn a_paused_server_is_silent_and_goes_on() {
    let mut server = Server::start();
    let client = client(&server.url()).await;
    for _ in 0..2 {
        server.pause();
        assert!(timeout(QUIET, jetstream::new(client.clone()).query_account()).await.is_err());
        server.resume();
        timeout(DEADLINE, jetstream::new(client.clone()).query_account()).await.unwrap().unwrap();
    }
    assert!(server.is_running());
    server.pause();
    server.kill9();
}

#[tokio::test]
async fn a_server_without_jetstream_serves_none() {
    let server = Server::builder().without_jetstream().start();
    let context = jetstream::new(client(&server.url()).await);
    assert!(context.query_account().await.is_err());
}

#[tokio::test]
async fn a_server_keeps_no_more_than_it_may() {
    let server = Server::builder().max_file_store("1MB").start();
    let context = jetstream::new(client(&server.url()).await);
    let config = |max_bytes| stream::Config { name: "TRADES".to_owned(), max_bytes, ..stream::Config::default() };
    assert!(context.create_stream(config(2_000_000)).await.is_err());
    context.create_stream(config(500_000)).await.unwrap();
}

#[test]
fn a_dropped_server_is_gone_with_its_store_also_when_a_test_panics() {
    let (told, seen) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let server = Server::start();
        assert!(server.store().exists());
        told.send((server.port(), server.store())).unwrap();
        panic!("on purpose");
    });
    let (port, store) = seen.recv().unwrap();
    assert!(test.join().is_err());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!store.exists());
}

#[tokio::test]
async fn a_cluster_elects_another_leader_and_takes_a_node_back() {
    let mut cluster = Cluster::start(3);
    let client = client(&cluster.url()).await;
    let context = create(&client, 3).await;
    let expected = publish(&context, 30).await;
    let old = cluster.leader("TRADES").await;
    let new = cluster.step_down("TRADES").await;
    assert_ne!(old, new);
    assert_eq!(cluster.leader("TRADES").await, new);
    cluster.kill9(new);
    assert!(!cluster.node_mut(new).is_running());
    assert_ne!(cluster.leader("TRADES").await, new);
    trades::compare(&expected, &read_all(&client, "TRADES").await).assert_clean();
    cluster.restart(new);
    assert!(cluster.node(new).is_healthy());
}

#[test]
fn a_comparison_counts_each_fault() {
    let expected: trades::Expected = [(subject(0), (0..6).map(record).collect())].into();
    let read: Vec<support::Read> =
        [0, 1, 3, 2, 1, 5, 9].into_iter().zip(1..).map(|(n, at)| (at, subject(0), record(n).to_vec())).collect();
    let verdict = trades::compare(&expected, &read);
    let faults = [verdict.lost, verdict.doubled, verdict.disordered, verdict.foreign];
    let starts = ["record 4 of", "record 1, sequence 5 ", "record 2 after 3, sequence 4 ", "sequence 7 "];
    for (fault, start) in faults.iter().zip(starts) {
        let first = fault.first.as_ref().unwrap();
        assert!(fault.count == 1 && first.starts_with(start), "{fault:?} for {start}");
    }
}

#[tokio::test]
async fn a_proxy_cuts_and_the_client_comes_back() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url());
    let client = client(&proxy.url()).await;
    let context = create(&client, 1).await;
    let expected = publish(&context, 30).await;
    let before = client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed);
    proxy.cut();
    timeout(DEADLINE, async {
        while client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    trades::compare(&expected, &read_all(&client, "TRADES").await).assert_clean();
}

#[tokio::test]
async fn a_black_hole_holds_one_way_or_both_until_it_is_passed() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url());
    let (behind, direct) = (client(&proxy.url()).await, client(&server.url()).await);
    let context = create(&direct, 1).await;
    let ours = jetstream::new(behind.clone());
    for (way, arrives) in [(Way::ToClient, 1), (Way::ToServer, 1), (Way::Both, 2)] {
        proxy.black_hole(way);
        let ack = ours.publish(subject(0), record(0).to_vec().into()).await.unwrap().into_future();
        tokio::pin!(ack);
        assert!(timeout(QUIET, &mut ack).await.is_err(), "{way:?}");
        assert_eq!(context.get_stream("TRADES").await.unwrap().cached_info().state.messages, arrives, "{way:?}");
        proxy.pass();
        timeout(DEADLINE, ack).await.unwrap().unwrap();
    }
    proxy.black_hole(Way::Both);
    let options = async_nats::ConnectOptions::new().connection_timeout(QUIET);
    assert!(options.connect(proxy.url()).await.is_err());
}

#[tokio::test]
async fn a_delay_holds_back_and_keeps_the_order() {
    let server = Server::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let (behind, direct) = (client(&proxy.url()).await, client(&server.url()).await);
    let (ours, theirs) = (jetstream::new(behind), create(&direct, 1).await);
    proxy.delay(Duration::from_secs(3_600));
    let delayed = ours.publish(subject(0), record(0).to_vec().into()).await.unwrap().into_future();
    let second = ours.publish(subject(0), record(1).to_vec().into()).await.unwrap().into_future();
    let overtaking = theirs.publish(subject(0), record(2).to_vec().into()).await.unwrap().await.unwrap();
    proxy.pass();
    let acks = timeout(DEADLINE, async { (delayed.await.unwrap(), second.await.unwrap()) }).await.unwrap();
    assert_eq!((overtaking.sequence, acks.0.sequence, acks.1.sequence), (1, 2, 3));
    proxy.delay(Duration::from_millis(20));
    let expected = publish(&ours, 300).await;
    let read: Vec<support::Read> = read_all(&direct, "TRADES").await.split_off(3);
    trades::compare(&expected, &read).assert_clean();
}
