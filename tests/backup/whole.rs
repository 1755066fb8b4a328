//! Streams that are saved from one server and restored into another that is empty.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::StorageType;
use futures_util::StreamExt as _;

use crate::kit::{DEADLINE, Scene};
use crate::support::client;

/// Messages of a stream before anything is removed from it.
const MESSAGES: u64 = 50_000;

/// A consumer that has acknowledged some of what it has.
pub(crate) async fn consumer(context: &Context, stream: &str) -> PullConsumer {
    let name = stream;
    let stream = context.get_stream(stream).await.unwrap();
    let config = pull::Config {
        durable_name: Some("reader".to_owned()),
        filter_subjects: vec![format!("{name}.>")],
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(3_600),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let (mut index, start) = (0, Instant::now());
    while index < 100 {
        let mut batch = consumer.fetch().max_messages(100 - index).messages().await.unwrap();
        // A node of a cluster may not know yet who hands messages out.
        while let Some(Ok(message)) = batch.next().await {
            if index != 30 && index < 60 {
                message.double_ack().await.unwrap();
            }
            index += 1;
        }
        assert!(start.elapsed() < DEADLINE, "{index} messages within {DEADLINE:?}");
    }
    consumer
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) delivered: (u64, u64),
    pub(crate) floor: (u64, u64),
    pub(crate) waiting: usize,
    pub(crate) pending: u64,
    pub(crate) next: u64,
}

