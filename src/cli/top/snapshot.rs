//! What is shown, as plain values: the view draws it, `--json` prints it, a pause keeps it.

use std::cmp::Ordering;

use serde::Serialize;

use super::status::{AckBound, Status};

/// All numbers at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Snapshot {
    /// Wall time, ns since the Unix epoch.
    #[serde(rename = "ts")]
    pub(super) now_ns: u64,
    /// How long the interval was that the rates are of.
    pub(super) interval_ns: u64,
    /// What is read.
    pub(super) source: String,
    pub(super) total: Figures,
    pub(super) exchanges: Vec<ExchangeRow>,
    pub(super) rings: Vec<RingRow>,
    pub(super) lost: Lost,
    /// What is wrong with reading.
    pub(super) note: Option<String>,
    pub(super) daemon: Option<Status>,
    pub(super) ack_p50: Option<AckBound>,
    pub(super) ack_p99: Option<AckBound>,
    /// Why the daemon's own numbers are missing.
    pub(super) daemon_error: Option<String>,
}

/// Counts since the start of this view, and rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) rate: f64,
    pub(super) rate_10s: f64,
    pub(super) trades: u64,
    pub(super) gaps: u64,
    /// Gaps that were declared filled.
    pub(super) filled: u64,
    /// Trades in gaps that were not filled since.
    pub(super) missing: u64,
    /// Gaps of which nobody knows how many trades are missing.
    pub(super) unknown: u64,
    /// Receive time less the venue's time, mean over the last interval in which this row had live trades.
    pub(super) lag_ns: Option<i64>,
    /// The worst of the same trades.
    pub(super) lag_worst_ns: Option<i64>,
    /// Since the last live trade was received.
    pub(super) age_ns: Option<u64>,
}

/// An exchange: the sums of its symbols.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ExchangeRow {
    pub(super) exchange: String,
    /// Its connections, as the daemon says; empty: nothing said.
    pub(super) state: String,
    /// Whether all its connections are live; `None`: nobody says.
    pub(super) live: Option<bool>,
    /// What is wrong with its ring's writer; empty: nothing.
    pub(super) writer: String,
    #[serde(flatten)]
    pub(super) figures: Figures,
    #[serde(skip)]
    pub(super) trend: Vec<f64>,
    pub(super) symbols: Vec<SymbolRow>,
}

/// A symbol.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SymbolRow {
    pub(super) symbol: String,
    /// Exact.
    pub(super) price: Option<String>,
    pub(super) direction: Direction,
    pub(super) size: Option<String>,
    pub(super) side: Option<&'static str>,
    #[serde(flatten)]
    pub(super) figures: Figures,
    #[serde(skip)]
    pub(super) trend: Vec<f64>,
}

/// Which way the price went when it last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    #[default]
    None,
    Up,
    Down,
}

/// A ring, and where it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RingRow {
    pub(super) exchange: String,
    /// Records that it remembers.
    pub(super) capacity: u64,
    /// Records that were written to it.
    pub(super) written: u64,
    /// Records that are written and not read yet.
    pub(super) unread: u64,
    /// The most that waited when this view came to read, since it was told last.
    pub(super) peak: u64,
}

/// What this view did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lost {
    /// Records of rings, exactly.
    pub(super) records: u64,
    /// How many times a writer has overtaken.
    pub(super) laps: u64,
    /// Messages that the stream has removed before they were read, at most: wanted or not.
    pub(super) removed: u64,
    /// Records and messages that were passed over because this version does not understand them.
    pub(super) unreadable: u64,
}

impl From<Ordering> for Direction {
    fn from(order: Ordering) -> Self {
        match order {
            Ordering::Less => Self::Down,
            Ordering::Equal => Self::None,
            Ordering::Greater => Self::Up,
        }
    }
}

impl Figures {
    /// The sum; the age of the youngest. Lags of the last interval are no matter of rows, whose last ones differ.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            rate: sum.rate + one.rate,
            rate_10s: sum.rate_10s + one.rate_10s,
            trades: sum.trades + one.trades,
            gaps: sum.gaps + one.gaps,
            filled: sum.filled + one.filled,
            missing: sum.missing.saturating_add(one.missing),
            unknown: sum.unknown + one.unknown,
            lag_ns: None,
            lag_worst_ns: None,
            age_ns: [sum.age_ns, one.age_ns].into_iter().flatten().min(),
        })
    }
}

impl RingRow {
    /// How much of it was unread at the peak, in percent: beyond 100 the writer overtakes this view.
    pub(super) fn fill(&self) -> f64 {
        self.peak.min(self.capacity) as f64 * 100.0 / self.capacity.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::status::Publisher;
    use super::*;

    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    found.insert(key.clone());
                    keys(value, found);
                }
            }
            Value::Array(all) => all.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_key_is_in_the_document_and_no_other() {
        let exchange = ExchangeRow { symbols: vec![SymbolRow::default()], ..ExchangeRow::default() };
        let daemon = Status { publisher: Some(Publisher::default()), ..Status::default() };
        let snapshot = Snapshot {
            exchanges: vec![exchange],
            rings: vec![RingRow::default()],
            daemon: Some(daemon),
            ack_p50: Some(AckBound::default()),
            ..Snapshot::default()
        };
        let mut written = BTreeSet::new();
        keys(&serde_json::to_value(snapshot).unwrap(), &mut written);
        let document = include_str!("../../../docs/top.md");
        let firsts = document.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
        let told: BTreeSet<String> =
            firsts.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
        assert_eq!(written, told);
    }
}
