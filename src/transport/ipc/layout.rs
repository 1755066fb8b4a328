//! The segment byte by byte, version 1: offsets, sizes, and the header as data.
//!
//! It opens no file and maps nothing; what it says about bytes, it says about any bytes, hostile ones included.

use crate::market::symbol::SYMBOL_BYTES_MAX;
use crate::market::trade::RECORD_BYTES;

/// First eight bytes of every segment.
pub const MAGIC: [u8; 8] = *b"DMRING\0\x01";
/// Layout version that this code writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of the header: one page, so that it can be mapped writable on its own by readers that sleep.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of a slot: one cache line, because sequence and record must travel together.
pub const SLOT_BYTES: usize = 64;
/// Bytes of a symbol entry.
pub const SYMBOL_ENTRY_BYTES: usize = 64;
/// 64-bit words of a slot or of a symbol entry.
pub const LINE_WORDS: usize = SLOT_BYTES / 8;
/// 64-bit words of a record.
pub const RECORD_WORDS: usize = RECORD_BYTES / 8;
/// Value of the header's record kind: the records of `TradeMsg` v1 (trades and gaps, told apart by their last byte).
pub const RECORD_KIND: u32 = 1;
/// Longest exchange name, in bytes; the field is padded with NUL.
pub const EXCHANGE_BYTES_MAX: usize = 32;
/// Fewest slots of a segment.
pub const CAPACITY_MIN: u64 = 64;
/// Most slots of a segment: 64 GiB.
pub const CAPACITY_MAX: u64 = 1 << 30;
/// Most entries of a symbol table.
pub const SYMBOLS_MAX: u32 = 1 << 20;

/// Offset of `head`: records published since the epoch began.
pub const AT_HEAD: usize = 128;
/// Offset of the heartbeat, ns since the Unix epoch.
pub const AT_HEARTBEAT: usize = 192;
/// Offset of the state, a [`State`].
pub const AT_STATE: usize = 200;
/// Offset of the number of symbols in the table.
pub const AT_SYMBOLS: usize = 256;
/// Offset of the wake word (u32), for readers that sleep; nothing here uses it yet.
pub const AT_WAKE: usize = 320;
/// Offset of the number of waiting readers (u32); nothing here uses it yet.
pub const AT_WAITING: usize = 324;

/// Bytes of header, slot and record as the header names them.
#[expect(clippy::cast_possible_truncation, reason = "the largest is 4096")]
const SIZES: (u32, u32, u32) = (HEADER_BYTES as u32, SLOT_BYTES as u32, RECORD_BYTES as u32);

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_HEADER_BYTES: usize = 12;
const AT_SLOT_BYTES: usize = 16;
const AT_RECORD_BYTES: usize = 20;
const AT_CAPACITY: usize = 24;
const AT_EPOCH: usize = 32;
const AT_PID: usize = 40;
const AT_RECORD_KIND: usize = 44;
const AT_EXCHANGE: usize = 48;
const AT_SYMBOL_TABLE: usize = 80;
const AT_SYMBOLS_MAX: usize = 88;
const AT_SLOTS: usize = 96;

/// What a writer is doing. The discriminant is the value at [`AT_STATE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// The segment has just been made. A reader may see it so for a moment: the writer says that it lives when the
    /// segment has its name.
    Filling = 0,
    /// A writer publishes, or died without a word: its heartbeat tells.
    Live = 1,
    /// The writer has closed the segment; no record follows.
    Closed = 2,
}

/// The part of the header that never changes while an epoch lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Slots, a power of two in [`CAPACITY_MIN`]`..=`[`CAPACITY_MAX`].
    pub capacity: u64,
    /// When this writer began, ns since the Unix epoch; another number means another writer.
    pub epoch: u64,
    /// The writer's process id, as its own pid namespace counts.
    pub pid: u32,
    /// The exchange's token, at most [`EXCHANGE_BYTES_MAX`] bytes.
    pub exchange: String,
    /// Offset of the symbol table from the start of the segment.
    pub symbol_table: u64,
    /// Entries that the symbol table can hold.
    pub symbols_max: u32,
    /// Offset of the slots from the start of the segment.
    pub slots: u64,
}

