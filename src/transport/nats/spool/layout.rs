//! The spool's bytes, version 1: file names, the header of a segment, the header of a block.
//!
//! It opens no file. What it says about bytes, it says about any bytes, hostile ones included.
//!
//! ```text
//! segment = header (128 bytes), block, block, ...          number.spool, 20 digits, so that names sort in order
//! header  = magic 8 | version u32 | header bytes u32 | record bytes u32 | owner length u32 | owner hash u64
//!         | created u64 | number u64 | first record u64 | owner 56 | life u64 | checksum u64
//! block   = magic 4 | count u32 | first record u64 | check u64 | checksum u64 | count x 48 bytes
//! ```
//!
//! `check` is xxh3-64 over the sixteen bytes before it, seeded with the owner's hash; `checksum` is xxh3-64 over the
//! payload, seeded with `check`. So the checksum covers header and payload, and a header can be trusted alone: where
//! only the payload is damaged, the number of lost records and the place of the next block are known. Records are
//! numbered through from the first one of the directory: a block's number says what is missing before it.
//!
//! `life` is drawn anew each time a directory is opened: between two segments of one life nothing is missing that their
//! numbers do not tell; where another life begins, what the one before had in memory may be.
//!
//! Whatever later versions change, magic, version, header bytes and the checksum at the header's end stay in place:
//! another version is then never taken for damage.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::market::trade::RECORD_BYTES;

/// First eight bytes of every segment.
const MAGIC: [u8; 8] = *b"DMSPOOL\0";
/// Layout version that this code writes and reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of a segment's header, and so the offset of its first block.
pub(super) const HEADER_BYTES: usize = 128;
/// Longest header that any version may have.
pub(super) const HEADER_BYTES_MAX: usize = 4096;
/// First four bytes of every block.
const BLOCK_MAGIC: [u8; 4] = *b"DMBK";
/// Bytes of a block's header.
pub(super) const BLOCK_HEADER_BYTES: usize = 32;
/// Every block begins at a multiple of this.
pub(super) const BLOCK_ALIGN: u64 = 16;
/// Most records of a block.
pub const BLOCK_RECORDS_MAX: usize = 16_384;
/// Greatest number of a segment or of a record: whatever is read, there is a next one.
pub(super) const NUMBER_MAX: u64 = u64::MAX / 2;

const OWNER_TEXT: std::ops::Range<usize> = 56..112;
const LIFE: usize = 112;
const NAME_DIGITS: usize = 20;
const NAME_ENDING: &str = ".spool";
const FILLING_ENDING: &str = ".new";

// Blocks stay aligned because headers and records are multiples of it.
const _: () = assert!(HEADER_BYTES.is_multiple_of(16) && BLOCK_HEADER_BYTES.is_multiple_of(16));
const _: () = assert!((RECORD_BYTES as u64).is_multiple_of(BLOCK_ALIGN));

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// xxh3-64 of the owner's name.
    pub(super) owner_hash: u64,
    /// The owner's name for people, cut to 56 bytes.
    pub(super) owner: String,
    /// When it was begun, as the caller said: nanoseconds since the Unix epoch.
    pub(super) created_ns: u64,
    /// The number that its name has too.
    pub(super) number: u64,
    /// Number of its first record.
    pub(super) first: u64,
    /// Which opening of the directory wrote it.
    pub(super) life: u64,
}

/// Why bytes are no header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Something else, or one that was damaged.
    Damaged,
    /// Of another version, surely: its checksum holds.
    Version(u32),
}

/// What a block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Number of its first record.
    pub(super) first: u64,
    /// Records, 1..=[`BLOCK_RECORDS_MAX`].
    pub(super) count: u32,
    check: u64,
    checksum: u64,
}

/// The seed of an owner's blocks, and what stands in the headers of its segments.
pub(super) fn owner_hash(owner: &str) -> u64 {
    xxh3_64(owner.as_bytes())
}

