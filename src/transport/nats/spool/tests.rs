//! The spool over a directory of its own: round trips, limits, refusals. What is damaged stands in `tests/damage.rs`.

mod damage;
mod leave;
mod model;
mod torn;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{Flags, GapMsg, GapReason, TradeMsg};

type Bytes = [u8; RECORD_BYTES];

const OWNER: &str = "TRADES";
const CREATED: u64 = 1_700_000_000_000_000_000;
const SMALL: Limits = Limits { bytes: 4 << 20, segment_bytes: 1 << 20 };

/// Trade `n` of one of five instruments.
fn trade(n: u64) -> TradeMsg {
    TradeMsg {
        ts_event: n * 1_000,
        ts_recv: n * 1_000 + 1,
        trade_id: n,
        price: 100,
        size: 5,
        instrument_id: 1 + (n % 5) as u32,
        price_scale: 2,
        size_scale: 3,
        flags: 1,
        kind: KIND_TRADE_V1,
    }
}

fn trades(numbers: std::ops::Range<u64>) -> Vec<Bytes> {
    numbers.map(|n| *trade(n).as_bytes()).collect()
}

fn open(directory: &Path, limits: Limits) -> (Spool, Recovered) {
    Spool::open(directory, limits, OWNER).unwrap()
}

/// Appends trades of these numbers in blocks of `block`; what is given up goes to the result.
fn fill(spool: &mut Spool, numbers: std::ops::Range<u64>, block: usize) -> Vec<Dropped> {
    let mut dropped = Vec::new();
    for records in trades(numbers).chunks(block) {
        let appended = spool.append(CREATED, records).unwrap();
        if !appended.dropped.is_empty() {
            dropped.push(appended.dropped);
        }
    }
    dropped
}

/// Reads to the end in steps of `max`, and all that was told.
fn read_all(spool: &mut Spool, max: usize) -> (Vec<Bytes>, Vec<Broken>) {
    let (mut records, mut told) = (Vec::new(), Vec::new());
    loop {
        let before = records.len();
        let reading = spool.read(max, &mut records).unwrap();
        let quiet = reading.broken.is_empty();
        told.extend(reading.broken);
        if records.len() == before && quiet {
            assert_eq!(spool.unread(), 0);
            return (records, told);
        }
    }
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(layout::segment_name(number))
}

#[test]
fn the_bytes_are_those_of_the_layout() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    let _ = spool.append(CREATED, &trades(0..2)).unwrap();
    let bytes = fs::read(dir.path().join("00000000000000000001.spool")).unwrap();
    assert_eq!(bytes.len(), 128 + 32 + 2 * 48);
    assert_eq!(&bytes[..8], b"DMSPOOL\0");
    assert_eq!(bytes[8..12], 1_u32.to_le_bytes());
    assert_eq!(bytes[12..16], 128_u32.to_le_bytes());
    assert_eq!(bytes[16..20], 48_u32.to_le_bytes());
    assert_eq!(bytes[20..24], 6_u32.to_le_bytes());
    assert_eq!(bytes[24..32], xxhash_rust::xxh3::xxh3_64(b"TRADES").to_le_bytes());
    assert_eq!(bytes[32..40], CREATED.to_le_bytes());
    assert_eq!(bytes[40..48], 1_u64.to_le_bytes());
    assert_eq!(bytes[48..56], 0_u64.to_le_bytes());
    assert_eq!(&bytes[56..64], b"TRADES\0\0");
    assert_eq!(bytes[120..128], xxhash_rust::xxh3::xxh3_64(&bytes[..120]).to_le_bytes());
    assert_eq!(&bytes[128..132], b"DMBK");
    assert_eq!(bytes[132..136], 2_u32.to_le_bytes());
    assert_eq!(bytes[136..144], 0_u64.to_le_bytes());
    assert_eq!(bytes[160..], trades(0..2).concat());
}

