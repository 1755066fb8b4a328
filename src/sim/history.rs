//! What has traded at a venue so far: the source of every REST answer, and the oracle that tests compare with.
//!
//! It keeps the newest trades of each symbol within a bound; it neither sends nor generates.

use std::collections::VecDeque;
use std::sync::Arc;

use super::twin::{Listing, Row};
use crate::market::{Decimal, Side, TradeMsg};

/// A trade as the venue issued it: a single fill in [`super::Sim::history`], a row in [`super::Sim::rows`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimTrade {
    /// The venue's id; of a row that of its last fill.
    pub id: u64,
    /// The price as a decimal text. Trailing zeros may differ from the wire: compare as decimals.
    pub price: String,
    /// The size, likewise; of a row the sum.
    pub size: String,
    /// The aggressor side.
    pub side: Side,
    /// The venue's time of the trade as it stands on the wire, nanoseconds since the Unix epoch.
    pub ts_event: u64,
    /// The id of the row that tells it on the socket: its own, unless the venue sums up fills.
    pub row: u64,
    /// How many fills it stands for: 1 of a single fill. A row tells the ids `id - fills + 1 ..= id`.
    pub fills: u32,
}

/// The trades of a venue.
#[derive(Debug)]
pub(super) struct Book {
    listings: Arc<[Listing]>,
    symbols: Vec<Past>,
    keep: usize,
}

/// The trades of a symbol, oldest first.
#[derive(Debug, Default)]
struct Past {
    trades: VecDeque<Kept>,
    /// How many of `trades` happened before the tape started.
    before_start: usize,
    /// How many of `trades` happened before the ids began again: REST knows nothing of them.
    before_restart: usize,
}

/// A fill, and its place in its row.
#[derive(Clone, Copy, Debug)]
struct Kept {
    trade: TradeMsg,
    /// Fills of its row before it.
    ahead: u8,
    /// Fills of its row behind it.
    behind: u8,
}

impl Book {
    pub(super) fn new(listings: Arc<[Listing]>, keep: usize) -> Self {
        let symbols = listings.iter().map(|_| Past::default()).collect();
        Self { listings, symbols, keep: keep.max(1) }
    }

    pub(super) fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// Index and listing of a symbol in the venue's spelling.
    pub(super) fn find(&self, venue_symbol: &str) -> Option<(usize, &Listing)> {
        self.listings.iter().enumerate().find(|(_, listing)| listing.venue_symbol == venue_symbol)
    }

    /// Takes a trade that happened before the tape started.
    pub(super) fn push_backlog(&mut self, symbol: usize, trade: TradeMsg) {
        self.push(symbol, &[trade]);
        if let Some(past) = self.symbols.get_mut(symbol) {
            past.before_start = past.trades.len();
        }
    }

    /// Takes the fills of the next row of a symbol and forgets the oldest beyond the bound.
    pub(super) fn push(&mut self, symbol: usize, fills: &[TradeMsg]) {
        let Some(past) = self.symbols.get_mut(symbol) else { return };
        let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        for (place, trade) in fills.iter().enumerate() {
            if past.trades.len() == self.keep {
                past.trades.pop_front();
                past.before_start = past.before_start.saturating_sub(1);
                past.before_restart = past.before_restart.saturating_sub(1);
            }
            let behind = small(fills.len() - 1 - place);
            past.trades.push_back(Kept { trade: *trade, ahead: small(place), behind });
        }
    }

    /// The latest trade of a symbol.
    pub(super) fn latest(&self, symbol: usize) -> Option<&TradeMsg> {
        self.trades(symbol).next_back()
    }

    /// The latest row of a symbol, where all its fills are kept.
    pub(super) fn latest_row(&self, symbol: usize) -> Option<Row> {
        self.last_rows(symbol, 1).pop()
    }

