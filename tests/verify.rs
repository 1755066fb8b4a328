//! `verify` on real streams, rings and recordings: what is damaged on purpose is found, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests")]

mod support;

#[path = "verify/kit.rs"]
mod kit;
#[allow(dead_code, reason = "each test takes what it needs")]
#[path = "cli/process.rs"]
mod process;
#[path = "verify/recordings.rs"]
mod recordings;
#[path = "verify/rings.rs"]
mod rings;
#[path = "verify/scans.rs"]
mod scans;
#[path = "verify/streams.rs"]
mod streams;
#[path = "verify/usage.rs"]
mod usage;
