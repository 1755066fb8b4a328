//! B rows, first half: brokers that die, pause and change hands, and the line to them.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::json;

use crate::daemon::{Daemon, Spec};
use crate::kit::{Scene, Setup, TWO, long, number, pause};
use crate::oracle::Scope;
use crate::report::Must;
use crate::support::{Way, client};
use crate::truth::STREAM;

/// The broker is killed and comes back: nothing is lost, doubled or reordered.
#[tokio::test]
async fn b01_kill_broker() {
    let mut scene = Setup::new("b01_kill_broker", &TWO, 1_000.0, 11.0).start();
    let away = if long() { vec![0.1, 5.0, 60.0] } else { vec![0.1, 3.0] };
    for away in away {
        let killed = Instant::now();
        scene.broker.one().kill9();
        scene.wait_to_miss(killed);
        pause(away).await;
        scene.broker.one().restart_live().await;
        scene.recover(Instant::now()).await;
    }
    scene.end(Must::Whole).await;
}

/// SIGTERM, lame duck, a reload: nothing is lost, doubled or reordered.
#[tokio::test]
async fn b02_orderly_ends() {
    let duck = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"";
    let mut scene = Setup::new("b02_orderly_ends", &TWO, 1_000.0, 12.0).server(|server| server.config(duck)).start();
    let since = Instant::now();
    scene.broker.one().terminate();
    scene.wait_to_miss(since);
    scene.broker.one().restart_live().await;
    scene.recover(Instant::now()).await;
    let since = Instant::now();
    scene.broker.one().lame_duck();
    // It sends its clients away one by one; without another server they wait for its successor.
    scene.wait_to_miss(since);
    pause(0.5).await;
    scene.broker.one().terminate();
    scene.broker.one().restart_live().await;
    scene.recover(Instant::now()).await;
    // Metrics are some hundred milliseconds old.
    pause(1.0).await;
    let rewinds = scene.daemon.metric("publish_window_rewinds_total");
    scene.broker.one().reload(&format!("{duck}\nping_interval: \"15s\""));
    pause(1.0).await;
    let same = scene.daemon.metric("publish_window_rewinds_total") == rewinds;
    scene.row.must(same, "a reload made the publisher start anew");
    scene.recover(Instant::now()).await;
    scene.end(Must::Whole).await;
}

/// A stopped server, and acks that never come: no flood of what was sent before.
#[tokio::test]
async fn b08_slow_acks() {
    let seconds = if long() { 30.0 } else { 20.0 };
    let mut scene = Setup::new("b08_slow_acks", &TWO, 800.0, seconds).proxied().start();
    for stopped in if long() { vec![1.0, 10.0] } else { vec![1.0, 6.0] } {
        let (resent, since) = (scene.daemon.metric("publish_resent_total"), Instant::now());
        scene.broker.one().pause();
        if stopped > 5.0 {
            scene.wait_to_miss(since);
        }
        tokio::time::sleep(Duration::from_secs_f64(stopped).saturating_sub(since.elapsed())).await;
        scene.broker.one().resume();
        scene.recover(Instant::now()).await;
        few_resent(&mut scene, resent, "a stopped server");
    }
    let (resent, since) = (scene.daemon.metric("publish_resent_total"), Instant::now());
    scene.proxy().black_hole(Way::ToClient);
    scene.wait_to_miss(since);
    scene.proxy().cut();
    scene.proxy().pass();
    scene.recover(Instant::now()).await;
    few_resent(&mut scene, resent, "lost acks");
    scene.end(Must::Whole).await;
}

fn few_resent(scene: &mut Scene, before: u64, what: &str) {
    let resent = scene.daemon.metric("publish_resent_total") - before;
    scene.row.note(format!("{resent} resent after {what}"));
    scene.row.must(resent <= 2_000, format!("{resent} messages were resent after {what}, two windows are 2,000"));
}

/// No packet either way, for longer than the duplicate window.
#[tokio::test]
async fn b09_partition() {
    let apart = if long() { vec![5.0, 121.0, 600.0] } else { vec![2.0, 7.0] };
    let seconds = 8.0 + apart.iter().sum::<f64>();
    let window = if long() { "2m" } else { "1s" };
    let mut scene = Setup::new("b09_partition", &TWO, 800.0, seconds)
        .set("TRANSPORT__NATS__JETSTREAM__DUPLICATE_WINDOW", window)
        .proxied()
        .start();
    for apart in &apart {
        let since = Instant::now();
        scene.proxy().black_hole(Way::Both);
        if *apart > 5.5 {
            scene.wait_to_miss(since);
        }
        tokio::time::sleep(Duration::from_secs_f64(*apart).saturating_sub(since.elapsed())).await;
        // As a network that has come back: what it swallowed is gone.
        scene.proxy().cut();
        scene.proxy().pass();
        scene.recover(Instant::now()).await;
    }
    scene.row.note(format!("{apart:?} s apart, duplicate window {window}"));
    scene.end(Must::Whole).await;
}

