//! What the publisher makes of rights that are missing, messages that are refused, and a stream that others write to.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use data_manager::config::Span;
use data_manager::config::settings::{Manage, Nats};
use data_manager::market::{GapMsg, Record, SubjectKind};
use data_manager::transport::nats::connect::dial;
use data_manager::transport::nats::{NatsState, stream_manager};

use crate::kit::{Rig, STREAM, each_record, local, secret, settings, subject_of, whole_but_for_what_is_declared};
use crate::support::trades::compare;
use crate::support::{Read, Server, client, read_all};

/// Packed messages, each as large as it can be.
fn packed(url: &str) -> Nats {
    Nats { pack: 48, linger: Span::secs(3_600), ..settings(url) }
}

/// The trade ids of a route in the stream, and the gaps of all routes.
fn outcome(read: &[Read], route: u32) -> (Vec<u64>, Vec<GapMsg>) {
    let (mut ids, mut gaps) = (Vec::new(), Vec::new());
    for (_, subject, payload) in each_record(read) {
        match Record::from_bytes(&payload).unwrap() {
            Record::Trade(trade) if subject == subject_of(route, SubjectKind::Trades) => ids.push(trade.trade_id),
            Record::Trade(_) => {}
            Record::Gap(gap) => gaps.push(gap),
        }
    }
    (ids, gaps)
}

