//! `check` on streams and consumers that will lose something, or stand: each finding provoked.

use std::time::Duration;

use async_nats::jetstream::{self, AckKind};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::kit::{NEWEST, Scene, VERSIONS, shows};
use crate::process::run;
use crate::support::Server;

#[tokio::test]
async fn a_stream_that_is_too_small_for_its_rate_is_found_while_it_is_watched() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = "[streams.A]\nsubjects = [\"a.>\"]\nmax_age = \"1day\"\nmax_msgs = 1000\n";
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        let url = scene.server.url();
        let watching = tokio::task::spawn_blocking(move || run(&["check", &file, "--nats", &url, "--sample", "500ms"]));
        while !watching.is_finished() {
            scene.publish("a.x", 50, 100).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let done = watching.await.unwrap().expect_code(1);
        shows(&done, "WARNING  retention: ");
        shows(&done, "streams.A: max_msgs = 1000 keeps ");
        shows(&done, " messages a second, not the 1day of max_age; max_msgs = ");
        shows(&done, " would keep 1day");
    }
}

#[tokio::test]
async fn what_streams_may_take_together_is_held_against_account_and_server() {
    let text = "[streams.A]\nsubjects = [\"a\"]\nmax_bytes = \"600MiB\"\n\
                [streams.M]\nsubjects = [\"m\"]\nstorage = \"memory\"\nmax_bytes = \"60MiB\"\n";
    for version in VERSIONS {
        let account = |bytes: &str| {
            format!(
                "accounts {{ A {{ jetstream: {{ max_file: {bytes}, max_mem: 64MB }}, users: [ {{ user: u, \
                 password: pw }} ] }} }}\nno_auth_user: u"
            )
        };
        let scene = Scene::on(Server::builder().version(version).config(&account("1GB"))).await;
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        let monitor = scene.server.monitor_url();
        let done = scene.check(&[&file, "--monitor", &monitor]);
        assert!(!done.out.contains(" store: "), "{done:#?}");
        // The limit is lowered below what is there.
        scene.server.reload(&account("100MB"));
        scene.until_info(|info| info["limits"]["max_storage"] == json!(100 * 1024 * 1024)).await;
        let done = scene.check(&[&file, "--monitor", &monitor]).expect_code(2);
        shows(
            &done,
            "CRITICAL store: account: the streams on disk may take 600.0MiB together, and there is room for 100.0MiB",
        );
        assert!(!done.out.contains("in memory may take"), "{done:#?}");
    }
}

#[tokio::test]
async fn a_server_that_has_promised_more_than_it_has_is_found() {
    let text = "[streams.A]\nsubjects = [\"a\"]\nmax_bytes = \"600MiB\"\n";
    for version in VERSIONS {
        let dir = tempfile::TempDir::new().unwrap();
        let store = dir.path().join("store");
        let block = |bytes: &str| format!("jetstream {{ store_dir: {store:?}, max_file_store: {bytes} }}");
        let builder = Server::builder().version(version).store_in(&store).without_jetstream().config(&block("1GB"));
        let mut scene = Scene::on(builder).await;
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        scene.start_again(&block("100MB")).await;
        let done = scene.check(&[&file, "--monitor", &scene.server.monitor_url()]).expect_code(2);
        if version.starts_with("2.10") {
            // It begins without what has no room.
            shows(&done, "CRITICAL declared: stream A: is declared and not there; ");
        } else {
            shows(
                &done,
                "CRITICAL store: server: the streams on disk may take 600.0MiB together, and there is room for ",
            );
        }
    }
}

#[tokio::test]
async fn a_store_that_is_nearly_full_is_found() {
    for version in VERSIONS {
        let scene = Scene::on(Server::builder().version(version).max_file_store("1MB")).await;
        let text = "[streams.A]\nsubjects = [\"a\"]\n";
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        scene.publish("a", 9, 100_000).await;
        let done = scene.check(&[&file, "--monitor", &scene.server.monitor_url()]).expect_code(1);
        shows(&done, "WARNING  store: server: ");
        shows(&done, " on disk are taken; make room before it is full");
    }
}

#[tokio::test]
async fn a_bound_in_bytes_that_became_another_is_found() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = "[streams.A]\nsubjects = [\"a.>\"]\nmax_bytes_per_subject = \"1MiB\"\nmessage_bytes = \"100B\"\n";
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        scene.publish("a.x", 200, 70).await;
        assert!(!scene.check(&[&file]).out.contains("converted"));
        scene.publish("a.x", 200, 2_000).await;
        let done = scene.check(&[&file]).expect_code(1);
        shows(&done, "WARNING  converted: ");
        shows(&done, "streams.A: max_bytes_per_subject = 1MiB became 10485 messages, which are ");
        shows(&done, "; set message_bytes = \"");
    }
}

