//! What the stream holds at the end of a run, against what was given.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use crate::broker::Stored;

/// What a stored message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Trades of a symbol, by their ids.
    Trades(usize, Vec<u64>),
    /// A declared loss of a symbol: first and last id.
    Gap(usize, u64, u64),
}

/// What the stream holds at the end, against what was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Trades that are not there.
    pub(crate) lost: u64,
    /// Trades that are there more than once.
    pub(crate) doubled: u64,
    /// Trades behind one that was given after them.
    pub(crate) reordered: u64,
    /// Trades that are not there, but inside a declared gap.
    pub(crate) declared: u64,
    /// Not drained in time.
    pub(crate) stuck: bool,
    /// Faults that struck.
    pub(crate) faults: u64,
}

impl Verdict {
    /// Whether the promise held.
    pub(crate) fn holds(&self) -> bool {
        !self.broken() && !self.stuck
    }

    /// Whether the stream itself is wrong.
    pub(crate) fn broken(&self) -> bool {
        self.lost + self.doubled + self.reordered > 0
    }
}

impl World {
    pub(super) fn remember_purged(&mut self, read: &dyn Fn(&Stored) -> Read) {
        let from = self.broker.purged as usize;
        self.purged.extend(self.broker.log[from..].iter().map(read));
    }

    pub(super) fn verdict(mut self, stuck: bool, read: &dyn Fn(&Stored) -> Read) -> Verdict {
        self.remember_purged(read);
        let mut verdict = Verdict { stuck, faults: self.faults, ..Verdict::default() };
        let subjects = u64::from(self.schedule.subjects);
        for subject in 0..subjects {
            let given: BTreeSet<u64> = (1..=(self.schedule.trades + subjects - 1 - subject) / subjects).collect();
            let mut ids = Vec::new();
            let mut gaps = BTreeSet::new();
            for message in &self.purged {
                match message {
                    Read::Trades(of, trades) if *of as u64 == subject => ids.extend(trades),
                    Read::Gap(of, first, last) if *of as u64 == subject => gaps.extend(*first..=*last),
                    _ => {}
                }
            }
            let distinct: BTreeSet<u64> = ids.iter().copied().collect();
            let missing = given.difference(&distinct);
            let (declared, lost): (Vec<u64>, Vec<u64>) = missing.partition(|id| gaps.contains(id));
            verdict.lost += lost.len() as u64;
            verdict.declared += declared.len() as u64;
            verdict.doubled += (ids.len() - distinct.len()) as u64;
            let order = self.order.iter().filter(|(of, ..)| u64::from(*of) == subject).map(|(_, id, _)| *id);
            let places: BTreeMap<u64, usize> = order.zip(0..).collect();
            let place = |id: &u64| places.get(id).copied().unwrap_or(usize::MAX);
            verdict.reordered += ids.windows(2).filter(|pair| place(&pair[1]) < place(&pair[0])).count() as u64;
        }
        verdict
    }
}
