//! Asking what is stored after a doubt, and putting every message where the answer says it belongs.

use std::time::Instant;

use super::event::{Doubt, Key, Mode, Query, Stored};
use super::judge::{Judge, Stood, Verdict};
use super::message::{History, Mark, Message};
use super::outbox::{Dropped, carries_gaps};
use super::retained::Gone;
use super::{BACKOFF_MIN, Phase, REGRESSION_CONFIRM, Window};
use crate::market::trade::KIND_GAP_V1;
use crate::market::{GapMsg, GapReason, GapStrength};

/// So many epochs in a row without an acknowledgement, in a stream into which others write, are enough of a chain.
const DISTURBED: u32 = 4;

/// All messages between acknowledged and waiting, on their way to where they belong.
#[derive(Default)]
struct Sorted {
    send: Vec<Message>,
    dropped: Dropped,
}

impl Window {
    /// Whether what the driver read is believed. A stream that still grows, or that seems to have lost what it had
    /// acknowledged, is read once more first.
    pub fn believes(&mut self, now: Instant, stored: &Stored) -> bool {
        if !matches!(self.phase, Phase::Reading { .. }) {
            return false;
        }
        // Messages of the old connection were still being stored while the stream was read: predictions that start from
        // its end as it was before would let a later message through in an earlier one's place.
        let grew = stored.tails.iter().filter_map(|tail| tail.last).any(|last| last.seq > stored.last_seq);
        let resends = !self.flight.queue.is_empty() || self.outbox.resends();
        let chained = stored.mode == Mode::Chained || (self.config.sole && resends && !self.is_disturbed());
        if grew && chained {
            self.phase = Phase::Doubt { why: Doubt::Growing, not_before: now + BACKOFF_MIN };
            return false;
        }
        if self.is_shorter(stored) && !self.is_recreated(stored) && self.regression.is_none() {
            self.regression = Some(stored.last_seq);
            self.phase = Phase::Doubt { why: Doubt::Regression, not_before: now + REGRESSION_CONFIRM };
            return false;
        }
        true
    }

    /// Whether what was sent before goes out first, or may: each in its place, with an answer of its own.
    fn begins_with_chain(&self) -> bool {
        self.config.sole && !self.is_disturbed() && (self.outbox.resends() || self.wary_until.is_some())
    }

    /// Whether others write so much, against what was said, that no chain gets through.
    const fn is_disturbed(&self) -> bool {
        self.disturbed >= DISTURBED
    }

    fn is_recreated(&self, stored: &Stored) -> bool {
        self.created.is_some_and(|created| created != stored.created)
    }

    const fn is_shorter(&self, stored: &Stored) -> bool {
        stored.last_seq < self.flight.reached()
    }

    /// What the driver read. Sending goes on behind it, where [it is believed](Self::believes).
    pub fn on_reconciled(&mut self, now: Instant, stored: &Stored) {
        if !self.believes(now, stored) {
            return;
        }
        let regressed = self.is_recreated(stored) || self.is_shorter(stored);
        self.regression = None;
        self.settle(now, stored, regressed);
        self.ids_kept = stored.ids_kept;
        if self.created.is_none() && !stored.is_new {
            self.be_wary(now);
        }
        self.created = Some(stored.created);
        if self.is_disturbed() {
            self.wary_until = None;
        }
        let mode = if self.begins_with_chain() { Mode::Chained } else { stored.mode };
        self.resume = (mode != stored.mode).then_some(stored.mode);
        self.flight.begin(mode, stored.last_seq);
        self.tails.clone_from(&stored.tails);
        self.fence = None;
        self.poison = None;
        self.settled.clear();
        self.unstored.clear();
        self.out_of_line = false;
        self.progress = false;
        self.phase = Phase::Steady;
    }

