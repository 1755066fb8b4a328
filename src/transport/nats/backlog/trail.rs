//! How far each instrument has come on its way into the window, so that what was lost on disk shows. Pure.
//!
//! What the spool gives back says nothing of what it could not read. Once it has passed over anything, the next record
//! of each instrument is held against the last one before: ids in between that nothing declares are a gap.

use crate::market::trade::KIND_GAP_V1;
use crate::market::{Flags, GapMsg, GapReason, GapStrength, Record};
use crate::transport::nats::window::message::RESTART_NS;

/// Where each route stands.
#[derive(Debug)]
pub(in crate::transport::nats) struct Trails(Vec<Trail>);

#[derive(Clone, Debug, Default)]
struct Trail {
    /// The last id, where it is known, and the last time.
    id: Option<u64>,
    ts: u64,
    /// Something may be missing before the next record.
    torn: bool,
    /// The ids below this stood before something that is missing.
    torn_below: u64,
    /// Ids beyond those that came of which the stream has been told already.
    told: Vec<(u64, u64)>,
}

/// A record as a place to go on from.
struct Next {
    /// Its first id, where it is known.
    id: Option<u64>,
    ts: u64,
    /// Whether the ids between it and the last one are surely missing.
    proves: bool,
    /// Whether what follows on it need not be looked at any more.
    settles: bool,
}

impl Next {
    fn of(record: &Record) -> Option<Self> {
        match record {
            Record::Trade(trade) => {
                let (flags, late) = (trade.flag_set(), trade.flag_set().has(Flags::BACKFILLED));
                let id = (!flags.has(Flags::HASHED_ID)).then_some(trade.trade_id);
                // A row for several fills does not tell its first one; a late trade may lie in a gap that was lost.
                let proves = !late && !flags.has(Flags::AGGREGATED);
                Some(Self { id, ts: trade.ts_event, proves, settles: !late })
            }
            Record::Gap(gap) if gap.flags == 0 && gap.first_id != 0 => {
                Some(Self { id: Some(gap.first_id), ts: gap.ts_start, proves: gap.is_exact(), settles: false })
            }
            Record::Gap(_) => None,
        }
    }
}

impl Trails {
    pub(in crate::transport::nats) fn new(routes: usize) -> Self {
        Self(vec![Trail::default(); routes])
    }

    /// The stream holds a route up to here: it goes on behind it, unless something beyond it has come already.
    pub(in crate::transport::nats) fn begin(&mut self, route: u32, (id, ts): (u64, u64)) {
        if let Some(trail) = self.0.get_mut(route as usize).filter(|trail| !trail.is_beyond(id, ts)) {
            (trail.id, trail.ts) = (Some(id), ts);
        }
    }

    /// Whether something beyond this place has gone its way.
    pub(in crate::transport::nats) fn is_beyond(&self, route: u32, (id, ts): (u64, u64)) -> bool {
        self.0.get(route as usize).is_some_and(|trail| trail.is_beyond(id, ts))
    }

    /// Whether anything of a route has gone its way.
    pub(in crate::transport::nats) fn has_any(&self, route: u32) -> bool {
        self.0.get(route as usize).is_some_and(|trail| trail.id.is_some() || trail.ts > 0)
    }

    /// The stream has been told of a gap that lies beyond what has come.
    pub(in crate::transport::nats) fn told(&mut self, route: u32, gap: &GapMsg) {
        if let Some(trail) = self.0.get_mut(route as usize).filter(|_| gap.is_exact()) {
            trail.told.push((gap.first_id, gap.last_id));
        }
    }

    /// Something is missing, and nobody knows of which instrument.
    pub(in crate::transport::nats) fn tear(&mut self) {
        self.0.iter_mut().for_each(|trail| trail.torn = true);
    }

    /// Whether something may be missing before the next record of any route.
    pub(in crate::transport::nats) fn any_torn(&self) -> bool {
        self.0.iter().any(|trail| trail.torn)
    }

    /// Whether something may be missing before the next record of a route.
    pub(in crate::transport::nats) fn is_torn(&self, route: u32) -> bool {
        self.0.get(route as usize).is_some_and(|trail| trail.torn)
    }

    /// Whether a record from disk may be believed. One that says that a gap was filled may stand behind a filling that
    /// was lost: without it the gap stays declared, and the next run sees what is missing of it.
    pub(in crate::transport::nats) fn believes(&self, route: u32, record: &Record) -> bool {
        let Some(trail) = self.0.get(route as usize) else { return true };
        match record {
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => !trail.torn && gap.first_id >= trail.torn_below,
            _ => true,
        }
    }

