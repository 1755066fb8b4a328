//! What the stream tells of an instrument beyond its last message: which trades of the recent past are there, and which
//! declared gaps are still open.
//!
//! A subject's last message is where the next run goes on, but for one case: trades that came late stand behind younger
//! ones. Then the newest trade, and what is still missing, show only in what lies before it.

mod read;

use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::read::read;
use super::window::message::RESTART_NS;
use super::window::{Stored, Tail};
use crate::market::{Flags, GapMsg, GapReason, Record, SubjectKind, TradeMsg};

/// Most open gaps of an instrument that are remembered.
const OPEN_MAX: usize = 64;

/// The recent past of an instrument, as far as it had to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The trade with the highest id.
    pub newest: Option<TradeMsg>,
    /// Ids that are there, as disjoint ranges in the order in which they were found.
    pub ids: Vec<(u64, u64)>,
    /// Gaps whose trades are known by id, declared and not filled.
    pub open: Vec<GapMsg>,
    /// It could not be read, and the last message came late: trades beyond [`Self::newest`] may be stored.
    pub unread: bool,
    /// A trade that came in time was among it.
    timely: bool,
}

/// The end of a gap, as a trade to go on from.
fn behind(gap: &GapMsg) -> TradeMsg {
    TradeMsg {
        trade_id: gap.last_id,
        ts_event: gap.ts_end,
        instrument_id: gap.instrument_id,
        ..bytemuck::Zeroable::zeroed()
    }
}

/// What is stored, with the youngest trades of those instruments whose last message came late.
pub(super) fn in_time(stored: &Stored, pasts: &BTreeMap<u32, Past>) -> Stored {
    let mut stored = stored.clone();
    for tail in stored.tails.iter_mut().filter(|tail| tail.key.kind == SubjectKind::Trades) {
        let newest = pasts.get(&tail.key.route).filter(|past| !past.unread).and_then(|past| past.newest);
        if let (Some(last), Some(newest)) = (&mut tail.last, newest) {
            last.record = *Record::Trade(newest).as_bytes();
        }
    }
    stored
}

impl Past {
    /// The youngest trade of an instrument of which this one is the last.
    pub(super) fn youngest(&self, last: TradeMsg) -> TradeMsg {
        self.newest.unwrap_or(last)
    }

    /// What is missing between this place, with its id and time, and the open gaps behind it: they were declared in
    /// front of what was to be sent before them, and then the run ended.
    pub(super) fn between(&self, (mut id, ts): (u64, u64)) -> Vec<GapMsg> {
        // One of an old count lies before the place.
        let is_behind = |gap: &&GapMsg| gap.last_id > id && gap.ts_end.saturating_add(RESTART_NS) >= ts;
        let mut open: Vec<&GapMsg> = self.open.iter().filter(is_behind).collect();
        open.sort_by_key(|gap| gap.first_id);
        let mut missing = Vec::new();
        for gap in open {
            let first_id = id.saturating_add(1);
            if first_id < gap.first_id {
                let (ts_start, ts_end, reason) = (ts.min(gap.ts_start), gap.ts_start, GapReason::OutboxOverflow as u8);
                missing.push(GapMsg { ts_start, ts_end, reason, ..gap.part(first_id, gap.first_id - 1) });
            }
            id = id.max(gap.last_id);
        }
        missing
    }

