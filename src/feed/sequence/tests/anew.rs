//! A venue that begins to count anew, over one line and over several.

use super::*;

/// Where the new count's times begin: behind those of all ids of the old one.
const NEW: u64 = 5_000_000;

fn new(id: u64) -> TradeMsg {
    TradeMsg { ts_event: NEW + id * 1_000, ..trade(id) }
}

fn take(sequencer: &mut Sequencer, trades: impl IntoIterator<Item = TradeMsg>) -> String {
    let (mut out, now) = (Out::new(), clock::now());
    trades.into_iter().for_each(|msg| sequencer.trade(now, 0, msg, &mut out));
    said(&out)
}

fn old(sequencer: &mut Sequencer) {
    take(sequencer, (900..=1_000).map(trade));
}

#[test]
fn the_whole_new_count_is_delivered_behind_one_possible_gap() {
    let mut sequencer = contiguous();
    old(&mut sequencer);
    assert_eq!(take(&mut sequencer, (1..=12).map(new)), "gap 0-0 1 2 3 4 5 6 7 8 9 10 11 12");
    let stats = sequencer.stats();
    assert_eq!((stats.restarts, stats.duplicates, stats.gaps), (1, 0, 1));
    // The new count is a count like any other, also where it comes to ids of the old one.
    assert_eq!(take(&mut sequencer, [14, 13].map(new)), "gap 13-13 14! 13 filled 13-13");
    take(&mut sequencer, (15..=899).map(new));
    assert_eq!(take(&mut sequencer, (900..=902).map(new)), "900 901 902");
    assert_eq!(sequencer.stats().restarts, 1);
}

#[test]
fn its_first_trades_may_have_the_very_time_of_the_last_old_one() {
    let mut sequencer = contiguous();
    old(&mut sequencer);
    let at = |id: u64| TradeMsg { ts_event: if id < 4 { 1_000_000 } else { NEW + id }, ..trade(id) };
    assert_eq!(take(&mut sequencer, (1..=11).map(at)), "gap 0-0 1 2 3 4 5 6 7 8 9 10 11");
}

#[test]
fn a_hole_in_its_first_trades_is_declared() {
    let mut sequencer = contiguous();
    old(&mut sequencer);
    let ids = [1, 2, 3, 6, 7, 8, 9, 10, 11];
    assert_eq!(take(&mut sequencer, ids.map(new)), "gap 0-0 1 2 3 gap 4-5 6! 7 8 9 10 11");
}

#[test]
fn two_lines_may_bring_it_in_any_pace_and_nothing_is_lost_or_doubled() {
    let expected = format!("gap 0-0 {}", (1..=40).map(|id| id.to_string()).collect::<Vec<_>>().join(" "));
    for lag in 1..=39 {
        let mut sequencer = contiguous();
        (0..2).for_each(|line| sequencer.connected(line));
        old(&mut sequencer);
        let tape: Vec<TradeMsg> = (981..=1_000).map(trade).chain((1..=40).map(new)).collect();
        // The second line is behind, first by as many trades, then by batches of as many.
        let mut arrivals = Vec::new();
        for (at, msg) in tape.iter().enumerate() {
            arrivals.push(*msg);
            if at >= lag {
                arrivals.push(tape[at - lag]);
            }
        }
        arrivals.extend(&tape[tape.len() - lag..]);
        assert_eq!(take(&mut sequencer, arrivals), expected, "behind by {lag}");
        let mut sequencer = contiguous();
        (0..2).for_each(|line| sequencer.connected(line));
        old(&mut sequencer);
        let batches = tape.chunks(lag).flat_map(|batch| batch.iter().chain(batch).copied());
        assert_eq!(take(&mut sequencer, batches), expected, "in batches of {lag}");
    }
}

#[test]
fn a_slower_line_that_ends_the_old_count_disturbs_nothing() {
    let mut sequencer = contiguous();
    (0..2).for_each(|line| sequencer.connected(line));
    take(&mut sequencer, (900..=950).map(trade));
    // The first line has lost the end of the old count; the second still brings it, between the trades of the new one.
    let mixed = (951..=960).map(trade).zip((1..=10).map(new)).flat_map(|(old, new)| [new, old]);
    let text = take(&mut sequencer, mixed);
    assert!(text.starts_with("951 952") && text.ends_with("1 2 3 4 5 6 7 8 9 10"), "{text}");
    assert_eq!(sequencer.stats().restarts, 1);
    assert_eq!(take(&mut sequencer, (961..=999).map(trade).chain((11..=13).map(new))), "11 12 13");
}

#[test]
fn what_waited_behind_a_hole_of_the_old_count_goes_out_in_front() {
    let mut sequencer = contiguous();
    (0..2).for_each(|line| sequencer.connected(line));
    old(&mut sequencer);
    sequencer.last_trade(clock::now(), 0, 1_005, 1_005_000);
    let text = take(&mut sequencer, [1_002, 1_003].map(trade).into_iter().chain((1..=9).map(new)));
    assert_eq!(text, "gap 1001-1001 1002! 1003 gap 0-0 1 2 3 4 5 6 7 8 9");
    // Neither what was held nor what the venue said of the old count comes back.
    let mut out = Out::new();
    sequencer.expire(clock::now() + Duration::from_secs(60), &mut out);
    assert_eq!(said(&out), "");
    let hole = GapMsg { first_id: 1_001, last_id: 1_001, ..bytemuck::Zeroable::zeroed() };
    assert!(!sequencer.is_open(0, &hole) && !sequencer.is_filled(0, &hole));
}

#[test]
fn copies_of_old_trades_are_no_new_count_even_if_a_time_was_wrong() {
    for wrong in [0, u64::MAX / 2] {
        let mut sequencer = contiguous();
        take(&mut sequencer, (1..=100).map(trade));
        assert_eq!(take(&mut sequencer, [TradeMsg { ts_event: wrong, ..trade(101) }]), "101");
        assert_eq!(take(&mut sequencer, (1..=100).chain(1..=100).map(trade)), "", "behind a time of {wrong}");
        assert_eq!(sequencer.stats().restarts, 0);
    }
    // And a wrong time does not hide a new count.
    let mut sequencer = contiguous();
    old(&mut sequencer);
    take(&mut sequencer, [TradeMsg { ts_event: u64::MAX / 2, ..trade(1_001) }]);
    assert_eq!(take(&mut sequencer, (1..=9).map(new)), "gap 0-0 1 2 3 4 5 6 7 8 9");
}
