//! D rows: what happens to the daemon and its host.

use std::time::{Duration, Instant};

use data_manager::sim::{Fault, Which, WireTime};
use rustix::process::Signal;

use crate::clock::SteppedClock;
use crate::daemon::{Daemon, Spec};
use crate::kit::{Scene, Setup, TWO, VENUES, long, number, pause, venues};
use crate::oracle::Scope;
use crate::report::Must;

/// The daemon is killed at random moments: whole, by the venues' history.
#[tokio::test]
async fn d01_kill_daemon() {
    let kills = number("CHAOS_CYCLES", 4, 50);
    let mut scene = Setup::new("d01_kill_daemon", &TWO, 800.0, 6.0 + 3.0 * kills as f64).start();
    for _ in 0..kills {
        pause(fastrand::f64()).await;
        scene.daemon.kill9();
        let since = Instant::now();
        scene.next_daemon();
        scene.recover(since).await;
    }
    scene.row.runs(kills);
    scene.end(Must::Whole).await;
}

/// SIGTERM under load drains; while the broker is away it ends in time and says how much was left.
#[tokio::test]
async fn d02_drain() {
    let mut scene = Setup::new("d02_drain", &TWO, 1_500.0, 16.0).set("SHUTDOWN_TIMEOUT", "2s").start();
    let since = Instant::now();
    scene.daemon.signal(Signal::TERM);
    let status = scene.daemon.ended();
    scene.row.note(format!("drained within {:.1?}", since.elapsed()));
    scene.row.must(status.code() == Some(0), format!("a drain under load ended with {status:?}"));
    let started = Instant::now();
    scene.next_daemon();
    scene.recover(started).await;
    scene.broker.one().kill9();
    pause(0.5).await;
    let since = Instant::now();
    scene.daemon.signal(Signal::TERM);
    let status = scene.daemon.ended();
    let took = since.elapsed();
    scene.row.note(format!("without a broker ended within {took:.1?}"));
    scene.row.must(status.code() == Some(1), format!("a drain without a broker ended with {status:?}"));
    let counted = scene.daemon.log().contains("were not acknowledged within shutdown_timeout");
    scene.row.must(counted, format!("it does not say how much was left:\n{}", scene.daemon.log()));
    scene.broker.one().restart_live().await;
    let started = Instant::now();
    scene.next_daemon();
    scene.recover(started).await;
    scene.end(Must::Whole).await;
}

/// A second SIGTERM while it drains: it leaves at once, and the next one makes it whole.
#[tokio::test]
async fn d03_signals() {
    let mut scene = Setup::new("d03_signals", &TWO, 800.0, 10.0).set("SHUTDOWN_TIMEOUT", "60s").start();
    scene.broker.one().kill9();
    pause(0.3).await;
    scene.daemon.signal(Signal::TERM);
    pause(0.5).await;
    let since = Instant::now();
    scene.daemon.signal(Signal::TERM);
    let status = scene.daemon.ended();
    scene.row.note(format!("left within {:.2?}", since.elapsed()));
    scene.row.must(status.code() == Some(1), format!("after a second signal it ended with {status:?}"));
    scene.broker.one().restart_live().await;
    let started = Instant::now();
    scene.next_daemon();
    scene.recover(started).await;
    scene.row.note("SIGHUP is not part of it: the daemon does not reload its configuration yet");
    scene.end(Must::Whole).await;
}

