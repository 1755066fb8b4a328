//! A segment as a file and as mapped memory: its name, how it is opened and checked, and its atomic words.
//!
//! It decides nothing about records or readers. All `unsafe` of the crate stands in this file.
#![expect(
    unsafe_code,
    reason = "shared memory is reached through pointers into a mapping; each use says why it is sound"
)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::OFlags;

use super::layout::{
    AT_HEAD, AT_HEARTBEAT, AT_STATE, AT_SYMBOLS, EXCHANGE_BYTES_MAX, HEADER_BYTES, Header, HeaderError, LINE_WORDS,
    SLOT_BYTES, SYMBOL_ENTRY_BYTES,
};
use super::names::{FILLING_ENDING, LOCK_ENDING};
use super::ring::{Words, hardware_fence};
use crate::transport::files::open_options;

/// Where segments live unless a test says otherwise.
pub const DIRECTORY: &str = "/dev/shm";

/// Why no segment can have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transport.ipc.shm_path_prefix {prefix:?} with exchange {exchange:?} is no segment name: {why}")]
pub struct NameError {
    prefix: String,
    exchange: String,
    why: &'static str,
}

/// The path of an exchange's segment: `{directory}{prefix}{exchange}`.
///
/// # Errors
/// [`NameError`] unless the prefix starts with `/` and names no further directory, the exchange has 1..=32 bytes and
/// no `/`, and neither holds a NUL.
///
/// # Examples
/// ```
/// use data_manager::transport::ipc::segment_path;
/// let path = segment_path("/dev/shm".as_ref(), "/data_manager_", "binance").unwrap();
/// assert_eq!(path.to_str(), Some("/dev/shm/data_manager_binance"));
/// ```
pub fn segment_path(directory: &Path, prefix: &str, exchange: &str) -> Result<PathBuf, NameError> {
    let refuse = |why| Err(NameError { prefix: prefix.to_owned(), exchange: exchange.to_owned(), why });
    let Some(start) = prefix.strip_prefix('/') else {
        return refuse("the prefix must start with \"/\", as in \"/data_manager_\"");
    };
    if start.contains('/') {
        return refuse("the prefix may hold one \"/\" only, at its start: shared memory has no directories");
    }
    if exchange.is_empty() || exchange.len() > EXCHANGE_BYTES_MAX || exchange.contains('/') {
        return refuse("the exchange must have 1 to 32 bytes and no \"/\"");
    }
    if start.contains('\0') || exchange.contains('\0') {
        return refuse("a NUL byte cannot stand in a file name");
    }
    // 255 is the limit of a file name; the lock's and the temporary file's endings need some of it.
    if start.len() > 200 {
        return refuse("the prefix is longer than 200 bytes");
    }
    Ok(directory.join(format!("{start}{exchange}")))
}

