//! Replaying into a stream that others write to, or that holds something already, and at a pace.

use std::time::{Duration, Instant};

use data_manager::market::SubjectKind;
use data_manager::market::subject::subject;

use crate::again::messages;
use crate::kit::{EXCHANGE, STREAM, SYMBOL, Scene, trades};
use crate::process::{Running, run_with};
use crate::records::{ENV, files, record, replay};
use crate::support::{Cluster, Read, client, read_all};

#[tokio::test]
async fn what_comes_later_is_appended() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &[]).expect_code(0);
    let path = |at: usize| directory.path().join(&files(directory.path())[at]).to_str().unwrap().to_owned();
    replay(&scene, &[&path(0)]).expect_code(0);
    scene.store(&trades(101..=150)).await;
    record(&scene, directory.path(), &[]).expect_code(0);
    replay(&scene, &[&path(1)]).expect_code(1).tells("give --append");
    replay(&scene, &[&path(1), "--append"]).expect_code(0).tells("50 records of 1 instrument in 50 messages");
    assert_eq!(messages(&scene, "AGAIN", "again").await, messages(&scene, STREAM, "market").await);
}

/// The window of a stream is minutes, and a replay may put into seconds what took hours.
#[tokio::test]
async fn an_id_that_a_stream_holds_twice_is_replayed_twice() {
    let scene = Scene::of(&trades([1, 2, 1, 3, 2])).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &[]).expect_code(0);
    let done = replay(&scene, &[directory.path().to_str().unwrap()]).expect_code(0);
    done.tells("5 records of 1 instrument in 5 messages").tells("2 of them went without Nats-Msg-Id");
    assert_eq!(messages(&scene, "AGAIN", "again").await, messages(&scene, STREAM, "market").await);
}

/// Two seconds of trades, at their own pace, into the stream AGAIN.
async fn slowly(scene: &Scene, speed: &str) -> (tempfile::TempDir, Running) {
    scene.store(&trades(1..=2_000)).await;
    let directory = tempfile::tempdir().unwrap();
    record(scene, directory.path(), &[]).expect_code(0);
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let to = ["replay", path, "--to-nats", &url, "--stream", "AGAIN", "--subject-prefix", "again", "--speed", speed];
    let running = Running::with(&to, &ENV);
    (directory, running)
}

#[tokio::test]
async fn another_writer_ends_a_replay() {
    let scene = Scene::start().await;
    let (_directory, mut running) = slowly(&scene, "original").await;
    let foreign = subject("again", EXCHANGE, SYMBOL, SubjectKind::Trades);
    loop {
        let there = scene.context.get_stream("AGAIN").await;
        if there.is_ok_and(|stream| stream.cached_info().state.messages > 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.context.client().publish(foreign, "foreign".into()).await.unwrap();
    scene.context.client().flush().await.unwrap();
    running.end().expect_code(1).tells("stream AGAIN does not take message");
    let read = messages(&scene, "AGAIN", "again").await;
    let foreign = read.iter().position(|(_, _, payload)| payload == b"foreign").unwrap();
    // What came before is there, and nothing behind.
    assert_eq!(foreign, read.len() - 1);
    assert_eq!(read[..foreign], messages(&scene, STREAM, "market").await[..foreign]);
}

#[tokio::test]
async fn a_replay_takes_its_time() {
    let scene = Scene::start().await;
    let start = Instant::now();
    let (_directory, mut running) = slowly(&scene, "2x").await;
    running.end().expect_code(0).tells("2000 records");
    assert!(start.elapsed() > Duration::from_millis(990), "{:?}", start.elapsed());
    assert_eq!(messages(&scene, "AGAIN", "again").await, messages(&scene, STREAM, "market").await);
}

#[tokio::test]
async fn a_file_is_completed_after_its_time() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let every = ["record", "--nats", &url, "-o", path, "--follow", "--rotate-interval", "1s"];
    let mut recorder = Running::with(&every, &[]);
    recorder.until(|_, _| (files(directory.path()).len() == 1).then_some(()));
    scene.store(&trades(101..=110)).await;
    recorder.until(|_, _| (files(directory.path()).len() >= 2).then_some(()));
    recorder.signal(rustix::process::Signal::TERM);
    recorder.end().expect_code(0).tells("110 records");
}

/// What each message expects of the one before it holds in a cluster too, where answers come later.
#[tokio::test]
async fn a_cluster_is_filled_too() {
    let cluster = Cluster::start(3);
    let scene = Scene::of(&trades(1..=3_000)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &[]).expect_code(0);
    let url = cluster.url();
    let env = [ENV[0], ("DATA_MANAGER__TRANSPORT__NATS__JETSTREAM__REPLICAS", "3")];
    let path = directory.path().to_str().unwrap();
    let done = run_with(&["replay", path, "--to-nats", &url, "--speed", "max"], &env, "");
    done.expect_code(0).tells("3000 records of 1 instrument in 3000 messages");
    let bytes = |read: Vec<Read>| read.into_iter().map(|(_, _, payload)| payload).collect::<Vec<_>>();
    let there = read_all(&client(&url).await, STREAM).await;
    assert!(bytes(there) == bytes(messages(&scene, STREAM, "market").await));
}
