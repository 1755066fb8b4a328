//! `top` as its users see it: lines of JSON where it is piped, a live view where it has a terminal.
//!
//! The terminal is a real one of the system, with this test at its other end. No time is asserted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests")]

#[path = "support/daemon.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod daemon;
#[path = "top/lines.rs"]
mod lines;
#[path = "top/pty.rs"]
mod pty;
#[path = "top/rings.rs"]
mod rings;
#[path = "top/terminal.rs"]
mod terminal;

use std::process::Command;

/// `top` with nothing of the tester's own configuration, on rings of this prefix.
fn top(prefix: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    settle(&mut command, prefix);
    command.arg("top").args(arguments);
    command
}

/// Takes the tester's configuration out of a command.
fn settle(command: &mut Command, prefix: &str) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DATA_MANAGER")) {
        command.env_remove(name);
    }
    command.env("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", prefix);
    command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("RUST_LOG");
}
