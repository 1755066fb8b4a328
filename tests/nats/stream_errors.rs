//! Streams that cannot be had: each is told with what to do.

use async_nats::jetstream::{self, stream::Config};
use data_manager::config::settings::{JetStream, Manage, Nats};
use data_manager::transport::nats::connect::dial;
use data_manager::transport::nats::stream_manager::ensure;

use crate::kit::{VERSIONS, settings};
use crate::support::{Cluster, Server, client};

/// A server that has just begun, on a busy machine, may not answer in time: it is asked again so often.
const ATTEMPTS: usize = 10;

/// What `ensure` says with these settings.
async fn refused(url: &str, change: impl FnOnce(&mut JetStream)) -> String {
    let mut settings = settings(url);
    change(&mut settings.jetstream);
    let client = dial(&settings).await.unwrap();
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        match ensure(&client, &settings).await {
            Ok(report) => panic!("there is a stream: {report:?}"),
            Err(error) => said = error.to_string(),
        }
        if !said.contains("timed out") {
            break;
        }
    }
    said
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

async fn streams(server: &Server) -> usize {
    jetstream::new(client(&server.url()).await).query_account().await.unwrap().streams
}

#[tokio::test]
async fn a_missing_stream_is_not_made_unless_that_is_allowed() {
    let server = Server::start();
    let text = refused(&server.url(), |stream| stream.manage = Manage::Verify).await;
    says(&text, &["stream MARKET_DATA does not exist", "\"verify\"", "manage = \"create\""]);
    let text = refused(&server.url(), |stream| stream.manage = Manage::None).await;
    says(&text, &["stream MARKET_DATA does not exist", "\"none\"", "create it before"]);
    assert_eq!(streams(&server).await, 0);
}

#[tokio::test]
async fn subjects_that_another_stream_takes_are_told() {
    for version in VERSIONS {
        let server = Server::builder().version(version).start();
        let other =
            Config { name: "OTHER".to_owned(), subjects: vec!["market.binance.>".to_owned()], ..Config::default() };
        jetstream::new(client(&server.url()).await).create_stream(other).await.unwrap();
        let text = refused(&server.url(), |_| {}).await;
        says(&text, &["cannot create stream MARKET_DATA", "overlap", "another subject_prefix"]);
        assert_eq!(streams(&server).await, 1, "{version}");
    }
}

#[tokio::test]
async fn the_stream_of_all_that_has_the_subjects_of_an_exchange_is_named_and_the_other_way_round() {
    for version in VERSIONS {
        let server = Server::builder().version(version).start();
        let client = client(&server.url()).await;
        let settings = settings(&server.url());
        ensure(&client, &settings).await.unwrap();
        let text = refused(&server.url(), |stream| *stream = stream.of("okx")).await;
        says(
            &text,
            &["cannot create stream MARKET_DATA_OKX", "stream MARKET_DATA takes", "market.okx.*.gaps", "delete it"],
        );
        let context = jetstream::new(client.clone());
        context.delete_stream("MARKET_DATA").await.unwrap();
        let mut each = settings.clone();
        each.jetstream = each.jetstream.of("okx");
        ensure(&client, &each).await.unwrap();
        each.jetstream = settings.jetstream.of("binance-usdm");
        ensure(&client, &each).await.unwrap();
        let text = refused(&server.url(), |_| {}).await;
        says(&text, &["cannot create stream MARKET_DATA:", "stream MARKET_DATA_", "stream_per_exchange = true"]);
        assert_eq!(streams(&server).await, 2, "{version}");
    }
}

#[tokio::test]
async fn a_stream_that_takes_in_something_else_is_not_published_to() {
    let server = Server::start();
    let context = jetstream::new(client(&server.url()).await);
    let stream = |name: &str, subject: &str| Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        ..Config::default()
    };
    // What is published would be stored in the other one.
    context.create_stream(stream("MARKET_DATA", "prepared.>")).await.unwrap();
    context.create_stream(stream("OTHER", "market.>")).await.unwrap();
    for manage in [Manage::Create, Manage::Verify, Manage::None] {
        let text = refused(&server.url(), |stream| stream.manage = manage).await;
        says(&text, &["stream MARKET_DATA does not take in market.", "stored elsewhere", "stream_name"]);
    }
    let settings = settings(&server.url());
    let other = JetStream { stream_name: "OTHER".to_owned(), ..settings.jetstream.clone() };
    let report = ensure(&dial(&settings).await.unwrap(), &Nats { jetstream: other, ..settings }).await.unwrap();
    assert!(!report.created_now, "wider subjects are fine");
}

#[tokio::test]
async fn replicas_on_a_single_server_are_told() {
    for version in VERSIONS {
        let server = Server::builder().version(version).start();
        let text = refused(&server.url(), |stream| stream.replicas = 3).await;
        says(&text, &["replicas = 3", "need a cluster", "replicas = 1"]);
        assert_eq!(streams(&server).await, 0, "{version}");
    }
}

#[tokio::test]
async fn more_replicas_than_servers_are_told() {
    let cluster = Cluster::start(3);
    let text = refused(&cluster.node(0).url(), |stream| stream.replicas = 5).await;
    says(&text, &["replicas = 5", "lower transport.nats.jetstream.replicas"]);
}

#[tokio::test]
async fn a_server_without_jetstream_is_told() {
    for version in VERSIONS {
        let server = Server::builder().version(version).without_jetstream().start();
        let text = refused(&server.url(), |_| {}).await;
        says(&text, &["cannot look at stream MARKET_DATA", "JetStream", "-js"]);
    }
}

#[tokio::test]
async fn a_store_that_is_too_small_is_told() {
    for version in VERSIONS {
        let server = Server::builder().version(version).max_file_store("100MB").start();
        let text = refused(&server.url(), |_| {}).await;
        says(&text, &["cannot create stream", "lower transport.nats.jetstream.max_bytes"]);
        assert_eq!(streams(&server).await, 0, "{version}");
    }
}

#[tokio::test]
async fn a_name_that_no_stream_can_have_is_told() {
    let server = Server::start();
    let text = refused(&server.url(), |stream| "MARKET.DATA".clone_into(&mut stream.stream_name)).await;
    says(&text, &["MARKET.DATA", "no white space, dots"]);
    assert_eq!(streams(&server).await, 0);
}