    /// The gaps that have to be declared in front of a record. Nearly always none.
    #[inline]
    pub(in crate::transport::nats) fn missing(&mut self, route: u32, record: &Record) -> Vec<GapMsg> {
        match self.0.get_mut(route as usize) {
            Some(trail) if trail.torn => trail.missing(record),
            _ => Vec::new(),
        }
    }

    /// A record has gone its way.
    #[inline]
    pub(in crate::transport::nats) fn pass(&mut self, route: u32, record: &Record) {
        let Some(trail) = self.0.get_mut(route as usize) else { return };
        match record {
            Record::Trade(trade) if trade.flag_set().has(Flags::BACKFILLED) => {
                // In its place, where it was waited for; otherwise behind younger ones.
                if trail.id.is_some_and(|id| id < trade.trade_id) {
                    (trail.id, trail.ts) = (Some(trade.trade_id), trade.ts_event);
                }
            }
            // The stream is beyond it.
            Record::Trade(trade) if trail.id >= Some(trade.trade_id) && trade.ts_event <= trail.ts => {}
            Record::Trade(trade) => {
                let known = !trade.flag_set().has(Flags::HASHED_ID);
                (trail.id, trail.ts) = (known.then_some(trade.trade_id), trade.ts_event);
            }
            Record::Gap(gap) if gap.flags != 0 => {}
            Record::Gap(gap) if gap.last_id == 0 => {
                // The venue may count anew behind it.
                if gap.strength == GapStrength::Possible as u8 {
                    trail.id = None;
                }
            }
            Record::Gap(gap) if trail.id.is_none_or(|id| id < gap.last_id) => {
                (trail.id, trail.ts) = (Some(gap.last_id), gap.ts_end.max(trail.ts));
            }
            Record::Gap(_) => {}
        }
    }
}

impl Trail {
    /// Times far apart tell it, since ids may be begun anew; others' order is only that of the ids.
    fn is_beyond(&self, id: u64, ts: u64) -> bool {
        match self.id {
            Some(last) if self.ts.abs_diff(ts) <= RESTART_NS => last > id,
            _ => self.ts > ts,
        }
    }

    #[cold]
    fn missing(&mut self, record: &Record) -> Vec<GapMsg> {
        let Some(next) = Next::of(record) else { return Vec::new() };
        let mut gaps = Vec::new();
        match self.id.zip(next.id) {
            // Late, or known: what comes behind it has to tell.
            Some((last, id)) if id <= last && (!next.settles || next.ts <= self.ts) => return gaps,
            Some((last, id)) if id > last => {
                let strength = if next.proves { GapStrength::Proved } else { GapStrength::FramesLost };
                let parts = without(&self.told, last.saturating_add(1), id - 1);
                gaps.extend(parts.into_iter().map(|part| self.gap(record, &next, strength, part)));
            }
            // The venue counts anew, or nothing is known to go on from.
            _ => gaps.push(self.gap(record, &next, GapStrength::Possible, (0, 0))),
        }
        if next.settles {
            self.torn = false;
            self.torn_below = next.id.unwrap_or(u64::MAX);
        }
        gaps
    }

    fn gap(&self, record: &Record, next: &Next, strength: GapStrength, (first_id, last_id): (u64, u64)) -> GapMsg {
        GapMsg {
            ts_start: self.ts,
            ts_end: next.ts.max(self.ts),
            first_id,
            last_id,
            missing: if first_id == 0 { 0 } else { (last_id - first_id).saturating_add(1) },
            instrument_id: record.instrument_id(),
            strength: strength as u8,
            reason: GapReason::OutboxOverflow as u8,
            flags: 0,
            kind: KIND_GAP_V1,
        }
    }
}

/// What is left of a range of ids without others.
pub(in crate::transport::nats) fn without(others: &[(u64, u64)], first: u64, last: u64) -> Vec<(u64, u64)> {
    let mut parts = Vec::from_iter((first <= last).then_some((first, last)));
    for (from, to) in others {
        let split = |(first, last): (u64, u64)| {
            let before = (first, last.min(from.saturating_sub(1)));
            let behind = (first.max(to.saturating_add(1)), last);
            [before, behind]
        };
        parts = parts.into_iter().flat_map(split).filter(|(first, last)| first <= last).collect();
    }
    parts
}

#[cfg(test)]
mod tests;
