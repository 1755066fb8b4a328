//! The one writer of a segment: creates it crash-safely, then stores records without ever waiting.
//!
//! It does not know readers: none of them can slow it, and none has to exist.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::layout::{Header, HeaderError, LINE_WORDS, MAGIC, State};
use super::lock::{Lock, LockError, filling_path};
use super::ring::{self, RecordWords};
use super::segment::{DIRECTORY, NameError, Segment, open_checked, open_options, segment_path};
use crate::market::{Record, Symbol};
use crate::telemetry::clock;

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

/// Why there is no segment to write to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Prefix and exchange make no file name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Capacity, symbols or the exchange's name are out of range.
    #[error("transport.ipc: {0}")]
    Size(#[source] HeaderError),
    /// Another process writes this segment.
    #[error(
        "{path}: a live writer{} owns this ring; stop it, or give this one another transport.ipc.shm_path_prefix",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Busy {
        /// The segment.
        path: PathBuf,
        /// The live writer's process id, if it can be known.
        pid: Option<u32>,
    },
    /// The file system cannot hold the segment.
    #[error(
        "{path}: the ring takes {} and {directory} has {} free; lower transport.ipc.capacity, or enlarge {directory} \
         (docker: --shm-size, compose: shm_size, Kubernetes: sizeLimit of the emptyDir in memory)",
        mebibytes(*needed), mebibytes(*free)
    )]
    NoSpace {
        /// The segment.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// Bytes that the segment takes.
        needed: u64,
        /// Bytes that are free there, as far as the system tells.
        free: u64,
    },
    /// Something else lies under the segment's name.
    #[error("{path} is no ring of data-manager and is left alone; remove it, or change transport.ipc.shm_path_prefix")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The symbols do not fit.
    #[error("{path}: {source}")]
    Symbol {
        /// The segment.
        path: PathBuf,
        /// Which symbol, and why.
        source: SymbolTableError,
    },
    /// The system refused a step.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The step.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a symbol cannot join the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolTableError {
    /// The table is full.
    #[error("no room for symbol {symbol}: the table holds {symbols_max}; raise transport.ipc.symbols_max")]
    Full {
        /// The symbol that found no room.
        symbol: Symbol,
        /// The table's capacity.
        symbols_max: u32,
    },
    /// Its instrument id is taken.
    #[error("{symbol} has the instrument id {id}, which is {owner}'s: a reader could not tell them apart")]
    Taken {
        /// The symbol that came second.
        symbol: Symbol,
        /// The symbol that has the id.
        owner: Symbol,
        /// The id of both.
        id: u32,
    },
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
        let lock = Lock::take(&path, pid).map_err(|error| match error {
            LockError::Held { pid } => CreateError::Busy { path: path.clone(), pid },
            LockError::Io { path, source } => CreateError::Io { action: "lock", path, source },
        })?;
        if let Some(previous) = previous_epoch(&path)? {
            // A clock that stepped back must not make two writers look like one.
            header.epoch = header.epoch.max(previous.saturating_add(1));
        }
        let filling = Filling::create(&path, header.segment_bytes())?;
        let mut writer = filling.fill(header, config.mode)?;
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
    pub fn heartbeat(&mut self, now_wall_ns: u64) {
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

/// A segment under its temporary name; what is not published is removed again.
struct Filling<'a> {
    path: &'a Path,
    temporary: PathBuf,
    file: File,
}

