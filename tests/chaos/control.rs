//! The oracle itself: what is planted must be found, or a row that holds proves nothing.

use data_manager::market::instrument::instrument_id;
use data_manager::market::{Decimal, Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};
use data_manager::sim::{Sim, SimConfig, Source};

use crate::oracle::{Scope, Stored, judge};

/// A venue whose tape has ended, and its trades as they should be stored.
fn whole() -> (Sim, Stored) {
    let source = Source::Generate { rate: 50_000.0 };
    let config = SimConfig { source, limit: Some(900), wait_for_subscriber: false, ..SimConfig::of(&["coinbase"]) };
    let sim = Sim::spawn(config).unwrap();
    while !sim.finished() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut stored = Stored::new();
    for symbol in sim.symbols("coinbase") {
        let trades = sim.history("coinbase", &symbol).into_iter().map(|trade| {
            let (price, size) = (Decimal::parse(&trade.price).unwrap(), Decimal::parse(&trade.size).unwrap());
            Record::Trade(TradeMsg {
                ts_event: trade.ts_event,
                ts_recv: trade.ts_event,
                trade_id: trade.id,
                price: price.price().unwrap(),
                size: size.size().unwrap(),
                instrument_id: instrument_id("coinbase", &symbol),
                price_scale: price.scale(),
                size_scale: size.scale(),
                flags: Flags::new(trade.side).bits(),
                kind: 1,
            })
        });
        stored.insert(("coinbase".to_owned(), symbol.clone()), (1..).zip(trades).collect());
    }
    (sim, stored)
}

/// Changes the records of an instrument.
type Plant<'a> = &'a dyn Fn(&mut Vec<(u64, Record)>);

#[test]
fn the_oracle_finds_what_is_planted_and_nothing_else() {
    let (sim, good) = whole();
    let figures = |stored: &Stored| {
        let found = judge(&sim, stored, Scope::All);
        assert!(found.disagreement.is_empty(), "{found}");
        (found.lost, found.doubled, found.reordered, found.declared, found.foreign)
    };
    assert_eq!(figures(&good), (0, 0, 0, 0, 0));
    let planted = |plant: Plant<'_>| {
        let mut stored = good.clone();
        plant(stored.values_mut().next().unwrap());
        figures(&stored)
    };
    let gap = |before: &Record, behind: &Record| {
        let (Record::Trade(before), Record::Trade(behind)) = (before, behind) else { panic!("no trades") };
        Record::Gap(GapMsg {
            ts_start: before.ts_event,
            ts_end: behind.ts_event,
            first_id: before.trade_id + 1,
            last_id: behind.trade_id - 1,
            missing: behind.trade_id - before.trade_id - 1,
            instrument_id: before.instrument_id,
            strength: GapStrength::Proved as u8,
            reason: GapReason::Stall as u8,
            flags: 0,
            kind: 2,
        })
    };
    assert_eq!(planted(&|records| drop(records.drain(40..43))), (3, 0, 0, 0, 0), "lost");
    assert_eq!(planted(&|records| records.truncate(records.len() - 2)), (2, 0, 0, 0, 0), "lost at the end");
    assert_eq!(planted(&|records| records.insert(50, records[48])), (0, 1, 0, 0, 0), "doubled");
    assert_eq!(planted(&|records| records.swap(60, 61)), (0, 0, 1, 0, 0), "reordered");
    let declared = planted(&|records| {
        let gap = gap(&records[39].1, &records[43].1);
        records.splice(40..43, [(40, gap)]);
    });
    assert_eq!(declared, (0, 0, 0, 3, 0), "declared");
    let other = planted(&|records| {
        if let Record::Trade(trade) = &mut records[70].1 {
            trade.size += 1;
        }
    });
    assert_eq!(other, (0, 0, 0, 0, 1), "another payload");
}
