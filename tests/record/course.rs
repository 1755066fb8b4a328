//! Where a run goes on: streams that went back, that were made anew, and of which little is asked for.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use data_manager::market::SubjectKind;
use data_manager::market::subject::subject;
use rustix::process::Signal;

use crate::kit::{EXCHANGE, STREAM, SYMBOL, Scene, trades};
use crate::process::{Done, Running};
use crate::records::{files, record, restart};
use crate::support::Server;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// As behind a crash that has cost the end of the stream, or out of a backup.
#[tokio::test]
async fn a_stream_that_went_back_is_told() {
    let place = tempfile::tempdir().unwrap();
    let (store, backup) = (place.path().join("store"), place.path().join("backup"));
    let mut scene = Scene::on(Server::builder().store_in(&store).start()).await;
    scene.store(&trades(1..=50)).await;
    assert!(scene.server.terminate().is_some());
    copy(&store, &backup);
    restart(&mut scene).await;
    scene.store(&trades(51..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &["--format", "csv"]).expect_code(0);
    assert!(scene.server.terminate().is_some());
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    restart(&mut scene).await;
    let done = record(&scene, directory.path(), &["--format", "csv"]).expect_code(1);
    done.tells("it ends at 50, and was recorded up to 100").tells("record into another folder");
    // It has grown beyond that with other messages.
    scene.store(&trades(201..=270)).await;
    let done = record(&scene, directory.path(), &["--format", "csv"]).expect_code(1);
    done.tells("sequence 100 is not the message that was recorded");
    assert_eq!(files(directory.path()).len(), 1);
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_lost() {
    let scene = Scene::of(&trades(1..=90)).await;
    let other = subject("market", EXCHANGE, "ETHUSDT", SubjectKind::Trades);
    let bytes = |id| trades([id])[0].as_bytes().to_vec();
    scene.publish([(other.clone(), bytes(1))]).await;
    scene.store(&trades(91..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let rare = |code| record(&scene, directory.path(), &["--symbols", "ETHUSDT"]).expect_code(code);
    rare(0).tells("1 record in 1 file");
    let stream = scene.context.get_stream(STREAM).await.unwrap();
    stream.purge().sequence(100).await.unwrap();
    // All that the stream has removed was seen by the first run.
    rare(0).tells("0 records in 0 files");
    scene.store(&trades(101..=120)).await;
    stream.purge().sequence(110).await.unwrap();
    rare(1).tells("sequences 102 to 109 were removed before they were recorded");
    // Nothing of it was recorded, and all of it was seen.
    let none = tempfile::tempdir().unwrap();
    let none = || record(&scene, none.path(), &["--symbols", "XRPUSDT"]).expect_code(0);
    none();
    stream.purge().sequence(115).await.unwrap();
    none().tells("going on behind sequence 121");
    scene.publish([(other, bytes(2))]).await;
    assert_eq!(rare(0).tells("1 record in 1 file").code, Some(0));
}

/// One that follows knows at its end, too, that nothing lies behind the last record.
#[tokio::test]
async fn what_was_not_asked_for_of_what_came_is_not_lost() {
    let scene = Scene::of(&trades(1..=10)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let arguments = ["record", "--nats", &url, "-o", path, "--follow", "--symbols", "ETHUSDT"];
    let mut recorder = Running::with(&arguments, &[]);
    recorder.until(|_, _| directory.path().join("seen.json").exists().then_some(()));
    // Nothing shows that it follows but a record, and one of the others in front of it.
    scene.store(&trades(11..=20)).await;
    let other = subject("market", EXCHANGE, "ETHUSDT", SubjectKind::Trades);
    scene.publish([(other, trades([1])[0].as_bytes().to_vec())]).await;
    recorder.until(|_, _| directory.path().join(".1.parquet.part").exists().then_some(()));
    scene.store(&trades(21..=40)).await;
    recorder.signal(Signal::TERM);
    recorder.end().expect_code(0).tells("1 record in 1 file");
    scene.context.get_stream(STREAM).await.unwrap().purge().sequence(41).await.unwrap();
    record(&scene, directory.path(), &["--symbols", "ETHUSDT"]).expect_code(0).tells("going on behind sequence 41");
}

/// Nothing of it was recorded: the folder becomes one of something else, whatever was seen.
#[tokio::test]
async fn what_was_seen_of_something_else_is_recorded() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let wanted = |symbol| record(&scene, directory.path(), &["--symbols", symbol]).expect_code(0);
    wanted("TYPO").tells("0 records in 0 files");
    wanted(SYMBOL).tells("100 records in 1 file");
    wanted(SYMBOL).tells("going on behind sequence 100").tells("0 records in 0 files");
}

#[tokio::test]
async fn a_place_that_the_stream_has_not_reached_is_refused() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    for more in [&["--since", "#150", "--follow"][..], &["--since", "#150"]] {
        record(&scene, directory.path(), more).expect_code(1).tells("it ends at sequence 100");
    }
    record(&scene, directory.path(), &["--since", "#91"]).expect_code(0).tells("10 records in 1 file");
}

#[tokio::test]
async fn holes_are_counted_and_told_in_few_lines() {
    let scene = Scene::of(&trades(1..=100)).await;
    for sequence in (2..=98).step_by(2) {
        scene.delete(sequence).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let done = record(&scene, directory.path(), &[]).expect_code(1).tells("; 49 lost before they were read");
    assert!(done.err.lines().count() < 30, "{done:#?}");
    assert!(done.err.contains("sequences 2 to 2 were removed from the stream before they were read"), "{done:#?}");
}

/// A recorder that follows, is stopped, and finds most of what came removed when it goes on.
async fn overtaken(more: &[&str]) -> (tempfile::TempDir, Done) {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let arguments = ["record", "--nats", &url, "-o", path, "--follow", "--rotate-interval", "1s"];
    let mut recorder = Running::with(&[&arguments, more].concat(), &[]);
    recorder.until(|_, _| (files(directory.path()).len() == 1).then_some(()));
    recorder.signal(Signal::STOP);
    scene.store(&trades(101..=20_000)).await;
    scene.context.get_stream(STREAM).await.unwrap().purge().sequence(19_001).await.unwrap();
    recorder.signal(Signal::CONT);
    let end = format!("{:012}.parquet", 20_000);
    recorder.until(|_, _| files(directory.path()).iter().any(|name| name.ends_with(&end)).then_some(()));
    recorder.signal(Signal::TERM);
    let done = recorder.end();
    (directory, done)
}

#[tokio::test]
async fn what_is_removed_while_it_is_recorded_is_counted() {
    let (_directory, done) = overtaken(&[]).await;
    let done = done.expect_code(1);
    let last = done.err.lines().find(|line| line.contains(" lost before they were read")).unwrap();
    let before = |text: &str| {
        let before = last.split_once(text).unwrap().0;
        before.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(before(" records in") + before(" lost before"), 20_000, "{done:#?}");
    assert!(before(" lost before") > 1_000, "{done:#?}");
}

/// Of what is gone nobody knows whether it was asked for.
#[tokio::test]
async fn what_may_have_been_removed_while_it_is_recorded_is_said() {
    let (_directory, done) = overtaken(&["--symbols", SYMBOL]).await;
    done.expect_code(1).tells("what was asked for may be among them").tells("times something may be missing");
}

#[tokio::test]
async fn a_stream_that_is_made_anew_ends_its_recording() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let mut recorder = Running::with(&["record", "--nats", &url, "-o", path, "--follow"], &[]);
    recorder.until(|_, _| directory.path().join(".1.parquet.part").exists().then_some(()));
    // It has read them once it has been told that it follows; nothing shows that but time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.context.delete_stream(STREAM).await.unwrap();
    scene.make().await;
    scene.store(&trades(201..=250)).await;
    let done = recorder.end().expect_code(1).tells("made anew, or has lost its end, while it was read");
    done.tells("record it into another folder").tells("100 records in 1 file");
    assert_eq!(files(directory.path()), [format!("{STREAM}-{:012}-{:012}.parquet", 1, 100)]);
}

#[tokio::test]
async fn until_a_sequence_the_rest_is_for_the_next_run() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    for (until, count) in [("#30", 30), ("#60", 30), ("#200", 40)] {
        let done = record(&scene, directory.path(), &["--until", until]).expect_code(0);
        done.tells(&format!("{count} records in 1 file"));
    }
}
