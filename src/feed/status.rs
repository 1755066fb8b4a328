//! What a feed says of itself: plain values, read by the daemon a few times a second.

use std::collections::BTreeMap;
use std::time::Instant;

use super::sequence::SequenceStats;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedState {
    /// Dialling, or waiting to dial again.
    #[default]
    Connecting,
    /// Open, not all subscribes answered.
    Subscribing,
    /// All subscribes answered.
    Live,
    /// Ended by the daemon.
    Stopped,
}

impl FeedState {
    /// The name that status and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Subscribing => "subscribing",
            Self::Live => "live",
            Self::Stopped => "stopped",
        }
    }
}

/// What a feed says of itself: totals since it started.
#[derive(Clone, Debug, Default)]
pub struct FeedStatus {
    /// Where it is.
    pub state: FeedState,
    /// Since when.
    pub since: Option<Instant>,
    /// Why the last connection ended, or the last dial failed; empty while all is well.
    pub last_error: String,
    /// Connections opened.
    pub connects: u64,
    /// Dials that failed.
    pub connect_failures: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Rotations completed, with overlap.
    pub rotations: u64,
    /// Data messages read.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Trades decoded, doubles included.
    pub trades: u64,
    /// Trades whose venue time could not be right, so that the receive time stands in its place.
    pub bad_times: u64,
    /// Frames that could not be decoded, by kind.
    pub decode_errors: BTreeMap<&'static str, u64>,
    /// Gaps declared, by the number of their reason.
    pub gaps_by_reason: [u64; 6],
    /// What the sequencer saw.
    pub sequence: SequenceStats,
    /// When the last trade was read, nanoseconds since the Unix epoch.
    pub last_trade_ns: u64,
    /// Sum of receive time minus venue time over `delay_count` trades, nanoseconds; clocks may disagree, so it is
    /// signed.
    pub delay_sum_ns: i64,
    /// Trades in `delay_sum_ns`.
    pub delay_count: u64,
    /// Symbols.
    pub routes: BTreeMap<u32, RouteStatus>,
}

/// What a feed says of one symbol.
#[derive(Clone, Debug, Default)]
pub struct RouteStatus {
    /// Trades delivered.
    pub trades: u64,
    /// Gaps declared.
    pub gaps: u64,
    /// Trades in them, as far as known.
    pub missing: u64,
    /// The last trade's id.
    pub last_id: u64,
    /// Its price, mantissa and scale.
    pub last_price: (i64, u8),
    /// Its time, nanoseconds since the Unix epoch.
    pub last_ts: u64,
    /// Why the venue refuses the symbol; empty if it does not.
    pub rejected: String,
}
