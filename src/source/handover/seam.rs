//! Where what was stored ends and what comes from the rings begins. Pure.
//!
//! A record stands in a ring before it is stored. So the stream is read until it has brought, of each instrument, the
//! last records that stood in the ring at a certain place; from that place on the ring has the rest, and what the
//! stream has brought of it already is left out. Late trades stand behind younger ones in a ring, and may be stored in
//! front of them: the last trade, the last late one and the last gap are all waited for.
//!
//! Where the stream does not bring them (it is read from a later place, or has removed them), the seam stays open
//! unless it is known that they were stored: reading the stream is slower, and misses nothing.

use std::collections::{BTreeSet, HashMap};

use crate::market::{Flags, GapMsg, Record, TradeMsg};

/// Records that were received so long before a ring was looked at may still come in it: another instance of the
/// publisher, on another host, may have stored them before the one of this ring had them. ns.
const SLACK_NS: u64 = 10_000_000_000;
/// A record that was received so long before another of its exchange is stored, or declared, when that one is: longer
/// than trades wait for a repair. ns.
const SETTLED_NS: u64 = 60_000_000_000;

/// What tells a record from others, in ring and stream alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Trade { instrument: u32, id: u64, at_ms: u64 },
    Gap { instrument: u32, first: u64, last: u64, start_ms: u64, filled: bool },
}

impl Key {
    const fn of(record: &Record) -> Self {
        match record {
            Record::Trade(trade) => {
                let at_ms = trade.ts_event / 1_000_000;
                Self::Trade { instrument: trade.instrument_id, id: trade.trade_id, at_ms }
            }
            Record::Gap(gap) => {
                let start_ms = gap.ts_start / 1_000_000;
                Self::Gap {
                    instrument: gap.instrument_id,
                    first: gap.first_id,
                    last: gap.last_id,
                    start_ms,
                    filled: is_filled(gap),
                }
            }
        }
    }
}

/// What has a last one of its own in a ring: late trades may be stored in front of younger ones, and gaps stand on
/// another subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Trade,
    Late,
    Gap,
}

const KINDS: [Kind; 3] = [Kind::Trade, Kind::Late, Kind::Gap];

impl Kind {
    const fn of(record: &Record) -> Self {
        match record {
            Record::Trade(trade) if is_late(trade) => Self::Late,
            Record::Trade(_) => Self::Trade,
            Record::Gap(_) => Self::Gap,
        }
    }
}

/// What is left to be read of the stream, and what it has brought.
#[derive(Debug, Default)]
pub(super) struct Seam {
    /// The last record of each instrument and kind in the rings, as far as the stream has not brought them.
    targets: HashMap<(u32, Kind), Record>,
    /// The last record of each instrument and kind that the stream has brought.
    latest: HashMap<(u32, Kind), Record>,
    /// What the stream has brought and a ring may bring again, and when it was received.
    brought: HashMap<Key, u64>,
    /// Only what was received from then on is remembered, ns since the Unix epoch.
    from_ns: u64,
}

impl Seam {
    /// The rings are looked at: targets are set anew. `now_ns` is in nanoseconds since the Unix epoch.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.targets.clear();
        // What was received longer ago stands before the place from which the rings are read.
        self.from_ns = now_ns.saturating_sub(SLACK_NS);
        self.brought.retain(|_, received| *received >= self.from_ns);
    }

    /// A record that stands in a ring before the place from which it will be read.
    pub(super) fn stands(&mut self, record: &Record) {
        let instrument = record.instrument_id();
        let kind = (instrument, Kind::of(record));
        let brought = || KINDS.iter().filter_map(|kind| self.latest.get(&(instrument, *kind)));
        if self.brought.contains_key(&Key::of(record)) || brought().any(|latest| reaches(latest, record)) {
            self.targets.remove(&kind);
        } else {
            self.targets.insert(kind, *record);
        }
    }

    /// The stream has brought a record.
    pub(super) fn bring(&mut self, record: &Record) {
        if received(record) >= self.from_ns {
            self.brought.insert(Key::of(record), received(record));
        }
        self.latest.insert((record.instrument_id(), Kind::of(record)), *record);
        self.was_stored(record);
    }

    /// A record that the stream has, at a place from which it is not read any more.
    pub(super) fn was_stored(&mut self, record: &Record) {
        for kind in KINDS {
            let target = (record.instrument_id(), kind);
            if self.targets.get(&target).is_some_and(|target| reaches(record, target)) {
                self.targets.remove(&target);
            }
        }
    }

    /// The stream has brought something of an exchange that was received at this time, ns since the Unix epoch:
    /// everything that was received long before it is stored, or declared. `is_of` says which instruments are of it.
    pub(super) fn passed(&mut self, received_ns: u64, mut is_of: impl FnMut(u32) -> bool) {
        self.targets.retain(|(instrument, _), target| {
            received(target).saturating_add(SETTLED_NS) > received_ns || !is_of(*instrument)
        });
    }

    /// The instruments of which the stream has not brought enough, in order.
    pub(super) fn instruments(&self) -> BTreeSet<u32> {
        self.targets.keys().map(|(instrument, _)| *instrument).collect()
    }

    /// Whether everything that stood in the rings has been brought.
    pub(super) fn is_closed(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether a record of a ring was brought by the stream.
    pub(super) fn was_brought(&self, record: &Record) -> bool {
        !self.brought.is_empty() && self.brought.contains_key(&Key::of(record))
    }

    /// No ring brings again what the stream has brought.
    pub(super) fn forget(&mut self) {
        (self.brought, self.latest) = (HashMap::new(), HashMap::new());
    }
}

