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
}

#[derive(Clone)]
struct Named {
    exchange: Arc<str>,
    symbol: Arc<str>,
    kind: SubjectKind,
}

impl Subjects {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), known: HashMap::new() }
    }

    /// Takes the records of a message. One that holds none, or not only such as belong on its subject, leaves
    /// [`TailError::Message`] in its place.
    pub(super) fn take(&mut self, sequence: u64, subject: &str, payload: &[u8], queue: &mut Queue) {
        if let Err(error) = self.try_take(sequence, subject, payload, queue) {
            queue.push_back(Err(error));
        }
    }

    fn try_take(&mut self, sequence: u64, subject: &str, payload: &[u8], queue: &mut Queue) -> Result<(), TailError> {
        let fail = |reason: String| TailError::Message { sequence, subject: subject.to_owned(), reason };
        let named = self.named(subject).ok_or_else(|| fail("the subject is none of ours".to_owned()))?;
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

    fn named(&mut self, subject: &str) -> Option<Named> {
        if let Some(named) = self.known.get(subject) {
            return Some(named.clone());
        }
        let parts = subject::parse(&self.prefix, subject)?;
        let named = Named { exchange: parts.exchange.into(), symbol: parts.symbol.into(), kind: parts.kind };
        self.known.insert(subject.to_owned(), named.clone());
        Some(named)
    }
}
