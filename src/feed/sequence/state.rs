//! What a sequencer knows of one symbol: its first and last trade, what waits behind a hole, what is still missing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use crate::market::{GapMsg, GapReason, TradeMsg};

/// What is known of one symbol.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) first: Option<Mark>,
    pub(super) last: Option<Mark>,
    pub(super) held: BTreeMap<u64, TradeMsg>,
    pub(super) held_until: Option<Instant>,
    pub(super) holes: VecDeque<Hole>,
    pub(super) beat: Option<Beat>,
    pub(super) recent: VecDeque<u64>,
    pub(super) recent_set: HashSet<u64>,
    pub(super) restart: Vec<TradeMsg>,
    /// The connection was lost since the last trade, on a venue whose ids prove nothing.
    pub(super) doubt: bool,
    pub(super) instrument_id: u32,
    /// An earlier run's trades are gone from the stream: what lies before the first trade is unknown.
    pub(super) unknown_before: bool,
    /// Why trades may be missing before the next one.
    pub(super) cause: Option<GapReason>,
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
    pub(super) left: Vec<(u64, u64)>,
}

/// The venue says that it had traded up to this id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    pub(super) mark: Mark,
    pub(super) due: Instant,
}

impl Hole {
    /// Whether a trade is still missing here.
    pub(super) fn misses(&self, id: u64) -> bool {
        self.left.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// A trade is here after all.
    pub(super) fn found(&mut self, id: u64) {
        self.left = self.left.iter().flat_map(|range| without(*range, id)).collect();
    }
}

/// A range without one id in it.
fn without((first, last): (u64, u64), id: u64) -> impl Iterator<Item = (u64, u64)> {
    let inside = (first..=last).contains(&id);
    let whole = (!inside).then_some((first, last));
    let below = (inside && first < id).then(|| (first, id - 1));
    let above = (inside && id < last).then(|| (id + 1, last));
    [whole, below, above].into_iter().flatten()
}
