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
    /// First and last ids of the holes that were filled last.
    pub(super) filled: VecDeque<(u64, u64)>,
    pub(super) beat: Option<Beat>,
    pub(super) recent: VecDeque<u64>,
    pub(super) recent_set: HashSet<u64>,
    /// Lower ids with later times: rows that may be the beginning of a new count, by their last id.
    pub(super) restart: BTreeMap<u64, Fills>,
    /// The first time of the running count, where the venue has begun to count anew.
    pub(super) began: Option<u64>,
    /// The last trades that were delivered, oldest first.
    pub(super) newest: VecDeque<TradeMsg>,
    /// Rows with passed ids and without a venue time, since a trade in order or a copy of one that is remembered.
    pub(super) unproved: Option<Unproved>,
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

/// Delivered trades that are remembered. A new count is told from copies by them, even if some carry a wrong time.
const NEWEST_MAX: usize = 15;
/// Filled holes that are remembered, for those who wait for one.
const FILLED_MAX: usize = 1_024;

impl State {
    /// A trade was delivered in order.
    pub(super) fn delivered(&mut self, msg: TradeMsg) {
        if self.newest.len() == NEWEST_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(msg);
        self.unproved = None;
        if !self.restart.is_empty() {
            // The old count goes on. What is later than this trade may still be a new one: another line is ahead.
            self.restart.retain(|_, row| row.msg.ts_event > msg.ts_event);
        }
    }

    /// A time that about half of the last trades lie before.
    pub(super) fn lately(&self) -> u64 {
        let mut times: Vec<u64> = self.newest.iter().map(bound).collect();
        let middle = times.len() / 2;
        if times.is_empty() {
            let slack = if self.last_timed { 0 } else { SLACK_NS };
            return self.last.map_or(0, |last| last.ts.saturating_add(slack));
        }
        *times.select_nth_unstable(middle).1
    }

    /// Whether a row is older than all trades that were delivered last.
    pub(super) fn is_long_past(&self, row: &Fills) -> bool {
        !self.newest.is_empty() && self.newest.iter().all(|msg| row.msg.ts_event < bound(msg))
    }

    /// Whether a row belongs to the count before this one: a slower line still brings it. One without a venue time is
    /// taken for such a row as long as a line may be so slow; was it one of this count, its absence will show.
    pub(super) fn outlived(&self, row: &Fills) -> bool {
        let slack = if row.msg.has_venue_time() { 0 } else { SLACK_NS };
        self.began.is_some_and(|began| row.msg.ts_event < began.saturating_add(slack))
    }

    /// A hole is whole.
    pub(super) fn close(&mut self, place: usize) {
        let Some(hole) = self.holes.remove(place) else { return };
        if self.filled.len() == FILLED_MAX {
            self.filled.pop_front();
        }
        self.filled.push_back((hole.gap.first_id, hole.gap.last_id));
    }
}

/// A row of a venue: one trade, or one row for several fills of which the trade's id is the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fills {
    pub(super) msg: TradeMsg,
    pub(super) span: u32,
}

/// Clocks differ, and lines are behind each other, by less than this, nanoseconds: a receive time that stands in for a
/// venue's is no closer to it.
const SLACK_NS: u64 = 10_000_000_000;

/// What a trade of another count is later than, if this one was delivered.
fn bound(msg: &TradeMsg) -> u64 {
    msg.ts_event.saturating_add(if msg.has_venue_time() { 0 } else { SLACK_NS })
}

/// A venue time further from the receive time than this says nothing, nanoseconds: zero, another unit, another epoch.
const TIME_OFF_MAX: u64 = 86_400_000_000_000;

impl Fills {
    /// Whether its time can be compared with others. Broken ones decide nothing, as they came or with the receive time
    /// in their place: on a second connection that is later for the same trade.
    pub(super) const fn is_timed(&self) -> bool {
        let msg = &self.msg;
        msg.ts_recv == 0 || msg.has_venue_time() && msg.ts_event.abs_diff(msg.ts_recv) <= TIME_OFF_MAX
    }

    /// Whether it cannot be a copy of this trade, though the ids are the same.
    pub(super) fn differs(&self, twin: &TradeMsg) -> bool {
        let of = |msg: &TradeMsg| (msg.price, msg.price_scale, msg.size, msg.size_scale);
        of(&self.msg) != of(twin)
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

/// Rows that are copies or a new count, and nothing tells which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unproved {
    pub(super) since: Instant,
    pub(super) rows: usize,
    /// Of them, those whose id was delivered with another price or size.
    pub(super) others: usize,
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