#[test]
fn records_come_back_in_order_over_many_segments_and_a_second_open() {
    let dir = TempDir::new().unwrap();
    let limits = Limits { bytes: 64 << 20, ..SMALL };
    let (mut spool, recovered) = open(dir.path(), limits);
    assert_eq!(recovered, Recovered::default());
    assert!(fill(&mut spool, 0..100_000, 777).is_empty());
    assert_eq!((spool.records(), spool.unread()), (100_000, 100_000));
    let on_disk: u64 =
        files(dir.path()).iter().map(|name| dir.path().join(name).metadata().unwrap().len()).sum::<u64>();
    let lock = dir.path().join("lock").metadata().unwrap().len();
    assert_eq!(spool.bytes(), on_disk - lock);
    assert_eq!(read_all(&mut spool, 1_000), (trades(0..100_000), vec![]));
    assert_eq!((spool.records(), spool.unread()), (100_000, 0));
    spool.close().unwrap();

    let (mut spool, recovered) = open(dir.path(), limits);
    assert_eq!((recovered.segments, recovered.records), (5, 100_000));
    assert_eq!((recovered.broken, recovered.foreign, recovered.oldest_ns), (vec![], vec![], Some(CREATED)));
    let last: Vec<u64> = recovered.last.values().map(|trade| trade.trade_id).collect();
    assert_eq!(last, [99_995, 99_996, 99_997, 99_998, 99_999]);
    assert!(fill(&mut spool, 100_000..100_010, 3).is_empty());
    assert_eq!(read_all(&mut spool, 4_096), (trades(0..100_010), vec![]));
}

#[test]
fn what_is_appended_while_it_is_read_follows_at_once() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    let mut records = Vec::new();
    for n in 0..500 {
        let _ = spool.append(CREATED, &trades(n * 3..n * 3 + 3)).unwrap();
        let reading = spool.read(2 + (n % 3) as usize, &mut records).unwrap();
        assert_eq!(reading.position.number(), records.len() as u64);
    }
    let _ = spool.read(usize::MAX, &mut records).unwrap();
    assert_eq!(records, trades(0..1_500));
    assert_eq!(spool.read(10, &mut records).unwrap().position.number(), 1_500);
    assert_eq!(spool.append(CREATED, &[]).unwrap().position.number(), 1_500);
}

#[test]
fn release_removes_what_lies_wholly_before_it_and_at_the_end_everything() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..60_000, 1_000);
    assert_eq!(files(dir.path()).len(), 4);
    let mut records = Vec::new();
    let first = spool.read(100, &mut records).unwrap().position;
    assert_eq!(spool.release(first).unwrap(), 0);
    assert_eq!((spool.records(), files(dir.path()).len()), (59_900, 4));
    let most = spool.read(30_000, &mut records).unwrap().position;
    assert_eq!(spool.release(most).unwrap(), 1);
    // An older position changes nothing.
    assert_eq!(spool.release(first).unwrap(), 0);
    assert_eq!((spool.records(), files(dir.path()).len()), (29_900, 3));
    let end = spool.read(usize::MAX, &mut records).unwrap().position;
    assert_eq!(spool.release(end).unwrap(), 2);
    assert!(spool.is_empty());
    assert_eq!((spool.bytes(), files(dir.path())), (0, vec!["lock".to_owned()]));
    // An open file would keep its place on the disk although its name is gone.
    let descriptors =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let kept = descriptors.filter(|target| target.starts_with(dir.path()) && !target.ends_with("lock")).count();
    assert_eq!(kept, 0);
    // And it goes on: numbers do not start again.
    fill(&mut spool, 60_000..60_010, 10);
    let end = spool.read(usize::MAX, &mut records).unwrap().position;
    assert_eq!((end.number(), &records), (60_010, &trades(0..60_010)));
    spool.release(end).unwrap();
    drop(spool);
    assert_eq!(files(dir.path()), ["lock"]);
    assert_eq!(open(dir.path(), SMALL).1, Recovered::default());
}

#[test]
fn a_release_beyond_the_reader_moves_it() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..10, 5);
    let mut records = Vec::new();
    assert_eq!(spool.read(1, &mut records).unwrap().position, Position(1));
    assert_eq!(spool.release(Position(7)).unwrap(), 0);
    records.clear();
    let _ = spool.read(usize::MAX, &mut records).unwrap();
    assert_eq!(records, trades(7..10));
    assert_eq!(spool.release(Position(u64::MAX)).unwrap(), 1);
    assert_eq!(spool.append(CREATED, &trades(10..11)).unwrap().position, Position(11));
}