    /// Where an instrument ends of which this trade is the last: at it, at a younger one before it, or behind a gap
    /// that nothing younger has followed yet. What comes next goes on from there; the gap itself is open already.
    pub(super) fn end(&self, last: TradeMsg) -> TradeMsg {
        let newest = self.youngest(last);
        let gap = self.open.iter().filter(|gap| gap.last_id > newest.trade_id).max_by_key(|gap| gap.last_id);
        gap.map_or(newest, behind)
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Trade(trade) => {
                let id = trade.trade_id;
                self.timely |= !trade.flag_set().has(Flags::BACKFILLED);
                if trade.flag_set().has(Flags::AGGREGATED) {
                    // How many ids in front of its own a late row stands for is not stored. The gap that it came into
                    // stays as it was declared: a double would be worse.
                    self.open.retain(|gap| !(gap.first_id..=gap.last_id).contains(&id));
                }
                match self.ids.last_mut() {
                    Some(range) if range.1.checked_add(1) == Some(id) => range.1 = id,
                    _ => self.ids.push((id, id)),
                }
                if self.newest.is_none_or(|newest| newest.trade_id < id) {
                    self.newest = Some(*trade);
                }
            }
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => {
                self.open.retain(|open| open.last_id < gap.first_id || gap.last_id < open.first_id);
            }
            Record::Gap(gap) if gap.is_exact() => {
                if self.open.len() == OPEN_MAX {
                    self.open.remove(0);
                }
                self.open.push(*gap);
            }
            Record::Gap(_) => {}
        }
    }
}

/// The instruments whose last messages do not tell enough.
#[derive(Debug, Default)]
pub(super) struct Unclear {
    /// By route: the id of the late trade that ends its subject, if one does.
    pub(super) routes: BTreeMap<u32, Option<u64>>,
    /// From when on their messages may matter, nanoseconds since the Unix epoch by the server's clock.
    since: u64,
    /// Their last messages: route, kind, sequence.
    lasts: Vec<(u32, SubjectKind, u64)>,
}

impl Unclear {
    /// Judges the last messages; `horizon` is how far back anything can still be repaired. Only the server's clock
    /// counts: a host whose own is an hour off has to read the same.
    pub(super) fn of(tails: &[Tail], horizon: Duration) -> Option<Self> {
        let horizon = u64::try_from(horizon.as_nanos()).unwrap_or(u64::MAX);
        let newest = tails.iter().filter_map(|tail| tail.last).map(|last| last.stored_ns).max().unwrap_or(0);
        let mut this = Self { since: u64::MAX, ..Self::default() };
        for tail in tails {
            let Some(last) = tail.last else { continue };
            let late = match Record::from_bytes(&last.record) {
                Ok(Record::Trade(trade)) if trade.flag_set().has(Flags::BACKFILLED) => Some(trade.trade_id),
                Ok(Record::Gap(gap)) if gap.is_exact() && last.stored_ns.saturating_add(horizon) >= newest => None,
                _ => continue,
            };
            this.since = this.since.min(last.stored_ns.saturating_sub(horizon));
            let known = this.routes.entry(tail.key.route).or_default();
            *known = known.or(late);
        }
        for tail in tails.iter().filter(|tail| this.routes.contains_key(&tail.key.route)) {
            // What is older than that is not among what is read.
            let lasts = tail.last.filter(|last| last.stored_ns >= this.since);
            this.lasts.extend(lasts.map(|last| (tail.key.route, tail.key.kind, last.seq)));
        }
        (!this.routes.is_empty()).then_some(this)
    }

    /// The last sequence of these routes, of one kind or of both.
    fn until(&self, kind: Option<SubjectKind>, routes: &BTreeMap<u32, From>) -> Option<u64> {
        let ours = self
            .lasts
            .iter()
            .filter(|(route, of, _)| routes.contains_key(route) && kind.is_none_or(|kind| kind == *of));
        ours.map(|(_, _, seq)| *seq).max()
    }
}

/// Where reading an instrument has to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// At a gap's message: what fills it, and what is younger, stands behind it.
    Sequence(u64),
    /// As far back as anything can matter.
    Horizon,
}

/// The gaps that an instrument has declared, with their sequences.
#[derive(Debug, Default)]
struct Declared {
    all: Vec<(u64, GapMsg)>,
    open: Vec<(u64, GapMsg)>,
}

impl Declared {
    fn take(&mut self, sequence: u64, gap: &GapMsg) {
        if gap.flags & Flags::BACKFILLED != 0 {
            self.open.retain(|(_, open)| open.last_id < gap.first_id || gap.last_id < open.first_id);
        } else if gap.is_exact() {
            self.all.push((sequence, *gap));
            self.open.push((sequence, *gap));
        }
    }

