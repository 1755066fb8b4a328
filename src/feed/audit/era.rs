//! The ids of one instrument since its venue last began to count: what was seen, what is missing, what gaps say of it.
//!
//! It keeps holes and ranges, never single ids: a whole stream costs nothing, however long it is.

use std::collections::BTreeMap;

use super::ranges::{Part, Ranges};
use super::report::{Class, Report};

/// Holes, and ranges that gaps speak of, of one instrument at a time. Beyond it the lower half is judged as it stands
/// and forgotten.
pub const HOLES_MAX: usize = 1 << 17;

/// Ids of one instrument under one count.
#[derive(Debug, Default)]
pub(super) struct Era {
    /// The lowest id that is not backfilled: what lies below it was never promised.
    base: Option<u64>,
    highest: u64,
    /// The time of the trade with the highest id.
    highest_ts: u64,
    /// What is missing between the two, by first id.
    holes: BTreeMap<u64, Hole>,
    /// Backfilled ids outside of base and highest.
    outside: Ranges,
    declared: Ranges,
    filled: Ranges,
    /// Where the last gap stood.
    gap_at: u64,
    /// What lies below was judged and forgotten.
    floor: u64,
}

/// Ids in a row that are missing.
#[derive(Clone, Copy, Debug)]
struct Hole {
    last: u64,
    /// Where the record behind it stood.
    at: u64,
    /// The row behind it stands for several fills.
    aggregated: bool,
}

/// Where an id stands among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Above all of them, or the first.
    Ahead,
    /// Below the highest, and missing so far.
    Behind,
    /// One of them.
    Seen,
    /// One of them or missing: too long ago to tell.
    Forgotten,
}

/// A record as far as ids are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: u64,
    pub(super) id: u64,
    pub(super) ts: u64,
    pub(super) backfilled: bool,
    pub(super) aggregated: bool,
}

impl Era {
    /// The highest id and its time.
    pub(super) fn top(&self) -> Option<(u64, u64)> {
        self.base.map(|_| (self.highest, self.highest_ts))
    }

    pub(super) fn standing(&self, id: u64) -> Standing {
        if self.outside.contains(id) {
            return Standing::Seen;
        }
        match self.base {
            None => Standing::Ahead,
            Some(_) if id > self.highest => Standing::Ahead,
            Some(base) if id < base => Standing::Behind,
            Some(_) if id < self.floor => Standing::Forgotten,
            Some(_) if self.hole_of(id).is_some() => Standing::Behind,
            Some(_) => Standing::Seen,
        }
    }

    /// Takes an id that was not seen. What was jumped over becomes a hole.
    pub(super) fn take(&mut self, arrival: Arrival) {
        let Arrival { at, id, ts, backfilled, aggregated } = arrival;
        match self.base {
            None if backfilled => self.outside.insert(id, id),
            None => {
                self.base = Some(id);
                (self.highest, self.highest_ts) = (id, ts);
            }
            Some(_) if id > self.highest => {
                if id - self.highest > 1 {
                    self.open(self.highest + 1, id - 1, at, aggregated);
                }
                (self.highest, self.highest_ts) = (id, ts);
            }
            // A backfill below the beginning is no promise that all of it is there.
            Some(base) if id < base && backfilled => self.outside.insert(id, id),
            Some(base) if id < base => {
                if base - id > 1 {
                    self.open(id + 1, base - 1, at, false);
                }
                self.base = Some(id);
            }
            Some(_) => self.fill(id, aggregated),
        }
    }

    /// Takes an id of a venue whose ids have holes by nature: only the highest one counts.
    pub(super) fn raise(&mut self, arrival: Arrival) {
        if self.base.is_none() || arrival.id > self.highest {
            self.base.get_or_insert(arrival.id);
            (self.highest, self.highest_ts) = (arrival.id, arrival.ts);
        }
    }

    /// Whether a gap has declared an id.
    pub(super) fn declares(&self, id: u64) -> bool {
        self.declared.contains(id)
    }

    /// What a gap record says of ids.
    pub(super) fn gap(&mut self, at: u64, first: u64, last: u64, filled: bool) {
        self.gap_at = at;
        if filled { self.filled.insert(first, last) } else { self.declared.insert(first, last) }
    }

