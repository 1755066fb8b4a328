//! How a daemon starts, says that it is ready, drains and ends.

use std::time::Duration;

use rustix::process::Signal;

use crate::chain::two_venues;
use crate::daemon::Spec;
use crate::support::Server;
use crate::truth::{Found, Trades, issued, stored, wait_for_end};

#[tokio::test]
async fn a_broker_that_is_absent_at_start_is_waited_for_visibly() {
    let mut server = Server::start();
    server.kill9();
    let sim = two_venues(2_000.0, 5_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|_| sim.finished().then_some(()), "to read while the broker is away");
    let (code, body) = daemon.page("/readyz");
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("nats is connecting"), "{body}");
    assert_eq!(daemon.page("/healthz").0, 200, "a broker's absence is no reason to restart us");
    assert!(daemon.log().contains("cannot publish, trying again"), "{}", daemon.log());
    server.restart();
    daemon.wait(|daemon| (daemon.page("/readyz").0 == 200).then_some(()), "to become ready");
    wait_for_end(&mut daemon, &sim);
    daemon.drain();
    stored(&server.url()).await.assert_whole(&issued(&sim), "stream");
}

#[tokio::test]
async fn a_symbol_that_the_venue_does_not_have_is_told() {
    let sim = two_venues(1_000.0, 1_000_000);
    let mut symbols = sim.symbols("binance");
    symbols.push("NOSUCHUSDT".to_owned());
    let mut daemon = Spec::new(&sim).with("EXCHANGES__BINANCE__SYMBOLS", &symbols.join(",")).start();
    let told = |daemon: &mut crate::daemon::Daemon| daemon.page("/readyz").1.contains("NOSUCHUSDT").then_some(());
    daemon.wait(told, "to tell of the symbol");
    assert!(daemon.log().contains("is not among the venue's instruments"), "{}", daemon.log());
    daemon.drain();
}

#[tokio::test]
async fn a_signal_drains_and_what_was_read_is_stored() {
    let server = Server::start();
    let sim = two_venues(5_000.0, 1_000_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 5_000).then_some(()), "to publish");
    let log = daemon.drain();
    assert!(log.contains("\"message\":\"drained\""), "{log}");
    // Everything up to the last stored trade of each symbol, and nothing behind a hole.
    let found = stored(&server.url()).await;
    found.assert_whole(&prefix(issued(&sim), &found), "stream");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start();
    let sim = two_venues(2_000.0, 1_000_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("SHUTDOWN_TIMEOUT", "60s").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
    server.kill9();
    daemon.wait(|daemon| (daemon.metric("publisher_live") == 0).then_some(()), "to miss the broker");
    daemon.signal(Signal::TERM);
    daemon.wait(|daemon| daemon.page("/readyz").1.contains("draining").then_some(()), "to say that it drains");
    assert_eq!(daemon.page("/readyz").0, 503);
    daemon.signal(Signal::INT);
    let status = daemon.ended();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("a second signal: leaving at once"), "{}", daemon.log());
}

#[tokio::test]
async fn a_drain_that_cannot_end_says_how_much_was_left() {
    let mut server = Server::start();
    let sim = two_venues(2_000.0, 1_000_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("SHUTDOWN_TIMEOUT", "1s").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to publish");
    server.kill9();
    tokio::time::sleep(Duration::from_millis(500)).await;
    daemon.signal(Signal::TERM);
    let status = daemon.ended();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("the drain's time was over"), "{}", daemon.log());
}

#[tokio::test]
async fn a_second_run_goes_on_behind_what_the_first_stored_and_declares_what_it_missed() {
    let server = Server::start();
    let sim = two_venues(2_000.0, 1_000_000);
    let mut first = Spec::new(&sim).nats(&server.url()).start();
    first.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    // Its own death: nothing is drained.
    first.signal(Signal::KILL);
    first.ended();
    let missed = sim.sent("binance").issued;
    while sim.sent("binance").issued < missed + 500 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Without repairs, since with them there is nothing to declare.
    let mut second = Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR", "false").start();
    second.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    second.drain();
    let found = stored(&server.url()).await;
    assert!(found.gaps > 0, "what was traded between the two runs is missing and nothing says so");
    let issued = issued(&sim);
    for (key, trades) in &found.trades {
        let ids: Vec<u64> = trades.iter().map(|trade| trade.id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{key:?} is doubled or out of order");
        assert!(trades.iter().all(|trade| issued[key].contains(trade)), "{key:?} holds what nobody issued");
    }
}

/// What was issued up to the last trade that was found.
fn prefix(mut issued: Trades, found: &Found) -> Trades {
    for (key, trades) in &mut issued {
        let last = found.trades.get(key).and_then(|trades| trades.last()).map_or(0, |trade| trade.id);
        trades.retain(|trade| trade.id <= last);
    }
    issued
}