    /// The last rows of a symbol, oldest first: up to `count`, none from before its ids began again.
    pub(super) fn last_rows(&self, symbol: usize, count: usize) -> Vec<Row> {
        let Some(past) = self.symbols.get(symbol) else { return Vec::new() };
        let newest_first = (past.before_restart..past.trades.len()).rev().filter_map(|last| past.row(last));
        let mut rows: Vec<Row> = newest_first.take(count).collect();
        rows.reverse();
        rows
    }

    /// The ids of a symbol begin again: they order its trades only from here on.
    pub(super) fn restart(&mut self, symbol: usize) {
        if let Some(past) = self.symbols.get_mut(symbol) {
            past.before_restart = past.trades.len();
        }
    }

    /// All kept trades of a symbol since its ids began, oldest first.
    pub(super) fn trades(&self, symbol: usize) -> impl DoubleEndedIterator<Item = &TradeMsg> + ExactSizeIterator {
        self.kept(symbol).map(|kept| &kept.trade)
    }

    fn kept(&self, symbol: usize) -> std::collections::vec_deque::Iter<'_, Kept> {
        static NONE: VecDeque<Kept> = VecDeque::new();
        self.symbols.get(symbol).map_or_else(|| NONE.iter(), |past| past.trades.range(past.before_restart..))
    }

    /// How many trades since the ids began have an id below this.
    fn below(&self, symbol: usize, id: u64) -> usize {
        let Some(past) = self.symbols.get(symbol) else { return 0 };
        // Only ids within one counting are in order.
        let (mut low, mut high) = (past.before_restart, past.trades.len());
        while low < high {
            let middle = low.midpoint(high);
            match past.trades.get(middle) {
                Some(kept) if kept.trade.trade_id < id => low = middle + 1,
                _ => high = middle,
            }
        }
        low - past.before_restart
    }

    /// The kept trades of a symbol whose id is `from` or above, oldest first.
    pub(super) fn trades_from(&self, symbol: usize, from: u64) -> impl Iterator<Item = &TradeMsg> {
        self.trades(symbol).skip(self.below(symbol, from))
    }

    /// The kept trades of a symbol whose id is below `end`, newest first.
    pub(super) fn trades_below(&self, symbol: usize, end: u64) -> impl Iterator<Item = &TradeMsg> {
        self.trades(symbol).take(self.below(symbol, end)).rev()
    }

    /// What the tape issued of a symbol, single fills, oldest first.
    pub(super) fn issued(&self, symbol: usize) -> Vec<SimTrade> {
        let Some(past) = self.symbols.get(symbol) else { return Vec::new() };
        let issued = past.trades.iter().skip(past.before_start);
        let fill = |kept: &Kept| SimTrade {
            row: kept.trade.trade_id + u64::from(kept.behind),
            ..SimTrade::from(&Row { trade: kept.trade, fills: 1 })
        };
        issued.map(fill).collect()
    }

    /// What the tape issued of a symbol, in rows, oldest first.
    pub(super) fn issued_rows(&self, symbol: usize) -> Vec<SimTrade> {
        let Some(past) = self.symbols.get(symbol) else { return Vec::new() };
        let rows = (past.before_start..past.trades.len()).filter_map(|last| past.row(last));
        rows.map(|row| SimTrade::from(&row)).collect()
    }
}

impl Past {
    /// The row whose last fill is at this place. `None` where that fill is not the last, or the first is forgotten.
    fn row(&self, last: usize) -> Option<Row> {
        let kept = self.trades.get(last).filter(|kept| kept.behind == 0)?;
        let first = last.checked_sub(usize::from(kept.ahead))?;
        let size = self.trades.range(first..=last).fold(0, |sum: u64, kept| sum.saturating_add(kept.trade.size));
        Some(Row { trade: TradeMsg { size, ..kept.trade }, fills: u32::from(kept.ahead) + 1 })
    }
}

