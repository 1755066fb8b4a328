//! What waited on disk while the stream was not known, held against what the stream holds: what it has passed is left
//! out, and what an earlier run had in memory in between is declared. Pure.

use std::collections::BTreeMap;

use crate::market::trade::KIND_GAP_V1;
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record, TradeMsg};
use crate::transport::nats::backlog::{Origin, Trails, without};
use crate::transport::nats::window::message::RESTART_NS;

/// Where the stream ended of each route when it was read last.
#[derive(Debug)]
pub(super) struct Ends {
    routes: Vec<End>,
    /// It has been read.
    known: bool,
    /// What the disk gave up before: one gap for each run and instrument.
    early: BTreeMap<(Origin, u32), GapMsg>,
}

/// Where the stream ended of an instrument.
#[derive(Clone, Debug, Default)]
struct End {
    at: At,
    /// Ids of gaps that the stream declares and that are asked for anew, beyond its last trade too.
    open: Vec<(u64, u64)>,
    /// Id and venue time of the last trade that an earlier run left on disk.
    left: Option<(u64, u64)>,
    /// What goes on behind it has come.
    met: bool,
}

/// What the stream tells of an instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum At {
    /// It never held a trade.
    #[default]
    Fresh,
    /// It holds none any more.
    Forgotten,
    /// It came at least as far as its last message; how far cannot be read.
    Unread,
    /// Its youngest trade, and that one's venue time.
    Trade(u64, u64),
}

/// What becomes of a record that waited on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on, and these are missing in front of it.
    Behind(Vec<GapMsg>),
    /// The stream has passed it.
    Passed,
}

impl Ends {
    pub(super) fn new(routes: usize) -> Self {
        Self { routes: vec![End::default(); routes], known: false, early: BTreeMap::new() }
    }

    /// The stream has been read of a route: its end, the gaps that are open in it, and the last that an earlier run
    /// left on disk.
    pub(super) fn set(&mut self, route: u32, at: At, open: &[GapMsg], left: Option<&TradeMsg>) {
        if let Some(end) = self.routes.get_mut(route as usize) {
            let open = open.iter().map(|gap| (gap.first_id, gap.last_id)).collect();
            *end = End { at, open, left: left.map(|left| (left.trade_id, left.ts_event)), met: false };
        }
    }

    /// Whether a record that waits in memory is not to be sent any more, now that the stream has been read.
    pub(super) fn has_passed(&self, route: u32, record: &Record) -> bool {
        self.routes.get(route as usize).is_some_and(|end| end.has_passed(record))
    }

    /// The stream has been read of all routes. What the disk gave up before that comes back, to be judged now.
    pub(super) fn known(&mut self) -> Vec<GapMsg> {
        self.known = true;
        std::mem::take(&mut self.early).into_values().collect()
    }

    /// At the end, what the disk gave up and nobody has judged: of earlier runs, and of this one.
    pub(super) fn unjudged(&mut self) -> (Vec<GapMsg>, Vec<GapMsg>) {
        let inherited = self.early.extract_if(.., |(origin, _), _| *origin == Origin::Inherited);
        let inherited = inherited.map(|(_, gap)| gap).collect();
        (inherited, std::mem::take(&mut self.early).into_values().collect())
    }

    /// Takes a gap that cannot be judged before the stream has been read; one that can comes back.
    pub(super) fn too_early(&mut self, origin: Origin, gap: &GapMsg) -> Option<GapMsg> {
        if self.known || origin == Origin::Own {
            return Some(*gap);
        }
        self.early.entry((origin, gap.instrument_id)).and_modify(|early| early.join(gap)).or_insert(*gap);
        None
    }

    /// What becomes of a record.
    pub(super) fn judge(&mut self, route: u32, record: &Record, origin: Origin, trails: &Trails) -> Verdict {
        let Some(end) = self.routes.get_mut(route as usize) else { return Verdict::Pass };
        match (end.at, origin) {
            (_, Origin::Own) => Verdict::Pass,
            (_, Origin::Waited) if end.has_passed(record) || end.left_has(record) => Verdict::Passed,
            (_, Origin::Waited) | (At::Fresh, _) => Verdict::Pass,
            // The feed declares all of it as possibly missing: a trade that is stored twice would be worse.
            (At::Unread, Origin::Inherited) => Verdict::Passed,
            (At::Forgotten, Origin::Inherited) => end.begins(route, record, trails),
            (At::Trade(id, ts), Origin::Inherited) => end.goes_on((route, id, ts), record, trails),
        }
    }

