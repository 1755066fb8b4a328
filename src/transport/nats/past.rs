//! What the stream tells of an instrument beyond its last message: which trades of the recent past are there, and which
//! declared gaps are still open.
//!
//! A subject's last message is where the next run goes on, but for one case: trades that came late stand behind younger
//! ones. Then the newest trade, and what is still missing, show only in what lies before it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::consumer::{Filter, Item, Since, Tail as Reader, TailError};
use super::window::Tail;
use crate::config::settings::Nats;
use crate::market::{Flags, GapMsg, Record, SubjectKind, TradeMsg, Universe};

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
}

impl Past {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Trade(trade) => {
                let id = trade.trade_id;
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

/// The instruments whose last messages do not tell enough, with the time from which they have to be read, nanoseconds
/// since the Unix epoch by the server's clock, and the sequence up to which.
pub(super) struct Unclear {
    pub(super) routes: Vec<u32>,
    since: u64,
    until: u64,
}

impl Unclear {
    /// Judges the last messages; `horizon` is how far back anything can still be repaired. Only the server's clock
    /// counts: a host whose own is an hour off has to read the same.
    pub(super) fn of(tails: &[Tail], horizon: Duration) -> Option<Self> {
        let horizon = u64::try_from(horizon.as_nanos()).unwrap_or(u64::MAX);
        let newest = tails.iter().filter_map(|tail| tail.last).map(|last| last.stored_ns).max().unwrap_or(0);
        let mut this = Self { routes: Vec::new(), since: u64::MAX, until: 0 };
        for tail in tails {
            let Some(last) = tail.last else { continue };
            match Record::from_bytes(&last.record) {
                Ok(Record::Trade(trade)) if trade.flag_set().has(Flags::BACKFILLED) => {}
                Ok(Record::Gap(gap)) if gap.is_exact() && last.stored_ns.saturating_add(horizon) >= newest => {}
                _ => continue,
            }
            this.since = this.since.min(last.stored_ns.saturating_sub(horizon));
            this.routes.push(tail.key.route);
        }
        this.routes.sort_unstable();
        this.routes.dedup();
        let ours = tails.iter().filter(|tail| this.routes.contains(&tail.key.route));
        this.until = ours.filter_map(|tail| tail.last).map(|last| last.seq).max().unwrap_or(0);
        (!this.routes.is_empty()).then_some(this)
    }
}

/// Reads the recent past of these instruments.
pub(super) async fn read(
    settings: &Nats,
    universe: &Universe,
    unclear: &Unclear,
) -> Result<BTreeMap<u32, Past>, TailError> {
    let mut filter = Filter::default();
    let mut names = BTreeMap::new();
    for route in &unclear.routes {
        let Some(instrument) = universe.get(*route as usize) else { continue };
        names.insert((instrument.exchange.to_owned(), instrument.symbol.to_string()), *route);
        filter.exchanges.push(instrument.exchange.to_owned());
        filter.symbols.push(instrument.symbol.to_string());
    }
    for list in [&mut filter.exchanges, &mut filter.symbols] {
        list.sort_unstable();
        list.dedup();
    }
    let mut reader = Reader::open(settings, filter, Since::Time(unclear.since)).await?;
    let mut pasts: BTreeMap<u32, Past> = BTreeMap::new();
    loop {
        let Item { exchange, symbol, sequence, record } = reader.next().await?;
        if let Some(route) = names.get(&(exchange, symbol)) {
            pasts.entry(*route).or_default().take(&record);
        }
        if sequence >= unclear.until {
            return Ok(pasts);
        }
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
                    let after = TradeMsg {
                        trade_id: gap.last_id,
                        ts_event: gap.ts_end,
                        instrument_id: gap.instrument_id,
                        ..bytemuck::Zeroable::zeroed()
                    };
                    past.take(&Record::Trade(after));
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
        assert_eq!((unclear.routes, unclear.until, unclear.since), (vec![1], 9, NOW - 7 - 900_000_000_000));
        let open =
            [tail(Key::trades(3), 20, NOW, &trade(5, 0)), tail(Key::gaps(3), 7, NOW - 5, &gap(1, 2, 0, long_ago))];
        let unclear = Unclear::of(&open, HORIZON).unwrap();
        assert_eq!((unclear.routes, unclear.until), (vec![3], 20), "whatever the venue's clock said");
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
