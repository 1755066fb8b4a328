//! A record of either kind, as it stands in the ring and in the outbox.

use super::trade::{GapMsg, KIND_GAP_V1, KIND_TRADE_V1, RECORD_BYTES, TradeMsg};

/// A trade or a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A trade.
    Trade(TradeMsg),
    /// A declared loss.
    Gap(GapMsg),
}

/// Bytes that are no record that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not 48 bytes.
    #[error("a record has 48 bytes, these are {len}")]
    Length {
        /// How many bytes came.
        len: usize,
    },
    /// `kind` names no record of this version.
    #[error("record kind {kind} is unknown to this version (1 is a trade, 2 a gap)")]
    Kind {
        /// The value at offset 47.
        kind: u8,
    },
}

impl Record {
    /// The 48 bytes that go on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; RECORD_BYTES] {
        match self {
            Self::Trade(trade) => trade.as_bytes(),
            Self::Gap(gap) => gap.as_bytes(),
        }
    }

    /// Reads a record from its wire form.
    ///
    /// # Errors
    /// When `bytes` are not 48, or carry a kind that this version does not know.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() != RECORD_BYTES {
            return Err(RecordError::Length { len: bytes.len() });
        }
        match bytes[RECORD_BYTES - 1] {
            KIND_TRADE_V1 => Ok(Self::Trade(bytemuck::pod_read_unaligned(bytes))),
            KIND_GAP_V1 => Ok(Self::Gap(bytemuck::pod_read_unaligned(bytes))),
            kind => Err(RecordError::Kind { kind }),
        }
    }

    /// The instrument that the record speaks of.
    #[must_use]
    pub const fn instrument_id(&self) -> u32 {
        match self {
            Self::Trade(trade) => trade.instrument_id,
            Self::Gap(gap) => gap.instrument_id,
        }
    }
}
