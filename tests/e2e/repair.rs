//! What a venue did not send, or sent while nobody listened, comes from its REST history.

use std::time::Duration;

use data_manager::market::{GapStrength, Record};
use data_manager::sim::{Fault, Sim, SimConfig, Source, Which};
use rustix::process::Signal;

use crate::daemon::{Daemon, Spec};
use crate::support::{Server, client};
use crate::truth::{STREAM, Trades, by_id, in_rings, issued, stored, wait_for_end};

/// Two venues, one that pages from the oldest trade on and one that pages from the newest.
pub(crate) fn venues(rate: f64, limit: u64) -> Sim {
    let config = SimConfig {
        source: Source::Generate { rate },
        limit: Some(limit),
        backlog: 100,
        ..SimConfig::of(&["binance", "coinbase"])
    };
    Sim::spawn(config).unwrap()
}

fn each_symbol(sim: &Sim, fault: impl Fn(String, String) -> Fault) {
    for exchange in sim.venues() {
        for symbol in sim.symbols(exchange) {
            sim.inject(fault(exchange.to_owned(), symbol)).unwrap();
        }
    }
}

/// As [`wait_for_repairs`], for a daemon that has not seen the beginning.
pub(crate) fn wait_for_repairs_of_late_life(daemon: &mut Daemon, sim: &Sim) {
    daemon.wait(|_| sim.finished().then_some(()), "to see the tapes end");
    let expected = issued(sim);
    let last = |daemon: &mut Daemon| {
        let mut ids = expected.values().filter_map(|trades| trades.last()).map(|trade| trade.id.to_string());
        let (_, status) = daemon.page("/status");
        ids.all(|id| status.contains(&id)).then_some(())
    };
    daemon.wait(last, "to read the last trades");
    settle(daemon);
}

/// Waits until no hole is being repaired any more, and everything that is known is acknowledged.
pub(crate) fn wait_for_repairs(daemon: &mut Daemon, sim: &Sim) {
    wait_for_end(daemon, sim);
    settle(daemon);
}

fn settle(daemon: &mut Daemon) {
    let settled = |daemon: &mut Daemon| {
        let quiet = daemon.metric("repairs_open") == 0 && daemon.metric("repair_waiting_records") == 0;
        (quiet && daemon.metric("publish_waiting_records") == 0).then_some(())
    };
    daemon.wait(settled, "to end its repairs");
}

/// The stream holds everything once and in order, and nothing was declared missing.
pub(crate) async fn assert_stream_whole(server: &Server, expected: &Trades) {
    let found = stored(&server.url()).await;
    assert_eq!(found.gaps, 0, "gaps were declared though everything came in time");
    for (key, trades) in &found.trades {
        let place = trades.windows(2).position(|pair| pair[0].id >= pair[1].id);
        assert_eq!(place, None, "{key:?} is out of order: {:?}", place.map(|at| &trades[at..at + 2]));
    }
    assert_eq!(&by_id(found, expected), expected, "stream");
}

