//! B rows, second half: what becomes of the stream, its limits, its rights and its files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use tempfile::TempDir;

use crate::daemon::{DEADLINE, Daemon};
use crate::kit::{Scene, Setup, TWO, pause};
use crate::oracle::{Scope, in_stream, judge};
use crate::report::Must;
use crate::support::client;
use crate::support::tls::Pki;
use crate::truth::STREAM;

async fn context(scene: &Scene) -> jetstream::Context {
    jetstream::new(client(&scene.broker.url()).await)
}

/// The daemon's last error about the broker contains this.
fn wait_to_say(scene: &mut Scene, words: &[&str], since: Instant) {
    let says = |daemon: &mut Daemon| {
        let (_, status) = daemon.page("/status");
        let status = status.to_ascii_lowercase();
        words.iter().any(|word| status.contains(word)).then_some(())
    };
    scene.daemon.wait(says, &format!("to say one of {words:?}"));
    scene.row.detected(since);
}

/// The stream is deleted: it is told, made anew, and whole from its first trade on.
#[tokio::test]
async fn b03_stream_deleted() {
    let mut scene = Setup::new("b03_stream_deleted", &TWO, 800.0, 10.0).start();
    pause(1.0).await;
    let since = Instant::now();
    let (jetstream, rewinds) = (context(&scene).await, scene.daemon.metric("publish_window_rewinds_total"));
    jetstream.delete_stream(STREAM).await.unwrap();
    let anew = |daemon: &mut Daemon| (daemon.metric("publish_window_rewinds_total") > rewinds).then_some(());
    scene.daemon.wait(anew, "to go on in a stream made anew");
    scene.row.detected(since);
    scene.recover(since).await;
    let errors = scene.daemon.log().lines().filter(|line| line.contains("\"ERROR\"")).count();
    scene.row.note(format!("{errors} lines of level error"));
    scene.row.must(errors <= 5, format!("{errors} lines of level error"));
    scene.end_with(Must::Whole, Scope::FromFirst).await;
}

/// The stream is purged, then rolls by its limits: it goes on, and nothing that was removed is called missing.
#[tokio::test]
async fn b04_stream_purged() {
    let mut scene = Setup::new("b04_stream_purged", &TWO, 800.0, 10.0).start();
    pause(1.0).await;
    let jetstream = context(&scene).await;
    let since = Instant::now();
    jetstream.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    scene.recover(since).await;
    let config = jetstream.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    jetstream.update_stream(stream::Config { max_messages: 3_000, ..config }).await.unwrap();
    let since = Instant::now();
    scene.recover(since).await;
    pause(1.0).await;
    let gaps = scene.daemon.metric("broker_lost_total");
    scene.row.must(gaps == 0, format!("{gaps} records are called lost by the broker"));
    scene.end_with(Must::Whole, Scope::FromFirst).await;
}

