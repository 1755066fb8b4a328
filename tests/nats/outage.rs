//! The publisher while its server is away, silent or cut off: nothing lost, doubled or out of order, or declared.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use data_manager::config::Span;
use data_manager::config::settings::Nats;
use data_manager::market::{GapReason, GapStrength, Record, SubjectKind};
use data_manager::transport::nats::NatsState;

use crate::kit::{Rig, STREAM, VERSIONS, local, settings, subject_of};
use crate::support::{Proxy, Read, Server, Way, client, read_all};

/// Settings that notice a silent server soon.
fn alert(url: &str) -> Nats {
    Nats { ack_timeout: Span::millis(500), ..settings(url) }
}

fn server(version: &str) -> Server {
    Server::builder().version(version).start()
}

/// What one instrument's subjects say: trade ids that are stored, and ranges that gaps declare.
#[derive(Default)]
struct Account {
    stored: Vec<u64>,
    declared: Vec<(u64, u64, u64)>,
}

fn accounts(read: &[Read]) -> BTreeMap<u32, Account> {
    let mut accounts = BTreeMap::<u32, Account>::new();
    for (_, subject, payload) in read {
        let record = Record::from_bytes(payload).unwrap();
        let account = accounts.entry(record.instrument_id()).or_default();
        match record {
            Record::Trade(trade) => {
                assert!(subject.ends_with(".trades"), "{subject}");
                account.stored.push(trade.trade_id);
            }
            Record::Gap(gap) => {
                assert!(subject.ends_with(".gaps"), "{subject}");
                assert_eq!(gap.reason, GapReason::OutboxOverflow as u8);
                assert_eq!(gap.strength, GapStrength::Proved as u8);
                account.declared.push((gap.first_id, gap.last_id, gap.missing));
            }
        }
    }
    accounts
}

#[tokio::test]
async fn what_a_full_outbox_drops_is_declared_exactly() {
    local(async {
        for (version, pack) in [("2.15.1", 1), ("2.15.1", 10), ("2.10.26", 1)] {
            let mut server = server(version);
            let outbox = (64 << 10).into();
            let mut rig = Rig::publishing(Nats { outbox_memory: outbox, pack, ..alert(&server.url()) }).await;
            rig.trades(60);
            rig.settled().await;
            server.kill9();
            rig.until("the loss is noticed", |status| status.state != NatsState::Publishing).await;
            rig.trades_slowly(6_000).await;
            let status = rig.transport.status();
            assert!(status.window.dropped > 1_000 && status.window.waiting_bytes <= 64 << 10, "{status:?}");
            server.restart_live().await;
            rig.settled().await;
            rig.trades(60);
            rig.settled().await;
            let (report, _) = rig.stop().await;
            assert_eq!((report.unacked, report.dropped), (0, status.window.dropped), "{version}");
            let read = crate::kit::each_record(&read_all(&client(&server.url()).await, STREAM).await);
            let mut missing = 0;
            for account in accounts(&read).values() {
                account.check(6_120 / 3);
                missing += account.declared.iter().map(|(.., missing)| missing).sum::<u64>();
            }
            assert_eq!(missing, report.dropped, "{version}");
        }
    })
    .await;
}

impl Account {
    /// Every trade is either stored, in order and once, or inside a gap that counts it.
    fn check(&self, pushed: u64) {
        assert!(self.stored.is_sorted_by(|a, b| a < b), "doubled or out of order");
        let mut ids = self.stored.clone();
        for (first, last, missing) in &self.declared {
            assert_eq!(last - first + 1, *missing);
            ids.extend(*first..=*last);
        }
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1_000..1_000 + pushed), "{} ids of {pushed}", ids.len());
    }
}

#[tokio::test]
async fn a_drain_without_a_broker_says_how_much_was_not_stored() {
    local(async {
        let mut server = Server::start();
        let settings = settings(&server.url());
        let mut rig = Rig::start_with(settings, 3, true, Duration::from_millis(500));
        rig.until("it publishes", |status| status.state == NatsState::Publishing).await;
        rig.trades(300);
        rig.settled().await;
        server.kill9();
        rig.until("the loss is noticed", |status| status.state != NatsState::Publishing).await;
        rig.trades(123);
        rig.gap(0);
        let (report, _) = rig.stop().await;
        assert_eq!((report.acked, report.unacked, report.dropped), (300, 124, 0));
    })
    .await;
}