#[test]
fn beyond_the_limit_the_oldest_is_given_up_and_accounted_exactly() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    let (mut gone, mut next) = (1, 1);
    while gone < 60_000 {
        let appended = spool.append(CREATED, &trades(next..next + 500)).unwrap();
        next += 500;
        assert!(spool.bytes() <= SMALL.bytes);
        if appended.dropped.is_empty() {
            continue;
        }
        let dropped = appended.dropped;
        let range = gone..gone + dropped.records;
        assert_eq!((dropped.segments, dropped.lost.len(), dropped.broken.len()), (1, 5, 0));
        for (instrument, lost) in &dropped.lost {
            let theirs: Vec<TradeMsg> =
                range.clone().map(trade).filter(|trade| trade.instrument_id == *instrument).collect();
            let (first, last) = (theirs.first().unwrap(), theirs.last().unwrap());
            assert_eq!((&lost.first, &lost.last), (first.as_bytes(), last.as_bytes()));
            assert_eq!((lost.records, lost.missing), (theirs.len() as u64, theirs.len() as u64));
            assert_eq!((lost.ts_start, lost.ts_end), (first.ts_event, last.ts_event));
            let gap = lost.gap(GapReason::OutboxOverflow);
            assert_eq!((gap.first_id, gap.last_id, gap.missing), (first.trade_id, last.trade_id, lost.missing));
            assert_eq!((gap.instrument_id, gap.strength, gap.reason), (*instrument, 1, 3));
        }
        gone = range.end;
        assert_eq!(spool.records(), next - gone);
    }
    assert_eq!(read_all(&mut spool, 999), (trades(gone..next), vec![]));
}

#[test]
fn what_has_been_read_is_not_among_the_lost_and_the_reader_moves_on() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..20_000, 1_000);
    let mut records = Vec::new();
    // In the middle of a block of the first segment.
    let _ = spool.read(7_300, &mut records).unwrap();
    let dropped = fill(&mut spool, 20_000..90_000, 1_000);
    let [dropped] = &dropped[..] else { panic!("{dropped:?}") };
    let first_unread: u64 =
        dropped.lost.values().map(|lost| u64::from_le_bytes(lost.first[16..24].try_into().unwrap())).min().unwrap();
    assert_eq!(first_unread, 7_300);
    let next = 7_300 + dropped.records;
    assert_eq!(read_all(&mut spool, 50_000), (trades(next..90_000), vec![]));
    // All read: giving up costs nothing more, and says so.
    let dropped = spool.drop_oldest().unwrap();
    assert_eq!((dropped.segments, dropped.records, dropped.lost.len()), (1, 0, 0));
    while !spool.drop_oldest().unwrap().is_empty() {}
    assert!(spool.is_empty() && spool.bytes() == 0);
    let _ = spool.append(CREATED, &trades(1..2)).unwrap();
    assert_eq!(read_all(&mut spool, 9).0, trades(1..2));
}

#[test]
fn gaps_that_are_given_up_live_on_in_the_sum() {
    let gap = GapMsg {
        ts_start: 500,
        ts_end: 9_000_000_000,
        first_id: 70,
        last_id: 79,
        missing: 10,
        instrument_id: 1,
        strength: 2,
        reason: 1,
        flags: 0,
        kind: KIND_GAP_V1,
    };
    let mut dropped = Dropped::default();
    dropped.add(trade(5).as_bytes());
    dropped.add(gap.as_bytes());
    let lost = &dropped.lost[&1];
    assert_eq!((lost.records, lost.missing, lost.ts_start, lost.ts_end), (2, 11, 500, 9_000_000_000));
    let sum = lost.gap(GapReason::OutboxOverflow);
    assert_eq!((sum.first_id, sum.last_id, sum.strength), (5, 79, 2));
    dropped.add(GapMsg { missing: 0, ..gap }.as_bytes());
    dropped.add(trade(10).as_bytes());
    assert_eq!((dropped.lost[&1].missing, dropped.lost[&1].records, dropped.records), (0, 4, 4));
}

