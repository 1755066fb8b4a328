//! What does not fit into the outbox in memory: on disk, in order, behind a thread of its own, so that a slow disk
//! delays nobody.
//!
//! While anything waits here, every new record joins behind it; when the window has room again, records come back
//! oldest first. They are released, and their files removed, once the broker has acknowledged them.

mod aside;
mod choose;
mod end;
mod place;
mod trail;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{self as channel, TrySendError};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use choose::Place;

use super::spool::{Limits, Position};
use crate::config::settings::Nats;
use crate::market::trade::RECORD_BYTES;
use crate::market::{GapMsg, GapReason, Record, TradeMsg};
use end::Closing;
pub use place::{LEFT_CURE, Left, left};
pub(super) use trail::{Trails, without};
pub use worker::Worker;
use worker::{Command, Told};

/// A record as it is kept.
pub(super) type Bytes48 = [u8; RECORD_BYTES];

/// Records that are handed to the thread together, at most.
const BATCH: usize = 1_024;
/// Records that are read back together.
const READ: usize = 4_096;
/// Commands that wait for the thread, at most: with full batches some 12 MiB.
const COMMANDS: usize = 256;

/// The publisher's end.
pub(super) struct Backlog {
    commands: channel::SyncSender<Command>,
    told: mpsc::Receiver<Told>,
    /// Where the thread finds, once it has done what it was told, what is to be left to the next run.
    closing: channel::SyncSender<Closing>,
    /// Not handed to the thread yet: what comes before the disk has been looked at, or faster than it takes it.
    batch: VecDeque<Bytes48>,
    /// Most records of `batch`.
    batch_max: usize,
    /// Records handed to the thread, and those that it has dealt with and not given back.
    handed: u64,
    dealt_with: u64,
    unread: u64,
    reading: bool,
    /// What has been read back, and how many records the window had been given then.
    given: VecDeque<(Position, u64)>,
    /// The place behind all that has been read back.
    read_to: Position,
    /// What a disk too slow cost, by instrument: declared as soon as there is room.
    lost: BTreeMap<u32, GapMsg>,
    stats: BacklogStats,
    /// The last trade that an earlier run left behind, by instrument.
    left_behind: BTreeMap<u32, TradeMsg>,
    /// Records of an earlier run are the next to be read.
    inherits: bool,
    /// The stream has been read, and the thread has still to be told that what it was given before is older.
    border_due: bool,
    /// What is being read was asked for before that.
    read_before: bool,
    opened: bool,
    /// What has gone on to the window, from here or past it.
    pub(super) trails: Trails,
}

/// Plain counts of a backlog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BacklogStats {
    /// Whether records can be kept on disk.
    pub available: bool,
    /// Records that wait on disk now.
    pub waiting: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Records that were ever put there.
    pub spooled: u64,
    /// Records that an earlier run had left there.
    pub recovered: u64,
    /// Records given up because a bound was reached, or the disk refused; each is inside a declared gap.
    pub dropped: u64,
    /// Places on disk that could not be read.
    pub broken: u64,
    /// Why records cannot be kept on disk; empty: they can.
    pub error: String,
}

/// Where something that comes back was put to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// By an earlier run.
    Inherited,
    /// By this run, before it knew what the stream holds.
    Waited,
    /// By this run.
    #[default]
    Own,
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// Records for the window, in order.
    pub(super) records: Vec<Bytes48>,
    /// Where they, or what is lost, come from.
    pub(super) origin: Origin,
    /// Records that are given up, and who put them there: to be declared before all that is still to come.
    pub(super) lost: Vec<(Origin, GapMsg)>,
    /// The place behind the records, if they were on disk.
    pub(super) position: Option<Position>,
}

