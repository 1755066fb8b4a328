//! Object stores: what is there already, what cannot be put there, and a server that starts again.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use rustix::process::Signal;

use crate::kit::{Scene, trades};
use crate::process::Running;
use crate::records::{files, record, replay, restart};
use crate::support::client;

/// The objects of the store `trades`, sorted.
async fn objects(scene: &Scene) -> Vec<String> {
    use futures_util::TryStreamExt as _;
    let context = jetstream::new(client(&scene.server.url()).await);
    let store = context.get_object_store("trades").await.unwrap();
    let mut names: Vec<String> = store.list().await.unwrap().map_ok(|object| object.name).try_collect().await.unwrap();
    names.sort();
    names
}

async fn until_there(scene: &Scene, directory: &Path, count: usize) {
    let start = Instant::now();
    while files(directory).len() < count || objects(scene).await != files(directory) {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?} of {:?}", objects(scene).await, files(directory));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn follow(scene: &Scene, directory: &Path) -> Running {
    let (url, path) = (scene.server.url(), directory.to_str().unwrap().to_owned());
    let limit = ["--follow", "--rotate-records", "50", "--bucket", "trades"];
    Running::with(&[&["record", "--nats", &url, "-o", &path][..], &limit].concat(), &[])
}

#[tokio::test]
async fn nothing_is_overwritten_in_an_object_store() {
    let scene = Scene::of(&trades(1..=100)).await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..2 {
        // What is there already stays, and is no error.
        record(&scene, one.path(), &["--bucket", "trades"]).expect_code(0);
    }
    scene.context.delete_stream(crate::kit::STREAM).await.unwrap();
    scene.make().await;
    scene.store(&trades(901..=1_000)).await;
    let done = record(&scene, two.path(), &["--bucket", "trades"]).expect_code(1);
    let name = &files(two.path())[0];
    assert_eq!(&files(one.path())[0], name);
    let done = done.tells(&format!("object store trades holds another file as {name} already"));
    done.tells("100 records in 1 file").tells("; 1 files whose names the object store has of others");
    replay(&scene, &["--bucket", "trades"]).expect_code(0);
    let read = crate::support::read_all(&client(&scene.server.url()).await, "AGAIN").await;
    let bytes: Vec<Vec<u8>> = trades(1..=100).iter().map(|record| record.as_bytes().to_vec()).collect();
    assert_eq!(read.into_iter().map(|(_, _, payload)| payload).collect::<Vec<_>>(), bytes);
}

/// A folder of something else, and a file that is not there: neither keeps the rest from where it belongs.
#[tokio::test]
async fn only_what_belongs_there_and_can_be_read_is_put() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &[]).expect_code(0);
    let other = ["--bucket", "trades", "--exchange", "binance"];
    record(&scene, directory.path(), &other).expect_code(1).tells("holds another recording");
    assert_eq!(objects(&scene).await, Vec::<String>::new());
    let there = files(directory.path());
    let gone = format!("A-{:012}-{:012}.parquet", 1, 2);
    std::os::unix::fs::symlink("nowhere", directory.path().join(&gone)).unwrap();
    let done = record(&scene, directory.path(), &["--bucket", "trades"]).expect_code(1);
    done.tells("it is left out").tells("; 1 files not in the object store");
    assert_eq!(objects(&scene).await, there);
}

#[tokio::test]
async fn a_server_that_starts_again_has_all_files_in_the_end() {
    let mut scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = follow(&scene, directory.path());
    until_there(&scene, directory.path(), 2).await;
    restart(&mut scene).await;
    scene.store(&trades(101..=200)).await;
    until_there(&scene, directory.path(), 4).await;
    recorder.signal(Signal::TERM);
    recorder.end().expect_code(0).tells("200 records in 4 files");
}

#[tokio::test]
async fn a_file_that_cannot_be_put_there_stops_nothing() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = follow(&scene, directory.path());
    until_there(&scene, directory.path(), 2).await;
    scene.context.delete_stream("OBJ_trades").await.unwrap();
    scene.store(&trades(101..=170)).await;
    recorder.until(|_, err| err.contains("it stays in the folder, and is tried again").then_some(()));
    scene.store(&trades(171..=230)).await;
    recorder.until(|_, _| (files(directory.path()).len() == 4).then_some(()));
    recorder.signal(Signal::TERM);
    let done = recorder.end().expect_code(1).tells("230 records in 5 files");
    done.tells("; 3 files not in the object store; the next run with --bucket puts them there");
    record(&scene, directory.path(), &["--bucket", "trades"]).expect_code(0);
    assert_eq!(objects(&scene).await, files(directory.path()));
}
