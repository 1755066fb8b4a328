//! A message on its way: payload, subject, and how its records are compared with what is stored.

use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};

use super::event::Key;
use crate::market::trade::RECORD_BYTES;
use crate::market::{Flags, Record, TradeMsg};

/// A message, wherever it stands: waiting, in flight, or retained.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) key: Key,
    /// Acknowledged once, then lost by the broker; or sent before.
    pub(super) history: History,
    /// Waiting: when it may leave though it is not full. In flight: when it was sent. Retained: when it was
    /// acknowledged.
    pub(super) at: Instant,
    payload: Payload,
}

/// What happened to a message before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    Fresh,
    Sent,
    /// It was acknowledged and the broker lost it.
    Lost,
    /// The server says that it has it, and it has not: its id is known there, and must not be named again.
    Denied,
}

/// Open payloads still take records.
#[derive(Clone, Debug)]
enum Payload {
    Open(BytesMut),
    Sealed(Bytes),
}

/// A venue's times may stand out of order by so much, nanoseconds; lower ids with times beyond it are ids that were
/// begun anew.
pub(in crate::transport::nats) const RESTART_NS: u64 = 1_000_000_000;

/// What keeping a message costs besides its payload.
pub(super) const MESSAGE_COST: usize = size_of::<Message>();

impl Message {
    pub(super) const fn sealed(key: Key, payload: Bytes, at: Instant) -> Self {
        Self { key, history: History::Fresh, at, payload: Payload::Sealed(payload) }
    }

    pub(super) fn open(key: Key, pack: usize, due: Instant) -> Self {
        let buffer = BytesMut::with_capacity(pack * RECORD_BYTES);
        Self { key, history: History::Fresh, at: due, payload: Payload::Open(buffer) }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.payload, Payload::Open(_))
    }

    /// Appends a record to an open payload; false when it is sealed.
    pub(super) fn append(&mut self, record: &[u8; RECORD_BYTES]) -> bool {
        match &mut self.payload {
            Payload::Open(buffer) => {
                buffer.extend_from_slice(record);
                true
            }
            Payload::Sealed(_) => false,
        }
    }

    pub(super) fn seal(&mut self) {
        if let Payload::Open(buffer) = &mut self.payload {
            self.payload = Payload::Sealed(std::mem::take(buffer).freeze());
        }
    }

    /// The payload of a sealed message; an open one is sealed first.
    pub(super) fn payload(&mut self) -> Bytes {
        self.seal();
        match &self.payload {
            Payload::Sealed(bytes) => bytes.clone(),
            Payload::Open(_) => Bytes::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.payload {
            Payload::Open(buffer) => buffer,
            Payload::Sealed(bytes) => bytes,
        }
    }

    pub(super) fn records(&self) -> u64 {
        (self.bytes().len() / RECORD_BYTES) as u64
    }

    /// Bytes as the bounds count them.
    pub(super) fn cost(&self) -> usize {
        self.bytes().len() + MESSAGE_COST
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Record> + '_ {
        self.bytes().chunks_exact(RECORD_BYTES).filter_map(|chunk| Record::from_bytes(chunk).ok())
    }

    pub(super) fn first(&self) -> Option<Record> {
        self.bytes().get(..RECORD_BYTES).and_then(|bytes| Record::from_bytes(bytes).ok())
    }

    pub(super) fn last(&self) -> Option<Record> {
        let start = self.bytes().len().checked_sub(RECORD_BYTES)?;
        Record::from_bytes(self.bytes().get(start..)?).ok()
    }

    /// Index of the newest record that `same` accepts.
    pub(super) fn rposition(&self, same: impl Fn(&[u8]) -> bool) -> Option<usize> {
        self.bytes().chunks_exact(RECORD_BYTES).rposition(same)
    }

    /// Leaves the first `count` records out.
    pub(super) fn advance(&mut self, count: usize) {
        self.seal();
        if let Payload::Sealed(bytes) = &mut self.payload {
            bytes.advance((count * RECORD_BYTES).min(bytes.len()));
        }
    }

    /// The second half of the records, where there are two; the first stays.
    pub(super) fn split(&mut self) -> Option<Self> {
        self.seal();
        let count = self.bytes().len() / RECORD_BYTES;
        let Payload::Sealed(bytes) = &mut self.payload else { return None };
        if count < 2 {
            return None;
        }
        let rest = bytes.split_off(count / 2 * RECORD_BYTES);
        Some(Self { key: self.key, history: self.history, at: self.at, payload: Payload::Sealed(rest) })
    }
}

/// When a record happened, and its id where it has an ordered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Venue time, nanoseconds since the Unix epoch; for a gap its end.
    pub(super) ts: u64,
    /// The venue's id; 0 for a gap.
    pub(super) id: u64,
    /// Whether ids of this kind grow: numeric ids of trades do, hashes and gaps do not.
    pub(super) ordered: bool,
    /// It came from the venue's history, and may stand behind younger ones.
    pub(super) late: bool,
}

impl Mark {
    pub(super) const fn of(record: &Record) -> Self {
        match record {
            Record::Trade(trade) => {
                let flags = trade.flag_set();
                let (ordered, late) = (!flags.has(Flags::HASHED_ID), flags.has(Flags::BACKFILLED));
                Self { ts: trade.ts_event, id: trade.trade_id, ordered, late }
            }
            Record::Gap(gap) => Self { ts: gap.ts_end, id: 0, ordered: false, late: false },
        }
    }

    /// Whether this happened after `other`, as far as that can be told.
    pub(super) const fn after(&self, other: &Self) -> bool {
        if self.ordered && other.ordered { self.id > other.id } else { self.ts > other.ts }
    }

    /// Whether this happened so long after `other` that a lower id is one of a venue that counts anew.
    pub(super) const fn outlives(&self, other: &Self) -> bool {
        !self.late && self.ts > other.ts.saturating_add(RESTART_NS)
    }

    /// Whether a stream that ends here has passed a record of the same instrument: stored it, or declared it, or knows
    /// of what it declares.
    pub(super) const fn passed(&self, record: &Record) -> bool {
        let ts = self.ts.saturating_add(RESTART_NS);
        match record {
            Record::Trade(trade) if self.ordered && !trade.flag_set().has(Flags::HASHED_ID) => {
                trade.trade_id <= self.id && trade.ts_event <= ts
            }
            Record::Trade(trade) => trade.ts_event < self.ts,
            Record::Gap(gap) if self.ordered && gap.is_exact() => gap.last_id <= self.id && gap.ts_end <= ts,
            Record::Gap(gap) => gap.ts_end <= self.ts,
        }
    }

    /// Whether this surely is stored where `other` is the last that is: by id and by time, since ids may start again.
    pub(super) const fn covered_by(&self, other: &Self) -> bool {
        !self.late
            && self.ordered
            && other.ordered
            && self.id <= other.id
            && self.ts <= other.ts.saturating_add(RESTART_NS)
    }
}

/// Whether two records are the same trade: a twin from a snapshot or from history may differ in its other fields.
pub(super) fn same_trade(a: &Record, b: &Record) -> bool {
    match (a, b) {
        (Record::Trade(a), Record::Trade(b)) => {
            // Milliseconds: what a venue's history and its feed agree in. A venue that counts anew has other times.
            let at = |trade: &TradeMsg| trade.ts_event / 1_000_000;
            a.trade_id == b.trade_id && a.instrument_id == b.instrument_id && at(a) == at(b)
        }
        (Record::Gap(a), Record::Gap(b)) => a == b,
        _ => false,
    }
}
