//! `record` and `replay` on real streams and rings: what was recorded comes back, bit for bit, each record once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests")]

mod support;

#[path = "record/again.rs"]
mod again;
#[path = "record/bucket.rs"]
mod bucket;
#[path = "record/course.rs"]
mod course;
#[path = "record/damaged.rs"]
mod damaged;
#[path = "record/dbn.rs"]
mod dbn;
#[path = "record/into.rs"]
mod into;
#[path = "record/killed.rs"]
mod killed;
#[allow(dead_code, reason = "each test takes what it needs")]
#[path = "verify/kit.rs"]
mod kit;
#[allow(dead_code, reason = "each test takes what it needs")]
#[path = "cli/process.rs"]
mod process;
#[path = "record/records.rs"]
mod records;
#[path = "record/rings.rs"]
mod rings;
#[path = "record/series.rs"]
mod series;