    pub(super) fn ask(&mut self, why: Doubt) -> Query {
        self.epoch += 1;
        let first = self.created.is_none();
        let mut wanted = vec![false; self.config.routes as usize * 2];
        let ours = self.retained.iter().chain(&self.flight.queue).map(|message| message.key);
        let again =
            self.outbox.iter().take_while(|message| message.history != History::Fresh).map(|message| message.key);
        for key in ours.chain(self.retained.gone_keys()).chain(again) {
            if let Some(slot) = wanted.get_mut(key.index()) {
                *slot = true;
            }
        }
        let subjects = (0..self.config.routes)
            .flat_map(|route| [Key::trades(route), Key::gaps(route)])
            .filter(|key| first || wanted.get(key.index()).copied().unwrap_or(false))
            .collect();
        self.phase = Phase::Reading { why: why.clone() };
        // Where somebody else's message was stored, the last ones alone do not tell which of ours was not.
        let places = self.flight.places();
        Query { epoch: self.epoch, doubt: why, fence: self.fence, subjects, first, places }
    }

    fn settle(&mut self, now: Instant, stored: &Stored, regressed: bool) {
        let first = self.created.is_none();
        let mut judge = self.judge(stored, regressed);
        let waiting = self.outbox.take();
        let flying: Vec<Message> = std::mem::take(&mut self.flight.queue).into();
        let kept: Vec<Message> = self.retained.take().into();
        let (flown, reached) = (flying.len() as u64, self.flight.reached());
        let stood = |index: usize| match index.checked_sub(kept.len()) {
            None => Stood::Retained,
            Some(place) if place < flying.len() => self.flying_at(place),
            Some(_) => Stood::Waiting,
        };
        for (index, message) in kept.iter().chain(&flying).chain(&waiting).enumerate() {
            judge.look(index, message, stood(index));
        }
        self.declare_gone(&judge);
        let mut sorted = Sorted::default();
        let mut index = 0;
        for message in kept {
            let verdict = judge.verdict(index, &message, Stood::Retained);
            self.sort_kept(verdict, message, &mut sorted);
            index += 1;
        }
        let mut found = 0;
        for (place, mut message) in flying.into_iter().enumerate() {
            let position = self.flight.head + place as u64;
            let verdict = judge.verdict(index, &message, self.flying_at(place));
            if verdict == Verdict::Send && self.is_denied(&judge, index, position, &message) {
                message.history = History::Denied;
            } else if self.settled.contains(&position) {
                // Where its place says otherwise it is not kept, lest it be taken for lost later.
                found += u64::from(verdict == Verdict::Stored);
                self.count_acked(now, &message);
                self.progressed();
                if !matches!(verdict, Verdict::Send | Verdict::Missed) {
                    self.retained.push(now, message);
                }
                index += 1;
                continue;
            }
            let poison = self.poison == Some(position);
            found += u64::from(verdict == Verdict::Stored);
            self.sort_flying(now, verdict, message, poison, &mut sorted);
            index += 1;
        }
        // Positions of two epochs never meet.
        self.flight.head += flown;
        for message in waiting {
            self.sort_waiting(now, judge.verdict(index, &message, Stood::Waiting), message, &mut sorted);
            index += 1;
        }
        if !first && !regressed {
            self.count_foreign(stored.last_seq.saturating_sub(reached + found));
        }
        self.count_dropped(sorted.dropped);
        self.outbox.restore(sorted.send);
    }

