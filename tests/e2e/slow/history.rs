//! REST histories that are slow, empty, short, broken, limited or down: the stream ends whole, or says what is missing.

use std::time::Duration;

use data_manager::market::{Flags, Record};
use data_manager::sim::{Fault, RestFault, Sim, Which};

use crate::cover::{all_venues, assert_honest, assert_whole, trade, verify, wait_for_all};
use crate::daemon::Spec;
use crate::support::Server;
use crate::truth::stored;

/// Lets every venue's history fail in one way, and withholds trades of every symbol. The metrics come last.
async fn repaired(hold: &str, fault: impl Fn(String) -> Fault) -> (Sim, crate::truth::Found, String) {
    let server = Server::start();
    let sim = Sim::spawn(all_venues(1_500.0, 6_000)).unwrap();
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("FEED__REPAIR_HOLD", hold).start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_500).then_some(()), "to publish");
    for exchange in sim.venues().map(str::to_owned).collect::<Vec<_>>() {
        sim.inject(fault(exchange.clone())).unwrap();
        for symbol in sim.symbols(&exchange) {
            sim.inject(Fault::Withhold { exchange: exchange.clone(), symbol, count: 40, which: Which::All }).unwrap();
        }
    }
    wait_for_all(&mut daemon, &sim);
    let metrics = daemon.page("/metrics").1;
    daemon.drain();
    verify(&server.url(), true);
    let found = stored(&server.url()).await;
    (sim, found, metrics)
}

fn of(fault: RestFault, times: u64) -> impl Fn(String) -> Fault {
    move |exchange| Fault::Rest { exchange, symbol: None, fault, times }
}

fn status(status: u16, retry_after: Option<u64>, times: u64) -> impl Fn(String) -> Fault {
    move |exchange| Fault::RefuseRest { exchange, status, retry_after, times }
}

async fn assert_repaired(fault: impl Fn(String) -> Fault) -> String {
    let (sim, found, metrics) = repaired("40s", fault).await;
    let backfilled = assert_whole(&found, &sim, "stream");
    assert!(backfilled >= 40 * 8, "{backfilled} trades were fetched");
    metrics
}

#[tokio::test]
async fn slow_pages_come_in_time() {
    assert_repaired(of(RestFault::Slow(Duration::from_millis(1_500)), 12)).await;
}

#[tokio::test]
async fn pages_that_are_empty_for_a_while_are_asked_for_again() {
    assert_repaired(of(RestFault::Empty, 8)).await;
}

#[tokio::test]
async fn short_pages_are_walked_to_the_end() {
    assert_repaired(of(RestFault::Short(3), 60)).await;
}

#[tokio::test]
async fn pages_that_break_off_are_asked_for_again() {
    assert_repaired(of(RestFault::Broken, 8)).await;
}

#[tokio::test]
async fn limits_without_a_time_are_waited_out() {
    let metrics = assert_repaired(status(429, None, 3)).await;
    assert!(metrics.contains("repair_limited_total"), "{metrics}");
}

#[tokio::test]
async fn a_ban_is_waited_out() {
    assert_repaired(status(418, Some(3), 1)).await;
}

#[tokio::test]
async fn a_venue_that_is_down_for_a_while_is_asked_again() {
    assert_repaired(status(500, None, 10)).await;
}

#[tokio::test]
async fn a_history_that_is_down_for_good_leaves_declared_gaps() {
    let (sim, found, _) = repaired("1s", of(RestFault::Empty, u64::MAX)).await;
    assert!(assert_honest(&found, &sim, "stream") >= 40 * 8);
}

#[tokio::test]
async fn pages_that_come_behind_the_hold_land_late_behind_their_gap() {
    let (sim, found, _) = repaired("300ms", of(RestFault::Slow(Duration::from_millis(1_200)), 12)).await;
    assert_eq!(assert_honest(&found, &sim, "stream"), 0);
    assert!(found.gaps > 0);
}

/// Late trades end the stream, younger ones stand before them, and the next run may not read those.
#[tokio::test]
async fn a_run_that_may_not_read_the_past_stores_nothing_twice() {
    let users = "authorization { users: [ { user: all, password: p }, { user: few, password: p, permissions: { publish: \
                 { deny: [\"$JS.API.CONSUMER.>\"] } } } ] }\nno_auth_user: all";
    let server = Server::builder().config(users).start();
    let sim = Sim::spawn(all_venues(1_000.0, 5_000)).unwrap();
    let spec = |user: &str| {
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__USER", user);
        let spec = spec.with("TRANSPORT__NATS__PASSWORD", "p").with("FEED__REPAIR_HOLD", "200ms");
        spec.with("TRANSPORT__NATS__JETSTREAM__DUPLICATE_WINDOW", "1s")
    };
    let mut daemon = spec("all").start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_500).then_some(()), "to publish");
    let exchanges: Vec<String> = sim.venues().map(str::to_owned).collect();
    for exchange in exchanges.clone() {
        sim.inject(status(429, Some(2), 1)(exchange.clone())).unwrap();
        for symbol in sim.symbols(&exchange) {
            sim.inject(Fault::Withhold { exchange: exchange.clone(), symbol, count: 40, which: Which::All }).unwrap();
        }
    }
    daemon.wait(|daemon| (daemon.metric("repair_overdue_total") >= 9).then_some(()), "to declare the holes");
    for exchange in exchanges {
        sim.inject(Fault::Stall { exchange, which: Which::All }).unwrap();
    }
    let filled = |daemon: &mut crate::daemon::Daemon| {
        let waits = ["repairs_open", "repair_waiting_records", "publish_waiting_records"];
        waits.iter().all(|name| daemon.metric(name) == 0).then_some(())
    };
    daemon.wait(filled, "to fill the holes");
    daemon.kill9();
    let before = stored(&server.url()).await;
    let late = |records: &Vec<Record>| {
        records.iter().rev().find_map(trade).is_some_and(|trade| trade.flag_set().has(Flags::BACKFILLED))
    };
    assert!(before.records.values().any(late), "no subject ends with a late trade:\n{}", daemon.log());
    // The server has forgotten the ids of what is stored.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut daemon = spec("few").start();
    wait_for_all(&mut daemon, &sim);
    let log = daemon.drain();
    assert!(log.contains("the recent past of the stream cannot be read"), "{log}");
    let found = stored(&server.url()).await;
    for (key, records) in &found.records {
        let mut ids: Vec<u64> = records.iter().filter_map(trade).map(|trade| trade.trade_id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{key:?}: something is stored twice");
    }
    assert!(found.gaps > before.gaps, "what may be missing is declared");
}
