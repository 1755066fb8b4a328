//! Brokers that die and change hands while 5,000 trades a second flow: nothing lost, doubled or out of order.

use std::time::Duration;

use data_manager::sim::Sim;

use crate::chain::two_venues;
use crate::daemon::{Daemon, Spec};
use crate::support::{Cluster, Server};
use crate::truth::{in_rings, issued, stored, wait_for_end};

/// Trades a second over both venues.
const RATE: f64 = 5_000.0;

/// The broker is away this long: the outbox fills meanwhile.
const AWAY: Duration = Duration::from_millis(700);

/// Lets so many of both tapes' trades pass.
async fn until_issued(sim: &Sim, count: u64) {
    let issued = || sim.venues().map(|exchange| sim.sent(exchange).issued).sum::<u64>();
    while issued() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn three_kills_of_the_broker_lose_double_and_reorder_nothing() {
    let mut server = Server::start();
    let sim = two_venues(RATE, 25_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    for kill in 1..=3 {
        until_issued(&sim, kill * 11_000).await;
        server.kill9();
        tokio::time::sleep(AWAY).await;
        server.restart();
        publishes_again(&mut daemon);
    }
    assert!(!sim.finished(), "the kills came too late to meet trades");
    wait_for_end(&mut daemon, &sim);
    let issued = issued(&sim);
    in_rings(&daemon, &sim).assert_whole(&issued, "ring");
    assert!(daemon.metric("publish_window_rewinds_total") >= 3, "{}", daemon.log());
    daemon.drain();
    stored(&server.url()).await.assert_whole(&issued, "stream");
}

#[tokio::test]
async fn three_kills_of_an_old_broker_lose_double_and_reorder_nothing() {
    let mut server = Server::builder().version("2.12.8").start();
    let sim = two_venues(RATE, 20_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    for kill in 1..=3 {
        until_issued(&sim, kill * 9_000).await;
        server.kill9();
        tokio::time::sleep(AWAY).await;
        server.restart();
        publishes_again(&mut daemon);
    }
    wait_for_end(&mut daemon, &sim);
    daemon.drain();
    stored(&server.url()).await.assert_whole(&issued(&sim), "stream");
}

#[tokio::test]
async fn four_step_downs_of_a_cluster_lose_double_and_reorder_nothing() {
    let cluster = Cluster::start(3);
    let sim = two_venues(RATE, 25_000);
    let mut daemon =
        Spec::new(&sim).nats(&cluster.urls().join(",")).with("TRANSPORT__NATS__JETSTREAM__REPLICAS", "3").start();
    publishes_again(&mut daemon);
    for change in 1..=4 {
        until_issued(&sim, change * 9_000).await;
        cluster.step_down(crate::truth::STREAM).await;
    }
    assert!(!sim.finished(), "the changes came too late to meet trades");
    wait_for_end(&mut daemon, &sim);
    let issued = issued(&sim);
    in_rings(&daemon, &sim).assert_whole(&issued, "ring");
    daemon.drain();
    stored(&cluster.url()).await.assert_whole(&issued, "stream");
}

/// Waits until the publisher knows what is stored and goes on.
fn publishes_again(daemon: &mut Daemon) {
    daemon.wait(|daemon| (daemon.metric("publisher_live") == 1).then_some(()), "to publish again");
}
