//! What the server takes for known, and what was sent before.

use super::message::MESSAGE_COST;
use super::*;

#[test]
fn what_was_sent_before_goes_in_a_chain_and_what_is_new_in_a_batch_behind_it() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::FastIngest, 40, None);
    (1..=3).for_each(|id| window.push(now, 0, &trade(id)));
    let batch = sends(&mut window, now);
    assert!(matches!(batch[0].reply, Reply::Batch { .. }));
    window.on_disconnect(now);
    let now = now + BACKOFF_MAX;
    reconcile(&mut window, now, Mode::FastIngest, 40, None);
    (4..=5).for_each(|id| window.push(now, 0, &trade(id)));
    let again = sends(&mut window, now);
    let sent = batch.len() as u64;
    assert_eq!(ids(&again), (1..=sent).collect::<Vec<_>>(), "nothing new with it");
    assert!(again.iter().all(|send| send.expect.is_some() && !matches!(send.reply, Reply::Batch { .. })));
    let Some(Reply::Token(token)) = again.last().map(|send| send.reply) else { panic!("the last one asks: {again:?}") };
    window.on_answer(now, window.epoch(), Answer::Stored { token, seq: 40 + sent, duplicate: false });
    let new = sends(&mut window, now);
    assert_eq!(ids(&new)[0], sent + 1);
    assert!(matches!(new[0].reply, Reply::Batch { .. }) && new[0].expect == Some(Expect::LastSequence(40 + sent)));
}

#[test]
fn nothing_goes_in_a_batch_while_the_server_may_know_what_an_earlier_run_sent() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    let Some(Action::Reconcile(_)) = window.next(now) else { panic!("a doubt is followed by a question") };
    let report = stored(&trade(1));
    window
        .on_reconciled(now, &Stored { mode: Mode::FastIngest, is_new: false, ids_kept: BACKOFF_MAX, ..report.clone() });
    (2..=4).for_each(|id| window.push(now, 0, &trade(id)));
    let first = sends(&mut window, now);
    let is_batch = |send: &Send| matches!(send.reply, Reply::Batch { .. });
    assert!(!first.iter().any(is_batch) && ids(&first) == [2, 3, 4], "{first:?}");
    // A doubt in between changes nothing; when the time is over all that is under way is waited for.
    window.on_disconnect(now);
    let Some(Action::Reconcile(_)) = window.next(now + BACKOFF_MIN) else {
        panic!("a doubt is followed by a question")
    };
    window.on_reconciled(now, &Stored { mode: Mode::FastIngest, is_new: false, ids_kept: BACKOFF_MAX, ..report });
    (5..=7).for_each(|id| window.push(now, 0, &trade(id)));
    let again = sends(&mut window, now + BACKOFF_MIN);
    assert!(!again.iter().any(is_batch) && ids(&again) == [2, 3, 4, 5, 6, 7], "{again:?}");
    let later = now + BACKOFF_MAX;
    (8..=9).for_each(|id| window.push(later, 0, &trade(id)));
    for (seq, send) in (11..).zip(&again) {
        assert_eq!(sends(&mut window, later), []);
        let Reply::Token(token) = send.reply else { panic!("no token: {send:?}") };
        window.on_answer(later, window.epoch(), Answer::Stored { token, seq, duplicate: false });
    }
    let new = sends(&mut window, later);
    assert!(new.iter().all(is_batch) && ids(&new) == [8] && new[0].expect == Some(Expect::LastSequence(16)), "{new:?}");
}

#[test]
fn a_message_that_the_server_says_to_have_and_has_not_is_sent_without_its_id() {
    let now = crate::telemetry::clock::now();
    for (tail, seq) in [(None, 40), (Some((40, trade(9))), 40)] {
        let mut window = Window::new(config(), now);
        reconcile(&mut window, now, Mode::Chained, seq, tail);
        window.push(now, 0, &trade(10));
        let Reply::Token(token) = sends(&mut window, now)[0].reply else { panic!("no token") };
        window.on_answer(now, window.epoch(), Answer::Stored { token, seq, duplicate: true });
        reconcile(&mut window, now + BACKOFF_MAX, Mode::Chained, seq, tail);
        let again = sends(&mut window, now + BACKOFF_MAX);
        assert_eq!((ids(&again), again[0].denied), (vec![10], true), "{tail:?}");
    }
    // It has it.
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::Chained, 40, None);
    window.push(now, 0, &trade(10));
    let Reply::Token(token) = sends(&mut window, now)[0].reply else { panic!("no token") };
    window.on_answer(now, window.epoch(), Answer::Stored { token, seq: 41, duplicate: true });
    reconcile(&mut window, now + BACKOFF_MAX, Mode::Chained, 41, Some((41, trade(10))));
    assert_eq!(sends(&mut window, now + BACKOFF_MAX), []);
}

