//! The publisher on a cluster of three: leaders that step down and die cost nothing.

use data_manager::config::Span;
use data_manager::config::settings::Nats;

use crate::kit::{Rig, STREAM, local, settings};
use crate::support::Cluster;

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