impl<'a> Filling<'a> {
    /// A new file with all its bytes allocated: on a full file system a hole in it would kill the writer with SIGBUS
    /// at the first record that falls into it.
    fn create(path: &'a Path, len: u64) -> Result<Self, CreateError> {
        let temporary = filling_path(path);
        let failed = |action| {
            let path = temporary.clone();
            move |source| CreateError::Io { action, path, source }
        };
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
            _ => {}
        }
        let file = open_options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed("create"))?;
        let this = Self { path, temporary: temporary.clone(), file };
        match allocate(&this.file, len) {
            // The old segment may be all that is in the way, and its writer is gone: we hold the lock.
            Err(error) if is_full(&error) && fs::remove_file(path).is_ok() => allocate(&this.file, len),
            other => other,
        }
        .map_err(|error| if is_full(&error) { this.no_space(len) } else { failed("allocate")(error) })?;
        Ok(this)
    }

    /// Everything that a reader may rely on, before it can see any of it.
    fn fill(&self, header: Header, mode: u32) -> Result<Writer, CreateError> {
        let failed = |action| move |source| CreateError::Io { action, path: self.temporary.clone(), source };
        self.file.write_all_at(&header.encode(), 0).map_err(failed("write"))?;
        self.file.set_permissions(Permissions::from_mode(mode & 0o777)).map_err(failed("set the mode of"))?;
        let (epoch, trail_max) = (header.epoch, ring::margin(header.capacity));
        let segment = Segment::map_writable(&self.file, header).map_err(failed("map"))?;
        segment.heartbeat().store(epoch, Ordering::Relaxed);
        let path = self.path.to_owned();
        Ok(Writer { segment, path, next: 0, published: 0, trail_max, symbols: BTreeMap::new(), lock: None })
    }

    fn publish(self) -> Result<(), CreateError> {
        fs::rename(&self.temporary, self.path).map_err(|source| CreateError::Io {
            action: "put the new segment in place of",
            path: self.path.to_owned(),
            source,
        })
    }

    fn no_space(&self, needed: u64) -> CreateError {
        // What our own half-made file holds is free again as soon as it is removed.
        let _ = self.file.set_len(0);
        let free = fstatvfs(&self.file).map_or(0, |vfs| vfs.f_bavail.saturating_mul(vfs.f_frsize));
        let directory = self.path.parent().unwrap_or(self.path).to_owned();
        CreateError::NoSpace { path: self.path.to_owned(), directory, needed, free }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        // After the rename there is nothing under this name, and the answer does not matter.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Allocates all bytes of a file, or fails.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) => return write_zeros(file, len),
            Err(error) => return Err(error.into()),
        }
    }
}

/// For file systems that cannot allocate ahead; shared memory can.
fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    let zeros = [0; 1 << 16];
    let mut at = 0;
    while at < len {
        let rest = usize::try_from(len - at).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all_at(&zeros[..rest], at)?;
        at += rest as u64;
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The epoch of the segment that lies under our name, `None` if there is none or it is beyond reading.
fn previous_epoch(path: &Path) -> Result<Option<u64>, CreateError> {
    if let Ok((_, header)) = open_checked(path) {
        return Ok(Some(header.epoch));
    }
    let file = match open_options().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CreateError::Io { action: "read", path: path.to_owned(), source }),
    };
    // Damaged, cut off or of another version, a ring gives way; anything else is not ours to replace.
    let mut start = [0; 6];
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let ours = is_file && (empty || file.read_exact_at(&mut start, 0).is_ok() && start == MAGIC[..6]);
    if ours { Ok(None) } else { Err(CreateError::Foreign { path: path.to_owned() }) }
}

/// Bytes as people read them.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A record as the six words of its slot.
#[inline]
fn words(record: &Record) -> RecordWords {
    match record {
        Record::Trade(trade) => bytemuck::cast(*trade),
        Record::Gap(gap) => bytemuck::cast(*gap),
    }
}

/// An entry of the symbol table as words: id, length, three reserved bytes, text.
fn symbol_words(id: u32, symbol: &Symbol) -> [u64; LINE_WORDS] {
    let text = symbol.as_str().as_bytes();
    let mut bytes = [0; LINE_WORDS * 8];
    bytes[..4].copy_from_slice(&id.to_le_bytes());
    // A `Symbol` has at most 56 bytes, which is what is left here.
    bytes[4] = u8::try_from(text.len()).unwrap_or(u8::MAX);
    bytes[8..8 + text.len()].copy_from_slice(text);
    bytemuck::cast(bytes)
}

#[cfg(test)]
impl Writer {
    /// Does the first half of [`Self::push`]: the slot is marked, half the record is stored. What a writer that is
    /// killed in mid-write leaves behind.
    pub(super) fn push_half(&mut self, record: &Record) {
        ring::begin(&self.segment, self.next);
        let [first, second, third, ..] = words(record);
        ring::fill(&self.segment, self.next, &[first, second, third, 0, 0, 0]);
    }
}