/// When a record was received, or what it says is missing was traded at the latest; ns since the Unix epoch.
const fn received(record: &Record) -> u64 {
    match record {
        Record::Trade(trade) => trade.ts_recv,
        Record::Gap(gap) if gap.ts_end > gap.ts_start => gap.ts_end,
        Record::Gap(gap) => gap.ts_start,
    }
}

const fn is_late(trade: &TradeMsg) -> bool {
    trade.flags & Flags::BACKFILLED != 0
}

const fn is_filled(gap: &GapMsg) -> bool {
    gap.flags & Flags::BACKFILLED != 0
}

/// Whether a record of the stream is the target, or stands behind it: what was dropped on the way is never stored, and
/// is declared. A late trade may be stored behind younger ones.
fn reaches(record: &Record, target: &Record) -> bool {
    if Key::of(record) == Key::of(target) {
        return true;
    }
    match (record, target) {
        (Record::Trade(trade), Record::Trade(target)) => {
            let in_order = !is_late(target) && !is_late(trade);
            // Ids may count anew: the time of receipt has to agree.
            in_order
                && if target.flags & Flags::HASHED_ID != 0 {
                    trade.ts_recv > target.ts_recv
                } else {
                    trade.trade_id > target.trade_id && trade.ts_recv >= target.ts_recv
                }
        }
        (Record::Gap(gap), Record::Trade(target)) if target.flags & Flags::HASHED_ID != 0 || gap.last_id == 0 => {
            gap.ts_start <= target.ts_event && target.ts_event <= gap.ts_end
        }
        (Record::Gap(gap), Record::Trade(target)) => gap.first_id <= target.trade_id && target.trade_id <= gap.last_id,
        // That it was filled is told later, by a record of its own.
        (Record::Gap(gap), Record::Gap(target)) if is_filled(target) && !is_filled(gap) => false,
        // What was dropped is declared together with what was missing beside it.
        (Record::Gap(gap), Record::Gap(target)) if target.last_id == 0 || gap.last_id == 0 => {
            gap.ts_start <= target.ts_start && target.ts_end <= gap.ts_end
        }
        (Record::Gap(gap), Record::Gap(target)) => gap.first_id <= target.first_id && target.last_id <= gap.last_id,
        (Record::Trade(_), Record::Gap(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn trade(id: u64) -> Record {
        let at = NOW + id * 1_000_000;
        Record::Trade(TradeMsg {
            ts_event: at,
            ts_recv: at,
            trade_id: id,
            instrument_id: 7,
            kind: KIND_TRADE_V1,
            ..bytemuck::Zeroable::zeroed()
        })
    }

    fn seam(standing: impl IntoIterator<Item = u64>) -> Seam {
        let mut seam = Seam::default();
        seam.begin(NOW);
        standing.into_iter().for_each(|id| seam.stands(&trade(id)));
        seam
    }

    #[test]
    fn the_stream_is_read_as_far_as_the_ring_was() {
        let mut seam = seam(1..=6);
        for id in 1..=5 {
            seam.bring(&trade(id));
            assert!(!seam.is_closed(), "{id}");
        }
        seam.bring(&trade(6));
        assert!(seam.is_closed());
        assert!(seam.was_brought(&trade(6)) && !seam.was_brought(&trade(7)));
        seam.forget();
        assert!(!seam.was_brought(&trade(6)));
    }

    #[test]
    fn what_was_dropped_on_the_way_is_not_waited_for() {
        let mut later = seam([5]);
        later.bring(&trade(6));
        assert!(later.is_closed());
        let mut declared = seam([5]);
        declared.bring(&gap(4, 5));
        assert!(declared.is_closed());
    }

    #[test]
    fn a_second_look_at_the_ring_waits_for_what_is_new_in_it_only() {
        let mut seam = seam(1..=3);
        (1..=5).for_each(|id| seam.bring(&trade(id)));
        seam.begin(NOW + 1);
        (2..=5).for_each(|id| seam.stands(&trade(id)));
        assert!(seam.is_closed());
        seam.stands(&trade(6));
        assert_eq!(seam.instruments().len(), 1);
    }

    #[test]
    fn late_trades_may_be_stored_in_front_of_younger_ones_or_behind() {
        let late = |id: u64| {
            let Record::Trade(trade) = trade(id) else { panic!("no trade") };
            Record::Trade(TradeMsg { flags: Flags::BACKFILLED, ..trade })
        };
        // In the ring 5 and 6 were not held for 3 and 4.
        for stored in [[late(3), late(4), trade(5), trade(6)], [trade(5), trade(6), late(3), late(4)]] {
            let mut seam = seam([1, 2, 5, 6]);
            [late(3), late(4)].iter().for_each(|record| seam.stands(record));
            for record in stored {
                assert!(!seam.is_closed(), "{stored:?}");
                seam.bring(&record);
            }
            assert!(seam.is_closed(), "{stored:?}");
        }
    }

    fn gap(first_id: u64, last_id: u64) -> Record {
        let (ts_start, ts_end) = (NOW + first_id * 1_000_000, NOW + last_id * 1_000_000);
        let kind = KIND_GAP_V1;
        Record::Gap(GapMsg {
            first_id,
            last_id,
            ts_start,
            ts_end,
            instrument_id: 7,
            kind,
            ..bytemuck::Zeroable::zeroed()
        })
    }

    #[test]
    fn a_gap_that_stands_last_is_waited_for() {
        for brings in [gap(6, 8), gap(4, 8)] {
            let mut seam = seam([5]);
            seam.stands(&gap(6, 8));
            seam.bring(&trade(5));
            assert!(!seam.is_closed());
            seam.bring(&trade(9));
            assert!(!seam.is_closed(), "gaps are stored on another subject");
            seam.bring(&brings);
            assert!(seam.is_closed());
        }
    }

    #[test]
    fn that_a_gap_was_filled_is_told_for_itself() {
        let Record::Gap(open) = gap(6, 8) else { panic!("no gap") };
        let filled = Record::Gap(GapMsg { flags: Flags::BACKFILLED, ..open });
        let mut seam = seam([]);
        seam.stands(&gap(6, 8));
        seam.stands(&filled);
        seam.bring(&gap(6, 8));
        assert!(!seam.is_closed() && !seam.was_brought(&filled));
        seam.bring(&filled);
        assert!(seam.is_closed() && seam.was_brought(&filled));
    }

    #[test]
    fn ids_that_count_anew_are_not_taken_for_later_ones() {
        let mut seam = Seam::default();
        seam.begin(NOW);
        // In the ring 1 is the first of a new count; the stream has the old one still.
        let Record::Trade(mut anew) = trade(1) else { panic!("no trade") };
        anew.ts_recv = NOW + 1_000_000_000;
        seam.stands(&Record::Trade(anew));
        (90..=100).for_each(|id| seam.bring(&trade(id)));
        assert!(!seam.is_closed());
        seam.bring(&Record::Trade(anew));
        assert!(seam.is_closed());
    }

    #[test]
    fn a_gap_behind_a_late_trade_does_not_declare_it() {
        let Record::Trade(trade) = trade(3) else { panic!("no trade") };
        let late = Record::Trade(TradeMsg { flags: Flags::BACKFILLED, ..trade });
        let mut seam = seam([]);
        seam.stands(&late);
        seam.bring(&gap(4, 8));
        assert!(!seam.is_closed());
        seam.bring(&gap(2, 8));
        assert!(seam.is_closed());
    }

    #[test]
    fn what_is_forgotten_of_the_stream_is_not_waited_for_again() {
        let mut seam = seam([1]);
        seam.bring(&trade(1));
        seam.bring(&gap(2, 3));
        let long_after = NOW + 100_000_000_000;
        seam.begin(long_after);
        assert!(seam.brought.is_empty(), "it would grow for ever");
        seam.stands(&trade(1));
        seam.stands(&gap(2, 3));
        assert!(seam.is_closed());
    }

    #[test]
    fn what_was_stored_before_reading_began_is_not_waited_for() {
        let mut known = seam([5]);
        known.was_stored(&trade(5));
        assert!(known.is_closed());
        let mut old = seam([5]);
        old.passed(NOW + SETTLED_NS, |_| true);
        assert!(!old.is_closed());
        old.passed(NOW + SETTLED_NS + 5_000_000, |instrument| instrument == 8);
        assert!(!old.is_closed(), "of another exchange");
        old.passed(NOW + SETTLED_NS + 5_000_000, |instrument| instrument == 7);
        assert!(old.is_closed());
    }

    #[test]
    fn of_long_ago_nothing_is_remembered() {
        let mut seam = seam([]);
        let Record::Trade(mut old) = trade(1) else { panic!("no trade") };
        old.ts_recv = NOW - 11_000_000_000;
        seam.bring(&Record::Trade(old));
        assert!(seam.brought.is_empty());
    }
}