/// A file system that is gone when this is.
struct Small(TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let dir = TempDir::with_prefix("data-manager-small-").unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a server may still stand in it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The broker's file system is full, later it has room again: held back, then stored in order.
#[tokio::test]
async fn b05_disk_full() {
    let Some(small) = Small::mount("24m") else {
        let mut row = crate::report::Running::new("b05_disk_full");
        row.note("not run: a small file system cannot be mounted here");
        return row.end();
    };
    let store = small.path().join("store");
    let mut scene = Setup::new("b05_disk_full", &TWO, 1_000.0, 18.0).server(|server| server.store_in(&store)).start();
    let (ballast, since) = (small.path().join("ballast"), Instant::now());
    // Until nothing fits any more.
    let full = std::fs::write(&ballast, vec![1; 24 << 20]).is_err();
    scene.row.must(full, "the file system is not full");
    scene.wait_to_miss(since);
    pause(2.0).await;
    let status: serde_json::Value = serde_json::from_str(&scene.daemon.page("/status").1).unwrap();
    scene.row.note(format!("the daemon says {}", status["reasons"]));
    std::fs::remove_file(&ballast).unwrap();
    let healed = Instant::now();
    let publishes = |daemon: &Daemon| daemon.metric("publisher_live") == 1;
    while !publishes(&scene.daemon) && healed.elapsed() < Duration::from_secs(8) {
        pause(0.1).await;
    }
    pause(1.0).await;
    if !publishes(&scene.daemon) {
        scene.row.note("the server stays without JetStream until it is restarted");
        scene.broker.one().restart_live().await;
    }
    scene.recover(healed).await;
    let row = scene.judge(Must::Whole, Scope::All).await;
    row.end();
}

/// A stream that refuses when it is full, and a payload limit that shrinks: told, waited for, split.
#[tokio::test]
async fn b06_limits() {
    let packed = Setup::new("b06_limits", &TWO, 1_000.0, 14.0)
        .set("TRANSPORT__NATS__PACK", "40")
        .set("TRANSPORT__NATS__LINGER", "100ms");
    let mut scene = packed.server(|server| server.config("max_payload: 65536")).start();
    let jetstream = context(&scene).await;
    let stream = jetstream.get_stream(STREAM).await.unwrap().cached_info().clone();
    let messages = i64::try_from(stream.state.messages).unwrap() + 20;
    let full = stream::Config { discard: stream::DiscardPolicy::New, max_messages: messages, ..stream.config.clone() };
    let since = Instant::now();
    jetstream.update_stream(full).await.unwrap();
    wait_to_say(&mut scene, &["maximum messages"], since);
    pause(2.0).await;
    jetstream.update_stream(stream.config).await.unwrap();
    scene.recover(Instant::now()).await;
    let since = Instant::now();
    scene.broker.one().reload("max_payload: 1024");
    pause(2.0).await;
    scene.recover(since).await;
    scene.end(Must::Whole).await;
}

/// The right to publish is withdrawn, the password changed, the certificate renewed, then a stranger's: told at once,
/// and whole when all is as it was.
#[tokio::test]
async fn b07_rights() {
    let (pki, stranger) = (Pki::generate(), Pki::generate());
    let config = |pki: &Pki, password: &str, rights: &str| {
        format!(
            "{}\nallow_non_tls: true\nno_auth_user: oracle\nauthorization {{ users: [ {{ user: oracle, password: o }}, \
             {{ user: u, password: {password}, {rights} }} ] }}",
            pki.tls_config()
        )
    };
    let all = "permissions: { publish: [\">\"], subscribe: [\">\"] }";
    let user = |password: &str, rights: &str| config(&pki, password, rights);
    let free = user("u", all);
    let mut scene = Setup::new("b07_rights", &TWO, 800.0, 24.0)
        .set("TRANSPORT__NATS__USER", "u")
        .set("TRANSPORT__NATS__PASSWORD", "u")
        .set("TRANSPORT__NATS__TLS__REQUIRED", "true")
        .set("TRANSPORT__NATS__TLS__CA", pki.ca().to_str().unwrap())
        .server(|server| server.config(&free))
        .proxied()
        .start();
    let since = Instant::now();
    scene.broker.one().reload(&user("u", "permissions: { publish: [\"$JS.API.>\"], subscribe: [\">\"] }"));
    wait_to_say(&mut scene, &["permission"], since);
    pause(1.0).await;
    scene.broker.one().reload(&free);
    scene.recover(Instant::now()).await;
    let since = Instant::now();
    scene.broker.one().reload(&user("another", "permissions: { publish: [\">\"], subscribe: [\">\"] }"));
    wait_to_say(&mut scene, &["authorization", "authentication"], since);
    pause(1.0).await;
    scene.broker.one().reload(&free);
    scene.recover(Instant::now()).await;
    pki.renew_server();
    scene.broker.one().reload(&free);
    pause(0.5).await;
    scene.proxy().cut();
    scene.recover(Instant::now()).await;
    scene.broker.one().reload(&config(&stranger, "u", all));
    pause(0.5).await;
    let since = Instant::now();
    scene.proxy().cut();
    wait_to_say(&mut scene, &["certificate"], since);
    scene.broker.one().reload(&free);
    scene.recover(Instant::now()).await;
    scene.end(Must::Whole).await;
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success(), "cp of {}: {done}", from.display());
}

