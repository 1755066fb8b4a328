//! A file that cannot be written to, and records that come out of order.

use std::fs::File;

use bytemuck::Zeroable as _;

use super::*;
use crate::cli::recording::Place;
use crate::market::{Record, TradeMsg};

fn row(sequence: u64) -> Row {
    let record = Record::Trade(TradeMsg { trade_id: sequence, kind: 1, ..TradeMsg::zeroed() });
    Row { exchange: "x".into(), symbol: "A".into(), place: Place::Stream { sequence, index: 0 }, record }
}

fn new(directory: &std::path::Path) -> Recorder {
    let limits = Limits { records: 1_000_000, time: Duration::from_secs(3_600), all: None };
    Recorder::new(Folder::open(directory, Format::Csv).unwrap(), Format::Csv, limits).unwrap()
}

#[tokio::test]
async fn what_cannot_be_written_is_not_completed() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = new(directory.path());
    recorder.take("S", &[row(1)], None).unwrap();
    // A disk that takes nothing more: this handle cannot be written to.
    let open = recorder.open.get_mut("S").unwrap();
    let full = File::open(&open.temporary).unwrap();
    open.writer = Writer::new(Format::Csv, full, "").unwrap();
    let mut taken = 1;
    let why = loop {
        taken += 1;
        match recorder.take("S", &[row(taken)], None) {
            Ok(()) => assert!(taken < 100_000, "it was never written"),
            Err(why) => break why,
        }
        recorder.sees("S", 0, taken);
    };
    assert!(why.message.contains("S is not recorded from 1 on"), "{}", why.message);
    recorder.finish(&mut Stop::new().unwrap()).await.unwrap();
    assert_eq!(recorder.folder.files().unwrap(), Vec::<PathBuf>::new());
    assert_eq!((recorder.done.records, recorder.done.files), (0, 0));
    drop(recorder);
    // The next run begins where this one did, though all of it was seen.
    assert_eq!(new(directory.path()).end("S", 0), None);
}

#[tokio::test]
async fn a_file_that_cannot_be_completed_was_not_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = new(directory.path());
    recorder.begins("S", 0, 4).unwrap();
    recorder.take("S", &[row(5)], None).unwrap();
    recorder.sees("S", 0, 9);
    let name = directory.path().join("S-000000000005-000000000005.csv");
    std::os::unix::fs::symlink("nowhere", &name).unwrap();
    recorder.finish(&mut Stop::new().unwrap()).await.unwrap_err();
    drop(recorder);
    std::fs::remove_file(name).unwrap();
    assert_eq!(new(directory.path()).end("S", 0), Some(3));
}

#[test]
fn what_was_seen_of_something_else_is_forgotten_and_a_beginning_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    for (what, next, end) in [("one", 8, Some(7)), ("another", 0, None)] {
        let mut first = new(directory.path());
        first.claim(&serde_json::json!({ "of": what })).unwrap();
        assert!(first.is_first() && !first.knows("S"), "{what}");
        first.begins("S", 3, next).unwrap();
        drop(first);
        let mut second = new(directory.path());
        second.claim(&serde_json::json!({ "of": what })).unwrap();
        assert!(!second.is_first() && second.knows("S") && second.has_begun("S", 3), "{what}");
        assert_eq!(second.end("S", 3), end);
    }
}

#[tokio::test]
async fn a_place_that_does_not_grow_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = new(directory.path());
    recorder.take("S", &[row(5)], None).unwrap();
    recorder.take("S", &[row(6)], None).unwrap();
    for old in [1, 6] {
        let why = recorder.take("S", &[row(old)], None).unwrap_err();
        assert!(why.message.contains(&format!("S: {old} came behind 6")), "{}", why.message);
    }
    recorder.finish(&mut Stop::new().unwrap()).await.unwrap();
    // Nor behind a file that is complete.
    assert!(recorder.take("S", &[row(6)], None).is_err());
    let names: Vec<PathBuf> = recorder.folder.files().unwrap();
    assert_eq!(names, [directory.path().join("S-000000000005-000000000006.csv")]);
}

#[tokio::test]
async fn one_file_that_cannot_be_completed_leaves_the_others_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = new(directory.path());
    for of in ["A", "B", "C"] {
        recorder.take(of, &[row(1)], None).unwrap();
    }
    std::fs::write(directory.path().join("B-000000000001-000000000001.csv"), "there already").unwrap();
    let why = recorder.finish(&mut Stop::new().unwrap()).await.unwrap_err();
    assert!(why.message.contains("B is not recorded from 1 on"), "{}", why.message);
    assert_eq!((recorder.done.records, recorder.done.files), (2, 2));
}
