//! What is to happen to the next trades, of a venue or of one connection.
//!
//! Faults wait in the order in which they came; one trade meets one of them. It sends nothing.

use super::{Damage, WireTime};

/// What happens to a trade on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Treatment {
    Send,
    Twice,
    Withhold,
    Spoil(Damage),
    Conflict,
    Retime(WireTime),
    /// Held back until so many later trades of its symbol were sent.
    Delay(u64),
}

/// Treatments that wait for their trades.
#[derive(Debug, Default)]
pub(in crate::sim) struct Ills {
    waiting: Vec<Ill>,
}

#[derive(Debug)]
struct Ill {
    /// `None`: any.
    symbol: Option<usize>,
    treatment: Treatment,
    left: u64,
    /// Trades that pass untouched before the next one is hit: those that are to overtake a delayed one.
    pause: u64,
}

impl Ills {
    /// Treats the next `count` trades like this, once those before it are done; `u64::MAX` is for ever.
    pub(in crate::sim) fn add(&mut self, symbol: Option<usize>, treatment: Treatment, count: u64) {
        // Added up where it can be, so that there are never more than there are kinds and symbols.
        match self.waiting.iter_mut().find(|ill| ill.symbol == symbol && ill.treatment == treatment) {
            Some(ill) => ill.left = ill.left.saturating_add(count),
            None if count > 0 => self.waiting.push(Ill { symbol, treatment, left: count, pause: 0 }),
            None => {}
        }
    }

    /// What happens to the next trade of a symbol.
    pub(in crate::sim) fn treat(&mut self, symbol: usize) -> Treatment {
        // The usual case, once a trade: nothing waits.
        if self.waiting.is_empty() {
            return Treatment::Send;
        }
        let hits = |ill: &Ill| ill.symbol.is_none_or(|only| only == symbol);
        let Some(place) = self.waiting.iter().position(hits) else { return Treatment::Send };
        let Some(ill) = self.waiting.get_mut(place) else { return Treatment::Send };
        let mut treatment = Treatment::Send;
        if ill.pause > 0 {
            ill.pause -= 1;
        } else {
            treatment = ill.treatment;
            if let Treatment::Delay(by) = treatment {
                ill.pause = by;
            }
            if ill.left != u64::MAX {
                ill.left -= 1;
            }
        }
        if ill.left == 0 && ill.pause == 0 {
            self.waiting.remove(place);
        }
        treatment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn treated(ills: &mut Ills, symbol: usize, count: usize) -> Vec<Treatment> {
        (0..count).map(|_| ills.treat(symbol)).collect()
    }

    #[test]
    fn a_fault_hits_exactly_as_often_as_told_and_in_turn() {
        let mut ills = Ills::default();
        ills.add(Some(0), Treatment::Withhold, 1);
        ills.add(Some(0), Treatment::Twice, 1);
        ills.add(Some(0), Treatment::Withhold, 1);
        assert_eq!(ills.treat(1), Treatment::Send);
        let expected = [Treatment::Withhold, Treatment::Withhold, Treatment::Twice, Treatment::Send];
        assert_eq!(treated(&mut ills, 0, 4), expected);
        ills.add(None, Treatment::Conflict, 1);
        assert_eq!((ills.treat(5), ills.treat(5)), (Treatment::Conflict, Treatment::Send));
        ills.add(Some(2), Treatment::Twice, u64::MAX);
        assert!(treated(&mut ills, 2, 100).iter().all(|one| *one == Treatment::Twice));
        ills.add(Some(3), Treatment::Twice, 0);
        assert_eq!(ills.treat(3), Treatment::Send);
    }

    #[test]
    fn a_delayed_trade_is_overtaken_before_the_next_one_is_delayed() {
        let mut ills = Ills::default();
        ills.add(Some(0), Treatment::Delay(2), 2);
        let (send, delay) = (Treatment::Send, Treatment::Delay(2));
        ills.add(Some(0), Treatment::Twice, 1);
        assert_eq!(treated(&mut ills, 0, 8), [delay, send, send, delay, send, send, Treatment::Twice, send]);
    }
}
