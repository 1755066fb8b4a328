//! The real publish window before the scripted broker: a driver as the publisher's shell is, without IO.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_manager::market::trade::KIND_TRADE_V1;
use data_manager::market::{Flags, Record, SubjectKind, TradeMsg};
use data_manager::transport::nats::window::{
    Action, Answer, BatchOp as Op, Config, Expect, Key, Mode, Phase, Places, Query, Refusal, RefusedAt, Reply as Ask,
    Send, Stats, Stored as Report, Tail, TailRecord, Window,
};

use crate::broker::{BatchOp, BatchPlace, FORERUN, Micros, Publish, Reply, STRANGE, Stored, code};
use crate::world::{Input, Output, Publisher, Read};

/// So long a publisher is wary of what an earlier run may have sent: longer than the broker takes it for known.
const WARY: Micros = FORERUN * 2;

/// Nothing is waited for longer than this while reading what is stored.
const READ_TIMEOUT: Micros = 300_000;

/// The window and its driver.
pub(crate) struct RealPublisher {
    window: Window,
    mode: Mode,
    start: Instant,
    reading: Option<Reading>,
    replies: BTreeMap<u64, Ask>,
    next_reply: u64,
    epoch: u32,
    connected: bool,
    /// How long it reckons with ids of an earlier run.
    wary: Duration,
}

/// Whether a seed's publisher forgets what was acknowledged: then the broker must not lose it.
pub(crate) fn keeps_nothing(seed: u64) -> bool {
    seed % 16 == 6 || seed % 16 == 11
}

/// Whether a seed's publisher is told that nobody else writes.
pub(crate) fn is_sole(seed: u64) -> bool {
    seed % 10 != 4
}

/// Whether an earlier run of a seed's publisher has sent what is sent first, and none of it was stored.
pub(crate) fn has_forerunner(seed: u64) -> bool {
    is_sole(seed) && seed % 9 == 2
}

/// What a subject is for, if it is one of the publisher's.
fn key(subject: u32) -> Option<Key> {
    let kind = if subject.is_multiple_of(2) { SubjectKind::Trades } else { SubjectKind::Gaps };
    (subject != STRANGE).then_some(Key { route: subject / 2, kind })
}

/// A reconcile under way.
struct Reading {
    query: Query,
    fence_reply: Option<u64>,
    last_seq: Option<u64>,
    tails: Vec<Tail>,
    /// What was asked for besides, once it is there.
    places: Option<Places>,
    due: Micros,
}

impl RealPublisher {
    /// A publisher whose mode and packing the seed decides.
    pub(crate) fn new(seed: u64, start: Instant) -> Self {
        let config = Config {
            window: if seed.is_multiple_of(7) { 1 } else { 32 },
            pack: if seed.is_multiple_of(4) { 4 } else { 1 },
            linger: Duration::from_micros(300),
            ack_timeout: Duration::from_millis(50),
            outbox_bytes: 1 << 20,
            // Where nothing is kept, what is stored can only be told by its place.
            retain: if keeps_nothing(seed) { Duration::from_millis(1) } else { Duration::from_secs(3_600) },
            retain_bytes: 1 << 24,
            routes: 4,
            sole: is_sole(seed),
            oldest_removed_first: true,
            seed,
        };
        Self {
            window: Window::new(config, start),
            mode: if seed.is_multiple_of(2) { Mode::FastIngest } else { Mode::Chained },
            start,
            reading: None,
            replies: BTreeMap::new(),
            next_reply: 0,
            epoch: 0,
            connected: false,
            wary: Duration::from_micros(if has_forerunner(seed) { WARY } else { 0 }),
        }
    }

    /// One that takes no earlier run into account.
    pub(crate) fn trusting(seed: u64, start: Instant) -> Self {
        Self { wary: Duration::ZERO, ..Self::new(seed, start) }
    }

    /// The window's own counts.
    pub(crate) fn stats(&self) -> Stats {
        self.window.stats()
    }

    fn instant(&self, now: Micros) -> Instant {
        self.start + Duration::from_micros(now)
    }

    fn reply(&mut self, ask: Ask) -> u64 {
        self.next_reply += 1;
        self.replies.insert(self.next_reply, ask);
        self.next_reply
    }