/// Why bytes are no header of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("only {len} bytes long, where a header alone has {HEADER_BYTES}")]
    Short {
        /// Bytes of the file.
        len: u64,
    },
    /// Something else than a segment.
    #[error("not a data-manager ring: the first 8 bytes are {found:02x?}")]
    Magic {
        /// The bytes that stand there.
        found: [u8; 8],
    },
    /// A segment of another layout version.
    #[error("layout version {found}, this build reads version {VERSION}; run reader and writer of the same release")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A field holds a value that no writer of this version writes.
    #[error("header field {field} is {found}, expected {expected}")]
    Field {
        /// The field's name in the layout's table.
        field: &'static str,
        /// The value that stands there.
        found: u64,
        /// What can stand there.
        expected: &'static str,
    },
    /// The exchange name is no text.
    #[error("the exchange name in the header is no UTF-8 text")]
    Exchange,
    /// The file ends before the segment does.
    #[error("truncated: the header declares {declared} bytes, the file has {len}")]
    Truncated {
        /// Bytes that the header declares.
        declared: u64,
        /// Bytes of the file.
        len: u64,
    },
}

impl State {
    /// The state behind a value, if it is known.
    #[must_use]
    pub const fn from_wire(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Filling),
            1 => Some(Self::Live),
            2 => Some(Self::Closed),
            _ => None,
        }
    }
}

impl Header {
    /// The header of a new segment; offsets follow from the sizes.
    ///
    /// # Errors
    /// [`HeaderError::Field`] when capacity, symbols or the name are out of range.
    pub fn new(exchange: &str, capacity: u64, symbols_max: u32, epoch: u64, pid: u32) -> Result<Self, HeaderError> {
        let symbol_table = HEADER_BYTES as u64;
        let table_end = symbol_table + u64::from(symbols_max) * SYMBOL_ENTRY_BYTES as u64;
        let header = Self {
            capacity,
            epoch,
            pid,
            exchange: exchange.to_owned(),
            symbol_table,
            symbols_max,
            // A page of its own, so that slots sit on cache lines whatever the table's size.
            slots: table_end.next_multiple_of(HEADER_BYTES as u64),
        };
        header.check()?;
        Ok(header)
    }

    /// Bytes of the whole segment.
    #[must_use]
    pub const fn segment_bytes(&self) -> u64 {
        // `check` bounds all three, so nothing can overflow.
        self.slots + self.capacity * SLOT_BYTES as u64
    }

