//! The real binary between simulated venues and real nats-servers: what the venues issued is what the stream and the
//! rings hold, whatever happens to the broker in between.
//!
//! Nothing is mocked: sockets, processes, signals and shared memory are the system's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]
#![allow(clippy::disallowed_methods, reason = "tests have deadlines")]

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod capture;
mod chain;
mod cover;
#[path = "../support/daemon.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod daemon;
mod kv;
mod life;
mod okx;
mod readers;
mod refused;
mod repair;
mod streams;
#[path = "../support/truth.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod truth;

/// What takes long: `make test` leaves it to `make test-slow`.
mod slow {
    mod anew;
    mod history;
    mod lines;
    mod outage;
    mod pair;
    mod streams;
}
