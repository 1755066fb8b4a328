//! Several lines that bring the same symbols: what one has missed another may bring.

use super::*;

#[test]
fn while_two_lines_are_up_a_hole_is_waited_for_and_with_one_it_is_declared() {
    let mut sequencer = contiguous();
    sequencer.connected(0);
    assert_eq!(feed(&mut sequencer, &[1, 3]), "1 gap 2-2 3!");
    sequencer.connected(1);
    assert_eq!(feed(&mut sequencer, &[5, 4, 6]), "4 5 6");
    sequencer.disconnected(0, GapReason::Stall);
    assert_eq!(feed(&mut sequencer, &[8]), "gap 7-7 8!");
    // The other line has never been away: its holes have the usual reason.
    sequencer.connected(0);
    sequencer.set_overlap(1, true);
    sequencer.disconnected(0, GapReason::Stall);
    assert_eq!(feed(&mut sequencer, &[10, 9]), "9 10");
    sequencer.set_overlap(1, false);
    assert_eq!(feed(&mut sequencer, &[12]), "gap 11-11 12!");
}

#[test]
fn only_the_loss_of_the_last_line_is_a_reason_for_holes() {
    let mut sequencer = contiguous();
    (0..2).for_each(|line| sequencer.connected(line));
    feed(&mut sequencer, &[1]);
    let reason = |sequencer: &mut Sequencer, id: u64| {
        let mut out = Out::new();
        sequencer.trade(clock::now(), 0, trade(id), &mut out);
        let Some((_, Record::Gap(gap))) = out.first() else { panic!("{}", said(&out)) };
        gap.reason
    };
    sequencer.disconnected(1, GapReason::Stall);
    assert_eq!(reason(&mut sequencer, 3), GapReason::VenueDisconnect as u8);
    sequencer.disconnected(0, GapReason::Stall);
    sequencer.connected(1);
    assert_eq!(reason(&mut sequencer, 5), GapReason::Stall as u8);
}

#[test]
fn what_waits_is_declared_in_time_though_all_lines_are_up() {
    let mut sequencer = contiguous();
    (0..3).for_each(|line| sequencer.connected(line));
    assert_eq!(feed(&mut sequencer, &[1, 3, 5]), "1");
    let (mut out, due) = (Out::new(), sequencer.poll_at().unwrap());
    sequencer.expire(due, &mut out);
    assert_eq!(said(&out), "gap 2-2 3! gap 4-4 5!");
    assert_eq!(feed(&mut sequencer, &[4, 2]), "4 filled 4-4 2 filled 2-2");
    // Late ones are marked, since they are not where the stream ends.
    let mut out = Out::new();
    for id in [7, 9, 8] {
        sequencer.trade(clock::now(), 0, trade(id), &mut out);
    }
    sequencer.finish(&mut out);
    sequencer.trade(clock::now(), 0, trade(6), &mut out);
    let late = |(_, r): &(u32, Record)| matches!(r, Record::Trade(msg) if msg.flag_set().has(Flags::BACKFILLED));
    assert_eq!(out.iter().filter(|record| late(record)).count(), 1, "{}", said(&out));
}

proptest! {
    /// Two lines bring the same rows in any interleaving, each losing some: each id comes once and in order, and holes
    /// are only where both lost.
    #[test]
    fn two_lines_make_one_stream(
        spans in proptest::collection::vec((1_u32..4, 0_u8..16), 20..120),
        picks in proptest::collection::vec(any::<bool>(), 260),
    ) {
        let (mut id, mut rows, mut lost) = (1, Vec::new(), BTreeSet::new());
        for (span, drop) in &spans {
            id += u64::from(*span);
            rows.push((id, *span, *drop));
            if *drop == 0 {
                lost.extend(id + 1 - u64::from(*span)..=id);
            }
        }
        let end = id;
        // 0 and 1 are lost by the first line, 0 and 2 by the second.
        let of = |other: u8| rows.iter().filter(move |row| row.2 != 0 && row.2 != other).copied();
        let mut lines = [of(1).collect::<VecDeque<_>>(), of(2).collect()];
        let (mut sequencer, mut out, now) = (contiguous(), Out::new(), clock::now());
        (0..2).for_each(|line| sequencer.connected(line));
        sequencer.trade(now, 0, trade(1), &mut out);
        for pick in picks {
            let line = usize::from(pick);
            let next = lines[line].pop_front().or_else(|| lines[1 - line].pop_front());
            let Some((id, span, _)) = next else { break };
            sequencer.row(now, 0, trade(id), span, &mut out);
        }
        sequencer.expire(now + Duration::from_secs(60), &mut out);
        let (mut at, mut missing) = (0, BTreeSet::new());
        for (_, record) in &out {
            match record {
                Record::Trade(msg) => {
                    prop_assert!(msg.trade_id > at, "{} behind {at}", msg.trade_id);
                    at = msg.trade_id;
                }
                Record::Gap(gap) => {
                    prop_assert_eq!((gap.flags, gap.strength), (0, GapStrength::Proved as u8));
                    missing.extend(gap.first_id..=gap.last_id);
                }
            }
        }
        // A loss at the very end shows by nothing.
        let shown: BTreeSet<u64> = lost.into_iter().filter(|id| *id < at).collect();
        prop_assert_eq!(missing, shown);
        let id = |(_, record): &(u32, Record)| match record {
            Record::Trade(msg) => Some(msg.trade_id),
            Record::Gap(_) => None,
        };
        let delivered: BTreeSet<u64> = out.iter().filter_map(id).collect();
        let wanted: BTreeSet<u64> = rows.iter().filter(|row| row.2 != 0).map(|row| row.0).chain([1]).collect();
        prop_assert_eq!(delivered, wanted);
        prop_assert!(at <= end);
    }
}