#[test]
fn an_older_one_that_comes_again_is_believed_to_be_there() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::Chained, 40, Some((40, trade(9))));
    window.push(now, 0, &trade(10));
    let Reply::Token(token) = sends(&mut window, now)[0].reply else { panic!("no token") };
    window.on_answer(now, window.epoch(), Answer::Stored { token, seq: 41, duplicate: false });
    // A venue tells it again.
    window.push(now, 0, &trade(8));
    let Reply::Token(token) = sends(&mut window, now)[0].reply else { panic!("no token") };
    window.on_answer(now, window.epoch(), Answer::Stored { token, seq: 39, duplicate: true });
    let now = now + BACKOFF_MAX;
    reconcile(&mut window, now, Mode::Chained, 41, Some((41, trade(10))));
    assert_eq!(sends(&mut window, now), []);
}

#[test]
fn what_was_sent_before_goes_alone_where_others_write_too() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(Config { sole: false, ..config() }, now);
    reconcile(&mut window, now, Mode::FastIngest, 40, None);
    (1..=3).for_each(|id| window.push(now, 0, &trade(id)));
    assert!(!sends(&mut window, now).is_empty());
    window.on_disconnect(now);
    let now = now + BACKOFF_MAX;
    let tail = Some((40, trade(0)));
    reconcile(&mut window, now, Mode::FastIngest, 40, tail);
    let alone = sends(&mut window, now);
    let Some(Reply::Batch { batch, op: BatchOp::Commit, .. }) = alone.first().map(|send| send.reply) else {
        panic!("{alone:?}")
    };
    assert_eq!(ids(&alone), [1]);
    // It is taken for known, and is not there.
    window.on_answer(now, window.epoch(), Answer::Closed { batch, seq: 40, count: 1, duplicate: true });
    let now = now + BACKOFF_MAX;
    reconcile(&mut window, now, Mode::FastIngest, 40, tail);
    let again = sends(&mut window, now);
    assert_eq!((ids(&again), again[0].denied), (vec![1], true));
}

#[test]
fn what_the_server_knows_and_has_not_stored_goes_without_its_id_wherever_the_stream_ends() {
    let now = crate::telemetry::clock::now();
    let late = |id| match trade(id) {
        Record::Trade(trade) => Record::Trade(TradeMsg { flags: Flags::BACKFILLED, ..trade }),
        Record::Gap(_) => panic!("no trade"),
    };
    // Behind one that came late, by an earlier run; and a gap that says that it is filled, with the same times.
    for (tail, record) in [(Some((40, late(9))), late(10)), (Some((40, gap(2, 3, 0))), gap(2, 3, Flags::BACKFILLED))] {
        let mut window = Window::new(config(), now);
        reconcile(&mut window, now, Mode::Chained, 40, tail);
        window.push(now, 0, &record);
        let Reply::Token(token) = sends(&mut window, now)[0].reply else { panic!("no token") };
        let refusal = Refusal::InProcess;
        window.on_answer(now, window.epoch(), Answer::Refused { at: RefusedAt::Token(token), refusal });
        reconcile(&mut window, now + BACKOFF_MAX, Mode::Chained, 40, tail);
        let again = sends(&mut window, now + BACKOFF_MAX);
        assert!(again.len() == 1 && again[0].denied, "{again:?}");
        assert_eq!(again[0].expect, Some(Expect::LastSequence(40)), "a late copy is kept out");
    }
}

#[test]
fn all_that_the_server_names_in_one_doubt_goes_without_its_id_and_alone() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    reconcile(&mut window, now, Mode::Chained, 40, Some((40, trade(1))));
    (2..=4).for_each(|id| window.push(now, 0, &trade(id)));
    let sent = sends(&mut window, now);
    for (place, refusal) in [(0, Refusal::InProcess), (1, Refusal::WrongSequence), (2, Refusal::InProcess)] {
        let Reply::Token(token) = sent[place].reply else { panic!("no token") };
        window.on_answer(now, window.epoch(), Answer::Refused { at: RefusedAt::Token(token), refusal });
    }
    assert_eq!(window.next(now), None, "the other answers are on their way");
    let now = now + BACKOFF_MAX;
    reconcile(&mut window, now, Mode::Chained, 40, Some((40, trade(1))));
    for (seq, id, denied) in [(41, 2, true), (42, 3, false), (43, 4, true)] {
        let sent = sends(&mut window, now);
        assert!(sent.len() == 1 && (ids(&sent)[0], sent[0].denied) == (id, denied), "{id}: {sent:?}");
        let Reply::Token(token) = sent[0].reply else { panic!("no token") };
        window.on_answer(now, window.epoch(), Answer::Stored { token, seq, duplicate: false });
    }
    assert!(window.is_drained());
}

