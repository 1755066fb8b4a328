//! What is sent next, and how.
//!
//! What was sent before is not sent in a batch again: a server that changes its leader may take messages for known that
//! it never stored, and inside a batch it passes over them without a word. In a chain, or one by one where others write
//! too, each such claim has an answer of its own, and can be held against what is stored. What an earlier run sent
//! nobody knows: for as long as the server remembers ids of it, nothing at all goes in a batch, where this is the only
//! writer.

use std::time::Instant;

use super::event::{Key, Mode, Send};
use super::flight::{Batch, Fence};
use super::message::{History, Message};
use super::outbox::carries_gaps;
use super::{LOST_MAX, Window};
use crate::market::{Flags, GapReason, Record};

impl Window {
    /// Whether what waits has to wait until all that was sent before is acknowledged.
    pub(super) fn holds(&self) -> bool {
        self.resume.is_some() && self.wary_until.is_none() && !self.outbox.resends()
    }

    /// From now on the server may know ids of messages that are new here.
    pub(super) fn be_wary(&mut self, now: Instant) {
        self.wary_until = (!self.ids_kept.is_zero()).then(|| now + self.ids_kept);
    }

    /// Whether one message at a time is sent.
    pub(super) fn is_careful(&self) -> bool {
        let again = self.outbox.resends() && self.flight.mode == Mode::FastIngest;
        // Without its id nothing tells a message from a late copy of it, but that nothing else is under way.
        let flies = self.flight.queue.back().is_some_and(|message| message.history == History::Denied);
        self.careful || again || flies || self.outbox.is_denied()
    }

    pub(super) fn next_send(&mut self, now: Instant) -> Option<Send> {
        if self.holds() && self.flight.queue.is_empty() {
            let (mode, reached) = (self.resume.take().unwrap_or(self.flight.mode), self.flight.reached());
            self.flight.begin(mode, reached);
        }
        let careful = self.is_careful();
        if self.outbox.ready(now, self.draining) && self.flight.has_room(careful) && !self.holds() {
            let message = self.outbox.pop(now)?;
            self.note_lost(&message);
            if message.history != History::Fresh {
                self.stats.resent += 1;
            }
            let last = careful || !self.outbox.ready(now, self.draining) || self.holds();
            let fence = Fence { foreign: self.stats.foreign > 0, tail: self.tail_of(message.key) };
            // What was read of a subject is out of date as soon as something was sent to it.
            match self.stats.foreign > 0 {
                true => self.tails.retain(|tail| tail.key != message.key),
                false => self.tails.clear(),
            }
            return Some(self.flight.send(now, message, fence, (last, careful)));
        }
        let any = self.any_key();
        if self.ping_due().is_some_and(|at| now >= at) {
            return self.flight.ping(any);
        }
        let hurry = self.draining && self.outbox.is_empty();
        let full = !self.flight.has_room(false);
        match self.flight.end_due() {
            Some(at) if !full && (hurry || careful || now >= at) => self.flight.end(now, any),
            _ => None,
        }
    }

    fn note_lost(&mut self, message: &Message) {
        if carries_gaps(message.key)
            && message.history == History::Fresh
            && let Some(Record::Gap(gap)) = message.first()
            && gap.flags == 0
            && [GapReason::OutboxOverflow as u8, GapReason::BrokerLost as u8].contains(&gap.reason)
            // One that says that it was filled keeps its reason, and asks for nothing more.
            && gap.flags & Flags::BACKFILLED == 0
            && self.lost.len() < LOST_MAX
        {
            self.lost.push((message.key.route, gap));
        }
    }

    /// Half-way to the time-out an open batch is asked once for acknowledgements that were lost on the way.
    pub(super) fn ping_due(&self) -> Option<Instant> {
        let open = matches!(self.flight.batch, Batch::Open { .. }) && !self.flight.pinged;
        self.flight.queue.front().filter(|_| open).map(|message| message.at + self.config.ack_timeout / 2)
    }

    fn tail_of(&self, key: Key) -> Option<u64> {
        self.tails.iter().find(|tail| tail.key == key).map(|tail| tail.last.map_or(0, |last| last.seq))
    }

    /// Some subject of the stream, for publishes that store nothing.
    fn any_key(&self) -> Key {
        self.flight.queue.back().or_else(|| self.retained.newest()).map_or(Key::trades(0), |message| message.key)
    }
}
