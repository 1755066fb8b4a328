//! What an audit has found, as counts and a bounded list.

use std::fmt;

/// Findings of one class that are kept with their places; the rest is counted.
pub const FINDINGS_MAX: usize = 100;

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// An id again, with the same price, size and side. Counted in records.
    Double,
    /// An id again, with another price, size or side. Counted in records.
    Conflict,
    /// An id below the highest one before it, neither flagged as backfilled nor declared by a gap. Counted in records.
    Order,
    /// Ids that are missing and that nothing declares. Counted in ids.
    Silent,
    /// Ids that are missing and declared. Counted in ids.
    Declared,
    /// A declared loss of which neither ids nor number are known. Counted in gap records.
    Possible,
    /// Ids that are missing although a gap says that they were filled. Counted in ids.
    Unfilled,
    /// A record that cannot be right: bytes, kind, instrument, scale, time. Counted in records.
    Bad,
    /// A record behind higher ids that is flagged as backfilled or that a gap before it has declared: that is how a gap
    /// is filled. Counted in records.
    Late,
    /// Ids in front of a row that stands for several fills: they may be its fills. Counted in ids.
    Unprovable,
    /// The venue began to count its ids anew. Counted in restarts.
    Restart,
    /// A flag says that trades right before it are missing, and none are. Counted in records.
    AfterGap,
    /// A time before that of the trade in front of it. Counted in records.
    Time,
    /// A record about ids of which the audit has had to forget the details. Counted in records.
    Unjudged,
}

impl Class {
    /// All of them, faults first.
    pub const ALL: [Self; 14] = [
        Self::Double,
        Self::Conflict,
        Self::Order,
        Self::Silent,
        Self::Declared,
        Self::Possible,
        Self::Unfilled,
        Self::Bad,
        Self::Late,
        Self::Unprovable,
        Self::Restart,
        Self::AfterGap,
        Self::Time,
        Self::Unjudged,
    ];

    /// The name that output uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Conflict => "conflict",
            Self::Order => "order",
            Self::Silent => "silent",
            Self::Declared => "declared",
            Self::Possible => "possible",
            Self::Unfilled => "unfilled",
            Self::Bad => "bad",
            Self::Late => "late",
            Self::Unprovable => "unprovable",
            Self::Restart => "restart",
            Self::AfterGap => "after_gap",
            Self::Time => "time",
            Self::Unjudged => "unjudged",
        }
    }

    /// Whether what is audited is not whole because of it. The rest is for information.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Double
                | Self::Conflict
                | Self::Order
                | Self::Silent
                | Self::Declared
                | Self::Possible
                | Self::Unfilled
                | Self::Bad
        )
    }

    /// Whether it is a loss that was told, not hidden.
    #[must_use]
    pub const fn is_declared(self) -> bool {
        matches!(self, Self::Declared | Self::Possible)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub class: Class,
    /// The place of the record at which it shows: a sequence, a position, a line.
    pub at: u64,
    /// The first id that it is about.
    pub first_id: u64,
    /// The last such id.
    pub last_id: u64,
    /// What there is to say beside.
    pub detail: String,
}

/// A trade's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where it stood.
    pub at: u64,
    /// Its id.
    pub id: u64,
    /// The venue's time, nanoseconds since the Unix epoch.
    pub ts: u64,
}

/// What is said of one instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Trades seen, doubles and all; records of other instruments left out.
    pub trades: u64,
    /// Gap records seen.
    pub gaps: u64,
    /// The first trade.
    pub first: Option<Mark>,
    /// The last trade that was in its place.
    pub last: Option<Mark>,
    /// Of the doubles, how many are older than the payloads that are remembered: whether they conflict is not known.
    pub uncompared: u64,
    /// At most [`FINDINGS_MAX`] of each class, in the order in which they showed.
    pub findings: Vec<Finding>,
    counts: [u64; Class::ALL.len()],
    found: [u64; Class::ALL.len()],
}

impl Report {
    /// How many of a class there are.
    #[must_use]
    pub const fn count(&self, class: Class) -> u64 {
        self.counts[class as usize]
    }

    /// How many findings of a class there are, listed or not: a hole is one finding, however many ids it has.
    #[must_use]
    pub const fn found(&self, class: Class) -> u64 {
        self.found[class as usize]
    }

    /// Holes at the beginning may come of removal while it was read: what shows up to this place proves nothing.
    pub fn excuse_until(&mut self, at: u64) {
        let early = |finding: &&mut Finding| finding.class == Class::Silent && finding.at <= at;
        for finding in self.findings.iter_mut().filter(early) {
            let count = (finding.last_id - finding.first_id).saturating_add(1);
            finding.class = Class::Unprovable;
            finding.detail = format!("{count} missing: what lay here was removed by the stream's limits meanwhile");
            for (class, sign) in [(Class::Silent, false), (Class::Unprovable, true)] {
                let place = class as usize;
                let add = |to: u64, count: u64| if sign { to.saturating_add(count) } else { to.saturating_sub(count) };
                self.counts[place] = add(self.counts[place], count);
                self.found[place] = add(self.found[place], 1);
            }
        }
    }

    /// Whether nothing is wrong; losses that were declared may be allowed.
    #[must_use]
    pub fn is_whole(&self, allow_declared: bool) -> bool {
        self.faults(allow_declared).next().is_none()
    }

    /// The classes of faults that there are.
    pub fn faults(&self, allow_declared: bool) -> impl Iterator<Item = Class> {
        let counts = move |class: &Class| class.is_fault() && !(allow_declared && class.is_declared());
        Class::ALL.into_iter().filter(move |class| counts(class) && self.count(*class) > 0)
    }

    /// Counts, and lists while there is room. `detail` is asked for only then.
    pub(super) fn add(
        &mut self,
        class: Class,
        at: u64,
        (first_id, last_id): (u64, u64),
        count: u64,
        detail: impl FnOnce() -> String,
    ) {
        let place = class as usize;
        self.counts[place] = self.counts[place].saturating_add(count);
        self.found[place] += 1;
        if self.found[place] <= FINDINGS_MAX as u64 {
            self.findings.push(Finding { class, at, first_id, last_id, detail: detail() });
        }
    }
}
