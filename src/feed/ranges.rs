//! Sets of trade ids as ranges: what is missing, and what of it is still to be asked for. Pure.

/// Disjoint ranges of ids, ascending, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The ids from `first` to `last`; none if `last` is below `first`.
    #[must_use]
    pub fn of(first: u64, last: u64) -> Self {
        Self(if first <= last { vec![(first, last)] } else { Vec::new() })
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ids.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// The lowest range.
    #[must_use]
    pub fn lowest(&self) -> Option<(u64, u64)> {
        self.0.first().copied()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether an id is in it.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        self.covers(id, id)
    }

    /// Whether all ids from `first` to `last` are in it.
    #[must_use]
    pub fn covers(&self, first: u64, last: u64) -> bool {
        let place = self.0.partition_point(|range| range.1 < first);
        self.0.get(place).is_some_and(|range| range.0 <= first && last <= range.1)
    }

    /// Takes the ids from `first` to `last` out.
    pub fn remove(&mut self, first: u64, last: u64) {
        let from = self.0.partition_point(|range| range.1 < first);
        let to = self.0.partition_point(|range| range.0 <= last);
        if from >= to || first > last {
            return;
        }
        let below = self.0.get(from).filter(|range| range.0 < first).map(|range| (range.0, first - 1));
        let above = self.0.get(to - 1).filter(|range| range.1 > last).map(|range| (last + 1, range.1));
        self.0.splice(from..to, [below, above].into_iter().flatten());
    }

    /// Puts the ids from `first` to `last` in.
    pub fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // Ranges that touch become one.
        let from = self.0.partition_point(|range| range.1.saturating_add(1) < first);
        let to = self.0.partition_point(|range| range.0 <= last.saturating_add(1)).max(from);
        let low = self.0.get(from).filter(|_| from < to).map_or(first, |range| range.0.min(first));
        let high = to.checked_sub(1).filter(|_| from < to).and_then(|at| self.0.get(at));
        let high = high.map_or(last, |range| range.1.max(last));
        self.0.splice(from..to, [(low, high)]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_it_stands_for(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..40, 0_u64..8), 0..40)
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (add, first, length) in steps {
                let last = first + length;
                if add {
                    ranges.add(first, last);
                    set.extend(first..=last);
                } else {
                    ranges.remove(first, last);
                    set.retain(|id| !(first..=last).contains(id));
                }
                let listed: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                prop_assert_eq!(&listed, &set.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.count(), set.len() as u64);
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0));
                prop_assert_eq!(ranges.covers(first, last), (first..=last).all(|id| set.contains(&id)));
            }
        }
    }

    #[test]
    fn the_whole_range_of_ids_is_no_trouble() {
        let mut ranges = Ranges::of(0, u64::MAX);
        ranges.remove(5, u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 4)]);
        ranges.add(u64::MAX, u64::MAX);
        ranges.add(4, u64::MAX);
        assert_eq!((ranges.lowest(), ranges.count()), (Some((0, u64::MAX)), u64::MAX));
        assert!(Ranges::of(3, 2).is_empty());
    }
}
