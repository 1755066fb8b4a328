//! What an answer of the server means: acknowledged, known already, refused, or a reason to doubt.

use std::time::Instant;

use super::event::{Answer, Doubt, Refusal, RefusedAt};
use super::flight::Batch;
use super::message::{History, Message};
use super::{LATENCY_BOUNDS, Phase, Window};

impl Window {
    /// An answer of the server to a publish of `epoch`.
    pub fn on_answer(&mut self, now: Instant, epoch: u32, answer: Answer) {
        if epoch != self.epoch {
            return;
        }
        self.note_named(&answer);
        if self.phase != Phase::Steady {
            return;
        }
        match answer {
            Answer::Stored { duplicate: true, .. } => self.doubt(now, Doubt::Duplicate),
            Answer::Stored { token, seq, duplicate: false } => self.on_stored(now, token, seq),
            Answer::Flow { batch, seq, msgs } => self.on_flow(now, batch, seq, msgs),
            Answer::Closed { batch, seq, count, duplicate } => self.on_closed(now, batch, seq, count, duplicate),
            Answer::Refused { at, refusal } => self.on_refused(now, at, refusal),
        }
    }

    /// Which message in flight the server knows. In doubt too: each says so by itself, and all of them are sent again
    /// differently at once.
    fn note_named(&mut self, answer: &Answer) {
        let (named, position) = match answer {
            Answer::Refused { at, refusal: Refusal::InProcess } => (&mut self.unstored, self.flight.refused(*at)),
            Answer::Stored { token, duplicate: true, .. } => (&mut self.settled, Some(*token)),
            _ => return,
        };
        named.extend(position.filter(|at| self.flight.has(*at)));
    }

    fn on_stored(&mut self, now: Instant, position: u64, seq: u64) {
        match position == self.flight.head && self.flight.has(position) {
            true if self.flight.predicted(position) == seq => self.acked_through(now, position),
            // Known already: a later answer overtook this one.
            false if position < self.flight.head => {}
            _ => self.doubt(now, Doubt::Unexpected),
        }
    }

    fn on_flow(&mut self, now: Instant, batch: u64, seq: u64, msgs: u16) {
        if !self.flight.is_current(batch) {
            return;
        }
        let (first, opened) = match self.flight.batch {
            Batch::None => return,
            Batch::Opening { first } | Batch::Open { first, .. } => (first, true),
            Batch::Closing { first, .. } => (first, false),
        };
        if first + seq > self.flight.next() {
            return self.doubt(now, Doubt::Unexpected);
        }
        if opened {
            self.flight.batch = Batch::Open { first, msgs: msgs.max(1) };
        }
        self.flight.pinged = false;
        if first + seq > self.flight.head {
            self.acked_through(now, first + seq - 1);
        }
    }

    fn on_closed(&mut self, now: Instant, batch: u64, seq: u64, count: u64, duplicate: bool) {
        let Some(first) = self.flight.batch_first().filter(|_| self.flight.is_current(batch)) else { return };
        if first + count > self.flight.next() {
            return self.doubt(now, Doubt::Unexpected);
        }
        if duplicate && self.flight.queue.front().is_some_and(|message| message.history != History::Fresh) {
            // Sent before, and known: what the server takes for known has to be there.
            self.flight.batch = Batch::None;
            self.settled.insert(first);
            return self.doubt(now, Doubt::Duplicate);
        }
        if first + count > self.flight.head {
            self.acked_through(now, first + count - 1);
        }
        if first + count < self.flight.next() {
            return self.doubt(now, Doubt::Refused(Refusal::BatchLost));
        }
        self.flight.batch = Batch::None;
        let reached = self.flight.reached();
        // A batch of nothing but duplicates tells no sequence.
        let already = if duplicate { 1 } else { reached.saturating_sub(seq).min(count) };
        let end = if duplicate { reached.saturating_sub(1) } else { seq.max(reached.saturating_sub(already)) };
        // A record is counted once: as acknowledged or as a duplicate.
        self.stats.acked = self.stats.acked.saturating_sub(already);
        self.stats.duplicates += already;
        self.stats.foreign += end.saturating_sub(reached);
        self.flight.rebase(end);
    }

    fn on_refused(&mut self, now: Instant, at: RefusedAt, refusal: Refusal) {
        if matches!(at, RefusedAt::Batch { batch, .. } if !self.flight.is_current(batch)) {
            return;
        }
        if refusal == Refusal::TooLarge {
            self.poison = self.flight.refused(at).filter(|at| self.flight.has(*at));
        }
        self.doubt(now, Doubt::Refused(refusal));
    }

    fn acked_through(&mut self, now: Instant, position: u64) {
        while self.flight.head <= position {
            let Some(message) = self.flight.queue.pop_front() else { break };
            self.flight.head += 1;
            self.count_acked(now, &message);
            self.retained.push(now, message);
        }
        self.progress = true;
        self.careful = false;
        self.attempts = 0;
        self.disturbed = 0;
        self.flight.pinged = false;
    }

    pub(super) fn count_acked(&mut self, now: Instant, message: &Message) {
        self.stats.acked += message.records();
        let took = now.saturating_duration_since(message.at);
        let bucket = LATENCY_BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(LATENCY_BOUNDS.len());
        if let Some(slot) = self.stats.ack_latency.get_mut(bucket) {
            *slot += 1;
        }
        self.stats.ack_latency_sum_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }
}