    fn judge<'a>(&self, stored: &'a Stored, regressed: bool) -> Judge<'a> {
        let sole = self.stats.foreign == 0 && !self.out_of_line;
        let mut judge = Judge::new(stored, regressed, !sole, self.config.oldest_removed_first);
        if let Some((first, last)) = self.flight.places().filter(|_| !regressed) {
            judge.read(first, last);
        }
        for key in self.retained.gone_keys() {
            if let Some(gone) = self.retained.gone(key) {
                judge.let_go(key, &gone);
            }
        }
        judge
    }

    fn count_foreign(&mut self, foreign: u64) {
        self.stats.foreign += foreign;
        self.disturbed += u32::from(foreign > 0 && self.out_of_line);
    }

    /// Whether the server knows a message in flight that it surely has not stored.
    fn is_denied(&self, judge: &Judge<'_>, index: usize, position: u64, message: &Message) -> bool {
        let predicted = self.config.sole.then(|| self.flight.predicted(position));
        // One that is still under way after all is kept out by the sequence that this one expects.
        let unstored = self.config.sole && self.unstored.contains(&position);
        let named = self.settled.contains(&position) || self.unstored.contains(&position);
        unstored || (named && judge.is_beyond(index, message, predicted))
    }

    const fn flying_at(&self, place: usize) -> Stood {
        Stood::InFlight { predicted: self.flight.predicted(self.flight.head + place as u64) }
    }

    fn sort_kept(&mut self, verdict: Verdict, mut message: Message, sorted: &mut Sorted) {
        if verdict == Verdict::Lost {
            self.stats.broker_lost += message.records();
            self.stats.acked = self.stats.acked.saturating_sub(message.records());
            message.history = History::Lost;
            sorted.send.push(message);
        } else {
            self.retained.keep_again(message);
        }
    }

    fn sort_flying(&mut self, now: Instant, verdict: Verdict, mut message: Message, poison: bool, sorted: &mut Sorted) {
        match verdict {
            Verdict::Stored | Verdict::Lost => {
                self.count_acked(now, &message);
                self.retained.push(now, message);
                return self.progressed();
            }
            Verdict::SendFrom { count } => {
                self.stats.acked += count as u64;
                message.advance(count);
            }
            Verdict::Missed => return self.miss(now, &message, sorted),
            Verdict::Send => {}
        }
        if message.history == History::Fresh {
            message.history = History::Sent;
        }
        match poison.then(|| message.split()) {
            None => sorted.send.push(message),
            // Half of it may be small enough.
            Some(Some(rest)) => sorted.send.extend([message, rest]),
            Some(None) => {
                self.stats.poisoned += 1;
                self.progressed();
                if carries_gaps(message.key) {
                    // A gap that cannot be sent cannot be declared by another gap of the same size.
                    self.stats.dropped += message.records();
                } else {
                    self.outbox.declare(&message, GapReason::OutboxOverflow, &mut sorted.dropped);
                }
            }
        }
    }

    /// It cannot come in order any more: it is declared, and fetched again.
    fn miss(&mut self, now: Instant, message: &Message, sorted: &mut Sorted) {
        self.outbox.declare(message, GapReason::BrokerLost, &mut sorted.dropped);
        self.be_wary(now);
    }

    fn sort_waiting(&mut self, now: Instant, verdict: Verdict, mut message: Message, sorted: &mut Sorted) {
        match verdict {
            Verdict::Stored => self.stats.duplicates += message.records(),
            Verdict::SendFrom { count } => {
                self.stats.duplicates += count as u64;
                message.advance(count);
                sorted.send.push(message);
            }
            Verdict::Missed => self.miss(now, &message, sorted),
            Verdict::Send | Verdict::Lost => sorted.send.push(message),
        }
    }

    /// Something was achieved: the next attempt need not wait.
    fn progressed(&mut self) {
        self.attempts = 0;
        self.careful = false;
    }

    /// Declares what was acknowledged, is no longer kept, and was lost.
    fn declare_gone(&mut self, judge: &Judge<'_>) {
        let keys: Vec<Key> = self.retained.gone_keys().collect();
        for key in keys {
            let Some(gone) = self.retained.gone(key) else { continue };
            let Some(from) = judge.lost_before(key, &gone) else { continue };
            self.retained.forget_gone(key);
            if carries_gaps(key) {
                continue;
            }
            self.stats.broker_lost += match from {
                // Ids that grow by one say how many; others at least that it was not more.
                Some(tail) if gone.last.ordered && tail.ordered => gone.count.min(gone.last.id.saturating_sub(tail.id)),
                Some(_) => 0,
                None => gone.count,
            };
            self.stats.declared += u64::from(self.outbox.declare_gap(key.route, lost_gap(&gone, from)));
        }
    }
}

/// The gap for what was let go and lost: behind `from`, or all of it.
fn lost_gap(gone: &Gone, from: Option<Mark>) -> GapMsg {
    let ordered = gone.last.ordered;
    let (ts_start, first_id, missing) = match from {
        None => (gone.first.ts, gone.first.id, gone.count),
        Some(tail) => (tail.ts, if ordered { tail.id.saturating_add(1) } else { 0 }, 0),
    };
    GapMsg {
        ts_start,
        ts_end: gone.last.ts,
        first_id,
        last_id: gone.last.id,
        missing,
        instrument_id: gone.instrument_id,
        strength: GapStrength::Proved as u8,
        reason: GapReason::BrokerLost as u8,
        flags: 0,
        kind: KIND_GAP_V1,
    }
}
