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
    /// REST requests answered.
    pub rest_requests: u64,
    /// Faults injected, whatever they hit.
    pub faults: u64,
    /// Trades, single fills, that a fault kept from every connection, and once more for each that it kept from one.
    pub withheld: u64,
    /// Frames that told a trade a second time, by a fault. This and what follows is over all connections, and only what
    /// was queued for one that took it.
    pub duplicated: u64,
    /// Frames of a replay.
    pub replayed: u64,
    /// Frames broken in place of a trade's good one.
    pub spoiled: u64,
    /// Frames with the id of the trade before and another size.
    pub conflicting: u64,
    /// Frames of trades with a wrong venue time.
    pub mistimed: u64,
    /// Trades held back, to be sent behind later ones.
    pub delayed: u64,
    /// Frames that a stalled or half-open connection was not sent.
    pub silenced: u64,
    /// Frames that are none of the venue's: garbage and huge ones.
    pub foreign: u64,
    /// Acks that were wrong, late or missing.
    pub bad_acks: u64,
    /// REST answers that were slow, empty, short or broken.
    pub bad_answers: u64,
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
    pub(in crate::sim) rest_requests: AtomicU64,
    pub(in crate::sim) faults: AtomicU64,
    pub(in crate::sim) withheld: AtomicU64,
    pub(in crate::sim) duplicated: AtomicU64,
    pub(in crate::sim) replayed: AtomicU64,
    pub(in crate::sim) spoiled: AtomicU64,
    pub(in crate::sim) conflicting: AtomicU64,
    pub(in crate::sim) mistimed: AtomicU64,
    pub(in crate::sim) delayed: AtomicU64,
    pub(in crate::sim) silenced: AtomicU64,
    pub(in crate::sim) foreign: AtomicU64,
    pub(in crate::sim) bad_acks: AtomicU64,
    pub(in crate::sim) bad_answers: AtomicU64,
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
            rest_requests: counters.rest_requests.load(Relaxed),
            faults: counters.faults.load(Relaxed),
            withheld: counters.withheld.load(Relaxed),
            duplicated: counters.duplicated.load(Relaxed),
            replayed: counters.replayed.load(Relaxed),
            spoiled: counters.spoiled.load(Relaxed),
            conflicting: counters.conflicting.load(Relaxed),
            mistimed: counters.mistimed.load(Relaxed),
            delayed: counters.delayed.load(Relaxed),
            silenced: counters.silenced.load(Relaxed),
            foreign: counters.foreign.load(Relaxed),
            bad_acks: counters.bad_acks.load(Relaxed),
            bad_answers: counters.bad_answers.load(Relaxed),
            refused: counters.refused.load(Relaxed),
        }
    }
}