/// The broker loses what it had not synced: with retention it is sent again; without, it is declared.
#[tokio::test]
async fn b12_power_loss() {
    let mut row = None;
    for (retain, repair, must) in
        [("4m", "true", Must::Whole), ("0s", "true", Must::Honest), ("0s", "false", Must::Honest)]
    {
        let mut scene = Setup::new("b12_power_loss", &TWO, 800.0, 8.0)
            .set("TRANSPORT__NATS__RETAIN", retain)
            .set("FEED__REPAIR", repair)
            .set("TRANSPORT__NATS__JETSTREAM__DUPLICATE_WINDOW", "1s")
            .start();
        if let Some(row) = row.take() {
            scene.row.finish_quietly();
            scene.row = row;
        }
        pause(1.0).await;
        let dir = TempDir::new().unwrap();
        let (store, aside) = (scene.broker.one().store(), dir.path().join("aside"));
        // What was synced, as of now; paused, so that it is of one moment.
        scene.broker.one().pause();
        copy(&store, &aside);
        scene.broker.one().resume();
        pause(2.0).await;
        let since = Instant::now();
        scene.broker.one().kill9();
        copy(&aside, &store);
        scene.broker.one().restart_live().await;
        let noticed = |daemon: &mut Daemon| {
            let metrics = ["publish_resent_total", "broker_lost_total", "publish_gaps_total"];
            (metrics.iter().map(|name| daemon.metric(name)).sum::<u64>() > 0).then_some(())
        };
        scene.daemon.wait(noticed, "to notice what the broker has lost");
        scene.row.detected(since);
        scene.recover(since).await;
        scene.settle().await;
        let lost = scene.daemon.metric("broker_lost_total");
        let (resent, gaps) = (scene.daemon.metric("publish_resent_total"), scene.daemon.metric("publish_gaps_total"));
        let fetched = scene.daemon.metric("repaired_trades_total");
        // What is fetched again and again would be stored again once the server has forgotten it.
        scene.row.must(fetched <= 6_400, format!("{fetched} trades fetched, of 6,400 in all"));
        scene.row.note(format!(
            "retain {retain}, repair {repair}: {lost} lost by the broker, {resent} resent, {gaps} gaps, {fetched} fetched from the venue"
        ));
        row = Some(scene.judge(must, Scope::All).await);
    }
    row.unwrap().end();
}

/// The blocks of the stream's messages, oldest first.
fn blocks(store: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![store.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map_while(Result::ok) {
            let path = entry.path();
            let of_stream = path.components().any(|part| part.as_os_str() == STREAM);
            if path.is_dir() {
                open.push(path);
            } else if of_stream && path.extension().is_some_and(|end| end == "blk") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// One bit of a stored block is flipped while the broker is down: each loss is told by `verify`.
#[tokio::test]
async fn b13_bit_flip() {
    let mut row = None;
    let kept = [("TRANSPORT__NATS__RETAIN", "4m"), ("FEED__REPAIR", "true")];
    let not_kept = [("TRANSPORT__NATS__RETAIN", "0s"), ("FEED__REPAIR", "false")];
    for (place, name, settings) in
        [(0.5, "in the middle", kept), (0.999, "near the end", kept), (0.5, "in the middle, nothing kept", not_kept)]
    {
        let setup = Setup::new("b13_bit_flip", &TWO, 800.0, 6.0);
        let mut scene = settings.iter().fold(setup, |setup, (key, value)| setup.set(key, value)).start();
        if let Some(row) = row.take() {
            scene.row.finish_quietly();
            scene.row = row;
        }
        pause(2.0).await;
        scene.broker.one().kill9();
        let block = blocks(&scene.broker.one().store()).pop().expect("a block of the stream");
        let mut bytes = std::fs::read(&block).unwrap();
        let at = format!("{:.0}", bytes.len() as f64 * place).parse::<usize>().unwrap().min(bytes.len() - 1);
        bytes[at] ^= 1;
        std::fs::write(&block, bytes).unwrap();
        let since = Instant::now();
        scene.broker.one().restart_live().await;
        scene.recover(since).await;
        scene.settle().await;
        let found = judge(&scene.sim, &in_stream(&scene.broker.url()).await, Scope::All);
        let code = verify(&scene);
        let told = code == Some(0) || found.lost + found.declared > 0;
        let whole = found.lost + found.declared + found.doubled + found.reordered == 0;
        scene.row.must(told, format!("verify exits with {code:?} and nothing is missing: {found}"));
        scene.row.must((code == Some(0)) == whole, format!("verify exits with {code:?}: {found}"));
        let log = scene.broker.one().log();
        let alarm = log.lines().filter(|line| line.contains("[WRN]") || line.contains("[ERR]")).count();
        scene.row.note(format!(
            "{name}: {} lost, {} declared, verify exits with {code:?}, server warns {alarm} times",
            found.lost, found.declared
        ));
        row = Some(scene.judge(Must::Told, Scope::All).await);
    }
    row.unwrap().end();
}

/// The exit code of `verify` over the stream.
fn verify(scene: &Scene) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    command.args(["verify", "--nats", &scene.broker.url()]).env_remove("DATA_MANAGER_CONFIG");
    let start = Instant::now();
    let output = command.output().unwrap();
    assert!(start.elapsed() < DEADLINE, "verify took {:?}", start.elapsed());
    output.status.code()
}