    /// The header's bytes; the changing words are zero.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(AT_MAGIC, &MAGIC);
        put(AT_VERSION, &VERSION.to_le_bytes());
        put(AT_HEADER_BYTES, &SIZES.0.to_le_bytes());
        put(AT_SLOT_BYTES, &SIZES.1.to_le_bytes());
        put(AT_RECORD_BYTES, &SIZES.2.to_le_bytes());
        put(AT_CAPACITY, &self.capacity.to_le_bytes());
        put(AT_EPOCH, &self.epoch.to_le_bytes());
        put(AT_PID, &self.pid.to_le_bytes());
        put(AT_RECORD_KIND, &RECORD_KIND.to_le_bytes());
        // `check` has bounded its length.
        put(AT_EXCHANGE, self.exchange.as_bytes());
        put(AT_SYMBOL_TABLE, &self.symbol_table.to_le_bytes());
        put(AT_SYMBOLS_MAX, &self.symbols_max.to_le_bytes());
        put(AT_SLOTS, &self.slots.to_le_bytes());
        bytes
    }

    /// Reads a header and holds it against the length of the file that it came from.
    ///
    /// # Errors
    /// [`HeaderError`] for anything that a writer of this version does not write: after `Ok`, every offset that
    /// follows from the header lies inside the first [`Self::segment_bytes`] bytes, and the file has them.
    pub fn decode(bytes: &[u8; HEADER_BYTES], file_len: u64) -> Result<Self, HeaderError> {
        let magic = take(bytes, AT_MAGIC);
        if magic != MAGIC {
            return Err(HeaderError::Magic { found: magic });
        }
        let version = u32_at(bytes, AT_VERSION);
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        expect("header_bytes", u32_at(bytes, AT_HEADER_BYTES), SIZES.0, "4096")?;
        expect("slot_bytes", u32_at(bytes, AT_SLOT_BYTES), SIZES.1, "64")?;
        expect("record_bytes", u32_at(bytes, AT_RECORD_BYTES), SIZES.2, "48")?;
        expect("record_kind", u32_at(bytes, AT_RECORD_KIND), RECORD_KIND, "1")?;
        let header = Self {
            capacity: u64_at(bytes, AT_CAPACITY),
            epoch: u64_at(bytes, AT_EPOCH),
            pid: u32_at(bytes, AT_PID),
            exchange: exchange_name(&take(bytes, AT_EXCHANGE))?,
            symbol_table: u64_at(bytes, AT_SYMBOL_TABLE),
            symbols_max: u32_at(bytes, AT_SYMBOLS_MAX),
            slots: u64_at(bytes, AT_SLOTS),
        };
        header.check()?;
        let declared = header.segment_bytes();
        if file_len < declared {
            return Err(HeaderError::Truncated { declared, len: file_len });
        }
        Ok(header)
    }

    /// Bounds everything, so that later arithmetic on it can neither overflow nor leave the segment.
    fn check(&self) -> Result<(), HeaderError> {
        let field = |field, found, expected| Err(HeaderError::Field { field, found, expected });
        if !self.capacity.is_power_of_two() || !(CAPACITY_MIN..=CAPACITY_MAX).contains(&self.capacity) {
            return field("capacity", self.capacity, "a power of two, 64..=2^30");
        }
        if self.symbols_max == 0 || self.symbols_max > SYMBOLS_MAX {
            return field("symbols_max", u64::from(self.symbols_max), "1..=2^20");
        }
        if self.exchange.is_empty() || self.exchange.len() > EXCHANGE_BYTES_MAX {
            return field("exchange length", self.exchange.len() as u64, "1..=32 bytes");
        }
        let table_bytes = u64::from(self.symbols_max) * SYMBOL_ENTRY_BYTES as u64;
        if self.symbol_table < HEADER_BYTES as u64 || !self.symbol_table.is_multiple_of(SYMBOL_ENTRY_BYTES as u64) {
            return field("symbol_table", self.symbol_table, "a multiple of 64 behind the header");
        }
        let table_end = self.symbol_table.checked_add(table_bytes).filter(|end| *end <= self.slots);
        if table_end.is_none() || self.slots > 1 << 32 || !self.slots.is_multiple_of(SLOT_BYTES as u64) {
            return field("slots", self.slots, "a multiple of 64 behind the symbol table, at most 2^32");
        }
        Ok(())
    }
}

fn expect(field: &'static str, found: u32, wanted: u32, expected: &'static str) -> Result<(), HeaderError> {
    if found == wanted { Ok(()) } else { Err(HeaderError::Field { field, found: u64::from(found), expected }) }
}

/// `N` bytes at a constant offset of the header; every offset here lies far inside of it.
fn take<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}

fn exchange_name(field: &[u8; EXCHANGE_BYTES_MAX]) -> Result<String, HeaderError> {
    let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).map(str::to_owned).map_err(|_| HeaderError::Exchange)
}