#[tokio::test]
async fn a_publish_that_is_not_permitted_is_told() {
    for version in ["2.15.1", "2.12.8"] {
        let users = "authorization { users: [ { user: u, password: u, permissions: { publish: [\"$JS.API.>\"] } } ] }";
        let server = Server::builder().version(version).config(users).start();
        local(async {
            let user = Nats { user: Some("u".to_owned()), password: secret("u"), ..settings(&server.url()) };
            let mut rig = Rig::start_with(user, 3, true, Duration::from_millis(100));
            rig.until("it publishes", |status| status.state == NatsState::Publishing).await;
            rig.trades(30);
            rig.until("the subject is named", |status| {
                let error = status.last_error.to_ascii_lowercase();
                error.contains("permissions violation for publish to \"market.binance.coin0usdt.trades\"")
            })
            .await;
            // It goes on trying, and what waits is kept.
            let epochs = rig.transport.status().window.epochs;
            rig.until("it tries again", |status| status.window.epochs >= epochs + 2).await;
            let (report, _) = rig.stop().await;
            assert_eq!((report.acked, report.unacked, report.dropped), (0, 30, 0), "{version}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_with_something_else_is_not_written_to() {
    for version in ["2.15.1", "2.12.8"] {
        let server = Server::builder().version(version).start();
        let plain = client(&server.url()).await;
        stream_manager::ensure(&plain, &settings(&server.url())).await.unwrap();
        let context = jetstream::new(plain.clone());
        let subject = subject_of(1, SubjectKind::Trades);
        let sequence = context.publish(subject.clone(), "hello".into()).await.unwrap().await.unwrap().sequence;
        local(async {
            let mut rig = Rig::start(settings(&server.url()));
            rig.trades(30);
            let told = ["5 bytes", "no records of 48", "sequence 1", subject.as_str()];
            rig.until("the message is named", |status| told.iter().all(|word| status.last_error.contains(word))).await;
            assert_eq!(read_all(&plain, STREAM).await.len(), 1, "{version}");
            // The cure that the message names.
            context.get_stream(STREAM).await.unwrap().delete_message(sequence).await.unwrap();
            rig.settled().await;
            rig.finish(&server.url()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_message_larger_than_the_server_takes_is_split_or_declared() {
    for version in ["2.15.1", "2.12.8"] {
        let server = Server::builder().version(version).config("max_payload: 1024").start();
        local(async { too_large(version, &server, packed(&server.url())).await }).await;
    }
}

#[tokio::test]
async fn a_message_larger_than_the_stream_takes_is_split_or_declared() {
    for version in ["2.15.1", "2.12.8"] {
        let server = Server::builder().version(version).start();
        let settings = packed(&server.url());
        let batches = version == "2.15.1";
        let config = stream::Config { max_message_size: 1_024, ..stream_manager::config(&settings, batches) };
        jetstream::new(client(&server.url()).await).create_stream(config).await.unwrap();
        local(async { too_large(version, &server, settings).await }).await;
    }
}

/// A message of 48 records that is too large, between others that are not.
async fn too_large(version: &str, server: &Server, settings: Nats) {
    let mut rig = Rig::start_with(settings, 1, true, Duration::from_secs(30));
    rig.until("it publishes", |status| status.state == NatsState::Publishing).await;
    rig.trades(5);
    // A gap seals the message before it.
    rig.gap(0);
    rig.trades(48);
    rig.gap(0);
    rig.trades(7);
    rig.gap(0);
    rig.until("others flow", |status| status.window.waiting + status.window.in_flight_records == 0).await;
    let status = rig.transport.status();
    let (report, pushed) = rig.stop().await;
    assert_eq!((report.unacked, report.dropped), (0, status.window.dropped), "{version}");
    let read = read_all(&client(&server.url()).await, STREAM).await;
    let (ids, gaps) = outcome(&read, 0);
    let declared: u64 = gaps.iter().filter(|gap| gap.missing != 3).map(|gap| gap.missing).sum();
    assert_eq!(declared, report.dropped, "{version}: {gaps:?}");
    assert_eq!(ids.len() as u64 + declared, 60, "{version}: {ids:?}");
    assert!(ids.is_sorted_by(|a, b| a < b), "{version}: {ids:?}");
    assert!(ids.starts_with(&[1_000, 1_001, 1_002, 1_003, 1_004]) && ids.ends_with(&[1_059]), "{ids:?}");
    let verdict = compare(&pushed, &each_record(&read));
    assert_eq!((verdict.doubled.count, verdict.disordered.count), (0, 0), "{version}: {verdict}");
    assert_eq!(verdict.lost.count, report.dropped, "{version}: {verdict}");
}

/// In a batch. A chain has a condition, which the log names: nobody else writes to the stream.
#[tokio::test]
async fn what_others_write_beside_a_batch_costs_nothing() {
    local(async {
        // A stream whose making was answered too late is there already at the next attempt, and is begun in a chain.
        let (server, mut rig) = loop {
            let server = Server::start();
            let rig = Rig::publishing(settings(&server.url())).await;
            if rig.transport.status().stream.unwrap().created_now {
                break (server, rig);
            }
        };
        let context = jetstream::new(client(&server.url()).await);
        for _ in 0..10 {
            rig.trades_slowly(100).await;
            let subject = "market.other.COIN.trades".to_owned();
            context.publish(subject, vec![0; 48].into()).await.unwrap().await.unwrap();
        }
        rig.settled().await;
        let status = rig.transport.status();
        let (report, pushed) = rig.stop().await;
        assert_eq!((report.acked, report.unacked, report.dropped), (1_000, 0, 0), "{status:?}");
        let mut read = read_all(&client(&server.url()).await, STREAM).await;
        assert_eq!(read.len(), 1_010);
        read.retain(|(_, subject, _)| subject.starts_with("market.binance"));
        compare(&pushed, &read).assert_clean();
    })
    .await;
}

/// The chain is made for a sole writer. Another one costs time, and a trade where it came between two of a symbol that
/// were under way together; nothing is lost without a word.
#[tokio::test]
async fn what_others_write_beside_a_chain_loses_nothing_without_a_word() {
    for version in ["2.12.8", "2.10.26"] {
        let server = Server::builder().version(version).start();
        let context = jetstream::new(client(&server.url()).await);
        local(async {
            let mut rig = Rig::publishing(settings(&server.url())).await;
            for _ in 0..10 {
                rig.trades(100);
                let subject = "market.other.COIN.trades".to_owned();
                context.publish(subject, vec![0; 48].into()).await.unwrap().await.unwrap();
            }
            rig.settled().await;
            let (report, pushed) = rig.stop().await;
            let read = read_all(&client(&server.url()).await, STREAM).await;
            whole_but_for_what_is_declared(&report, &pushed, &read);
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_without_batches_is_written_in_a_chain() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    let config = stream_manager::config(&settings, false);
    jetstream::new(client(&server.url()).await).create_stream(config).await.unwrap();
    settings.jetstream.manage = Manage::Verify;
    local(async {
        let mut rig = Rig::publishing(settings.clone()).await;
        rig.trades(500);
        rig.settled().await;
        let status = rig.transport.status();
        assert_eq!(status.mode.map(|mode| mode.as_str()), Some("chained sequence"));
        assert_eq!(status.stream.unwrap().differences.len(), 1);
        rig.finish(&server.url()).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_missing_is_waited_for_and_named() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.jetstream.manage = Manage::Verify;
    local(async {
        let mut rig = Rig::start(settings.clone());
        rig.trades(30);
        rig.until("the stream is named", |status| status.last_error.contains("stream MARKET_DATA does not exist"))
            .await;
        settings.jetstream.manage = Manage::Create;
        stream_manager::ensure(&dial(&settings).await.unwrap(), &settings).await.unwrap();
        rig.settled().await;
        rig.finish(&server.url()).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_refuses_new_messages_is_told_and_waited_for() {
    for version in ["2.15.1", "2.12.8"] {
        let server = Server::builder().version(version).start();
        let settings = settings(&server.url());
        let context = jetstream::new(client(&server.url()).await);
        let full = stream::Config {
            discard: stream::DiscardPolicy::New,
            max_messages: 100,
            ..stream_manager::config(&settings, version == "2.15.1")
        };
        context.create_stream(full.clone()).await.unwrap();
        local(async {
            let mut rig = Rig::publishing(settings).await;
            rig.trades(300);
            rig.until("it says that it is full", |status| {
                status.last_error.contains("maximum messages exceeded") && status.rewinds >= 2
            })
            .await;
            context.update_stream(stream::Config { max_messages: -1, ..full }).await.unwrap();
            rig.settled().await;
            rig.finish(&server.url()).await;
        })
        .await;
    }
}
