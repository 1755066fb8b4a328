//! What can go wrong at a venue, on demand or by script, and the state that a pending fault leaves.
//!
//! It decides what is to happen to the next trade, subscribe or request; the room's other files do it.

use std::collections::HashMap;
use std::time::Duration;

/// Which of a venue's connections a fault hits, of those that are open when it is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// The one that was opened first.
    Oldest,
    /// The one that was opened last.
    Newest,
}

/// Something that goes wrong. Symbols are canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are reset: no close frame, what was queued is gone.
    Drop {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
    },
    /// Connections are closed by a close frame, after what was queued.
    Close {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// The close code, such as 1001, 1008, 1012 or 4000.
        code: u16,
        /// The close reason, at most 123 bytes.
        reason: String,
    },
    /// The venue's own notice (`serverShutdown` where it has one), and the end after `grace`.
    Shutdown {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// From the notice to the close.
        grace: Duration,
    },
    /// Connections stay open and answer pings, and nothing else is sent on them any more.
    Stall {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
    },
    /// Stalled connections go on, without what they missed.
    Resume {
        /// The exchange's token.
        exchange: String,
    },
    /// The next trades of a symbol are sent twice.
    Duplicate {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many trades.
        count: u64,
    },
    /// The next trades of a symbol happen, and REST knows them, but they are never sent.
    Withhold {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many trades.
        count: u64,
        /// From whom: `All` from every connection, later ones too.
        which: Which,
    },
    /// The ids of a symbol jump by `count`: a hole that no call can fill. Not with a capture.
    SkipIds {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many ids are never used.
        count: u64,
    },
    /// The next subscribes that name a symbol are refused by the venue's error message.
    RefuseSymbol {
        /// The exchange's token.
        exchange: String,
        /// The symbol.
        symbol: String,
        /// How many subscribes; `u64::MAX` is for ever.
        times: u64,
    },
    /// The next WebSocket upgrades are answered by an HTTP status.
    RefuseUpgrade {
        /// The exchange's token.
        exchange: String,
        /// Such as 429, 418, 403 or 503.
        status: u16,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
        /// How many upgrades; `u64::MAX` is for ever.
        times: u64,
    },
    /// The next REST requests are answered by an HTTP status and an empty body.
    RefuseRest {
        /// The exchange's token.
        exchange: String,
        /// Such as 429, 418 or 500.
        status: u16,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
        /// How many requests; `u64::MAX` is for ever.
        times: u64,
    },
    /// This text is sent as a frame: garbage, an unknown event, whatever a test wants.
    Send {
        /// The exchange's token.
        exchange: String,
        /// Which connections.
        which: Which,
        /// The frame.
        text: String,
    },
}

/// A fault at a fixed place of a venue's tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripted {
    /// It happens right after this many trades of the venue.
    pub after: u64,
    /// What happens.
    pub fault: Fault,
}

impl Fault {
    /// The venue that it hits.
    #[must_use]
    pub fn exchange(&self) -> &str {
        match self {
            Self::Drop { exchange, .. }
            | Self::Close { exchange, .. }
            | Self::Shutdown { exchange, .. }
            | Self::Stall { exchange, .. }
            | Self::Resume { exchange }
            | Self::Duplicate { exchange, .. }
            | Self::Withhold { exchange, .. }
            | Self::SkipIds { exchange, .. }
            | Self::RefuseSymbol { exchange, .. }
            | Self::RefuseUpgrade { exchange, .. }
            | Self::RefuseRest { exchange, .. }
            | Self::Send { exchange, .. } => exchange,
        }
    }

    /// The symbol that it hits, if it hits one.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Duplicate { symbol, .. }
            | Self::Withhold { symbol, .. }
            | Self::SkipIds { symbol, .. }
            | Self::RefuseSymbol { symbol, .. } => Some(symbol),
            _ => None,
        }
    }
}

/// How many frames of a trade are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Send,
    Twice,
    Withhold,
}

