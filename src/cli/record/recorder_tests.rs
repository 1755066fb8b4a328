//! A file that cannot be written to, and records that come out of order.

use std::fs::File;

use bytemuck::Zeroable as _;

use super::super::super::recording::Place;
use super::*;
use crate::market::{Record, TradeMsg};

fn row(sequence: u64) -> Row {
    let record = Record::Trade(TradeMsg { trade_id: sequence, kind: 1, ..TradeMsg::zeroed() });
    Row { exchange: "x".into(), symbol: "A".into(), place: Place::Stream { sequence, index: 0 }, record }
}

fn recorder(directory: &std::path::Path) -> Recorder {
    let limits = Limits { records: 1_000_000, time: Duration::from_secs(3_600), all: None };
    Recorder::new(Folder::open(directory, Format::Csv).unwrap(), Format::Csv, limits)
}

#[tokio::test]
async fn what_cannot_be_written_is_not_completed() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = recorder(directory.path());
    recorder.take("S", &[row(1)], None).await.unwrap();
    // A disk that takes nothing more: this handle cannot be written to.
    let open = recorder.open.get_mut("S").unwrap();
    let full = File::open(&open.temporary).unwrap();
    open.writer = Writer::new(Format::Csv, full, "").unwrap();
    let mut taken = 1;
    let why = loop {
        taken += 1;
        match recorder.take("S", &[row(taken)], None).await {
            Ok(()) => assert!(taken < 100_000, "it was never written"),
            Err(why) => break why,
        }
    };
    assert!(why.message.contains("all of S from 1 on is not recorded"), "{}", why.message);
    recorder.finish().await.unwrap();
    assert_eq!(recorder.folder.files().unwrap(), Vec::<PathBuf>::new());
    assert_eq!((recorder.done.records, recorder.done.files), (0, 0));
}
