//! Random damage to a whole sequence: the counts are the damage, exactly.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{audited, gap, trade};
use crate::feed::audit::{Class, Flags, Report};
use crate::market::{Record, TradeMsg};

/// The damage that is done to one place of a sequence.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Delete,
    DeleteDeclared,
    DeleteFilledNot,
    /// Deleted, declared, and brought at the end.
    Backfill,
    Double,
    Conflict,
    /// With the one behind it.
    Swap,
    Bad,
}

fn damage() -> impl Strategy<Value = Option<Damage>> {
    let any = proptest::sample::select(vec![
        Damage::Delete,
        Damage::DeleteDeclared,
        Damage::DeleteFilledNot,
        Damage::Backfill,
        Damage::Double,
        Damage::Conflict,
        Damage::Swap,
        Damage::Bad,
    ]);
    proptest::option::weighted(0.3, any)
}

fn counts(report: &Report) -> Vec<(Class, u64)> {
    let all = Class::ALL.into_iter().map(|class| (class, report.count(class)));
    all.filter(|(_, count)| *count > 0).collect()
}

/// Does the damage; gives the records and what an audit must count.
fn damaged(plan: &[Option<Damage>]) -> (Vec<Record>, Vec<(Class, u64)>, u64) {
    let (mut records, mut end) = (vec![Record::Trade(trade(1))], Vec::new());
    let mut expected: Vec<Class> = Vec::new();
    let mut id = 2;
    for damage in plan {
        let own = Record::Trade(trade(id));
        match damage {
            None => records.push(own),
            Some(Damage::Delete) => expected.push(Class::Silent),
            Some(Damage::DeleteDeclared) => {
                records.push(gap(id, id, 0));
                expected.push(Class::Declared);
            }
            Some(Damage::DeleteFilledNot) => {
                records.extend([gap(id, id, 0), gap(id, id, Flags::BACKFILLED)]);
                expected.push(Class::Unfilled);
            }
            Some(Damage::Backfill) => {
                records.push(gap(id, id, 0));
                end.push(Record::Trade(TradeMsg { flags: 1 | Flags::BACKFILLED, ..trade(id) }));
                end.push(gap(id, id, Flags::BACKFILLED));
                expected.push(Class::Late);
            }
            Some(Damage::Double) => {
                records.extend([own, own]);
                expected.push(Class::Double);
            }
            Some(Damage::Conflict) => {
                records.extend([own, Record::Trade(TradeMsg { size: 8, ..trade(id) })]);
                expected.push(Class::Conflict);
            }
            Some(Damage::Swap) => {
                records.extend([Record::Trade(trade(id + 1)), own]);
                expected.push(Class::Order);
                id += 1;
            }
            Some(Damage::Bad) => {
                records.extend([own, Record::Trade(TradeMsg { instrument_id: 1, ..trade(id) })]);
                expected.push(Class::Bad);
            }
        }
        id += 1;
    }
    records.push(Record::Trade(trade(id)));
    records.extend(end);
    let of = |class: Class| (class, expected.iter().filter(|other| **other == class).count() as u64);
    let trades = records.iter().filter(|record| matches!(record, Record::Trade(trade) if trade.instrument_id != 1));
    let trades = trades.count() as u64;
    (records, Class::ALL.into_iter().map(of).filter(|(_, count)| *count > 0).collect(), trades)
}

/// The definitions, word for word, with sets of ids and no bound.
fn by_definition(records: &[Record]) -> Vec<(Class, u64)> {
    let (mut seen, mut declared, mut filled) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut highest, mut lowest) = (0, u64::MAX);
    let mut counts = std::collections::BTreeMap::<Class, u64>::new();
    for record in records {
        match record {
            Record::Trade(trade) => {
                let backfilled = trade.flags & Flags::BACKFILLED != 0;
                if !seen.insert(trade.trade_id) {
                    *counts.entry(Class::Double).or_default() += 1;
                    continue;
                }
                if trade.trade_id < highest {
                    let late = backfilled || declared.contains(&trade.trade_id);
                    *counts.entry(if late { Class::Late } else { Class::Order }).or_default() += 1;
                }
                if !backfilled {
                    lowest = lowest.min(trade.trade_id);
                    highest = highest.max(trade.trade_id);
                }
            }
            Record::Gap(gap) if gap.flags != 0 => filled.extend(gap.first_id..=gap.last_id),
            Record::Gap(gap) => declared.extend(gap.first_id..=gap.last_id),
        }
    }
    for id in (lowest..=highest).filter(|id| !seen.contains(id)) {
        let class = if filled.contains(&id) {
            Class::Unfilled
        } else if declared.contains(&id) {
            Class::Declared
        } else {
            Class::Silent
        };
        *counts.entry(class).or_default() += 1;
    }
    let beyond = |id: &&u64| (**id < lowest || **id > highest) && !seen.contains(id) && !filled.contains(id);
    let beyond = declared.iter().filter(beyond).count() as u64;
    if beyond > 0 {
        *counts.entry(Class::Declared).or_default() += beyond;
    }
    Class::ALL.into_iter().filter_map(|class| Some((class, *counts.get(&class)?))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_counts_are_the_damage(plan in proptest::collection::vec(damage(), 0..200)) {
        let (records, expected, trades) = damaged(&plan);
        let report = audited(&records);
        prop_assert_eq!(counts(&report), expected);
        prop_assert_eq!(report.trades, trades);
        // Each finding names ids of its own class: the sum over the list is the count.
        for class in [Class::Silent, Class::Declared, Class::Unfilled] {
            let listed = report.findings.iter().filter(|finding| finding.class == class);
            let ids: u64 = listed.map(|finding| finding.last_id - finding.first_id + 1).sum();
            prop_assert_eq!(ids, report.count(class));
        }
    }

    /// Any arrival at all: late ones far away, gaps that overlap, gaps of what is there.
    #[test]
    fn the_counts_are_those_of_the_definitions(
        arrivals in proptest::collection::vec((2_u64..60, 0_u64..6, 0_u8..10), 0..80),
    ) {
        let mut records = vec![Record::Trade(trade(30))];
        for (id, length, kind) in arrivals {
            records.push(match kind {
                0 => gap(id, id + length, 0),
                1 => gap(id, id + length, Flags::BACKFILLED),
                // A backfill that runs ahead of live trades is in its place, and here no part of the definitions.
                2 | 3 if id < 30 => Record::Trade(TradeMsg { flags: 1 | Flags::BACKFILLED, ..trade(id) }),
                _ => Record::Trade(trade(id)),
            });
        }
        prop_assert_eq!(counts(&audited(&records)), by_definition(&records));
    }
}
