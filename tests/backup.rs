//! `topology backup` and `topology restore` on real servers: what was saved comes back, each message as it was, or
//! nothing does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests")]

mod support;

#[path = "backup/broken.rs"]
mod broken;
#[path = "backup/damaged.rs"]
mod damaged;
#[path = "backup/forged.rs"]
mod forged;
#[path = "backup/kinds.rs"]
mod kinds;
#[path = "backup/kit.rs"]
mod kit;
#[allow(dead_code, reason = "each test takes what it needs")]
#[path = "cli/process.rs"]
mod process;
#[path = "backup/refused.rs"]
mod refused;
#[path = "backup/slow.rs"]
mod slow;
#[path = "backup/whole.rs"]
mod whole;
