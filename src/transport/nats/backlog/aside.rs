//! Records of an earlier run whose symbols are not configured now: they go to a directory of their own, where they wait
//! for a run that has these symbols.

use std::collections::BTreeSet;

use super::Bytes48;
use super::choose::Place;
use crate::market::Record;
use crate::telemetry::clock;
use crate::transport::nats::spool::{Position, Recovered, Spool, SpoolError};

pub(super) struct Aside<'a> {
    place: &'a Place,
    /// Instruments in the spool that are not this run's.
    strangers: BTreeSet<u32>,
    /// Where they go, once one has come.
    spool: Option<Spool>,
    kept: u64,
    /// Those that could not be kept, and why.
    lost: u64,
    why: String,
}

impl<'a> Aside<'a> {
    pub(super) fn new(place: &'a Place, recovered: &Recovered) -> Self {
        let strangers = recovered.instruments.difference(&place.ours).copied().collect();
        Self { place, strangers, spool: None, kept: 0, lost: 0, why: String::new() }
    }

    /// Takes out of `records` what is not this run's, and keeps it.
    pub(super) fn take(&mut self, records: &mut Vec<Bytes48>) {
        if self.strangers.is_empty() {
            return;
        }
        let is_strange = |bytes: &mut Bytes48| {
            Record::from_bytes(bytes).is_ok_and(|record| self.strangers.contains(&record.instrument_id()))
        };
        let strange: Vec<Bytes48> = records.extract_if(.., is_strange).collect();
        if strange.is_empty() {
            return;
        }
        let count = strange.len() as u64;
        match self.put(&strange) {
            Ok(()) => self.kept += count,
            Err(error) => {
                self.lost += count;
                self.why = error.to_string();
            }
        }
    }

    fn put(&mut self, records: &[Bytes48]) -> Result<(), SpoolError> {
        if self.spool.is_none() {
            self.spool = Some(self.place.open_free()?);
        }
        if let Some(spool) = &mut self.spool {
            let gone = spool.append(clock::wall_ns(), records)?.dropped.records;
            if gone > 0 {
                (self.lost, self.kept) = (self.lost + gone, self.kept.saturating_sub(gone));
                "outbox_disk is full".clone_into(&mut self.why);
            }
        }
        Ok(())
    }

    /// Takes what is not this run's out of all that stands before a place, and nothing else.
    pub(super) fn all(&mut self, spool: &mut Spool, end: Position, step: usize) {
        let mut records = Vec::new();
        while !self.strangers.is_empty() && spool.position() < end {
            let before = spool.position();
            records.clear();
            let read = spool.read_until(end, step, &mut records);
            self.take(&mut records);
            if read.is_err() || spool.position() == before {
                return;
            }
        }
    }

    /// Tells what was kept, once.
    pub(super) fn end(&mut self) {
        let symbols = self.strangers.len();
        if self.kept > 0 {
            let directory = self.spool.as_ref().map(|spool| spool.directory().display().to_string());
            tracing::error!(
                records = self.kept,
                symbols,
                directory,
                "the spool held records of symbols that are not configured now: they are kept in a directory of their own"
            );
        }
        if self.lost > 0 {
            tracing::error!(
                records = self.lost,
                symbols,
                err = self.why,
                "the spool held records of symbols that are not configured now, and they could not be kept"
            );
        }
        if let Some(Err(error)) = self.spool.take().map(Spool::close) {
            tracing::warn!(err = %error, "the spool of symbols that are not configured cannot be closed");
        }
        (self.kept, self.lost) = (0, 0);
    }
}