    /// Where to begin, with this late trade at the end; `None`: there is nothing to read.
    fn from(&self, late: Option<u64>) -> Option<From> {
        let open = self.open.first().map(|(sequence, _)| *sequence);
        let Some(id) = late else { return open.map(From::Sequence) };
        let around = self.all.iter().rev().find(|(_, gap)| (gap.first_id..=gap.last_id).contains(&id));
        let Some((around, _)) = around else { return Some(From::Horizon) };
        Some(From::Sequence(open.map_or(*around, |open| open.min(*around))))
    }
}

/// Where nothing more could be read: what the last messages alone say for certain.
pub(super) fn at_least(tails: &[Tail], route: u32) -> Past {
    let mut past = Past::default();
    for tail in tails.iter().filter(|tail| tail.key.route == route) {
        if let Some(record) = tail.last.and_then(|last| Record::from_bytes(&last.record).ok()) {
            // What lies in a gap that may be half filled is left alone: a double would be worse than a declared loss.
            match (tail.key.kind, record) {
                (SubjectKind::Trades, record) => {
                    past.unread = matches!(record, Record::Trade(trade) if trade.flag_set().has(Flags::BACKFILLED));
                    past.take(&record);
                }
                (SubjectKind::Gaps, Record::Gap(gap)) if gap.is_exact() => {
                    past.take(&Record::Trade(behind(&gap)));
                }
                (SubjectKind::Gaps, _) => {}
            }
        }
    }
    past
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::GapStrength;
    use crate::transport::nats::window::{Key, TailRecord};

    const NOW: u64 = 2_000_000_000_000_000_000;
    const HORIZON: Duration = Duration::from_secs(900);

    fn trade(id: u64, flags: u8) -> Record {
        Record::Trade(TradeMsg { trade_id: id, ts_recv: NOW, flags, kind: 1, ..bytemuck::Zeroable::zeroed() })
    }

    fn gap(first_id: u64, last_id: u64, flags: u8, ts_end: u64) -> Record {
        Record::Gap(GapMsg {
            first_id,
            last_id,
            missing: last_id - first_id + 1,
            flags,
            ts_end,
            strength: GapStrength::Proved as u8,
            kind: 2,
            ..bytemuck::Zeroable::zeroed()
        })
    }

    fn tail(key: Key, seq: u64, stored_ns: u64, record: &Record) -> Tail {
        Tail { key, last: Some(TailRecord { seq, stored_ns, record: *record.as_bytes() }) }
    }

    #[test]
    fn only_late_trades_and_recent_gaps_leave_a_doubt() {
        let long_ago = NOW - 10 * 900_000_000_000;
        let clear =
            [tail(Key::trades(0), 9, NOW, &trade(5, 0)), tail(Key::gaps(0), 7, long_ago, &gap(1, 2, 0, long_ago))];
        assert!(Unclear::of(&clear, HORIZON).is_none());
        let late = [
            tail(Key::trades(1), 9, NOW - 7, &trade(5, Flags::BACKFILLED)),
            tail(Key::trades(2), 12, NOW, &trade(5, 0)),
        ];
        let unclear = Unclear::of(&late, HORIZON).unwrap();
        assert_eq!((unclear.since, unclear.routes), (NOW - 7 - 900_000_000_000, BTreeMap::from([(1, Some(5))])));
        assert_eq!(unclear.lasts, [(1, SubjectKind::Trades, 9)]);
        let open =
            [tail(Key::trades(3), 20, NOW, &trade(5, 0)), tail(Key::gaps(3), 7, NOW - 5, &gap(1, 2, 0, long_ago))];
        let unclear = Unclear::of(&open, HORIZON).unwrap();
        assert_eq!(unclear.routes, BTreeMap::from([(3, None)]), "whatever the venue's clock said");
        let both = BTreeMap::from([(3, From::Horizon)]);
        assert_eq!((unclear.until(None, &both), unclear.until(Some(SubjectKind::Gaps), &both)), (Some(20), Some(7)));
    }

    #[test]
    fn an_instrument_ends_behind_a_gap_that_nothing_has_followed() {
        let Record::Trade(last) = trade(49, 0) else { panic!("no trade") };
        let mut past = Past::default();
        assert_eq!(past.end(last), last, "nothing more had to be read");
        past.take(&gap(50, 60, 0, 7));
        assert_eq!((past.end(last).trade_id, past.end(last).ts_event), (60, 7));
        past.take(&trade(55, Flags::BACKFILLED));
        assert_eq!(past.end(last).trade_id, 60, "or the hole would be declared twice");
        past.take(&trade(61, 0));
        assert_eq!(past.end(last).trade_id, 61);
    }

    #[test]
    fn reading_begins_at_the_first_gap_that_matters() {
        let gaps = [gap(2, 4, 0, 1), gap(7, 7, 0, 1), gap(2, 4, Flags::BACKFILLED, 1), gap(20, 29, 0, 1)];
        let mut declared = Declared::default();
        assert_eq!((declared.from(None), declared.from(Some(5))), (None, Some(From::Horizon)));
        for (sequence, record) in (100..).zip(&gaps) {
            let Record::Gap(gap) = record else { panic!("{record:?}") };
            declared.take(sequence, gap);
        }
        assert_eq!(declared.from(None), Some(From::Sequence(101)), "the first is filled");
        assert_eq!(
            declared.from(Some(3)),
            Some(From::Sequence(100)),
            "younger trades stand behind the gap that it fills"
        );
        assert_eq!(declared.from(Some(25)), Some(From::Sequence(101)));
        assert_eq!(declared.from(Some(12)), Some(From::Horizon), "no gap around it is known");
    }

    #[test]
    fn the_newest_trade_and_the_open_gaps_show_in_what_was_read() {
        let mut past = Past::default();
        for record in [
            trade(1, 0),
            gap(2, 4, 0, 1),
            trade(5, Flags::AFTER_GAP),
            trade(6, 0),
            gap(7, 7, 0, 1),
            trade(8, 0),
            trade(2, Flags::BACKFILLED),
            trade(7, Flags::BACKFILLED),
            gap(7, 7, Flags::BACKFILLED, 1),
        ] {
            past.take(&record);
        }
        assert_eq!(past.newest.map(|trade| trade.trade_id), Some(8));
        assert_eq!(past.open.iter().map(|gap| (gap.first_id, gap.last_id)).collect::<Vec<_>>(), [(2, 4)]);
        assert_eq!(past.ids, [(1, 1), (5, 6), (8, 8), (2, 2), (7, 7)]);
    }

    #[test]
    fn a_gap_into_which_a_row_of_several_fills_came_is_left_as_it_is() {
        let mut past = Past::default();
        let row = |id, flags| trade(id, Flags::AGGREGATED | flags);
        for record in [
            trade(1, 0),
            gap(2, 9, 0, 1),
            row(12, Flags::AFTER_GAP),
            gap(13, 15, 0, 1),
            row(18, Flags::AFTER_GAP),
            row(6, Flags::BACKFILLED),
        ] {
            past.take(&record);
        }
        assert_eq!(past.open.iter().map(|gap| (gap.first_id, gap.last_id)).collect::<Vec<_>>(), [(13, 15)]);
    }

    #[test]
    fn without_the_right_to_read_no_trade_is_risked_twice() {
        let late = trade(55, Flags::BACKFILLED);
        let tails = [tail(Key::trades(0), 9, NOW, &late), tail(Key::gaps(0), 7, NOW, &gap(50, 60, 0, NOW))];
        let past = at_least(&tails, 0);
        assert_eq!((past.newest.map(|trade| trade.trade_id), past.open.len(), past.unread), (Some(60), 0, true));
        let tails = [tail(Key::trades(0), 9, NOW, &trade(80, 0)), tail(Key::gaps(0), 7, NOW, &gap(50, 60, 0, NOW))];
        assert!(!at_least(&tails, 0).unread, "what came in time is the newest");
    }
}
