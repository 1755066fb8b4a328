//! Streams that take their messages from other streams, or keep them only as long as somebody wants them.

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, Source, StorageType};
use futures_util::StreamExt as _;

use crate::kit::{DEADLINE, Scene, VERSIONS, until_stored};

#[tokio::test]
async fn mirrors_and_streams_with_sources_come_back() {
    for version in VERSIONS {
        let (source, target) = (Scene::of(version).await, Scene::of(version).await);
        source.stream("FROM", StorageType::File, 500).await;
        let from = || Source { name: "FROM".to_owned(), ..Source::default() };
        let mirror = Config { name: "MIRROR".to_owned(), mirror: Some(from()), ..Config::default() };
        let sourced = Config {
            name: "SOURCED".to_owned(),
            subjects: vec!["SOURCED.>".to_owned()],
            sources: Some(vec![from()]),
            ..Config::default()
        };
        for config in [mirror, sourced] {
            let name = config.name.clone();
            source.context.create_stream(config).await.unwrap();
            until_stored(&source.context, &name, 500).await;
            source.backup(&name, &name, &[]).expect_code(0).tells("500 messages");
            target.restore(&source.path(&name), &[]).expect_code(0).tells("500 messages");
            assert!(target.messages(&name).await == source.messages(&name).await, "{name} on {version}");
            let info = |scene: &Scene| {
                let (context, name) = (scene.context.clone(), name.clone());
                async move { context.get_stream(&name).await.unwrap().cached_info().config.clone() }
            };
            let (is, was) = (info(&target).await, info(&source).await);
            assert_eq!((is.subjects, is.mirror, is.sources), (was.subjects, was.mirror, was.sources), "{version}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_keeps_what_is_wanted_comes_back_with_those_who_want_it() {
    for version in VERSIONS {
        for retention in [RetentionPolicy::Interest, RetentionPolicy::WorkQueue] {
            let (source, target) = (Scene::of(version).await, Scene::of(version).await);
            let config =
                Config { name: "I".to_owned(), subjects: vec!["I.>".to_owned()], retention, ..Config::default() };
            let stream = source.context.create_stream(config).await.unwrap();
            for (name, filter) in [("one", "I.one"), ("two", "I.two")] {
                let config = pull::Config {
                    durable_name: Some(name.to_owned()),
                    ack_policy: AckPolicy::Explicit,
                    filter_subject: filter.to_owned(),
                    ..pull::Config::default()
                };
                stream.create_consumer(config).await.unwrap();
            }
            for number in 0..300 {
                let subject = format!("I.{}", ["one", "two"][number % 2]);
                source.context.publish(subject, number.to_string().into()).await.unwrap().await.unwrap();
            }
            let one: PullConsumer = stream.get_consumer("one").await.unwrap();
            let mut batch = one.fetch().max_messages(50).messages().await.unwrap();
            while let Some(message) = batch.next().await {
                message.unwrap().double_ack().await.unwrap();
            }
            source.backup("I", "i", &[]).expect_code(0).tells("250 messages").tells("2 consumers");
            target.restore(&source.path("i"), &[]).expect_code(0).tells("250 messages").tells("2 consumers");
            assert_eq!(left(&target).await, left(&source).await, "{version} {retention:?}");
        }
    }
}

/// What each consumer still hands out.
async fn left(scene: &Scene) -> Vec<(u64, String)> {
    let stream = scene.context.get_stream("I").await.unwrap();
    let mut left = Vec::new();
    for (name, count) in [("one", 100), ("two", 150)] {
        let consumer: PullConsumer = stream.get_consumer(name).await.unwrap();
        let mut batch = consumer.fetch().max_messages(500).messages().await.unwrap();
        let before = left.len();
        while let Some(message) = tokio::time::timeout(DEADLINE, batch.next()).await.unwrap() {
            let message = message.unwrap();
            let payload = String::from_utf8(message.payload.to_vec()).unwrap();
            left.push((message.info().unwrap().stream_sequence, payload));
        }
        assert_eq!(left.len() - before, count, "{name}");
    }
    left
}
