//! Keeps a symbol's records from the broker while a hole in front of them is being repaired, so that the stream has
//! them in order. Bounded in time and bytes: past either bound the gap is declared and what waited goes on. Pure.
//!
//! It sees nothing but records: a gap opens a hole, trades inside it are its filling, the gap declared as filled closes
//! it. The ring is not concerned: there live trades never wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::market::trade::RECORD_BYTES;
use crate::market::{Flags, GapMsg, GapReason, Record, TradeMsg};

/// Records on their way to the broker, each with its route.
pub type Out = Vec<(u32, Record)>;

/// What a mender has seen, as plain totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MendStats {
    /// Records that wait now, fillings included.
    pub waiting: u64,
    /// Their bytes.
    pub bytes: usize,
    /// Holes that were filled before anything behind them was let go.
    pub mended: u64,
    /// Holes that were declared because their time, or the bound in bytes, was over.
    pub overdue: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Mender {
    hold: Duration,
    bound: usize,
    /// By route: whether its venue has a history that could fill a hole.
    repairable: Vec<bool>,
    /// By route: what waits behind a hole.
    queues: Vec<VecDeque<Item>>,
    /// By route: the highest id that a hole in its queue misses. Most trades are above it.
    tops: Vec<u64>,
    /// Routes that wait.
    open: usize,
    stats: MendStats,
}

#[derive(Debug)]
enum Item {
    Record(Record),
    Hole(Hole),
}

#[derive(Debug)]
struct Hole {
    gap: GapMsg,
    /// Ascending by id.
    filling: Vec<TradeMsg>,
    whole: bool,
    until: Instant,
}

impl Mender {
    /// Nothing waits longer than `hold`; all that waits has at most `bound` bytes. `repairable` says of each route
    /// whether a hole in it can be repaired at all.
    #[must_use]
    pub fn new(hold: Duration, bound: usize, repairable: Vec<bool>) -> Self {
        let queues = repairable.iter().map(|_| VecDeque::new()).collect();
        let tops = vec![0; repairable.len()];
        Self { hold, bound, repairable, queues, tops, open: 0, stats: MendStats::default() }
    }

    /// Totals so far.
    #[must_use]
    pub const fn stats(&self) -> MendStats {
        self.stats
    }

    /// Whether a record may go to the broker as it is. The answer for nearly every trade.
    #[inline]
    #[must_use]
    pub fn passes(&self, route: u32, record: &Record) -> bool {
        (self.open == 0 || self.queues.get(route as usize).is_none_or(VecDeque::is_empty))
            && matches!(record, Record::Trade(_))
    }

    /// Takes a record; what may go on goes to `out`.
    pub fn take(&mut self, now: Instant, route: u32, record: Record, out: &mut Out) {
        let index = route as usize;
        let waits = self.queues.get(index).is_some_and(|queue| !queue.is_empty());
        match record {
            Record::Gap(gap) if self.opens(index, &gap) => {
                let until = now + self.hold;
                self.push(index, Item::Hole(Hole { gap, filling: Vec::new(), whole: false, until }));
                self.enforce(out);
            }
            Record::Gap(gap) if gap.flags & Flags::BACKFILLED != 0 => {
                if self.close(index, &gap) {
                    self.let_go(route, out);
                } else {
                    // Of a gap that was declared: it is declared filled.
                    out.push((route, record));
                }
            }
            Record::Trade(trade) if waits && self.fills(index, &trade) => self.enforce(out),
            // The filling of a gap that was declared: what waits is younger than it.
            Record::Trade(trade) if trade.flag_set().has(Flags::BACKFILLED) => out.push((route, record)),
            _ if waits => {
                self.push(index, Item::Record(record));
                self.enforce(out);
            }
            _ => out.push((route, record)),
        }
    }

    /// A repair has come to its end and something is still missing: there is nothing to wait for.
    pub fn give_up(&mut self, now: Instant, route: u32, gap: &GapMsg, out: &mut Out) {
        self.wait_no_longer(now, route, |hole| same(&hole.gap, gap), out);
    }

