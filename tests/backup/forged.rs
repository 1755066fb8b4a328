//! Backups that hold what no backup must, with a checksum that holds: written by others, or of a stream that is there
//! in part.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, StorageType};
use serde_json::{Value, json};

use crate::kit::{Scene, forged};
use crate::process::Running;
use crate::support::Proxy;

/// What a restore has left that was broken off.
const MARK: &str = "data-manager.restore";

#[tokio::test]
async fn a_part_of_a_stream_is_neither_saved_nor_restored() {
    let scene = Scene::of("2.15.1").await;
    let config = Config {
        name: "S".to_owned(),
        subjects: vec!["_RESTORE.S".to_owned()],
        metadata: HashMap::from([(MARK.to_owned(), "_INBOX.x".to_owned())]),
        ..Config::default()
    };
    scene.context.create_stream(config).await.unwrap();
    scene.backup("S", "s", &[]).expect_code(1).tells("is there in part");
    assert_eq!(scene.files(), Vec::<String>::new());
    scene.context.delete_stream("S").await.unwrap();

    scene.stream("S", StorageType::File, 10).await;
    scene.backup("S", "s", &[]).expect_code(0);
    let path = scene.path("s");
    let part = forged(&fs::read(&path).unwrap(), |header| header["config"]["metadata"] = json!({ MARK: "_INBOX.x" }));
    fs::write(&path, part).unwrap();
    scene.context.delete_stream("S").await.unwrap();
    for more in [&[][..], &["--dry-run"], &["--discard-unfinished"]] {
        scene.restore(&path, more).expect_code(1).tells("holds a part of stream S");
    }
    assert!(!scene.has("S").await);
}

#[tokio::test]
async fn a_header_that_no_server_writes_is_refused() {
    let scene = Scene::of("2.15.1").await;
    scene.stream("S", StorageType::File, 10).await;
    scene.backup("S", "s", &[]).expect_code(0);
    let (path, whole) = (scene.path("s"), fs::read(scene.path("s")).unwrap());
    assert!(forged(&whole, |_| {}).len() > 40);
    for name in ["", "a.b", ">", "*", "S x", "S\r\nPUB S.x 1\r\nx", "../S", "\u{1b}[2J"] {
        let named = forged(&whole, |header| (header["stream"], header["config"]["name"]) = (name.into(), name.into()));
        fs::write(&path, named).unwrap();
        let done = scene.restore(&path, &["--dry-run"]).expect_code(1).tells("which no server could have");
        assert!(!done.err.contains(['\u{1b}', '\r']), "{done:#?}");
    }
    fs::write(&path, forged(&whole, |header| header["config"]["name"] = "T".into())).unwrap();
    scene.restore(&path, &[]).expect_code(1).tells("is another stream's");
    for (group, key) in [("", "time"), ("", "server"), ("state", "first_ts")] {
        let escaped = forged(&whole, |header| {
            let group: &mut Value = if group.is_empty() { header } else { &mut header[group] };
            group[key] = "\u{1b}]0;x".into();
        });
        fs::write(&path, escaped).unwrap();
        let done = scene.restore(&path, &["--dry-run"]).expect_code(1).tells("which no server says");
        assert!(!done.err.contains('\u{1b}'), "{done:#?}");
    }
    fs::write(&path, forged(&whole, |header| header["config"]["subjects"] = json!(["S.\u{1b}[2J"]))).unwrap();
    let shown = scene.restore(&path, &["--dry-run"]).expect_code(0);
    assert!(shown.out.contains("subjects S.?[2J") && !shown.out.contains('\u{1b}'), "{shown:#?}");
}

#[tokio::test]
async fn a_file_that_comes_meanwhile_is_left_alone() {
    let scene = Scene::of("2.15.1").await;
    scene.stream("S", StorageType::File, 10_000).await;
    // Of a killed backup, by somebody who lets everybody read.
    fs::write(scene.path(".s.part"), "left").unwrap();
    fs::set_permissions(scene.path(".s.part"), fs::Permissions::from_mode(0o644)).unwrap();
    let proxy = Proxy::start(&scene.server.url());
    proxy.slice(32 << 10, Duration::from_millis(20));
    let path = scene.path("s");
    let mut running =
        Running::with(&["topology", "backup", "S", "-o", path.to_str().unwrap(), "--nats", &proxy.url()], &[]);
    let start = std::time::Instant::now();
    while fs::metadata(scene.path(".s.part")).map_or(0, |part| part.len()) < 100 {
        assert!(start.elapsed() < crate::kit::DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mode = fs::metadata(scene.path(".s.part")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&path, "somebody's").unwrap();
    running.end().expect_code(1).tells("exists already");
    assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    assert_eq!(scene.files(), ["s"]);
}
