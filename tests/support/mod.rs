//! Real nats-servers for the tests: one, a cluster, one behind a proxy, one that asks who is there.
//!
//! A test takes it with `mod support;`, a bench with `#[path = "../tests/support/mod.rs"] mod support;`.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests; tasks of the proxy")]

pub mod auth;
mod cluster;
mod ports;
mod proxy;
mod read;
mod server;
pub mod tls;
pub mod trades;

pub use cluster::Cluster;
pub use proxy::{Proxy, Way};
pub use read::{Read, client, read_all, read_all_within};
pub use server::{Builder, DEFAULT_VERSION, Server};
