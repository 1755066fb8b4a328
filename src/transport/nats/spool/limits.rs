//! How much a spool may hold.

use super::SpoolError;

/// Fewest bytes of a segment: the largest block fits into it.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Most bytes of a segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a segment where there is room for many of them.
const SEGMENT_BYTES: u64 = 64 << 20;

/// How much a spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of all segments together, at least two segments.
    pub bytes: u64,
    /// Bytes at which a segment is full, [`SEGMENT_BYTES_MIN`]`..=`[`SEGMENT_BYTES_MAX`]. It is also the grain in which
    /// the oldest is given up.
    pub segment_bytes: u64,
}

impl Limits {
    /// Limits for this many bytes, in segments of 64 MiB or, where that would be few, an eighth of it.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes, segment_bytes: (bytes / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES) }
    }

    /// Whether they can be kept.
    pub(super) fn check(self) -> Result<(), SpoolError> {
        let why = if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            "a segment has 1 MiB to 1 GiB"
        } else if self.bytes / 2 < self.segment_bytes {
            "two segments must fit, so 2 MiB at least"
        } else {
            return Ok(());
        };
        Err(SpoolError::Limits { bytes: self.bytes, segment_bytes: self.segment_bytes, why })
    }
}

impl Default for Limits {
    /// 4 GiB.
    fn default() -> Self {
        Self::new(4 << 30)
    }
}
