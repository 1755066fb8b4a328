//! Rows that stand for several fills, and ids that are far away from all others.

use super::*;

fn row(id: u64) -> TradeMsg {
    TradeMsg { flags: Flags::AGGREGATED, ..trade(id) }
}

/// Feeds rows by last id and number of fills.
fn rows(sequencer: &mut Sequencer, rows: &[(u64, u32)]) -> String {
    let (mut out, now) = (Out::new(), clock::now());
    rows.iter().for_each(|(id, span)| sequencer.row(now, 0, row(*id), *span, &mut out));
    said(&out)
}

#[test]
fn rows_of_several_fills_follow_each_other_by_their_first_ids() {
    let mut sequencer = contiguous();
    assert_eq!(rows(&mut sequencer, &[(5, 1), (8, 3), (9, 1), (14, 5)]), "5 8 9 14");
    assert_eq!((sequencer.stats().gaps, sequencer.stats().duplicates), (0, 0));
}

#[test]
fn a_venue_that_counts_rows_and_not_fills_is_whole_too() {
    assert_eq!(rows(&mut contiguous(), &[(5, 1), (6, 3), (7, 1), (8, 4)]), "5 6 7 8");
}

#[test]
fn a_hole_in_front_of_a_row_ends_at_its_first_fill() {
    let mut sequencer = contiguous();
    assert_eq!(rows(&mut sequencer, &[(5, 1), (10, 3)]), "5 gap 6-7 10!");
    assert_eq!(sequencer.stats().missing, 2);
    // The two are repaired from single fills.
    let mut out = Out::new();
    assert!(sequencer.fill(0, trade(7), &mut out) && sequencer.fill(0, trade(6), &mut out));
    assert_eq!(said(&out), "7 6 filled 6-7");
}

#[test]
fn the_fills_of_a_partly_known_row_that_are_not_known_become_a_hole() {
    let mut sequencer = contiguous();
    // The row of 4 to 8, of which 4 and 5 came before: it cannot be delivered, they would count twice.
    assert_eq!(rows(&mut sequencer, &[(3, 1), (5, 2), (8, 5), (9, 1)]), "3 5 gap 6-8 9!");
    let mut out = Out::new();
    (6..=8).for_each(|id| assert!(sequencer.fill(0, trade(id), &mut out)));
    assert_eq!(said(&out), "6 7 8 filled 6-8");
}

#[test]
fn during_an_overlap_a_partly_known_row_waits_for_what_another_line_makes_of_it() {
    let mut sequencer = contiguous();
    sequencer.set_overlap(0, true);
    assert_eq!(rows(&mut sequencer, &[(5, 1), (8, 4), (8, 3), (9, 1)]), "5 8 9");
    assert_eq!((sequencer.stats().gaps, sequencer.holding()), (0, false));
}

#[test]
fn a_late_row_lands_where_all_of_it_is_missing_and_nowhere_else() {
    let mut sequencer = contiguous();
    assert_eq!(rows(&mut sequencer, &[(5, 1), (20, 1), (12, 3)]), "5 gap 6-19 20! 12");
    // Partly there, or partly outside of the hole: its single fills are left to the venue's history.
    assert_eq!(rows(&mut sequencer, &[(13, 2), (6, 2), (12, 3)]), "");
    assert_eq!(rows(&mut sequencer, &[(9, 4), (19, 7)]), "9 19 filled 6-19");
}

#[test]
fn an_absurd_id_is_put_aside_and_declared_without_it() {
    let mut sequencer = contiguous();
    let far = 3 * LEAP_MIN;
    assert_eq!(feed(&mut sequencer, &[1, 2, far, 3, 4]), "1 2 3 gap 0-0 4");
    assert_eq!((sequencer.stats().absurd, sequencer.stats().gaps), (1, 1));
    // Two of them that do not stand beside each other are two.
    assert_eq!(feed(&mut sequencer, &[far, 2 * far, 5]), "gap 0-0 5 gap 0-0");
    // One behind which nothing comes is declared at the end.
    let mut out = Out::new();
    feed(&mut sequencer, &[far]);
    sequencer.finish(&mut out);
    assert_eq!(said(&out), "gap 0-0");
    assert_eq!(sequencer.stats().absurd, 4);
}

#[test]
fn a_real_jump_is_believed_once_its_successor_is_there() {
    let mut sequencer = contiguous();
    let far = 3 * LEAP_MIN;
    let said = feed(&mut sequencer, &[1, far, far, far + 1, far + 2]);
    assert_eq!(said, format!("1 gap 2-{} {far}! {} {}", far - 1, far + 1, far + 2));
    assert_eq!(sequencer.stats().absurd, 0);
}

#[test]
fn what_waits_behind_a_hole_is_delivered_in_front_of_a_jump() {
    let mut sequencer = contiguous();
    sequencer.set_overlap(0, true);
    let far = 3 * LEAP_MIN;
    let said = feed(&mut sequencer, &[1, 3, 4, far, far + 1]);
    assert_eq!(said, format!("1 gap 2-2 3! 4 gap 5-{} {far}! {}", far - 1, far + 1));
}
