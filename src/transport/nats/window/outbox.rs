//! What waits to be sent: packing, the bound in bytes, and the gaps that declare what the bound cost.
//!
//! It knows nothing of the server.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::event::Key;
use super::message::{History, MESSAGE_COST, Message};
use crate::market::trade::RECORD_BYTES;
use crate::market::{GapMsg, GapReason, Record, SubjectKind};

/// Payloads are cut out of chunks of this size, so that a record costs no allocation.
const CHUNK: usize = 64 * 1024;

/// Gaps of a route that wait beside each other; beyond it they are joined, and say less.
const GAPS_MAX: usize = 64;

/// Positions start here, so that messages can be put back in front.
const ORIGIN: u64 = 1 << 40;

#[derive(Debug)]
pub(super) struct Outbox {
    queue: VecDeque<Message>,
    /// Position of the first queued message.
    head: u64,
    /// Position of a route's open message, if it has one; only with packing.
    open: Vec<u64>,
    arena: BytesMut,
    pack: usize,
    linger: Duration,
    bound: usize,
    bytes: usize,
    records: u64,
    /// Gaps that wait to be sent, by route: what was dropped since the last one left. Trades that follow on each other
    /// are in one gap, so that each gap says exactly what is missing.
    gaps: BTreeMap<u32, VecDeque<GapMsg>>,
}

/// What a drop cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    pub(super) trades: u64,
    /// Gaps that joined another gap.
    pub(super) gaps: u64,
    /// Gaps that began to wait.
    pub(super) declared: u64,
    /// Something among it was sent before.
    pub(super) sent: bool,
}

