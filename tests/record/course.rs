//! Where a run goes on: streams that went back, that were made anew, and of which little is asked for.

use std::path::Path;
use std::process::Command;

use data_manager::market::SubjectKind;
use data_manager::market::subject::subject;

use crate::kit::{EXCHANGE, STREAM, Scene, trades};
use crate::records::{files, record};
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
    scene.restart().await;
    scene.store(&trades(51..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &["--format", "csv"]).expect_code(0);
    assert!(scene.server.terminate().is_some());
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    scene.restart().await;
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

#[tokio::test]
async fn until_a_sequence_the_rest_is_for_the_next_run() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    for (until, count) in [("#30", 30), ("#60", 30), ("#200", 40)] {
        let done = record(&scene, directory.path(), &["--until", until]).expect_code(0);
        done.tells(&format!("{count} records in 1 file"));
    }
}
