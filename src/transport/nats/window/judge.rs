//! Compares what is stored with what was sent: which messages are stored, which are to be sent again, which were lost.
//!
//! Pure judgement over slices; it moves nothing.

use std::collections::HashSet;

use super::event::{Key, Places, Stored, TailRecord};
use super::message::{History, Mark, Message, same_trade};
use super::outbox::carries_gaps;
use super::retained::Gone;
use crate::market::Record;
use crate::market::trade::RECORD_BYTES;

/// Where a judged message stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stood {
    /// Acknowledged.
    Retained,
    /// Sent; `predicted` is the stream sequence it would have if it is stored.
    InFlight { predicted: u64 },
    /// Never sent in this epoch.
    Waiting,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored, or was and has been removed since as the stream's limits say.
    Stored,
    /// It is not stored: send it (again).
    Send,
    /// Its first `count` records are stored, in a message of other cut: send the rest.
    SendFrom { count: usize },
    /// It was acknowledged and is gone.
    Lost,
    /// It was refused, and what follows it on its subject is stored.
    Missed,
}

/// What the judge knows.
pub(super) struct Judge<'a> {
    tails: Vec<Option<Known>>,
    last_seq: u64,
    /// The stream ends before what was acknowledged, or is another stream.
    regressed: bool,
    /// Others write too: sequences prove nothing.
    foreign: bool,
    oldest_removed_first: bool,
    /// What was stored behind the last acknowledgement, as far as it was read, and its records.
    places: &'a Places,
    held: HashSet<Held>,
    /// First and last sequence of what was asked for of it.
    asked: Option<(u64, u64)>,
}

/// What tells a stored record from others: of a trade its id and its time, as [`same_trade`] compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    subject: usize,
    id: (u64, u64),
    at: u64,
    flags: u8,
}

impl Held {
    fn of(key: Key, record: &Record) -> Self {
        let subject = key.index();
        match record {
            Record::Trade(trade) => Self { subject, id: (trade.trade_id, 0), at: trade.ts_event / 1_000_000, flags: 0 },
            Record::Gap(gap) => Self { subject, id: (gap.first_id, gap.last_id), at: gap.ts_end, flags: gap.flags },
        }
    }
}

/// What was read of one subject.
#[derive(Clone, Copy, Debug)]
struct Known {
    last: Option<(TailRecord, Option<Record>)>,
    /// Newest message that holds the stored record byte for byte, and the record's index in it.
    exact: Option<(usize, usize)>,
    /// Newest message that holds the same trade.
    twin: Option<(usize, usize)>,
    /// Something of ours was acknowledged on this subject.
    had: bool,
    /// The stored tail is the last of what was let go: it stands in front of all that is judged.
    before_all: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(stored: &'a Stored, regressed: bool, foreign: bool, oldest_removed_first: bool) -> Self {
        let mut tails = Vec::new();
        for tail in &stored.tails {
            let index = tail.key.index();
            if tails.len() <= index {
                tails.resize(index + 1, None);
            }
            if let Some(slot) = tails.get_mut(index) {
                let last = tail.last.map(|last| (last, Record::from_bytes(&last.record).ok()));
                *slot = Some(Known { last, exact: None, twin: None, had: false, before_all: false });
            }
        }
        let (last_seq, places) = (stored.last_seq, &stored.places);
        Self { tails, last_seq, regressed, foreign, oldest_removed_first, places, held: HashSet::new(), asked: None }
    }

    /// The places from here to there were asked for: what is stored behind the last acknowledgement.
    pub(super) fn read(&mut self, first: u64, last: u64) {
        self.asked = Some((first, last));
        for (key, payload) in self.places.values().flatten() {
            let records = payload.chunks_exact(RECORD_BYTES).filter_map(|chunk| Record::from_bytes(chunk).ok());
            self.held.extend(records.map(|record| Held::of(*key, &record)));
        }
    }

