//! What an audit says of whole sequences, and of each kind of damage.

mod damage;

use super::*;

pub(super) const ID: u32 = 9;

pub(super) fn trade(id: u64) -> TradeMsg {
    let ts = id * 1_000;
    TradeMsg {
        trade_id: id,
        ts_event: ts,
        ts_recv: ts + 5,
        price: 100 + id as i64,
        size: 7,
        price_scale: 2,
        instrument_id: ID,
        flags: 1,
        kind: 1,
        ..bytemuck::Zeroable::zeroed()
    }
}

fn flagged(id: u64, flags: u8) -> TradeMsg {
    TradeMsg { flags: 1 | flags, ..trade(id) }
}

pub(super) fn gap(first_id: u64, last_id: u64, flags: u8) -> Record {
    let missing = if first_id == 0 { 0 } else { last_id - first_id + 1 };
    let (ts_start, ts_end) = (first_id * 1_000, last_id * 1_000);
    let rest = GapMsg { strength: 1, reason: 1, flags, kind: 2, ..bytemuck::Zeroable::zeroed() };
    Record::Gap(GapMsg { ts_start, ts_end, first_id, last_id, missing, instrument_id: ID, ..rest })
}

fn backfilled(id: u64) -> Record {
    Record::Trade(flagged(id, Flags::BACKFILLED))
}

fn of(ids: &[u64]) -> Vec<Record> {
    ids.iter().map(|id| Record::Trade(trade(*id))).collect()
}

fn audited_by(rule: IdRule, records: &[Record]) -> Report {
    let mut audit = Audit::new(rule, ID);
    for (at, record) in (1..).zip(records) {
        audit.record(at, record);
    }
    audit.finish()
}

pub(super) fn audited(records: &[Record]) -> Report {
    audited_by(IdRule::Contiguous, records)
}

