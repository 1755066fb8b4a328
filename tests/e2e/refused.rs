//! A venue that refuses a symbol, and does not say which.

use data_manager::sim::{Fault, Sim, SimConfig, Source};

use crate::cover::{assert_whole, wait_for_all};
use crate::daemon::Spec;
use crate::support::Server;
use crate::truth::stored;

fn binance(waits: bool) -> Sim {
    let config = SimConfig {
        source: Source::Generate { rate: 500.0 },
        limit: Some(4_000),
        wait_for_subscriber: waits,
        ..SimConfig::of(&["binance"])
    };
    Sim::spawn(config).unwrap()
}

fn refuse(sim: &Sim, times: u64) -> String {
    let symbol = sim.symbols("binance").remove(1);
    sim.inject(Fault::RefuseSymbol { exchange: "binance".to_owned(), symbol: symbol.clone(), times }).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    symbol
}

#[tokio::test]
async fn the_others_flow_and_the_refused_one_is_shown() {
    let server = Server::start();
    let sim = binance(false);
    let refused = refuse(&sim, u64::MAX);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 500).then_some(()), "to publish the others");
    let status = daemon.page("/status").1;
    assert!(status.contains("is not available"), "{status}");
    daemon.wait(|_| sim.finished().then_some(()), "to see the tape end");
    assert_eq!(daemon.metric("connection_attempts_total"), 1, "{}", daemon.log());
    let log = daemon.drain();
    assert_eq!(log.matches("the venue refuses a symbol").count(), 1, "{log}");
    let found = stored(&server.url()).await;
    let symbols: Vec<&String> = found.records.keys().map(|(_, symbol)| symbol).collect();
    assert_eq!(symbols.len(), sim.symbols("binance").len() - 1, "{symbols:?}");
    assert!(!symbols.contains(&&refused));
}

#[tokio::test]
async fn what_is_refused_for_a_while_comes_back_on_the_same_connection() {
    let server = Server::start();
    let sim = binance(true);
    // The whole, its half, alone: then the next attempt is taken.
    refuse(&sim, 3);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_all(&mut daemon, &sim);
    assert_eq!(daemon.metric("connection_attempts_total"), 1, "{}", daemon.log());
    let status = daemon.page("/status").1;
    assert!(!status.contains("is not available"), "{status}");
    daemon.drain();
    assert_whole(&stored(&server.url()).await, &sim, "stream");
}
