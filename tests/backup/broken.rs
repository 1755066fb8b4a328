//! Backups and restores that are broken off: servers that die, tools that are told to end, tools that are killed.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::stream::StorageType;
use rustix::process::Signal;

use crate::kit::{DEADLINE, Scene, VERSIONS};
use crate::process::Running;
use crate::support::{Proxy, Server, client};

/// Some megabytes, of which a slow line takes seconds.
const MESSAGES: u64 = 30_000;

/// A line on which a backup takes a while.
fn slow(server: &Server) -> Proxy {
    let proxy = Proxy::start(&server.url());
    proxy.slice(32 << 10, Duration::from_millis(20));
    proxy
}

/// Waits until so many bytes went through the server, that way.
async fn until(server: &Server, field: &str, bytes: u64) {
    let start = Instant::now();
    loop {
        let page: serde_json::Value =
            serde_json::from_str(&server.monitor("/varz").unwrap_or_default()).unwrap_or_default();
        if page[field].as_u64().is_some_and(|count| count >= bytes) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "not {bytes} {field} within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn counted(server: &Server, field: &str) -> u64 {
    let page: serde_json::Value = serde_json::from_str(&server.monitor("/varz").unwrap()).unwrap();
    page[field].as_u64().unwrap()
}

/// A backup that is under way on a slow line.
async fn saving(scene: &Scene, proxy: &Proxy) -> Running {
    let sent = counted(&scene.server, "out_bytes");
    let path = scene.path("s");
    let running =
        Running::with(&["topology", "backup", "S", "-o", path.to_str().unwrap(), "--nats", &proxy.url()], &[]);
    until(&scene.server, "out_bytes", sent + (1 << 20)).await;
    assert_eq!(scene.files(), [".s.part"]);
    running
}

#[tokio::test]
async fn a_backup_that_is_broken_off_leaves_no_file() {
    for version in VERSIONS {
        let mut scene = Scene::of(version).await;
        scene.stream("S", StorageType::File, MESSAGES).await;
        let proxy = slow(&scene.server);
        for signal in [Signal::INT, Signal::TERM] {
            let mut running = saving(&scene, &proxy).await;
            running.signal(signal);
            running.end().expect_code(1).tells("was not written");
            assert_eq!(scene.files(), Vec::<String>::new(), "{version}");
        }
        // What a killed one leaves is no backup by its name, and in nobody's way.
        let mut running = saving(&scene, &proxy).await;
        running.signal(Signal::KILL);
        running.end();
        assert_eq!(scene.files(), [".s.part"]);
        let part = scene.path(".s.part");
        scene.restore(&part, &[]).expect_code(1);
        let start = Instant::now();
        // A server before 2.12 notices after some seconds that nobody listens.
        while scene.backup("S", "s", &[]).code != Some(0) {
            assert!(start.elapsed() < DEADLINE, "no backup on {version}");
        }
        assert_eq!(scene.files(), ["s"]);
        std::fs::remove_file(scene.path("s")).unwrap();
        let mut running = saving(&scene, &proxy).await;
        scene.server.kill9();
        running.end().expect_code(1).tells("connection was lost");
        assert_eq!(scene.files(), Vec::<String>::new(), "{version}");
    }
}

/// A restore that is under way on a slow line.
async fn restoring(target: &Scene, source: &Scene, proxy: &Proxy) -> Running {
    let came = counted(&target.server, "in_bytes");
    let path = source.path("s");
    let running = Running::with(&["topology", "restore", path.to_str().unwrap(), "--nats", &proxy.url()], &[]);
    until(&target.server, "in_bytes", came + (1 << 20)).await;
    running
}

/// Restores at last, whatever is left of what was broken off; it is whole then.
async fn ends_well(target: &Scene, source: &Scene, version: &str) {
    let start = Instant::now();
    loop {
        let done = target.restore(&source.path("s"), &[]);
        if done.code == Some(0) {
            break;
        }
        // What is left says that it is not whole, and takes nothing from those who know the stream's subjects.
        assert!(done.err.contains("is there in part"), "{version}: {done:#?}");
        assert!(target.context.publish("S.x", "x".into()).await.unwrap().await.is_err(), "{version}");
        if target.restore(&source.path("s"), &["--discard-unfinished"]).code == Some(0) {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{version}: {done:#?}");
    }
    assert!(target.messages("S").await == source.messages("S").await, "{version}");
    target.context.delete_stream("S").await.unwrap();
}

#[tokio::test]
async fn a_restore_that_is_broken_off_leaves_nothing_that_looks_whole() {
    for version in VERSIONS {
        let (source, mut target) = (Scene::of(version).await, Scene::of(version).await);
        source.stream("S", StorageType::File, MESSAGES).await;
        source.backup("S", "s", &[]).expect_code(0);
        let proxy = slow(&target.server);

        let mut running = restoring(&target, &source, &proxy).await;
        running.signal(Signal::INT);
        running.end().expect_code(1).tells("stopped").tells("was not restored");
        assert!(!target.has("S").await, "{version}");
        // The server gives up a restore for which nothing comes any more.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(!target.has("S").await, "{version}");
        ends_well(&target, &source, version).await;

        let mut running = restoring(&target, &source, &proxy).await;
        running.signal(Signal::KILL);
        running.end();
        ends_well(&target, &source, version).await;

        let mut running = restoring(&target, &source, &proxy).await;
        target.server.kill9();
        running.end().expect_code(1).tells("connection was lost");
        target.server.restart();
        target.context = jetstream::new(client(&target.server.url()).await);
        ends_well(&target, &source, version).await;
    }
}

/// A restore whose every byte the server has, and whose answer is still on its way.
async fn finishing(target: &Scene, source: &Scene, proxy: &Proxy) -> Running {
    let path = source.path("s");
    let running = Running::with(&["topology", "restore", path.to_str().unwrap(), "--nats", &proxy.url()], &[]);
    let start = Instant::now();
    while !target.has("S").await {
        assert!(start.elapsed() < DEADLINE, "no stream within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running
}

#[tokio::test]
async fn what_the_server_has_put_together_is_taken_back_or_told() {
    // Later servers show the stream from the beginning.
    let (source, target) = (Scene::of("2.10.26").await, Scene::of("2.10.26").await);
    source.stream("S", StorageType::File, 100).await;
    source.backup("S", "s", &[]).expect_code(0);
    let proxy = Proxy::start(&target.server.url());
    proxy.delay(Duration::from_millis(900));

    let mut running = finishing(&target, &source, &proxy).await;
    running.signal(Signal::INT);
    running.end().expect_code(1).tells("stopped").tells("was not restored");
    assert!(!target.has("S").await);

    let mut running = finishing(&target, &source, &proxy).await;
    // With the answer, that is still on its way.
    proxy.cut();
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.pass();
    running.end().expect_code(3).tells("connection was lost").tells("stream S is there now, with 100 messages");
    assert!(target.messages("S").await == source.messages("S").await);
}
