//! data-manager: every trade of a venue, once, in order, exact, to NATS JetStream and to shared memory.
//!
//! # The map, in the order in which data flows
//!
//! ```text
//! socket → exchange::decode → feed::sequence ─┬─→ transport::ipc   (the ring never waits)
//!                                             └─→ transport::nats  (outbox → window → JetStream → acks)
//! ```
//!
//! A room imports only from rooms below it in this list; `tests/imports.rs` holds that.
//!
//! | room | what it knows |
//! |---|---|
//! | [`cli`] | one file a subcommand |
//! | [`app`] | a running daemon: start, drain, stop, HTTP |
//! | [`sim`] | simulated venues in their real wire format |
//! | [`feed`] | the life of one venue connection |
//! | [`exchange`] | what is particular to a venue, and nothing else |
//! | [`source`] | reading it back: rings and stream behind one trait |
//! | [`transport`] | the ring in shared memory, and JetStream |
//! | [`topology`] | streams, buckets, consumers and rights as a declaration: plan, apply, audit |
//! | [`market`] | the nouns: trade, gap, decimal, symbol, instrument, subject |
//! | [`config`] | settings, their origins, secrets |
//! | [`telemetry`] | metrics, logs, build info, the clock |
//!
//! # For a program that only reads
//!
//! [`source`] is all that it needs, and the features `ipc` (the ring alone: no runtime, no TLS) and `nats` (the stream)
//! are all that it compiles:
//!
//! ```toml
//! data-manager = { version = "0.1", default-features = false, features = ["ipc"] }
//! ```
//!
//! The feature `daemon` is the binary; `record` adds its commands `record` and `replay`, and what they write files
//! with.

#[cfg(feature = "daemon")]
pub mod cli;

#[cfg(feature = "daemon")]
pub mod app;

#[cfg(feature = "daemon")]
pub mod sim;

#[cfg(feature = "daemon")]
pub mod feed;

#[cfg(feature = "daemon")]
pub mod exchange;

pub mod source;

pub mod transport;

#[cfg(feature = "nats")]
pub mod topology;

pub mod market;

pub mod config;

pub mod telemetry;
