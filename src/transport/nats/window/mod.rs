//! The publish window: what waits, what flies, what an answer means, what to send next, what to ask after a doubt.
//!
//! Pure: it takes events with the time at which they happened and hands out [`Action`]s; it knows no socket, no clock,
//! no wire format. One window writes one stream over one connection at a time.
//!
//! # What it guarantees
//!
//! Per subject the stream holds the pushed records in the order in which they were pushed, each once, whatever the
//! connection and the server do, as long as the server keeps what it acknowledged; what the server loses is sent again
//! while it is [retained](Config::retain), and everything else that is missing is declared by a gap record.
//! Order is never mended by the client: the server refuses what comes after a hole ([`Mode`]), and on any [`Doubt`] the
//! window stops, lets the driver read what is stored, and goes on behind it.
//!
//! # Driving it
//!
//! ```text
//! push(now, route, record)         at any time; never waits, never fails
//! loop { next(now) }               until None: carry out each Action
//!   Action::Send                     publish; answers come to on_answer(now, epoch, answer)
//!   Action::Reconcile(query)         drop the connection, dial, end query.fence, read; then exactly one of
//!                                    on_reconciled(now, stored) | on_reconcile_failed(now, why)
//! on_answer(now, epoch, answer)    in the order in which answers arrive; other epochs' answers are ignored
//! on_disconnect(now)               the epoch's connection was lost (or reconnected by itself)
//! poll_at()                        call next(now) again at this time at the latest
//! ```
//!
//! Epoch numbers come with [`Query::epoch`]; the answers to publishes sent after that query's `on_reconciled` carry it.
//! A new window begins in doubt, so the first action is always a `Reconcile` whose query names the subjects of all
//! routes: their tails are the anchors of the feeds (the stream is the checkpoint).
//!
//! # Why not atomic batches
//!
//! They too refuse what comes after a hole, but only one may be under way at a time, at most 1,000 messages each, and a
//! single duplicate refuses all of it. The pipelined chain is faster on every server that has them (2.12, 2.13), and
//! its one condition, a sole writer, is how this publisher is meant to be run anyway.

mod answer;
mod event;
mod flight;
mod judge;
pub(super) mod message;
mod outbox;
mod retained;
mod sending;
mod settle;
mod standby;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub use event::{
    Action, Answer, BatchOp, Config, Doubt, Expect, Key, Mode, Places, Query, Refusal, RefusedAt, Reply, Send, Stored,
    Tail, TailRecord,
};
pub use stats::{LATENCY_BOUNDS, Stats};

use crate::market::trade::RECORD_BYTES;
use crate::market::{GapMsg, Record};
use flight::Flight;
use message::Message;
use outbox::{Dropped, Outbox};
use retained::Retained;
pub use standby::Waiting;

/// First wait after an epoch in which nothing was acknowledged; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest wait before reading again: what heals is used within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A stream that ends before what was acknowledged is read a second time after this long: a leader elected just now may
/// not have applied all that it holds.
const REGRESSION_CONFIRM: Duration = Duration::from_millis(500);

/// Gaps that are kept for whoever repairs them.
const LOST_MAX: usize = 10_000;

/// The publish window. See the module's documentation.
#[derive(Debug)]
pub struct Window {
    config: Config,
    outbox: Outbox,
    flight: Flight,
    retained: Retained,
    phase: Phase,
    epoch: u32,
    /// Something was acknowledged since the last reconcile.
    progress: bool,
    /// One message at a time, each with its own answer, so that a refusal names its message.
    careful: bool,
    draining: bool,
    /// Epochs in a row without an acknowledgement.
    attempts: u32,
    /// A batch that may still be open at the server.
    fence: Option<u64>,
    /// A message in flight that the server would refuse for ever.
    poison: Option<u64>,
    /// Messages in flight of which the server said that it had them already.
    settled: BTreeSet<u64>,
    /// Messages in flight of which the server said that their ids are known and nothing stored.
    unstored: BTreeSet<u64>,
    /// A message was refused because the stream did not end where it should have.
    out_of_line: bool,
    /// How fresh messages are sent again, once all that was sent before is acknowledged.
    resume: Option<Mode>,
    /// Until then the server may know what it never stored, and nobody here knows what: nothing goes in a batch.
    wary_until: Option<Instant>,
    /// How long the server remembers ids.
    ids_kept: Duration,
    /// Epochs in a row that ended because others had written, without an acknowledgement in between.
    disturbed: u32,
    /// Creation stamp of the stream, once read.
    created: Option<u64>,
    /// Last sequence of the reading that showed a regression, if the last reading did.
    regression: Option<u64>,
    /// Tail sequences as read at the last reconcile, until the first batch of the epoch is begun.
    tails: Vec<Tail>,
    /// Gaps that this window itself has declared and sent since [`Self::take_lost`] was called last.
    lost: Vec<(u32, GapMsg)>,
    jitter: u64,
    stats: Stats,
}