/// A shard's backlog of its instruments in the directory that the settings name, and the body of its thread; `None`
/// where there is to be none. `elsewhere` are the instruments of the other shards of this run.
#[must_use]
pub(super) fn new(
    settings: &Nats,
    shard: usize,
    ours: BTreeSet<u32>,
    elsewhere: BTreeSet<u32>,
) -> Option<(Backlog, Worker)> {
    if settings.outbox_disk.get() == 0 {
        return None;
    }
    let (commands, orders) = channel::sync_channel(COMMANDS);
    let (tell, told) = mpsc::channel(COMMANDS);
    let (closing, closed) = channel::sync_channel(1);
    let routes = ours.len();
    let limits = Limits::new(settings.outbox_disk.get());
    let place =
        Place { directory: place::directory(settings, shard), limits, owner: place::owner(settings), ours, elsewhere };
    let worker = Worker::new(place, orders, tell, closed);
    let memory = usize::try_from(settings.outbox_memory.get()).unwrap_or(usize::MAX);
    let backlog = Backlog {
        commands,
        told,
        closing,
        batch: VecDeque::new(),
        batch_max: (memory / RECORD_BYTES).max(BATCH),
        handed: 0,
        dealt_with: 0,
        unread: 0,
        reading: false,
        given: VecDeque::new(),
        read_to: Position::default(),
        lost: BTreeMap::new(),
        stats: BacklogStats::default(),
        left_behind: BTreeMap::new(),
        inherits: false,
        border_due: false,
        read_before: false,
        opened: false,
        trails: Trails::new(routes),
    };
    Some((backlog, worker))
}

impl Backlog {
    /// Whether records can be kept on disk, or may soon be.
    pub(super) const fn is_available(&self) -> bool {
        !self.opened || self.stats.available
    }

    /// Whether the disk has been looked at: before that nobody knows what an earlier run left.
    pub(super) const fn is_open(&self) -> bool {
        self.opened
    }

    /// Whether nothing waits here, so that a new record need not join behind it.
    pub(super) fn is_empty(&self) -> bool {
        self.opened && self.waiting() == 0 && self.lost.is_empty()
    }

    /// Whether records are on their way back.
    #[cfg(test)]
    pub(super) const fn is_reading(&self) -> bool {
        self.reading
    }

    /// Records that wait here.
    pub(super) fn waiting(&self) -> u64 {
        self.unread + (self.handed - self.dealt_with) + self.batch.len() as u64
    }

    /// Whether records of an earlier run are the next to be read.
    pub(super) const fn inherits(&self) -> bool {
        self.inherits
    }

    /// The last trade that an earlier run left of an instrument.
    pub(super) fn left_behind(&self, instrument_id: u32) -> Option<&TradeMsg> {
        self.left_behind.get(&instrument_id)
    }

    /// The last trades that an earlier run left.
    pub(super) fn all_left_behind(&self) -> impl Iterator<Item = &TradeMsg> {
        self.left_behind.values()
    }

    /// Leaves out what an earlier run left: another instance's stream is beyond it.
    pub(super) fn skip_inherited(&mut self) {
        if self.inherits && !self.reading && self.commands.try_send(Command::Skip).is_ok() {
            self.left_behind.clear();
            self.reading = true;
        }
    }

    /// The stream has been read: what was put here before that has to be held against it.
    pub(super) fn anchored(&mut self) {
        self.border_due = true;
        self.read_before = self.reading;
        self.flush();
    }

    /// Counts and gauges.
    pub(super) fn stats(&self) -> BacklogStats {
        BacklogStats { waiting: self.waiting(), ..self.stats.clone() }
    }

    /// Takes a record behind all others.
    pub(super) fn push(&mut self, record: &Record) {
        self.batch.push_back(*record.as_bytes());
        if self.batch.len() >= BATCH {
            self.flush();
        }
        // The disk is slower than the feeds, or is still being looked at.
        while self.batch.len() > self.batch_max {
            if let Some(oldest) = self.batch.pop_front() {
                self.lose(&oldest);
            }
        }
    }

    /// Hands over what has gathered, as far as the thread takes it.
    pub(super) fn flush(&mut self) {
        if !self.opened || !self.stats.available {
            return;
        }
        for gap in std::mem::take(&mut self.lost).into_values() {
            self.batch.push_front(*gap.as_bytes());
        }
        while !self.batch.is_empty() {
            let count = self.batch.len().min(BATCH);
            let records: Vec<Bytes48> = self.batch.drain(..count).collect();
            match self.commands.try_send(Command::Append(records)) {
                Ok(()) => {
                    self.handed += count as u64;
                    self.stats.spooled += count as u64;
                }
                Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => {
                    if let Command::Append(records) = command {
                        records.into_iter().rev().for_each(|record| self.batch.push_front(record));
                    }
                    return;
                }
            }
        }
        if self.border_due && self.commands.try_send(Command::Border).is_ok() {
            self.border_due = false;
        }
    }