// The contract with readers in other languages, held where it cannot be missed.
const _: () = {
    assert!(cfg!(target_endian = "little"), "the segment is little-endian and written as it lies in memory");
    assert!(AT_EXCHANGE + EXCHANGE_BYTES_MAX == AT_SYMBOL_TABLE);
    assert!(AT_SLOTS + 8 <= AT_HEAD && AT_WAITING + 4 <= HEADER_BYTES);
    // What the writer stores often stands on a line of its own, away from what others store.
    assert!(AT_HEAD.is_multiple_of(64) && AT_HEARTBEAT.is_multiple_of(64) && AT_HEARTBEAT - AT_HEAD == 64);
    assert!(AT_SYMBOLS.is_multiple_of(64) && AT_WAKE.is_multiple_of(64));
    assert!(AT_HEARTBEAT + 8 == AT_STATE && AT_WAKE + 4 == AT_WAITING);
    assert!(SYMBOL_ENTRY_BYTES == 8 + SYMBOL_BYTES_MAX && SYMBOL_ENTRY_BYTES == LINE_WORDS * 8);
    assert!(8 + RECORD_BYTES + 8 == SLOT_BYTES && RECORD_WORDS == 6);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::new("binance", 1024, 100, 1_700_000_000_000_000_000, 4711).unwrap()
    }

    #[test]
    fn bytes_stand_where_the_layout_table_says() {
        let bytes = header().encode();
        assert_eq!(&bytes[0..8], b"DMRING\0\x01");
        assert_eq!(bytes[8..12], 1_u32.to_le_bytes());
        assert_eq!(bytes[12..16], 4096_u32.to_le_bytes());
        assert_eq!(bytes[16..20], 64_u32.to_le_bytes());
        assert_eq!(bytes[20..24], 48_u32.to_le_bytes());
        assert_eq!(bytes[24..32], 1024_u64.to_le_bytes());
        assert_eq!(bytes[32..40], 1_700_000_000_000_000_000_u64.to_le_bytes());
        assert_eq!(bytes[40..44], 4711_u32.to_le_bytes());
        assert_eq!(bytes[44..48], 1_u32.to_le_bytes());
        assert_eq!(&bytes[48..56], b"binance\0");
        assert_eq!(bytes[80..88], 4096_u64.to_le_bytes());
        assert_eq!(bytes[88..92], 100_u32.to_le_bytes());
        // 4096 + 100 × 64 = 10,496, up to the next page.
        assert_eq!(bytes[96..104], 12_288_u64.to_le_bytes());
        assert!(bytes[104..].iter().all(|byte| *byte == 0));
        assert_eq!((AT_HEAD, AT_HEARTBEAT, AT_STATE, AT_SYMBOLS, AT_WAKE, AT_WAITING), (128, 192, 200, 256, 320, 324));
        assert_eq!((State::Filling as u32, State::Live as u32, State::Closed as u32), (0, 1, 2));
    }

    #[test]
    fn a_header_reads_back_and_its_length_is_held() {
        let header = header();
        let len = header.segment_bytes();
        assert_eq!(len, 12_288 + 1024 * 64);
        assert_eq!(Header::decode(&header.encode(), len), Ok(header.clone()));
        assert_eq!(
            Header::decode(&header.encode(), len - 1),
            Err(HeaderError::Truncated { declared: len, len: len - 1 })
        );
    }

    #[test]
    fn every_field_out_of_range_is_refused_by_name() {
        let cases: [(usize, &[u8], &str); 14] = [
            (AT_HEADER_BYTES, &64_u32.to_le_bytes(), "header_bytes"),
            (AT_SLOT_BYTES, &0_u32.to_le_bytes(), "slot_bytes"),
            (AT_RECORD_BYTES, &56_u32.to_le_bytes(), "record_bytes"),
            (AT_RECORD_KIND, &9_u32.to_le_bytes(), "record_kind"),
            (AT_CAPACITY, &0_u64.to_le_bytes(), "capacity"),
            (AT_CAPACITY, &1000_u64.to_le_bytes(), "capacity"),
            (AT_CAPACITY, &(1_u64 << 63).to_le_bytes(), "capacity"),
            (AT_SYMBOLS_MAX, &0_u32.to_le_bytes(), "symbols_max"),
            (AT_SYMBOLS_MAX, &u32::MAX.to_le_bytes(), "symbols_max"),
            (AT_SYMBOL_TABLE, &0_u64.to_le_bytes(), "symbol_table"),
            (AT_SYMBOL_TABLE, &(u64::MAX - 63).to_le_bytes(), "slots"),
            (AT_SLOTS, &4096_u64.to_le_bytes(), "slots"),
            (AT_SLOTS, &(u64::MAX - 63).to_le_bytes(), "slots"),
            (AT_EXCHANGE, &[0; 32], "exchange length"),
        ];
        for (at, value, name) in cases {
            let mut bytes = header().encode();
            bytes[at..at + value.len()].copy_from_slice(value);
            match Header::decode(&bytes, u64::MAX) {
                Err(HeaderError::Field { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn foreign_bytes_and_other_versions_are_told_apart() {
        let mut bytes = header().encode();
        bytes[AT_VERSION] = 2;
        assert_eq!(Header::decode(&bytes, u64::MAX), Err(HeaderError::Version { found: 2 }));
        assert!(matches!(Header::decode(&[0; HEADER_BYTES], u64::MAX), Err(HeaderError::Magic { .. })));
        let mut bytes = header().encode();
        bytes[AT_EXCHANGE] = 0xff;
        assert_eq!(Header::decode(&bytes, u64::MAX), Err(HeaderError::Exchange));
    }

    #[test]
    fn any_bytes_behind_a_good_start_decode_without_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes = header().encode();
            for _ in 0..random.usize(1..4) {
                bytes[random.usize(AT_VERSION..AT_HEAD)] = random.u8(..);
            }
            if let Ok(header) = Header::decode(&bytes, 1 << 30) {
                assert!(header.segment_bytes() <= 1 << 30);
            }
        }
    }
}
