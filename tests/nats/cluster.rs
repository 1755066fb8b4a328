//! The publisher on a cluster of three: leaders that step down and die cost nothing.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use data_manager::config::Span;
use data_manager::config::settings::Nats;
use data_manager::market::{Record, SubjectKind};
use data_manager::transport::nats::stream_manager;

use crate::kit::{DEADLINE, Rig, STREAM, local, settings, subject_of, trade, universe, whole_but_for_what_is_declared};
use crate::support::{Cluster, client, read_all};

/// Settings for three copies on this cluster, which notice a silent leader soon.
fn replicated(cluster: &Cluster) -> Nats {
    let mut settings = Nats { servers: cluster.urls(), ack_timeout: Span::secs(1), ..settings("") };
    settings.jetstream.replicas = 3;
    settings
}

/// Two leaders step down, one is killed and comes back; all under load.
async fn survives(version: &str) {
    let mut cluster = Cluster::start_with(3, |builder| builder.version(version));
    local(async {
        let mut rig = Rig::publishing(replicated(&cluster)).await;
        assert_eq!(rig.transport.status().stream.unwrap().replicas, 3, "{version}");
        for _ in 0..2 {
            rig.trades_slowly(1_000).await;
            rig.trades(500);
            cluster.step_down(STREAM).await;
            rig.trades_slowly(500).await;
        }
        rig.settled().await;
        rig.trades(500);
        let leader = cluster.leader(STREAM).await;
        cluster.kill9(leader);
        rig.trades_slowly(500).await;
        rig.settled().await;
        cluster.restart_live(leader).await;
        rig.trades_slowly(500).await;
        rig.settled().await;
        rig.finish(&cluster.url()).await;
    })
    .await;
}

#[tokio::test]
async fn leaders_that_go_cost_nothing_with_batches() {
    survives("2.15.1").await;
}

#[tokio::test]
async fn leaders_that_go_cost_nothing_in_a_chain() {
    survives("2.12.8").await;
}

/// A server from 2.14 on stops a stream for good at a wrong `Nats-Expected-Last-Msg-Id` that only its copies notice.
#[tokio::test]
async fn a_stranger_in_a_chain_costs_a_stream_with_copies_nothing() {
    for version in ["2.15.1", "2.12.8"] {
        let cluster = Cluster::start_with(3, |builder| builder.version(version));
        local(async {
            let settings = replicated(&cluster);
            let dialled = client(&cluster.url()).await;
            // Of a stream that was there it is not known what an earlier run has sent: the chain comes first.
            // A cluster that has just begun may take its time to answer.
            let begun = Instant::now();
            while let Err(error) = stream_manager::ensure(&dialled, &settings).await {
                assert!(begun.elapsed() < DEADLINE, "{version}: {error}");
            }
            let mut rig = Rig::publishing(settings).await;
            let (context, subject) = (jetstream::new(dialled.clone()), subject_of(9, SubjectKind::Trades));
            let mut rounds = 0..;
            let foreign = |rig: &Rig| rig.transport.status().window.foreign;
            while let Some(n) = rounds.next().filter(|n| *n < 40 || foreign(&rig) == 0 && begun.elapsed() < DEADLINE) {
                rig.trades(250);
                tokio::time::sleep(Duration::from_millis(1)).await;
                let payload = *Record::Trade(trade(&universe(10), 9, n)).as_bytes();
                // A cluster that has just begun may have nobody who answers yet.
                if context.publish(subject.clone(), payload.to_vec().into()).await.unwrap().await.is_ok() {
                    rig.pushed.entry(subject.clone()).or_default().push(payload);
                }
            }
            rig.settled().await;
            assert!(foreign(&rig) > 0, "{version}: nobody came in between");
            let (report, pushed) = rig.stop().await;
            let read = read_all(&dialled, STREAM).await;
            whole_but_for_what_is_declared(&report, &pushed, &read);
        })
        .await;
    }
}
