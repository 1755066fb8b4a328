//! Declared gaps: what fills them, what is left of them, and how long they are remembered.

use super::*;

fn gap_of(first_id: u64, last_id: u64) -> GapMsg {
    let missing = last_id - first_id + 1;
    let strength = GapStrength::Proved as u8;
    GapMsg { first_id, last_id, missing, strength, instrument_id: 9, kind: KIND_GAP_V1, ..bytemuck::Zeroable::zeroed() }
}

#[test]
fn what_nobody_misses_is_not_taken() {
    let mut sequencer = contiguous();
    let mut out = Out::new();
    assert!(!sequencer.fill(0, trade(3), &mut out), "nothing is known of the symbol");
    feed(&mut sequencer, &[1, 5]);
    assert!(sequencer.is_open(0, &gap_of(2, 4)) && !sequencer.is_filled(0, &gap_of(2, 4)));
    assert!(!sequencer.fill(0, trade(1), &mut out) && !sequencer.fill(0, trade(5), &mut out));
    assert!(!sequencer.fill(0, trade(6), &mut out), "the feed brings it");
    assert!(sequencer.fill(0, trade(3), &mut out) && !sequencer.fill(0, trade(3), &mut out));
    assert!(sequencer.is_open(0, &gap_of(2, 4)));
    assert!(sequencer.fill(0, trade(4), &mut out) && sequencer.fill(0, trade(2), &mut out));
    assert_eq!(said(&out), "3 4 2 filled 2-4");
    assert!(!sequencer.is_open(0, &gap_of(2, 4)) && sequencer.is_filled(0, &gap_of(2, 4)));
    assert_eq!((sequencer.stats().late, sequencer.stats().filled), (3, 1));
}

#[test]
fn a_gap_of_an_earlier_run_is_opened_without_what_has_come_since() {
    let mut sequencer = contiguous();
    let mut out = Out::new();
    sequencer.anchor(0, &trade(20), &mut out);
    assert_eq!(sequencer.reopen(0, gap_of(5, 10), &[(6, 7), (10, 12)]), 3);
    assert!(sequencer.is_open(0, &gap_of(5, 10)));
    assert_eq!(feed(&mut sequencer, &[21, 6, 10, 8, 5, 9, 22]), "21 8 5 9 filled 5-10 22");
    assert_eq!(sequencer.reopen(0, gap_of(13, 14), &[(13, 14)]), 0);
    assert!(!sequencer.is_open(0, &gap_of(13, 14)), "nothing is left of it");
    assert!(out.is_empty());
}

#[test]
fn a_gap_that_is_forgotten_among_many_is_not_called_filled() {
    let mut sequencer = contiguous();
    let ids: Vec<u64> = (0..=HOLES_MAX as u64 + 1).map(|number| 1 + 2 * number).collect();
    feed(&mut sequencer, &ids);
    let first = gap_of(2, 2);
    assert!(!sequencer.is_open(0, &first) && !sequencer.is_filled(0, &first));
    assert_eq!(feed(&mut sequencer, &[2, 4]), "4 filled 4-4");
}

#[test]
fn what_was_taken_and_never_delivered_counts_as_not_seen() {
    let mut sequencer = contiguous();
    feed(&mut sequencer, &[1, 2, 3, 4]);
    sequencer.rewind(0, 2, 2_000);
    assert_eq!(sequencer.last(0), Some((2, 2_000)));
    sequencer.disconnected(0, GapReason::VenueDisconnect);
    assert_eq!(feed(&mut sequencer, &[5]), "gap 3-4 5!");
}
