//! The stream: made as the settings say, compared field by field, never changed.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use data_manager::config::Span;
use data_manager::config::settings::{Manage, Nats, Retention, Storage};
use data_manager::transport::nats::StreamReport;
use data_manager::transport::nats::connect::dial;
use data_manager::transport::nats::stream_manager::ensure;

use crate::kit::{STREAM, VERSIONS, settings};
use crate::support::{Server, client};

async fn ensured(settings: &Nats) -> StreamReport {
    let client = dial(settings).await.unwrap();
    ensure(&client, settings).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn context(server: &Server) -> Context {
    jetstream::new(client(&server.url()).await)
}

/// The stream's configuration as the server has it.
async fn found(context: &Context, name: &str) -> Config {
    context.get_stream(name).await.unwrap().cached_info().config.clone()
}

/// Settings of which none is the default.
fn unusual(url: &str) -> Nats {
    let mut settings = settings(url);
    let stream = &mut settings.jetstream;
    "TRADES_7".clone_into(&mut stream.stream_name);
    "mkt".clone_into(&mut stream.subject_prefix);
    stream.storage = Storage::Memory;
    stream.retention = Retention::Interest;
    stream.max_age = Span::secs(7_200);
    stream.max_bytes = (64 << 20).into();
    stream.max_bytes_per_subject = (160 * 1_000).into();
    stream.duplicate_window = Span::secs(30);
    settings
}

#[tokio::test]
async fn a_stream_is_made_with_the_defaults_on_every_version() {
    for version in VERSIONS {
        let server = Server::builder().version(version).start();
        let settings = settings(&server.url());
        let report = ensured(&settings).await;
        let batches = matches!(version, "2.15.1" | "2.14.6");
        assert!(report.created_now && report.differences.is_empty(), "{version}: {report:?}");
        assert_eq!((report.batches, report.replicas, report.last_seq), (batches, 1, 0), "{version}");
        assert_eq!(report.messages_per_subject, Some((100 << 20) / 160));
        let config = found(&context(&server).await, STREAM).await;
        let mut subjects = config.subjects.clone();
        subjects.sort();
        assert_eq!(subjects, ["market.*.*.gaps", "market.*.*.trades"]);
        assert_eq!((config.storage, config.retention), (StorageType::File, RetentionPolicy::Limits));
        assert_eq!((config.max_bytes, config.max_messages_per_subject), (1 << 30, (100 << 20) / 160));
        assert_eq!((config.max_age, config.duplicate_window), (Duration::from_hours(1), Duration::from_mins(2)));
        assert_eq!((config.discard, config.num_replicas), (DiscardPolicy::Old, 1));
        assert_eq!((config.allow_batch_publish, config.allow_direct), (batches, true), "{version}");

        // Looked at again it is the same, and still as the settings say.
        let again = ensured(&settings).await;
        assert_eq!(again, StreamReport { created_now: false, ..report }, "{version}");
    }
}

#[tokio::test]
async fn every_setting_of_the_stream_reaches_the_server() {
    for version in VERSIONS {
        let server = Server::builder().version(version).start();
        let report = ensured(&unusual(&server.url())).await;
        assert!(report.created_now && report.differences.is_empty());
        assert_eq!(report.messages_per_subject, Some(1_000));
        let config = found(&context(&server).await, "TRADES_7").await;
        let mut subjects = config.subjects.clone();
        subjects.sort();
        assert_eq!(subjects, ["mkt.*.*.gaps", "mkt.*.*.trades"]);
        assert_eq!((config.storage, config.retention), (StorageType::Memory, RetentionPolicy::Interest));
        assert_eq!((config.max_bytes, config.max_messages_per_subject), (64 << 20, 1_000));
        assert_eq!((config.max_age, config.duplicate_window), (Duration::from_hours(2), Duration::from_secs(30)));
        let again = ensured(&unusual(&server.url())).await;
        assert_eq!(again.differences, [], "{version}");
    }
}

#[tokio::test]
async fn bounds_of_zero_are_none_and_no_difference() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.jetstream.max_age = Span::secs(0);
    settings.jetstream.max_bytes = 0.into();
    settings.jetstream.max_bytes_per_subject = 0.into();
    for created_now in [true, false] {
        let report = ensured(&settings).await;
        assert_eq!((report.created_now, report.messages_per_subject), (created_now, None));
        assert_eq!(report.differences, []);
    }
}

#[tokio::test]
async fn a_short_age_shortens_the_duplicate_window_and_is_no_difference() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.jetstream.max_age = Span::secs(30);
    ensured(&settings).await;
    assert_eq!(ensured(&settings).await.differences, []);
    let config = found(&context(&server).await, STREAM).await;
    assert_eq!(config.duplicate_window, Duration::from_secs(30));
}

#[tokio::test]
async fn a_stream_that_differs_is_told_field_by_field_and_left_alone() {
    for version in ["2.15.1", "2.12.8"] {
        let server = Server::builder().version(version).start();
        let context = context(&server).await;
        let other = Config {
            name: STREAM.to_owned(),
            subjects: vec!["market.>".to_owned()],
            storage: StorageType::Memory,
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_age: Duration::from_mins(1),
            max_bytes: 1 << 20,
            max_messages_per_subject: 7,
            duplicate_window: Duration::from_secs(10),
            ..Config::default()
        };
        context.create_stream(other).await.unwrap();
        let before = found(&context, STREAM).await;
        let mut settings = settings(&server.url());
        let mut fields = vec![
            "subjects",
            "storage",
            "retention",
            "max_age",
            "max_bytes",
            "max_msgs_per_subject",
            "discard",
            "duplicate_window",
        ];
        if version == "2.15.1" {
            fields.push("allow_batched");
        }
        for manage in [Manage::Create, Manage::Verify] {
            settings.jetstream.manage = manage;
            let report = ensured(&settings).await;
            assert!(!report.created_now && !report.batches);
            assert_eq!(report.messages_per_subject, Some(7));
            let told: Vec<&str> = report.differences.iter().map(|difference| difference.key).collect();
            assert_eq!(told, fields, "{version}");
            let text: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
            assert!(text[0].starts_with("subjects: market.> -> market.*.*.gaps market.*.*.trades"), "{text:?}");
            assert_eq!(text[3], "max_age: 1m -> 1h");
            assert_eq!(found(&context, STREAM).await, before, "{version}");
        }
        // Nobody is to look.
        settings.jetstream.manage = Manage::None;
        assert_eq!(ensured(&settings).await.differences, []);
        assert_eq!(found(&context, STREAM).await, before, "{version}");
    }
}
