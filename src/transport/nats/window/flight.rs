//! What is in flight and how it is numbered: the chain of expected sequences, or the fast-ingest batch.
//!
//! It says what the next publish must carry and what an acknowledgement covers; it does not know what waits or why.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::{BatchOp, Expect, Key, Mode, RefusedAt, Reply, Send};
use super::message::{History, Message};

/// A batch that gets no further message is ended after this long, which acknowledges all of it. The server itself gives
/// an idle batch up after 10 s.
pub(super) const BATCH_IDLE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) queue: VecDeque<Message>,
    /// Position of the first message in flight; positions only grow, over all epochs.
    pub(super) head: u64,
    pub(super) mode: Mode,
    /// Stream sequence of the message before `base`, and the position behind it: position `base + n` is expected at
    /// sequence `base_seq + n + 1`, as long as nobody else writes.
    base_seq: u64,
    base: u64,
    pub(super) batch: Batch,
    batch_no: u64,
    /// What the window's bound makes of the flow.
    flow: u16,
    window: u64,
    last_send: Option<Instant>,
    pub(super) pinged: bool,
}

/// Where the fast-ingest batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// None is open.
    None,
    /// Its first message is sent, its first answer awaited.
    Opening { first: u64 },
    /// Messages run freely; `msgs` is what the server grants between acknowledgements.
    Open { first: u64, msgs: u16 },
    /// Its end is sent; everything waits for the closing answer.
    Closing { first: u64, since: Instant },
}

/// The conditions that the next message of an epoch may have to carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    /// Other writers have been seen: sequences cannot be predicted.
    pub(super) foreign: bool,
    /// Tail sequence of the next message's subject, if it was read at the start of this epoch and nothing was sent
    /// since.
    pub(super) tail: Option<u64>,
}

impl Flight {
    pub(super) fn new(window: usize) -> Self {
        let window = window.max(1) as u64;
        let flow = u16::try_from((window / 16).clamp(1, 500)).unwrap_or(500);
        Self {
            queue: VecDeque::new(),
            head: 0,
            mode: Mode::Chained,
            base_seq: 0,
            base: 0,
            batch: Batch::None,
            batch_no: 0,
            flow,
            window,
            last_send: None,
            pinged: false,
        }
    }

    /// A new epoch begins with nothing in flight behind `last_seq`.
    pub(super) fn begin(&mut self, mode: Mode, last_seq: u64) {
        debug_assert!(self.queue.is_empty(), "an epoch begins with nothing in flight");
        self.mode = mode;
        self.rebase(last_seq);
        self.batch = Batch::None;
        self.last_send = None;
        self.pinged = false;
    }

    /// Everything up to the head is stored, and the stream ends at `seq`.
    pub(super) fn rebase(&mut self, seq: u64) {
        self.base_seq = seq;
        self.base = self.head;
    }

    /// Position of the next message to send.
    pub(super) fn next(&self) -> u64 {
        self.head + self.queue.len() as u64
    }

    /// The stream sequence that a position is expected to get.
    pub(super) const fn predicted(&self, position: u64) -> u64 {
        self.base_seq + (position - self.base) + 1
    }

    /// First and last sequence at which anything in flight can stand, where that has to be read: a copy that was sent
    /// in an earlier epoch stands no further than a window behind what is reached either.
    pub(super) fn places(&self) -> Option<(u64, u64)> {
        let chained = !self.queue.is_empty() && self.mode == Mode::Chained;
        chained.then(|| (self.reached() + 1, self.reached() + self.window))
    }

    /// The position that a refusal means, where it tells.
    pub(super) fn refused(&self, at: RefusedAt) -> Option<u64> {
        match at {
            RefusedAt::Token(position) => Some(position),
            RefusedAt::Batch { batch, .. } if !self.is_current(batch) => None,
            RefusedAt::Batch { seq: 0, .. } => (self.queue.len() == 1).then_some(self.head),
            RefusedAt::Batch { seq, .. } => self.batch_first().map(|first| first + seq - 1),
            RefusedAt::Last => self.next().checked_sub(1),
        }
    }

    /// Whether a position is in flight.
    pub(super) fn has(&self, position: u64) -> bool {
        position >= self.head && position < self.next()
    }

    /// The stream sequence that is known to be reached: that of the last acknowledged position.
    pub(super) const fn reached(&self) -> u64 {
        self.base_seq + (self.head - self.base)
    }

