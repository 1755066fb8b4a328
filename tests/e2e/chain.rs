//! From socket to stream and ring, with nothing going wrong.

use data_manager::sim::{Sim, SimConfig, Source};

use crate::daemon::Spec;
use crate::support::Server;
use crate::truth::{in_rings, issued, stored, wait_for_end};

/// A simulation of two venues that ends after so many trades of each.
pub(crate) fn two_venues(rate: f64, limit: u64) -> Sim {
    let config =
        SimConfig { source: Source::Generate { rate }, limit: Some(limit), ..SimConfig::of(&["binance", "coinbase"]) };
    Sim::spawn(config).unwrap()
}

#[tokio::test]
async fn generated_trades_arrive_whole_in_stream_and_rings() {
    let server = Server::start();
    let sim = two_venues(10_000.0, 20_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_end(&mut daemon, &sim);
    let issued = issued(&sim);
    assert_eq!(issued.values().map(Vec::len).sum::<usize>(), 40_000);
    in_rings(&daemon, &sim).assert_whole(&issued, "ring");
    let log = daemon.drain();
    stored(&server.url()).await.assert_whole(&issued, "stream");
    assert!(log.contains("fast-ingest batches"), "{log}");
}

#[tokio::test]
async fn flat_out_nothing_is_lost_either() {
    let server = Server::start();
    let sim = two_venues(0.0, 50_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_end(&mut daemon, &sim);
    let issued = issued(&sim);
    in_rings(&daemon, &sim).assert_whole(&issued, "ring");
    daemon.drain();
    stored(&server.url()).await.assert_whole(&issued, "stream");
}

#[tokio::test]
async fn a_server_without_batches_gets_the_chain_and_it_is_said() {
    let server = Server::builder().version("2.10.26").start();
    let sim = two_venues(10_000.0, 10_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_end(&mut daemon, &sim);
    let log = daemon.drain();
    stored(&server.url()).await.assert_whole(&issued(&sim), "stream");
    assert!(log.contains("chained sequence") && log.contains("as long as nobody else writes"), "{log}");
}
