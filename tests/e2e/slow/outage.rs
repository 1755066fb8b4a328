//! A broker that is away for longer than memory lasts: records wait on disk, and come back in order.

use data_manager::sim::Sim;
use rustix::process::Signal;

use crate::daemon::{Daemon, Spec};
use crate::repair::{assert_stream_whole, venues, wait_for_repairs, wait_for_repairs_of_late_life};
use crate::support::Server;
use crate::truth::{Trades, by_id, issued, stored};

/// Memory for less than half a second of trades.
const MEMORY: &str = "64KiB";

fn spooled(daemon: &mut Daemon, records: u64) {
    daemon.wait(|daemon| (daemon.metric("spool_waiting_records") > records).then_some(()), "to keep records on disk");
}

#[tokio::test]
async fn what_does_not_fit_into_memory_waits_on_disk_and_comes_back_in_order() {
    let mut server = Server::start();
    let sim = venues(4_000.0, 24_000);
    let mut daemon = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY).start();
    for round in 1..=2_u64 {
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > round * 4_000).then_some(()), "to publish");
        server.kill9();
        spooled(&mut daemon, 5_000);
        server.restart();
        daemon.wait(|daemon| (daemon.metric("spool_waiting_records") == 0).then_some(()), "to empty the disk");
    }
    wait_for_repairs(&mut daemon, &sim);
    assert_eq!(daemon.metric("publish_dropped_total") + daemon.metric("spool_dropped_records_total"), 0);
    let issued = issued(&sim);
    daemon.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn what_a_killed_daemon_left_on_disk_is_sent_by_the_next_one() {
    let mut server = Server::start();
    let sim = venues(4_000.0, 24_000);
    let directory = tempfile::tempdir().unwrap();
    let spec = || {
        let path = directory.path().to_str().unwrap().to_owned();
        Spec::new(&sim)
            .nats(&server.url())
            .with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY)
            .with("TRANSPORT__NATS__OUTBOX_DIR", &path)
    };
    let mut daemon = spec().start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 3_000).then_some(()), "to publish");
    let next = spec();
    server.kill9();
    spooled(&mut daemon, 5_000);
    daemon.signal(Signal::KILL);
    daemon.ended();
    let mut daemon = next.start();
    daemon.wait(|daemon| (daemon.metric("spool_recovered_records_total") > 4_000).then_some(()), "to find the spool");
    server.restart();
    wait_for_repairs_of_late_life(&mut daemon, &sim);
    let issued = issued(&sim);
    daemon.drain();
    // What was in memory only came from the venue, behind its place: it is declared, and filled.
    assert_eq!(by_id(stored(&server.url()).await, &issued), issued, "stream");
}

#[tokio::test]
async fn a_drain_while_the_broker_is_away_leaves_everything_to_the_next_run() {
    let mut server = Server::start();
    let sim = venues(2_000.0, 12_000);
    let directory = tempfile::tempdir().unwrap();
    let spec = || {
        let path = directory.path().to_str().unwrap().to_owned();
        let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__OUTBOX_DIR", &path);
        // Nothing may come from the venue's history.
        spec.with("SHUTDOWN_TIMEOUT", "1s").with("FEED__REPAIR", "false")
    };
    let mut daemon = spec().start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
    let next = spec();
    server.kill9();
    daemon.wait(|daemon| (daemon.metric("publish_waiting_records") > 3_000).then_some(()), "to keep records");
    let left = issued(&sim);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("left in the spool for the next run"), "{}", daemon.log());
    server.restart();
    let mut daemon = next.start();
    daemon.wait(|daemon| (daemon.metric("spool_recovered_records_total") > 3_000).then_some(()), "to find the spool");
    daemon.wait(|daemon| (daemon.metric("spool_waiting_records") == 0).then_some(()), "to send it");
    daemon.wait(|_| sim.finished().then_some(()), "to see the tapes end");
    daemon.drain();
    // Everything that the first run had read is there; what was traded between the runs is declared.
    let found = by_id(stored(&server.url()).await, &left);
    for (key, trades) in &left {
        let whole = trades.iter().zip(&found[key]).take_while(|(a, b)| a == b).count();
        assert!(whole + 50 > trades.len(), "{key:?}: {whole} of {}", trades.len());
    }
}

