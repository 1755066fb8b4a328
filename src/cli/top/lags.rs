//! Lags: how long trades were on their way. Pure.

use super::snapshot::Figures;
use crate::market::{Flags, TradeMsg};

/// Lags of live trades: of the running interval, and of the last one that had any.
#[derive(Debug, Default)]
pub(super) struct Lags {
    running: Lag,
    shown: Lag,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    sum_ns: i128,
    count: u64,
    worst_ns: i64,
}

/// Whether it comes out of a history.
pub(super) const fn is_late(trade: &TradeMsg) -> bool {
    let flags = trade.flag_set();
    flags.has(Flags::BACKFILLED) || flags.has(Flags::SNAPSHOT)
}

/// How long a live trade was on its way; `None`: it is not live, or its venue gave it no time.
pub(super) fn lag(trade: &TradeMsg) -> Option<i128> {
    let known = !is_late(trade) && trade.has_venue_time();
    known.then(|| i128::from(trade.ts_recv) - i128::from(trade.ts_event))
}

impl Lags {
    /// A trade; `None`: it has none.
    pub(super) fn add(&mut self, lag_ns: Option<i128>) {
        if let Some(ns) = lag_ns {
            self.running.add(ns);
        }
    }

    /// Figures with these lags.
    pub(super) fn on(&self, figures: Figures) -> Figures {
        let worst = (self.shown.count > 0).then_some(self.shown.worst_ns);
        Figures { lag_ns: self.shown.mean(), lag_worst_ns: worst, ..figures }
    }

    /// An interval ends.
    pub(super) fn tick(&mut self) {
        let running = std::mem::take(&mut self.running);
        if running.count > 0 {
            self.shown = running;
        }
    }
}

impl Lag {
    fn add(&mut self, ns: i128) {
        let worst = i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX });
        self.worst_ns = if self.count == 0 { worst } else { self.worst_ns.max(worst) };
        self.sum_ns += ns;
        self.count += 1;
    }

    fn mean(self) -> Option<i64> {
        (self.count > 0).then(|| i64::try_from(self.sum_ns / i128::from(self.count)).unwrap_or(i64::MAX))
    }
}
