//! The window against a scripted server, event by event.

use std::time::{Duration, Instant};

use super::*;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};

mod claims;

fn config() -> Config {
    Config {
        window: 8,
        pack: 1,
        linger: Duration::from_millis(1),
        ack_timeout: Duration::from_secs(5),
        outbox_bytes: 1 << 20,
        retain: Duration::from_secs(60),
        retain_bytes: 1 << 20,
        routes: 2,
        sole: true,
        oldest_removed_first: true,
        seed: 1,
    }
}

fn trade(id: u64) -> Record {
    Record::Trade(TradeMsg {
        ts_event: id * 1_000,
        ts_recv: id * 1_000 + 1,
        trade_id: id,
        price: 1,
        size: 1,
        instrument_id: 7,
        price_scale: 0,
        size_scale: 0,
        flags: 1,
        kind: KIND_TRADE_V1,
    })
}

fn reconcile(window: &mut Window, now: Instant, mode: Mode, last_seq: u64, tail: Option<(u64, Record)>) -> Query {
    let Some(Action::Reconcile(query)) = window.next(now) else { panic!("a doubt is followed by a question") };
    let of = |record: &Record| match record {
        Record::Trade(_) => Key::trades(0),
        Record::Gap(_) => Key::gaps(0),
    };
    let tails = query
        .subjects
        .iter()
        .map(|key| Tail {
            key: *key,
            last: tail.filter(|(_, record)| *key == of(record)).map(|(seq, record)| TailRecord {
                seq,
                stored_ns: 0,
                record: *record.as_bytes(),
            }),
        })
        .collect();
    window.on_reconciled(
        now,
        &Stored { mode, last_seq, created: 1, is_new: true, ids_kept: Duration::ZERO, tails, places: Places::new() },
    );
    query
}

fn sends(window: &mut Window, now: Instant) -> Vec<Send> {
    std::iter::from_fn(|| match window.next(now) {
        Some(Action::Send(send)) => Some(send),
        Some(Action::Reconcile(query)) => panic!("unexpected {query:?}"),
        None => None,
    })
    .collect()
}

fn ids(sends: &[Send]) -> Vec<u64> {
    let id = |send: &Send| match Record::from_bytes(&send.payload) {
        Ok(Record::Trade(trade)) => trade.trade_id,
        _ => 0,
    };
    sends.iter().map(id).collect()
}

#[test]
fn the_chain_names_what_each_message_follows_and_each_wants_its_answer() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    let query = reconcile(&mut window, now, Mode::Chained, 40, None);
    assert!(query.first);
    assert_eq!(query.subjects, [Key::trades(0), Key::gaps(0), Key::trades(1), Key::gaps(1)]);
    for id in 1..=3 {
        window.push(now, 0, &trade(id));
    }
    let sent = sends(&mut window, now);
    assert_eq!(ids(&sent), [1, 2, 3]);
    let expects: Vec<_> = sent.iter().map(|send| send.expect).collect();
    assert_eq!(expects, [40, 41, 42].map(|seq| Some(Expect::LastSequence(seq))));
    let answer = |send: &Send, seq| match send.reply {
        Reply::Token(token) => Answer::Stored { token, seq, duplicate: false },
        Reply::Batch { .. } => panic!("no token: {send:?}"),
    };
    window.on_answer(now, window.epoch(), answer(&sent[0], 41));
    assert_eq!(window.stats().acked, 1);
    window.on_answer(now, window.epoch(), answer(&sent[1], 42));
    window.on_answer(now, window.epoch(), answer(&sent[2], 43));
    assert_eq!(window.stats().acked, 3);
    assert!(window.is_drained());
    // One that was not answered may have been refused, and somebody else's message stand in its place.
    (4..=5).for_each(|id| window.push(now, 0, &trade(id)));
    let sent = sends(&mut window, now);
    window.on_answer(now, window.epoch(), answer(&sent[1], 45));
    assert_eq!((window.stats().acked, window.phase()), (3, &Phase::Doubt { why: Doubt::Unexpected, not_before: now }));
    // It was: the last of the subject alone would not tell.
    let Some(Action::Reconcile(query)) = window.next(now) else { panic!("a doubt is followed by a question") };
    assert_eq!(query.places.map(|(first, _)| first), Some(44));
    let last = TailRecord { seq: 45, stored_ns: 0, record: *trade(5).as_bytes() };
    let tails = vec![Tail { key: Key::trades(0), last: Some(last) }];
    let ours = (Key::trades(0), bytes::Bytes::copy_from_slice(trade(5).as_bytes()));
    let places = Places::from([(44, None), (45, Some(ours))]);
    let (mode, ids_kept) = (Mode::Chained, Duration::ZERO);
    window.on_reconciled(now, &Stored { mode, last_seq: 45, created: 1, is_new: false, ids_kept, tails, places });
    let sent = sends(&mut window, now);
    let [Send { key, payload, .. }] = sent.as_slice() else { panic!("one is missing: {sent:?}") };
    let Ok(Record::Gap(gap)) = Record::from_bytes(payload) else { panic!("no gap") };
    assert_eq!((*key, gap.first_id, gap.last_id), (Key::gaps(0), 4, 4));
    assert_eq!(window.take_lost().len(), 1, "it is asked for again");
}