/// An HTTP refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
}

/// Faults of a venue that wait for their trade, subscribe or request.
#[derive(Debug, Default)]
pub(super) struct Pending {
    duplicate: HashMap<usize, u64>,
    withhold: HashMap<usize, u64>,
    refused_symbols: HashMap<String, u64>,
    upgrades: Option<(Refusal, u64)>,
    rest: Option<(Refusal, u64)>,
}

impl Pending {
    pub(super) fn duplicate(&mut self, symbol: usize, count: u64) {
        *self.duplicate.entry(symbol).or_default() += count;
    }

    pub(super) fn withhold(&mut self, symbol: usize, count: u64) {
        *self.withhold.entry(symbol).or_default() += count;
    }

    pub(super) fn refuse_symbol(&mut self, venue_symbol: &str, times: u64) {
        self.refused_symbols.insert(venue_symbol.to_owned(), times);
    }

    pub(super) const fn refuse_upgrades(&mut self, refusal: Refusal, times: u64) {
        self.upgrades = Some((refusal, times));
    }

    pub(super) const fn refuse_rest(&mut self, refusal: Refusal, times: u64) {
        self.rest = Some((refusal, times));
    }

    /// What happens to the next trade of a symbol.
    pub(super) fn treat(&mut self, symbol: usize) -> Treatment {
        if take(&mut self.withhold, &symbol) {
            return Treatment::Withhold;
        }
        if take(&mut self.duplicate, &symbol) { Treatment::Twice } else { Treatment::Send }
    }

    /// Whether this subscribe of a venue symbol is refused.
    pub(super) fn refuses(&mut self, venue_symbol: &str) -> bool {
        take(&mut self.refused_symbols, venue_symbol)
    }

    /// The refusal of this upgrade.
    pub(super) const fn upgrade(&mut self) -> Option<Refusal> {
        next(&mut self.upgrades)
    }

    /// The refusal of this REST request.
    pub(super) const fn rest(&mut self) -> Option<Refusal> {
        next(&mut self.rest)
    }
}

/// Counts one down; `u64::MAX` stays.
fn take<K, Q>(map: &mut HashMap<K, u64>, key: &Q) -> bool
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    // The usual case, once a trade: no fault waits, and nothing is hashed.
    if map.is_empty() {
        return false;
    }
    match map.get_mut(key) {
        None => false,
        Some(&mut u64::MAX) => true,
        Some(0 | 1) => map.remove(key).is_some_and(|left| left == 1),
        Some(left) => {
            *left -= 1;
            true
        }
    }
}

const fn next(pending: &mut Option<(Refusal, u64)>) -> Option<Refusal> {
    match pending {
        None | Some((_, 0)) => None,
        Some((refusal, times)) => {
            if *times != u64::MAX {
                *times -= 1;
            }
            Some(*refusal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_fault_hits_exactly_as_often_as_told() {
        let mut pending = Pending::default();
        pending.withhold(0, 2);
        pending.duplicate(0, 1);
        let treated: Vec<_> = (0..4).map(|_| pending.treat(0)).collect();
        assert_eq!(treated, [Treatment::Withhold, Treatment::Withhold, Treatment::Twice, Treatment::Send]);
        assert_eq!(pending.treat(1), Treatment::Send);
    }

    #[test]
    fn a_refusal_ends_after_its_times_and_for_ever_never_does() {
        let mut pending = Pending::default();
        let refusal = Refusal { status: 429, retry_after: Some(3) };
        pending.refuse_upgrades(refusal, 1);
        assert_eq!((pending.upgrade(), pending.upgrade()), (Some(refusal), None));
        pending.refuse_symbol("BTCUSDT", u64::MAX);
        assert!((0..100).all(|_| pending.refuses("BTCUSDT")));
        assert!(!pending.refuses("ETHUSDT"));
        pending.refuse_symbol("ETHUSDT", 0);
        assert!(!pending.refuses("ETHUSDT"));
    }
}
