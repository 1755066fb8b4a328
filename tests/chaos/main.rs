//! The fault matrix: each row against the real binary, real nats-servers and simulated venues, with an oracle that
//! knows every trade that was issued.
//!
//! A row asserts its invariant and never a duration; how long it took to notice and to recover is measured and told.
//! `CHAOS_LONG=1` runs the long form, `CHAOS_CYCLES`, `CHAOS_MIXED_SECONDS` and `CHAOS_SEED` set what their names say,
//! `CHAOS_REPORT` names a file for the figures. `make chaos` writes docs/reliability.md from them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]
#![allow(clippy::disallowed_methods, reason = "tests have deadlines")]

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod chance;
mod clock;
mod control;
#[path = "../support/daemon.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod daemon;
mod daemons;
mod kit;
mod lines;
mod memory;
mod oracle;
mod report;
#[allow(dead_code, reason = "the report reads the rest of it")]
mod rows;
mod store;
#[path = "../support/truth.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod truth;
mod venue;
