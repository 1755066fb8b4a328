//! The one writer of a segment: creates it crash-safely, then stores records without ever waiting.
//!
//! It does not know readers: none of them can slow it, and none has to exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::create::{CreateError, Filling, previous_epoch};
use super::layout::{Header, State};
use super::names::lock_path;
use super::ring::{self, RecordWords};
use super::segment::{DIRECTORY, Segment, segment_path};
use super::symbols::{SymbolTableError, symbol_words};
use crate::market::{Record, Symbol};
use crate::telemetry::clock;
use crate::transport::files::{Lock, LockError};

/// What a segment is to be.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// Where segments live: `/dev/shm`, unless a test says otherwise.
    pub directory: PathBuf,
    /// First part of the segment's name; starts with `/` and holds no other one.
    pub path_prefix: String,
    /// The exchange's token, 1..=32 bytes: the rest of the name.
    pub exchange: String,
    /// Records that the ring holds: a power of two, 64..=2^30. Each takes 64 bytes.
    pub capacity: u64,
    /// Entries of the symbol table, 1..=2^20. Each takes 64 bytes.
    pub symbols_max: u32,
    /// File mode, such as `0o640`: who can read the segment. The umask does not change it.
    pub mode: u32,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            directory: DIRECTORY.into(),
            path_prefix: "/data_manager_".to_owned(),
            exchange: String::new(),
            capacity: 1 << 20,
            symbols_max: 4_096,
            mode: 0o640,
        }
    }
}

/// Plain counts of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Records stored since the epoch began.
    pub written: u64,
    /// Of these, how many `head` speaks of; the rest follows with [`Writer::publish`].
    pub published: u64,
    /// Symbols in the table.
    pub symbols: u32,
}

/// The one writer of a segment. Dropping it closes the segment: readers drain it and then see the end.
#[derive(Debug)]
pub struct Writer {
    segment: Segment,
    path: PathBuf,
    /// Number of the next record.
    next: u64,
    /// What `head` says.
    published: u64,
    /// `head` never trails by more than this, or lapped readers would not find their way.
    trail_max: u64,
    symbols: BTreeMap<u32, Symbol>,
    /// Given back after the segment is marked closed; `None` only while [`Self::create`] is under way.
    lock: Option<Lock>,
}

impl Writer {
    /// Creates a segment and replaces what a dead or closed writer left under its name. Readers of the old segment keep
    /// it until they let go; a reader never sees half a header.
    ///
    /// # Errors
    /// [`CreateError`]; the segment that was there, if any, is then as before, except that it gives way when there is
    /// no room for two.
    pub fn create<'a>(
        config: &WriterConfig,
        symbols: impl IntoIterator<Item = (u32, &'a Symbol)>,
    ) -> Result<Self, CreateError> {
        let path = segment_path(&config.directory, &config.path_prefix, &config.exchange)?;
        let pid = std::process::id();
        let mut header = Header::new(&config.exchange, config.capacity, config.symbols_max, clock::wall_ns(), pid)
            .map_err(CreateError::Size)?;
        let lock = Lock::take(&lock_path(&path), pid).map_err(|error| match error {
            LockError::Held { pid } => CreateError::Busy { path: path.clone(), pid },
            LockError::Io(source) => CreateError::Io { action: "lock", path: lock_path(&path), source },
        })?;
        if let Some(previous) = previous_epoch(&path)? {
            // A clock that stepped back must not make two writers look like one.
            header.epoch = header.epoch.max(previous.saturating_add(1));
        }
        let filling = Filling::create(&path, header.segment_bytes())?;
        let segment = filling.fill(header, config.mode)?;
        let mut writer = Self::new(segment, path.clone());
        for (id, symbol) in symbols {
            writer
                .add_symbol(id, symbol)
                .map_err(|source| CreateError::Symbol { path: writer.path.clone(), source })?;
        }
        filling.publish()?;
        // Only now: on an error above, the lock must outlive the removal of what was being filled.
        writer.lock = Some(lock);
        writer.segment.state().store(State::Live as u32, Ordering::Release);
        Ok(writer)
    }

    /// The writer of a segment that nobody sees yet.
    fn new(segment: Segment, path: PathBuf) -> Self {
        segment.heartbeat().store(segment.header().epoch, Ordering::Relaxed);
        let trail_max = ring::margin(segment.header().capacity);
        Self { segment, path, next: 0, published: 0, trail_max, symbols: BTreeMap::new(), lock: None }
    }

    /// Stores a record; readers see it at once. No system call, no wait, no allocation.
    #[inline]
    pub fn push(&mut self, record: &Record) {
        ring::write(&self.segment, self.next, &words(record));
        self.next += 1;
        if self.next - self.published >= self.trail_max {
            self.publish();
        }
    }

    /// Brings `head` up to date: once after each batch of [`Self::push`].
    #[inline]
    pub fn publish(&mut self) {
        self.published = self.next;
        ring::publish(&self.segment, self.next);
    }

    /// Shows life; to be called at least once a second, else readers take the writer for dead.
    pub fn heartbeat(&self, now_wall_ns: u64) {
        self.segment.heartbeat().store(now_wall_ns, Ordering::Relaxed);
    }

    /// Adds a symbol, at any time. Readers find it when they first meet its id; adding it again changes nothing.
    ///
    /// # Errors
    /// [`SymbolTableError`] when the table is full or the id belongs to another symbol.
    pub fn add_symbol(&mut self, id: u32, symbol: &Symbol) -> Result<(), SymbolTableError> {
        match self.symbols.get(&id) {
            Some(there) if there == symbol => return Ok(()),
            Some(owner) => {
                return Err(SymbolTableError::Taken { symbol: symbol.clone(), owner: owner.clone(), id });
            }
            None => {}
        }
        let count = self.segment.symbols().load(Ordering::Relaxed);
        let full = || SymbolTableError::Full { symbol: symbol.clone(), symbols_max: self.segment.header().symbols_max };
        let entry = self.segment.symbol_entry(count).ok_or_else(full)?;
        for (word, value) in entry.iter().zip(symbol_words(id, symbol)) {
            word.store(value, Ordering::Relaxed);
        }
        self.segment.symbols().store(count + 1, Ordering::Release);
        self.symbols.insert(id, symbol.clone());
        Ok(())
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        let symbols = self.segment.symbols().load(Ordering::Relaxed);
        WriterStats { written: self.next, published: self.published, symbols }
    }

    /// When this writer began, ns since the Unix epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.segment.header().epoch
    }

    /// The segment's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the segment: what is stored stays for readers, nothing follows. The file stays until the next writer
    /// replaces it, so that a reader that starts late still finds the end.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.publish();
        self.segment.state().store(State::Closed as u32, Ordering::Release);
    }
}

/// A record as the six words of its slot.
#[inline]
fn words(record: &Record) -> RecordWords {
    match record {
        Record::Trade(trade) => bytemuck::cast(*trade),
        Record::Gap(gap) => bytemuck::cast(*gap),
    }
}

#[cfg(test)]
impl Writer {
    /// Does the first half of [`Self::push`]: the slot is marked, half the record is stored. What a writer that is
    /// killed in mid-write leaves behind.
    pub(super) fn push_half(&self, record: &Record) {
        ring::begin(&self.segment, self.next);
        let [first, second, third, ..] = words(record);
        ring::fill(&self.segment, self.next, &[first, second, third, 0, 0, 0]);
    }
}
