//! What a message of the stream holds: records, with exchange and symbol from its subject.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::consumer::{Item, TailError};
use crate::market::trade::RECORD_BYTES;
use crate::market::{Record, SubjectKind, subject};

/// What has arrived, in order; where something was wrong, that.
pub(super) type Queue = VecDeque<Result<Item, TailError>>;

/// Subjects as they come, each taken apart once.
pub(super) struct Subjects {
    prefix: String,
    known: HashMap<String, Named>,
    /// The last sequence that was taken, or behind which reading began.
    reached: Option<u64>,
    /// What was removed behind here is missed: the caller has everything before. None: it began with what there was.
    base: Option<u64>,
    /// The oldest sequence that the stream still had when it was asked last.
    oldest: u64,
    /// What was removed up to this sequence was told.
    told: u64,
}

struct Named {
    exchange: Arc<str>,
    symbol: Arc<str>,
    kind: SubjectKind,
    /// The last sequence that was taken of it, or behind which reading began.
    last: Option<u64>,
    /// The oldest one that the stream still had.
    oldest: u64,
}

impl Subjects {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), known: HashMap::new(), reached: None, base: None, oldest: 0, told: 0 }
    }

    /// Reading begins behind `reached`; `has_all` says that the caller has all before, and misses what was removed
    /// behind it, rather than to begin with whatever there is.
    pub(super) fn stand(&mut self, reached: u64, has_all: bool) {
        (self.reached, self.base, self.oldest, self.told) = (Some(reached), has_all.then_some(reached), 0, 0);
        self.known.values_mut().for_each(|named| (named.last, named.oldest) = (self.base, 0));
    }

    /// Everything up to this sequence has come in another way.
    pub(super) fn pass(&mut self, sequence: u64) {
        (self.reached, self.base) = (Some(sequence), Some(sequence));
        for named in self.known.values_mut() {
            named.last = Some(named.last.map_or(sequence, |last| last.max(sequence)));
        }
    }

    /// The last sequence that was taken, or behind which reading began.
    pub(super) fn reached(&self) -> u64 {
        self.reached.unwrap_or(0)
    }

    /// The stream has nothing older than this sequence.
    pub(super) const fn note_oldest(&mut self, oldest: u64) {
        self.oldest = oldest;
    }

    /// The stream has nothing of a subject that is older than this sequence.
    pub(super) fn note_oldest_of(&mut self, subject: &str, oldest: u64) {
        if let Some(named) = self.named(subject) {
            named.oldest = oldest;
        }
    }

    /// Whether nothing of a subject was taken yet.
    pub(super) fn is_new(&self, subject: &str) -> bool {
        !self.known.contains_key(subject)
    }

    /// Takes the records of a message, the next one in the stream's order; [`TailError::Removed`] stands in front of it
    /// where something is missing. One that holds none, or not only such as belong on its subject, leaves
    /// [`TailError::Message`] in its place.
    pub(super) fn take(&mut self, sequence: u64, subject: &str, payload: &[u8], queue: &mut Queue) {
        if let Err(error) = self.try_take(sequence, subject, payload, queue) {
            queue.push_back(Err(error));
        }
    }

    /// What is missing of all in front of this sequence, as far as the stream has said what it still has.
    fn tell_removed(&mut self, sequence: u64, queue: &mut Queue) {
        let gone = self.oldest.min(sequence);
        if let Some(before) = self.reached.replace(sequence)
            && before + 1 < gone
        {
            self.told = gone - 1;
            queue.push_back(Err(TailError::Removed { instrument: None, first: before + 1, last: gone - 1 }));
        }
    }

    fn try_take(&mut self, sequence: u64, subject: &str, payload: &[u8], queue: &mut Queue) -> Result<(), TailError> {
        let fail = |reason: String| TailError::Message { sequence, subject: subject.to_owned(), reason };
        self.tell_removed(sequence, queue);
        let told = self.told;
        let named = self.named(subject).ok_or_else(|| fail("the subject is none of ours".to_owned()))?;
        named.tell_removed(sequence, told, queue);
        if payload.is_empty() || !payload.len().is_multiple_of(RECORD_BYTES) {
            return Err(fail(format!("{} bytes are no records of {RECORD_BYTES}", payload.len())));
        }
        for bytes in payload.chunks_exact(RECORD_BYTES) {
            let record = Record::from_bytes(bytes).map_err(|error| fail(error.to_string()))?;
            let fits = matches!(
                (named.kind, &record),
                (SubjectKind::Trades, Record::Trade(_)) | (SubjectKind::Gaps, Record::Gap(_))
            );
            if !fits {
                return Err(fail("a record of the other kind".to_owned()));
            }
            let (exchange, symbol) = (named.exchange.clone(), named.symbol.clone());
            queue.push_back(Ok(Item { exchange, symbol, sequence, record }));
        }
        Ok(())
    }

    fn named(&mut self, subject: &str) -> Option<&mut Named> {
        if !self.known.contains_key(subject) {
            let parts = subject::parse(&self.prefix, subject)?;
            let named = Named {
                exchange: parts.exchange.into(),
                symbol: parts.symbol.into(),
                kind: parts.kind,
                last: self.base,
                oldest: 0,
            };
            self.known.insert(subject.to_owned(), named);
        }
        self.known.get_mut(subject)
    }
}

impl Named {
    /// What is missing of this subject in front of this sequence, but for what was told of all.
    fn tell_removed(&mut self, sequence: u64, told: u64, queue: &mut Queue) {
        let gone = self.oldest.min(sequence);
        if let Some(before) = self.last.replace(sequence)
            && before.max(told) + 1 < gone
        {
            let instrument = Some((self.exchange.clone(), self.symbol.clone()));
            queue.push_back(Err(TailError::Removed { instrument, first: before.max(told) + 1, last: gone - 1 }));
        }
    }
}
