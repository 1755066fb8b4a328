//! Rates, lags, gaps, directions, by records made by hand.

use std::time::Duration;

use super::super::snapshot::Direction;
use super::*;
use crate::market::Side;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::telemetry::clock;

const SECOND: u64 = 1_000_000_000;

fn trade(price: i64, scale: u8, flags: Flags) -> TradeMsg {
    TradeMsg {
        ts_event: 10 * SECOND,
        ts_recv: 10 * SECOND + 2_000_000,
        trade_id: 1,
        price,
        size: 25,
        instrument_id: 1,
        price_scale: scale,
        size_scale: 1,
        flags: flags.bits(),
        kind: KIND_TRADE_V1,
    }
}

fn buy(price: i64, scale: u8) -> TradeMsg {
    trade(price, scale, Flags::new(Side::Buy))
}

fn gap(first_id: u64, last_id: u64, missing: u64, flags: u8) -> GapMsg {
    GapMsg {
        ts_start: 1,
        ts_end: 2,
        first_id,
        last_id,
        missing,
        instrument_id: 1,
        strength: 1,
        reason: 1,
        flags,
        kind: KIND_GAP_V1,
    }
}

fn snapshot(model: &Model) -> Snapshot {
    model.snapshot(12 * SECOND, "ring", Vec::new())
}

#[test]
fn rates_are_summed_over_an_exchange() {
    let start = clock::now();
    let mut model = Model::new(start);
    for _ in 0..30 {
        model.trade("x", "A", &buy(1, 0));
    }
    model.tick(start + Duration::from_secs(2));
    for _ in 0..10 {
        model.trade("x", "A", &buy(1, 0));
        model.trade("x", "B", &buy(1, 0));
    }
    model.tick(start + Duration::from_secs(4));
    let shown = snapshot(&model);
    let x = &shown.exchanges[0];
    assert_eq!((x.figures.rate, x.figures.rate_10s, x.figures.trades), (10.0, 15.0, 50));
    assert_eq!((x.symbols[0].figures.rate, x.symbols[0].figures.rate_10s), (5.0, 10.0));
    assert_eq!((x.symbols[1].figures.rate, x.symbols[1].figures.rate_10s), (5.0, 5.0), "since it was first seen");
    assert_eq!((shown.total.rate, shown.interval_ns), (10.0, 2 * SECOND));
    assert_eq!(x.trend, [15.0, 10.0]);
}

#[test]
fn the_last_trade_is_shown_exactly_with_its_direction() {
    let mut model = Model::new(clock::now());
    let shown = |model: &Model| {
        let row = snapshot(model).exchanges[0].symbols[0].clone();
        (row.price.unwrap(), row.direction)
    };
    model.trade("x", "A", &buy(100, 1));
    assert_eq!(shown(&model), ("10.0".to_owned(), Direction::None));
    model.trade("x", "A", &buy(10_000_000_000_000_001, 15));
    assert_eq!(shown(&model), ("10.000000000000001".to_owned(), Direction::Up), "no float sees that");
    model.trade("x", "A", &buy(10_000_000_000_000_001, 15));
    assert_eq!(shown(&model).1, Direction::Up, "a price that stays keeps it");
    model.trade("x", "A", &buy(i64::MIN, 0));
    assert_eq!(shown(&model).1, Direction::Down);
    let row = snapshot(&model).exchanges[0].symbols[0].clone();
    assert_eq!((row.size.as_deref(), row.side), (Some("2.5"), Some("buy")));
    assert_eq!(row.figures.age_ns, Some(2 * SECOND - 2_000_000));
}

#[test]
fn what_comes_out_of_a_history_is_no_news() {
    let start = clock::now();
    let mut model = Model::new(start);
    let old = Flags::new(Side::Sell).with(Flags::BACKFILLED);
    model.trade("x", "A", &trade(5, 0, old));
    let row = snapshot(&model).exchanges[0].symbols[0].clone();
    assert_eq!((row.price.as_deref(), row.figures.age_ns), (Some("5"), None), "a price, and no sign of life");
    model.trade("x", "A", &buy(7, 0));
    model.trade("x", "A", &trade(6, 0, old));
    model.trade("x", "A", &trade(6, 0, Flags::new(Side::Sell).with(Flags::SNAPSHOT)));
    model.tick(start + Duration::from_secs(1));
    let row = snapshot(&model).exchanges[0].symbols[0].clone();
    assert_eq!((row.price.as_deref(), row.figures.trades), (Some("7"), 4), "counted, and no price of now");
    assert_eq!(row.figures.lag_ns, Some(2_000_000), "nor a lag");
}

