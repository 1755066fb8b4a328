//! What the sequencer promises, on scripted and on random arrivals.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::telemetry::clock;

mod anew;
mod lines;
mod repair;
mod spans;
mod stamped;

fn trade(id: u64) -> TradeMsg {
    TradeMsg { trade_id: id, ts_event: id * 1_000, instrument_id: 9, kind: 1, ..bytemuck::Zeroable::zeroed() }
}

fn contiguous() -> Sequencer {
    Sequencer::new(IdRule::Contiguous, Duration::from_secs(1))
}

/// Ids of the trades, and `-(first)..(last)` of the gaps, as text.
fn said(out: &Out) -> String {
    let part = |(_, record): &(u32, Record)| match record {
        Record::Trade(msg) if msg.flag_set().has(Flags::AFTER_GAP) => format!("{}!", msg.trade_id),
        Record::Trade(msg) => msg.trade_id.to_string(),
        Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => format!("filled {}-{}", gap.first_id, gap.last_id),
        Record::Gap(gap) => format!("gap {}-{}", gap.first_id, gap.last_id),
    };
    out.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn feed(sequencer: &mut Sequencer, ids: &[u64]) -> String {
    let (mut out, now) = (Out::new(), clock::now());
    ids.iter().for_each(|id| sequencer.trade(now, 0, trade(*id), &mut out));
    said(&out)
}

#[test]
fn a_hole_is_declared_with_its_exact_size_and_doubles_are_dropped() {
    let mut sequencer = contiguous();
    assert_eq!(feed(&mut sequencer, &[5, 6, 6, 5, 9, 10]), "5 6 gap 7-8 9! 10");
    let stats = sequencer.stats();
    assert_eq!((stats.delivered, stats.duplicates, stats.gaps, stats.missing), (4, 2, 1, 2));
}

#[test]
fn a_late_trade_is_delivered_once_and_fills_its_gap() {
    assert_eq!(feed(&mut contiguous(), &[1, 4, 3, 3, 2, 2, 5]), "1 gap 2-3 4! 3 2 filled 2-3 5");
}

#[test]
fn during_an_overlap_the_other_connection_may_fill_the_hole() {
    let mut sequencer = contiguous();
    sequencer.set_overlap(0, true);
    assert_eq!(feed(&mut sequencer, &[1, 4, 5, 2, 5, 3, 6]), "1 2 3 4 5 6");
    assert!(!sequencer.holding() && sequencer.poll_at().is_none());
    assert_eq!(sequencer.stats().gaps, 0);
}

#[test]
fn what_is_waited_for_in_vain_is_declared() {
    let mut sequencer = contiguous();
    sequencer.set_overlap(0, true);
    let (mut out, now) = (Out::new(), clock::now());
    for id in [1, 4, 7] {
        sequencer.trade(now, 0, trade(id), &mut out);
    }
    let due = sequencer.poll_at().unwrap();
    sequencer.expire(due - Duration::from_millis(1), &mut out);
    assert_eq!(said(&out), "1");
    sequencer.expire(due, &mut out);
    assert_eq!(said(&out), "1 gap 2-3 4! gap 5-6 7!");
}

#[test]
fn a_heartbeat_proves_a_loss_on_a_living_connection() {
    let mut sequencer = contiguous();
    feed(&mut sequencer, &[1, 2]);
    let (mut out, now) = (Out::new(), clock::now());
    sequencer.last_trade(now, 0, 4, 4_500);
    sequencer.expire(now, &mut out);
    assert_eq!(said(&out), "", "the trade may be on its way");
    sequencer.expire(now + BEAT_GRACE, &mut out);
    assert_eq!(said(&out), "gap 3-4");
    assert_eq!(feed(&mut sequencer, &[5, 3]), "5! 3");
}

#[test]
fn a_heartbeat_that_only_ran_ahead_declares_nothing() {
    let mut sequencer = contiguous();
    feed(&mut sequencer, &[1, 2]);
    let now = clock::now();
    sequencer.last_trade(now, 0, 3, 4_500);
    assert_eq!(feed(&mut sequencer, &[3]), "3");
    let mut out = Out::new();
    sequencer.expire(now + BEAT_GRACE * 2, &mut out);
    assert!(out.is_empty());
}

#[test]
fn what_the_stream_holds_is_where_trades_go_on() {
    let (mut early, mut out) = (contiguous(), Out::new());
    early.anchor(0, &trade(10), &mut out);
    assert_eq!(feed(&mut early, &[9, 10, 11, 14]), "11 gap 12-13 14!");
    let mut late = contiguous();
    feed(&mut late, &[14, 15]);
    late.anchor(0, &trade(10), &mut out);
    assert_eq!(said(&out), "gap 11-13");
}

#[test]
fn a_venue_that_counts_anew_is_believed_after_a_while() {
    let mut sequencer = contiguous();
    feed(&mut sequencer, &[1_000]);
    let (mut out, now) = (Out::new(), clock::now());
    for id in 1..=RESTART_RUN as u64 {
        let msg = TradeMsg { ts_event: 2_000_000 + id, ..trade(id) };
        sequencer.trade(now, 0, msg, &mut out);
    }
    assert_eq!(said(&out), "gap 0-0 1 2 3 4 5 6 7 8");
    assert_eq!(sequencer.stats().restarts, 1);
}

#[test]
fn a_replay_of_old_trades_is_not_taken_for_a_venue_that_counts_anew() {
    let mut sequencer = contiguous();
    let all: Vec<u64> = (1..=1_000).collect();
    feed(&mut sequencer, &all);
    assert_eq!(feed(&mut sequencer, &all), "");
    assert_eq!(sequencer.stats().duplicates, 1_000);
}

#[test]
fn without_proof_a_disconnect_is_a_possible_loss() {
    for rule in [IdRule::Increasing, IdRule::Unique] {
        let mut sequencer = Sequencer::new(rule, Duration::from_secs(1));
        assert_eq!(feed(&mut sequencer, &[3, 8, 8]), "3 8");
        sequencer.disconnected(0, GapReason::Stall);
        assert_eq!(feed(&mut sequencer, &[8, 20, 30]), "gap 0-0 20! 30");
    }
}

proptest! {
    /// Two connections bring the same trades, each with its own losses, doubles and lag: what comes out is each trade
    /// once, and what does not come out lies in declared gaps, exactly.
    #[test]
    fn each_trade_once_and_each_loss_declared(
        drops in proptest::collection::vec((any::<bool>(), any::<bool>()), 40..120),
        picks in proptest::collection::vec(any::<bool>(), 400),
        overlap in any::<bool>(),
    ) {
        let total = drops.len() as u64;
        let lines = [0, 1].map(|line| {
            let kept = drops.iter().enumerate().filter(move |(_, drop)| if line == 0 { !drop.0 } else { !drop.1 });
            kept.map(|(index, _)| index as u64 + 2).collect::<VecDeque<u64>>()
        });
        let [mut a, mut b] = lines;
        let (mut sequencer, mut out, now) = (contiguous(), Out::new(), clock::now());
        sequencer.set_overlap(0, overlap);
        sequencer.trade(now, 0, trade(1), &mut out);
        let mut offered = BTreeSet::from([1]);
        for pick in picks {
            let (first, second) = if pick { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let next = first.pop_front().or_else(|| second.pop_front());
            let Some(id) = next else { break };
            offered.insert(id);
            sequencer.trade(now, 0, trade(id), &mut out);
        }
        sequencer.expire(now + Duration::from_secs(60), &mut out);
        let (mut seen, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for (_, record) in &out {
            match record {
                Record::Trade(msg) => prop_assert!(seen.insert(msg.trade_id), "{} twice", msg.trade_id),
                Record::Gap(gap) if gap.flags == 0 => missing.extend(gap.first_id..=gap.last_id),
                Record::Gap(_) => {}
            }
        }
        prop_assert_eq!(&seen, &offered);
        let end = seen.last().copied().unwrap_or(1).min(total + 1);
        let never: BTreeSet<u64> = (1..=end).filter(|id| !seen.contains(id)).collect();
        prop_assert!(never.is_subset(&missing), "undeclared: {:?}", never.difference(&missing));
    }
}

#[test]
fn times_that_cannot_be_right_decide_nothing() {
    let (mut sequencer, mut out, now) = (contiguous(), Out::new(), clock::now());
    let recv = 1_700_000_000_000_000_000;
    let at = |id: u64, ts_event: u64| TradeMsg { ts_event, ts_recv: recv + id, ..trade(id) };
    for id in 1..=20 {
        sequencer.trade(now, 0, at(id, recv), &mut out);
    }
    sequencer.trade(now, 0, at(21, 0), &mut out);
    // Another connection's copies: lower ids with later times, and yet no new count.
    for id in 5..=20 {
        sequencer.trade(now, 0, at(id, recv), &mut out);
    }
    let stats = sequencer.stats();
    assert_eq!((stats.delivered, stats.duplicates, stats.restarts), (21, 16, 0));
}

#[test]
fn a_row_of_several_fills_follows_the_trade_before_its_first_one() {
    let (mut sequencer, mut out, now) = (contiguous(), Out::new(), clock::now());
    for (id, span) in [(1, 1), (4, 3), (5, 1), (9, 2), (9, 2), (10, 4)] {
        sequencer.row(now, 0, trade(id), span, &mut out);
    }
    // 8 to 9 stand behind a hole; a venue may also count rows instead of fills.
    assert_eq!(said(&out), "1 4 5 gap 6-7 9! 10");
    assert!(sequencer.fill(0, trade(6), &mut out) && sequencer.fill(0, trade(7), &mut out));
    assert!(!sequencer.fill(0, trade(7), &mut out) && !sequencer.fill(0, trade(9), &mut out));
}
