//! Two daemons on the same symbols: either may die, drain, or be cut off, and the stream is whole.

use std::time::{Duration, Instant};

use data_manager::sim::Sim;
use rustix::process::Signal;

use crate::daemon::{Daemon, Spec};
use crate::repair::{assert_stream_whole, venues, wait_for_repairs_of_late_life};
use crate::support::{Proxy, Server, Way};
use crate::truth::issued;

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