#[test]
fn lags_are_of_the_last_interval_that_had_any() {
    let start = clock::now();
    let mut model = Model::new(start);
    let lagging = |ns: i64| TradeMsg { ts_recv: (10 * SECOND).saturating_add_signed(ns), ..buy(1, 0) };
    for ns in [-1_000, 5_000, 2_000] {
        model.trade("x", "A", &lagging(ns));
    }
    model.trade("x", "B", &lagging(10_000));
    let untimed = TradeMsg { ts_event: 10 * SECOND, ..lagging(0) };
    model.trade("x", "B", &untimed);
    assert_eq!(snapshot(&model).exchanges[0].figures.lag_ns, None, "the interval has not ended");
    for second in 1..4 {
        model.tick(start + Duration::from_secs(second));
        let x = snapshot(&model).exchanges[0].clone();
        let lags = |figures: &Figures| (figures.lag_ns, figures.lag_worst_ns);
        assert_eq!(lags(&x.symbols[0].figures), (Some(2_000), Some(5_000)));
        assert_eq!(lags(&x.symbols[1].figures), (Some(10_000), Some(10_000)), "a stand-in for a time is no lag");
        assert_eq!(lags(&x.figures), (Some(4_000), Some(10_000)), "each trade weighs the same");
        assert_eq!(lags(&snapshot(&model).total), lags(&x.figures));
    }
    model.trade("x", "A", &lagging(1_000));
    model.tick(start + Duration::from_secs(4));
    let x = snapshot(&model).exchanges[0].clone();
    assert_eq!((x.figures.lag_ns, x.figures.lag_worst_ns), (Some(1_000), Some(1_000)), "a quiet symbol's are history");
    assert_eq!(x.symbols[1].figures.lag_worst_ns, Some(10_000));
}

#[test]
fn a_gap_that_is_filled_is_no_longer_missing() {
    let mut model = Model::new(clock::now());
    model.gap("x", "A", &gap(10, 12, 3, 0));
    model.gap("x", "A", &gap(20, 20, 1, 0));
    model.gap("x", "A", &gap(0, 0, 0, 0));
    let figures = |model: &Model| snapshot(model).exchanges[0].figures.clone();
    let told = |figures: Figures| (figures.gaps, figures.filled, figures.missing, figures.unknown);
    assert_eq!(told(figures(&model)), (3, 0, 4, 1));
    model.gap("x", "A", &gap(10, 12, 3, Flags::BACKFILLED));
    assert_eq!(told(figures(&model)), (3, 1, 1, 1));
    model.gap("x", "A", &gap(1, 9, 9, Flags::BACKFILLED));
    assert_eq!(told(figures(&model)), (3, 2, 1, 1), "of a gap from before this view began");
    model.gap("x", "A", &gap(0, 0, 0, Flags::BACKFILLED));
    assert_eq!(told(figures(&model)), (3, 3, 1, 0), "it is known now");
}

#[test]
fn losses_and_writers_are_told() {
    let mut model = Model::new(clock::now());
    model.lagged(100);
    model.lagged(11);
    model.removed(5, 9);
    model.writer("x", "closed");
    let shown = snapshot(&model);
    assert_eq!(shown.lost, Lost { records: 111, laps: 2, removed: 5, unreadable: 0 });
    assert_eq!(shown.exchanges[0].writer, "closed");
    assert!(shown.daemon_error.is_some(), "nobody was asked");
}

#[test]
fn what_went_wrong_is_counted_and_forgotten_after_a_while() {
    let start = clock::now();
    let mut model = Model::new(start);
    for second in 1..=3 {
        model.unreadable(start + Duration::from_secs(second), format!("record {second}"));
    }
    model.note(start + Duration::from_secs(30), "looks for rings failed", "no right".to_owned());
    let note = |model: &mut Model, second| {
        model.tick(start + Duration::from_secs(second));
        snapshot(model).note
    };
    let both = "1 looks for rings failed, last: no right | 3 records unreadable, last: record 3";
    assert_eq!(note(&mut model, 62).as_deref(), Some(both));
    assert_eq!(note(&mut model, 63).as_deref(), Some("1 looks for rings failed, last: no right"));
    assert_eq!(note(&mut model, 90), None);
    assert_eq!(snapshot(&model).lost.unreadable, 3, "the count stays");
    model.trouble(Some("connection lost".to_owned()));
    assert_eq!(note(&mut model, 500).as_deref(), Some("connection lost"), "for as long as it is so");
    model.trouble(None);
    assert_eq!(note(&mut model, 501), None);
}

#[test]
fn symbols_that_the_daemon_has_get_a_row_before_their_first_trade() {
    let text = r#"{"version":"1","ready":true,"shards":[{"connections":[
        {"name":"x/0","state":"live","symbols":[{"symbol":"A"},{"symbol":"B"}]}]}]}"#;
    let mut model = Model::new(clock::now());
    model.status(clock::now(), Status::parse(text), |_, symbol| symbol != "B");
    let shown = snapshot(&model);
    let x = &shown.exchanges[0];
    assert_eq!((x.symbols.len(), x.state.as_str(), x.live), (1, "1/1 live", Some(true)));
    assert_eq!((&x.symbols[0].price, x.symbols[0].figures.age_ns), (&None, None));
    model.status(clock::now(), Err("refused".to_owned()), |_, _| true);
    assert_eq!(snapshot(&model).daemon_error.as_deref(), Some("refused"));
    let x = &snapshot(&model).exchanges[0];
    assert_eq!((x.state.as_str(), x.live), ("", None), "nobody knows");
}