/// `double 1, silent 3`: all counts that are not zero.
fn said(report: &Report) -> String {
    let count = |class: Class| (report.count(class) > 0).then(|| format!("{class} {}", report.count(class)));
    Class::ALL.into_iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_whole_sequence_is_whole() {
    let report = audited(&of(&[5, 6, 7, 8]));
    assert_eq!(said(&report), "");
    assert!(report.is_whole(false) && report.findings.is_empty());
    assert_eq!(report.trades, 4);
    assert_eq!(report.first, Some(Mark { at: 1, id: 5, ts: 5_000 }));
    assert_eq!(report.last, Some(Mark { at: 4, id: 8, ts: 8_000 }));
    assert_eq!(audited(&[]), Report::default());
}

#[test]
fn each_damage_is_told_by_its_name_its_ids_and_its_place() {
    let report = audited(&of(&[1, 2, 2, 5, 4, 9]));
    assert_eq!(said(&report), "double 1, order 1, silent 4");
    let found: Vec<(Class, u64, u64, u64)> =
        report.findings.iter().map(|f| (f.class, f.at, f.first_id, f.last_id)).collect();
    assert_eq!(
        found,
        [(Class::Double, 3, 2, 2), (Class::Order, 5, 4, 4), (Class::Silent, 4, 3, 3), (Class::Silent, 6, 6, 8),]
    );
    assert_eq!(report.findings[0].detail, "as at 2");
    assert!(report.findings[3].detail.contains("3 missing, declared by nothing"));
}

#[test]
fn the_same_id_with_another_payload_is_a_conflict() {
    let changes: [fn(&mut TradeMsg); 5] = [
        |trade| trade.price += 1,
        |trade| trade.size += 1,
        |trade| trade.price_scale += 1,
        |trade| trade.size_scale += 1,
        |trade| trade.flags = 2,
    ];
    for change in changes {
        let mut other = trade(2);
        change(&mut other);
        let report = audited(&[of(&[1, 2, 3]), vec![Record::Trade(other)]].concat());
        assert_eq!(said(&report), "conflict 1");
        assert!(report.findings[0].detail.contains("1.02 x 7 buy at 2"), "{:?}", report.findings);
    }
    let same = TradeMsg { ts_recv: 99_999, flags: 1 | Flags::BACKFILLED | Flags::AFTER_GAP, ..trade(2) };
    assert_eq!(said(&audited(&[of(&[1, 2, 3]), vec![Record::Trade(same)]].concat())), "double 1");
}

#[test]
fn what_a_gap_declares_is_no_silent_loss() {
    let behind = Record::Trade(flagged(6, Flags::AFTER_GAP));
    let declared = [of(&[1, 2]), vec![gap(3, 5, 0), behind], of(&[7])].concat();
    let report = audited(&declared);
    assert_eq!(said(&report), "declared 3");
    assert!(!report.is_whole(false) && report.is_whole(true));
    // The gap may come behind the trade that shows the hole, and may tell of a part only.
    let part = [of(&[1, 2, 6, 7]), vec![gap(3, 4, 0)]].concat();
    assert_eq!(said(&audited(&part)), "silent 1, declared 2");
    // A loss at the end shows by nothing but its gap; so does one in front of what is read.
    assert_eq!(said(&audited(&[of(&[1, 2]), vec![gap(3, 5, 0)]].concat())), "declared 3");
    assert_eq!(said(&audited(&[vec![gap(3, 5, 0)], of(&[6, 7])].concat())), "declared 3");
    assert_eq!(said(&audited(&[gap(3, 5, 0)])), "declared 3");
}

#[test]
fn a_gap_without_ids_is_a_possible_loss() {
    for rule in [IdRule::Contiguous, IdRule::Increasing, IdRule::Unique] {
        let report = audited_by(rule, &[of(&[1, 2]), vec![gap(0, 0, 0)], of(&[3])].concat());
        assert_eq!(said(&report), "possible 1");
        assert!(!report.is_whole(false) && report.is_whole(true));
        let filled = [of(&[1, 2]), vec![gap(0, 0, Flags::BACKFILLED)], of(&[3])].concat();
        assert_eq!(said(&audited_by(rule, &filled)), "");
    }
}

#[test]
fn a_filled_gap_is_whole_and_a_gap_that_is_said_to_be_filled_and_is_not_is_told() {
    let start = [of(&[1, 2]), vec![gap(3, 5, 0)], of(&[6, 7])].concat();
    let filled = [start.clone(), vec![backfilled(3), backfilled(4), backfilled(5), gap(3, 5, Flags::BACKFILLED)]];
    assert_eq!(said(&audited(&filled.concat())), "late 3");
    assert!(audited(&filled.concat()).is_whole(false));
    let not = [start, vec![backfilled(4), gap(3, 5, Flags::BACKFILLED)]].concat();
    assert_eq!(said(&audited(&not)), "unfilled 2, late 1");
}

#[test]
fn a_live_trade_inside_a_gap_that_was_declared_before_it_is_late_and_no_disorder() {
    let start = [of(&[1, 2]), vec![gap(3, 5, 0)], of(&[6, 7])].concat();
    let report = audited(&[start.clone(), of(&[3, 4, 5])].concat());
    assert_eq!(said(&report), "late 3");
    assert!(report.is_whole(false));
    assert!(report.findings[0].detail.contains("a gap that was declared before it"), "{:?}", report.findings);
    // Of what the gap speaks of, something is still missing; and a live trade comes beside a fetched one.
    let part = [start.clone(), of(&[4])].concat();
    assert_eq!(said(&audited(&part)), "declared 2, late 1");
    let both = [start.clone(), vec![backfilled(3)], of(&[5, 4]), vec![gap(3, 5, Flags::BACKFILLED)]].concat();
    assert_eq!(said(&audited(&both)), "late 3");
    // Once is enough.
    assert_eq!(said(&audited(&[start, of(&[3, 3, 4, 5])].concat())), "double 1, late 3");
    // The gap has to stand before it, and to speak of it.
    assert_eq!(said(&audited(&[of(&[1, 2, 6, 3]), vec![gap(3, 5, 0)]].concat())), "order 1, declared 2");
    let other = [of(&[1, 2]), vec![gap(3, 4, 0)], of(&[6, 5])].concat();
    assert_eq!(said(&audited(&other)), "order 1, declared 2");
    // In front of the first trade that is there.
    assert_eq!(said(&audited(&[vec![gap(3, 5, 0)], of(&[6, 3])].concat())), "declared 2, late 1");
}

#[test]
fn backfilled_trades_below_the_beginning_promise_nothing() {
    // Reading begins in the middle of a backfill.
    let records = [vec![backfilled(8), backfilled(9), gap(4, 9, Flags::BACKFILLED)], of(&[12, 13])].concat();
    assert_eq!(said(&audited(&records)), "");
    // What they bring counts when live ids reach it.
    let records = [vec![backfilled(8), backfilled(9)], of(&[5]), of(&[11])].concat();
    assert_eq!(said(&audited(&records)), "silent 3");
    assert_eq!(said(&audited(&[of(&[5]), vec![backfilled(2), backfilled(2)]].concat())), "double 1, late 1");
    // A recording of nothing else is what there is.
    assert_eq!(said(&audited(&[backfilled(3), backfilled(6)])), "silent 2");
}

#[test]
fn in_front_of_an_aggregated_row_nothing_is_proved() {
    let row = |id| vec![Record::Trade(flagged(id, Flags::AGGREGATED))];
    let report = audited(&[of(&[1]), row(5), of(&[6]), row(7), of(&[9])].concat());
    assert_eq!(said(&report), "silent 1, unprovable 3");
    assert_eq!(said(&audited(&[of(&[1]), vec![gap(3, 4, 0)], row(5)].concat())), "declared 2, unprovable 1");
    let backfill = vec![Record::Trade(flagged(4, Flags::AGGREGATED | Flags::BACKFILLED))];
    assert_eq!(said(&audited(&[of(&[1, 6]), backfill].concat())), "silent 1, late 1, unprovable 2");
}

#[test]
fn a_late_row_of_several_fills_fills_its_gap_together_with_single_ones() {
    let start = [of(&[1]), vec![gap(2, 9, 0)], of(&[10])].concat();
    let row = vec![Record::Trade(flagged(6, Flags::AGGREGATED | Flags::BACKFILLED))];
    // The row is of 4, 5 and 6.
    let rest = [2, 3, 7, 8, 9].map(backfilled).to_vec();
    let filled = vec![gap(2, 9, Flags::BACKFILLED)];
    let whole = audited(&[start.clone(), row.clone(), rest, filled.clone()].concat());
    assert_eq!(said(&whole), "late 6, unprovable 2");
    assert!(whole.is_whole(false));
    // What lies behind the row, or in front of a single fill, is none of its.
    let less = [3, 8, 9].map(backfilled).to_vec();
    let report = audited(&[start, row, less, filled].concat());
    assert_eq!(said(&report), "unfilled 2, late 4, unprovable 2");
    assert!(!report.is_whole(true));
}

#[test]
fn a_venue_that_counts_anew_is_told_from_disorder() {
    let anew = |count: u64| {
        let later = |id| Record::Trade(TradeMsg { ts_event: 2_000_000 + id, ts_recv: 2_000_000, ..trade(id) });
        [of(&[999, 1_000]), (1..=count).map(later).collect()].concat()
    };
    let run = RESTART_RUN as u64;
    let report = audited(&anew(run));
    assert_eq!(said(&report), "restart 1");
    assert!(report.is_whole(false));
    assert_eq!((report.findings[0].at, report.findings[0].first_id), (3, 1));
    assert_eq!(said(&audited(&anew(run - 1))), format!("order {}, silent {}", run - 1, 998 - (run - 1)));
    assert_eq!(said(&audited(&anew(500))), "restart 1");
    // A hole within the new count, and a gap among the first of it.
    let mut holed = anew(20);
    holed.remove(2 + 15);
    holed.insert(5, gap(0, 0, 0));
    assert_eq!(said(&audited(&holed)), "silent 1, possible 1, restart 1");
    // The same ids with their own, earlier times: a replay.
    let replay: Vec<u64> = (1..=100).chain(1..=100).collect();
    assert_eq!(said(&audited(&of(&replay))), "double 100");
    let report = audited_by(IdRule::Increasing, &anew(run));
    assert_eq!(said(&report), "restart 1");
}

#[test]
fn a_block_that_comes_too_late_is_disorder_and_no_new_count() {
    let ids: Vec<u64> = (1..=10).chain(31..=50).chain(11..=30).chain(51..=60).collect();
    assert_eq!(said(&audited(&of(&ids))), "order 20");
}

#[test]
fn flags_and_times_that_do_not_fit_are_for_information() {
    let flagged = |id| Record::Trade(flagged(id, Flags::AFTER_GAP));
    assert_eq!(said(&audited(&[flagged(1), flagged(3), flagged(4)])), "silent 1, after_gap 1");
    let early = TradeMsg { ts_event: 1_500, ..trade(3) };
    let report = audited(&[of(&[1, 2]), vec![Record::Trade(early)], of(&[4])].concat());
    assert_eq!(said(&report), "time 1");
    assert!(report.is_whole(false));
    assert!(report.findings[0].detail.contains("500 ns before"), "{:?}", report.findings);
}

#[test]
fn values_that_cannot_be_are_bad() {
    let day = 86_400_000_000_000;
    let wrong: [(TradeMsg, &str, u64); 6] = [
        (TradeMsg { ts_event: 0, ..trade(2) }, "no time", 3),
        (TradeMsg { ts_event: day + 3_000, ts_recv: 2_000, ..trade(2) }, "more than a day", 3),
        (TradeMsg { price_scale: 19, ..trade(2) }, "scales 19 and 0", 3),
        (TradeMsg { size_scale: 200, ..trade(2) }, "scales 2 and 200", 3),
        (TradeMsg { instrument_id: 8, ..trade(2) }, "of instrument 8", 2),
        (TradeMsg { kind: 2, ..trade(2) }, "kind 2", 2),
    ];
    for (record, why, trades) in wrong {
        let report = audited(&[of(&[1]), vec![Record::Trade(record)], of(&[3])].concat());
        assert_eq!((report.count(Class::Bad), report.trades), (1, trades), "{why}");
        assert_eq!(report.count(Class::Silent), 3 - trades, "{why}");
        let bad = report.findings.iter().find(|finding| finding.class == Class::Bad).unwrap();
        assert!(bad.detail.contains(why) && bad.at == 2, "{bad:?}");
        assert!(!report.is_whole(true));
    }
    // Within a day, and without a receipt time, as in recordings of old.
    let fine = [TradeMsg { ts_event: day, ts_recv: 2_000, ..trade(2) }, TradeMsg { ts_recv: 0, ..trade(2) }];
    for record in fine {
        assert_eq!(audited(&[of(&[1]), vec![Record::Trade(record)]].concat()).count(Class::Bad), 0);
    }
    let wrong: [fn(&mut GapMsg); 4] =
        [|gap| gap.strength = 9, |gap| gap.reason = 0, |gap| gap.instrument_id = 1, |gap| gap.kind = 1];
    for change in wrong {
        let Record::Gap(mut gap) = gap(2, 2, 0) else { panic!() };
        change(&mut gap);
        let report = audited(&[of(&[1]), vec![Record::Gap(gap)], of(&[3])].concat());
        assert_eq!(said(&report), "silent 1, bad 1");
    }
    let mut audit = Audit::new(IdRule::Contiguous, ID);
    audit.bad(4, "5 bytes");
    assert_eq!(audit.finish().findings[0].detail, "5 bytes");
}

#[test]
fn ids_that_only_grow_prove_order_and_doubles_and_no_loss() {
    let report = audited_by(IdRule::Increasing, &of(&[3, 8, 8, 20, 9, 3, 21]));
    assert_eq!(said(&report), "double 2, order 1");
    assert_eq!((report.first.unwrap().id, report.last.unwrap().id), (3, 21));
    let gap = audited_by(IdRule::Increasing, &[of(&[3]), vec![gap(4, 6, 0)], of(&[9])].concat());
    assert_eq!(said(&gap), "declared 3");
    // A double of long ago cannot be told from disorder.
    let ids: Vec<u64> = (1..=RECENT_MAX as u64 + 2).map(|id| id * 2).chain([2]).collect();
    let report = audited_by(IdRule::Increasing, &of(&ids));
    assert_eq!(said(&report), "order 1");
    assert!(report.findings[0].detail.ends_with("or a double of long ago"), "{:?}", report.findings);
    let late = [of(&[3, 8]), vec![backfilled(5)], of(&[9])].concat();
    assert_eq!(said(&audited_by(IdRule::Increasing, &late)), "late 1");
}

#[test]
fn ids_without_order_prove_doubles_that_are_not_long_ago() {
    let shuffled = |id: u64| Record::Trade(TradeMsg { trade_id: id.wrapping_mul(0x9E37_79B9_7F4A_7C15), ..trade(id) });
    let max = RECENT_MAX as u64;
    let mut records: Vec<Record> = (1..=max + 1).map(shuffled).collect();
    records.extend([shuffled(2), shuffled(1)]);
    assert_eq!(said(&audited_by(IdRule::Unique, &records)), "double 1, time 1");
    // A hash is no number, whatever the venue promises of its numbers.
    let hashed = |id| Record::Trade(flagged(id, Flags::HASHED_ID));
    assert_eq!(said(&audited(&[hashed(900), hashed(5), hashed(5)])), "double 1, time 1");
}

#[test]
fn doubles_of_long_ago_are_known_and_not_compared() {
    let ids: Vec<u64> = (1..=3 * RECENT_MAX as u64).chain([1, 3 * RECENT_MAX as u64]).collect();
    let report = audited(&of(&ids));
    assert_eq!((said(&report).as_str(), report.uncompared), ("double 2", 1));
}

#[test]
fn the_list_is_bounded_and_the_counts_are_not() {
    let ids: Vec<u64> = (1..=500).map(|id| id * 2).collect();
    let report = audited(&of(&ids));
    assert_eq!((report.count(Class::Silent), report.findings.len()), (499, FINDINGS_MAX));
    assert_eq!(report.found(Class::Silent), 499);
}

#[test]
fn what_was_removed_while_it_was_read_is_no_proof() {
    let mut report = audited(&of(&[1, 4, 5, 7]));
    report.excuse_until(1);
    assert_eq!(said(&report), "silent 3");
    report.excuse_until(2);
    assert_eq!(said(&report), "silent 1, unprovable 2");
    assert_eq!((report.found(Class::Silent), report.found(Class::Unprovable)), (1, 1));
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_said() {
    let last = 4 * HOLES_MAX as u64 + 10;
    let mut audit = Audit::new(IdRule::Contiguous, ID);
    for id in (1..=last).filter(|id| id % 2 == 1) {
        audit.record(id, &Record::Trade(trade(id)));
    }
    // A double and a late one of the beginning, and a late one of the end.
    for id in [11, 12, last - 2] {
        audit.record(last, &Record::Trade(flagged(id, Flags::BACKFILLED)));
    }
    let report = audit.finish();
    let missing = last / 2 - 1;
    assert_eq!(said(&report), format!("silent {}, late 1, unjudged 2", missing - 1));
}

#[test]
fn the_ends_of_all_numbers_are_no_trap() {
    let at_end = [trade(1), TradeMsg { trade_id: u64::MAX, ..trade(2) }, TradeMsg { trade_id: 0, ..trade(1) }];
    let records: Vec<Record> = at_end.map(Record::Trade).to_vec();
    assert_eq!(said(&audited(&records)), format!("order 1, silent {}", u64::MAX - 2));
}
