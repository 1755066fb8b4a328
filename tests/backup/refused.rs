//! What cannot be saved or restored, and what is said of it.

use std::fs;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, StorageType};

use crate::kit::{Scene, VERSIONS};
use crate::process::{run, run_with};
use crate::support::Server;

#[tokio::test]
async fn what_is_there_is_left_alone() {
    for version in VERSIONS {
        let scene = Scene::of(version).await;
        scene.stream("S", StorageType::File, 100).await;
        scene.backup("S", "s", &[]).expect_code(0);
        let first = fs::read(scene.path("s")).unwrap();
        scene.backup("S", "s", &[]).expect_code(1).tells("exists already: give --force");
        assert!(fs::read(scene.path("s")).unwrap() == first);
        scene.backup("S", ".", &["--force"]).expect_code(1).tells("is a directory");
        scene.context.publish("S.x", "x".into()).await.unwrap().await.unwrap();
        scene.backup("S", "s", &["--force"]).expect_code(0).tells("101 messages");

        let messages = scene.messages("S").await;
        scene.restore(&scene.path("s"), &[]).expect_code(1).tells("exists already, with 101 messages");
        scene.restore(&scene.path("s"), &["--discard-unfinished"]).expect_code(1).tells("exists already");
        assert!(scene.messages("S").await == messages);

        scene.context.delete_stream("S").await.unwrap();
        let config = Config { name: "OTHER".to_owned(), subjects: vec!["S.x".to_owned()], ..Config::default() };
        scene.context.create_stream(config).await.unwrap();
        let taken = "stream OTHER takes messages on S.> already";
        scene.restore(&scene.path("s"), &[]).expect_code(1).tells(taken);
        assert!(!scene.has("S").await);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_told_with_what_is() {
    let scene = Scene::of("2.15.1").await;
    scene.backup("S", "s", &[]).expect_code(1).tells("stream S does not exist; there is none");
    scene.stream("MARKET_DATA", StorageType::File, 1).await;
    scene.backup("MARKET_DAT", "s", &[]).expect_code(1).tells("did you mean MARKET_DATA?");
    let config = async_nats::jetstream::kv::Config { bucket: "b".to_owned(), ..Default::default() };
    scene.context.create_key_value(config).await.unwrap();
    scene.backup("b", "s", &[]).expect_code(1).tells("b is a key-value bucket, whose stream is KV_b");
    scene.backup("a.b", "s", &[]).expect_code(2).tells("no name of a stream");
    assert_eq!(scene.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_cannot_do_it_is_told_with_the_cure() {
    for version in ["2.10.26", "2.12.8"] {
        let (scene, new) = (Scene::of(version).await, Scene::of("2.15.1").await);
        scene.stream("M", StorageType::Memory, 10).await;
        scene.backup("M", "m", &[]).expect_code(1).tells("lives in memory").tells("2.15 is the first that does");
        assert_eq!(scene.files(), Vec::<String>::new());
        new.stream("S", StorageType::File, 10).await;
        new.backup("S", "s", &[]).expect_code(0);
        scene.restore(&new.path("s"), &[]).expect_code(1).tells("for servers of 2.15 or later").tells(version);
    }
    let without = Server::builder().without_jetstream().start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let text = path.to_str().unwrap();
    run(&["topology", "backup", "S", "-o", text, "--nats", &without.url()]).expect_code(1).tells("is it on (-js)");
    let gone = without.url();
    drop(without);
    run(&["topology", "backup", "S", "-o", text, "--nats", &gone]).expect_code(1).tells("does a nats-server listen");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_store_that_is_too_small_takes_nothing() {
    for version in VERSIONS {
        let source = Scene::of(version).await;
        source.stream("S", StorageType::File, 20_000).await;
        source.backup("S", "s", &[]).expect_code(0);
        let small = Server::builder().version(version).max_file_store("2MB").start();
        let target = Scene::on(small).await;
        target.restore(&source.path("s"), &[]).expect_code(1).tells("raise max_file_store");
        assert!(!target.has("S").await, "{version}");
    }
}

/// Messages older than the stream keeps them would be gone as soon as they are there.
#[tokio::test]
async fn what_has_grown_too_old_is_restored_on_request_only() {
    for version in VERSIONS {
        let (source, target) = (Scene::of(version).await, Scene::of(version).await);
        let config = Config {
            name: "S".to_owned(),
            subjects: vec!["S.>".to_owned()],
            max_age: Duration::from_secs(3),
            duplicate_window: Duration::from_secs(3),
            ..Config::default()
        };
        source.context.create_stream(config).await.unwrap();
        for number in 0..20 {
            source.context.publish(format!("S.{number}"), "x".into()).await.unwrap().await.unwrap();
        }
        let messages = source.messages("S").await;
        source.backup("S", "s", &[]).expect_code(0).tells("20 messages");
        tokio::time::sleep(Duration::from_secs(4)).await;
        target.restore(&source.path("s"), &[]).expect_code(1).tells("--max-age 0s to keep all");
        assert!(!target.has("S").await);
        target.restore(&source.path("s"), &["--max-age", "0s"]).expect_code(0);
        assert!(target.messages("S").await == messages, "{version}");
        target.context.delete_stream("S").await.unwrap();
        target.restore(&source.path("s"), &["--max-age", "3s"]).expect_code(0);
        assert_eq!(target.state("S").await.last_sequence, 20, "{version}");
    }
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let rights = |publish: &str| {
        format!(
            "authorization {{ users: [ {{ user: all, password: p }}, {{ user: few, password: p, permissions: {{ \
             publish: [{publish}], subscribe: [\"_INBOX.>\"] }} }} ] }}"
        )
    };
    let server = Server::builder().config(&rights("\"x\"")).start();
    let url = server.url();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let path = path.to_str().unwrap();
    let user = |name: &'static str| {
        [("DATA_MANAGER__TRANSPORT__NATS__USER", name), ("DATA_MANAGER__TRANSPORT__NATS__PASSWORD", "p")]
    };
    let options = async_nats::ConnectOptions::new().user_and_password("all".to_owned(), "p".to_owned());
    let context = async_nats::jetstream::new(options.connect(&url).await.unwrap());
    let config = Config { name: "S".to_owned(), subjects: vec!["S.>".to_owned()], ..Config::default() };
    context.create_stream(config).await.unwrap();
    // So much that some of it is to be acknowledged.
    let mut random = 1_u64;
    for _ in 0..100 {
        let bytes = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random.to_be_bytes()[0]
        });
        let payload: Vec<u8> = bytes.take(20_000).collect();
        context.publish("S.1", payload.into()).await.unwrap().await.unwrap();
    }
    let backup = ["topology", "backup", "S", "-o", path, "--nats", &url];
    run_with(&backup, &user("few"), "").expect_code(1).tells("STREAM.INFO.S").tells("needs the right to publish");
    let needed = "\"$JS.API.STREAM.SNAPSHOT.S\", \"$JS.API.STREAM.INFO.S\", \"$JS.API.STREAM.NAMES\", \
                  \"$JS.SNAPSHOT.ACK.S.>\"";
    let without_acks = needed.rsplit_once(',').unwrap().0;
    server.reload(&rights(without_acks));
    run_with(&backup, &user("few"), "").expect_code(1).tells("needs the right to publish");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    server.reload(&rights(needed));
    run_with(&backup, &user("few"), "").expect_code(0);

    context.delete_stream("S").await.unwrap();
    let restore = ["topology", "restore", path, "--nats", &url];
    run_with(&restore, &user("few"), "").expect_code(1).tells("STREAM.RESTORE.S").tells("needs the right to publish");
    server.reload(&rights(
        "\"$JS.API.STREAM.RESTORE.S\", \"$JS.API.STREAM.INFO.S\", \"$JS.API.STREAM.NAMES\", \
         \"$JS.SNAPSHOT.RESTORE.S.>\", \"$JS.API.STREAM.UPDATE.S\", \"$JS.API.STREAM.DELETE.S\"",
    ));
    run_with(&restore, &user("few"), "").expect_code(0);
}
