//! Jobs against a scripted history: pages of either order, short, empty, late and old ones.

use proptest::prelude::*;

use super::*;
use crate::telemetry::clock;

const LIFETIME: Duration = Duration::from_secs(900);

fn trade(id: u64) -> TradeMsg {
    TradeMsg { trade_id: id, ts_event: id * 1_000, kind: 1, ..bytemuck::Zeroable::zeroed() }
}

fn job(first: u64, last: u64, order: PageOrder, horizon: u64) -> Job {
    let gap = GapMsg { first_id: first, last_id: last, ts_start: first * 1_000, ..bytemuck::Zeroable::zeroed() };
    Job::new(clock::now(), 0, gap, Aim::Everywhere, order, horizon, LIFETIME)
}

/// A venue that has these ids, and gives pages of at most `rows`.
fn page(has: &[u64], want: Want, order: PageOrder, rows: usize) -> Vec<TradeMsg> {
    let Want::Range { first, last } = want else { panic!("{want:?}") };
    let rows = rows.min(usize::try_from(last.saturating_sub(first)).unwrap_or(usize::MAX).saturating_add(1));
    match order {
        PageOrder::Ascending => has.iter().filter(|id| **id >= first).take(rows).map(|id| trade(*id)).collect(),
        PageOrder::Descending => has.iter().rev().filter(|id| **id <= last).take(rows).map(|id| trade(*id)).collect(),
    }
}

/// Runs a job to its end; the ids that it handed over, and the requests that it made.
fn run(job: &mut Job, order: PageOrder, mut answer: impl FnMut(usize, Want) -> Vec<TradeMsg>) -> (Vec<u64>, usize) {
    let (mut now, mut out, mut asked) = (clock::now(), Vec::new(), 0);
    loop {
        match job.step(now) {
            Step::Done => return (out.iter().map(|row: &TradeMsg| row.trade_id).collect(), asked),
            Step::Wait(until) => now = until,
            Step::Ask(want) => {
                let rows = answer(asked, want);
                asked += 1;
                assert!(asked < 10_000, "a job that never ends");
                let older = rows.iter().map(|row| row.trade_id).min().filter(|_| order == PageOrder::Descending);
                job.page(want, rows, Page { older }, &mut out);
            }
        }
    }
}

#[test]
fn pages_are_walked_in_order_whatever_end_they_begin_at() {
    let has: Vec<u64> = (1..=60_000).collect();
    for order in [PageOrder::Ascending, PageOrder::Descending] {
        let mut job = job(101, 45_100, order, 0);
        let (found, asked) = run(&mut job, order, |_, want| page(&has, want, order, 1_000));
        assert!(found.iter().copied().eq(101..=45_100), "{order:?}");
        assert_eq!(asked, 45, "{order:?}");
        assert!(job.missing().is_empty());
    }
}

#[test]
fn what_the_history_brings_only_later_is_asked_for_again() {
    for order in [PageOrder::Ascending, PageOrder::Descending] {
        let mut job = job(5, 9, order, 0);
        let (found, _) = run(&mut job, order, |asked, want| {
            let has: &[u64] = if asked < 2 { &[1, 2, 3, 4] } else { &[4, 5, 6, 7, 8, 9, 10] };
            page(has, want, order, 100)
        });
        assert_eq!(found, [5, 6, 7, 8, 9], "{order:?}");
    }
}

#[test]
fn ids_that_the_venue_never_used_are_given_up() {
    for order in [PageOrder::Ascending, PageOrder::Descending] {
        let mut job = job(5, 9, order, 0);
        let (found, asked) = run(&mut job, order, |_, want| page(&[4, 5, 9, 10], want, order, 100));
        assert_eq!(found, [5, 9], "{order:?}");
        assert_eq!(job.missing().iter().collect::<Vec<_>>(), [(6, 8)], "{order:?}");
        assert!(asked <= 20, "{order:?}: {asked}");
    }
}

#[test]
fn what_is_older_than_the_horizon_is_left() {
    let has: Vec<u64> = (1..=1_000_000).collect();
    for order in [PageOrder::Ascending, PageOrder::Descending] {
        let mut job = job(1, 1_000_000, order, 990_000 * 1_000);
        let (found, asked) = run(&mut job, order, |_, want| page(&has, want, order, 1_000));
        assert!(found.iter().copied().eq(990_000..=1_000_000), "{order:?}: {:?}..{:?}", found.first(), found.last());
        assert!(asked < 60, "{order:?}: {asked} requests");
    }
}

#[test]
fn a_venue_that_fails_is_asked_again_after_growing_waits_and_not_for_ever() {
    let mut job = job(5, 9, PageOrder::Ascending, 0);
    let (mut now, mut waits) = (clock::now(), Vec::new());
    loop {
        match job.step(now) {
            Step::Ask(_) => job.failed(now),
            Step::Wait(until) => {
                waits.push(until - now);
                now = until;
            }
            Step::Done => break,
        }
    }
    assert_eq!(waits.first(), Some(&FAILURE_WAIT));
    assert_eq!((waits.last(), waits.len()), (Some(&FAILURE_WAIT_MAX), FAILURES as usize - 1));
}

#[test]
fn it_ends_with_its_lifetime() {
    let mut job = job(5, 9, PageOrder::Ascending, 0);
    assert_eq!(job.step(clock::now() + LIFETIME), Step::Done);
}

proptest! {
    #[test]
    fn everything_that_the_venue_has_is_handed_over_once_and_in_order(
        has in proptest::collection::btree_set(1_u64..400, 0..300),
        (first, length) in (1_u64..300, 0_u64..100),
        rows in 1_usize..50,
        short in 1_usize..5,
        descending in any::<bool>(),
    ) {
        let has: Vec<u64> = has.into_iter().collect();
        let last = first + length;
        let order = if descending { PageOrder::Descending } else { PageOrder::Ascending };
        let mut job = job(first, last, order, 0);
        let (found, _) = run(&mut job, order, |asked, want| page(&has, want, order, (rows >> (asked % short)).max(1)));
        let mut sorted = found.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), found.len());
        let wanted: Vec<u64> = has.iter().copied().filter(|id| (first..=last).contains(id)).collect();
        prop_assert_eq!(&sorted, &wanted);
        prop_assert_eq!(job.missing().count(), length + 1 - wanted.len() as u64);
    }
}