/// A run with a broker that dies and does not come back before the drain's time is over: memory is full, and newer
/// records wait on disk. What had been issued by then.
fn drained_without_a_broker(mut daemon: Daemon, server: &mut Server, sim: &Sim) -> Trades {
    server.kill9();
    spooled(&mut daemon, 3_000);
    let left = issued(sim);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("left in the spool for the next run"), "{}", daemon.log());
    server.restart();
    left
}

#[tokio::test]
async fn a_drain_with_memory_full_and_records_on_disk_leaves_all_of_them_once_and_in_order() {
    for message_ids in ["true", "false"] {
        let mut server = Server::start();
        let sim = venues(4_000.0, 40_000);
        let directory = tempfile::tempdir().unwrap();
        let spec = || {
            let path = directory.path().to_str().unwrap().to_owned();
            let spec = Spec::new(&sim).nats(&server.url()).with("TRANSPORT__NATS__OUTBOX_DIR", &path);
            let spec = spec.with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY);
            let spec = spec.with("TRANSPORT__NATS__MESSAGE_IDS", message_ids);
            // Nothing may come from the venue's history.
            spec.with("SHUTDOWN_TIMEOUT", "1s").with("FEED__REPAIR", "false")
        };
        let (first, second, third) = (spec(), spec(), spec());
        let mut daemon = first.start();
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 2_000).then_some(()), "to publish");
        let left = drained_without_a_broker(daemon, &mut server, &sim);
        // The second one has a part of it in memory again when the broker dies once more.
        let mut daemon = second.start();
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 1_000).then_some(()), "to send some of it");
        drained_without_a_broker(daemon, &mut server, &sim);
        let mut daemon = third.start();
        daemon.wait(|daemon| (daemon.metric("spool_recovered_records_total") > 3_000).then_some(()), "to find it");
        daemon.wait(|daemon| (daemon.metric("spool_waiting_records") == 0).then_some(()), "to send it");
        daemon.drain();
        let found = stored(&server.url()).await;
        for (key, trades) in &found.trades {
            let in_order = trades.windows(2).all(|pair| pair[0].id < pair[1].id);
            assert!(in_order, "{key:?}: a trade stands twice, or out of order");
        }
        let found = by_id(found, &left);
        for (key, trades) in &left {
            let whole = trades.iter().zip(&found[key]).take_while(|(a, b)| a == b).count();
            assert!(whole + 100 > trades.len(), "{key:?}: {whole} of {}", trades.len());
        }
    }
}

#[tokio::test]
async fn what_even_the_disk_cannot_hold_is_declared_and_fetched_later() {
    let mut server = Server::start();
    let sim = venues(20_000.0, 120_000);
    let mut daemon = Spec::new(&sim)
        .nats(&server.url())
        .with("TRANSPORT__NATS__OUTBOX_MEMORY", MEMORY)
        .with("TRANSPORT__NATS__OUTBOX_DISK", "2MiB")
        .start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 5_000).then_some(()), "to publish");
    server.kill9();
    daemon.wait(|daemon| (daemon.metric("spool_dropped_records_total") > 5_000).then_some(()), "to give records up");
    server.restart();
    wait_for_repairs(&mut daemon, &sim);
    daemon.wait(|daemon| (daemon.metric("repaired_trades_total") > 5_000).then_some(()), "to fetch them again");
    wait_for_repairs(&mut daemon, &sim);
    let issued = issued(&sim);
    daemon.drain();
    let found = stored(&server.url()).await;
    assert!(found.gaps > 0, "what was given up is declared");
    assert_eq!(by_id(found, &issued), issued, "stream");
}
