//! A running daemon: what to run, threads that run it, what it says of itself, and how it ends.

mod anchor;
pub mod board;
mod feeds;
mod gate;
pub mod http;
mod left;
mod listed;
pub mod outlet;
pub mod plan;
mod registry;
pub mod report;
pub mod shard;
pub mod supervisor;

pub use plan::Plan;
pub use supervisor::{Ended, ServeError, serve};
