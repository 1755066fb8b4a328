//! A window that does not publish: another instance does, and what it has stored need not wait here any more.

use std::time::Instant;

use bytes::Bytes;

use super::event::{Doubt, Key, Query, Stored};
use super::message::{History, Mark, Message, same_trade};
use super::outbox::carries_gaps;
use super::{Phase, Window};
use crate::market::{Flags, Record};

/// How far the other instance has come with an instrument.
#[derive(Clone, Copy)]
struct End {
    mark: Mark,
    record: Record,
    /// Where this record waits here.
    at: Option<usize>,
}

/// The ids of what waits of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The lowest.
    pub first: u64,
    /// The highest.
    pub last: u64,
    /// Whether the lowest is known: a row for several fills tells only its last.
    pub certain: bool,
}

impl Window {
    /// Another instance publishes from here on: what is in flight waits again, and nothing is known of the stream.
    pub fn demote(&mut self, now: Instant) {
        let mut flying: Vec<Message> = std::mem::take(&mut self.flight.queue).into();
        // What was acknowledged is all that is known to be stored.
        let reached = self.flight.reached();
        self.flight.head += flying.len() as u64;
        self.flight.rebase(reached);
        for message in flying.iter_mut().filter(|message| message.history == History::Fresh) {
            message.history = History::Sent;
        }
        self.outbox.restore(flying);
        self.phase = Phase::Doubt { why: Doubt::Start, not_before: now };
        self.created = None;
        self.fence = None;
        self.poison = None;
        self.settled.clear();
        self.unstored.clear();
        self.out_of_line = false;
        self.regression = None;
        self.tails.clear();
        self.attempts = 0;
        self.disturbed = 0;
    }

    /// What has to be read to know what the other instance has stored.
    #[must_use]
    pub fn standby_query(&self) -> Query {
        let subjects = (0..self.config.routes).map(Key::trades).collect();
        Query { epoch: self.epoch, doubt: Doubt::Start, fence: None, subjects, first: false, places: None }
    }

    /// The other instance has come this far: what it has stored, or has passed, is kept only in case the broker loses
    /// it.
    pub fn follow(&mut self, now: Instant, stored: &Stored) {
        let mut ends: Vec<Option<End>> = vec![None; self.config.routes as usize];
        for tail in stored.tails.iter().filter(|tail| !carries_gaps(tail.key)) {
            let record = tail.last.and_then(|last| Record::from_bytes(&last.record).ok());
            if let Some(slot) = ends.get_mut(tail.key.route as usize) {
                *slot = record.map(|record| End { mark: Mark::of(&record), record, at: None });
            }
        }
        let end = |ends: &[Option<End>], route: u32| ends.get(route as usize).copied().flatten();
        self.outbox.cut_gaps(|route, gap| match end(&ends, route) {
            Some(end) if end.mark.passed(&Record::Gap(*gap)) => None,
            Some(End { mark, .. }) if mark.ordered => Some(gap.behind(mark.id, mark.ts)),
            _ => Some(*gap),
        });
        let waiting: Vec<Message> = self.outbox.take().into_iter().collect();
        for (place, message) in waiting.iter().enumerate() {
            if let Some(Some(end)) = ends.get_mut(message.key.route as usize)
                && !end.mark.late
                && message.each().any(|record| same_trade(&record, &end.record))
            {
                end.at = Some(place);
            }
        }
        let mut rest = Vec::new();
        for (place, mut message) in waiting.into_iter().enumerate() {
            let Some(end) = end(&ends, message.key.route) else {
                rest.push(message);
                continue;
            };
            let passed = match end.at {
                // Whatever its id says: what stands before the stream's end is stored, or declared there.
                Some(at) if place < at => message.each().count(),
                _ => message.each().take_while(|record| end.mark.passed(record)).count(),
            };
            if passed as u64 == message.records() {
                self.stats.duplicates += message.records();
                if !carries_gaps(message.key) {
                    self.retained.push(now, message);
                }
            } else {
                self.stats.duplicates += passed as u64;
                message.advance(passed);
                rest.push(message);
            }
        }
        self.outbox.restore(rest);
    }

    /// What waits of a route in line: in between it is whole, or says itself what is not.
    #[must_use]
    pub fn waiting(&self, route: u32) -> Option<Waiting> {
        let mut all: Option<Waiting> = None;
        let messages = self.outbox.iter().filter(|message| message.key.route == route);
        let gaps = self.outbox.declared_of(route).map(|gap| Record::Gap(*gap));
        for record in gaps.chain(messages.flat_map(Message::each)) {
            let (first, last, late, certain) = match record {
                Record::Trade(trade) => {
                    let (id, flags) = (trade.trade_id, trade.flag_set());
                    (id, id, flags.has(Flags::BACKFILLED), !flags.has(Flags::AGGREGATED))
                }
                Record::Gap(gap) => (gap.first_id, gap.last_id, gap.flags & Flags::BACKFILLED != 0, true),
            };
            if late || first == 0 {
                continue;
            }
            let all = all.get_or_insert(Waiting { first, last, certain });
            if first < all.first {
                (all.first, all.certain) = (first, certain);
            }
            all.last = all.last.max(last);
        }
        all
    }

    /// Leaves out what waits and is not to be sent any more. What is left of a message goes on record by record.
    pub fn leave_out(&mut self, now: Instant, passed: impl Fn(u32, &Record) -> bool) {
        self.outbox.cut_gaps(|route, gap| (!passed(route, &Record::Gap(*gap))).then_some(*gap));
        let mut rest = Vec::new();
        for message in self.outbox.take() {
            let route = message.key.route;
            if !message.each().any(|record| passed(route, &record)) {
                rest.push(message);
                continue;
            }
            for record in message.each() {
                if passed(route, &record) {
                    self.stats.duplicates += 1;
                } else {
                    let payload = Bytes::copy_from_slice(record.as_bytes());
                    let mut part = Message::sealed(message.key, payload, now);
                    part.history = message.history;
                    rest.push(part);
                }
            }
        }
        self.outbox.restore(rest);
    }
}