    fn lose(&mut self, record: &Bytes48) {
        let Ok(record) = Record::from_bytes(record) else { return };
        self.stats.dropped += u64::from(matches!(record, Record::Trade(_)));
        let gap = record.lost(GapReason::OutboxOverflow);
        match self.lost.entry(gap.instrument_id) {
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().join(&gap),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(gap);
            }
        }
    }

    /// Asks for the oldest records, if any wait and none are on their way.
    pub(super) fn fetch(&mut self) {
        self.flush();
        let any = self.unread + (self.handed - self.dealt_with) > 0;
        if any && !self.reading && !self.border_due && self.commands.try_send(Command::Read(READ)).is_ok() {
            self.reading = true;
        }
    }

    /// The window has been given what came back; `taken` counts what it was ever given.
    pub(super) fn given(&mut self, position: Position, taken: u64) {
        self.given.push_back((position, taken));
        // A read that failed tells no place.
        self.read_to = self.read_to.max(position);
    }

    /// Whether something that came back is not known to be stored yet.
    pub(super) fn owes(&self) -> bool {
        !self.given.is_empty()
    }

    /// So many records of what the window was ever given are done with: files behind them may go.
    pub(super) fn done(&mut self, done: u64) {
        let mut release = None;
        while self.given.front().is_some_and(|(_, taken)| *taken <= done) {
            release = self.given.pop_front();
        }
        if let Some((position, taken)) = release
            && self.commands.try_send(Command::Release(position)).is_err()
        {
            self.given.push_front((position, taken));
        }
    }

    /// What the thread tells next.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Back> {
        match self.told.poll_recv(cx) {
            Poll::Ready(Some(told)) => Poll::Ready(self.take(told)),
            Poll::Ready(None) if self.is_available() => Poll::Ready(self.orphaned()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// The thread is gone, and with it what is on disk, until the next run finds it there.
    fn orphaned(&mut self) -> Back {
        tracing::error!(waiting = self.unread, "the spool's thread has ended: what is on disk is declared as missing");
        self.opened = true;
        self.stats.available = false;
        self.stats.error = "the spool's thread has ended".to_owned();
        (self.unread, self.dealt_with, self.inherits) = (0, self.handed, false);
        // The stream goes on behind what is on disk, so that the next run will find it passed.
        self.trails.tear();
        let lost = std::mem::take(&mut self.lost).into_values().map(|gap| (Origin::Own, gap)).collect();
        Back { records: self.batch.drain(..).collect(), lost, ..Back::default() }
    }

    fn take(&mut self, told: Told) -> Back {
        let mut back = Back::default();
        match told {
            Told::Opened { recovered, bytes } => {
                self.opened = true;
                self.stats.available = true;
                self.stats.recovered = recovered.records;
                self.stats.broken += recovered.broken.len() as u64;
                self.stats.bytes = bytes;
                self.unread = recovered.records;
                self.inherits = recovered.records > 0;
                self.left_behind = recovered.last;
                if !self.inherits && self.lost.is_empty() {
                    back.records = self.batch.drain(..).collect();
                }
                self.flush();
            }
            Told::Unavailable { why } => {
                self.opened = true;
                self.stats.available = false;
                self.stats.error = why;
                back.records = self.batch.drain(..).collect();
                back.lost = std::mem::take(&mut self.lost).into_values().map(|gap| (Origin::Own, gap)).collect();
            }
            Told::Appended { count, unread, dropped, lost, inherits, broken, torn, bytes, why } => {
                self.inherits &= inherits;
                self.dealt_with += count;
                self.unread = unread;
                self.stats.bytes = bytes;
                self.stats.error = why;
                self.stats.dropped += dropped;
                self.stats.broken += broken;
                back.lost = lost;
                self.torn(torn);
            }
            Told::Read { records, position, origin, inherits, broken, torn, unread } => {
                self.reading = false;
                self.inherits &= inherits;
                let before = std::mem::take(&mut self.read_before);
                back.origin = if before { origin.min(Origin::Waited) } else { origin };
                self.unread = unread;
                self.stats.broken += broken;
                back.records = records;
                self.torn(torn);
                back.position = Some(position);
            }
        }
        back
    }

    /// What comes of each instrument next, from here or past it, need not follow on what came before.
    fn torn(&mut self, torn: bool) {
        if torn {
            self.trails.tear();
        }
    }
}
