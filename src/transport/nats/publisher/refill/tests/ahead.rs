//! Gaps that the stream declares ahead of trades that were to be sent before them, and what a venue tells again.

use super::*;
use crate::transport::nats::past::Past;

fn open(first_id: u64, last_id: u64) -> Past {
    let Record::Gap(gap) = gap(first_id, last_id, 0) else { panic!("no gap") };
    let mut past = Past::default();
    past.open.push(gap);
    past
}

/// A life to which the stream tells of the first instrument: its youngest trade, and a gap declared in front of what
/// was to be sent before it.
fn behind_a_gap(directory: &Path, end: u64, past: &Past, own: &[Record]) -> Vec<(usize, u8, u64, u64)> {
    let mut life = Life::open(directory, 4 << 30);
    life.push(own.iter().map(|record| (0, *record)));
    life.publisher.announced.live = true;
    let at = At::Trade(end, end * 10);
    let left = life.publisher.left_behind(0, None);
    life.publisher.set_out(0, at, Some(past), left.as_ref());
    life.publisher.held_against();
    life.publisher.give_up_early();
    life.all()
}

#[test]
fn a_gap_that_the_stream_declares_ahead_does_not_end_it() {
    let past = open(101, 150);
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &(21..101).map(|id| trade(0, id)).collect::<Vec<_>>());
    // A later life appended what fills the gap, which is fetched anew, and what came behind it.
    left_by_an_earlier_life(dir.path(), &[late(101), late(150), gap(101, 150, Flags::BACKFILLED), trade(0, 151)]);
    assert_eq!(behind_a_gap(dir.path(), 60, &past, &[trade(0, 152)]), [(0, 0, 61, 100), (0, 0, 151, 152)]);
    // What another instance waits with.
    let dir = TempDir::new().unwrap();
    let own: Vec<Record> = (50..160).map(|id| trade(0, id)).collect();
    assert_eq!(behind_a_gap(dir.path(), 60, &past, &own), [(0, 0, 61, 100), (0, 0, 151, 159)]);
    // Nobody has what the run that declared it had in its memory.
    assert_eq!(behind_a_gap(dir.path(), 60, &past, &[trade(0, 151)]), [(0, 1, 61, 100), (0, 0, 151, 151)]);
}

#[test]
fn what_was_in_memory_before_a_gap_that_is_not_exact_is_declared_too() {
    let dir = TempDir::new().unwrap();
    let Record::Gap(lost) = gap(100, 9_000, 0) else { panic!("no gap") };
    let lost = Record::Gap(GapMsg { strength: GapStrength::FramesLost as u8, missing: 0, ..lost });
    left_by_an_earlier_life(dir.path(), &[lost, trade(0, 9_001)]);
    let all = Life::begin(dir.path(), [Some(50), None]).all();
    assert_eq!(all, [(0, 2, 51, 99), (0, 2, 100, 9_000), (0, 0, 9_001, 9_001)]);
}

#[test]
fn what_a_venue_tells_again_is_held_against_what_stands_before_it_on_disk() {
    for at in [At::Fresh, At::Forgotten, At::Trade(20, 200)] {
        let dir = TempDir::new().unwrap();
        left_by_an_earlier_life(dir.path(), &(21..101).map(|id| trade(0, id)).collect::<Vec<_>>());
        let mut life = Life::open(dir.path(), 4 << 30);
        life.push([(0, trade(0, 100)), (0, trade(0, 101))]);
        life.publisher.announced.live = true;
        let left = life.publisher.left_behind(0, None);
        life.publisher.set_out(0, at, None, left.as_ref());
        life.publisher.held_against();
        life.publisher.give_up_early();
        assert_eq!(life.all().last(), Some(&(0, 0, 21, 101)), "{at:?}");
    }
}

#[test]
fn the_news_that_an_open_gap_was_filled_is_not_left_out() {
    let dir = TempDir::new().unwrap();
    let mut life = Life::open(dir.path(), 4 << 30);
    life.push([(0, trade(0, 55))]);
    life.publisher.announced.live = true;
    life.publisher.set_out(0, At::Trade(60, 600), Some(&open(50, 60)), None);
    life.publisher.held_against();
    // All that filled it is stored; only that was not told any more.
    let told = gap(50, 60, Flags::BACKFILLED);
    life.push([(0, told)]);
    assert_eq!(life.publisher.shared.window.borrow().remains(), [*told.as_bytes()]);
    life.end();
}
