//! A stream, its recording, and the stream that comes of it.

use data_manager::market::subject::subject;
use data_manager::market::{Record, SubjectKind};

use crate::kit::{EXCHANGE, STREAM, SYMBOL, Scene, gap, trades};
use crate::records::{extremes, files, record, replay};
use crate::support::{Read, client, read_all};

/// What lies in a stream, without its prefix.
pub(crate) async fn messages(scene: &Scene, stream: &str, prefix: &str) -> Vec<Read> {
    let read = read_all(&client(&scene.server.url()).await, stream).await;
    let bare = |subject: String| subject.strip_prefix(prefix).unwrap().to_owned();
    read.into_iter().map(|(sequence, subject, payload)| (sequence, bare(subject), payload)).collect()
}

#[tokio::test]
async fn what_is_recorded_is_replayed_bit_for_bit() {
    let scene = Scene::of(&extremes()).await;
    // Packed messages, in one of them two equal records, and symbols that their subject or CSV escapes.
    let pack = |records: Vec<Record>| records.iter().flat_map(|record| *record.as_bytes()).collect::<Vec<u8>>();
    let on = |symbol: &str, kind| subject("market", EXCHANGE, symbol, kind);
    scene
        .publish([
            (on(SYMBOL, SubjectKind::Trades), pack(trades([70_001, 70_002, 70_002]))),
            (on("A.B", SubjectKind::Trades), pack(trades([70_003, 70_004]))),
            (on("A.B", SubjectKind::Gaps), pack(vec![gap(8, 9, false)])),
            (on("A,B", SubjectKind::Trades), pack(trades([70_005]))),
            (on("\"A\nB\"", SubjectKind::Trades), pack(trades([70_006, 70_007]))),
        ])
        .await;
    let before = messages(&scene, STREAM, "market").await;
    let recorded = extremes().len() + 9;
    for format in ["parquet", "csv"] {
        let directory = tempfile::tempdir().unwrap();
        record(&scene, directory.path(), &["--format", format, "--rotate-records", "100"]).expect_code(0);
        assert!(files(directory.path()).len() > 2);
        let path = directory.path().to_str().unwrap();
        let done = replay(&scene, &[path]).expect_code(0);
        assert!(
            done.err.contains(&format!("{recorded} records of 4 instruments in {} messages", before.len())),
            "{done:#?}"
        );
        assert_eq!(messages(&scene, "AGAIN", "again").await, before, "{format}");
        ids_are_the_publishers(&scene).await;
        replay(&scene, &[path]).expect_code(1).tells("binance A.B, binance BTCUSDT");
        scene.context.delete_stream("AGAIN").await.unwrap();
    }
}

/// The ids that the publisher makes, which the tables of its document tell.
async fn ids_are_the_publishers(scene: &Scene) {
    let stream = scene.context.get_stream("AGAIN").await.unwrap();
    let packed = stream.get_last_raw_message_by_subject("again.binance.A%2EB.trades").await.unwrap();
    let id = packed.headers.get("Nats-Msg-Id").map(|id| id.as_str().to_owned()).unwrap();
    assert!(id.ends_with("-70003-1700000070003-2"), "{id}");
}

#[tokio::test]
async fn what_is_recorded_in_columns_is_audited() {
    let scene = Scene::of(&[trades(1..=50), vec![gap(51, 60, false)], trades(61..=70)].concat()).await;
    for format in ["parquet", "csv"] {
        let directory = tempfile::tempdir().unwrap();
        record(&scene, directory.path(), &["--format", format]).expect_code(0);
        let [file] = files(directory.path()).try_into().unwrap();
        let path = directory.path().join(file);
        let done =
            crate::process::run(&["verify", "--file", path.to_str().unwrap(), "--allow-declared"]).expect_code(0);
        assert!(done.out.contains("whole: 60 trades of 1 instrument"), "{done:#?}");
    }
}

#[tokio::test]
async fn files_end_where_they_are_told_to_and_the_next_run_goes_on() {
    let scene = Scene::of(&trades(1..=250)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &["--rotate-records", "100", "--count", "220"]).expect_code(0);
    let name = |first: u64, last: u64| format!("{STREAM}-{first:012}-{last:012}.parquet");
    assert_eq!(files(directory.path()), [name(1, 100), name(101, 200), name(201, 220)]);
    let leftover = directory.path().join(".1.parquet.part");
    std::fs::write(&leftover, "half").unwrap();
    let done = record(&scene, directory.path(), &[]).expect_code(0).tells("30 records in 1 file");
    assert!(!leftover.exists() && done.err.contains(".1.parquet.part: removed"), "{done:#?}");
    assert_eq!(files(directory.path())[3], name(221, 250));
    record(&scene, directory.path(), &[]).expect_code(0).tells("0 records in 0 files");
    // A recording of something else has no place there.
    record(&scene, directory.path(), &["--symbols", SYMBOL]).expect_code(1).tells("holds another recording");
    // What the stream removes before it is recorded is told.
    scene.store(&trades(251..=260)).await;
    scene.context.get_stream(STREAM).await.unwrap().purge().sequence(256).await.unwrap();
    let done = record(&scene, directory.path(), &[]).expect_code(1);
    let done = done.tells("sequences 251 to 255 were removed before they were recorded");
    done.tells("5 records in 1 file").tells("; 5 lost before they were read");
}

#[tokio::test]
async fn an_object_store_keeps_complete_files() {
    let scene = Scene::of(&trades(1..=250)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &["--rotate-records", "100", "--count", "100"]).expect_code(0);
    record(&scene, directory.path(), &["--rotate-records", "100", "--bucket", "trades"]).expect_code(0);
    let before = messages(&scene, STREAM, "market").await;
    replay(&scene, &["--bucket", "trades"]).expect_code(0).tells("250 records of 1 instrument in 250 messages");
    assert_eq!(messages(&scene, "AGAIN", "again").await, before);
    let one = format!("{STREAM}-{:012}-{:012}.parquet", 101, 200);
    replay(&scene, &["--append", "--bucket", "trades", "--object", &one]).expect_code(1).tells("duplicate window");
    replay(&scene, &["--bucket", "nothing"]).expect_code(1).tells("object store nothing");
}
