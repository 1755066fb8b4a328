//! Several folders and files at once: each record once, and what is missing is told.

use std::path::Path;

use crate::kit::{STREAM, Scene, trades};
use crate::process::Done;
use crate::records::{files, record};
use crate::rings::Rings;

/// Replays into a ring of this prefix.
fn replay(rings: &Rings, arguments: &[&str]) -> Done {
    rings.run(&[&["replay", "--to-ipc", "--speed", "max"], arguments].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_record_that_lies_in_two_places_is_replayed_once() {
    let scene = Scene::of(&trades(1..=250)).await;
    let rings = Rings::new("twice");
    let place = tempfile::tempdir().unwrap();
    let (one, backup) = (place.path().join("trades"), place.path().join("backup"));
    record(&scene, &one, &["--rotate-records", "100"]).expect_code(0);
    record(&scene, &backup, &["--rotate-records", "70"]).expect_code(0);
    replay(&rings, &[text(&one), text(&backup)]).expect_code(1).tells("hold the same records; name one of them");
    // The same file by two of its names is one.
    let file = one.join(".").join(&files(&one)[0]);
    replay(&rings, &[text(&one), text(&file)]).expect_code(0).tells("250 records");
    assert_eq!(rings.read(), trades(1..=250));
    // A half of it lies elsewhere.
    let half = place.path().join("half");
    std::fs::create_dir(&half).unwrap();
    for name in [&files(&one)[1], "recording.json"] {
        std::fs::copy(one.join(name), half.join(name)).unwrap();
    }
    std::fs::remove_file(one.join(&files(&one)[1])).unwrap();
    replay(&rings, &[text(&half), text(&one)]).expect_code(0).tells("250 records");
    assert_eq!(rings.read(), trades(1..=250));
    // A recording of something else, as of a stream that was made anew, does not go in between.
    let other = place.path().join("other");
    scene.context.delete_stream(STREAM).await.unwrap();
    scene.make().await;
    scene.store(&trades(1..=300)).await;
    record(&scene, &other, &["--since", "#251"]).expect_code(0);
    replay(&rings, &[text(&one), text(&half), text(&other)]).expect_code(1).tells("are of different recordings");
}

#[tokio::test]
async fn what_is_missing_or_not_read_is_told() {
    let scene = Scene::of(&trades(1..=250)).await;
    let rings = Rings::new("missing");
    for format in ["parquet", "csv"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        record(&scene, path, &["--rotate-records", "100", "--format", format]).expect_code(0);
        let names = files(path);
        // A copy under a name of its own.
        std::fs::copy(path.join(&names[0]), path.join(format!("copy.{format}"))).unwrap();
        let done = replay(&rings, &[text(path)]).expect_code(0);
        done.tells(&format!("copy.{format}: not read: it has not the name")).tells("250 records");
        let copy = path.join(format!("copy.{format}"));
        let done = replay(&rings, &[text(path), text(&copy)]).expect_code(1);
        done.tells("by its name it cannot be known where it belongs");
        std::fs::remove_file(path.join(&names[1])).unwrap();
        replay(&rings, &[text(path)]).expect_code(1).tells("101 to 200 are missing between");
        let done = replay(&rings, &[text(path), "--allow-missing"]).expect_code(0).tells("150 records");
        done.tells("101 to 200 are missing between");
        std::fs::remove_file(path.join("recording.json")).unwrap();
        if format == "csv" {
            replay(&rings, &[text(path)]).expect_code(0).tells("they were not asked for, or never recorded");
        }
        // A file under the name of another.
        std::fs::rename(path.join(&names[2]), path.join(&names[1])).unwrap();
        replay(&rings, &[text(path)]).expect_code(1).tells("by its name it begins at 101");
    }
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_missing() {
    let scene = Scene::of(&trades(1..=10)).await;
    let other = data_manager::market::subject::subject(
        "market",
        "binance",
        "ETHUSDT",
        data_manager::market::SubjectKind::Trades,
    );
    let bytes = trades([1])[0].as_bytes().to_vec();
    scene.publish([(other, bytes)]).await;
    scene.store(&trades(11..=20)).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &["--rotate-records", "10", "--symbols", "BTCUSDT"]).expect_code(0);
    assert_eq!(files(directory.path()).len(), 2);
    let done = replay(&Rings::new("filtered"), &[text(directory.path())]).expect_code(0);
    // Nor can it be known of a file: it is said once.
    done.tells("its files do not adjoin in 1 of 1 places");
}