    /// What is left to declare of what the disk gave up.
    pub(super) fn rest(&self, route: u32, gap: GapMsg, origin: Origin) -> GapMsg {
        match self.routes.get(route as usize).map(|end| end.at) {
            Some(At::Trade(id, ts)) if origin != Origin::Own => gap.behind(id, ts),
            _ => gap,
        }
    }
}

impl End {
    /// Whether the stream has stored or declared this, or fills it by itself.
    fn has_passed(&self, record: &Record) -> bool {
        match self.at {
            At::Fresh | At::Forgotten => false,
            // A trade that the venue tells again at the start may be among those that cannot be read.
            At::Unread => matches!(record, Record::Trade(trade) if trade.flag_set().has(Flags::SNAPSHOT)),
            At::Trade(id, ts) => {
                let is_in = |next: &Ids| next.is_known(id, ts) || next.is_within(&self.open);
                self.has_open(id, record) || matches!(Next::of(record), Next::InLine(next) if is_in(&next))
            }
        }
    }

    /// Whether it stands in front of this record on disk.
    fn left_has(&self, record: &Record) -> bool {
        match (self.left, Next::of(record)) {
            (Some((id, ts)), Next::InLine(next)) => next.is_known(id, ts),
            _ => false,
        }
    }

    /// Whether a record fills, or says to have filled, a gap that the stream declares. That one is open, the venue is
    /// asked for it anew, and what is fetched twice must not be stored twice, nor be declared there when it is not.
    fn has_open(&self, id: u64, record: &Record) -> bool {
        let meets = |first: u64, last: u64| self.open.iter().any(|(from, to)| first <= *to && *from <= last);
        match record {
            Record::Trade(trade) if trade.flag_set().has(Flags::BACKFILLED) => {
                trade.trade_id <= id || meets(trade.trade_id, trade.trade_id)
            }
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => {
                gap.first_id <= id || meets(gap.first_id, gap.last_id)
            }
            Record::Trade(_) | Record::Gap(_) => false,
        }
    }

    /// Nobody knows where the run that left it went on from.
    fn begins(&mut self, route: u32, record: &Record, trails: &Trails) -> Verdict {
        let Next::InLine(next) = Next::of(record) else { return Verdict::Pass };
        if std::mem::replace(&mut self.met, true) || trails.is_torn(route) || trails.has_any(route) {
            return Verdict::Pass;
        }
        Verdict::Behind(vec![lost_in_memory(record, (0, next.ts), (0, 0), GapStrength::Possible)])
    }

    fn goes_on(&mut self, (route, id, ts): (u32, u64, u64), record: &Record, trails: &Trails) -> Verdict {
        // What this run has handed over since the stream was read, or before, stands in between.
        self.met |= trails.is_beyond(route, (id, ts));
        if self.has_open(id, record) {
            return Verdict::Passed;
        }
        let next = match Next::of(record) {
            // It says nothing of where the spool begins; it is fetched anew with what stood before it.
            Next::Late if !self.met => return Verdict::Passed,
            Next::Late | Next::Vague => return Verdict::Pass,
            Next::InLine(next) => next,
        };
        if next.is_within(&self.open) {
            return Verdict::Passed;
        }
        if self.met {
            return Verdict::Pass;
        }
        if next.is_known(id, ts) {
            return Verdict::Passed;
        }
        // From here on the spool itself is whole, or declares what is not, or its trails show it.
        self.met = true;
        if next.last <= id {
            // The venue began to count anew: no id of its own is below the stream's end.
            self.at = At::Trade(0, ts);
            self.open.clear();
            return Verdict::Pass;
        }
        // Where the disk has lost something too, all of it shows as one gap.
        if trails.is_torn(route) {
            return Verdict::Pass;
        }
        let strength = if next.certain { GapStrength::Proved } else { GapStrength::FramesLost };
        let missing = without(&self.open, id.saturating_add(1), next.first.saturating_sub(1));
        let gap = |ids: (u64, u64)| lost_in_memory(record, (ts, next.ts), ids, strength);
        Verdict::Behind(missing.into_iter().map(gap).collect())
    }
}

