//! Backups and restores in clusters, where a name is taken before there is a stream, and nobody answers for what is not
//! there.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::kit::{DEADLINE, Message, Scene, messages, publish, state};
use crate::process::{Done, Running, run};
use crate::support::{Cluster, Proxy, client};
use crate::whole::{consumer, place};

struct Several {
    cluster: Cluster,
    context: Context,
    directory: TempDir,
}

impl Several {
    async fn of(version: &str) -> Self {
        let cluster = Cluster::start_with(3, |builder| builder.version(version));
        let context = jetstream::new(client(&cluster.url()).await);
        Self { cluster, context, directory: tempfile::tempdir().unwrap() }
    }

    async fn stream(&self, messages: u64) {
        let subjects = vec!["S.>".to_owned()];
        let config = Config { name: "S".to_owned(), subjects, num_replicas: 3, ..Config::default() };
        let start = Instant::now();
        // A cluster that has a leader may not know all its servers yet.
        while let Err(error) = self.context.create_stream(config.clone()).await {
            assert!(start.elapsed() < DEADLINE, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        publish(&self.context, "S", messages).await;
    }

    fn url(&self) -> String {
        self.cluster.node(0).url()
    }

    #[track_caller]
    fn backup(&self, stream: &str, more: &[&str]) -> Done {
        let (url, path) = (self.url(), self.directory.path().join("s"));
        run(&[&["topology", "backup", stream, "-o", path.to_str().unwrap(), "--nats", &url], more].concat())
    }

    #[track_caller]
    fn restore(&self, path: &Path, more: &[&str]) -> Done {
        run(&[&["topology", "restore", path.to_str().unwrap(), "--nats", &self.url()], more].concat())
    }

    /// Deletes a stream and waits until its name is free everywhere.
    async fn delete(&self) {
        self.context.delete_stream("S").await.unwrap();
        let start = Instant::now();
        while self.context.get_stream("S").await.is_ok() {
            assert!(start.elapsed() < DEADLINE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A stream of a cluster, restored into a server that stands alone and into its cluster.
async fn comes_back(version: &str) {
    let (several, alone) = (Several::of(version).await, Scene::of(version).await);
    several.stream(3_000).await;
    consumer(&several.context, "S").await;
    let before = messages(&several.context, "S").await;
    let saved = several.backup("S", &[]).expect_code(0).tells("3000 messages").tells("1 consumer");
    assert_eq!(saved.err.contains("delivers again"), version == "2.15.1", "{saved:#?}");
    let file = several.directory.path().join("s");
    let was = place(&several.context, "S").await;

    alone.restore(&file, &[]).expect_code(1).tells("--replicas 1");
    assert!(!alone.has("S").await);
    alone.restore(&file, &["--replicas", "1"]).expect_code(0);
    several.delete().await;
    several.restore(&file, &[]).expect_code(0).tells("3000 messages");
    for (context, replicas) in [(&several.context, 3), (&alone.context, 1)] {
        assert!(messages(context, "S").await == before, "{version}: a message is not as it was");
        assert_eq!(state(context, "S").await.last_sequence, 3_000);
        let stream = context.get_stream("S").await.unwrap();
        let config = &stream.cached_info().config;
        assert_eq!((config.num_replicas, &*config.subjects), (replicas, &["S.>".to_owned()][..]), "{version}");
        assert!(!config.metadata.keys().any(|key| key.starts_with("data-manager")), "{version}: {config:?}");
        let mut is = place(context, "S").await;
        // Clusters of 2.10 count what is to come anew only as it comes.
        is.pending = was.pending;
        // A cluster of 2.15 saves a consumer at the first message that is not acknowledged.
        if version == "2.15.1" {
            assert_eq!((is.floor, is.delivered, is.next), (was.floor, was.floor, was.floor.1 + 1), "{is:?}");
        } else {
            assert_eq!(is, was, "{version}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_a_cluster_of_2_10_comes_back_alone_and_in_a_cluster() {
    comes_back("2.10.26").await;
}

#[tokio::test]
async fn a_stream_of_a_cluster_of_2_12_comes_back_alone_and_in_a_cluster() {
    comes_back("2.12.8").await;
}

#[tokio::test]
async fn a_stream_of_a_cluster_of_2_15_comes_back_alone_and_in_a_cluster() {
    comes_back("2.15.1").await;
}

#[tokio::test]
async fn a_stream_that_a_cluster_does_not_have_is_told_at_once() {
    for version in ["2.10.26", "2.15.1"] {
        let several = Several::of(version).await;
        several.stream(10).await;
        for more in [&[][..], &["--check"]] {
            several.backup("T", more).expect_code(1).tells("stream T does not exist; there is S");
        }
        several.backup("S", &["--check"]).expect_code(0).tells("10 messages");
    }
}

/// A restore that has sent some of what it has.
async fn restoring(several: &Several, file: &Path, proxy: &Proxy) -> Running {
    let came = || {
        let page = several.cluster.node(0).monitor("/varz").unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&page).ok().and_then(|page| page["in_bytes"].as_u64())
    };
    let before = came().unwrap();
    let running = Running::with(&["topology", "restore", file.to_str().unwrap(), "--nats", &proxy.url()], &[]);
    let start = Instant::now();
    while came().is_none_or(|now| now < before + (1 << 20)) {
        assert!(start.elapsed() < DEADLINE, "nothing came within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running
}

/// Restores at last, whatever is left of what was broken off; whole it is then, and stays so.
async fn ends_well(several: &Several, file: &Path, before: &[Message], version: &str) {
    let start = Instant::now();
    loop {
        let left = several.restore(file, &[]);
        if left.code == Some(0) {
            break;
        }
        let told = ["--discard-unfinished", "has the cluster a leader"].iter().any(|text| left.err.contains(text));
        assert!(told && start.elapsed() < DEADLINE, "{version}: {left:#?}");
        // What is left takes nothing from those who know the stream's subjects.
        let sent = several.context.publish("S.x", "x".into()).await.unwrap().await;
        assert!(sent.is_err(), "{version}: {sent:?}");
        if several.restore(file, &["--discard-unfinished"]).code == Some(0) {
            break;
        }
    }
    // A server that gives the first restore up only now would delete what has its name.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(messages(&several.context, "S").await == before, "{version}");
    several.delete().await;
}

/// Restores that end in the middle: by a signal; killed, with the next one at once, and after the cluster has seen it.
async fn broken_off(version: &str) {
    let several = Several::of(version).await;
    several.stream(20_000).await;
    let before = messages(&several.context, "S").await;
    several.backup("S", &[]).expect_code(0);
    several.delete().await;
    let file = several.directory.path().join("s");
    let proxy = Proxy::start(&several.url());
    // So slow that it takes longer than the 5 s for which servers take a failed restore back by themselves.
    proxy.slice(16 << 10, Duration::from_millis(60));

    let mut running = restoring(&several, &file, &proxy).await;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    running.signal(Signal::INT);
    running.end().expect_code(1).tells("stopped").tells("was not restored");
    ends_well(&several, &file, &before, version).await;

    for pause in [Duration::ZERO, Duration::from_secs(20)] {
        let mut running = restoring(&several, &file, &proxy).await;
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        running.signal(Signal::KILL);
        running.end();
        tokio::time::sleep(pause).await;
        ends_well(&several, &file, &before, version).await;
    }
}

#[tokio::test]
async fn a_restore_that_is_broken_off_in_a_cluster_of_2_10_is_taken_back() {
    broken_off("2.10.26").await;
}

#[tokio::test]
async fn a_restore_that_is_broken_off_in_a_cluster_of_2_12_is_taken_back() {
    broken_off("2.12.8").await;
}

#[tokio::test]
async fn a_restore_that_is_broken_off_in_a_cluster_of_2_15_is_taken_back() {
    broken_off("2.15.1").await;
}