#[tokio::test]
async fn a_server_killed_under_load_costs_nothing() {
    local(async {
        for version in VERSIONS {
            let mut server = server(version);
            let mut rig = Rig::publishing(alert(&server.url())).await;
            for round in 1..=2 {
                rig.trades_slowly(1_000).await;
                rig.trades(500);
                server.kill9();
                rig.trades_slowly(500).await;
                server.restart_live().await;
                rig.until("it publishes again", |status| status.rewinds >= round).await;
            }
            rig.trades_slowly(500).await;
            rig.settled().await;
            rig.finish(&server.url()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_paused_server_costs_nothing() {
    local(async {
        for version in ["2.15.1", "2.12.8"] {
            let server = server(version);
            let mut rig = Rig::publishing(alert(&server.url())).await;
            rig.trades_slowly(500).await;
            rig.trades(500);
            server.pause();
            rig.trades(500);
            rig.until("the silence is noticed", |status| status.state != NatsState::Publishing).await;
            rig.trades_slowly(500).await;
            server.resume();
            rig.trades_slowly(500).await;
            rig.settled().await;
            let status = rig.transport.status();
            assert!(status.rewinds >= 1, "{version}: {status:?}");
            rig.finish(&server.url()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_network_that_cuts_and_swallows_costs_nothing() {
    local(async {
        for version in VERSIONS {
            let server = server(version);
            let proxy = Proxy::start(&server.url());
            let mut rig = Rig::publishing(alert(&proxy.url())).await;
            for cut in 1..=3 {
                rig.trades_slowly(500).await;
                rig.trades(300);
                proxy.cut();
                rig.trades_slowly(200).await;
                rig.until("it reconnects", |status| status.rewinds >= cut).await;
            }
            for way in [Way::ToClient, Way::ToServer, Way::Both] {
                let rewinds = rig.transport.status().rewinds;
                rig.trades_slowly(200).await;
                proxy.black_hole(way);
                rig.trades(300);
                rig.until("the silence is noticed", |status| status.state != NatsState::Publishing).await;
                // What was held back arrives late.
                proxy.pass();
                rig.trades_slowly(200).await;
                rig.until("it publishes again", |status| status.rewinds > rewinds).await;
            }
            rig.settled().await;
            rig.finish(&server.url()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_network_with_packing_keeps_the_order() {
    local(async {
        let server = Server::start();
        let proxy = Proxy::start(&server.url());
        proxy.delay(Duration::from_millis(30));
        let mut rig = Rig::publishing(Nats { pack: 10, window: 50, ..settings(&proxy.url()) }).await;
        rig.trades_slowly(2_000).await;
        proxy.cut();
        rig.trades_slowly(2_000).await;
        rig.settled().await;
        rig.finish(&server.url()).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_deleted_under_load_is_made_again() {
    local(async {
        for version in ["2.15.1", "2.12.8"] {
            let server = server(version);
            let context = jetstream::new(client(&server.url()).await);
            let mut rig = Rig::publishing(alert(&server.url())).await;
            rig.trades_slowly(500).await;
            rig.until("something is acknowledged", |status| status.window.acked > 0).await;
            context.delete_stream(STREAM).await.unwrap();
            rig.trades_slowly(500).await;
            rig.until("it publishes again", |status| status.rewinds >= 1).await;
            rig.trades(300);
            rig.settled().await;
            let status = rig.transport.status();
            assert!(status.window.broker_lost > 0 && status.window.dropped == 0, "{version}: {status:?}");
            // What had been acknowledged was still retained, so it was sent again: nothing is missing.
            rig.finish(&server.url()).await;
            let info = context.get_stream(STREAM).await.unwrap().cached_info().clone();
            assert_eq!(info.config.subjects.len(), 2, "{version}");
        }
    })
    .await;
}

#[tokio::test]
async fn acknowledged_records_that_are_no_longer_retained_are_declared() {
    let server = Server::start();
    let context = jetstream::new(client(&server.url()).await);
    local(async {
        let mut rig = Rig::publishing(Nats { retain_bytes: 1.into(), ..alert(&server.url()) }).await;
        rig.trades(300);
        rig.settled().await;
        context.delete_stream(STREAM).await.unwrap();
        rig.trades(30);
        rig.until("it publishes again", |status| status.rewinds >= 1).await;
        rig.settled().await;
        rig.stop().await;
    })
    .await;
    let read = read_all(&client(&server.url()).await, STREAM).await;
    for route in 0..3 {
        let of = |kind| {
            let subject = subject_of(route, kind);
            let records = read.iter().filter(move |(_, on, _)| *on == subject);
            records.map(|(.., payload)| Record::from_bytes(payload).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of(SubjectKind::Trades).len(), 10);
        let gaps = of(SubjectKind::Gaps);
        assert!(matches!(gaps[..], [Record::Gap(gap)] if gap.reason == GapReason::BrokerLost as u8), "{gaps:?}");
    }
}
