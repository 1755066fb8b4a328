//! Two daemons on the same symbols: either may die, drain, or be cut off, and the stream is whole.

use std::time::{Duration, Instant};

use data_manager::sim::Sim;
use rustix::process::Signal;

use crate::daemon::{Daemon, Spec};
use crate::repair::{assert_stream_whole, venues, wait_for_repairs_of_late_life};
use crate::support::{Proxy, Server, Way};
use crate::truth::{by_id, issued, stored};

fn one_of_two(sim: &Sim, url: &str) -> Daemon {
    Spec::new(sim).nats(url).with("TRANSPORT__NATS__PAIR__ENABLED", "true").start()
}

fn publishes(daemon: &Daemon) -> bool {
    daemon.page("/status").1.contains("\"state\":\"publishing\"")
}

fn stands_by(daemon: &Daemon) -> bool {
    daemon.page("/status").1.contains("\"state\":\"standing by\"")
}

fn wait_to_lead(daemon: &mut Daemon) -> Duration {
    let start = Instant::now();
    daemon.wait(|daemon| publishes(daemon).then_some(()), "to publish");
    start.elapsed()
}

fn wait_for_progress(daemon: &mut Daemon) {
    let before = daemon.metric("published_trades_total");
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > before + 800).then_some(()), "to get on");
}

/// A leader and one that stands by.
fn pair(sim: &Sim, leader: &str, other: &str) -> (Daemon, Daemon) {
    let mut first = one_of_two(sim, leader);
    wait_to_lead(&mut first);
    let mut second = one_of_two(sim, other);
    second.wait(|daemon| stands_by(daemon).then_some(()), "to stand by");
    (first, second)
}

#[tokio::test]
async fn either_may_be_killed_at_any_moment() {
    let server = Server::start();
    let sim = venues(1_500.0, 16_000);
    let (mut leader, mut other) = pair(&sim, &server.url(), &server.url());
    for _ in 0..3 {
        wait_for_progress(&mut leader);
        leader.signal(Signal::KILL);
        println!("took over after {:?}", wait_to_lead(&mut other));
        drop(std::mem::replace(&mut leader, other));
        other = one_of_two(&sim, &server.url());
        wait_for_progress(&mut leader);
        other.wait(|daemon| stands_by(daemon).then_some(()), "to stand by");
    }
    wait_for_repairs_of_late_life(&mut leader, &sim);
    let issued = issued(&sim);
    other.drain();
    leader.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn a_leader_that_drains_hands_over_at_once() {
    let server = Server::start();
    let sim = venues(1_500.0, 9_000);
    let (mut leader, mut other) = pair(&sim, &server.url(), &server.url());
    wait_for_progress(&mut leader);
    leader.drain();
    println!("took over after {:?}", wait_to_lead(&mut other));
    wait_for_repairs_of_late_life(&mut other, &sim);
    let issued = issued(&sim);
    other.drain();
    assert_stream_whole(&server, &issued).await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_is_displaced_and_stands_by_when_it_is_back() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url());
    let sim = venues(1_500.0, 12_000);
    let (mut leader, mut other) = pair(&sim, &proxy.url(), &server.url());
    wait_for_progress(&mut leader);
    proxy.black_hole(Way::Both);
    println!("took over after {:?}", wait_to_lead(&mut other));
    wait_for_progress(&mut other);
    // What it had sent, and what it still holds, must not reach the stream any more.
    proxy.pass();
    leader.wait(|daemon| stands_by(daemon).then_some(()), "to stand by");
    wait_for_repairs_of_late_life(&mut other, &sim);
    let issued = issued(&sim);
    leader.drain();
    other.drain();
    assert_stream_whole(&server, &issued).await;
}

/// One of two with a spool of its own, on a stream that soon forgets ids: what is sent twice is there twice.
fn with_spool(sim: &Sim, url: &str, directory: &std::path::Path) -> Spec {
    let path = directory.to_str().unwrap();
    let spec = Spec::new(sim).nats(url).with("TRANSPORT__NATS__PAIR__ENABLED", "true");
    let spec = spec.with("TRANSPORT__NATS__JETSTREAM__DUPLICATE_WINDOW", "100ms");
    spec.with("TRANSPORT__NATS__OUTBOX_MEMORY", "64KiB").with("TRANSPORT__NATS__OUTBOX_DIR", path)
}

fn wait_for_spool(daemon: &mut Daemon) {
    daemon.wait(|daemon| (daemon.metric("spool_waiting_records") > 2_000).then_some(()), "to keep records on disk");
}

#[tokio::test]
async fn what_a_killed_leader_left_on_disk_is_not_sent_again_by_it() {
    let mut server = Server::start();
    let sim = venues(1_500.0, 24_000);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |at: usize| with_spool(&sim, &server.url(), directories[at].path()).start();
    let (mut leader, mut other, again) = (start(0), start(1), with_spool(&sim, &server.url(), directories[0].path()));
    wait_for_progress(if publishes(&leader) { &mut leader } else { &mut other });
    server.kill9();
    wait_for_spool(&mut leader);
    wait_for_spool(&mut other);
    leader.signal(Signal::KILL);
    leader.ended();
    server.restart();
    wait_to_lead(&mut other);
    wait_for_progress(&mut other);
    let mut back = again.start();
    let left_out = |daemon: &mut Daemon| daemon.log().contains("it is left out").then_some(());
    back.wait(left_out, "to leave out what the other has stored");
    other.signal(Signal::KILL);
    wait_to_lead(&mut back);
    wait_for_repairs_of_late_life(&mut back, &sim);
    let issued = issued(&sim);
    back.drain();
    assert_eq!(by_id(stored(&server.url()).await, &issued), issued, "stream");
}

#[tokio::test]
async fn both_may_be_killed_while_the_broker_is_away() {
    let mut server = Server::start();
    let sim = venues(1_500.0, 24_000);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let spec = |at: usize| with_spool(&sim, &server.url(), directories[at].path());
    let (mut first, mut second, again) = (spec(0).start(), spec(1).start(), [spec(0), spec(1)]);
    wait_for_progress(if publishes(&first) { &mut first } else { &mut second });
    server.kill9();
    for daemon in [&mut first, &mut second] {
        wait_for_spool(daemon);
        daemon.signal(Signal::KILL);
        daemon.ended();
    }
    let [mut first, mut second] = again.map(Spec::start);
    for daemon in [&mut first, &mut second] {
        daemon.wait(|daemon| (daemon.metric("spool_recovered_records_total") > 1_000).then_some(()), "to find a spool");
    }
    server.restart();
    let one_leads = || publishes(&first) || publishes(&second);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !one_leads() {
        assert!(Instant::now() < deadline, "nobody publishes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut leader, mut other) = if publishes(&first) { (first, second) } else { (second, first) };
    wait_for_progress(&mut leader);
    leader.signal(Signal::KILL);
    wait_to_lead(&mut other);
    wait_for_repairs_of_late_life(&mut other, &sim);
    let issued = issued(&sim);
    other.drain();
    assert_eq!(by_id(stored(&server.url()).await, &issued), issued, "stream");
}
