//! Trades whose venue time cannot be right: the receive time stands in, another one on each line.

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// When all of a burst was traded.
const AT: u64 = 1_700_000_000 * SECOND;

/// As a line brings it that is so far behind the venue.
fn good(id: u64, at: u64, lag: u64) -> TradeMsg {
    TradeMsg { ts_event: at, ts_recv: at + lag, ..trade(id) }
}

/// The same of a trade whose time cannot be right.
fn stamped(id: u64, at: u64, lag: u64) -> TradeMsg {
    TradeMsg { ts_event: at + lag, ..good(id, at, lag) }
}

fn take(sequencer: &mut Sequencer, now: Instant, trades: impl IntoIterator<Item = TradeMsg>) -> String {
    let mut out = Out::new();
    trades.into_iter().for_each(|msg| sequencer.trade(now, 0, msg, &mut out));
    said(&out)
}

fn listed(ids: impl IntoIterator<Item = u64>) -> String {
    ids.into_iter().map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn copies_with_a_later_stamp_are_no_new_count() {
    let wrong: [fn(u64) -> bool; 4] = [|id| id <= 85, |id| id % 5 == 0, |id| id > 50, |_| true];
    for (case, wrong) in wrong.into_iter().enumerate() {
        let (mut sequencer, now) = (contiguous(), clock::now());
        (0..2).for_each(|line| sequencer.connected(line));
        let of = |id, lag| if wrong(id) { stamped(id, AT, lag) } else { good(id, AT, lag) };
        assert_eq!(take(&mut sequencer, now, (1..=100).map(|id| of(id, 2 * MS))), listed(1..=100));
        // The other line is slower, and a third one again.
        for lag in [7 * MS, 3 * SECOND] {
            assert_eq!(take(&mut sequencer, now, (1..=100).map(|id| of(id, lag))), "", "case {case}");
        }
        let stats = sequencer.stats();
        assert_eq!((stats.restarts, stats.duplicates, stats.gaps), (0, 200, 0), "case {case}");
        assert_eq!(take(&mut sequencer, now, [of(101, MS), of(100, 9 * MS), of(102, MS)]), "101 102");
    }
}

#[test]
fn true_times_are_no_new_count_where_our_clock_is_behind_the_venues() {
    let (mut sequencer, now) = (contiguous(), clock::now());
    let early = |id| TradeMsg { ts_event: AT - 100 * MS, ts_recv: AT - 100 * MS, ..trade(id) };
    take(&mut sequencer, now, (1..=100).map(early));
    // Only the first line has the wrong times.
    let right = |id| TradeMsg { ts_event: AT, ts_recv: AT - 95 * MS, ..trade(id) };
    assert_eq!(take(&mut sequencer, now, (1..=100).map(right)), "");
    assert_eq!(sequencer.stats().restarts, 0);
    // Nor behind what an earlier run has stored with such a time.
    let mut sequencer = contiguous();
    sequencer.anchor(0, &early(100), &mut Out::new());
    assert_eq!(take(&mut sequencer, now, (1..=100).map(right)), "");
}

#[test]
fn a_new_count_is_proved_by_the_times_that_are_right_and_misses_none_unsaid() {
    let (mut sequencer, now) = (contiguous(), clock::now());
    take(&mut sequencer, now, (900..=1_000).map(|id| stamped(id, AT, MS)));
    let later = AT + 3_600 * SECOND;
    let of = |id| if id % 4 == 3 { stamped(id, later, MS) } else { good(id, later + id, MS) };
    let text = take(&mut sequencer, now, (1..=12).map(of));
    assert_eq!(text, "gap 0-0 1 2 gap 3-3 4! 5 6 gap 7-7 8! 9 10 11 12");
    assert_eq!(sequencer.stats().restarts, 1);
    assert_eq!(take(&mut sequencer, now, [of(3), of(7), of(13)]), "3 filled 3-3 7 filled 7-7 13");
}

#[test]
fn a_stamp_does_not_bring_a_slower_lines_end_of_the_old_count_into_the_new_one() {
    let (mut sequencer, now) = (contiguous(), clock::now());
    take(&mut sequencer, now, (900..=950).map(|id| good(id, AT, MS)));
    let later = AT + 3_600 * SECOND;
    take(&mut sequencer, now, (1..=10).map(|id| good(id, later + id, MS)));
    assert_eq!(take(&mut sequencer, now, (940..=960).map(|id| stamped(id, later, SECOND))), "");
    // One that follows is in order, whatever its time; one that does not is believed once no line can be so slow.
    assert_eq!(take(&mut sequencer, now, [stamped(11, later, SECOND), stamped(14, later, SECOND)]), "11");
    assert_eq!(take(&mut sequencer, now, [stamped(14, later, 60 * SECOND)]), "gap 12-13 14!");
}

#[test]
fn a_new_count_without_any_time_is_not_delivered_and_is_declared_while_it_lasts() {
    let (mut sequencer, start) = (contiguous(), clock::now());
    take(&mut sequencer, start, (900..=1_000).map(|id| stamped(id, AT, MS)));
    let mut out = Out::new();
    for id in 1..=25 {
        let now = start + Duration::from_secs(id);
        sequencer.trade(now, 0, stamped(id, AT + id * SECOND, MS), &mut out);
    }
    let gaps: Vec<GapMsg> =
        out.iter().filter_map(|(_, r)| if let Record::Gap(gap) = r { Some(*gap) } else { None }).collect();
    assert_eq!((said(&out).as_str(), sequencer.stats().restarts), ("gap 0-0 gap 0-0", 0));
    assert!(gaps.iter().all(|gap| gap.strength == GapStrength::Possible as u8 && gap.ts_start == AT + MS));
    assert_eq!(gaps.iter().map(|gap| gap.ts_end).collect::<Vec<_>>(), [11, 21].map(|id| AT + id * SECOND + MS));
    // Where times are right again it proves itself, from there on.
    let later = AT + 3_600 * SECOND;
    let text = take(&mut sequencer, start, (26..=40).map(|id| good(id, later + id, MS)));
    assert_eq!(text, format!("gap 0-0 {}", listed(26..=40)));
}

#[test]
fn a_short_old_count_that_is_passed_at_once_shows_by_what_was_traded_under_its_ids() {
    let (mut sequencer, now) = (contiguous(), clock::now());
    take(&mut sequencer, now, (1..=50).map(|id| stamped(id, AT, MS)));
    let other = |id| TradeMsg { price: 5, ..stamped(id, AT + SECOND, MS) };
    assert_eq!(take(&mut sequencer, now, (1..=51).map(other)), "gap 0-0 51");
}