impl From<&Row> for SimTrade {
    fn from(row: &Row) -> Self {
        let trade = &row.trade;
        Self {
            id: trade.trade_id,
            price: Decimal::from_price(trade.price, trade.price_scale).to_string(),
            size: Decimal::from_size(trade.size, trade.size_scale).to_string(),
            side: trade.side(),
            ts_event: trade.ts_event,
            row: trade.trade_id,
            fills: row.fills,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    fn trade(id: u64) -> TradeMsg {
        TradeMsg { trade_id: id, ..TradeMsg::zeroed() }
    }

    fn ids<'a>(trades: impl Iterator<Item = &'a TradeMsg>) -> Vec<u64> {
        trades.map(|trade| trade.trade_id).collect()
    }

    fn book(keep: usize) -> Book {
        Book::new(Arc::from(vec![Listing::default()]), keep)
    }

    #[test]
    fn pages_are_cut_by_id_even_where_ids_jump() {
        let mut book = book(10);
        for id in [5, 6, 9, 10] {
            book.push(0, &[trade(id)]);
        }
        assert_eq!(ids(book.trades_from(0, 6)), [6, 9, 10]);
        assert_eq!(ids(book.trades_from(0, 7)), [9, 10]);
        assert_eq!(ids(book.trades_below(0, 9)), [6, 5]);
        assert_eq!(ids(book.trades_below(0, u64::MAX)), [10, 9, 6, 5]);
        assert_eq!(ids(book.trades_from(1, 0)), [] as [u64; 0], "a symbol that is not there has no trades");
    }

    #[test]
    fn the_bound_forgets_the_oldest_and_the_backlog_is_not_issued() {
        let mut book = book(4);
        book.push_backlog(0, trade(1));
        book.push_backlog(0, trade(2));
        for id in 3..=5 {
            book.push(0, &[trade(id)]);
        }
        assert_eq!(ids(book.trades(0)), [2, 3, 4, 5]);
        let issued: Vec<_> = book.issued(0).iter().map(|trade| trade.id).collect();
        assert_eq!(issued, [3, 4, 5]);
        assert_eq!(book.latest(0).map(|trade| trade.trade_id), Some(5));
    }

    #[test]
    fn after_a_restart_pages_know_the_new_ids_only_and_the_oracle_knows_all() {
        let mut book = book(10);
        [7, 8].into_iter().for_each(|id| book.push(0, &[trade(id)]));
        book.restart(0);
        assert_eq!(book.latest(0), None);
        (1..=3).for_each(|id| book.push(0, &[trade(id)]));
        assert_eq!(ids(book.trades_from(0, 2)), [2, 3]);
        assert_eq!(ids(book.trades_below(0, 8)), [3, 2, 1]);
        assert_eq!(book.last_rows(0, 9).len(), 3);
        assert_eq!(book.issued(0).iter().map(|trade| trade.id).collect::<Vec<_>>(), [7, 8, 1, 2, 3]);
    }

    #[test]
    fn a_row_is_the_sum_of_its_fills_and_is_left_out_once_the_first_is_forgotten() {
        let mut book = book(4);
        let fill = |id| TradeMsg { size: id, ..trade(id) };
        book.push(0, &[fill(1), fill(2), fill(3)]);
        book.push(0, &[fill(4)]);
        let told = |book: &Book| -> Vec<(u64, String, u32)> {
            book.issued_rows(0).into_iter().map(|row| (row.id, row.size, row.fills)).collect()
        };
        assert_eq!(told(&book), [(3, "6".to_owned(), 3), (4, "4".to_owned(), 1)]);
        assert_eq!(book.issued(0).iter().map(|fill| fill.row).collect::<Vec<_>>(), [3, 3, 3, 4]);
        book.push(0, &[fill(5), fill(6)]);
        assert_eq!(told(&book), [(4, "4".to_owned(), 1), (6, "11".to_owned(), 2)]);
        assert_eq!(book.latest_row(0).map(|row| (row.trade.trade_id, row.fills)), Some((6, 2)));
    }
}