    fn publish(&mut self, send: &Send) -> Publish {
        let (expected_last, expected_of_subject) = match send.expect {
            Some(Expect::LastSequence(seq)) => (Some(seq), None),
            Some(Expect::LastSubjectSequence(seq)) => (None, Some(seq)),
            None => (None, None),
        };
        let batch = match send.reply {
            Ask::Batch { batch, flow, seq, op } => {
                let op = match op {
                    Op::Start | Op::Append => BatchOp::Store,
                    Op::End => BatchOp::End,
                    Op::Ping => BatchOp::Ping,
                    Op::Commit => BatchOp::Commit,
                };
                Some(BatchPlace { batch, seq, flow: u64::from(flow), op })
            }
            Ask::Token(_) => None,
        };
        let record = Record::from_bytes(send.payload.rchunks(48).next().unwrap_or_default());
        let of_record = |record| match record {
            Record::Trade(msg) => format!("{}-{}-{}", msg.instrument_id, msg.trade_id, send.payload.len()),
            Record::Gap(gap) => format!("g{}-{}-{}", gap.instrument_id, gap.first_id, gap.ts_start),
        };
        let msg_id = record.ok().filter(|_| !send.denied).map(of_record);
        Publish {
            subject: send.key.index() as u32,
            msg_id,
            expected_last,
            expected_of_subject,
            batch,
            reply: self.reply(send.reply),
            payload: send.payload.to_vec(),
        }
    }

    fn pump(&mut self, now: Micros, out: &mut Vec<Output>) {
        let at = self.instant(now);
        while let Some(action) = self.window.next(at) {
            match action {
                Action::Send(send) => {
                    let message = self.publish(&send);
                    out.push(Output::Publish(message));
                }
                Action::Reconcile(query) => {
                    self.connected = false;
                    self.replies.clear();
                    self.epoch = query.epoch;
                    let due = now + READ_TIMEOUT;
                    self.reading = Some(Reading {
                        query,
                        fence_reply: None,
                        last_seq: None,
                        tails: Vec::new(),
                        places: None,
                        due,
                    });
                    out.push(Output::Dial);
                    out.push(Output::WakeAt(due));
                }
            }
        }
        let reading_due = self.reading.as_ref().map(|reading| reading.due);
        let due = self.window.poll_at().map(|at| at.saturating_duration_since(self.start).as_micros() as Micros + 1);
        if let Some(due) = [reading_due, due].into_iter().flatten().min() {
            out.push(Output::WakeAt(due.max(now + 1)));
        }
    }

    fn connected(&mut self, out: &mut Vec<Output>) {
        self.connected = true;
        let fence = self.reading.as_ref().and_then(|reading| reading.query.fence);
        let Some(batch) = fence else { return out.push(Output::AskStream) };
        let reply = self.reply(Ask::Token(0));
        if let Some(reading) = &mut self.reading {
            reading.fence_reply = Some(reply);
        }
        let place = BatchPlace { batch, seq: 1 << 40, flow: 1, op: BatchOp::End };
        out.push(Output::Publish(Publish {
            subject: 0,
            msg_id: None,
            expected_last: None,
            expected_of_subject: None,
            batch: Some(place),
            reply,
            payload: Vec::new(),
        }));
    }

    fn stream(&mut self, now: Micros, last_seq: u64, out: &mut Vec<Output>) {
        let Some(reading) = &mut self.reading else { return };
        reading.last_seq = Some(last_seq);
        out.extend(reading.query.subjects.iter().map(|key| Output::AskTail(key.index() as u32)));
        match reading.query.places {
            Some((first, last)) => out.push(Output::AskPlaces(first, last.min(last_seq))),
            None => reading.places = Some(Places::new()),
        }
        self.finish(now);
    }

    fn tail(&mut self, now: Micros, subject: u32, stored: Option<(u64, Stored)>) {
        let Some(reading) = &mut self.reading else { return };
        let Some(key) = key(subject) else { return };
        let last = stored.map(|(seq, stored)| {
            let bytes = stored.payload.rchunks(48).next().and_then(|bytes| bytes.try_into().ok());
            TailRecord { seq, stored_ns: 0, record: bytes.expect("whole records") }
        });
        reading.tails.push(Tail { key, last });
        self.finish(now);
    }

    fn places(&mut self, now: Micros, stored: Vec<(u64, Stored)>) {
        let Some(reading) = &mut self.reading else { return };
        let place = |(seq, stored): (u64, Stored)| (seq, key(stored.subject).map(|key| (key, stored.payload.into())));
        reading.places = Some(stored.into_iter().map(place).collect());
        self.finish(now);
    }

