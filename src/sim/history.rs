//! What has traded at a venue so far: the source of every REST answer, and the oracle that tests compare with.
//!
//! It keeps the newest trades of each symbol within a bound; it neither sends nor generates.

use std::collections::VecDeque;
use std::sync::Arc;

use super::twin::Listing;
use crate::market::{Decimal, Side, TradeMsg};

/// A trade as the venue issued it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimTrade {
    /// The venue's id.
    pub id: u64,
    /// The price as a decimal text. Trailing zeros may differ from the wire: compare as decimals.
    pub price: String,
    /// The size, likewise.
    pub size: String,
    /// The aggressor side.
    pub side: Side,
    /// The venue's time of the trade as it stands on the wire, nanoseconds since the Unix epoch.
    pub ts_event: u64,
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
    trades: VecDeque<TradeMsg>,
    /// How many of `trades` happened before the tape started.
    before_start: usize,
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
        self.push(symbol, trade);
        if let Some(past) = self.symbols.get_mut(symbol) {
            past.before_start = past.trades.len();
        }
    }

    /// Takes the next trade of a symbol and forgets the oldest beyond the bound.
    pub(super) fn push(&mut self, symbol: usize, trade: TradeMsg) {
        let Some(past) = self.symbols.get_mut(symbol) else { return };
        if past.trades.len() == self.keep {
            past.trades.pop_front();
            past.before_start = past.before_start.saturating_sub(1);
        }
        past.trades.push_back(trade);
    }

    /// The latest trade of a symbol.
    pub(super) fn latest(&self, symbol: usize) -> Option<&TradeMsg> {
        self.symbols.get(symbol).and_then(|past| past.trades.back())
    }

    /// All kept trades of a symbol, oldest first.
    pub(super) fn trades(&self, symbol: usize) -> impl DoubleEndedIterator<Item = &TradeMsg> + ExactSizeIterator {
        static NONE: VecDeque<TradeMsg> = VecDeque::new();
        self.symbols.get(symbol).map_or(&NONE, |past| &past.trades).iter()
    }

    /// The kept trades of a symbol whose id is `from` or above, oldest first.
    pub(super) fn trades_from(&self, symbol: usize, from: u64) -> impl Iterator<Item = &TradeMsg> {
        let start =
            self.symbols.get(symbol).map_or(0, |past| past.trades.partition_point(|trade| trade.trade_id < from));
        self.trades(symbol).skip(start)
    }

    /// The kept trades of a symbol whose id is below `end`, newest first.
    pub(super) fn trades_below(&self, symbol: usize, end: u64) -> impl Iterator<Item = &TradeMsg> {
        let past = self.symbols.get(symbol);
        let end = past.map_or(0, |past| past.trades.partition_point(|trade| trade.trade_id < end));
        self.trades(symbol).take(end).rev()
    }

    /// What the tape issued of a symbol, oldest first.
    pub(super) fn issued(&self, symbol: usize) -> Vec<SimTrade> {
        let before = self.symbols.get(symbol).map_or(0, |past| past.before_start);
        self.trades(symbol).skip(before).map(SimTrade::from).collect()
    }
}

impl From<&TradeMsg> for SimTrade {
    fn from(trade: &TradeMsg) -> Self {
        Self {
            id: trade.trade_id,
            price: Decimal::from_price(trade.price, trade.price_scale).to_string(),
            size: Decimal::from_size(trade.size, trade.size_scale).to_string(),
            side: trade.side(),
            ts_event: trade.ts_event,
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
            book.push(0, trade(id));
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
            book.push(0, trade(id));
        }
        assert_eq!(ids(book.trades(0)), [2, 3, 4, 5]);
        let issued: Vec<_> = book.issued(0).iter().map(|trade| trade.id).collect();
        assert_eq!(issued, [3, 4, 5]);
        assert_eq!(book.latest(0).map(|trade| trade.trade_id), Some(5));
    }
}