/// The venues' clocks and the host's step: no timer is fooled, no connection replaced, and whole, also over a restart.
#[tokio::test]
async fn d04_clock() {
    const HOUR: i64 = 3_600_000;
    let clock = SteppedClock::start();
    let mut scene = Setup::new("d04_clock", &TWO, 800.0, 24.0).environment(clock.environment()).start();
    let before = scene.accepted();
    for _ in 0..3 {
        let (which, time) = (Which::All, WireTime::Future);
        scene.inject_all(|exchange| Fault::Retime { exchange, symbol: None, which, time, count: 300 });
        pause(1.0).await;
    }
    for off in [HOUR, 0, -HOUR, 0, 37_000, 0, -37_000] {
        clock.stand_off(off);
        // The daemon looks once a second.
        pause(1.2).await;
    }
    let delay =
        |daemon: &mut Daemon| daemon.page("/metrics").1.contains("ingest_delay_seconds{exchange=\"binance\"} -3");
    scene.daemon.wait(|daemon| delay(daemon).then_some(()), "to show a negative delay");
    for _ in 0..100 {
        clock.stand_off(fastrand::i64(-2_000..2_000));
        pause(0.01).await;
    }
    let (same, steps) = (scene.accepted() == before, scene.daemon.metric("clock_steps_total"));
    scene.row.must(same, "connections were replaced though only clocks were wrong");
    scene.row.must(steps >= 6, format!("{steps} steps of the clock were noticed, there were more than seven"));
    for off in [HOUR, -HOUR] {
        clock.stand_off(off);
        scene.daemon.kill9();
        let since = Instant::now();
        scene.next_daemon();
        scene.recover(since).await;
    }
    scene.row.note(format!(
        "{steps} steps of the host's clock noticed; killed and started an hour ahead, and an hour behind"
    ));
    scene.end(Must::Whole).await;
}

/// Stopped, a tenth of a CPU, a ceiling on memory, few open files: whole, and a start that cannot be is told.
#[tokio::test]
async fn d05_starved() {
    let stopped = if long() { 60.0 } else { 5.0 };
    // The burst takes as much of the tapes as a hundred seconds.
    let seconds = 24.0 + 2.0 * stopped + 100.0;
    let mut scene =
        Setup::new("d05_starved", &TWO, 600.0, seconds).set("TRANSPORT__NATS__OUTBOX_MEMORY", "1MiB").start();
    under_a_ceiling(&mut scene).await;
    scene.daemon.signal(Signal::STOP);
    pause(stopped).await;
    scene.daemon.signal(Signal::CONT);
    scene.recover(Instant::now()).await;
    match Group::of(&scene, "cpu", &[("cpu.cfs_period_us", 100_000), ("cpu.cfs_quota_us", 10_000)]) {
        Some(quota) => {
            pause(5.0).await;
            drop(quota);
            scene.recover(Instant::now()).await;
        }
        None => scene.row.note("the CPU is not limited: no control group can be made here"),
    }
    let mut spec = Spec::new(&scene.sim).nats(&scene.url).within("ulimit -n 64 && exec \"$@\"");
    spec.set("TRANSPORT__NATS__JETSTREAM__STREAM_NAME", "OTHER");
    spec.set("TRANSPORT__NATS__JETSTREAM__SUBJECT_PREFIX", "other");
    let mut few = spec.start();
    few.wait(|few| (few.metric("published_trades_total") > 100).then_some(()), "to publish with 64 open files");
    few.drain();
    scene.end(Must::Whole).await;
}

/// A burst while the broker is away and memory is short: what does not fit goes to the disk, and nobody is killed.
async fn under_a_ceiling(scene: &mut Scene) {
    // What it has already does not count, only what comes from now on; much less than waits in the end.
    let Some(ceiling) = Group::of(scene, "memory", &[("memory.limit_in_bytes", 24 << 20)]) else {
        scene.row.note("memory is not limited: no control group can be made here");
        return;
    };
    scene.broker.one().kill9();
    scene.inject_all(|exchange| Fault::Burst { exchange, factor: 50, lasting: Duration::from_secs(2) });
    scene.daemon.wait(|daemon| (daemon.metric("spool_waiting_records") > 20_000).then_some(()), "to write to its disk");
    pause(1.0).await;
    let most = std::fs::read_to_string(ceiling.path.join("memory.max_usage_in_bytes")).unwrap_or_default();
    let most: u64 = most.trim().parse().unwrap_or_default();
    scene.row.note(format!("{} MiB more were used at most, under a ceiling of 24", most >> 20));
    scene.broker.one().restart_live().await;
    scene.recover(Instant::now()).await;
}

