//! A venue whose socket tells rows of several fills and whose history tells single ones.

use std::time::Duration;

use data_manager::market::{Flags, Record};
use data_manager::sim::{Fault, Sim, SimConfig, Source, Which};
use rustix::process::Signal;

use crate::cover::{assert_honest, assert_whole, trade, verify, wait_for_all};
use crate::daemon::Spec;
use crate::support::Server;
use crate::truth::{in_rings, stored};

fn okx(rate: f64, limit: u64) -> Sim {
    let config = SimConfig { source: Source::Generate { rate }, limit: Some(limit), ..SimConfig::of(&["okx"]) };
    Sim::spawn(config).unwrap()
}

fn is_aggregate(record: &&Record) -> bool {
    trade(record).is_some_and(|msg| msg.flag_set().has(Flags::AGGREGATED))
}

#[tokio::test]
async fn rows_arrive_whole_in_stream_and_ring() {
    let server = Server::start();
    let sim = okx(5_000.0, 20_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_all(&mut daemon, &sim);
    assert_eq!(assert_whole(&in_rings(&daemon, &sim), &sim, "ring"), 0);
    daemon.drain();
    verify(&server.url(), false);
    let found = stored(&server.url()).await;
    assert_eq!(assert_whole(&found, &sim, "stream"), 0);
    let rows = found.records.values().flatten();
    assert!(rows.clone().count() < 18_000 && rows.filter(is_aggregate).count() > 1_000, "no rows of several fills");
}

#[tokio::test]
async fn withheld_rows_and_dropped_connections_are_repaired_from_single_fills() {
    let server = Server::start();
    let sim = okx(1_000.0, 12_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR_HOLD", "20s").start();
    for round in 1..=4_u64 {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > round * 800).then_some(()), "to publish");
        let exchange = || "okx".to_owned();
        if round.is_multiple_of(2) {
            sim.inject(Fault::Drop { exchange: exchange(), which: Which::All }).unwrap();
        } else {
            for symbol in sim.symbols("okx") {
                sim.inject(Fault::Withhold { exchange: exchange(), symbol, count: 60, which: Which::All }).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    wait_for_all(&mut daemon, &sim);
    daemon.drain();
    verify(&server.url(), false);
    let backfilled = assert_whole(&stored(&server.url()).await, &sim, "stream");
    assert!(backfilled > 360, "{backfilled} fills from the history");
}

#[tokio::test]
async fn a_daemon_that_was_killed_goes_on_between_rows_and_single_fills() {
    let server = Server::start();
    let sim = okx(1_000.0, 25_000);
    let spec = || Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR_HOLD", "20s");
    let mut daemon = spec().start();
    for round in 1..=4_u64 {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 400).then_some(()), "to publish");
        for symbol in sim.symbols("okx") {
            sim.inject(Fault::Withhold { exchange: "okx".to_owned(), symbol, count: 30, which: Which::All }).unwrap();
        }
        // In the middle of withheld rows, or of their repair.
        std::thread::sleep(Duration::from_millis(40 * round * round));
        daemon.signal(Signal::KILL);
        daemon.ended();
        std::thread::sleep(Duration::from_millis(200));
        daemon = spec().start();
    }
    wait_for_all(&mut daemon, &sim);
    daemon.drain();
    let found = stored(&server.url()).await;
    assert_eq!(assert_honest(&found, &sim, "stream"), 0);
    verify(&server.url(), false);
}