/// Where a consumer is, and which message it hands out next.
pub(crate) async fn place(context: &Context, stream: &str) -> Place {
    let stream = context.get_stream(stream).await.unwrap();
    let mut consumer: PullConsumer = stream.get_consumer("reader").await.unwrap();
    let info = consumer.info().await.unwrap().clone();
    let start = Instant::now();
    let next = loop {
        let mut batch = consumer.fetch().max_messages(1).messages().await.unwrap();
        match tokio::time::timeout(DEADLINE, batch.next()).await.unwrap() {
            Some(Ok(next)) => break next,
            // In a cluster one that has just come back has no leader at first.
            none => assert!(start.elapsed() < DEADLINE, "{none:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let (delivered, floor) = (info.delivered, info.ack_floor);
    Place {
        delivered: (delivered.consumer_sequence, delivered.stream_sequence),
        floor: (floor.consumer_sequence, floor.stream_sequence),
        waiting: info.num_ack_pending,
        pending: info.num_pending,
        next: next.info().unwrap().stream_sequence,
    }
}

async fn comes_back(from: &str, to: &str, storage: StorageType) {
    let source = Scene::of(from).await;
    source.stream("SOURCE", storage, MESSAGES).await;
    let stream = source.context.get_stream("SOURCE").await.unwrap();
    stream.purge().sequence(101).await.unwrap();
    stream.purge().filter("SOURCE.7").await.unwrap();
    for sequence in (1_000..MESSAGES).step_by(211).filter(|sequence| sequence % 50 != 7).chain([MESSAGES]) {
        assert!(stream.delete_message(sequence).await.unwrap(), "{sequence}");
    }
    consumer(&source.context, "SOURCE").await;
    let (state, messages) = (source.state("SOURCE").await, source.messages("SOURCE").await);
    let done = source.backup("SOURCE", "source.backup", &["--check"]).expect_code(0);
    let told = format!("stream SOURCE: {} messages", state.messages);
    let done = done.tells(&told).tells(&format!("sequences 101..{MESSAGES}, 1 consumer")).tells("sha256 ");
    assert_eq!(source.files(), ["source.backup"], "{done:#?}");

    let target = Scene::of(to).await;
    let path = source.path("source.backup");
    let shown = target.restore(&path, &["--dry-run"]).expect_code(0);
    assert!(shown.out.contains(&told) && shown.out.contains(&format!("nats-server {from}")), "{shown:#?}");
    assert!(!target.has("SOURCE").await);
    target.restore(&path, &[]).expect_code(0).tells("restored stream SOURCE");

    let restored = target.state("SOURCE").await;
    let places = |state: &async_nats::jetstream::stream::State| {
        (state.messages, state.first_sequence, state.last_sequence, state.deleted_count, state.consumer_count)
    };
    assert_eq!(places(&restored), places(&state));
    assert!(target.messages("SOURCE").await == messages, "a message is not as it was");
    assert_eq!(place(&target.context, "SOURCE").await, place(&source.context, "SOURCE").await);
    // It is a stream like any: with its configuration, it takes what comes, behind what was deleted last.
    let (new, old) = (target.context.get_stream("SOURCE").await.unwrap(), stream.cached_info().config.clone());
    let new = new.cached_info().config.clone();
    assert_eq!((new.subjects, new.storage), (old.subjects, old.storage));
    assert!(!new.metadata.keys().any(|key| key.starts_with("data-manager")), "{:?}", new.metadata);
    let ack = target.context.publish("SOURCE.new", "new".into()).await.unwrap().await.unwrap();
    assert_eq!(ack.sequence, MESSAGES + 1);
}

#[tokio::test]
async fn a_stream_comes_back_on_2_10() {
    comes_back("2.10.26", "2.10.26", StorageType::File).await;
}

#[tokio::test]
async fn a_stream_comes_back_on_2_12() {
    comes_back("2.12.8", "2.12.8", StorageType::File).await;
}

#[tokio::test]
async fn a_stream_comes_back_on_2_15() {
    comes_back("2.15.1", "2.15.1", StorageType::File).await;
}

#[tokio::test]
async fn a_stream_in_memory_comes_back_on_2_15() {
    comes_back("2.15.1", "2.15.1", StorageType::Memory).await;
}

#[tokio::test]
async fn a_stream_of_2_10_comes_back_on_2_15() {
    comes_back("2.10.26", "2.15.1", StorageType::File).await;
}

#[tokio::test]
async fn a_stream_of_2_12_comes_back_on_2_10() {
    comes_back("2.12.8", "2.10.26", StorageType::File).await;
}

#[tokio::test]
async fn a_bucket_comes_back_with_its_history() {
    for (from, to) in [("2.10.26", "2.10.26"), ("2.10.26", "2.15.1"), ("2.12.8", "2.12.8"), ("2.15.1", "2.15.1")] {
        let (source, target) = (Scene::of(from).await, Scene::of(to).await);
        let config = kv::Config { bucket: "places".to_owned(), history: 5, ..kv::Config::default() };
        let bucket = source.context.create_key_value(config).await.unwrap();
        for round in 0..8 {
            for key in 0..20 {
                bucket.put(format!("key.{key}"), format!("{key} in {round}").into()).await.unwrap();
            }
        }
        bucket.delete("key.3").await.unwrap();
        bucket.purge("key.4").await.unwrap();
        let messages = source.messages("KV_places").await;
        source.backup("KV_places", "places", &[]).expect_code(0);
        target.restore(&source.path("places"), &[]).expect_code(0);
        assert_eq!(target.messages("KV_places").await, messages, "{from} to {to}");
        let bucket = target.context.get_key_value("places").await.unwrap();
        let revisions: Vec<_> =
            bucket.history("key.5").await.unwrap().map(|entry| entry.unwrap().value).collect().await;
        let expected: Vec<String> = (3..8).map(|round| format!("5 in {round}")).collect();
        assert_eq!(revisions, expected, "{from} to {to}");
        assert_eq!(bucket.get("key.3").await.unwrap(), None);
        bucket.put("key.3", "again".into()).await.unwrap();
        assert_eq!(bucket.get("key.3").await.unwrap().unwrap(), "again");
    }
}

#[tokio::test]
async fn streams_without_messages_come_back_where_they_were() {
    for version in crate::kit::VERSIONS {
        let (source, target) = (Scene::of(version).await, Scene::of(version).await);
        source.stream("NEVER", StorageType::File, 0).await;
        source.stream("PURGED", StorageType::File, 500).await;
        source.context.get_stream("PURGED").await.unwrap().purge().await.unwrap();
        for (stream, last) in [("NEVER", 0), ("PURGED", 500)] {
            source.backup(stream, stream, &[]).expect_code(0).tells("0 messages");
            target.restore(&source.path(stream), &[]).expect_code(0);
            let ack = target.context.publish(format!("{stream}.x"), "x".into()).await.unwrap().await.unwrap();
            assert_eq!(ack.sequence, last + 1, "{stream} on {version}");
        }
    }
}

#[tokio::test]
async fn consumers_stay_away_where_they_are_not_wanted() {
    for version in crate::kit::VERSIONS {
        let (source, target) = (Scene::of(version).await, Scene::of(version).await);
        source.stream("S", StorageType::File, 200).await;
        consumer(&source.context, "S").await;
        source.backup("S", "s", &["--no-consumers"]).expect_code(0).tells("0 consumers");
        target.restore(&source.path("s"), &[]).expect_code(0).tells("0 consumers");
        assert_eq!(target.state("S").await.consumer_count, 0);
        assert!(target.messages("S").await == source.messages("S").await);
    }
}

/// What was there before is in the backup, whatever comes meanwhile.
#[tokio::test]
async fn a_stream_that_is_written_to_is_saved_as_it_was() {
    for version in crate::kit::VERSIONS {
        let (source, target) = (Scene::of(version).await, Scene::of(version).await);
        source.stream("S", StorageType::File, 20_000).await;
        let before = source.messages("S").await;
        let writer = client(&source.server.url()).await;
        let write = async {
            loop {
                writer.publish("S.more", "more".into()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (url, path) = (source.server.url(), source.path("s"));
        let saved = tokio::task::spawn_blocking(move || {
            crate::process::run(&["topology", "backup", "S", "-o", path.to_str().unwrap(), "--nats", &url])
        });
        tokio::select! {
            () = write => {}
            done = saved => { done.unwrap().expect_code(0); }
        }
        target.restore(&source.path("s"), &[]).expect_code(0);
        let after = target.messages("S").await;
        assert!(after.len() >= before.len() && after[..before.len()] == before[..], "{version}");
    }
}
