//! What was published against what was read: what is lost, doubled, out of order, or of unknown origin.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::read::Read;

/// The records of one subject, in the order of their publication; no two are equal.
pub type Expected = BTreeMap<String, Vec<[u8; 48]>>;

/// How often something went wrong, and the first time it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub count: u64,
    pub first: Option<String>,
}

impl Fault {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(example);
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Expected, and not read.
    pub lost: Fault,
    /// Read again.
    pub doubled: Fault,
    /// Read for the first time after one that was to follow it.
    pub disordered: Fault,
    /// Read, and never expected: other bytes, or another subject.
    pub foreign: Fault,
    /// How many records were expected.
    pub expected: u64,
}

impl Verdict {
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost.count == 0 && self.doubled.count == 0 && self.disordered.count == 0 && self.foreign.count == 0
    }

    /// Panics with what is wrong, if anything is.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "of {} records", self.expected)?;
        let faults = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("out of order", &self.disordered),
            ("foreign", &self.foreign),
        ];
        for (name, fault) in faults {
            write!(out, "; {name}: {}", fault.count)?;
            if let Some(first) = &fault.first {
                write!(out, " (first: {first})")?;
            }
        }
        Ok(())
    }
}

/// One subject on its way through the comparison.
struct Subject<'a> {
    /// Where in the expected order a record stands.
    places: HashMap<&'a [u8], usize>,
    seen: Vec<bool>,
    highest: Option<usize>,
}

impl<'a> Subject<'a> {
    fn new(name: &str, records: &'a [[u8; 48]]) -> Self {
        let places: HashMap<&[u8], usize> =
            records.iter().enumerate().map(|(place, record)| (record.as_slice(), place)).collect();
        assert_eq!(places.len(), records.len(), "{name}: two expected records are equal, which nobody can tell apart");
        Self { places, seen: vec![false; records.len()], highest: None }
    }
}

/// Compares what was read (in the stream's order) with what was published.
#[must_use]
pub fn compare(expected: &Expected, read: &[Read]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut subjects: HashMap<&str, Subject<'_>> =
        expected.iter().map(|(name, records)| (name.as_str(), Subject::new(name, records))).collect();
    for (sequence, name, payload) in read {
        let example = |what: &str| format!("{what}sequence {sequence} on {name}, {}", hex(payload));
        let found = subjects.get_mut(name.as_str());
        let Some((subject, place)) = found.and_then(|s| s.places.get(payload.as_slice()).copied().map(|at| (s, at)))
        else {
            verdict.foreign.add(|| example(""));
            continue;
        };
        if std::mem::replace(&mut subject.seen[place], true) {
            verdict.doubled.add(|| example(&format!("record {place}, ")));
            continue;
        }
        match subject.highest {
            Some(highest) if place < highest => {
                verdict.disordered.add(|| example(&format!("record {place} after {highest}, ")));
            }
            _ => subject.highest = Some(place),
        }
    }
    for (name, records) in expected {
        verdict.expected += records.len() as u64;
        for (place, record) in records.iter().enumerate().filter(|(place, _)| !subjects[name.as_str()].seen[*place]) {
            verdict.lost.add(|| format!("record {place} of {name}, {}", hex(record)));
        }
    }
    verdict
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