#[test]
fn limits_that_cannot_be_kept_and_too_many_records_are_refused() {
    let dir = TempDir::new().unwrap();
    for (bytes, segment_bytes) in [(1 << 20, 1 << 20), (4 << 20, 1 << 19), (4 << 30, 2 << 30), (4 << 20, 3 << 20)] {
        let error = Spool::open(dir.path(), Limits { bytes, segment_bytes }, OWNER).unwrap_err();
        assert!(matches!(error, SpoolError::Limits { .. }), "{error}");
    }
    assert_eq!(Limits::default(), Limits { bytes: 4 << 30, segment_bytes: 64 << 20 });
    assert_eq!(Limits::new(2 << 20).segment_bytes, 1 << 20);
    let (mut spool, _) = open(dir.path(), Limits::new(2 << 20));
    let error = spool.append(CREATED, &vec![[0; 48]; BLOCK_RECORDS_MAX + 1]).unwrap_err();
    assert!(matches!(error, SpoolError::TooMany { count: 16_385 }), "{error}");
    let _ = spool.append(CREATED, &vec![[0; 48]; BLOCK_RECORDS_MAX]).unwrap();
}

#[test]
fn a_second_opener_is_told_who_has_the_directory() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path(), SMALL);
    let error = Spool::open(dir.path(), SMALL, OWNER).unwrap_err();
    let SpoolError::Busy { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    drop(spool);
    open(dir.path(), SMALL);
}

#[test]
fn another_owner_and_another_version_are_refused_and_left_as_they_are() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..10, 10);
    drop(spool);
    let error = Spool::open(dir.path(), SMALL, "OTHER").unwrap_err();
    assert!(matches!(&error, SpoolError::Owner { found, .. } if found == OWNER), "{error}");
    assert!(error.to_string().contains("\"TRADES\"") && error.to_string().contains("\"OTHER\""), "{error}");

    let path = segment(dir.path(), 1);
    let good = fs::read(&path).unwrap();
    for version in [0_u32, 2, 77] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..120]);
        bytes[120..128].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let error = Spool::open(dir.path(), SMALL, OWNER).unwrap_err();
        assert!(matches!(error, SpoolError::Version { found, .. } if found == version), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::write(&path, good).unwrap();
    assert_eq!(open(dir.path(), SMALL).1.records, 10);
}

#[test]
fn files_that_are_none_of_ours_are_left_alone_or_set_aside() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..10, 10);
    drop(spool);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::write(segment(dir.path(), 2), "no segment").unwrap();
    fs::create_dir(segment(dir.path(), 3)).unwrap();
    symlink("/dev/zero", segment(dir.path(), 4)).unwrap();
    fs::write(dir.path().join(layout::filling_name(5)), "half a header").unwrap();
    let (mut spool, recovered) = open(dir.path(), SMALL);
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!((recovered.segments, recovered.records), (1, 10));
    assert_eq!(names(&recovered.foreign), ["notes.txt"]);
    let told: Vec<PathBuf> = recovered.broken.iter().map(|broken| broken.path.clone()).collect();
    let aside = [2, 3, 4].map(|number| format!("{}.aside", layout::segment_name(number)));
    assert_eq!(names(&told), aside);
    assert!(recovered.broken.iter().all(|broken| broken.damage == Damage::SetAside));
    assert_eq!(fs::read_to_string(dir.path().join(&aside[0])).unwrap(), "no segment");
    // The next one of the same name gets another name, and both are told as foreign from then on.
    fill(&mut spool, 10..20, 10);
    drop(spool);
    fs::write(segment(dir.path(), 2), "again").unwrap();
    let (_, recovered) = open(dir.path(), SMALL);
    assert_eq!(names(&[recovered.broken[0].path.clone()]), [format!("{}-2", aside[0])]);
    assert_eq!(names(&recovered.foreign), [&aside[..], &["notes.txt".to_owned()]].concat());
}

#[test]
fn only_the_owner_may_look() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/spool");
    let (mut spool, _) = open(&path, SMALL);
    fill(&mut spool, 0..1, 1);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("lock")), 0o600);
    assert_eq!(mode(&segment(&path, 1)), 0o600);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    for path in [path.clone(), path.join("below")] {
        let error = Spool::open(&path, SMALL, OWNER).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}
