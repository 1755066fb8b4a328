//! A set of ids as merged ranges: as large as its number of runs, however many ids are in it.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// Ids, as ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// First id of a range to its last one.
    by_first: BTreeMap<u64, u64>,
}

impl Ranges {
    /// How many ranges there are: what the set costs.
    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.by_first.iter().map(|(first, last)| (*first, *last))
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.by_first.range(..=id).next_back().is_some_and(|(_, last)| id <= *last)
    }

    /// Adds a range; what it touches becomes one with it.
    pub(super) fn insert(&mut self, mut first: u64, mut last: u64) {
        if let Some((before, end)) = self.by_first.range(..=first).next_back()
            && first <= end.saturating_add(1)
        {
            first = *before;
            last = last.max(*end);
        }
        while let Some((next, end)) = self.by_first.range(first..=last.saturating_add(1)).next() {
            let (next, end) = (*next, *end);
            last = last.max(end);
            self.by_first.remove(&next);
        }
        self.by_first.insert(first, last);
    }

    /// Takes a range apart, in order, into what is in the set and what is not.
    pub(super) fn parts(&self, first: u64, last: u64) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut at = first;
        let before = self.by_first.range(..=first).next_back();
        let inside = before.into_iter().chain(self.by_first.range((Excluded(first), Included(last.max(first)))));
        for (start, end) in inside {
            let (start, end) = ((*start).max(at), (*end).min(last));
            if start > end || start > last {
                continue;
            }
            if at < start {
                parts.push(Part { first: at, last: start - 1, inside: false });
            }
            parts.push(Part { first: start, last: end, inside: true });
            if end == last {
                return parts;
            }
            at = end + 1;
        }
        parts.push(Part { first: at, last, inside: false });
        parts
    }

    /// The first id of the range in the middle: half of the ranges lie below it.
    pub(super) fn middle(&self) -> Option<u64> {
        self.by_first.keys().nth(self.by_first.len() / 2).copied()
    }

    /// Forgets the ranges that end below an id.
    pub(super) fn forget_below(&mut self, id: u64) {
        while let Some(entry) = self.by_first.first_entry()
            && *entry.get() < id
        {
            entry.remove();
        }
    }
}

/// A part of a range that lies wholly inside of a set, or wholly outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) inside: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_all_numbers_are_no_trap() {
        let mut set = Ranges::default();
        set.insert(u64::MAX, u64::MAX);
        set.insert(0, 0);
        assert!(set.contains(u64::MAX) && set.contains(0) && !set.contains(1));
        let outside = Part { first: 1, last: u64::MAX - 1, inside: false };
        assert_eq!(set.parts(0, u64::MAX)[1], outside);
        set.insert(1, u64::MAX - 1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

        /// The same as a set of ids, and never two ranges that touch.
        #[test]
        fn ranges_are_sets(
            inserts in proptest::collection::vec((0_u64..60, 0_u64..9), 0..20),
            ask in (0_u64..70, 0_u64..30),
        ) {
            let (mut set, mut ids) = (Ranges::default(), BTreeSet::new());
            for (first, length) in inserts {
                set.insert(first, first + length);
                ids.extend(first..=first + length);
            }
            let found: Vec<u64> = set.iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&found, &ids.iter().copied().collect::<Vec<_>>());
            let ranges: Vec<(u64, u64)> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            let (first, last) = (ask.0, ask.0 + ask.1);
            let parts = set.parts(first, last);
            let ids_of_parts: Vec<u64> = parts.iter().flat_map(|part| part.first..=part.last).collect();
            prop_assert_eq!(ids_of_parts, (first..=last).collect::<Vec<_>>());
            for part in &parts {
                prop_assert!((part.first..=part.last).all(|id| ids.contains(&id) == part.inside));
                prop_assert!((part.first..=part.last).all(|id| set.contains(id) == part.inside));
            }
            prop_assert!(parts.windows(2).all(|pair| pair[0].inside != pair[1].inside));
            set.forget_below(first);
            prop_assert!((first..90).all(|id| set.contains(id) == ids.contains(&id)));
        }
    }
}
