//! What came of a row: printed as a line, and appended as JSON to the file that `CHAOS_REPORT` names.

use std::io::Write as _;
use std::time::{Duration, Instant};

use data_manager::telemetry::build::GIT_SHA;
use data_manager::telemetry::clock;
use serde_json::json;

use crate::oracle::Verdict;
use crate::rows::ROWS;

/// What must hold of the stream at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// Every trade once and in order; nothing is missing, declared or not.
    Whole,
    /// Nothing is missing that no gap declares; no double, in order.
    Honest,
    /// What is missing is told by the audit, trade by trade; no double, in order.
    Told,
}

/// The figures of a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) row: &'static str,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) declared: u64,
    pub(crate) detect: Option<Duration>,
    pub(crate) recover: Option<Duration>,
    pub(crate) notes: Vec<String>,
}

/// A row that is running. One that ends without a verdict has failed, and its line says so.
pub(crate) struct Running {
    outcome: Outcome,
    began: Instant,
    runs: u64,
    stored: u64,
    wrong: Vec<String>,
    told: bool,
}

impl Running {
    /// By the name of its test.
    pub(crate) fn new(test: &str) -> Self {
        let row = ROWS.iter().find(|row| row.test == test).unwrap_or_else(|| panic!("no row has the test {test}"));
        let outcome = Outcome { row: row.id, ..Outcome::default() };
        Self { outcome, began: Instant::now(), runs: 1, stored: 0, wrong: Vec::new(), told: false }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.outcome.notes.push(note.into());
    }

    pub(crate) const fn runs(&mut self, runs: u64) {
        self.runs = runs;
    }

    /// It was noticed now; the worst counts.
    pub(crate) fn detected(&mut self, since: Instant) {
        self.outcome.detect = self.outcome.detect.max(Some(since.elapsed()));
    }

    /// It is as before now; the worst counts.
    pub(crate) fn recovered(&mut self, since: Instant) {
        self.outcome.recover = self.outcome.recover.max(Some(since.elapsed()));
    }

    /// Something that must hold beside the stream.
    pub(crate) fn must(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.wrong.push(what.into());
        }
    }

    /// Takes a verdict on a stream.
    pub(crate) fn judged(&mut self, verdict: &Verdict, must: Must) {
        let outcome = &mut self.outcome;
        outcome.lost += verdict.lost;
        outcome.doubled += verdict.doubled;
        outcome.reordered += verdict.reordered;
        outcome.declared += verdict.declared;
        self.stored += verdict.stored;
        let missing = match must {
            Must::Whole => verdict.lost + verdict.declared,
            Must::Honest => verdict.lost,
            Must::Told => 0,
        };
        let fine = missing + verdict.doubled + verdict.reordered + verdict.foreign == 0;
        if !fine || !verdict.disagreement.is_empty() || verdict.stored == 0 {
            self.wrong.push(format!("{must:?} does not hold: {verdict}"));
        }
    }

    pub(crate) const fn fails(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Another part of the same row goes on with the row of the first.
    pub(crate) const fn finish_quietly(&mut self) {
        self.told = true;
    }

    /// Prints it, writes it, and fails if something did not hold.
    pub(crate) fn end(mut self) {
        self.tell();
        assert!(self.wrong.is_empty(), "{}: {}", self.outcome.row, self.wrong.join("\n"));
    }

    fn tell(&mut self) {
        self.told = true;
        let outcome = &self.outcome;
        let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.2?}"));
        let held = self.wrong.is_empty();
        // Past the capture of the test's output, so that a run that passes shows its figures too.
        let _ = writeln!(
            std::io::stderr(),
            "{} {} in {:.0?}: runs {}, stored {}, lost {}, doubled {}, reordered {}, declared {}, detect {}, recover {}{}{}",
            outcome.row,
            if held { "held" } else { "FAILED" },
            self.began.elapsed(),
            self.runs,
            self.stored,
            outcome.lost,
            outcome.doubled,
            outcome.reordered,
            outcome.declared,
            time(outcome.detect),
            time(outcome.recover),
            if outcome.notes.is_empty() { "" } else { "; " },
            outcome.notes.join("; "),
        );
        let Some(path) = std::env::var_os("CHAOS_REPORT") else { return };
        let millis = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let line = json!({
            "row": outcome.row, "held": held, "runs": self.runs, "stored": self.stored,
            "lost": outcome.lost, "doubled": outcome.doubled, "reordered": outcome.reordered,
            "declared": outcome.declared, "detect_ms": millis(outcome.detect), "recover_ms": millis(outcome.recover),
            "notes": outcome.notes, "form": if crate::kit::long() { "long" } else { "short" },
            "commit": commit(), "date": today(),
        });
        let file = std::fs::File::options().create(true).append(true).open(path);
        // One write: rows that run side by side append to the same file.
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("CHAOS_REPORT: {error}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.told {
            self.wrong.push("it did not come to its end".to_owned());
            self.note("did not come to its end");
            self.tell();
        }
    }
}

/// The commit that the tree stands at; the one that a debug build carries may be older.
fn commit() -> String {
    let done = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let sha = done.ok().filter(|done| done.status.success()).and_then(|done| String::from_utf8(done.stdout).ok());
    sha.map_or_else(|| GIT_SHA.to_owned(), |sha| sha.trim().to_owned())
}

fn today() -> String {
    let now = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(clock::wall_ns())).unwrap();
    now.date().to_string()
}
