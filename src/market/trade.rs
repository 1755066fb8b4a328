//! The two wire records: [`TradeMsg`] and [`GapMsg`], 48 bytes each, little-endian, no padding.
//!
//! The layout is a contract with readers in other languages; the assertions at the end of this file hold it at
//! compile time. This file does not say how a record travels.

use bytemuck::{Pod, Zeroable};

/// Size of every record, in bytes.
pub const RECORD_BYTES: usize = 48;

/// Value of `kind` in a [`TradeMsg`]: record kind trade, version 1.
pub const KIND_TRADE_V1: u8 = 1;

/// Value of `kind` in a [`GapMsg`]: record kind gap, version 1.
pub const KIND_GAP_V1: u8 = 2;

/// One trade as the venue reported it.
///
/// Price and size are exact: `price × 10^-price_scale` and `size × 10^-size_scale`, trailing zeros dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TradeMsg {
    /// The venue's time of the trade, nanoseconds since the Unix epoch.
    pub ts_event: u64,
    /// When the frame left the socket, nanoseconds since the Unix epoch.
    pub ts_recv: u64,
    /// The venue's numeric id; otherwise xxh3-64 of its text, with [`Flags::HASHED_ID`].
    pub trade_id: u64,
    /// Mantissa of the price; may be negative (spreads, combos).
    pub price: i64,
    /// Mantissa of the size, in the venue's own unit.
    pub size: u64,
    /// First 4 bytes of xxh3-64 of `exchange:SYMBOL`; never 0 in a published record.
    pub instrument_id: u32,
    /// Decimal places of the price, 0..=18.
    pub price_scale: u8,
    /// Decimal places of the size, 0..=18.
    pub size_scale: u8,
    /// Aggressor side in bits 0 and 1, then the bits of [`Flags`].
    pub flags: u8,
    /// [`KIND_TRADE_V1`].
    pub kind: u8,
}

/// A declared loss: trades of one instrument that are missing, so that no loss is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct GapMsg {
    /// Start of the interval in which trades are missing, nanoseconds since the Unix epoch.
    pub ts_start: u64,
    /// End of that interval, nanoseconds since the Unix epoch.
    pub ts_end: u64,
    /// First missing trade id, 0 unknown.
    pub first_id: u64,
    /// Last missing trade id, 0 unknown.
    pub last_id: u64,
    /// How many trades are missing, 0 unknown.
    pub missing: u64,
    /// As in [`TradeMsg::instrument_id`].
    pub instrument_id: u32,
    /// A [`GapStrength`] as its number.
    pub strength: u8,
    /// A [`GapReason`] as its number.
    pub reason: u8,
    /// Bit 3 ([`Flags::BACKFILLED`]): the gap has been filled since.
    pub flags: u8,
    /// [`KIND_GAP_V1`].
    pub kind: u8,
}

/// Who took liquidity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// The venue gives no aggressor side.
    None = 0,
    /// The buyer was the aggressor.
    Buy = 1,
    /// The seller was the aggressor.
    Sell = 2,
}

/// The bits of `flags` above the aggressor side.
///
/// # Examples
/// ```
/// use data_manager::market::{Flags, Side};
/// let flags = Flags::new(Side::Buy).with(Flags::SNAPSHOT);
/// assert_eq!(flags.side(), Side::Buy);
/// assert!(flags.has(Flags::SNAPSHOT));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

/// Why trades are missing. The discriminant is the wire value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapReason {
    /// The connection to the venue was lost, or the venue skipped ids.
    VenueDisconnect = 1,
    /// The venue went silent.
    Stall = 2,
    /// The outbox towards the broker overflowed.
    OutboxOverflow = 3,
    /// The broker lost data that it had acknowledged.
    BrokerLost = 4,
    /// A frame could not be decoded.
    UndecodableFrame = 5,
}

/// How sure it is that trades are missing. The discriminant is the wire value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GapStrength {
    /// The venue's own ids prove it, with an exact count.
    Proved = 1,
    /// Frames were lost on a connection.
    FramesLost = 2,
    /// Possible: a disconnect on a venue that gives no signal.
    Possible = 3,
}

impl TradeMsg {
    /// Aggressor side.
    #[must_use]
    pub const fn side(&self) -> Side {
        Flags(self.flags).side()
    }

    /// Whether its time is one of the venue. Where that could not be right the receive time stands in, and no record
    /// of another connection, another instance or another start has the same.
    ///
    /// A stand-in equals the receive time to the nanosecond. A venue's own time does so by chance alone, and is then
    /// believed a little less than it could be.
    #[must_use]
    pub const fn has_venue_time(&self) -> bool {
        self.ts_recv == 0 || self.ts_event != self.ts_recv
    }

    /// The flags as a set.
    #[must_use]
    pub const fn flag_set(&self) -> Flags {
        Flags(self.flags)
    }

    /// The 48 bytes that go on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; RECORD_BYTES] {
        bytemuck::cast_ref(self)
    }
}

