//! The thread that owns the spool: it does what it is told, and tells what came of it.

use std::sync::mpsc as channel;

use tokio::sync::mpsc;

use super::choose::Place;
use super::{Bytes48, Origin};
use crate::market::{GapMsg, GapReason};
use crate::telemetry::clock;
use crate::transport::nats::spool::{Broken, Dropped, Position, Reading, Recovered, Spool, SpoolError};

/// What the thread is told.
pub(super) enum Command {
    Append(Vec<Bytes48>),
    Read(usize),
    Release(Position),
    /// What an earlier run left need not be read any more.
    Skip,
    /// The stream has been read: what was appended before is older than what is now known of it.
    Border,
    Close,
}

/// What it tells.
pub(super) enum Told {
    Opened {
        recovered: Box<Recovered>,
        bytes: u64,
    },
    Unavailable {
        why: String,
    },
    /// Something was appended, or could not be.
    Appended {
        /// Records that were to be appended.
        count: u64,
        /// Records that have still to be read.
        unread: u64,
        /// Records that are gone: older ones that made room, or these.
        dropped: u64,
        lost: Vec<GapMsg>,
        /// Where the oldest of them comes from, and whether more is there of an earlier run.
        origin: Origin,
        inherits: bool,
        /// Places in what was dropped that could not be read, and whether anything is missing by them.
        broken: u64,
        torn: bool,
        bytes: u64,
        why: String,
    },
    Read {
        records: Vec<Bytes48>,
        position: Position,
        /// Where all of them come from, and whether more is there of an earlier run.
        origin: Origin,
        inherits: bool,
        broken: u64,
        /// Records in front of these are not there.
        torn: bool,
        unread: u64,
    },
}

/// The body of the thread.
pub struct Worker {
    place: Place,
    orders: channel::Receiver<Command>,
    tell: mpsc::Sender<Told>,
}

impl Worker {
    pub(super) const fn new(place: Place, orders: channel::Receiver<Command>, tell: mpsc::Sender<Told>) -> Self {
        Self { place, orders, tell }
    }

    /// Runs until it is told to end, or nobody is left to tell.
    pub fn run(self) {
        let mut spool = match self.place.open() {
            Ok((spool, recovered)) => {
                self.told_of(&spool, &recovered);
                let told = Told::Opened { recovered: Box::new(recovered), bytes: spool.bytes() };
                if self.tell.blocking_send(told).is_err() {
                    return;
                }
                spool
            }
            Err(error) => {
                tracing::warn!(err = %error, "no records can be kept on disk: the outbox in memory is all there is");
                let _ = self.tell.blocking_send(Told::Unavailable { why: error.to_string() });
                return;
            }
        };
        let mut borders = Borders { inherited: spool.end(), waited: spool.end() };
        while let Ok(command) = self.orders.recv() {
            let told = match command {
                Command::Append(records) => Some(append(&mut spool, borders, &records)),
                Command::Read(max) => Some(read(&mut spool, borders, max)),
                Command::Skip => {
                    release(&mut spool, borders.inherited);
                    Some(read(&mut spool, borders, 0))
                }
                Command::Border => {
                    borders.waited = spool.end();
                    None
                }
                Command::Release(position) => {
                    release(&mut spool, position);
                    None
                }
                Command::Close => break,
            };
            if let Some(told) = told {
                // Nobody listens any more at the end: what was ordered is done all the same.
                let _ = self.tell.blocking_send(told);
            }
        }
        if let Err(error) = spool.close() {
            tracing::warn!(err = %error, "the spool cannot be closed");
        }
    }

    fn told_of(&self, spool: &Spool, recovered: &Recovered) {
        tell_broken(&recovered.broken);
        if recovered.records > 0 {
            tracing::info!(
                records = recovered.records,
                segments = recovered.segments,
                directory = %spool.directory().display(),
                "an earlier run left records in the spool: what the stream does not have is sent"
            );
        }
    }
}

/// What stands before these places was put there by an earlier run, or before the stream was known.
#[derive(Clone, Copy)]
struct Borders {
    inherited: Position,
    waited: Position,
}

impl Borders {
    /// Where the next record comes from, and the place behind the last one that comes from there too.
    fn next(self, spool: &Spool) -> (Origin, Position) {
        match spool.position() {
            at if at < self.inherited => (Origin::Inherited, self.inherited),
            at if at < self.waited => (Origin::Waited, self.waited),
            _ => (Origin::Own, spool.end()),
        }
    }

    fn inherits(self, spool: &Spool) -> bool {
        spool.position() < self.inherited
    }
}

fn release(spool: &mut Spool, position: Position) {
    if let Err(error) = spool.release(position) {
        tracing::warn!(err = %error, "a spooled file cannot be removed; it is tried again");
    }
}

/// Appends; where the disk is full, older records make room as if the limit had been reached.
fn append(spool: &mut Spool, borders: Borders, records: &[Bytes48]) -> Told {
    let (origin, _) = borders.next(spool);
    let mut lost = Vec::new();
    let (mut dropped, mut broken) = (0, 0);
    let mut give_up = |given_up: &Dropped| {
        dropped += given_up.records;
        broken += tell_broken(&given_up.broken);
        lost.extend(given_up.lost.values().map(|lost| lost.gap(GapReason::OutboxOverflow)));
    };
    let why = loop {
        match spool.append(clock::wall_ns(), records) {
            Ok(appended) => {
                give_up(&appended.dropped);
                break String::new();
            }
            Err(error @ SpoolError::Full { .. }) => match spool.drop_oldest() {
                Ok(given_up) if !given_up.is_empty() => give_up(&given_up),
                _ => break refuse(records, &error, &mut give_up),
            },
            Err(error) => break refuse(records, &error, &mut give_up),
        }
    };
    let count = records.len() as u64;
    let (torn, inherits, unread, bytes) = (spool.is_torn(), borders.inherits(spool), spool.unread(), spool.bytes());
    Told::Appended { count, unread, dropped, lost, origin, inherits, broken, torn, bytes, why }
}

/// Nothing helps: the records themselves are given up.
fn refuse(records: &[Bytes48], error: &SpoolError, give_up: &mut impl FnMut(&Dropped)) -> String {
    tracing::error!(err = %error, records = records.len(), "records cannot be kept on disk: they are dropped, declared");
    give_up(&Dropped::of(records));
    error.to_string()
}

fn read(spool: &mut Spool, borders: Borders, max: usize) -> Told {
    let (origin, limit) = borders.next(spool);
    let mut records = Vec::with_capacity(max.min(4_096));
    let reading = match spool.read_until(limit, max, &mut records) {
        Ok(reading) => reading,
        Err(error) => {
            tracing::error!(err = %error, "the spool cannot be read; it is tried again");
            // Whoever asked asks again.
            std::thread::sleep(std::time::Duration::from_millis(100));
            Reading::default()
        }
    };
    let (position, broken, torn) = (reading.position, tell_broken(&reading.broken), reading.torn);
    let (inherits, unread) = (borders.inherits(spool), spool.unread());
    Told::Read { records, position, origin, inherits, broken, torn, unread }
}

/// Puts damage into the log, and counts it.
fn tell_broken(places: &[Broken]) -> u64 {
    for broken in places {
        tracing::error!(%broken, "a place in the spool does not hold and is passed over");
    }
    places.len() as u64
}
