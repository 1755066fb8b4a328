//! The payloads of the last ids: what tells a double from a conflict. Bounded; what is older is forgotten.

use std::collections::{HashMap, VecDeque};

use crate::market::{Decimal, Side, TradeMsg};

/// Ids of one instrument whose payloads are remembered.
pub const RECENT_MAX: usize = 4_096;

/// What two records of one trade have in common, however they came: receipt time, origin and neighbours may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    price: i64,
    size: u64,
    price_scale: u8,
    size_scale: u8,
    side: Side,
}

impl Payload {
    pub(super) const fn of(trade: &TradeMsg) -> Self {
        let TradeMsg { price, size, price_scale, size_scale, .. } = *trade;
        Self { price, size, price_scale, size_scale, side: trade.side() }
    }
}

impl std::fmt::Display for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let price = Decimal::from_price(self.price, self.price_scale);
        let size = Decimal::from_size(self.size, self.size_scale);
        write!(f, "{price} x {size} {}", self.side.as_str())
    }
}

/// Ids in the order of their arrival, with payload and place.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<u64>,
    by_id: HashMap<u64, (Payload, u64)>,
    /// Whether anything has been forgotten.
    pub(super) forgot: bool,
}

impl Recent {
    /// The payload of an id and the place where it stood.
    pub(super) fn get(&self, id: u64) -> Option<(Payload, u64)> {
        self.by_id.get(&id).copied()
    }

    /// Remembers an id that is not remembered yet.
    pub(super) fn insert(&mut self, at: u64, trade: &TradeMsg) {
        if self.order.len() == RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
            self.forgot = true;
        }
        self.order.push_back(trade.trade_id);
        self.by_id.insert(trade.trade_id, (Payload::of(trade), at));
    }
}