/// What the window is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does not know what is stored; it will ask at `not_before`.
    Doubt {
        /// Why.
        why: Doubt,
        /// When it may ask.
        not_before: Instant,
    },
    /// The driver is reading.
    Reading {
        /// Why.
        why: Doubt,
    },
    /// It knows, and sends.
    Steady,
}

impl Window {
    /// An empty window, in doubt.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            outbox: Outbox::new(config.pack, config.linger, config.outbox_bytes),
            flight: Flight::new(config.window),
            retained: Retained::new(config.retain, config.retain_bytes),
            phase: Phase::Doubt { why: Doubt::Start, not_before: now },
            epoch: 0,
            progress: false,
            careful: false,
            draining: false,
            attempts: 0,
            fence: None,
            poison: None,
            settled: BTreeSet::new(),
            unstored: BTreeSet::new(),
            out_of_line: false,
            resume: None,
            wary_until: None,
            ids_kept: Duration::ZERO,
            disturbed: 0,
            created: None,
            regression: None,
            tails: Vec::new(),
            lost: Vec::new(),
            jitter: config.seed | 1,
            stats: Stats::default(),
            config,
        }
    }

    /// Takes a record. Where the outbox is full the oldest waiting records are dropped and declared.
    /// A record of a route beyond [`Config::routes`] is dropped and counted: nobody could be told of it.
    pub fn push(&mut self, now: Instant, route: u32, record: &Record) {
        self.stats.taken += 1;
        if route >= self.config.routes {
            self.stats.dropped += 1;
            return;
        }
        self.outbox.push(now, route, record);
        let dropped = self.outbox.enforce();
        self.count_dropped(dropped);
        if dropped.sent {
            // It may be fetched again, and come as if it were new.
            self.be_wary(now);
        }
    }

    /// Lets the outbox grow by so many bytes beyond its bound: somebody else keeps it there, and fills it up in steps.
    pub fn widen(&mut self, bytes: usize) {
        self.outbox.widen(bytes);
    }

    /// Declares trades that are missing before all that waits: the gap is the next thing to be sent.
    pub fn declare(&mut self, route: u32, gap: GapMsg) {
        if route < self.config.routes {
            self.stats.declared += u64::from(self.outbox.declare_gap(route, gap));
        }
    }

    /// As [`Self::declare`], but in line: the gap is sent behind all that waits.
    pub fn declare_behind(&mut self, now: Instant, route: u32, gap: &GapMsg) {
        self.stats.declared += 1;
        self.push(now, route, &Record::Gap(*gap));
    }

    /// The next thing to do, or `None` until something happens or [`Self::poll_at`] has come.
    pub fn next(&mut self, now: Instant) -> Option<Action> {
        self.tick(now);
        match &self.phase {
            Phase::Doubt { why, not_before } if now >= *not_before => {
                let why = why.clone();
                Some(Action::Reconcile(self.ask(why)))
            }
            Phase::Doubt { .. } | Phase::Reading { .. } => None,
            Phase::Steady => self.next_send(now).map(Action::Send),
        }
    }

    /// Lets time pass: acknowledgements that are overdue, retained messages that are old. [`Self::next`] does it too.
    pub fn tick(&mut self, now: Instant) {
        self.retained.trim(now);
        self.wary_until = self.wary_until.filter(|until| now < *until);
        if self.phase == Phase::Steady
            && self.flight.oldest().is_some_and(|at| now.saturating_duration_since(at) >= self.config.ack_timeout)
        {
            self.doubt(now, Doubt::AckTimeout);
        }
    }

    /// When [`Self::next`] has to be called again at the latest; `None`: not before something happens.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Doubt { not_before, .. } => Some(*not_before),
            Phase::Reading { .. } => None,
            Phase::Steady => {
                let overdue = self.flight.oldest().map(|at| at + self.config.ack_timeout);
                let ping = self.ping_due();
                // A full window waits for answers: a due end could not be sent anyway.
                let end = self.flight.end_due().filter(|_| self.flight.has_room(false));
                let company = self.outbox.due().filter(|_| self.flight.has_room(self.is_careful()) && !self.holds());
                [overdue, ping, end, company].into_iter().flatten().min()
            }
        }
    }

    /// The epoch's connection was lost, or is no longer the one that was dialled.
    pub fn on_disconnect(&mut self, now: Instant) {
        if self.phase == Phase::Steady {
            self.doubt(now, Doubt::Disconnected);
        }
    }

    /// Nothing could be read; it is asked for again after a growing wait.
    pub fn on_reconcile_failed(&mut self, now: Instant, why: &str) {
        if matches!(self.phase, Phase::Reading { .. }) {
            self.attempts = self.attempts.saturating_add(1);
            let not_before = now + self.backoff();
            self.phase = Phase::Doubt { why: Doubt::Unreadable { text: why.to_owned() }, not_before };
        }
    }

    /// From here on nothing waits for company, and an idle batch is ended at once.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Takes the gaps that declare what the outbox dropped or the broker lost, once each has been sent: the broker
    /// takes records again, so what is missing may be fetched and pushed.
    pub fn take_lost(&mut self) -> Vec<(u32, GapMsg)> {
        std::mem::take(&mut self.lost)
    }

    /// What waits or is in flight and would end with this process, in order.
    #[must_use]
    pub fn remains(&self) -> Vec<[u8; RECORD_BYTES]> {
        let gaps = self.outbox.declared().map(|gap| *gap.as_bytes());
        let messages = self.flight.queue.iter().chain(self.outbox.iter());
        gaps.chain(messages.flat_map(|message| message.each().map(|record| *record.as_bytes()))).collect()
    }

    /// Records that were pushed and are done with, at least: stored, known already, or declared.
    #[must_use]
    pub fn done(&self) -> u64 {
        let flying: u64 = self.flight.queue.iter().map(Message::records).sum();
        self.stats.taken.saturating_sub(self.outbox.records() + flying)
    }

    /// Records that were ever pushed.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.stats.taken
    }

    /// Bytes that wait, as the bound counts them.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outbox.is_empty() && self.flight.queue.is_empty()
    }

    /// What it is doing.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How messages are sent, as the last reconcile said.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.flight.mode
    }

    /// The running epoch's number.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Counts and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.epochs = self.epoch;
        stats.waiting = self.outbox.records();
        stats.waiting_bytes = self.outbox.bytes();
        stats.in_flight = self.flight.queue.len();
        stats.in_flight_records = self.flight.queue.iter().map(Message::records).sum();
        stats.retained = self.retained.len();
        stats.retained_bytes = self.retained.bytes();
        stats
    }

    fn doubt(&mut self, now: Instant, why: Doubt) {
        self.out_of_line |= why == Doubt::Refused(Refusal::WrongSequence);
        if self.progress {
            self.attempts = 0;
        } else {
            self.careful |= matches!(why, Doubt::Refused(_) | Doubt::Duplicate);
            self.attempts = self.attempts.saturating_add(1);
        }
        self.fence = self.flight.open_batch().or(self.fence);
        // Others in flight may be known too, and their answers are on their way.
        let gathers = matches!(why, Doubt::Duplicate | Doubt::Refused(Refusal::InProcess));
        let gather = if gathers { BACKOFF_MIN } else { Duration::ZERO };
        let not_before = now + self.backoff().max(gather);
        self.phase = Phase::Doubt { why, not_before };
    }

    fn backoff(&mut self) -> Duration {
        let Some(doublings) = self.attempts.checked_sub(1) else { return Duration::ZERO };
        let full = BACKOFF_MIN.saturating_mul(1 << doublings.min(10)).min(BACKOFF_MAX);
        // xorshift64: anything that differs between instances will do.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        full.mul_f64(0.5 + (self.jitter % 1000) as f64 / 2000.0)
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        self.stats.dropped += dropped.trades;
        self.stats.declared += dropped.declared;
    }
}
