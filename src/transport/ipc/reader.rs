//! A reader of a segment: any number of them, each at its own pace, none known to the writer.
//!
//! It maps the segment read-only and makes no system call while it polls. It never reads a clock: whoever wants silence
//! noticed says what time it is.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::layout::State;
use super::open::{OpenError, Source};
use super::ring::{self, Read, RecordWords};
use super::symbols::Symbols;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{Record, Symbol};

/// A reader of one segment.
///
/// # Examples
/// ```no_run
/// use data_manager::transport::ipc::{Next, Reader, Wait};
/// let mut reader = Reader::open("/dev/shm/data_manager_binance".as_ref())?;
/// reader.from_newest();
/// loop {
///     match reader.poll() {
///         Next::Record(record, position) => println!("{position}: {record:?}"),
///         Next::Lagged { lost } => eprintln!("{lost} records lost: this reader is too slow"),
///         Next::Unknown { kind, position } => eprintln!("{position}: record kind {kind} is from the future"),
///         Next::Empty => Wait::Spin.wait(),
///         Next::WriterGone(reason) => break println!("{reason}"),
///     }
/// }
/// # Ok::<(), data_manager::transport::ipc::OpenError>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    source: Source,
    /// Number of the next record.
    position: u64,
    symbols: Symbols,
    /// The heartbeat last seen, and when it was first seen by [`Self::check`].
    heartbeat: Option<(u64, Instant)>,
    stats: ReaderStats,
}

/// What a poll finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// A record, and its number since the epoch began.
    Record(Record, u64),
    /// A record of a kind that this version does not know; it is passed over.
    Unknown {
        /// The value in the record's last byte.
        kind: u8,
        /// Its number since the epoch began.
        position: u64,
    },
    /// Nothing new.
    Empty,
    /// The writer has overtaken this reader.
    Lagged {
        /// Records between the last one read and the next one, exactly.
        lost: u64,
    },
    /// Nothing new, and nothing will come: the writer has closed the segment.
    WriterGone(Gone),
}

/// Why no record will come from this mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The writer has closed the segment, and all of it is read.
    Closed,
    /// The heartbeat has stood still: the writer was killed, or is stopped and may come back.
    Silent {
        /// For how long it has been seen to stand still.
        for_: Duration,
    },
    /// Another segment stands under the name now: [`Reader::reopen`].
    Replaced,
    /// Nothing stands under the name any more.
    Removed,
    /// The file has been cut off: this reader must be dropped and not polled again, or it risks SIGBUS.
    Truncated {
        /// Bytes that the header declares.
        declared: u64,
        /// Bytes that the file still has.
        len: u64,
    },
}

/// Plain counts of a reader, over all segments that it has followed by [`Reader::reopen`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Records read, unknown kinds included.
    pub read: u64,
    /// Of these, records of a kind that this version does not know.
    pub unknown: u64,
    /// Records lost to the writer overtaking.
    pub lost: u64,
    /// How many times the writer has overtaken.
    pub lags: u64,
}

/// What [`Reader::reopen`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopened {
    /// The same segment still stands under the name.
    Same,
    /// A new writer's segment; the reader stands at its oldest record.
    New {
        /// Its epoch, ns since the Unix epoch.
        epoch: u64,
    },
}

/// What to do when there is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Keep the core: records arrive within a few hundred nanoseconds.
    Spin,
    /// Offer the core to others first: microseconds when it is busy, a whole core when it is not.
    Yield,
    /// Sleep this long: no load to speak of, and records as late as that.
    Sleep(Duration),
}

impl Wait {
    /// Waits once.
    pub fn wait(self) {
        match self {
            Self::Spin => std::hint::spin_loop(),
            Self::Yield => std::thread::yield_now(),
            Self::Sleep(duration) => std::thread::sleep(duration),
        }
    }
}

