//! `topology` and `check` as a user runs them, on real nats-servers of three versions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod audit_output;
mod audit_reach;
mod audit_streams;
mod costs;
mod drift;
mod examples;
mod files;
mod kit;
mod order;
#[allow(dead_code, reason = "each test takes what it needs")]
#[path = "../cli/process.rs"]
mod process;
mod rules;
mod whole;
