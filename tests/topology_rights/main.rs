//! `topology acl` on running servers: each user of the worked examples does its whole work and nothing else, and what
//! the examples are for happens with real messages, under the rights of their own users.
//!
//! Nothing is mocked: the block comes from the binary, the server reads it, and denials are the server's own words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]
#![allow(clippy::disallowed_methods, clippy::large_futures, reason = "tests have deadlines, and room")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/daemon.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod daemon;
#[path = "../support/truth.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod truth;

mod allowed;
mod credentials;
mod denied;
mod event_platform;
mod kit;
mod market;
mod needless;
mod platforms;
mod raw;
mod sly;
mod spec;
mod trade_and_record;
mod work;
