//! The publisher on servers of every pinned version: whole, in order, each once; and where it begins.

use std::collections::HashSet;
use std::time::Duration;

use data_manager::config::Span;
use data_manager::config::settings::Nats;
use data_manager::market::trade::RECORD_BYTES;
use data_manager::transport::nats::NatsState;
use data_manager::transport::nats::window::Mode;

use crate::kit::{Rig, STREAM, VERSIONS, local, message_ids, settings};
use crate::support::{Server, client, read_all};

/// Whether servers of this version have fast-ingest batches.
fn mode(version: &str) -> Mode {
    if matches!(version, "2.15.1" | "2.14.6") { Mode::FastIngest } else { Mode::Chained }
}

fn server(version: &str) -> Server {
    Server::builder().version(version).start()
}

async fn arrives_whole(version: &str) {
    let server = server(version);
    let mut rig = Rig::publishing(settings(&server.url())).await;
    let status = rig.transport.status();
    assert_eq!(status.mode, Some(mode(version)), "{version}");
    assert!(status.server.contains(version), "{}", status.server);
    for route in 0..5 {
        rig.trades(400);
        rig.gap(route % 3);
    }
    rig.settled().await;
    let status = rig.transport.status();
    assert_eq!((status.window.acked, status.rewinds), (2_005, 0), "{version}: {status:?}");
    assert!(status.last_ack_ns > 0 && status.last_error.is_empty(), "{status:?}");
    let read = rig.finish(&server.url()).await;
    assert_eq!(read.len(), 2_005, "{version}");
    for (_, subject, payload) in &read {
        let kind = if subject.ends_with(".trades") { 1 } else { 2 };
        assert_eq!((payload.len(), payload.last()), (RECORD_BYTES, Some(&kind)), "{version}: {subject}");
    }
    let ids: HashSet<String> = message_ids(&server.url()).await.into_iter().map(|(_, id)| id).collect();
    assert!(ids.len() == 2_005 && !ids.contains(""), "{version}: {} ids", ids.len());
}

#[tokio::test]
async fn records_arrive_whole_in_order_each_once() {
    local(async {
        for version in VERSIONS {
            arrives_whole(version).await;
        }
    })
    .await;
}