    fn finish(&mut self, now: Micros) {
        let done = self
            .reading
            .as_ref()
            .is_some_and(|reading| reading.tails.len() >= reading.query.subjects.len() && reading.places.is_some());
        if !done {
            return;
        }
        let Some(Reading { last_seq: Some(last_seq), tails, places: Some(places), .. }) = self.reading.take() else {
            return;
        };
        let stored = Report {
            mode: self.mode,
            last_seq,
            created: 1,
            is_new: self.wary.is_zero(),
            ids_kept: self.wary,
            tails,
            places,
        };
        self.window.on_reconciled(self.instant(now), &stored);
    }

    fn failed(&mut self, now: Micros, why: &str) {
        if self.reading.take().is_some() {
            self.window.on_reconcile_failed(self.instant(now), why);
        }
    }

    fn answer(&mut self, now: Micros, reply: u64, answer: &Reply, out: &mut Vec<Output>) {
        let fence = self.reading.as_ref().and_then(|reading| reading.fence_reply);
        if fence == Some(reply) {
            return out.push(Output::AskStream);
        }
        let Some(ask) = self.replies.get(&reply).copied() else { return };
        let at = match ask {
            Ask::Batch { batch, seq, .. } => RefusedAt::Batch { batch, seq },
            Ask::Token(token) => RefusedAt::Token(token),
        };
        let batch = if let Ask::Batch { batch, .. } = ask { batch } else { 0 };
        let token = if let Ask::Token(token) = ask { token } else { 0 };
        let answer = match *answer {
            Reply::Stored { seq, duplicate } => Answer::Stored { token, seq, duplicate },
            Reply::BatchAck { seq, msgs } => Answer::Flow { batch, seq, msgs: msgs as u16 },
            Reply::BatchEnd { count, seq, duplicate } => Answer::Closed { batch, seq, count, duplicate },
            Reply::Refused { code } => {
                let refusal = match code {
                    code::WRONG_LAST_SEQUENCE => Refusal::WrongSequence,
                    code::IN_PROCESS => Refusal::InProcess,
                    code::TOO_MANY_REQUESTS => Refusal::TooMany,
                    _ => Refusal::BatchLost,
                };
                Answer::Refused { at, refusal }
            }
        };
        self.window.on_answer(self.instant(now), self.epoch, answer);
    }
}

impl Publisher for RealPublisher {
    fn step(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Connected => self.connected(out),
            Input::Disconnected => {
                self.connected = false;
                self.failed(now, "disconnected");
                self.window.on_disconnect(self.instant(now));
            }
            Input::Answer { reply, answer } => self.answer(now, reply, &answer, out),
            Input::Stream { last_seq } => self.stream(now, last_seq, out),
            Input::Tail { subject, stored } => self.tail(now, subject, stored),
            Input::Places(stored) => self.places(now, stored),
            Input::Trade { subject, id, late } => {
                let msg = TradeMsg {
                    trade_id: id,
                    ts_event: id,
                    ts_recv: now,
                    instrument_id: subject + 1,
                    flags: if late { Flags::BACKFILLED } else { 0 },
                    kind: KIND_TRADE_V1,
                    ..bytemuck::Zeroable::zeroed()
                };
                self.window.push(self.instant(now), subject, &Record::Trade(msg));
            }
            Input::Wake => {
                if self.reading.as_ref().is_some_and(|reading| reading.due <= now) {
                    self.failed(now, "no answer");
                }
            }
        }
        self.pump(now, out);
    }

    fn idle(&self) -> bool {
        self.window.is_drained() && *self.window.phase() == Phase::Steady
    }
}

/// Reads a stored message.
pub(crate) fn read(stored: &Stored) -> Read {
    let symbol = (stored.subject / 2) as usize;
    if stored.subject == STRANGE {
        return Read::Trades(symbol, Vec::new());
    }
    let records = stored.payload.chunks_exact(48).map(|bytes| Record::from_bytes(bytes).expect("a record"));
    let mut ids = Vec::new();
    for record in records {
        match record {
            Record::Trade(msg) => ids.push(msg.trade_id),
            Record::Gap(gap) => return Read::Gap(symbol, gap.first_id, gap.last_id),
        }
    }
    Read::Trades(symbol, ids)
}