    /// Keeps within the bound: judges and forgets the lower half of what there is too much of.
    pub(super) fn bound(&mut self, report: &mut Report) {
        let sets = [&self.declared, &self.filled, &self.outside];
        let middle = if self.holes.len() > HOLES_MAX {
            self.holes.keys().nth(self.holes.len() / 2).copied()
        } else {
            sets.into_iter().find(|set| set.len() > HOLES_MAX).and_then(Ranges::middle)
        };
        let Some(middle) = middle else { return };
        self.settle(middle, report);
        self.floor = self.floor.max(middle);
        for set in [&mut self.declared, &mut self.filled, &mut self.outside] {
            set.forget_below(middle);
        }
    }

    /// Judges all that is left.
    pub(super) fn finish(mut self, report: &mut Report) {
        if self.base.is_none() {
            self.only_backfilled();
        }
        self.settle(u64::MAX, report);
        // Losses at either end show by nothing but the gap.
        let gaps: Vec<(u64, u64)> = self.declared.iter().collect();
        for (first, last) in gaps {
            for part in self.beyond(first, last) {
                let missing = self.outside.parts(part.0, part.1).into_iter().filter(|part| !part.inside);
                let unfilled = missing.flat_map(|part| self.filled.parts(part.first, part.last));
                for part in unfilled.filter(|part| !part.inside) {
                    add(
                        report,
                        Class::Declared,
                        self.gap_at,
                        part,
                        "declared by a gap, beyond the trades that are there",
                    );
                }
            }
        }
    }

    /// A recording of nothing but backfilled trades: they are then what there is.
    fn only_backfilled(&mut self) {
        let ranges: Vec<(u64, u64)> = self.outside.iter().collect();
        let (Some((base, _)), Some((_, highest))) = (ranges.first(), ranges.last()) else { return };
        (self.base, self.highest) = (Some(*base), *highest);
        self.open(*base, *highest, self.gap_at, false);
    }

    /// The parts of a range that lie below base or above highest.
    fn beyond(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let Some(base) = self.base else { return vec![(first, last)] };
        let below = (first < base).then(|| (first, last.min(base - 1)));
        let above = (last > self.highest).then(|| (first.max(self.highest + 1), last));
        below.into_iter().chain(above).collect()
    }

    fn hole_of(&self, id: u64) -> Option<(u64, Hole)> {
        let (first, hole) = self.holes.range(..=id).next_back()?;
        (id <= hole.last).then_some((*first, *hole))
    }

    /// Ids are missing, except for those that a backfill has brought already.
    fn open(&mut self, first: u64, last: u64, at: u64, aggregated: bool) {
        for part in self.outside.parts(first, last).into_iter().filter(|part| !part.inside) {
            // Only what lies right in front of the row may be its fills.
            let aggregated = aggregated && part.last == last;
            self.holes.insert(part.first, Hole { last: part.last, at, aggregated });
        }
    }

    fn fill(&mut self, id: u64, aggregated: bool) {
        let Some((first, hole)) = self.hole_of(id) else { return };
        self.holes.remove(&first);
        if first < id {
            // Its fills lie right in front of it, and those of the row behind the hole lie behind it.
            self.holes.insert(first, Hole { last: id - 1, aggregated, ..hole });
        }
        if id < hole.last {
            self.holes.insert(id + 1, hole);
        }
    }

    /// Judges the holes that begin below an id, and forgets them.
    fn settle(&mut self, below: u64, report: &mut Report) {
        while let Some(entry) = self.holes.first_entry()
            && *entry.key() < below
        {
            let (first, hole) = entry.remove_entry();
            for part in self.filled.parts(first, hole.last) {
                if part.inside {
                    // A late row may have filled more than its own id.
                    let (class, why) = if hole.aggregated {
                        (Class::Unprovable, "in a filled gap, in front of a row that stands for several fills")
                    } else {
                        (Class::Unfilled, "and a gap says that it was filled")
                    };
                    add(report, class, hole.at, part, why);
                    continue;
                }
                for part in self.declared.parts(part.first, part.last) {
                    match (part.inside, hole.aggregated) {
                        (true, _) => add(report, Class::Declared, hole.at, part, "declared by a gap"),
                        (false, true) => {
                            add(
                                report,
                                Class::Unprovable,
                                hole.at,
                                part,
                                "in front of a row that stands for several fills",
                            );
                        }
                        (false, false) => add(report, Class::Silent, hole.at, part, "declared by nothing"),
                    }
                }
            }
        }
    }
}

fn add(report: &mut Report, class: Class, at: u64, part: Part, why: &str) {
    let count = (part.last - part.first).saturating_add(1);
    report.add(class, at, (part.first, part.last), count, || format!("{count} missing, {why}"));
}