#[test]
fn after_a_lost_connection_only_what_is_not_stored_is_sent_again() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::Chained, 0, None);
    for id in 1..=4 {
        window.push(now, 0, &trade(id));
    }
    assert_eq!(sends(&mut window, now).len(), 4);
    window.on_disconnect(now);
    let later = now + Duration::from_secs(1);
    reconcile(&mut window, later, Mode::Chained, 2, Some((2, trade(2))));
    assert_eq!(ids(&sends(&mut window, later)), [3, 4]);
    assert_eq!(window.stats().acked, 2);
    assert_eq!(window.stats().resent, 2);
    assert_eq!(window.stats().foreign, 0);
}

fn gap(first_id: u64, last_id: u64, flags: u8) -> Record {
    Record::Gap(GapMsg {
        first_id,
        last_id,
        missing: last_id - first_id + 1,
        strength: GapStrength::Proved as u8,
        reason: GapReason::OutboxOverflow as u8,
        flags,
        instrument_id: 7,
        kind: KIND_GAP_V1,
        ..bytemuck::Zeroable::zeroed()
    })
}

#[test]
fn what_is_declared_lost_is_told_once_and_not_again_when_it_is_declared_filled() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::Chained, 0, None);
    window.push(now, 0, &gap(5, 9, 0));
    assert_eq!(sends(&mut window, now).len(), 1);
    assert_eq!(window.take_lost().len(), 1);
    window.push(now, 0, &gap(5, 9, Flags::BACKFILLED));
    assert_eq!(sends(&mut window, now).len(), 1);
    assert_eq!(window.take_lost(), []);
}

#[test]
fn a_window_that_stands_by_keeps_only_what_the_other_instance_has_not_stored() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    for id in 1..=6 {
        window.push(now, 0, &trade(id));
    }
    window.push(now, 0, &gap(2, 3, 0));
    window.push(now, 1, &trade(3));
    let at = |id| Stored {
        mode: Mode::Chained,
        last_seq: 10,
        created: 1,
        is_new: true,
        ids_kept: Duration::ZERO,
        tails: vec![Tail {
            key: Key::trades(0),
            last: Some(TailRecord { seq: 10, stored_ns: 0, record: *trade(id).as_bytes() }),
        }],
        places: Places::new(),
    };
    window.follow(now, &at(4));
    assert_eq!((window.stats().waiting, window.stats().duplicates), (3, 5));
    // It takes over: what the other one has stored meanwhile is not sent.
    window.follow(now, &at(5));
    reconcile(&mut window, now, Mode::Chained, 11, Some((11, trade(5))));
    let sent = sends(&mut window, now);
    assert_eq!(ids(&sent), [6, 3]);
    assert_eq!(sent[0].expect, Some(Expect::LastSequence(11)));
    // And is displaced before anything was acknowledged: all of it waits again, behind what is read then.
    window.demote(now);
    assert_eq!((window.stats().in_flight, window.stats().waiting), (0, 2));
    window.follow(now, &at(6));
    assert_eq!(window.stats().waiting, 1);
}

fn stored(record: &Record) -> Stored {
    let last = TailRecord { seq: 10, stored_ns: 0, record: *record.as_bytes() };
    let tails = vec![Tail { key: Key::trades(0), last: Some(last) }];
    Stored {
        mode: Mode::Chained,
        last_seq: 10,
        created: 1,
        is_new: true,
        ids_kept: Duration::ZERO,
        tails,
        places: Places::new(),
    }
}