#[tokio::test]
async fn packed_messages_hold_whole_records_in_order() {
    local(async {
        for version in VERSIONS {
            let server = server(version);
            let mut rig = Rig::publishing(Nats { pack: 10, ..settings(&server.url()) }).await;
            rig.trades(1_000);
            rig.gap(2);
            rig.trades(7);
            rig.settled().await;
            let read = rig.finish(&server.url()).await;
            let fullest = read.iter().map(|(.., payload)| payload.len() / RECORD_BYTES).max();
            assert_eq!(fullest, Some(10), "{version}");
            assert!(read.iter().all(|(.., payload)| payload.len().is_multiple_of(RECORD_BYTES)));
            assert!(read.len() < 200, "{version}: {} messages", read.len());
            let ids: HashSet<String> = message_ids(&server.url()).await.into_iter().map(|(_, id)| id).collect();
            assert!(ids.len() == read.len() && !ids.contains(""), "{version}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_message_ids_none_is_sent() {
    let server = Server::start();
    local(async {
        let mut rig = Rig::publishing(Nats { message_ids: false, ..settings(&server.url()) }).await;
        rig.trades(100);
        rig.finish(&server.url()).await;
    })
    .await;
    assert!(message_ids(&server.url()).await.iter().all(|(_, id)| id.is_empty()));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    local(async {
        for version in ["2.15.1", "2.12.8"] {
            let mut server = server(version);
            server.kill9();
            let mut rig = Rig::start(settings(&server.url()));
            rig.trades(500);
            rig.until("it says why it waits", |status| status.last_error.contains("transport.nats.servers")).await;
            let status = rig.transport.status();
            assert_eq!((status.state, status.mode, status.server.as_str()), (NatsState::Connecting, None, ""));
            rig.trades(500);
            server.restart_live().await;
            rig.settled().await;
            rig.finish(&server.url()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_sends_what_waits() {
    let server = Server::start();
    local(async {
        let mut rig = Rig::start(Nats { pack: 10, linger: Span::secs(3_600), ..settings(&server.url()) });
        rig.trades(1_234);
        // Not even connected yet, and the last messages wait for company.
        let (report, pushed) = rig.stop().await;
        assert_eq!((report.acked, report.unacked, report.dropped), (1_234, 0, 0));
        let read = crate::kit::each_record(&read_all(&client(&server.url()).await, STREAM).await);
        crate::support::trades::compare(&pushed, &read).assert_clean();
    })
    .await;
}

#[tokio::test]
async fn a_second_publisher_hears_where_the_first_ended() {
    local(async {
        for version in ["2.15.1", "2.10.26"] {
            let server = server(version);
            let mut rig = Rig::publishing(settings(&server.url())).await;
            let nothing: Vec<(u32, Option<u64>)> = (0..3).map(|route| (route, None)).collect();
            assert_eq!(sorted(&rig), nothing, "{version}");
            rig.trades(299);
            rig.gap(0);
            rig.settled().await;
            rig.finish(&server.url()).await;

            let mut rig = Rig::publishing(settings(&server.url())).await;
            // The first ends behind its gap.
            assert_eq!(sorted(&rig), [(0, Some(1_102)), (1, Some(1_099)), (2, Some(1_098))], "{version}");
            // The same again, and then what is new.
            rig.trades(299);
            rig.gap(0);
            rig.trades(100);
            rig.settled().await;
            let status = rig.transport.status();
            assert_eq!(status.window.acked + status.window.duplicates, 400, "{version}: {status:?}");
            let read = rig.finish(&server.url()).await;
            assert_eq!(read.len(), 400, "{version}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_unclear_is_read_to_the_last_record_of_the_last_message() {
    let server = Server::start();
    local(async {
        let packed = Nats { pack: 16, ..settings(&server.url()) };
        let mut rig = Rig::publishing(packed.clone()).await;
        // Open: what comes behind it has to be read.
        rig.gap(0);
        rig.trades(48);
        rig.settled().await;
        let read = rig.finish(&server.url()).await;
        let most = read.iter().map(|(_, _, payload)| payload.len() / RECORD_BYTES).max();
        assert!(most > Some(1), "nothing is packed");

        let rig = Rig::publishing(packed).await;
        assert_eq!(sorted(&rig), [(0, Some(1_015)), (1, Some(1_015)), (2, Some(1_015))]);
        rig.stop().await;
    })
    .await;
}

fn sorted(rig: &Rig) -> Vec<(u32, Option<u64>)> {
    let mut anchors = rig.anchors.borrow().clone();
    anchors.sort_unstable();
    anchors
}

#[tokio::test]
async fn two_writers_of_one_stream_keep_the_order_with_batches() {
    let server = Server::start();
    local(async {
        let start = || Rig::start_with(settings(&server.url()), 3, false, Duration::from_secs(30));
        let (mut one, two) = (start(), start());
        for rig in [&one, &two] {
            rig.until("it publishes", |status| status.state == NatsState::Publishing).await;
        }
        one.trades_slowly(2_000).await;
        one.settled().await;
        two.stop().await;
        one.finish(&server.url()).await;
    })
    .await;
}

#[tokio::test]
async fn two_shards_need_a_server_with_batches() {
    let server = server("2.12.8");
    local(async {
        let mut rig = Rig::start_with(settings(&server.url()), 3, false, Duration::from_millis(100));
        rig.trades(30);
        rig.until("the cure is told", |status| status.last_error.contains("set shards = 1")).await;
        assert_eq!(rig.transport.status().mode, None);
        let (report, _) = rig.stop().await;
        assert_eq!((report.acked, report.unacked), (0, 30));
    })
    .await;
    assert!(read_all(&client(&server.url()).await, STREAM).await.is_empty());
}
