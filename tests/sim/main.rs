//! Simulated venues on real sockets, as a client meets them: what each says, and every fault that can be injected.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]

mod client;
mod connections;
mod okx;
mod plan;
mod trades;
mod wire;