/// The exchanges that have a segment under this prefix, live or not, in alphabetical order.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(directory: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let start = prefix.trim_start_matches('/');
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(exchange) = name.to_str().and_then(|name| name.strip_prefix(start)) else { continue };
        let ours = ![LOCK_ENDING, FILLING_ENDING].iter().any(|ending| exchange.ends_with(ending));
        if ours && segment_path(directory, prefix, exchange).is_ok() {
            found.push(exchange.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// Why an existing file is no segment to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("{0}")]
    Header(HeaderError),
}

/// Opens a file for reading and checks its header against its length. Nothing is mapped.
pub(super) fn open_checked(path: &Path) -> Result<(File, Header), ReadError> {
    let mut options = open_options();
    // Without NONBLOCK, a named pipe of this name would hold us up for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes()));
    let file = options.open(path).map_err(ReadError::Io)?;
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    let len = metadata.len();
    if len < HEADER_BYTES as u64 {
        return Err(ReadError::Header(HeaderError::Short { len }));
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).map_err(ReadError::Io)?;
    let header = Header::decode(&bytes, len).map_err(ReadError::Header)?;
    Ok((file, header))
}

/// A mapped segment.
#[derive(Debug)]
pub(super) struct Segment {
    map: MmapRaw,
    header: Header,
    /// Offset of the slots, and what masks a record's number to its slot.
    slots: usize,
    mask: u64,
}

impl Segment {
    /// Maps a segment for its writer. The file must have been allocated in full.
    pub(super) fn map_writable(file: &File, header: Header) -> io::Result<Self> {
        let len = length(&header)?;
        // Populated: the first lap of the ring shall not pay for page faults.
        let map = MmapOptions::new().len(len).populate().map_raw(file)?;
        Self::new(map, header)
    }

    /// Maps a segment for reading: exactly the bytes that its header, already held against the file's length, declares.
    pub(super) fn map_read_only(file: &File, header: Header) -> io::Result<Self> {
        let len = length(&header)?;
        let map = MmapOptions::new().len(len).populate().map_raw_read_only(file)?;
        Self::new(map, header)
    }

    fn new(map: MmapRaw, header: Header) -> io::Result<Self> {
        // Every access below relies on these; they hold by `Header::decode` and by `mmap`.
        let whole = map.len() as u64 == header.segment_bytes();
        let aligned = map.as_mut_ptr().addr().is_multiple_of(HEADER_BYTES);
        if !whole || !aligned {
            return Err(io::Error::other("the mapping is not the segment that its header declares"));
        }
        let slots = usize::try_from(header.slots).map_err(io::Error::other)?;
        let mask = header.capacity - 1;
        Ok(Self { map, header, slots, mask })
    }

    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn heartbeat(&self) -> &AtomicU64 {
        self.header_u64::<AT_HEARTBEAT>()
    }

    pub(super) fn state(&self) -> &AtomicU32 {
        self.header_u32::<AT_STATE>()
    }

    pub(super) fn symbols(&self) -> &AtomicU32 {
        self.header_u32::<AT_SYMBOLS>()
    }

    /// Entry `index` of the symbol table, as words; `None` beyond its capacity.
    pub(super) fn symbol_entry(&self, index: u32) -> Option<&[AtomicU64; LINE_WORDS]> {
        if index >= self.header.symbols_max {
            return None;
        }
        let offset = self.header.symbol_table + u64::from(index) * SYMBOL_ENTRY_BYTES as u64;
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: `Header::check` holds `symbol_table + symbols_max × 64 <= slots`, which is inside of the mapping, and
        // `symbol_table` a multiple of 64 on a page-aligned base; `index < symbols_max`. All bits are valid
        // for atomics, the mapping lives as long as `self`, and every access anywhere is atomic.
        Some(unsafe { &*self.map.as_mut_ptr().add(offset).cast::<[AtomicU64; LINE_WORDS]>() })
    }

    fn header_u64<const AT: usize>(&self) -> &AtomicU64 {
        const { assert!(AT.is_multiple_of(8) && AT + 8 <= HEADER_BYTES) };
        // SAFETY: the mapping is at least a header long (`Self::new`), `AT` is aligned and inside the header, the base
        // is page-aligned; all bits are valid, the mapping lives as long as `self`, and every access is atomic.
        unsafe { &*self.map.as_mut_ptr().add(AT).cast::<AtomicU64>() }
    }

    fn header_u32<const AT: usize>(&self) -> &AtomicU32 {
        const { assert!(AT.is_multiple_of(4) && AT + 4 <= HEADER_BYTES) };
        // SAFETY: as in `header_u64`, with the alignment of 4 bytes.
        unsafe { &*self.map.as_mut_ptr().add(AT).cast::<AtomicU32>() }
    }
}

impl Words for Segment {
    type Word = AtomicU64;

    #[inline]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }

    #[inline]
    fn head(&self) -> &AtomicU64 {
        self.header_u64::<AT_HEAD>()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked below the capacity, which fits in the mapping's usize")]
    fn slot(&self, n: u64) -> &[AtomicU64; LINE_WORDS] {
        let offset = self.slots + (n & self.mask) as usize * SLOT_BYTES;
        // SAFETY: the masked number is below the capacity, and `Self::new` holds that the mapping's length is
        // `slots + capacity × 64`; `slots` is a multiple of 64 on a page-aligned base. All bits are valid for
        // atomics, the mapping lives as long as `self`, and every access anywhere is atomic.
        unsafe { &*self.map.as_mut_ptr().add(offset).cast::<[AtomicU64; LINE_WORDS]>() }
    }

    #[inline]
    fn fence(order: Ordering) {
        hardware_fence(order);
    }
}

fn length(header: &Header) -> io::Result<usize> {
    usize::try_from(header.segment_bytes())
        .map_err(|_| io::Error::other("the segment is larger than this machine's address space"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let dir = Path::new(DIRECTORY);
        let path = |prefix, exchange| segment_path(dir, prefix, exchange).map(|path| path.display().to_string());
        assert_eq!(path("/data_manager_", "binance-usdm").as_deref(), Ok("/dev/shm/data_manager_binance-usdm"));
        assert_eq!(path("/", "okx").as_deref(), Ok("/dev/shm/okx"));
        for (prefix, exchange) in [
            ("data_manager_", "binance"),
            ("", "binance"),
            ("/a/b_", "binance"),
            ("/../", "binance"),
            ("/x_", ""),
            ("/x_", "a/b"),
            ("/x_", "../../etc/passwd"),
            ("/x_", "an-exchange-name-of-33-bytes-long"),
            ("/x\0", "binance"),
        ] {
            let error = segment_path(dir, prefix, exchange).unwrap_err();
            assert!(error.to_string().contains("shm_path_prefix"), "{error}");
        }
    }

    #[test]
    fn a_capacity_of_the_mapping_is_that_of_the_header() {
        let header = Header::new("x", 64, 1, 1, 1).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(header.segment_bytes() - 64).unwrap();
        // One slot short: a mapping of that length exists, but it would end in SIGBUS; nobody gets that far, since
        // `open_checked` holds the length. A mapping of another length than declared is refused here.
        let map = MmapOptions::new().len(4096).map_raw(&file).unwrap();
        assert!(Segment::new(map, header).is_err());
    }
}
