//! What a sequencer knows of one symbol: its first and last trade, what waits behind a hole, what is still missing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use crate::feed::ranges::Ranges;
use crate::market::{GapMsg, GapReason, TradeMsg};

/// What is known of one symbol.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) first: Option<Mark>,
    pub(super) last: Option<Mark>,
    /// Whether its time can be compared with others.
    pub(super) last_timed: bool,
    /// By their last id.
    pub(super) held: BTreeMap<u64, Fills>,
    pub(super) held_until: Option<Instant>,
    pub(super) holes: VecDeque<Hole>,
    pub(super) beat: Option<Beat>,
    pub(super) recent: VecDeque<u64>,
    pub(super) recent_set: HashSet<u64>,
    pub(super) restart: Vec<Fills>,
    /// A trade whose id is absurdly far ahead: taken at its word once its successor has come.
    pub(super) leap: Option<Fills>,
    /// The connection was lost since the last trade, on a venue whose ids prove nothing.
    pub(super) doubt: bool,
    pub(super) instrument_id: u32,
    /// An earlier run's trades are gone from the stream: what lies before the first trade is unknown.
    pub(super) unknown_before: bool,
    /// Why trades may be missing before the next one.
    pub(super) cause: Option<GapReason>,
}

/// A row of a venue: one trade, or one row for several fills of which the trade's id is the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fills {
    pub(super) msg: TradeMsg,
    pub(super) span: u32,
}

/// A venue time further from the receive time than this says nothing, nanoseconds: zero, another unit, another epoch.
const TIME_OFF_MAX: u64 = 86_400_000_000_000;

impl Fills {
    /// Whether its time can be compared with others: broken ones are kept as they came, and decide nothing.
    pub(super) const fn is_timed(&self) -> bool {
        self.msg.ts_recv == 0 || self.msg.ts_event.abs_diff(self.msg.ts_recv) <= TIME_OFF_MAX
    }

    /// The id of its first fill.
    pub(super) fn first_id(&self) -> u64 {
        self.msg.trade_id.saturating_sub(u64::from(self.span.saturating_sub(1)))
    }

    pub(super) const fn last(&self) -> Mark {
        Mark { id: self.msg.trade_id, ts: self.msg.ts_event }
    }

    pub(super) fn first(&self) -> Mark {
        Mark { id: self.first_id(), ts: self.msg.ts_event }
    }

    /// Whether it follows a trade with this id. A venue may count rows instead of fills: then one step is enough.
    pub(super) fn follows(&self, id: u64) -> bool {
        let next = id.checked_add(1);
        Some(self.msg.trade_id) == next || Some(self.first_id()) == next
    }
}

/// A trade's place: id and time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) id: u64,
    pub(super) ts: u64,
}

/// A declared gap, and what of it is still missing.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) gap: GapMsg,
    pub(super) left: Ranges,
}

/// The venue says that it had traded up to this id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    pub(super) mark: Mark,
    pub(super) due: Instant,
}

impl Hole {
    /// A gap of which nothing has come yet.
    pub(super) fn of(gap: GapMsg) -> Self {
        Self { gap, left: Ranges::of(gap.first_id, gap.last_id) }
    }
}
