//! Files that are no recordings, or no longer whole ones.

use std::path::Path;

use data_manager::market::SubjectKind;
use data_manager::market::subject::subject;

use crate::kit::{EXCHANGE, SYMBOL, Scene, trades};
use crate::process::{Done, run};
use crate::records::{files, record};
use crate::rings::Rings;

/// Replays into a ring that nothing reaches: what is damaged is told before.
fn replay(path: &Path) -> Done {
    run(&["replay", path.to_str().unwrap(), "--to-ipc", "--prefix", "/data_manager_test_damaged_"])
}

/// Wherever a file is damaged it is told, or the records are the right ones: some bytes, such as those of the decimals,
/// are for others to read.
fn damaged_columns(path: &Path, bytes: &[u8]) {
    let ring = Rings::new("damaged");
    let mut told = 0;
    for at in (0..bytes.len() - 64).step_by(bytes.len() / 24) {
        let damage: Vec<u8> = bytes[at..at + 64].iter().map(|byte| byte ^ 0xA5).collect();
        std::fs::write(path, [&bytes[..at], &damage, &bytes[at + 64..]].concat()).unwrap();
        let done = ring.run(&["replay", path.to_str().unwrap(), "--to-ipc", "--speed", "max"]);
        if done.code == Some(0) {
            assert_eq!(ring.read(), trades(1..=100), "damaged at {at}");
        } else {
            assert!(done.err.starts_with("error: ") && !done.err.contains("panicked"), "damaged at {at}: {done:#?}");
            told += 1;
        }
    }
    assert!(told > 5, "{told} times it was told");
}

/// Whatever was done to a file of lines is told, with the line.
#[tokio::test]
async fn damaged_lines_are_told() {
    let scene = Scene::start().await;
    let pack = |ids| trades(ids).iter().flat_map(|record| *record.as_bytes()).collect::<Vec<u8>>();
    let subject = subject("market", EXCHANGE, SYMBOL, SubjectKind::Trades);
    scene.publish((0..10).map(|at| (subject.clone(), pack(at * 3 + 1..=at * 3 + 3)))).await;
    let directory = tempfile::tempdir().unwrap();
    record(&scene, directory.path(), &["--format", "csv"]).expect_code(0);
    let [file] = files(directory.path()).try_into().unwrap();
    let path = directory.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without =
        |range: std::ops::Range<usize>| [&lines[..range.start], &lines[range.end..]].concat().join("\n") + "\n";
    let flipped =
        |from: &str, to: &str| lines[..7].join("\n") + "\n" + &lines[7..].join("\n").replacen(from, to, 1) + "\n";
    let price = "61837.70";
    assert_eq!(flipped(price, price), text);
    for (damaged, why) in [
        (without(15..16), "line 16: it is damaged, or a line before it is missing"),
        (without(10..13), "line 11: it is damaged, or a line before it is missing"),
        (without(1..4), "line 2: it is damaged, or a line before it is missing"),
        (flipped(price, "61837.71"), "line 8: it is damaged"),
        (flipped("6183770", "6183771"), "line 8: it is damaged"),
        (without(30..31), "line 31: it is cut off here: 1 records of its message are missing"),
        (without(28..31), "it ends at 9, and by its name ends at 10"),
        (text.trim_end().to_owned(), "line 31: it is cut off here"),
    ] {
        assert_ne!(damaged, text);
        std::fs::write(&path, damaged).unwrap();
        replay(&path).expect_code(1).tells(why);
    }
}

#[tokio::test]
async fn damaged_and_foreign_files_are_told() {
    let scene = Scene::of(&trades(1..=100)).await;
    let directory = tempfile::tempdir().unwrap();
    for format in ["parquet", "csv", "dbn"] {
        let into = directory.path().join(format);
        record(&scene, &into, &["--format", format]).expect_code(0);
        let [file] = files(&into).try_into().unwrap();
        let path = into.join(file);
        let bytes = std::fs::read(&path).unwrap();
        if format == "dbn" {
            replay(&path).expect_code(1).tells("DBN does not hold all");
            continue;
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let why = if format == "csv" { "it is cut off here" } else { "no whole Parquet file" };
        replay(&into).expect_code(1).tells(why);
        std::fs::write(&path, "neither\n").unwrap();
        let why = if format == "csv" { "line 1: not the header" } else { "no whole Parquet file" };
        replay(&path).expect_code(1).tells(why);
        // Cut off between two lines it is still short of its name.
        if format == "csv" {
            let text = String::from_utf8(bytes).unwrap();
            let lines: Vec<&str> = text.lines().take(40).collect();
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            replay(&path).expect_code(1).tells("it ends at 39, and by its name ends at 100");
        } else {
            damaged_columns(&path, &bytes);
        }
    }
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    replay(&empty).expect_code(1).tells("no complete file");
    replay(&directory.path().join("trades.txt")).expect_code(1).tells("neither in .parquet nor in .csv");
    run(&["replay", "x.csv", "--to-ipc", "--speed", "fast"]).expect_code(2).tells("such as 10x");
    run(&["record", "-o", "x", "--since", "now"]).expect_code(2).tells("add --follow");
}
