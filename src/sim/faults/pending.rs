//! Faults of a venue that wait for their trade, subscribe, upgrade or request.
//!
//! It decides what is to happen next; the room's other files do it.

use std::collections::HashMap;

use super::ills::Ills;
use super::{AckFault, RestFault};

/// An HTTP refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Refusal {
    pub(in crate::sim) status: u16,
    pub(in crate::sim) retry_after: Option<u64>,
}

/// What waits.
#[derive(Debug, Default)]
pub(in crate::sim) struct Pending {
    /// What happens to the next trades, whoever gets them.
    pub(in crate::sim) trades: Ills,
    refused_symbols: HashMap<String, u64>,
    upgrades: Option<(Refusal, u64)>,
    refused_rest: Option<(Refusal, u64)>,
    acks: Vec<Waiting<AckFault>>,
    rest: Vec<Waiting<RestFault>>,
}

/// A fault for what names a symbol.
#[derive(Debug)]
struct Waiting<F> {
    /// In the venue's spelling; `None`: any.
    venue_symbol: Option<String>,
    fault: F,
    left: u64,
}

impl Pending {
    pub(in crate::sim) fn refuse_symbol(&mut self, venue_symbol: &str, times: u64) {
        self.refused_symbols.insert(venue_symbol.to_owned(), times);
    }

    pub(in crate::sim) const fn refuse_upgrades(&mut self, refusal: Refusal, times: u64) {
        self.upgrades = Some((refusal, times));
    }

    pub(in crate::sim) const fn refuse_rest(&mut self, refusal: Refusal, times: u64) {
        self.refused_rest = Some((refusal, times));
    }

    pub(in crate::sim) fn spoil_acks(&mut self, venue_symbol: Option<String>, fault: AckFault, times: u64) {
        self.acks.push(Waiting { venue_symbol, fault, left: times });
    }

    pub(in crate::sim) fn spoil_rest(&mut self, venue_symbol: Option<String>, fault: RestFault, times: u64) {
        self.rest.push(Waiting { venue_symbol, fault, left: times });
    }

    /// Whether this subscribe of a venue symbol is refused.
    pub(in crate::sim) fn refuses(&mut self, venue_symbol: &str) -> bool {
        match self.refused_symbols.get_mut(venue_symbol) {
            None => false,
            Some(left) => count_down(left),
        }
    }

    /// The refusal of this upgrade.
    pub(in crate::sim) fn upgrade(&mut self) -> Option<Refusal> {
        self.upgrades.as_mut().and_then(|(refusal, left)| count_down(left).then_some(*refusal))
    }

    /// The refusal of this REST request.
    pub(in crate::sim) fn refused_rest(&mut self) -> Option<Refusal> {
        self.refused_rest.as_mut().and_then(|(refusal, left)| count_down(left).then_some(*refusal))
    }

    /// What is wrong with this ack; `names` tells whether it is of a venue symbol.
    pub(in crate::sim) fn ack(&mut self, names: impl Fn(&str) -> bool) -> Option<AckFault> {
        take(&mut self.acks, names, |_| true)
    }

    /// What is wrong with this REST answer. `page`: it is one of trades.
    pub(in crate::sim) fn rest(&mut self, page: bool, names: impl Fn(&str) -> bool) -> Option<RestFault> {
        take(&mut self.rest, names, |fault| page || matches!(fault, RestFault::Slow(_)))
    }
}

/// The first fault that fits.
fn take<F: Copy>(waiting: &mut Vec<Waiting<F>>, names: impl Fn(&str) -> bool, fits: impl Fn(&F) -> bool) -> Option<F> {
    waiting.retain(|one| one.left > 0);
    let hit = |one: &&mut Waiting<F>| fits(&one.fault) && one.venue_symbol.as_deref().is_none_or(&names);
    let one = waiting.iter_mut().find(hit)?;
    count_down(&mut one.left).then_some(one.fault)
}

/// Counts one down; `u64::MAX` stays.
const fn count_down(left: &mut u64) -> bool {
    match *left {
        0 => false,
        u64::MAX => true,
        _ => {
            *left -= 1;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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

    #[test]
    fn an_answer_is_hit_only_where_kind_and_symbol_fit() {
        let mut pending = Pending::default();
        pending.spoil_rest(Some("BTC-USD".to_owned()), RestFault::Empty, 1);
        pending.spoil_rest(None, RestFault::Slow(Duration::ZERO), 1);
        let slow = Some(RestFault::Slow(Duration::ZERO));
        assert_eq!(pending.rest(false, |_| true), slow, "no page: only its time can be wrong");
        assert_eq!(pending.rest(true, |symbol| symbol == "ETH-USD"), None);
        assert_eq!(pending.rest(true, |symbol| symbol == "BTC-USD"), Some(RestFault::Empty));
        assert_eq!(pending.rest(true, |_| true), None);
        pending.spoil_acks(None, AckFault::Missing, 2);
        let acks: Vec<_> = (0..3).map(|_| pending.ack(|_| false)).collect();
        assert_eq!(acks, [Some(AckFault::Missing), Some(AckFault::Missing), None]);
    }
}
