//! The end of a backlog: what waits and what the window still has goes to disk, in its order, for the next run.

use std::sync::mpsc::TrySendError;
use std::task::{Context, Poll};

use super::worker::{Borders, Told, append};
use super::{BATCH, Back, Backlog, Bytes48};
use crate::market::GapMsg;
use crate::telemetry::clock;
use crate::transport::nats::spool::{LeftBehind, Position, Remains, Spool};

/// What is left to the next run.
pub(super) struct Closing {
    /// What the window still has, oldest first: older than all that waits on disk.
    remains: Vec<Bytes48>,
    /// The place behind what was read back: that is stored, or among what remains.
    read_to: Position,
    /// Something may be missing behind what remains.
    torn: bool,
    /// What was not handed to the thread yet: younger than all that waits on disk.
    batch: Vec<Bytes48>,
}

/// What the thread did when nobody listened any more.
#[derive(Default)]
pub(super) struct Unheard {
    lost: Vec<GapMsg>,
    torn: bool,
}

impl Backlog {
    /// What the thread has told and nobody has heard yet; nothing more comes behind it.
    pub(in crate::transport::nats) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Back>> {
        self.told.close();
        self.told.poll_recv(cx).map(|told| told.map(|told| self.take(told)))
    }

    /// Ends the thread, once it has done what it was told and has put what remains in front of what waits.
    /// `own` are gaps of this run that nobody has declared.
    pub(in crate::transport::nats) fn leave(mut self, remains: Vec<Bytes48>, own: Vec<GapMsg>) {
        self.flush();
        let lost = own.into_iter().chain(std::mem::take(&mut self.lost).into_values()).map(|gap| *gap.as_bytes());
        let batch = lost.chain(self.batch.drain(..)).collect();
        let closing = Closing { remains, read_to: self.read_to, torn: self.trails.any_torn(), batch };
        if let Err(error) = self.closing.try_send(closing) {
            let (TrySendError::Full(closing) | TrySendError::Disconnected(closing)) = error;
            closing.is_lost("the spool's thread has ended");
        }
    }
}

impl Closing {
    /// Tells that nothing of it can be kept.
    pub(super) fn is_lost(&self, why: &str) {
        let records = self.remains.len() + self.batch.len();
        if records > 0 {
            tracing::error!(
                records,
                err = why,
                "what the broker did not take cannot be left on disk and ends with this process; the next run asks the \
                 venue for what the stream does not have"
            );
        }
    }

    /// Puts all of it to disk.
    pub(super) fn put(self, mut spool: Spool, borders: Borders, mut unheard: Unheard) {
        for records in self.batch.chunks(BATCH) {
            unheard.note(append(&mut spool, borders, records));
        }
        let mut records = self.remains;
        // What the disk gave up was the oldest there.
        records.extend(unheard.lost.iter().map(|gap| *gap.as_bytes()));
        let (end, read_to) = (spool.end().number(), self.read_to.number());
        let count = records.len() as u64 + spool.records().min(end.saturating_sub(read_to));
        // What was read and not heard of may have made room for the last ones: it shows as missing.
        let overrun = read_to > 0 && end - spool.records() > read_to;
        let remains = Remains { records: &records, at: self.read_to, torn: self.torn || unheard.torn || overrun };
        let (given_up, error) = match spool.leave(clock::wall_ns(), &remains) {
            Ok(LeftBehind { dropped, error }) => (dropped.records, error),
            Err(error) => (records.len() as u64, Some(error)),
        };
        if given_up > 0 || error.is_some() {
            let err = error.map_or_else(|| "outbox_disk is full".to_owned(), |error| error.to_string());
            tracing::error!(
                records = given_up,
                err,
                "the oldest of what the broker did not take finds no room on disk and is given up; the next run \
                 declares it, and asks the venue for what it still tells"
            );
        }
        let left = count.saturating_sub(given_up);
        if left > 0 {
            tracing::info!(records = left, "what the broker did not take is left in the spool for the next run");
        }
    }
}

impl Unheard {
    pub(super) fn note(&mut self, told: Told) {
        if let Told::Appended { lost, torn, .. } = told {
            self.lost.extend(lost.into_iter().map(|(_, gap)| gap));
            self.torn |= torn;
        }
    }
}
