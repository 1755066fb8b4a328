//! The thread that owns the spool: it does what it is told, and tells what came of it.

use std::sync::mpsc as channel;

use tokio::sync::mpsc;

use super::aside::Aside;
use super::choose::Place;
use super::end::{Closing, Unheard};
use super::{Bytes48, Origin, READ};
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
        /// Each with where the oldest of it comes from.
        lost: Vec<(Origin, GapMsg)>,
        /// Whether more is there of an earlier run.
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
    closing: channel::Receiver<Closing>,
}

impl Worker {
    pub(super) const fn new(
        place: Place,
        orders: channel::Receiver<Command>,
        tell: mpsc::Sender<Told>,
        closing: channel::Receiver<Closing>,
    ) -> Self {
        Self { place, orders, tell, closing }
    }

    /// Runs until nobody is left who could tell it anything; then it puts to disk what it finds to be left.
    pub fn run(self) {
        let (spool, recovered) = match self.place.open() {
            Ok(opened) => opened,
            Err(error) => return self.without_disk(&error),
        };
        self.told_of(&spool, &recovered);
        let borders = Borders { inherited: spool.end(), waited: spool.end(), known: false };
        let aside = Aside::new(&self.place, &recovered);
        let mut unheard = Unheard::default();
        let told = Told::Opened { recovered: Box::new(recovered), bytes: spool.bytes() };
        self.say(told, &mut unheard);
        let mut desk = Desk { spool, borders, aside };
        while let Ok(command) = self.orders.recv() {
            if let Some(told) = desk.carry_out(command) {
                self.say(told, &mut unheard);
            }
        }
        let Desk { spool, borders, mut aside } = desk;
        aside.end();
        if let Ok(closing) = self.closing.try_recv() {
            closing.put(spool, borders, unheard);
        } else if let Err(error) = spool.close() {
            tracing::warn!(err = %error, "the spool cannot be closed");
        }
    }

    fn without_disk(&self, error: &SpoolError) {
        tracing::warn!(err = %error, "no records can be kept on disk: the outbox in memory is all there is");
        let _ = self.tell.blocking_send(Told::Unavailable { why: error.to_string() });
        while self.orders.recv().is_ok() {}
        if let Ok(closing) = self.closing.try_recv() {
            closing.is_lost(&error.to_string());
        }
    }

    /// At the end nobody listens any more: what was ordered is done all the same, and what is to be told of it is kept.
    fn say(&self, told: Told, unheard: &mut Unheard) {
        if let Err(error) = self.tell.blocking_send(told) {
            unheard.note(error.0);
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

/// What the thread works on.
struct Desk<'a> {
    spool: Spool,
    borders: Borders,
    aside: Aside<'a>,
}

impl Desk<'_> {
    fn carry_out(&mut self, command: Command) -> Option<Told> {
        let Self { spool, borders, aside } = self;
        match command {
            Command::Append(records) => Some(append(spool, *borders, &records)),
            Command::Read(max) => {
                let told = read(spool, aside, *borders, max);
                if !borders.inherits(spool) {
                    aside.end();
                }
                Some(told)
            }
            Command::Skip => {
                aside.all(spool, borders.inherited, READ);
                release(spool, borders.inherited);
                Some(read(spool, aside, *borders, 0))
            }
            Command::Border => {
                (borders.waited, borders.known) = (spool.end(), true);
                None
            }
            Command::Release(position) => {
                release(spool, position);
                None
            }
        }
    }
}

/// What stands before these places was put there by an earlier run, or before the stream was known.
#[derive(Clone, Copy)]
pub(super) struct Borders {
    inherited: Position,
    waited: Position,
    /// The stream has been read.
    known: bool,
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

    /// Where a record comes from that is to be put there now.
    const fn of_new(self) -> Origin {
        if self.known { Origin::Own } else { Origin::Waited }
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
pub(super) fn append(spool: &mut Spool, borders: Borders, records: &[Bytes48]) -> Told {
    let (oldest, _) = borders.next(spool);
    let mut lost = Vec::new();
    let (mut dropped, mut broken) = (0, 0);
    let mut give_up = |given_up: &Dropped, origin: Origin| {
        dropped += given_up.records;
        broken += tell_broken(&given_up.broken);
        lost.extend(given_up.lost.values().map(|lost| (origin, lost.gap(GapReason::OutboxOverflow))));
    };
    let error = loop {
        match spool.append(clock::wall_ns(), records) {
            Ok(appended) => {
                give_up(&appended.dropped, oldest);
                break None;
            }
            Err(error @ SpoolError::Full { .. }) => match spool.drop_oldest() {
                Ok(given_up) if !given_up.is_empty() => give_up(&given_up, oldest),
                _ => break Some(error),
            },
            Err(error) => break Some(error),
        }
    };
    if let Some(error) = &error {
        // Nothing helps: the records themselves are given up, and none of them is of an earlier run.
        let what = "records cannot be kept on disk: they are dropped, declared";
        tracing::error!(err = %error, records = records.len(), "{what}");
        give_up(&Dropped::of(records), borders.of_new());
    }
    let (count, why) = (records.len() as u64, error.map(|error| error.to_string()).unwrap_or_default());
    let (torn, inherits, unread, bytes) = (spool.is_torn(), borders.inherits(spool), spool.unread(), spool.bytes());
    Told::Appended { count, unread, dropped, lost, inherits, broken, torn, bytes, why }
}

fn read(spool: &mut Spool, aside: &mut Aside<'_>, borders: Borders, max: usize) -> Told {
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
    if origin == Origin::Inherited {
        aside.take(&mut records);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Record, TradeMsg};
    use crate::transport::nats::spool::{BLOCK_RECORDS_MAX, Limits};

    fn trade(trade_id: u64) -> Bytes48 {
        let trade = TradeMsg { trade_id, instrument_id: 1, kind: 1, ..bytemuck::Zeroable::zeroed() };
        *Record::Trade(trade).as_bytes()
    }

    #[test]
    fn what_the_disk_refuses_is_not_taken_for_an_earlier_runs() {
        let root = tempfile::tempdir().unwrap();
        let open = || Spool::open(root.path(), Limits::default(), "TRADES").unwrap().0;
        let _ = open().append(1, &[trade(1)]).unwrap();
        let mut spool = open();
        for (known, origin) in [(false, Origin::Waited), (true, Origin::Own)] {
            let borders = Borders { inherited: spool.end(), waited: spool.end(), known };
            assert!(borders.inherits(&spool), "that of an earlier run is the next to be read");
            let refused: Vec<Bytes48> = (2..BLOCK_RECORDS_MAX as u64 + 3).map(trade).collect();
            let Told::Appended { lost, dropped, unread, .. } = append(&mut spool, borders, &refused) else {
                panic!("something else was told");
            };
            assert_eq!((dropped, unread), (refused.len() as u64, 1));
            assert_eq!(lost.iter().map(|(origin, gap)| (*origin, gap.first_id)).collect::<Vec<_>>(), [(origin, 2)]);
        }
    }
}