#[test]
fn a_late_trade_of_another_instance_does_not_prove_that_younger_ones_are_lost() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    for id in 61..=64 {
        window.push(now, 0, &trade(id));
    }
    window.follow(now, &stored(&trade(64)));
    assert_eq!(window.stats().waiting, 0);
    // The other one fills an old gap, which it fetched itself, and ends.
    let Record::Trade(late) = trade(50) else { panic!("no trade") };
    let late = Record::Trade(TradeMsg { ts_recv: 9, flags: late.flags | Flags::BACKFILLED, ..late });
    reconcile(&mut window, now, Mode::Chained, 12, Some((12, late)));
    assert_eq!(ids(&sends(&mut window, now)), [0; 0]);
    assert_eq!(window.stats().broker_lost, 0);
    assert_eq!(window.take_lost(), []);
}

#[test]
fn a_window_that_stands_by_lets_go_of_ids_before_a_venue_counted_anew() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    let anew = |id| match trade(id) {
        Record::Trade(trade) => Record::Trade(TradeMsg { ts_event: 5_000_000_000 + id * 1_000, ..trade }),
        Record::Gap(_) => panic!("no trade"),
    };
    (900..=903).for_each(|id| window.push(now, 0, &trade(id)));
    (1..=3).for_each(|id| window.push(now, 0, &anew(id)));
    window.follow(now, &stored(&anew(2)));
    assert_eq!(window.stats().waiting, 1);
    reconcile(&mut window, now, Mode::Chained, 10, Some((10, anew(2))));
    assert_eq!(ids(&sends(&mut window, now)), [3]);
}

#[test]
fn what_was_in_flight_when_another_took_over_is_not_missed_in_a_shorter_stream() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::Chained, 40, None);
    (1..=5).for_each(|id| window.push(now, 0, &trade(id)));
    assert_eq!(ids(&sends(&mut window, now)), [1, 2, 3, 4, 5]);
    window.demote(now);
    // The other instance has stored two of them.
    let query = reconcile(&mut window, now, Mode::Chained, 42, Some((42, trade(2))));
    assert!(query.first);
    assert_eq!(window.phase(), &Phase::Steady, "no loss is suspected");
    assert_eq!(ids(&sends(&mut window, now)), [3, 4, 5]);
}

#[test]
fn what_is_left_of_a_packed_message_keeps_its_order() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(Config { pack: 4, ..config() }, now);
    (1..=10).for_each(|id| window.push(now, 0, &trade(id)));
    window.declare(
        0,
        GapMsg { first_id: 20, last_id: 29, missing: 10, kind: KIND_GAP_V1, ..bytemuck::Zeroable::zeroed() },
    );
    let odd = |record: &Record| matches!(record, Record::Trade(trade) if trade.trade_id % 2 == 1);
    window.leave_out(now, |_, record| odd(record));
    let left: Vec<u64> = window
        .remains()
        .iter()
        .map(|bytes| match Record::from_bytes(bytes) {
            Ok(Record::Trade(trade)) => trade.trade_id,
            _ => 0,
        })
        .collect();
    assert_eq!((left, window.stats().duplicates), (vec![0, 2, 4, 6, 8, 10], 5));
    assert_eq!(window.stats().waiting, 6);
}

#[test]
fn what_waits_is_whole_between_its_ends_or_says_what_is_not() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    assert_eq!(window.waiting(0), None);
    let flagged = |id, flags| match trade(id) {
        Record::Trade(trade) => Record::Trade(TradeMsg { flags: trade.flags | flags, ..trade }),
        Record::Gap(_) => panic!("no trade"),
    };
    for (id, flags) in [(103, Flags::AGGREGATED), (106, Flags::AGGREGATED), (40, Flags::BACKFILLED)] {
        window.push(now, 0, &flagged(id, flags));
    }
    assert_eq!(window.waiting(0), Some(Waiting { first: 103, last: 106, certain: false }));
    let gap = |first_id, last_id| GapMsg { first_id, last_id, kind: KIND_GAP_V1, ..bytemuck::Zeroable::zeroed() };
    window.push(now, 0, &Record::Gap(gap(107, 110)));
    window.declare(0, gap(90, 95));
    assert_eq!(window.waiting(0), Some(Waiting { first: 90, last: 110, certain: true }));
    assert_eq!(window.waiting(1), None);
}
