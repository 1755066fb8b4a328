//! A venue that begins to count its ids anew.

use std::time::Duration;

use data_manager::market::{GapStrength, Record};
use data_manager::sim::{Fault, Sim, SimConfig, Source};
use rustix::process::Signal;

use crate::cover::{trade, verify};
use crate::daemon::{Daemon, Spec};
use crate::support::Server;
use crate::truth::{Found, Trade, in_rings, issued, stored};

/// Venues that tell single fills, so that trades can be compared one by one.
fn venues(rate: f64, limit: u64) -> Sim {
    let config =
        SimConfig { source: Source::Generate { rate }, limit: Some(limit), ..SimConfig::of(&["binance", "coinbase"]) };
    Sim::spawn(config).unwrap()
}

fn restart(sim: &Sim) -> usize {
    for exchange in sim.venues() {
        sim.inject(Fault::RestartIds { exchange: exchange.to_owned(), symbol: None }).unwrap();
    }
    sim.venues().map(|exchange| sim.symbols(exchange).len()).sum()
}

fn wait_for_the_end(daemon: &mut Daemon, sim: &Sim, symbols: usize) {
    let counted = |daemon: &mut Daemon| (daemon.metric("trade_id_restarts_total") >= symbols as u64).then_some(());
    daemon.wait(counted, "to see the new count");
    daemon.wait(|_| sim.finished().then_some(()), "to see the tapes end");
    let last: Vec<String> = issued(sim).values().filter_map(|all| all.last()).map(|last| last.id.to_string()).collect();
    let read = |daemon: &mut Daemon| {
        let (_, status) = daemon.page("/status");
        last.iter().all(|id| status.contains(&format!("\"{id}\""))).then_some(())
    };
    daemon.wait(read, "to read the last trades");
    std::thread::sleep(Duration::from_millis(600));
    daemon.wait(|daemon| (daemon.metric("publish_waiting_records") == 0).then_some(()), "to publish all");
}

/// Every trade stands there once and in the order in which it happened, with one possible gap between the counts.
fn assert_both_counts(found: &Found, sim: &Sim, place: &str) {
    for (key, expected) in issued(sim) {
        let records = &found.records[&key];
        let first = expected.first().map_or(0, |trade| trade.ts_event);
        let trades: Vec<Trade> =
            records.iter().filter_map(trade).filter(|msg| msg.ts_event >= first).map(Trade::from).collect();
        let differs = trades.iter().zip(&expected).position(|(found, expected)| found != expected);
        let around = |at: usize| (trades[at].clone(), expected[at].clone());
        assert_eq!((differs.map(around), trades.len()), (None, expected.len()), "{place} {key:?}");
        let possible =
            |record: &&Record| matches!(record, Record::Gap(gap) if gap.strength == GapStrength::Possible as u8);
        assert_eq!(records.iter().filter(possible).count(), 1, "{place} {key:?}");
        let gaps = records.iter().filter(|record| matches!(record, Record::Gap(_))).count();
        assert_eq!(gaps, 1, "{place} {key:?}");
    }
}

fn warnings(log: &str) -> usize {
    log.lines().filter(|line| line.contains("the venue counts its ids anew")).count()
}

#[tokio::test]
async fn a_new_count_is_told_once_and_delivered_whole() {
    let server = Server::start();
    let sim = venues(2_000.0, 8_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    let symbols = restart(&sim);
    wait_for_the_end(&mut daemon, &sim, symbols);
    assert_eq!(daemon.metric("trade_id_restarts_total"), symbols as u64);
    assert_both_counts(&in_rings(&daemon, &sim), &sim, "rings");
    let log = daemon.drain();
    verify(&server.url(), true);
    assert_eq!(warnings(&log), symbols, "{log}");
    assert_both_counts(&stored(&server.url()).await, &sim, "stream");
}

#[tokio::test]
async fn two_lines_see_one_new_count() {
    let server = Server::start();
    let sim = venues(4_000.0, 16_000);
    let spec = Spec::new(&sim).with("EXCHANGES__BINANCE__REDUNDANCY", "2").with("EXCHANGES__COINBASE__REDUNDANCY", "2");
    let mut daemon = spec.nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 4_000).then_some(()), "to publish");
    let symbols = restart(&sim);
    wait_for_the_end(&mut daemon, &sim, symbols);
    assert_both_counts(&in_rings(&daemon, &sim), &sim, "rings");
    let log = daemon.drain();
    verify(&server.url(), true);
    assert_eq!(warnings(&log), symbols, "{log}");
    assert_both_counts(&stored(&server.url()).await, &sim, "stream");
}

#[tokio::test]
async fn a_new_count_right_behind_a_start_passes_the_end_of_the_earlier_run() {
    let server = Server::start();
    let sim = venues(1_000.0, 10_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_500).then_some(()), "to publish");
    daemon.signal(Signal::KILL);
    daemon.ended();
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 500).then_some(()), "to go on");
    daemon.wait(|daemon| (daemon.metric("repairs_open") == 0).then_some(()), "to end its repairs");
    let symbols = restart(&sim);
    wait_for_the_end(&mut daemon, &sim, symbols);
    daemon.drain();
    verify(&server.url(), true);
    assert_both_counts(&stored(&server.url()).await, &sim, "stream");
}
