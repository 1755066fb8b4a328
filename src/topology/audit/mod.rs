//! What is likely to go wrong: a declaration held against itself, and against what a server says and does.
//!
//! It judges; asking is for others. A finding names the place and what to do. Nothing here does IO.

mod consumers;
mod files;
mod retention;
mod rights;
mod server;

use std::fmt;

use serde::Serialize;

pub use self::files::of_files;
pub use self::server::{Limits, Observed, Reach, of_server};

/// How bad it is, in the order of the exit codes of monitoring plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong; it is said because it was asked.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// It does not work, or loses what was stored.
    Critical,
    /// It could not be found out.
    Unknown,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, such as `retention`.
    pub check: &'static str,
    /// What it is about, such as `streams.TRADES`.
    pub place: String,
    /// What is wrong, with the numbers.
    pub message: String,
    /// What to do; empty where nothing is to be done.
    pub cure: String,
}

impl Severity {
    /// The exit code that monitoring plugins use for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// Its place among the others; what is critical is worse than what is not known.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Critical => 3,
        }
    }

    /// How it is written in front of a finding.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl Finding {
    /// A finding.
    pub fn new(
        severity: Severity,
        check: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { severity, check, place: place.into(), message: message.into(), cure: cure.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {}: {}: {}", self.severity.as_str(), self.check, self.place, self.message)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, "; {}", self.cure) }
    }
}

/// The worst of all; what is critical is worse than what is not known.
#[must_use]
pub fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max_by_key(|severity| severity.rank()).unwrap_or(Severity::Ok)
}

#[cfg(test)]
mod tests;
