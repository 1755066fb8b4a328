//! A recorder that is killed while its stream grows, and one that is told to end.

use std::path::Path;

use rustix::process::Signal;

use crate::again::messages;
use crate::kit::{STREAM, Scene, trades};
use crate::process::Running;
use crate::records::{files, record, replay};
use crate::rings::Rings;

/// The sequences of a recording, in the order of its files.
fn sequences(directory: &Path) -> Vec<u64> {
    let read = |name: String| std::fs::read_to_string(directory.join(name)).unwrap();
    let texts = files(directory).into_iter().map(read);
    let lines = texts.flat_map(|text| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split(',').nth(9).unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_recorder_that_is_killed_leaves_no_record_out_and_none_twice() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let mut stored = 100;
    for life in 1..=5 {
        let arguments = ["record", "--nats", &url, "-o", path, "--follow", "--format", "csv", "--rotate-records", "70"];
        let mut recorder = Running::with(&arguments, &[]);
        let before = files(directory.path()).len();
        scene.store(&trades(stored + 1..=stored + 300)).await;
        stored += 300;
        recorder.until(|_, _| (files(directory.path()).len() >= before + 2).then_some(()));
        recorder.signal(Signal::KILL);
        recorder.end();
        let read = sequences(directory.path());
        let expected: Vec<u64> = (1..=read.len() as u64).collect();
        assert_eq!(read, expected, "after life {life}");
    }
    record(&scene, directory.path(), &["--format", "csv"]).expect_code(0);
    assert_eq!(sequences(directory.path()), (1..=stored).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_recorder_that_is_told_to_end_completes_its_file() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let arguments = ["record", "--nats", &url, "-o", path, "--follow", "--format", "csv"];
    for (signal, stored) in [(Signal::TERM, 100), (Signal::INT, 200)] {
        let mut recorder = Running::with(&arguments, &[]);
        // It has its file open once something has come.
        recorder.until(|_, _| directory.path().join(".1.csv.part").exists().then_some(()));
        // A second recorder has no place there.
        record(&scene, directory.path(), &["--format", "csv"]).expect_code(1).tells("another process records into it");
        recorder.signal(signal);
        recorder.end().expect_code(0).tells("in 1 file in");
        assert!(sequences(directory.path()).len() <= stored);
        scene.store(&trades(stored as u64 + 1..=stored as u64 + 100)).await;
    }
    record(&scene, directory.path(), &["--format", "csv"]).expect_code(0);
    assert_eq!(sequences(directory.path()), (1..=300).collect::<Vec<u64>>());
}

/// Columns stand at the end of their file: what was not complete has none.
#[tokio::test]
async fn columns_of_a_recorder_that_is_killed_are_whole() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    for life in 1..=3 {
        let arguments = ["record", "--nats", &url, "-o", path, "--follow", "--rotate-records", "70"];
        let mut recorder = Running::with(&arguments, &[]);
        scene.store(&trades(life * 200 - 99..=life * 200 + 100)).await;
        let before = files(directory.path()).len();
        recorder.until(|_, _| (files(directory.path()).len() > before).then_some(()));
        recorder.signal(Signal::KILL);
        recorder.end();
    }
    record(&scene, directory.path(), &[]).expect_code(0);
    replay(&scene, &[path]).expect_code(0).tells("700 records of 1 instrument in 700 messages");
    assert_eq!(messages(&scene, "AGAIN", "again").await, messages(&scene, STREAM, "market").await);
}

/// The first run has completed nothing: the next one begins where it did.
#[tokio::test]
async fn a_first_run_that_is_killed_has_said_where_it_began() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    let (url, path) = (scene.server.url(), directory.path().to_str().unwrap());
    let arguments = ["record", "--nats", &url, "-o", path, "--follow", "--format", "csv", "--since", "now"];
    for stored in [100, 150] {
        let mut recorder = Running::with(&arguments, &[]);
        recorder.until(|_, _| directory.path().join("seen.json").exists().then_some(()));
        scene.store(&trades(stored + 1..=stored + 50)).await;
        recorder.until(|_, _| directory.path().join(".1.csv.part").exists().then_some(()));
        recorder.signal(Signal::KILL);
        recorder.end();
    }
    assert_eq!(files(directory.path()), Vec::<String>::new());
    record(&scene, directory.path(), &["--format", "csv"]).expect_code(0).tells("going on behind sequence 100");
    assert_eq!(sequences(directory.path()), (101..=200).collect::<Vec<u64>>());
}

#[test]
fn a_first_run_on_a_ring_has_said_where_it_began() {
    for before in [0, 100] {
        let rings = Rings::new(&format!("begun{before}"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let mut writer = rings.writer(4_096);
        let mut write = |from: u64, to: u64| {
            trades(from..=to).iter().for_each(|record| writer.push(record));
            writer.publish();
        };
        write(1, before);
        let arguments = ["record", "--ipc", "-o", path, "--follow", "--since", "now"];
        let mut recorder = Running::with(&arguments, &rings.env());
        recorder.until(|_, _| directory.path().join("seen.json").exists().then_some(()));
        write(before + 1, before + 50);
        recorder.until(|_, _| directory.path().join(".1.parquet.part").exists().then_some(()));
        recorder.signal(Signal::KILL);
        recorder.end();
        rings.run(&["record", "--ipc", "-o", path]).expect_code(0).tells("50 records in 1 file");
    }
}

/// A ring forgets: it is large enough here for what a killed recorder has left incomplete.
#[test]
fn a_ring_is_recorded_on_by_the_next_life() {
    let rings = Rings::new("killed");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut writer = rings.writer(4_096);
    for life in 1..=3 {
        let arguments = ["record", "--ipc", "-o", path, "--follow", "--rotate-records", "70", "--format", "csv"];
        let before = files(directory.path()).len();
        trades(life * 200 - 199..=life * 200).iter().for_each(|record| writer.push(record));
        writer.publish();
        let mut recorder = Running::with(&arguments, &rings.env());
        recorder.until(|_, _| (files(directory.path()).len() >= before + 2).then_some(()));
        recorder.signal(Signal::KILL);
        recorder.end();
    }
    rings.run(&["record", "--ipc", "-o", path, "--format", "csv"]).expect_code(0);
    let again = Rings::new("again");
    again.run(&["replay", path, "--to-ipc", "--speed", "max"]).expect_code(0);
    assert_eq!(again.read(), trades(1..=600));
}
