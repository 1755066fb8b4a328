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
//! | [`transport`] | the ring in shared memory, and JetStream |
//! | [`market`] | the nouns: trade, gap, decimal, symbol, instrument, subject |
//! | [`config`] | settings, their origins, secrets |
//! | [`telemetry`] | metrics, logs, build info, the clock |

pub mod cli;

pub mod app;

pub mod sim;

pub mod feed;

pub mod exchange;

pub mod transport;

pub mod market;

pub mod config;

pub mod telemetry;