    /// What was let go of a subject: before the first pass.
    pub(super) fn let_go(&mut self, key: Key, gone: &Gone) {
        let Some(Some(known)) = self.tails.get_mut(key.index()) else { return };
        let Some((last, record)) = &known.last else { return };
        known.before_all =
            last.record == *gone.newest.as_bytes() || record.is_some_and(|record| same_trade(&gone.newest, &record));
    }

    /// First pass, oldest message first: finds the stored tails among ours.
    pub(super) fn look(&mut self, index: usize, message: &Message, stood: Stood) {
        let Some(Some(known)) = self.tails.get_mut(message.key.index()) else { return };
        known.had |= stood == Stood::Retained;
        let Some((last, record)) = &known.last else { return };
        if let Some(at) = message.rposition(|chunk| chunk == last.record) {
            known.exact = Some((index, at));
            // A message of ours that stands elsewhere than predicted: somebody else wrote, or the server had some
            // already.
            self.foreign |= matches!(stood, Stood::InFlight { predicted } if predicted != last.seq);
        }
        if let Some(record) = record {
            let twin = |chunk: &[u8]| Record::from_bytes(chunk).is_ok_and(|ours| same_trade(&ours, record));
            if let Some(at) = message.rposition(twin) {
                known.twin = Some((index, at));
            }
        }
    }

    /// Second pass: what becomes of the message with this index.
    pub(super) fn verdict(&self, index: usize, message: &Message, stood: Stood) -> Verdict {
        let Some(Some(known)) = self.tails.get(message.key.index()) else { return unknown(stood) };
        let Some((_, record)) = &known.last else { return self.empty_subject(stood, known.had) };
        match known.exact.or(known.twin) {
            // Somebody else's message was stored in its place, and what follows it behind that one.
            Some((at, _)) if index < at && self.is_left_out(message, stood, known) => match carries_gaps(message.key) {
                true => Verdict::Send,
                false => Verdict::Missed,
            },
            Some((at, part)) => self.found(index, message, stood, known, (at, part)),
            None if known.before_all => self.behind(stood, known),
            None => self.not_found(message, stood, known, record.as_ref()),
        }
    }

    /// Whether a message is not among what was stored since the last acknowledgement, though its subject has grown.
    fn is_left_out(&self, message: &Message, stood: Stood, known: &Known) -> bool {
        let Some((first, last)) = self.asked else { return false };
        let grown = known.last.is_some_and(|(tail, _)| tail.seq >= first);
        let Some(record) = message.last().filter(|_| grown) else { return false };
        let is_read = match stood {
            Stood::Retained => false,
            // Of this epoch it stands there or nowhere; what cannot be read there may have been it. A copy sent in an
            // earlier one may have been removed, where not the oldest goes first.
            Stood::InFlight { predicted } => {
                (message.history == History::Fresh || self.oldest_removed_first)
                    && (predicted > self.last_seq || self.places.contains_key(&predicted))
            }
            Stood::Waiting => {
                self.last_seq <= last && self.places.len() as u64 == (self.last_seq + 1).saturating_sub(first)
            }
        };
        is_read && !self.held.contains(&Held::of(message.key, &record))
    }

    /// Whether a message surely is not stored, whatever the server says: the subject ends before it, by its place and
    /// by its ids; or is empty in a stream that has not grown.
    pub(super) fn is_beyond(&self, index: usize, message: &Message, predicted: Option<u64>) -> bool {
        let late = |record: Record| Mark::of(&record).late;
        let Some(Some(known)) = self.tails.get(message.key.index()) else { return false };
        if message.each().any(late) {
            // It may stand anywhere.
            return false;
        }
        let Some((_, record)) = &known.last else {
            // Where others write too, nothing tells it from one that was emptied.
            return !self.foreign && predicted.is_some_and(|predicted| predicted > self.last_seq);
        };
        let Some((last, tail)) = message.last().zip(record.as_ref()) else { return false };
        // An older one that comes again may well be there.
        let after = Mark::of(&last).after(&Mark::of(tail));
        after && known.exact.or(known.twin).is_none_or(|(at, _)| index > at)
    }

