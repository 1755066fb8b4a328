//! Several lines to a venue: what one does not bring another does; and connections that are replaced at their age.

use std::time::Duration;

use data_manager::sim::{Fault, Rules, Sim, SimConfig, Which};

use crate::cover::{all_venues, assert_whole, verify, wait_for_all};
use crate::daemon::{Daemon, Spec};
use crate::support::Server;
use crate::truth::{in_rings, stored};

fn twice(sim: &Sim) -> Spec {
    let mut spec = Spec::new(sim);
    for exchange in sim.venues() {
        spec.set(&format!("EXCHANGES__{}__REDUNDANCY", exchange.to_uppercase()), "2");
    }
    spec
}

/// Waits until every connection is live.
fn lively(daemon: &mut Daemon, connections: usize) {
    let live =
        |daemon: &mut Daemon| (daemon.page("/status").1.matches("\"live\"").count() >= connections).then_some(());
    daemon.wait(live, "to have all connections live");
}

#[tokio::test]
async fn while_one_line_lives_nothing_is_missing_doubled_or_declared() {
    let server = Server::start();
    let sim = Sim::spawn(all_venues(3_000.0, 30_000)).unwrap();
    let mut daemon = twice(&sim).nats(&server.url()).start();
    let faults: [fn(String, Which) -> Fault; 5] = [
        |exchange, which| Fault::Drop { exchange, which },
        |exchange, which| Fault::Stall { exchange, which },
        |exchange, which| Fault::HalfOpen { exchange, which },
        |exchange, which| Fault::HangUp { exchange, which },
        |exchange, which| Fault::Close { exchange, which, code: 1_012, reason: "restart".into() },
    ];
    for (round, fault) in faults.into_iter().enumerate() {
        lively(&mut daemon, 6);
        let which = if round.is_multiple_of(2) { Which::Oldest } else { Which::Newest };
        sim.venues().for_each(|exchange| sim.inject(fault(exchange.to_owned(), which)).unwrap());
        // Long enough for a mute line to be found out and replaced.
        std::thread::sleep(Duration::from_millis(if (1..=2).contains(&round) { 8_000 } else { 1_500 }));
    }
    wait_for_all(&mut daemon, &sim);
    assert!(daemon.metric("feed_mute_total") >= 3, "{}", daemon.page("/metrics").1);
    assert_eq!(assert_whole(&in_rings(&daemon, &sim), &sim, "rings"), 0);
    let log = daemon.drain();
    verify(&server.url(), false);
    assert_eq!(assert_whole(&stored(&server.url()).await, &sim, "stream"), 0, "nothing had to be fetched: {log}");
}

/// A venue that closes its connections at an age of seconds, with its notice before.
fn short_lived() -> SimConfig {
    let rules =
        Rules { lifetime: Some(Duration::from_secs(4)), shutdown_notice: Duration::from_secs(2), ..Rules::default() };
    SimConfig { rules, ..all_venues(3_000.0, 15_000) }
}

#[tokio::test]
async fn connections_are_replaced_before_the_venue_ends_them() {
    let server = Server::start();
    let sim = Sim::spawn(short_lived()).unwrap();
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_all(&mut daemon, &sim);
    assert!(daemon.metric("rotations_total") >= 3, "{}", daemon.page("/metrics").1);
    assert_eq!(assert_whole(&in_rings(&daemon, &sim), &sim, "rings"), 0);
    daemon.drain();
    verify(&server.url(), false);
    assert_eq!(assert_whole(&stored(&server.url()).await, &sim, "stream"), 0);
}

#[tokio::test]
async fn two_lines_are_replaced_each_for_itself() {
    let server = Server::start();
    let sim = Sim::spawn(short_lived()).unwrap();
    let mut daemon = twice(&sim).nats(&server.url()).start();
    wait_for_all(&mut daemon, &sim);
    assert!(daemon.metric("rotations_total") >= 6, "{}", daemon.page("/metrics").1);
    assert_eq!(assert_whole(&in_rings(&daemon, &sim), &sim, "rings"), 0);
    daemon.drain();
    verify(&server.url(), false);
    assert_eq!(assert_whole(&stored(&server.url()).await, &sim, "stream"), 0);
}
