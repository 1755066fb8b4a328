//! Where records are not there, the caller is told in front of which: damage, files that are gone, other lives.

use super::damage::{block_at, flip, six_blocks};
use super::*;

/// Reads to the end: the first record that was given behind each place at which others are missing.
fn torn_before(spool: &mut Spool, max: usize) -> Vec<Bytes> {
    let mut places = Vec::new();
    while spool.unread() > 0 {
        let mut records = Vec::new();
        if spool.read(max, &mut records).unwrap().torn {
            places.extend(records.first());
        }
    }
    places
}

#[test]
fn the_place_of_damage_that_was_found_at_open_is_told_again_as_it_is_passed() {
    for max in [7, 10, 100] {
        let dir = six_blocks();
        let path = segment(dir.path(), 1);
        assert_eq!(torn_before(&mut open(dir.path(), SMALL).0, max), trades(0..0), "{max}");
        flip(&path, block_at(0, 10) + 40, 1);
        flip(&path, block_at(2, 10) + 40, 1);
        flip(&path, block_at(4, 10) + 3, 1);
        let (mut spool, _) = open(dir.path(), SMALL);
        let behind = [trades(10..11), trades(30..31), trades(50..51)].concat();
        assert_eq!(torn_before(&mut spool, max), behind, "{max}");
    }
}

#[test]
fn what_is_missing_between_segments_is_told_in_front_of_the_next_one() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..80_000, 1_000);
    let per_segment = spool.segments[0].end;
    drop(spool);
    assert_eq!(torn_before(&mut open(dir.path(), SMALL).0, 1_000), trades(0..0));
    // One that nothing can be read of is set aside; one is gone.
    fs::write(segment(dir.path(), 1), [0; 500]).unwrap();
    fs::remove_file(segment(dir.path(), 3)).unwrap();
    let behind = [trades(per_segment..per_segment + 1), trades(3 * per_segment..3 * per_segment + 1)].concat();
    assert_eq!(torn_before(&mut open(dir.path(), SMALL).0, usize::MAX), behind);
    // What is given up takes its damage along to what stands behind it.
    let (mut spool, _) = open(dir.path(), SMALL);
    assert!(!spool.drop_oldest().unwrap().is_empty());
    assert_eq!(torn_before(&mut spool, usize::MAX), trades(3 * per_segment..3 * per_segment + 1));
}

#[test]
fn where_one_life_of_the_daemon_ended_and_another_began_records_need_not_follow() {
    let dir = TempDir::new().unwrap();
    for numbers in [0..10, 20..30, 40..50] {
        fill(&mut open(dir.path(), SMALL).0, numbers, 10);
    }
    let behind = [trades(20..21), trades(40..41)].concat();
    assert_eq!(torn_before(&mut open(dir.path(), SMALL).0, 100), behind);
}

#[test]
fn a_life_that_ended_with_a_full_segment_is_told_apart_from_one_that_went_on() {
    let per_segment = {
        let dir = TempDir::new().unwrap();
        let (mut spool, _) = open(dir.path(), SMALL);
        fill(&mut spool, 0..80_000, 1_000);
        spool.segments[0].end
    };
    let dir = TempDir::new().unwrap();
    fill(&mut open(dir.path(), SMALL).0, 0..per_segment, 1_000);
    fill(&mut open(dir.path(), SMALL).0, per_segment + 500..2 * per_segment, 1_000);
    let behind = trades(per_segment + 500..per_segment + 501);
    assert_eq!(torn_before(&mut open(dir.path(), SMALL).0, 100), behind);
}

#[test]
fn no_read_goes_beyond_its_limit_whatever_is_damaged_in_front_of_it() {
    for max in [7, 100] {
        let dir = six_blocks();
        flip(&segment(dir.path(), 1), block_at(1, 10) + 40, 1);
        flip(&segment(dir.path(), 1), block_at(2, 10) + 40, 1);
        let (mut spool, _) = open(dir.path(), SMALL);
        let mut records = Vec::new();
        for limit in [15, 35, 60] {
            while spool.position() < Position(limit) {
                let before = records.len();
                let reading = spool.read_until(Position(limit), max, &mut records).unwrap();
                assert_eq!(reading.position, spool.position());
                // Of a place that does not hold no part is left.
                let beyond = records[before..].iter().any(|record| !trades(0..limit).contains(record));
                assert!(!beyond && records.len() - before <= max, "{limit}");
            }
        }
        assert_eq!(records, [trades(0..10), trades(30..60)].concat(), "{max}");
    }
}

#[test]
fn a_late_trade_is_not_the_last_of_its_instrument() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    let late = TradeMsg { flags: 1 | Flags::BACKFILLED, ..trade(5) };
    assert!(spool.append(CREATED, &[*trade(10).as_bytes(), *late.as_bytes()]).unwrap().dropped.is_empty());
    spool.close().unwrap();
    let last = |recovered: Recovered| recovered.last.into_values().map(|trade| trade.trade_id).collect::<Vec<_>>();
    let (mut spool, recovered) = open(dir.path(), SMALL);
    assert_eq!(last(recovered), [10]);
    // One that came in its place, or into a gap at the end, in a segment of its own.
    let mended = TradeMsg { flags: 1 | Flags::BACKFILLED, ..trade(15) };
    assert!(spool.append(CREATED, &[*mended.as_bytes()]).unwrap().dropped.is_empty());
    spool.close().unwrap();
    assert_eq!(last(open(dir.path(), SMALL).1), [15]);
}