/// A control group of its own; the process leaves it when this is dropped.
struct Group {
    pid: u32,
    controller: &'static str,
    path: std::path::PathBuf,
}

impl Group {
    fn of(scene: &Scene, controller: &'static str, limits: &[(&str, u64)]) -> Option<Self> {
        let pid = scene.daemon.pid();
        let path = std::path::PathBuf::from(format!("/sys/fs/cgroup/{controller}/data-manager-test-{pid}"));
        std::fs::create_dir(&path).ok()?;
        let group = Self { pid, controller, path };
        for (name, limit) in limits {
            std::fs::write(group.path.join(name), limit.to_string()).ok()?;
        }
        std::fs::write(group.path.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(format!("/sys/fs/cgroup/{}/cgroup.procs", self.controller), self.pid.to_string());
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The process dies of itself: whole after the restart.
#[tokio::test]
async fn d06_crash() {
    let mut scene = Setup::new("d06_crash", &TWO, 800.0, 9.0).start();
    pause(0.5).await;
    scene.daemon.signal(Signal::ABORT);
    let status = scene.daemon.ended();
    scene.row.must(status.code().is_none(), format!("SIGABRT ended it with {status:?}"));
    let since = Instant::now();
    scene.next_daemon();
    scene.recover(since).await;
    scene.row.note("a panic inside a venue's decoder is planted by tests/feed/panics.rs, not from outside");
    scene.end(Must::Whole).await;
}

/// What must never be shown.
const CANARY: &str = "canary-8675309";

/// Wrong keys and values, secrets that are missing or cannot be read: refused with 78; a secret is never told.
#[tokio::test]
async fn d07_configuration() {
    let server = crate::support::Server::builder()
        .config(&format!("authorization {{ users: [ {{ user: u, password: \"{CANARY}\" }} ] }}"));
    let mut row = crate::report::Running::new("d07_configuration");
    let sim = venues(&TWO, 200.0, 3.0);
    let mistakes = [
        ("TRANSPORT__NATS__WINDWO", "10", "windwo"),
        ("TRANSPORT__NATS__WINDOW", "many", "window"),
        ("FEED__HOLD", "2 parsecs", "hold"),
        ("TRANSPORT__IPC__CAPACITY", "1000", "capacity"),
        ("EXCHANGES__BINANCE__REDUNDANCY", "99", "redundancy"),
        ("TRANSPORT__NATS__TOKEN__FILE", "/no/such/file", "/no/such/file"),
        ("TRANSPORT__NATS__TOKEN__ENV", "NO_SUCH_VARIABLE", "no_such_variable"),
        ("TRANSPORT__NATS__PASSWORD", CANARY, "password"),
    ];
    for (key, value, named) in mistakes {
        let (code, said) = Spec::new(&sim).nats("nats://127.0.0.1:1").with(key, value).run_to_end();
        row.must(code == Some(78), format!("{key}={value} ends with {code:?}: {said}"));
        let names = said.to_ascii_lowercase().contains(named);
        row.must(names, format!("{key}={value} is not named: {said}"));
        row.must(!said.contains(CANARY), format!("{key}: a secret is told: {said}"));
    }
    let mut seeded = fastrand::Rng::with_seed(number("CHAOS_SEED", 1, 1));
    let keys = ["SHARDS", "FEED__BACKOFF_MIN", "TRANSPORT__NATS__PACK", "HTTP__LISTEN", "SHUTDOWN_TIMEOUT"];
    let fuzzes = if long() { 500 } else { 40 };
    for _ in 0..fuzzes {
        let value: String = (0..seeded.usize(1..12)).map(|_| char::from(seeded.u8(33..127))).collect();
        let key = keys[seeded.usize(..keys.len())];
        // A port that is taken or an odd address may be a failure, a daemon that starts would not end.
        let spec = Spec::new(&sim).nats("nats://127.0.0.1:1").with(key, &value).with("FEED__HOLD", "wrong");
        let (code, said) = spec.run_to_end();
        row.must(code == Some(78), format!("{key}={value} ends with {code:?}: {said}"));
    }
    row.note(format!("{fuzzes} values by chance"));
    let server = server.start();
    let mut daemon = Spec::new(&sim)
        .nats(&server.url())
        .with("TRANSPORT__NATS__USER", "u")
        .with("TRANSPORT__NATS__PASSWORD", CANARY)
        .with("LOG__LEVEL", "trace")
        .start();
    daemon.wait(|daemon| (daemon.metric("published_trades_total") > 100).then_some(()), "to publish");
    let pages = daemon.page("/status").1 + &daemon.page("/metrics").1;
    let log = daemon.drain();
    row.must(!pages.contains(CANARY), "a page tells the secret");
    let line = log.lines().find(|line| line.contains(CANARY)).map(str::to_owned);
    row.must(line.is_none(), format!("the log of level trace tells the secret: {line:?}"));
    row.end();
}

/// The broker is killed, again and again.
#[tokio::test]
async fn kill_broker_loop() {
    let cycles = number("CHAOS_CYCLES", 5, 200);
    let mut scene = Setup::new("kill_broker_loop", &TWO, 1_000.0, 4.0 + 1.6 * cycles as f64).start();
    for _ in 0..cycles {
        pause(fastrand::f64() * 0.8).await;
        scene.broker.one().kill9();
        pause(fastrand::f64() * 0.5).await;
        scene.broker.one().restart_live().await;
        scene.recover(Instant::now()).await;
    }
    scene.row.runs(cycles);
    scene.end(Must::Whole).await;
}

/// The daemon is killed, again and again.
#[tokio::test]
async fn kill_daemon_loop() {
    let cycles = number("CHAOS_CYCLES", 5, 200);
    let mut scene = Setup::new("kill_daemon_loop", &TWO, 500.0, 5.0 + 1.2 * cycles as f64).start();
    for _ in 0..cycles {
        // Also while it starts, and while it reads what is stored.
        let limit = Duration::from_millis(fastrand::u64(0..1_500));
        let start = Instant::now();
        let publishes = |daemon: &Daemon| daemon.metric("published_trades_total") > 50;
        while start.elapsed() < limit && !publishes(&scene.daemon) {
            pause(0.01).await;
        }
        pause(fastrand::f64() * 0.4).await;
        scene.daemon.kill9();
        scene.next_daemon();
    }
    let since = Instant::now();
    scene.recover(since).await;
    scene.row.runs(cycles);
    scene.end(Must::Whole).await;
}

/// Faults of every family by chance: nothing is lost that no gap declares, nothing doubled, all in order.
#[tokio::test]
async fn mixed() {
    let seconds = number("CHAOS_MIXED_SECONDS", 20, 1_800);
    let seed = number("CHAOS_SEED", fastrand::u64(1..1 << 32), fastrand::u64(1..1 << 32));
    let mut rng = fastrand::Rng::with_seed(seed);
    let rate = if long() { 5_000.0 } else { 1_500.0 };
    let mut scene = Setup::new("mixed", &VENUES, rate, seconds as f64 + 10.0).proxied().start();
    scene.row.note(format!("seed {seed}"));
    let (start, mut faults) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(seconds) {
        pause(0.2 + rng.f64() * if long() { 6.0 } else { 1.2 }).await;
        let name = crate::chance::fault(&mut scene, &mut rng).await;
        println!("{:.1?} {name}", start.elapsed());
        faults.push(name);
    }
    scene.proxy().pass();
    let since = Instant::now();
    scene.recover(since).await;
    scene.row.runs(faults.len() as u64);
    let row = scene.judge(Must::Honest, Scope::All).await;
    if row.fails() {
        println!("CHAOS_SEED={seed} replays these faults: {faults:?}");
    }
    row.end();
}