    /// Whether what was let go of this subject is lost, and from where on: `Some(None)` all of it.
    pub(super) fn lost_before(&self, key: Key, gone: &Gone) -> Option<Option<Mark>> {
        let known = self.tails.get(key.index()).copied().flatten()?;
        match known.last {
            None => self.regressed.then_some(None),
            Some((_, record)) => {
                if known.exact.or(known.twin).is_some() || known.before_all {
                    return None;
                }
                let tail = Mark::of(&record?);
                (self.proves_loss(&known) && gone.last.after(&tail)).then_some(Some(tail))
            }
        }
    }

    fn found(&self, index: usize, message: &Message, stood: Stood, known: &Known, at: (usize, usize)) -> Verdict {
        let (at, part) = at;
        if index < at {
            return Verdict::Stored;
        }
        if index == at {
            let records = message.bytes().len() / RECORD_BYTES;
            return match part + 1 < records {
                true if stood != Stood::Retained => Verdict::SendFrom { count: part + 1 },
                _ => Verdict::Stored,
            };
        }
        self.behind(stood, known)
    }

    /// What stands behind the stored tail.
    fn behind(&self, stood: Stood, known: &Known) -> Verdict {
        match stood {
            Stood::Retained if self.proves_loss(known) => Verdict::Lost,
            Stood::Retained => Verdict::Stored,
            Stood::InFlight { predicted } if !self.oldest_removed_first => self.by_sequence(predicted),
            Stood::InFlight { .. } | Stood::Waiting => Verdict::Send,
        }
    }

    fn not_found(&self, message: &Message, stood: Stood, known: &Known, record: Option<&Record>) -> Verdict {
        let tail = record.map(Mark::of);
        let (Some(tail), Some(newest)) = (tail, message.last().as_ref().map(Mark::of)) else { return unknown(stood) };
        match stood {
            Stood::Retained if self.proves_loss(known) && newest.after(&tail) => Verdict::Lost,
            Stood::Retained => Verdict::Stored,
            Stood::InFlight { .. } | Stood::Waiting if newest.covered_by(&tail) => Verdict::Stored,
            Stood::InFlight { predicted } if !self.oldest_removed_first => self.by_sequence(predicted),
            Stood::InFlight { .. } | Stood::Waiting => Verdict::Send,
        }
    }

    /// The subject is empty: purged, expired, or the stream is another one.
    ///
    /// What is in flight counts as stored only where the subject is known to have been emptied since (`had`) and the
    /// stream has grown far enough; a subject that never held anything must not be mistaken for a purged one.
    const fn empty_subject(&self, stood: Stood, had: bool) -> Verdict {
        match stood {
            Stood::Retained if self.regressed => Verdict::Lost,
            Stood::Retained => Verdict::Stored,
            Stood::InFlight { predicted } if had => self.by_sequence(predicted),
            Stood::InFlight { .. } | Stood::Waiting => Verdict::Send,
        }
    }

    const fn by_sequence(&self, predicted: u64) -> Verdict {
        if !self.foreign && !self.regressed && predicted <= self.last_seq { Verdict::Stored } else { Verdict::Send }
    }

    /// Whether an old tail proves that what came after it is gone. One that another instance stored late does not: that
    /// one had stored younger trades before it.
    fn proves_loss(&self, known: &Known) -> bool {
        let late = |record: &Record| Mark::of(record).late;
        let strange = known.exact.is_none() && known.last.is_some_and(|(_, record)| record.as_ref().is_some_and(late));
        self.regressed || (self.oldest_removed_first && !strange)
    }
}

/// Nothing was read of the subject.
const fn unknown(stood: Stood) -> Verdict {
    match stood {
        Stood::Retained => Verdict::Stored,
        Stood::InFlight { .. } | Stood::Waiting => Verdict::Send,
    }
}