/// Resets in mid-message, messages in slices, a narrow line.
#[tokio::test]
async fn b10_bad_line() {
    let mut scene = Setup::new("b10_bad_line", &TWO, 500.0, 15.0).proxied().start();
    for _ in 0..number("CHAOS_CYCLES", 5, 200).min(20) {
        // A cut falls into a message: they are handed on in pieces.
        scene.proxy().slice(37, Duration::ZERO);
        pause(0.4).await;
        scene.proxy().cut();
    }
    scene.proxy().pass();
    scene.recover(Instant::now()).await;
    scene.proxy().slice(500, Duration::from_millis(5));
    pause(3.0).await;
    scene.proxy().pass();
    scene.recover(Instant::now()).await;
    scene.end(Must::Whole).await;
}

/// A cluster of three: its leader is killed, steps down, two of three are down, a peer is removed.
#[tokio::test]
async fn b11_cluster() {
    let mut scene = Setup::new("b11_cluster", &TWO, 600.0, 26.0).cluster(3).start();
    let leader = scene.broker.several().leader(STREAM).await;
    let since = Instant::now();
    scene.broker.several().kill9(leader);
    scene.recover_from("leader killed", since).await;
    scene.broker.several().restart_live(leader).await;
    scene.broker.several().step_down(STREAM).await;
    scene.recover_from("leader stepped down", Instant::now()).await;
    let (one, two) = ((leader + 1) % 3, (leader + 2) % 3);
    let since = Instant::now();
    scene.broker.several().kill9(one);
    scene.broker.several().kill9(two);
    scene.wait_to_miss(since);
    pause(1.0).await;
    scene.broker.several().restart_live(one).await;
    scene.broker.several().restart_live(two).await;
    scene.recover(Instant::now()).await;
    scene.row.note("two of three back");
    let row = scene.judge(Must::Whole, Scope::All).await;
    // A peer leaves the stream, and the fourth node takes its place.
    let mut scene = Setup::new("b11_cluster", &TWO, 600.0, 12.0).cluster(4).start();
    scene.row.finish_quietly();
    scene.row = row;
    let nats = client(&scene.broker.url()).await;
    let leader = scene.broker.several().leader(STREAM).await;
    let info = jetstream::new(nats.clone()).get_stream(STREAM).await.unwrap().cached_info().clone();
    let replica = info.cluster.unwrap().replicas[0].name.clone();
    for peer in [replica, format!("n{leader}")] {
        let since = Instant::now();
        let ask = json!({ "peer": peer }).to_string();
        let answer = nats.request(format!("$JS.API.STREAM.PEER.REMOVE.{STREAM}"), ask.into()).await.unwrap();
        let said = String::from_utf8_lossy(&answer.payload).into_owned();
        scene.row.must(said.contains("\"success\":true"), format!("{peer} is not removed: {said}"));
        scene.recover_from("peer removed", since).await;
        pause(1.0).await;
    }
    scene.end(Must::Whole).await;
}

/// Outages longer than a duplicate window that forgets at once: no double, because each message names its predecessor.
#[tokio::test]
async fn b14_duplicate_window() {
    let mut scene = Setup::new("b14_duplicate_window", &TWO, 1_000.0, 12.0)
        .set("TRANSPORT__NATS__JETSTREAM__DUPLICATE_WINDOW", "100ms")
        .proxied()
        .start();
    for _ in 0..3 {
        // What was sent is stored, and its acks are gone.
        scene.proxy().black_hole(Way::ToClient);
        pause(0.5).await;
        scene.proxy().cut();
        scene.proxy().pass();
        scene.recover(Instant::now()).await;
        scene.broker.one().kill9();
        pause(0.5).await;
        scene.broker.one().restart_live().await;
        scene.recover(Instant::now()).await;
    }
    scene.row.note("the server's own clock is not stepped: it asks the kernel, past what could stand between");
    scene.end(Must::Whole).await;
}

/// A second daemon on the same stream: no double, in order; in pair mode exactly one publishes.
#[tokio::test]
async fn b15_second_writer() {
    let mut scene = Setup::new("b15_second_writer", &TWO, 800.0, 10.0).start();
    let second = Spec::new(&scene.sim).nats(&scene.url).start();
    pause(4.0).await;
    let foreign = scene.daemon.metric("foreign_messages_total") + second.metric("foreign_messages_total");
    scene.row.note(format!("without pair mode: {foreign} messages of the other seen"));
    let told = [scene.daemon.log(), second.log()].iter().any(|log| log.contains("somebody else writes to the stream"));
    scene.row.must(told, "neither of two writers says that there is another one");
    second.drain();
    let row = scene.judge(Must::Whole, Scope::All).await;
    let mut scene =
        Setup::new("b15_second_writer", &TWO, 800.0, 10.0).set("TRANSPORT__NATS__PAIR__ENABLED", "true").start();
    scene.row.finish_quietly();
    scene.row = row;
    let mut second = Spec::new(&scene.sim).nats(&scene.url).with("TRANSPORT__NATS__PAIR__ENABLED", "true").start();
    let stands_by = |daemon: &mut Daemon| daemon.page("/status").1.contains("\"standing by\"").then_some(());
    second.wait(stands_by, "to stand by");
    pause(2.0).await;
    let quiet = second.metric("published_trades_total") == 0;
    scene.row.must(quiet, "the one that stands by has published");
    second.drain();
    let context = jetstream::new(client(&scene.broker.url()).await);
    let subjects = context.get_stream(STREAM).await.unwrap().cached_info().state.messages;
    scene.row.note(format!("in pair mode: {subjects} messages, all of the first"));
    scene.end(Must::Whole).await;
}
