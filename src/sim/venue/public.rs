//! The part of a venue that other threads see: where it is, what it has done, its book.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sim::config::Endpoint;
use crate::sim::history::Book;

/// What a venue has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Trades that its tape issued: single fills.
    pub issued: u64,
    /// Rows in which its socket tells them: as many, unless it sums up fills.
    pub rows: u64,
    /// Messages written to sockets, over all connections: trades, answers, pings.
    pub frames: u64,
    /// WebSocket connections that are open now.
    pub connections: u64,
    /// WebSocket connections accepted since the start.
    pub accepted: u64,
    /// Connections dropped because the client was too slow.
    pub overflowed: u64,
    /// Trades that were sent twice, by a fault.
    pub duplicated: u64,
    /// Trades that some connection was not sent, by a fault.
    pub withheld: u64,
    /// REST requests answered.
    pub rest_requests: u64,
    /// Upgrades and REST requests refused, by a fault.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(in crate::sim) struct Counters {
    pub(in crate::sim) issued: AtomicU64,
    pub(in crate::sim) rows: AtomicU64,
    pub(in crate::sim) frames: AtomicU64,
    pub(in crate::sim) connections: AtomicU64,
    pub(in crate::sim) accepted: AtomicU64,
    pub(in crate::sim) overflowed: AtomicU64,
    pub(in crate::sim) duplicated: AtomicU64,
    pub(in crate::sim) withheld: AtomicU64,
    pub(in crate::sim) rest_requests: AtomicU64,
    pub(in crate::sim) refused: AtomicU64,
}

/// The part of a venue that other threads see.
#[derive(Debug)]
pub(in crate::sim) struct Public {
    pub(in crate::sim) exchange: &'static str,
    pub(in crate::sim) endpoint: Endpoint,
    pub(in crate::sim) counters: Counters,
    pub(in crate::sim) finished: AtomicBool,
    pub(in crate::sim) book: Mutex<Book>,
}

impl Public {
    pub(in crate::sim) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::sim) fn sent(&self) -> Sent {
        let counters = &self.counters;
        Sent {
            issued: counters.issued.load(Relaxed),
            rows: counters.rows.load(Relaxed),
            frames: counters.frames.load(Relaxed),
            connections: counters.connections.load(Relaxed),
            accepted: counters.accepted.load(Relaxed),
            overflowed: counters.overflowed.load(Relaxed),
            duplicated: counters.duplicated.load(Relaxed),
            withheld: counters.withheld.load(Relaxed),
            rest_requests: counters.rest_requests.load(Relaxed),
            refused: counters.refused.load(Relaxed),
        }
    }
}