impl SegmentHeader {
    pub(super) fn new(owner: &str, created_ns: u64, number: u64, first: u64, life: u64) -> Self {
        let cut = owner.floor_char_boundary(OWNER_TEXT.len());
        let text = owner.get(..cut).unwrap_or_default();
        Self { owner_hash: owner_hash(owner), owner: text.to_owned(), created_ns, number, first, life }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &128_u32.to_le_bytes());
        put(16, &48_u32.to_le_bytes());
        let owner = self.owner.as_bytes();
        // `new` and `decode` have bounded its length.
        put(20, &u32::try_from(owner.len()).unwrap_or(0).to_le_bytes());
        put(24, &self.owner_hash.to_le_bytes());
        put(32, &self.created_ns.to_le_bytes());
        put(40, &self.number.to_le_bytes());
        put(48, &self.first.to_le_bytes());
        put(OWNER_TEXT.start, owner);
        put(LIFE, &self.life.to_le_bytes());
        let checksum = xxh3_64(&bytes[..HEADER_BYTES - 8]);
        bytes[HEADER_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header from the first bytes of a file, up to [`HEADER_BYTES_MAX`] of them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let fault = HeaderFault::Damaged;
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err(fault);
        }
        let length = u32_at(bytes, 12).and_then(|length| usize::try_from(length).ok()).ok_or(fault)?;
        let header = bytes.get(..length).filter(|_| (32..=HEADER_BYTES_MAX).contains(&length)).ok_or(fault)?;
        let (covered, checksum) = header.split_at(length - 8);
        if u64_at(checksum, 0) != Some(xxh3_64(covered)) {
            return Err(fault);
        }
        let version = u32_at(header, 8).ok_or(fault)?;
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        if length != HEADER_BYTES || u32_at(header, 16) != Some(48) {
            return Err(fault);
        }
        let owner_bytes = u32_at(header, 20).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(fault)?;
        let owner = header.get(OWNER_TEXT).and_then(|text| text.get(..owner_bytes)).ok_or(fault)?;
        let field = |at| u64_at(header, at).ok_or(fault);
        Ok(Self {
            owner_hash: field(24)?,
            owner: String::from_utf8_lossy(owner).into_owned(),
            created_ns: field(32)?,
            number: field(40)?,
            life: field(LIFE)?,
            first: field(48).ok().filter(|first| *first <= NUMBER_MAX).ok_or(fault)?,
        })
    }
}

impl BlockHeader {
    /// Bytes of the whole block.
    pub(super) const fn bytes(&self) -> usize {
        BLOCK_HEADER_BYTES + self.count as usize * RECORD_BYTES
    }

    /// Number behind the block's last record.
    pub(super) const fn end(&self) -> u64 {
        // `decode` holds that it fits.
        self.first.saturating_add(self.count as u64)
    }

    /// Reads a header; `None` for anything that was not written by this owner, whole.
    pub(super) fn decode(bytes: &[u8], seed: u64) -> Option<Self> {
        let covered = bytes.get(..16).filter(|bytes| bytes.starts_with(&BLOCK_MAGIC))?;
        let (check, checksum) = (u64_at(bytes, 16)?, u64_at(bytes, 24)?);
        if check != xxh3_64_with_seed(covered, seed) {
            return None;
        }
        let (count, first) = (u32_at(bytes, 4)?, u64_at(bytes, 8)?);
        let bounded = (1..=BLOCK_RECORDS_MAX).contains(&usize::try_from(count).ok()?);
        let end = first.checked_add(u64::from(count)).filter(|end| *end <= NUMBER_MAX);
        (bounded && end.is_some()).then_some(Self { first, count, check, checksum })
    }

    /// Whether this is the payload that was written.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        xxh3_64_with_seed(payload, self.check) == self.checksum
    }
}

/// Puts a whole block into `out`. The caller bounds the number of records by [`BLOCK_RECORDS_MAX`].
pub(super) fn encode_block(out: &mut Vec<u8>, records: &[[u8; RECORD_BYTES]], first: u64, seed: u64) {
    let payload = records.as_flattened();
    out.clear();
    out.reserve(BLOCK_HEADER_BYTES + payload.len());
    out.extend_from_slice(&BLOCK_MAGIC);
    out.extend_from_slice(&u32::try_from(records.len()).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    let check = xxh3_64_with_seed(out, seed);
    out.extend_from_slice(&check.to_le_bytes());
    out.extend_from_slice(&xxh3_64_with_seed(payload, check).to_le_bytes());
    out.extend_from_slice(payload);
}

/// A segment's file name.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{NAME_ENDING}")
}

/// The name under which a segment is begun; it holds no record before it is renamed.
pub(super) fn filling_name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{FILLING_ENDING}")
}

/// The number in a segment's name; `None` for any other name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    number_before(name, NAME_ENDING)
}

/// The number in the name of a segment that was being begun.
pub(super) fn filling_number(name: &str) -> Option<u64> {
    number_before(name, FILLING_ENDING)
}

fn number_before(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let plain = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number <= NUMBER_MAX)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