#[tokio::test]
async fn a_stream_that_nothing_comes_to_is_found() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = "[streams.A]\nsubjects = [\"a\"]\n[streams.B]\nsubjects = [\"b\"]\nexpected_rate = 1.0\n";
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        let done = scene.check(&[&file]).expect_code(1);
        shows(&done, "streams.B: it has never had a message; look at its publishers");
        assert!(!done.out.contains("streams.A: it has"), "{done:#?}");
        scene.publish("a", 1, 10).await;
        scene.publish("b", 1, 10).await;
        assert!(!scene.check(&[&file]).out.contains("silent"));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let done = scene.check(&[&file, "--silence", "10ms"]).expect_code(1);
        shows(&done, "WARNING  silent: ");
        shows(&done, "streams.A: its last message is ");
        shows(&done, " old; look at its publishers, and at this clock");
    }
}

/// A pull consumer that reads so many messages, and acknowledges them or not.
async fn read(scene: &Scene, count: usize, acknowledge: bool) {
    let stream = jetstream::new(scene.client.clone()).get_stream("A").await.unwrap();
    let consumer = stream.get_consumer::<jetstream::consumer::pull::Config>("reader").await.unwrap();
    let mut messages = consumer.fetch().max_messages(count).messages().await.unwrap();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        if acknowledge {
            message.double_ack_with(AckKind::Ack).await.unwrap();
        }
    }
}

#[tokio::test]
async fn consumers_that_lag_stand_or_were_overtaken_are_found() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text =
            "[streams.A]\nsubjects = [\"a.>\"]\nmax_msgs = 10\n[streams.A.consumers.reader]\nmax_ack_pending = 3\n";
        let file = scene.file("a.toml", text);
        scene.apply(&[&file]);
        scene.publish("a.x", 8, 10).await;
        let done = scene.check(&[&file, "--lag-warning", "8", "--lag-critical", "9"]).expect_code(1);
        shows(&done, "WARNING  lag: consumer A/reader: 8 messages wait for it; nobody asks for them now; ");
        let done = scene.check(&[&file, "--lag-warning", "5", "--lag-critical", "8"]).expect_code(2);
        shows(&done, "CRITICAL lag: consumer A/reader: 8 messages wait for it; ");
        // What was read and acknowledged is no matter.
        read(&scene, 2, true).await;
        let done = scene.check(&[&file, "--sample", "10ms"]);
        assert!(!done.out.contains("consumer A/reader:"), "{done:#?}");
        // What is removed in front of it is.
        scene.publish("a.x", 20, 10).await;
        let done = scene.check(&[&file]).expect_code(2);
        shows(
            &done,
            "CRITICAL overtaken: consumer A/reader: the stream begins at 19 and it has read up to 2: what lay ",
        );
        // It hands out what it may, and nobody acknowledges.
        read(&scene, 3, false).await;
        let done = scene.check(&[&file, "--sample", "10ms"]).expect_code(2);
        shows(&done, "CRITICAL stalled: consumer A/reader: 3 messages were handed out and none is acknowledged, ");
    }
}

#[tokio::test]
async fn how_often_files_are_synced_is_said_where_it_costs() {
    let text = "[streams.A]\nsubjects = [\"a\"]\n[streams.M]\nsubjects = [\"m\"]\nstorage = \"memory\"\n";
    for version in VERSIONS {
        for (sync, is_said) in [("", true), (", sync_interval: 10s", false), (", sync_interval: always", false)] {
            let dir = tempfile::TempDir::new().unwrap();
            let store = dir.path().join("store");
            let block = format!("jetstream {{ store_dir: {store:?}{sync} }}");
            let builder = Server::builder().version(version).store_in(&store).without_jetstream().config(&block);
            let scene = Scene::on(builder).await;
            let file = scene.file("a.toml", text);
            scene.apply(&[&file]);
            let done = scene.check(&[&file, "--monitor", &scene.server.monitor_url()]);
            let done = done.expect_code(if is_said { 1 } else { 0 });
            if is_said {
                shows(&done, "WARNING  sync: server: files are synced every 2m: a power failure costs what was ");
                shows(&done, "in streams with one copy (A)");
            }
            // Memory has nothing to sync.
            scene.ask("STREAM.DELETE.A", Value::Null).await;
            let done = scene.check(&[&scene.file("m.toml", "[streams.M]\nsubjects = [\"m\"]\nstorage = \"memory\"\n")]);
            assert!(!done.out.contains("sync"), "{done:#?}");
        }
    }
}

#[tokio::test]
async fn a_single_server_is_not_told_to_copy() {
    let scene = Scene::start(NEWEST).await;
    scene.declare("[streams.A]\nsubjects = [\"a\"]\n");
    assert!(!scene.check(&[]).out.contains("replicas"));
    assert_eq!(scene.stream("A").await["num_replicas"], json!(1));
}
