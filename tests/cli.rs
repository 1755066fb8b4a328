//! The real binary as its users see it: exit codes, messages, and what goes over its pipes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests")]

#[path = "cli/config.rs"]
mod config;
#[path = "cli/decode.rs"]
mod decode;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/venues.rs"]
mod venues;