impl Reader {
    /// Opens a segment by its path ([`segment_path`](super::segment_path) makes it of a name) and stands at its
    /// oldest record.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is mapped that the file does not hold.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut reader = Self {
            path: path.to_owned(),
            source: Source::open(path)?,
            position: 0,
            symbols: Symbols::default(),
            heartbeat: None,
            stats: ReaderStats::default(),
        };
        reader.from_oldest();
        Ok(reader)
    }

    /// Looks for the next record. It neither waits nor calls the system.
    #[inline]
    pub fn poll(&mut self) -> Next {
        match ring::read(&self.source.segment, self.position) {
            Read::Record(words) => self.take(words),
            Read::NotYet => self.idle(),
            Read::Lapped { next } => self.lag(next),
        }
    }

    /// Looks whether records can still come; for when [`Self::poll`] has found nothing for a while, every 100 ms say.
    /// It asks the system for the file's length and for what stands under the name.
    ///
    /// `silence` is how long the heartbeat may stand still, at least 2 s; `now` only ever grows. A writer that was
    /// [`Gone::Silent`] may come back, so polling on is allowed, after [`Gone::Truncated`] alone it is not.
    #[must_use]
    pub fn check(&mut self, now: Instant, silence: Duration) -> Option<Gone> {
        let declared = self.source.segment.header().segment_bytes();
        let len = self.source.file.metadata().map_or(0, |metadata| metadata.len());
        if len < declared {
            return Some(Gone::Truncated { declared, len });
        }
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) != self.source.identity => return Some(Gone::Replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Gone::Removed),
            _ => {}
        }
        let beat = self.source.segment.heartbeat().load(Ordering::Relaxed);
        // Only a heartbeat's change is looked at, never its age: wall time may step, and must not kill a writer.
        let since = match self.heartbeat {
            Some((seen, since)) if seen == beat => since,
            _ => self.heartbeat.insert((beat, now)).1,
        };
        let for_ = now.saturating_duration_since(since);
        (for_ > silence).then_some(Gone::Silent { for_ })
    }

    /// Goes to the oldest record that will stay for a while: record 0, or on a ring that has wrapped an eighth of the
    /// ring behind the oldest one, which a live writer is about to overwrite.
    pub fn from_oldest(&mut self) {
        let segment = &self.source.segment;
        let closed = segment.state().load(Ordering::Relaxed) == State::Closed as u32;
        fence(Ordering::Acquire);
        self.position = if closed {
            ring::head(segment).saturating_sub(segment.header().capacity)
        } else {
            ring::oldest_safe(segment)
        };
    }

    /// Goes to the end: what is published from now on.
    pub fn from_newest(&mut self) {
        self.position = ring::head(&self.source.segment);
    }

    /// Goes to this record: one that the ring has lost is counted by [`Next::Lagged`], exactly.
    pub const fn go_to(&mut self, position: u64) {
        self.position = position;
    }

    /// Opens what stands under the name now. If that is another writer's segment, the reader moves to its oldest
    /// record; what it has not read of the old one it gives up, so poll until [`Next::Empty`] or [`Next::WriterGone`]
    /// first.
    ///
    /// # Errors
    /// [`OpenError`], for instance while there is no new writer yet; the reader is then as before.
    pub fn reopen(&mut self) -> Result<Reopened, OpenError> {
        let source = Source::open(&self.path)?;
        if source.identity == self.source.identity && source.segment.header().epoch == self.epoch() {
            return Ok(Reopened::Same);
        }
        self.source = source;
        self.symbols = Symbols::default();
        self.heartbeat = None;
        self.from_oldest();
        Ok(Reopened::New { epoch: self.epoch() })
    }

    /// The symbol of an instrument id. Symbols that the writer has added since the last look are found too.
    pub fn symbol(&mut self, instrument_id: u32) -> Option<&Symbol> {
        if !self.symbols.by_id.contains_key(&instrument_id) {
            self.symbols.grow(&self.source.segment);
        }
        self.symbols.by_id.get(&instrument_id)
    }

    /// Ids and symbols of all instruments that the writer has named so far, in no order.
    pub fn symbols(&mut self) -> impl Iterator<Item = (u32, &Symbol)> {
        self.symbols.grow(&self.source.segment);
        self.symbols.by_id.iter().map(|(id, symbol)| (*id, symbol))
    }

    /// The exchange's token, as the header names it.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.source.segment.header().exchange
    }

    /// When the writer began, ns since the Unix epoch. Positions count from there.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.source.segment.header().epoch
    }

    /// The writer's process id, as its own pid namespace counts.
    #[must_use]
    pub const fn writer_pid(&self) -> u32 {
        self.source.segment.header().pid
    }

    /// Records that the ring remembers.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.source.segment.header().capacity
    }

    /// Number of the record that the next poll looks for.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Records that are published and not read yet.
    #[must_use]
    pub fn behind(&self) -> u64 {
        ring::head(&self.source.segment).saturating_sub(self.position)
    }

    /// The writer's last sign of life, ns since the Unix epoch by its clock; to be shown, not to decide by.
    #[must_use]
    pub fn heartbeat_ns(&self) -> u64 {
        self.source.segment.heartbeat().load(Ordering::Relaxed)
    }

    /// What the writer says of itself; `None` for a value that this version does not know.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        State::from_wire(self.source.segment.state().load(Ordering::Relaxed))
    }

    /// What it has done so far.
    #[must_use]
    pub const fn stats(&self) -> ReaderStats {
        self.stats
    }

    /// The segment's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[inline]
    fn take(&mut self, words: RecordWords) -> Next {
        let position = self.position;
        self.position += 1;
        self.stats.read += 1;
        match record(words) {
            Ok(record) => Next::Record(record, position),
            Err(kind) => {
                self.stats.unknown += 1;
                Next::Unknown { kind, position }
            }
        }
    }

    #[inline]
    fn idle(&mut self) -> Next {
        if self.source.segment.state().load(Ordering::Relaxed) != State::Closed as u32 {
            return Next::Empty;
        }
        // The last record may have been stored between the two looks; behind the mark it cannot hide.
        fence(Ordering::Acquire);
        match ring::read(&self.source.segment, self.position) {
            Read::Record(words) => self.take(words),
            Read::NotYet => Next::WriterGone(Gone::Closed),
            Read::Lapped { next } => self.lag(next),
        }
    }

    #[cold]
    fn lag(&mut self, next: u64) -> Next {
        let lost = next - self.position;
        self.position = next;
        self.stats.lost += lost;
        self.stats.lags += 1;
        Next::Lagged { lost }
    }
}

/// Six words as a record, or the kind that this version does not know.
#[inline]
fn record(words: RecordWords) -> Result<Record, u8> {
    let [.., last] = words;
    let [.., kind] = last.to_le_bytes();
    match kind {
        KIND_TRADE_V1 => Ok(Record::Trade(bytemuck::cast(words))),
        KIND_GAP_V1 => Ok(Record::Gap(bytemuck::cast(words))),
        kind => Err(kind),
    }
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the writer has closed the ring"),
            Self::Silent { for_ } => {
                write!(f, "the writer has given no sign of life for {} s: killed, or stopped", for_.as_secs())
            }
            Self::Replaced => f.write_str("another writer has replaced the ring"),
            Self::Removed => f.write_str("the ring's file has been removed"),
            Self::Truncated { declared, len } => {
                write!(f, "the ring's file has been cut off: {len} bytes are left of {declared}")
            }
        }
    }
}
