//! The NATS side against real nats-servers: connecting, the stream, the publisher, the reader.
#![allow(clippy::large_futures, reason = "a test has stack enough for a publisher")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot run must stop")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests; the publisher's task")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod connect;
mod consumer;
mod kit;
mod outage;
mod publish;
mod refuse;
mod stream;
mod stream_errors;
mod trouble;
