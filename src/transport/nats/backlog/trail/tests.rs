//! What is declared of a route once something on disk was lost, and what is not.

use super::*;
use crate::market::TradeMsg;

fn trade_with(id: u64, ts: u64, flags: u8) -> Record {
    Record::Trade(TradeMsg { trade_id: id, ts_event: ts, flags, kind: 1, ..bytemuck::Zeroable::zeroed() })
}

fn trade(id: u64) -> Record {
    trade_with(id, id * 10, 0)
}

fn gap(first_id: u64, last_id: u64, flags: u8) -> GapMsg {
    GapMsg {
        ts_start: first_id * 10,
        ts_end: last_id * 10,
        first_id,
        last_id,
        missing: last_id - first_id + 1,
        strength: GapStrength::Proved as u8,
        flags,
        kind: KIND_GAP_V1,
        ..bytemuck::Zeroable::zeroed()
    }
}

/// Lets records through; what was declared in front of them: strength, first and last id.
fn go(trails: &mut Trails, records: &[Record]) -> Vec<(u8, u64, u64)> {
    let mut said = Vec::new();
    for record in records {
        let gaps = trails.missing(0, record);
        said.extend(gaps.iter().map(|gap| (gap.strength, gap.first_id, gap.last_id)));
        for gap in gaps {
            assert!(gap.ts_start <= gap.ts_end && (gap.first_id == 0 || gap.strength > 1 || gap.is_exact()), "{gap:?}");
        }
        trails.pass(0, record);
    }
    said
}

fn torn_behind(records: &[Record]) -> Trails {
    let mut trails = Trails::new(2);
    assert_eq!(go(&mut trails, records), []);
    trails.tear();
    trails
}

#[test]
fn ids_that_do_not_follow_behind_damage_are_declared_once() {
    let mut trails = torn_behind(&[trade(998), trade(999)]);
    assert_eq!(go(&mut trails, &[trade(2_001), trade(2_002), trade(2_010)]), [(1, 1_000, 2_000)]);
}

#[test]
fn whole_instruments_are_left_in_peace() {
    let mut trails = torn_behind(&[trade(9)]);
    assert_eq!(go(&mut trails, &[trade(10), trade(20)]), []);
    let mut whole = Trails::new(1);
    assert_eq!(go(&mut whole, &[trade(5), trade(50), Record::Gap(gap(7, 9, 0)), trade(3)]), []);
}

#[test]
fn what_a_gap_in_line_or_the_stream_has_declared_is_not_declared_again() {
    let mut trails = torn_behind(&[trade(9)]);
    assert_eq!(go(&mut trails, &[Record::Gap(gap(10, 19, 0)), trade(20)]), []);
    let mut trails = torn_behind(&[trade(9), Record::Gap(gap(10, 19, 0))]);
    assert_eq!(go(&mut trails, &[trade(20)]), []);
    let mut trails = torn_behind(&[trade(9)]);
    assert_eq!(go(&mut trails, &[Record::Gap(gap(15, 19, 0)), trade(25)]), [(1, 10, 14), (1, 20, 24)]);
    let mut trails = torn_behind(&[trade(9)]);
    trails.told(0, &gap(12, 15, 0));
    trails.told(0, &gap(18, 40, 0));
    assert_eq!(go(&mut trails, &[trade(41)]), [(1, 10, 11), (1, 16, 17)]);
}

#[test]
fn where_nothing_can_be_said_a_loss_is_possible() {
    let mut trails = torn_behind(&[]);
    assert_eq!(go(&mut trails, &[trade(20), trade(30)]), [(3, 0, 0)]);
    // A venue that counts anew.
    let mut trails = torn_behind(&[trade(1_000)]);
    assert_eq!(go(&mut trails, &[trade_with(5, 20_000, 0), trade_with(6, 20_001, 0)]), [(3, 0, 0)]);
    let mut trails = torn_behind(&[trade_with(7, 5, Flags::HASHED_ID)]);
    assert_eq!(go(&mut trails, &[trade_with(9, 6, Flags::HASHED_ID)]), [(3, 0, 0)]);
}

#[test]
fn what_proves_nothing_is_not_fetched() {
    let mut trails = torn_behind(&[trade(9)]);
    assert_eq!(go(&mut trails, &[trade_with(15, 150, Flags::AGGREGATED)]), [(2, 10, 14)]);
}

#[test]
fn late_trades_neither_tell_nor_hide_a_loss() {
    let late = |id| trade_with(id, id * 10, Flags::BACKFILLED);
    let mut trails = torn_behind(&[trade(9), late(10)]);
    assert_eq!(go(&mut trails, &[late(5), trade(20)]), [(1, 11, 19)]);
    let mut trails = torn_behind(&[trade(9)]);
    assert_eq!(go(&mut trails, &[late(15), trade(20)]), [(2, 10, 14), (1, 16, 19)]);
}

#[test]
fn behind_damage_nothing_from_disk_is_called_filled_that_stood_before_it() {
    let filled = |first, last| Record::Gap(gap(first, last, Flags::BACKFILLED));
    let mut trails = torn_behind(&[trade(9)]);
    assert!(!trails.believes(0, &filled(3, 5)));
    assert_eq!(go(&mut trails, &[trade(20), Record::Gap(gap(21, 25, 0)), trade(26)]), [(1, 10, 19)]);
    assert!(!trails.believes(0, &filled(3, 5)) && trails.believes(0, &filled(21, 25)));
}

#[test]
fn what_the_stream_holds_is_where_a_route_goes_on() {
    let mut trails = Trails::new(1);
    trails.begin(0, (100, 1_000));
    trails.tear();
    assert_eq!(go(&mut trails, &[trade(90), trade(105)]), [(1, 101, 104)]);
    trails.begin(0, (1, 1));
    trails.tear();
    assert_eq!(go(&mut trails, &[trade(106)]), []);
}