#[tokio::test]
async fn withheld_trades_are_fetched_and_the_stream_is_in_order() {
    let server = Server::start();
    let sim = venues(2_000.0, 10_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    for _ in 0..3 {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
        each_symbol(&sim, |exchange, symbol| Fault::Withhold { exchange, symbol, count: 150, which: Which::All });
        std::thread::sleep(Duration::from_millis(700));
    }
    wait_for_repairs(&mut daemon, &sim);
    let issued = issued(&sim);
    assert!(daemon.metric("repaired_trades_total") >= 300, "{}", daemon.page("/metrics").1);
    assert_eq!(by_id(in_rings(&daemon, &sim), &issued), issued, "rings");
    daemon.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn what_was_traded_while_connections_were_down_is_fetched() {
    let server = Server::start();
    let sim = venues(2_000.0, 12_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    for round in 1..=3_u64 {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > round * 1_500).then_some(()), "to publish");
        for exchange in ["binance", "coinbase"] {
            sim.inject(Fault::Drop { exchange: exchange.to_owned(), which: Which::All }).unwrap();
        }
    }
    wait_for_repairs(&mut daemon, &sim);
    let issued = issued(&sim);
    assert_eq!(by_id(in_rings(&daemon, &sim), &issued), issued, "rings");
    daemon.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn a_daemon_that_was_killed_goes_on_where_the_stream_ends() {
    let server = Server::start();
    let sim = venues(2_000.0, 14_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    for round in 1..=3_u64 {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000 * round).then_some(()), "to publish");
        daemon.signal(Signal::KILL);
        daemon.ended();
        std::thread::sleep(Duration::from_millis(300));
        daemon = Spec::new(&sim).nats(&server.url()).start();
    }
    wait_for_repairs_of_late_life(&mut daemon, &sim);
    let issued = issued(&sim);
    daemon.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn a_socket_that_falls_silent_is_found_out_and_replaced() {
    let server = Server::start();
    let sim = venues(500.0, 12_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_500).then_some(()), "to publish");
    for exchange in ["binance", "coinbase"] {
        sim.inject(Fault::Stall { exchange: exchange.to_owned(), which: Which::All }).unwrap();
    }
    daemon.wait(|daemon| (daemon.metric("feed_mute_total") >= 2).then_some(()), "to find the silence out");
    wait_for_repairs(&mut daemon, &sim);
    let issued = issued(&sim);
    daemon.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn a_history_that_refuses_for_a_while_is_asked_again_and_the_late_filling_lands() {
    let server = Server::start();
    let sim = venues(1_000.0, 8_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR_HOLD", "500ms").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
    for exchange in ["binance", "coinbase"] {
        let exchange = exchange.to_owned();
        sim.inject(Fault::RefuseRest { exchange, status: 429, retry_after: Some(2), times: 1 }).unwrap();
    }
    each_symbol(&sim, |exchange, symbol| Fault::Withhold { exchange, symbol, count: 50, which: Which::All });
    wait_for_repairs(&mut daemon, &sim);
    assert!(daemon.metric("repair_limited_total") >= 2, "{}", daemon.page("/metrics").1);
    let issued = issued(&sim);
    daemon.drain();
    let found = stored(&server.url()).await;
    assert!(found.gaps > 0, "what was not there in time is declared");
    assert_eq!(by_id(found, &issued), issued, "stream");
}

#[tokio::test]
async fn ids_that_nobody_used_stay_declared() {
    let server = Server::start();
    let sim = venues(1_000.0, 6_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR_HOLD", "500ms").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
    let symbol = sim.symbols("binance").remove(0);
    sim.inject(Fault::SkipIds { exchange: "binance".to_owned(), symbol, count: 7 }).unwrap();
    wait_for_end(&mut daemon, &sim);
    daemon.wait(|daemon| (daemon.metric("repairs_total") >= 1).then_some(()), "to give the repair up");
    let issued = issued(&sim);
    daemon.drain();
    let found = stored(&server.url()).await;
    assert_eq!(found.gaps, 1);
    assert_eq!(by_id(found, &issued), issued, "stream");
}

#[tokio::test]
async fn a_daemon_killed_while_a_late_filling_lands_ends_it_in_its_next_life() {
    let server = Server::start();
    let sim = venues(1_000.0, 8_000);
    let spec = || Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR_HOLD", "200ms");
    let mut daemon = spec().start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
    for exchange in ["binance", "coinbase"] {
        let exchange = exchange.to_owned();
        sim.inject(Fault::RefuseRest { exchange, status: 429, retry_after: Some(30), times: 1 }).unwrap();
    }
    each_symbol(&sim, |exchange, symbol| Fault::Withhold { exchange, symbol, count: 50, which: Which::All });
    daemon.wait(|daemon| (daemon.metric("repair_overdue_total") >= 4).then_some(()), "to declare the holes");
    daemon.wait(|daemon| (daemon.metric("publish_waiting_records") == 0).then_some(()), "to have them stored");
    daemon.signal(Signal::KILL);
    daemon.ended();
    let mut daemon = spec().start();
    wait_for_repairs_of_late_life(&mut daemon, &sim);
    let issued = issued(&sim);
    daemon.drain();
    let found = stored(&server.url()).await;
    assert!(found.gaps > 0, "what was not there in time is declared");
    assert_eq!(by_id(found, &issued), issued, "stream");
}

#[tokio::test]
async fn a_symbol_whose_trades_have_expired_is_told_as_possibly_missing() {
    let server = Server::start();
    let sim = venues(1_000.0, 5_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
    daemon.kill9();
    let symbol = sim.symbols("binance").remove(0);
    let jetstream = async_nats::jetstream::new(client(&server.url()).await);
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let purged = stream.purge().filter(format!("market.binance.{symbol}.trades")).await.unwrap();
    assert!(purged.purged > 0);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_repairs_of_late_life(&mut daemon, &sim);
    daemon.drain();
    let found = stored(&server.url()).await;
    let possible = |record: &Record| matches!(record, Record::Gap(gap) if gap.strength == GapStrength::Possible as u8);
    for (key, records) in &found.records {
        let expired = *key == ("binance".to_owned(), symbol.clone());
        assert_eq!(records.iter().any(possible), expired, "{key:?}");
    }
}