#[test]
fn all_that_the_server_has_already_is_believed_in_one_doubt() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    let tail = Some((40, trade(4)));
    reconcile(&mut window, now, Mode::Chained, 40, tail);
    (2..=5).for_each(|id| window.push(now, 0, &trade(id)));
    let sent = sends(&mut window, now);
    for (send, seq) in sent.iter().zip(38..=40) {
        let Reply::Token(token) = send.reply else { panic!("no token") };
        window.on_answer(now, window.epoch(), Answer::Stored { token, seq, duplicate: true });
    }
    let now = now + BACKOFF_MAX;
    reconcile(&mut window, now, Mode::Chained, 40, tail);
    let again = sends(&mut window, now);
    assert_eq!((ids(&again), again[0].denied), (vec![5], false), "what comes behind them keeps its id");
    assert_eq!(window.stats().dropped, 0);
}

#[test]
fn what_waits_behind_its_own_follower_is_declared_and_not_taken_for_stored() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(Config { window: 1, ..config() }, now);
    reconcile(&mut window, now, Mode::Chained, 40, Some((40, trade(1))));
    (2..=4).for_each(|id| window.push(now, 0, &trade(id)));
    assert_eq!(ids(&sends(&mut window, now)), [2]);
    window.on_disconnect(now);
    let now = now + BACKOFF_MAX;
    let Some(Action::Reconcile(query)) = window.next(now) else { panic!("a doubt is followed by a question") };
    assert_eq!(query.places, Some((41, 41)));
    // The other instance's copy of a later one was still under way, and came first.
    let last = TailRecord { seq: 41, stored_ns: 0, record: *trade(4).as_bytes() };
    let tails = vec![Tail { key: Key::trades(0), last: Some(last) }];
    let copy = (Key::trades(0), bytes::Bytes::copy_from_slice(trade(4).as_bytes()));
    let report = Stored { last_seq: 41, tails, places: Places::from([(41, Some(copy))]), ..stored(&trade(1)) };
    window.on_reconciled(now, &report);
    let sent = sends(&mut window, now);
    let gap = |send: &Send| match Record::from_bytes(&send.payload) {
        Ok(Record::Gap(gap)) => (gap.first_id, gap.last_id),
        _ => panic!("no gap: {send:?}"),
    };
    assert_eq!(sent.iter().map(gap).collect::<Vec<_>>(), [(2, 3)]);
}

#[test]
fn what_was_sent_and_dropped_may_be_known_when_it_is_fetched_again() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(Config { outbox_bytes: 4 * (48 + MESSAGE_COST), ..config() }, now);
    let report = Stored { mode: Mode::FastIngest, is_new: true, ids_kept: BACKOFF_MAX * 4, ..stored(&trade(1)) };
    let read = |window: &mut Window, now| {
        let Some(Action::Reconcile(_)) = window.next(now) else { panic!("a doubt is followed by a question") };
        window.on_reconciled(now, &report);
    };
    read(&mut window, now);
    window.push(now, 0, &trade(2));
    assert!(matches!(sends(&mut window, now)[..], [Send { reply: Reply::Batch { .. }, .. }]));
    window.on_disconnect(now);
    let now = now + BACKOFF_MIN;
    read(&mut window, now);
    window.on_disconnect(now);
    (3..=7).for_each(|id| window.push(now, 0, &trade(id)));
    let now = now + BACKOFF_MAX;
    read(&mut window, now);
    let sent = sends(&mut window, now);
    assert!(window.stats().dropped > 0 && !sent.is_empty(), "{:?}", window.stats());
    assert!(sent.iter().all(|send| matches!(send.reply, Reply::Token(_))), "each asks: {sent:?}");
}

#[test]
fn a_chain_that_others_do_not_let_through_is_given_up() {
    let now = crate::telemetry::clock::now();
    let mut window = Window::new(config(), now);
    let tail = Some((40, trade(1)));
    reconcile(&mut window, now, Mode::FastIngest, 40, tail);
    window.push(now, 0, &trade(2));
    sends(&mut window, now);
    window.on_disconnect(now);
    let mut chained = 0;
    let mut now = now;
    for seq in 41..60 {
        now += BACKOFF_MAX;
        reconcile(&mut window, now, Mode::FastIngest, seq, tail);
        let Some(send) = sends(&mut window, now).pop() else { panic!("it is sent again") };
        if let Reply::Batch { batch, .. } = send.reply {
            assert_eq!(send.expect, Some(Expect::LastSubjectSequence(40)));
            window.on_answer(now, window.epoch(), Answer::Closed { batch, seq: seq + 2, count: 1, duplicate: false });
            break;
        }
        chained += 1;
        let Reply::Token(token) = send.reply else { panic!("no token: {send:?}") };
        let refusal = Refusal::WrongSequence;
        window.on_answer(now, window.epoch(), Answer::Refused { at: RefusedAt::Token(token), refusal });
    }
    assert!(window.is_drained() && chained > 1, "{chained} {:?}", window.stats());
}
