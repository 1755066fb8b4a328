//! Files that are not what was written: found before anything is sent.

use std::fs;

use async_nats::jetstream::stream::StorageType;

use crate::kit::Scene;
use crate::process::run;

#[tokio::test]
async fn a_file_that_is_damaged_or_cut_off_is_never_restored() {
    let (source, target) = (Scene::of("2.15.1").await, Scene::of("2.15.1").await);
    source.stream("S", StorageType::File, 500).await;
    source.backup("S", "whole", &[]).expect_code(0);
    let whole = fs::read(source.path("whole")).unwrap();
    let path = source.path("damaged");
    let step = whole.len() / 23;
    for at in (0..whole.len()).step_by(step).chain([9, 13, whole.len() - 50, whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        let done = target.restore(&path, &[]).expect_code(1);
        let told =
            ["is damaged", "is no backup", "is cut off", "of version"].iter().any(|text| done.err.contains(text));
        assert!(told, "changed at {at}: {done:#?}");
    }
    for length in (0..whole.len()).step_by(step).chain([7, 8, 15, 16, 17, whole.len() - 9, whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let done = target.restore(&path, &["--dry-run"]).expect_code(1);
        assert!(done.err.contains("is cut off") || done.err.contains("is no backup"), "cut at {length}: {done:#?}");
        assert_eq!(done.out, "");
    }
    let longer = [whole.as_slice(), b"more"].concat();
    fs::write(&path, longer).unwrap();
    target.restore(&path, &[]).expect_code(1).tells("is cut off");
    assert!(!target.has("S").await);
    // A copy of the whole one is as good.
    fs::write(&path, &whole).unwrap();
    target.restore(&path, &[]).expect_code(0);
}

#[test]
fn foreign_files_are_told_from_backups() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let text = path.to_str().unwrap();
    for content in [b"".as_slice(), b"PK\x03\x04", &[0; 4_096], b"DMBACKU", "no backup at all\n".repeat(999).as_bytes()]
    {
        fs::write(&path, content).unwrap();
        run(&["topology", "restore", text, "--dry-run"]).expect_code(1).tells("is no backup of a stream");
    }
    fs::write(&path, [b"DMBACKUP".as_slice(), &7_u32.to_le_bytes(), &[0; 100]].concat()).unwrap();
    run(&["topology", "restore", text, "--dry-run"]).expect_code(1).tells("version 7");
    run(&["topology", "restore", directory.path().to_str().unwrap()]).expect_code(1).tells("is no file");
    fs::remove_file(&path).unwrap();
    run(&["topology", "restore", text]).expect_code(1).tells("No such file");
}