    /// Whether one more message may leave; with `careful` only one at a time.
    pub(super) fn has_room(&self, careful: bool) -> bool {
        let sent = self.queue.len() as u64;
        let bound = match (careful, self.batch) {
            (true, Batch::None) => 1,
            (true, _) => return false,
            (_, Batch::Opening { .. } | Batch::Closing { .. }) => return false,
            // A server that grants less than was asked for wants to be spared: two grants may be outstanding.
            (_, Batch::Open { msgs, .. }) if msgs < self.flow => self.window.min(u64::from(msgs) * 2).max(1),
            _ => self.window,
        };
        !matches!(self.batch, Batch::Opening { .. } | Batch::Closing { .. }) && sent < bound
    }

    /// Puts a message in flight. `last` says that nothing can follow at once, `alone` that one at a time is sent.
    pub(super) fn send(
        &mut self,
        now: Instant,
        mut message: Message,
        fence: Fence,
        (last, alone): (bool, bool),
    ) -> Send {
        let position = self.next();
        let (reply, expect) = match self.mode {
            Mode::Chained => self.chained(position),
            Mode::FastIngest => self.batched(now, position, fence, (last, alone)),
        };
        let denied = message.history == History::Denied;
        let send = Send { key: message.key, payload: message.payload(), reply, expect, denied };
        message.at = now;
        self.last_send = Some(now);
        self.queue.push_back(message);
        send
    }

    /// Whether an open batch should be ended: nothing was appended for [`BATCH_IDLE`], or one message at a time is
    /// sent.
    pub(super) fn end_due(&self) -> Option<Instant> {
        match (self.batch, self.last_send) {
            (Batch::Open { .. }, Some(at)) => Some(at + BATCH_IDLE),
            _ => None,
        }
    }

    pub(super) fn end(&mut self, now: Instant, key: Key) -> Option<Send> {
        let Batch::Open { first, .. } = self.batch else { return None };
        let reply = self.reply(self.next() - first + 1, BatchOp::End);
        self.batch = Batch::Closing { first, since: now };
        Some(Send { key, payload: bytes::Bytes::new(), reply, expect: None, denied: false })
    }

    pub(super) fn ping(&mut self, key: Key) -> Option<Send> {
        let Batch::Open { first, .. } = self.batch else { return None };
        self.pinged = true;
        let reply = self.reply(self.next() - first, BatchOp::Ping);
        Some(Send { key, payload: bytes::Bytes::new(), reply, expect: None, denied: false })
    }

    /// Number of the batch that may be open at the server.
    pub(super) fn open_batch(&self) -> Option<u64> {
        (self.batch != Batch::None).then_some(self.batch_no)
    }

    pub(super) const fn is_current(&self, batch: u64) -> bool {
        batch == self.batch_no
    }

    /// First position of the current batch.
    pub(super) const fn batch_first(&self) -> Option<u64> {
        match self.batch {
            Batch::None => None,
            Batch::Opening { first } | Batch::Open { first, .. } | Batch::Closing { first, .. } => Some(first),
        }
    }

    /// When what is awaited longest was asked for.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let closing = match self.batch {
            Batch::Closing { since, .. } => Some(since),
            _ => None,
        };
        let sent = self.queue.front().map(|message| message.at);
        match (closing, sent) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Each asks for its answer: that of a later one does not cover it, since somebody else's message may be stored in
    /// its place, and the later one follow that.
    const fn chained(&self, position: u64) -> (Reply, Option<Expect>) {
        (Reply::Token(position), Some(Expect::LastSequence(self.predicted(position) - 1)))
    }

    fn batched(
        &mut self,
        now: Instant,
        position: u64,
        fence: Fence,
        (last, alone): (bool, bool),
    ) -> (Reply, Option<Expect>) {
        if let Batch::Open { first, .. } = self.batch {
            return (self.reply(position - first + 1, BatchOp::Append), None);
        }
        self.batch_no += 1;
        // The first message of a batch is the only one that could be stored by a connection that was left: it carries a
        // condition that such a late copy cannot meet.
        let expect = if fence.foreign {
            fence.tail.map(Expect::LastSubjectSequence)
        } else {
            Some(Expect::LastSequence(self.predicted(position) - 1))
        };
        let quiet = self.last_send.is_none_or(|at| now.saturating_duration_since(at) > BATCH_IDLE);
        // One at a time each wants an answer of its own.
        let op = if last && (quiet || alone) {
            self.batch = Batch::Closing { first: position, since: now };
            BatchOp::Commit
        } else {
            self.batch = Batch::Opening { first: position };
            BatchOp::Start
        };
        (self.reply(1, op), expect)
    }

    const fn reply(&self, seq: u64, op: BatchOp) -> Reply {
        Reply::Batch { batch: self.batch_no, flow: self.flow, seq, op }
    }
}
