//! Files that are damaged, foreign, hostile, or someone else's.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use super::super::layout::{AT_HEAD, AT_STATE, AT_SYMBOLS, HEADER_BYTES, HeaderError};
use super::super::*;
use super::{config, create, directory, path, trade};
use crate::market::Symbol;
use crate::telemetry::clock;

#[test]
fn an_epoch_never_repeats_even_when_the_clock_steps_back() {
    let dir = directory();
    create(dir.path(), 64).close();
    // What a writer left that ran while the clock was an hour ahead.
    let ahead = clock::wall_ns() + 3_600_000_000_000;
    let file = fs::OpenOptions::new().write(true).open(path(dir.path())).unwrap();
    file.write_all_at(&ahead.to_le_bytes(), 32).unwrap();
    assert_eq!(create(dir.path(), 64).epoch(), ahead + 1);
}

#[test]
fn files_that_are_no_ring_give_an_error_that_says_so() {
    let dir = directory();
    let path = path(dir.path());
    let error = |path: &Path| Reader::open(path).unwrap_err();
    assert!(matches!(error(&path), OpenError::Missing { .. }));
    assert!(error(&path).to_string().contains("is `data-manager serve --ipc` running?"));

    create(dir.path(), 64).close();
    let good = fs::read(&path).unwrap();
    let header_error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match error(&path) {
            OpenError::Header { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    assert_eq!(header_error(&[]), HeaderError::Short { len: 0 });
    assert_eq!(header_error(&good[..4095]), HeaderError::Short { len: 4095 });
    let (declared, len) = (good.len() as u64, good.len() as u64 - 1);
    assert_eq!(header_error(&good[..good.len() - 1]), HeaderError::Truncated { declared, len });
    assert!(matches!(header_error(&[7; 10_000]), HeaderError::Magic { .. }));
    let mut other = good;
    other[8] = 2;
    assert_eq!(header_error(&other), HeaderError::Version { found: 2 });

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(error(&path), OpenError::NotAFile { .. }));
    fs::remove_dir(&path).unwrap();
    // A named pipe must not hold the reader up.
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(error(&path), OpenError::NotAFile { .. }));
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(error(&path), OpenError::Io { .. }));
    assert!(matches!(Writer::create(&config(dir.path(), 64), []), Err(CreateError::Io { .. })));
}

#[test]
fn a_reader_survives_words_that_no_writer_writes() {
    let dir = directory();
    create(dir.path(), 64).close();
    let file = fs::OpenOptions::new().write(true).open(path(dir.path())).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let slots = (HEADER_BYTES * 2) as u64;
    for head in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 65, 0] {
        file.write_all_at(&head.to_le_bytes(), AT_HEAD as u64).unwrap();
        file.write_all_at(&u32::MAX.to_le_bytes(), AT_SYMBOLS as u64).unwrap();
        for state in [1_u32, 2, 99] {
            file.write_all_at(&state.to_le_bytes(), AT_STATE as u64).unwrap();
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(64 * 64).collect();
            file.write_all_at(&bytes, slots).unwrap();
            let mut reader = Reader::open(&path(dir.path())).unwrap();
            for _ in 0..200 {
                let _ = reader.poll();
                let _ = reader.symbol(random.u32(..));
            }
            reader.from_newest();
            let _ = reader.poll();
            let _ = reader.behind();
        }
    }
}

#[test]
fn a_file_cut_off_under_a_reader_is_noticed_by_check() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    writer.push(&trade(1));
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(reader.poll(), Next::Record(trade(1), 0));
    let declared = fs::metadata(path(dir.path())).unwrap().len();
    fs::OpenOptions::new().write(true).open(path(dir.path())).unwrap().set_len(4096).unwrap();
    assert_eq!(reader.check(clock::now(), Duration::from_secs(2)), Some(Gone::Truncated { declared, len: 4096 }));
    drop(reader);
    assert!(matches!(
        Reader::open(&path(dir.path())),
        Err(OpenError::Header { source: HeaderError::Truncated { .. }, .. })
    ));
}

#[test]
fn a_damaged_ring_gives_way_and_a_foreign_file_does_not() {
    let dir = directory();
    let path = path(dir.path());
    for ours in [&b""[..], b"DMRING\0\x01 and then nothing", b"DMRING\0\x09"] {
        fs::write(&path, ours).unwrap();
        create(dir.path(), 64).close();
    }
    fs::write(&path, "somebody's notes").unwrap();
    let error = Writer::create(&config(dir.path(), 64), []).unwrap_err();
    assert!(matches!(error, CreateError::Foreign { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"somebody's notes");
}

#[test]
fn the_mode_is_the_configured_one_and_nothing_half_made_is_left() {
    let dir = directory();
    for mode in [0o600, 0o640, 0o664] {
        let writer = Writer::create(&WriterConfig { mode, ..config(dir.path(), 64) }, []).unwrap();
        assert_eq!(fs::metadata(writer.path()).unwrap().permissions().mode() & 0o7777, mode);
    }
    // What a writer left that was killed while it filled a segment.
    fs::write(names::filling_path(&path(dir.path())), "half").unwrap();
    create(dir.path(), 64).close();
    let too_many = Symbol::new("A").unwrap();
    let symbols = (0..5).map(|id| (id + 1, &too_many));
    assert!(matches!(Writer::create(&config(dir.path(), 64), symbols), Err(CreateError::Symbol { .. })));
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["test_binance", "test_binance.lock"]);
    assert_eq!(segments(dir.path(), "/test_").unwrap(), ["binance"]);
    assert!(segments(dir.path(), "/other_").unwrap().is_empty());
}

#[test]
fn sizes_out_of_range_are_refused_with_the_setting_named() {
    let dir = directory();
    for capacity in [0, 32, 1_000, 1 << 31] {
        let error = Writer::create(&config(dir.path(), capacity), []).unwrap_err();
        assert!(error.to_string().starts_with("transport.ipc: header field capacity"), "{error}");
    }
    assert!(!path(dir.path()).exists());
}