impl GapMsg {
    /// Whether it says exactly which trades are missing: the venue's own ids prove it, and every id between the first
    /// and the last is missing.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.strength == GapStrength::Proved as u8
            && self.first_id != 0
            && self.first_id <= self.last_id
            && self.missing == (self.last_id - self.first_id).saturating_add(1)
    }

    /// The 48 bytes that go on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; RECORD_BYTES] {
        bytemuck::cast_ref(self)
    }
}

impl Flags {
    /// The id is a hash of the venue's textual id.
    pub const HASHED_ID: u8 = 1 << 2;
    /// The trade came late: from the venue's REST history, or by another connection when its gap was declared already.
    pub const BACKFILLED: u8 = 1 << 3;
    /// History that the venue sent at subscribe.
    pub const SNAPSHOT: u8 = 1 << 4;
    /// One row for several fills.
    pub const AGGREGATED: u8 = 1 << 5;
    /// Trades right before this one are missing, so far.
    pub const AFTER_GAP: u8 = 1 << 6;
    /// Block trade, liquidation, deleveraging, settlement: not an ordinary match.
    pub const SPECIAL: u8 = 1 << 7;

    /// Every flag with the name that text formats use, lowest bit first.
    pub const NAMES: [(u8, &'static str); 6] = [
        (Self::HASHED_ID, "hashed_id"),
        (Self::BACKFILLED, "backfilled"),
        (Self::SNAPSHOT, "snapshot"),
        (Self::AGGREGATED, "aggregated"),
        (Self::AFTER_GAP, "after_gap"),
        (Self::SPECIAL, "special"),
    ];

    /// A set that holds only an aggressor side.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self(side as u8)
    }

    /// The set as it stands in a record.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte that goes into a record.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set with `flag` (one of the constants here) added.
    #[must_use]
    pub const fn with(self, flag: u8) -> Self {
        Self(self.0 | flag)
    }

    /// Whether `flag` (one of the constants here) is set.
    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// The aggressor side; the reserved value 3 reads as none.
    #[must_use]
    pub const fn side(self) -> Side {
        match self.0 & 0b11 {
            1 => Side::Buy,
            2 => Side::Sell,
            _ => Side::None,
        }
    }

    /// Names of the set flags, lowest bit first, side left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| name)
    }
}

impl Side {
    /// `none`, `buy` or `sell`, as text formats spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

impl GapReason {
    /// The reason behind a wire value, if it is known.
    #[must_use]
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::VenueDisconnect),
            2 => Some(Self::Stall),
            3 => Some(Self::OutboxOverflow),
            4 => Some(Self::BrokerLost),
            5 => Some(Self::UndecodableFrame),
            _ => None,
        }
    }

    /// The name that text formats and metric labels use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VenueDisconnect => "venue_disconnect",
            Self::Stall => "stall",
            Self::OutboxOverflow => "outbox_overflow",
            Self::BrokerLost => "broker_lost",
            Self::UndecodableFrame => "undecodable_frame",
        }
    }
}

impl GapStrength {
    /// The strength behind a wire value, if it is known.
    #[must_use]
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Proved),
            2 => Some(Self::FramesLost),
            3 => Some(Self::Possible),
            _ => None,
        }
    }

    /// The name that text formats use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::FramesLost => "frames_lost",
            Self::Possible => "possible",
        }
    }
}

// The contract, checked where it cannot be missed. `Pod` already refuses padding; size and offsets pin the rest.
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(cfg!(target_endian = "little"), "records are little-endian and written as they lie in memory");
    assert!(size_of::<TradeMsg>() == RECORD_BYTES && align_of::<TradeMsg>() == 8);
    assert!(offset_of!(TradeMsg, ts_event) == 0);
    assert!(offset_of!(TradeMsg, ts_recv) == 8);
    assert!(offset_of!(TradeMsg, trade_id) == 16);
    assert!(offset_of!(TradeMsg, price) == 24);
    assert!(offset_of!(TradeMsg, size) == 32);
    assert!(offset_of!(TradeMsg, instrument_id) == 40);
    assert!(offset_of!(TradeMsg, price_scale) == 44);
    assert!(offset_of!(TradeMsg, size_scale) == 45);
    assert!(offset_of!(TradeMsg, flags) == 46);
    assert!(offset_of!(TradeMsg, kind) == 47);
    assert!(size_of::<GapMsg>() == RECORD_BYTES && align_of::<GapMsg>() == 8);
    assert!(offset_of!(GapMsg, ts_start) == 0);
    assert!(offset_of!(GapMsg, ts_end) == 8);
    assert!(offset_of!(GapMsg, first_id) == 16);
    assert!(offset_of!(GapMsg, last_id) == 24);
    assert!(offset_of!(GapMsg, missing) == 32);
    assert!(offset_of!(GapMsg, instrument_id) == 40);
    assert!(offset_of!(GapMsg, strength) == 44);
    assert!(offset_of!(GapMsg, reason) == 45);
    assert!(offset_of!(GapMsg, flags) == 46);
    assert!(offset_of!(GapMsg, kind) == 47);
};