    /// Nobody repairs the holes of a route any more.
    pub fn give_up_all(&mut self, now: Instant, route: u32, out: &mut Out) {
        self.wait_no_longer(now, route, |_| true, out);
    }

    fn wait_no_longer(&mut self, now: Instant, route: u32, of: impl Fn(&Hole) -> bool, out: &mut Out) {
        for item in self.queues.get_mut(route as usize).into_iter().flatten() {
            if let Item::Hole(hole) = item
                && of(hole)
            {
                hole.until = now;
            }
        }
        self.poll(now, out);
    }

    /// Declares what was waited for in vain.
    pub fn poll(&mut self, now: Instant, out: &mut Out) {
        if self.open == 0 {
            return;
        }
        for index in 0..self.queues.len() {
            while self.front(index).is_some_and(|hole| hole.until <= now) {
                self.declare(index, out);
            }
        }
    }

    /// Until when the first of all holes is waited for.
    #[cfg(test)]
    fn poll_at(&self) -> Option<Instant> {
        (0..self.queues.len()).filter_map(|index| self.front(index).map(|hole| hole.until)).min()
    }

    /// Lets everything go, and declares every hole: the daemon ends.
    pub fn finish(&mut self, out: &mut Out) {
        for index in 0..self.queues.len() {
            while self.front(index).is_some() {
                self.declare(index, out);
            }
        }
    }

    /// Whether a gap is one that the venue's history may fill.
    fn opens(&self, index: usize, gap: &GapMsg) -> bool {
        let cause = [GapReason::VenueDisconnect, GapReason::Stall, GapReason::UndecodableFrame];
        gap.flags == 0
            && gap.is_exact()
            && cause.iter().any(|reason| *reason as u8 == gap.reason)
            && self.repairable.get(index).copied().unwrap_or(false)
    }

    fn front(&self, index: usize) -> Option<&Hole> {
        match self.queues.get(index)?.front()? {
            Item::Hole(hole) => Some(hole),
            Item::Record(_) => None,
        }
    }

    fn push(&mut self, index: usize, item: Item) {
        let (Some(queue), Some(top)) = (self.queues.get_mut(index), self.tops.get_mut(index)) else { return };
        if queue.is_empty() {
            self.open += 1;
            *top = 0;
        }
        if let Item::Hole(hole) = &item {
            *top = hole.gap.last_id.max(*top);
        }
        self.stats.waiting += 1;
        self.stats.bytes += size_of::<Item>();
        queue.push_back(item);
    }

    /// Takes a trade as the filling of a hole that waits.
    fn fills(&mut self, index: usize, trade: &TradeMsg) -> bool {
        let (id, live) = (trade.trade_id, !trade.flag_set().has(Flags::BACKFILLED));
        let (Some(queue), Some(top)) = (self.queues.get_mut(index), self.tops.get(index)) else { return false };
        if id > *top {
            return false;
        }
        let inside = |item: &Item| matches!(item, Item::Hole(h) if (h.gap.first_id..=h.gap.last_id).contains(&id));
        // Behind a loss without ids the venue may count anew: an id from there is another trade than the one in front.
        let unknown = |item: &Item| matches!(item, Item::Record(Record::Gap(gap)) if !gap.is_exact());
        let from = if live { queue.iter().rposition(unknown).unwrap_or(0) } else { 0 };
        let Some(Item::Hole(hole)) = queue.iter_mut().skip(from).find(|item| inside(item)) else { return false };
        let place = hole.filling.partition_point(|known| known.trade_id < id);
        hole.filling.insert(place, *trade);
        self.stats.waiting += 1;
        self.stats.bytes += RECORD_BYTES;
        true
    }

    fn close(&mut self, index: usize, gap: &GapMsg) -> bool {
        let of = |item: &&mut Item| matches!(item, Item::Hole(hole) if same(&hole.gap, gap));
        match self.queues.get_mut(index).and_then(|queue| queue.iter_mut().find(of)) {
            Some(Item::Hole(hole)) => {
                hole.whole = true;
                true
            }
            _ => false,
        }
    }