impl Outbox {
    pub(super) fn new(pack: usize, linger: Duration, bound: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            head: ORIGIN,
            open: Vec::new(),
            arena: BytesMut::new(),
            pack: pack.max(1),
            linger,
            bound,
            bytes: 0,
            records: 0,
            gaps: BTreeMap::new(),
        }
    }

    pub(super) const fn widen(&mut self, bytes: usize) {
        self.bound = self.bound.saturating_add(bytes);
    }

    pub(super) fn push(&mut self, now: Instant, route: u32, record: &Record) {
        self.records += 1;
        match record {
            Record::Trade(trade) if self.pack > 1 => self.push_packed(now, route, trade.as_bytes()),
            Record::Trade(trade) => self.push_sealed(now, Key::trades(route), trade.as_bytes()),
            Record::Gap(gap) => {
                // Trades behind the gap must not join a message before it.
                self.close_open(route);
                self.push_sealed(now, Key::gaps(route), gap.as_bytes());
            }
        }
    }

    /// Drops the oldest until the bound holds with a sixteenth to spare, so that a slow broker costs few long gaps and
    /// not many short ones.
    pub(super) fn enforce(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        if self.bytes <= self.bound {
            return dropped;
        }
        let target = self.bound - self.bound / 16;
        while self.bytes > target {
            let Some(message) = self.pop_queue() else { break };
            self.declare(&message, GapReason::OutboxOverflow, &mut dropped);
        }
        dropped
    }

    /// Declares the records of a message that will never be sent.
    pub(super) fn declare(&mut self, message: &Message, reason: GapReason, dropped: &mut Dropped) {
        let lost_before = message.history == History::Lost;
        dropped.sent |= message.history != History::Fresh;
        for record in message.each() {
            match record {
                Record::Trade(_) => dropped.trades += 1,
                Record::Gap(_) => dropped.gaps += 1,
            }
            let reason = if lost_before { GapReason::BrokerLost } else { reason };
            dropped.declared += u64::from(self.declare_gap(message.key.route, record.lost(reason)));
        }
    }

    /// Lets a gap wait, joined with the last one of the same route where it follows on it. True when it stands alone.
    pub(super) fn declare_gap(&mut self, route: u32, gap: GapMsg) -> bool {
        let waiting = self.gaps.entry(route).or_default();
        let many = waiting.len() >= GAPS_MAX;
        if let Some(last) = waiting.back_mut().filter(|last| many || last.is_followed_by(&gap)) {
            last.join(&gap);
            return false;
        }
        waiting.push_back(gap);
        self.records += 1;
        self.bytes += RECORD_BYTES + MESSAGE_COST;
        true
    }

    /// Puts what this leaves of each waiting gap in its place.
    pub(super) fn cut_gaps(&mut self, rest: impl Fn(u32, &GapMsg) -> Option<GapMsg>) {
        let mut gone = 0;
        self.gaps.retain(|route, waiting| {
            let before = waiting.len();
            *waiting = waiting.iter().filter_map(|gap| rest(*route, gap)).collect();
            gone += before - waiting.len();
            !waiting.is_empty()
        });
        self.records -= gone as u64;
        self.bytes -= gone * (RECORD_BYTES + MESSAGE_COST);
    }

    /// Whether a message may leave now; with `force` none waits for company.
    pub(super) fn ready(&self, now: Instant, force: bool) -> bool {
        !self.gaps.is_empty()
            || self.queue.front().is_some_and(|message| force || !message.is_open() || message.at <= now)
    }

    /// The next message: declared gaps first, since what they declare is older than all that waits.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Message> {
        if let Some((route, gap)) = self.pop_gap() {
            self.records -= 1;
            self.bytes -= RECORD_BYTES + MESSAGE_COST;
            let payload = self.carve(gap.as_bytes());
            return Some(Message::sealed(Key::gaps(route), payload, now));
        }
        self.pop_queue().map(|mut message| {
            message.seal();
            message
        })
    }

    /// Whether what waits in front was sent before.
    pub(super) fn resends(&self) -> bool {
        self.queue.front().is_some_and(|message| message.history != History::Fresh)
    }

    /// Whether the server knows what waits in front without having it.
    pub(super) fn is_denied(&self) -> bool {
        self.gaps.is_empty() && self.queue.front().is_some_and(|message| message.history == History::Denied)
    }

    /// Puts messages back in front, oldest first in `messages`.
    pub(super) fn restore(&mut self, messages: Vec<Message>) {
        for mut message in messages.into_iter().rev() {
            message.seal();
            self.head -= 1;
            self.records += message.records();
            self.bytes += message.cost();
            self.queue.push_front(message);
        }
    }

    /// Takes out all messages; those that the caller keeps are to be restored. Declared gaps stay.
    pub(super) fn take(&mut self) -> Vec<Message> {
        let mut taken = Vec::with_capacity(self.queue.len());
        while let Some(message) = self.pop_queue() {
            taken.push(message);
        }
        taken
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.queue.iter()
    }

    /// Gaps that wait to be declared.
    pub(super) fn declared(&self) -> impl Iterator<Item = &GapMsg> {
        self.gaps.values().flatten()
    }

    /// Gaps of a route that wait to be declared.
    pub(super) fn declared_of(&self, route: u32) -> impl Iterator<Item = &GapMsg> {
        self.gaps.get(&route).into_iter().flatten()
    }

    fn pop_gap(&mut self) -> Option<(u32, GapMsg)> {
        let mut entry = self.gaps.first_entry()?;
        let (route, gap) = (*entry.key(), entry.get_mut().pop_front());
        if entry.get().is_empty() {
            entry.remove();
        }
        gap.map(|gap| (route, gap))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.gaps.is_empty()
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first message may leave though it is not full.
    pub(super) fn due(&self) -> Option<Instant> {
        self.queue.front().filter(|message| message.is_open()).map(|message| message.at)
    }

    fn push_sealed(&mut self, now: Instant, key: Key, record: &[u8; RECORD_BYTES]) {
        let payload = self.carve(record);
        self.bytes += RECORD_BYTES + MESSAGE_COST;
        self.queue.push_back(Message::sealed(key, payload, now));
    }

    fn push_packed(&mut self, now: Instant, route: u32, record: &[u8; RECORD_BYTES]) {
        self.bytes += RECORD_BYTES;
        let pack = self.pack as u64;
        if let Some(message) = self.open_message(route)
            && message.append(record)
        {
            if message.records() >= pack {
                message.seal();
            }
            return;
        }
        let mut message = Message::open(Key::trades(route), self.pack, now + self.linger);
        message.append(record);
        self.bytes += MESSAGE_COST;
        let at = self.head + self.queue.len() as u64;
        self.queue.push_back(message);
        let index = route as usize;
        if self.open.len() <= index {
            self.open.resize(index + 1, 0);
        }
        if let Some(slot) = self.open.get_mut(index) {
            *slot = at;
        }
    }

    fn open_message(&mut self, route: u32) -> Option<&mut Message> {
        let at = *self.open.get(route as usize)?;
        let index = usize::try_from(at.checked_sub(self.head)?).ok()?;
        let key = Key::trades(route);
        self.queue.get_mut(index).filter(|message| message.key == key && message.is_open())
    }

    fn close_open(&mut self, route: u32) {
        if let Some(message) = self.open_message(route) {
            message.seal();
        }
    }

    fn pop_queue(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.head += 1;
        self.records -= message.records();
        self.bytes -= message.cost();
        Some(message)
    }

    fn carve(&mut self, record: &[u8; RECORD_BYTES]) -> bytes::Bytes {
        if self.arena.capacity() < RECORD_BYTES {
            self.arena = BytesMut::with_capacity(CHUNK);
        }
        self.arena.extend_from_slice(record);
        self.arena.split().freeze()
    }
}

/// Whether a key carries gaps.
pub(super) const fn carries_gaps(key: Key) -> bool {
    matches!(key.kind, SubjectKind::Gaps)
}
