//! The end of a spool with what its caller has in memory: it stands in front, once, whatever happens on the way.

use super::*;
use crate::market::Record;

/// More segments than one, in blocks of this many records.
const BLOCK: usize = 777;
const MANY: u64 = 60_000;
const WIDE: Limits = Limits { bytes: 64 << 20, segment_bytes: 1 << 20 };

/// A spool of trades from 1,000 on, and the place behind the first ones of them that were read.
fn read_to(directory: &Path, count: u64) -> (Spool, Position) {
    let mut spool = open(directory, WIDE).0.with_room();
    fill(&mut spool, 1_000..1_000 + MANY, BLOCK);
    let mut records = Vec::new();
    let at = spool.read(usize::try_from(count).unwrap(), &mut records).unwrap().position;
    assert_eq!(records.len() as u64, count);
    (spool, at)
}

fn leave(spool: Spool, at: Position, records: &[Bytes]) -> LeftBehind {
    spool.leave(CREATED, &Remains { records, at, torn: false }).unwrap()
}

/// All that the directory holds, which must be whole.
fn all(directory: &Path) -> Vec<Bytes> {
    let (mut spool, recovered) = open(directory, WIDE);
    assert_eq!(recovered.broken, []);
    assert_eq!(recovered.records, spool.unread());
    assert_eq!(torn_places(&mut spool), 0);
    drop(spool);
    let (records, told) = read_all(&mut open(directory, WIDE).0, 5_000);
    assert_eq!(told, []);
    records
}

fn torn_places(spool: &mut Spool) -> usize {
    let mut places = 0;
    while spool.unread() > 0 {
        places += usize::from(spool.read(5_000, &mut Vec::new()).unwrap().torn);
    }
    places
}

#[test]
fn what_remains_stands_in_front_of_what_was_not_given() {
    let block = BLOCK as u64;
    for read in [0, 1, block - 1, block, block + 1, 21_850, 40_000, MANY - 1, MANY] {
        for (from, fresh) in [(0, 300), (read / 2, 0), (read, 0), (read, 70_000)] {
            let dir = TempDir::new().unwrap();
            let (spool, at) = read_to(dir.path(), read);
            // What was in memory before, and what was given and is not stored.
            let remains = [trades(100_000..100_000 + fresh), trades(1_000 + from..1_000 + read)].concat();
            let left = leave(spool, at, &remains);
            assert!(left.dropped.is_empty() && left.error.is_none());
            let expected = [remains, trades(1_000 + read..1_000 + MANY)].concat();
            assert!(all(dir.path()) == expected, "{read} {from} {fresh}");
        }
    }
}

#[test]
fn a_kill_before_the_files_are_gone_that_were_given_back_neither_loses_nor_doubles() {
    for read in [800, 21_850, 40_000, MANY] {
        let dir = TempDir::new().unwrap();
        let (spool, at) = read_to(dir.path(), read);
        let before: Vec<(PathBuf, Vec<u8>)> = files(dir.path())
            .into_iter()
            .filter(|name| name.ends_with(".spool"))
            .map(|name| (dir.path().join(&name), fs::read(dir.path().join(name)).unwrap()))
            .collect();
        let remains = [trades(500..600), trades(1_700..1_000 + read)].concat();
        let _ = leave(spool, at, &remains);
        before.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        let expected = [remains, trades(1_000 + read..1_000 + MANY)].concat();
        assert!(all(dir.path()) == expected, "{read}");
        // One that came before it was whole is as if it had not begun.
        let number = layout::segment_number(&files(dir.path())[0]).unwrap();
        let half = fs::read(segment(dir.path(), number)).unwrap();
        fs::write(dir.path().join(layout::filling_name(number - 1)), &half[..half.len() / 2]).unwrap();
        assert!(all(dir.path()) == expected, "{read}");
        assert!(files(dir.path()).iter().all(|name| !name.ends_with(".new")));
    }
}

