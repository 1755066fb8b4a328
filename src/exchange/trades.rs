//! The batch that a decoder fills: which symbols a connection carries, and the trades of a frame.

use std::collections::HashMap;

use super::{DecodeError, Exchange};
use crate::market::instrument::{Instrument, instrument_id};
use crate::market::trade::{KIND_TRADE_V1, TradeMsg};

/// One decoded trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which symbol: the number that the table's maker gave it (the index in the universe), or in an open table the
    /// order of first appearance.
    pub route: u32,
    /// The trade; `ts_recv` is still 0.
    pub msg: TradeMsg,
    /// How many ids it stands for: the venue sent one row for that many fills, and `msg.trade_id` is the last of them.
    pub span: u32,
}

/// What a decoder writes to. Reused from frame to frame: once it has grown, nothing is allocated a trade.
#[derive(Debug, Default)]
pub struct Trades {
    rows: Vec<Row>,
    table: Table,
}

#[derive(Debug, Default)]
struct Table {
    /// Venue symbol to its place in `entries`. `BTreeMap`-free: looked up once a trade.
    places: HashMap<Box<str>, u32, xxhash_rust::xxh3::Xxh3DefaultBuilder>,
    entries: Vec<Entry>,
    /// The place of the last look-up: trades of one symbol come in runs.
    last: u32,
    /// Set in an open table: symbols join as they appear.
    open: Option<&'static dyn Exchange>,
}

#[derive(Debug)]
struct Entry {
    venue_symbol: Box<str>,
    canonical: Box<str>,
    route: u32,
    instrument_id: u32,
}

impl Trades {
    /// A batch that takes only these instruments, each with the route that its rows will carry.
    pub fn of<'a>(instruments: impl IntoIterator<Item = (u32, &'a Instrument)>) -> Self {
        let mut this = Self::default();
        for (route, instrument) in instruments {
            this.table.insert(&instrument.venue_symbol, instrument.symbol.as_str(), route, instrument.id);
        }
        this
    }

    /// A batch that takes every symbol of a venue, as `decode` needs it; routes count up from 0.
    #[must_use]
    pub fn open(exchange: &'static dyn Exchange) -> Self {
        Self { rows: Vec::new(), table: Table { open: Some(exchange), ..Table::default() } }
    }

    /// Takes a trade: fills in `instrument_id` and `kind`.
    ///
    /// # Errors
    /// [`DecodeError::UnknownSymbol`] when the table does not have the symbol.
    #[inline]
    pub fn push(&mut self, venue_symbol: &str, trade: TradeMsg) -> Result<(), DecodeError> {
        self.push_fills(venue_symbol, trade, 1)
    }

    /// As [`Self::push`], for a row that stands for `span` fills whose last id is the trade's.
    ///
    /// # Errors
    /// As [`Self::push`].
    #[inline]
    pub fn push_fills(&mut self, venue_symbol: &str, trade: TradeMsg, span: u32) -> Result<(), DecodeError> {
        let entry = self.table.find(venue_symbol)?;
        let msg = TradeMsg { instrument_id: entry.instrument_id, kind: KIND_TRADE_V1, ..trade };
        let route = entry.route;
        self.rows.push(Row { route, msg, span: span.max(1) });
        Ok(())
    }

    /// The route of a venue symbol, for events that speak of one without a trade.
    #[must_use]
    pub fn route(&mut self, venue_symbol: &str) -> Option<u32> {
        self.table.find(venue_symbol).ok().map(|entry| entry.route)
    }

    /// The trades since the last [`Self::clear`].
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// As [`Self::rows`], to fill in `ts_recv`.
    pub fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    /// Forgets the trades and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Canonical symbol and venue symbol behind a route.
    #[must_use]
    pub fn symbols(&self, route: u32) -> Option<(&str, &str)> {
        let entry = self.table.entries.iter().find(|entry| entry.route == route)?;
        Some((&entry.canonical, &entry.venue_symbol))
    }
}

impl Table {
    fn insert(&mut self, venue_symbol: &str, canonical: &str, route: u32, instrument_id: u32) -> u32 {
        let place = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let entry = Entry { venue_symbol: venue_symbol.into(), canonical: canonical.into(), route, instrument_id };
        self.entries.push(entry);
        self.places.insert(venue_symbol.into(), place);
        place
    }

    #[inline]
    fn find(&mut self, venue_symbol: &str) -> Result<&Entry, DecodeError> {
        let hit = self.entries.get(self.last as usize).is_some_and(|entry| &*entry.venue_symbol == venue_symbol);
        if !hit {
            self.last = match self.places.get(venue_symbol) {
                Some(place) => *place,
                None => self.join(venue_symbol)?,
            };
        }
        self.entries.get(self.last as usize).ok_or_else(|| unknown(venue_symbol))
    }

    #[cold]
    fn join(&mut self, venue_symbol: &str) -> Result<u32, DecodeError> {
        let exchange = self.open.ok_or_else(|| unknown(venue_symbol))?;
        let canonical = exchange.canonical(venue_symbol).map_err(|_| unknown(venue_symbol))?;
        let route = u32::try_from(self.entries.len()).map_err(|_| unknown(venue_symbol))?;
        let id = instrument_id(exchange.profile().name, canonical.as_str());
        Ok(self.insert(venue_symbol, canonical.as_str(), route, id))
    }
}

fn unknown(venue_symbol: &str) -> DecodeError {
    DecodeError::UnknownSymbol { symbol: venue_symbol.chars().take(64).collect() }
}