/// What an inherited record says of where the spool begins.
enum Next {
    /// It came late, or tells that a gap was filled.
    Late,
    /// It names no ids that could be compared.
    Vague,
    InLine(Ids),
}

/// The ids that a trade or a gap stands for.
struct Ids {
    first: u64,
    last: u64,
    ts: u64,
    /// Whether the first id is known for certain.
    certain: bool,
}

impl Next {
    fn of(record: &Record) -> Self {
        match record {
            Record::Trade(trade) if trade.flag_set().has(Flags::BACKFILLED) => Self::Late,
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => Self::Late,
            Record::Trade(trade) if trade.flag_set().has(Flags::HASHED_ID) => Self::Vague,
            Record::Trade(trade) => {
                // A row for several fills does not tell its first one: what is fetched could be in it.
                let certain = !trade.flag_set().has(Flags::AGGREGATED);
                Self::InLine(Ids { first: trade.trade_id, last: trade.trade_id, ts: trade.ts_event, certain })
            }
            Record::Gap(gap) if (1..=gap.last_id).contains(&gap.first_id) => {
                let certain = gap.is_exact();
                Self::InLine(Ids { first: gap.first_id, last: gap.last_id, ts: gap.ts_start, certain })
            }
            Record::Gap(_) => Self::Vague,
        }
    }
}

impl Ids {
    /// Whether a stream that ends here has passed them: stored them, or declared them. Times of one venue are in order
    /// but for moments; ids far later by time are those of a venue that counts anew.
    const fn is_known(&self, id: u64, ts: u64) -> bool {
        self.last <= id && self.ts <= ts.saturating_add(RESTART_NS)
    }

    /// Whether one of these ranges holds all of them.
    fn is_within(&self, ranges: &[(u64, u64)]) -> bool {
        ranges.iter().any(|(first, last)| *first <= self.first && self.last <= *last)
    }
}

/// Whether a stream that ends here has passed a trade, late or not.
pub(super) const fn is_passed(id: u64, ts: u64, trade: &TradeMsg) -> bool {
    match trade.flag_set().has(Flags::HASHED_ID) {
        true => trade.ts_event < ts,
        false => trade.trade_id <= id && trade.ts_event <= ts.saturating_add(RESTART_NS),
    }
}

fn lost_in_memory(
    record: &Record,
    (since, until): (u64, u64),
    (first_id, last_id): (u64, u64),
    strength: GapStrength,
) -> GapMsg {
    GapMsg {
        ts_start: since,
        ts_end: until.max(since),
        first_id,
        last_id,
        missing: if first_id == 0 { 0 } else { last_id.saturating_sub(first_id).saturating_add(1) },
        instrument_id: record.instrument_id(),
        strength: strength as u8,
        reason: GapReason::OutboxOverflow as u8,
        flags: 0,
        kind: KIND_GAP_V1,
    }
}

impl From<Option<&TradeMsg>> for At {
    fn from(newest: Option<&TradeMsg>) -> Self {
        newest.map_or(Self::Fresh, |newest| Self::Trade(newest.trade_id, newest.ts_event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_filled_an_older_gap_is_fetched_anew_with_the_news_that_it_is_filled() {
        let trade = |id, flags| TradeMsg { trade_id: id, flags, kind: 1, ..bytemuck::Zeroable::zeroed() };
        let filled = |first_id, last_id| GapMsg {
            first_id,
            last_id,
            flags: Flags::BACKFILLED,
            kind: KIND_GAP_V1,
            ..bytemuck::Zeroable::zeroed()
        };
        let end = End { open: vec![(80, 90)], ..End::default() };
        assert!(end.has_open(61, &Record::Trade(trade(50, Flags::BACKFILLED))));
        assert!(end.has_open(61, &Record::Gap(filled(50, 60))));
        assert!(!end.has_open(61, &Record::Trade(trade(70, Flags::BACKFILLED))), "its gap is in the spool too");
        assert!(!end.has_open(61, &Record::Gap(filled(70, 72))));
        assert!(end.has_open(61, &Record::Trade(trade(85, Flags::BACKFILLED))), "the stream ends with its gap");
        assert!(end.has_open(61, &Record::Gap(filled(88, 95))));
        assert!(!end.has_open(61, &Record::Trade(trade(62, 0))));
        assert!(!end.has_open(61, &Record::Gap(GapMsg { flags: 0, ..filled(50, 60) })), "a declaration is no filling");
    }
}