#[test]
fn what_finds_no_room_is_declared_in_front() {
    let dir = TempDir::new().unwrap();
    let mut spool = open(dir.path(), SMALL).0.with_room();
    fill(&mut spool, 100_000..150_000, BLOCK);
    let LeftBehind { dropped, error } = leave(spool, Position(0), &trades(0..90_000));
    assert!(error.is_none());
    let (mut spool, recovered) = open(dir.path(), SMALL);
    assert_eq!(recovered.broken, []);
    assert!(spool.bytes() <= SMALL.bytes);
    // The next run can begin without giving anything up.
    let appended = spool.append(CREATED, &trades(500_000..500_100)).unwrap();
    assert!(appended.dropped.is_empty(), "{appended:?}");
    let (records, _) = read_all(&mut spool, 5_000);
    let (gaps, rest) = records.split_at(5);
    let missing: u64 = gaps
        .iter()
        .map(|gap| Record::from_bytes(gap).unwrap())
        .map(|record| match record {
            Record::Gap(gap) => gap.missing,
            Record::Trade(_) => 0,
        })
        .sum();
    // Ids of one instrument are not in a row here, so more may be missing than is.
    assert!(missing >= dropped.records && dropped.records > 50_000, "{missing} {}", dropped.records);
    let held = [trades(dropped.records..90_000), trades(100_000..150_000), trades(500_000..500_100)];
    assert!(rest == held.concat());
}

#[test]
fn numbers_that_begin_low_leave_room_for_what_was_given() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), WIDE);
    fill(&mut spool, 0..5_000, BLOCK);
    let at = spool.read(2_000, &mut Vec::new()).unwrap().position;
    let _ = leave(spool, at, &trades(500..2_000));
    assert!(all(dir.path()) == trades(500..5_000));
    let (mut spool, _) = open(dir.path(), WIDE);
    let at = spool.read(usize::MAX, &mut Vec::new()).unwrap().position;
    let _ = leave(spool, at, &trades(0..20_000));
    assert!(all(dir.path()) == trades(0..20_000), "behind, where nothing is left to stand in front of");
    let mut spool = open(dir.path(), WIDE).0;
    let at = spool.read(10, &mut Vec::new()).unwrap().position;
    let left = leave(spool, at, &trades(100_000..130_000));
    assert_eq!(left.dropped.records, 24_995, "told, and declared by a gap of each instrument");
}

#[test]
fn what_may_be_missing_behind_the_remains_is_told_there() {
    let dir = TempDir::new().unwrap();
    let (spool, at) = read_to(dir.path(), 2_000);
    let remains = trades(1_000..3_000);
    let _ = spool.leave(CREATED, &Remains { records: &remains, at, torn: true }).unwrap();
    let mut records = Vec::new();
    let (mut spool, _) = open(dir.path(), WIDE);
    assert!(!spool.read(usize::MAX, &mut records).unwrap().torn);
    // The rest of a block that was begun goes with the remains.
    assert!((2_000..2_000 + BLOCK).contains(&records.len()));
    assert!(spool.read(usize::MAX, &mut records).unwrap().torn);
    assert!(records == trades(1_000..1_000 + MANY));
}

#[test]
fn any_number_of_ends_in_a_row_keeps_every_record_once() {
    let dir = TempDir::new().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut waits, mut id): (Vec<Bytes>, u64) = (Vec::new(), 0);
    for end in 0..40 {
        let mut spool = open(dir.path(), WIDE).0.with_room();
        assert_eq!(spool.unread(), waits.len() as u64, "{end}");
        let (mut at, mut given) = (Position::default(), Vec::new());
        for _ in 0..random.u32(0..12) {
            if random.bool() {
                let more = trades(id..id + random.u64(0..3_000));
                id += more.len() as u64;
                for records in more.chunks(BLOCK) {
                    assert!(spool.append(CREATED, records).unwrap().dropped.is_empty());
                }
                waits.extend(more);
            } else {
                at = spool.read(random.usize(0..4_000), &mut given).unwrap().position;
            }
        }
        assert!(given[..] == waits[..given.len()], "{end}");
        // The first of them are stored; others came to memory past the disk, or before it.
        let stored = random.usize(0..=given.len());
        spool.release(Position(at.number().saturating_sub((given.len() - stored) as u64))).unwrap();
        let fresh = trades(1_000_000 + id..1_000_000 + id + random.u64(0..500));
        id += fresh.len() as u64;
        let remains = [&given[stored..], &fresh].concat();
        let left = leave(spool, at, &remains);
        assert!(left.dropped.is_empty() && left.error.is_none());
        waits = [&remains, &waits[given.len()..]].concat();
    }
    assert!(read_all(&mut open(dir.path(), WIDE).0, 5_000).0 == waits);
}