    /// Lets go what stands in front of the first hole that is not whole.
    fn let_go(&mut self, route: u32, out: &mut Out) {
        let mut mended = false;
        while let Some(item) = self.pop(route as usize) {
            match item {
                Item::Record(Record::Trade(mut trade)) => {
                    if std::mem::take(&mut mended) {
                        trade.flags &= !Flags::AFTER_GAP;
                    }
                    out.push((route, Record::Trade(trade)));
                }
                Item::Record(record) => out.push((route, record)),
                Item::Hole(hole) if hole.whole => {
                    self.stats.mended += 1;
                    mended = true;
                    out.extend(hole.filling.into_iter().map(|trade| (route, Record::Trade(trade))));
                }
                Item::Hole(hole) => {
                    self.put_back(route as usize, hole);
                    return;
                }
            }
        }
    }

    /// Declares the hole in front, with what has been found of it, and lets go what stands behind it.
    fn declare(&mut self, index: usize, out: &mut Out) {
        let (Some(Item::Hole(hole)), Ok(route)) = (self.pop(index), u32::try_from(index)) else { return };
        self.stats.overdue += 1;
        let Hole { mut gap, filling, .. } = hole;
        let begin = filling.iter().zip(gap.first_id..).take_while(|(trade, id)| trade.trade_id == *id).count();
        let trade = |trade: &TradeMsg| (route, Record::Trade(*trade));
        let (before, behind) = filling.split_at(begin);
        out.extend(before.iter().map(trade));
        if let Some(last) = before.last() {
            gap.first_id = last.trade_id.saturating_add(1);
            // A time that the receive time stands in for is later than all that the gap knows of.
            gap.ts_start = last.ts_event.min(gap.ts_end);
        }
        // What was found of the rest stands behind its gap, as everything else that comes late.
        gap.missing = (gap.last_id - gap.first_id).saturating_add(1);
        out.push((route, Record::Gap(gap)));
        out.extend(behind.iter().map(trade));
        if let Some(Item::Record(Record::Trade(next))) = self.queues.get_mut(index).and_then(VecDeque::front_mut) {
            next.flags |= Flags::AFTER_GAP;
        }
        self.let_go(route, out);
    }

    fn pop(&mut self, index: usize) -> Option<Item> {
        let queue = self.queues.get_mut(index)?;
        let item = queue.pop_front()?;
        self.open -= usize::from(queue.is_empty());
        let (records, bytes) = weight(&item);
        self.stats.waiting -= records;
        self.stats.bytes -= bytes;
        Some(item)
    }

    fn put_back(&mut self, index: usize, hole: Hole) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        self.open += usize::from(queue.is_empty());
        let item = Item::Hole(hole);
        let (records, bytes) = weight(&item);
        self.stats.waiting += records;
        self.stats.bytes += bytes;
        queue.push_front(item);
    }

    /// Holds the bound in bytes: the hole that has waited longest is declared first.
    fn enforce(&mut self, out: &mut Out) {
        while self.stats.bytes > self.bound {
            let of = |index: &usize| self.front(*index).map(|hole| hole.until);
            let Some(index) = (0..self.queues.len()).filter(|index| of(index).is_some()).min_by_key(of) else { return };
            self.declare(index, out);
        }
    }
}

/// Records and bytes of an item, as the bound counts them.
fn weight(item: &Item) -> (u64, usize) {
    match item {
        Item::Record(_) => (1, size_of::<Item>()),
        Item::Hole(hole) => (1 + hole.filling.len() as u64, size_of::<Item>() + hole.filling.len() * RECORD_BYTES),
    }
}

/// Whether two gaps speak of the same trades.
const fn same(a: &GapMsg, b: &GapMsg) -> bool {
    a.first_id == b.first_id && a.last_id == b.last_id
}

#[cfg(test)]
mod tests;
