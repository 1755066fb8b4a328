//! What drives a venue: plays generated trades or a capture, at their pace or as fast as the sockets take them.
//!
//! It decides when; what a trade says is the generator's or the capture's, and where it goes is the venue's.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::capture::Capture;
use super::generator::{Schedule, Stream};
use super::venue::Venue;
use crate::market::TradeMsg;
use crate::telemetry::clock;

/// Trades or frames between two looks at the clock and at the sockets.
const BATCH: usize = 256;

/// Where a venue's trades come from.
pub(super) enum Tape {
    Generated(Box<Generated>),
    Captured(Box<Capture>),
}

/// Generated trades.
pub(super) struct Generated {
    /// One a symbol.
    pub(super) streams: Vec<Stream>,
    pub(super) schedule: Schedule,
    /// The step of trade times on the wire, nanoseconds.
    pub(super) time_step: u64,
    /// Most fills of a row.
    pub(super) fills_max: u32,
    /// The fills of the row at hand.
    pub(super) fills: Vec<TradeMsg>,
    /// The latest time given: times never step back, whatever the wall clock does.
    pub(super) latest: u64,
}

/// How a tape is played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders {
    pub(super) flat_out: bool,
    pub(super) wait_for_subscriber: bool,
    /// Trades, single fills, after which the tape ends.
    pub(super) limit: u64,
}

/// The origin of a tape's time, and how fast it goes from there.
#[derive(Clone, Copy)]
struct Origin {
    now: Instant,
    wall_ns: u64,
    /// The tape's time at the origin.
    at: Duration,
    /// How many times as fast as the clock, 1 or more.
    speed: u32,
    /// When a faster pace ends, on the tape.
    slow_at: Option<Duration>,
}

impl Origin {
    fn new(at: Duration, speed: u32, slow_at: Option<Duration>) -> Self {
        Self { now: clock::now(), wall_ns: clock::wall_ns(), at, speed: speed.max(1), slow_at }
    }

    /// The tape's time by now.
    fn reached(&self) -> Duration {
        self.at + clock::now().saturating_duration_since(self.now).saturating_mul(self.speed)
    }

    /// How long after the origin this time of the tape comes.
    fn wait(&self, due: Duration) -> Duration {
        due.saturating_sub(self.at) / self.speed
    }

    /// The wall time of this time of the tape.
    fn wall(&self, due: Duration) -> u64 {
        self.wall_ns.saturating_add(u64::try_from(self.wait(due).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The tape goes faster for a while, or slower again at the end of that.
    fn turn(&mut self, hurry: Option<(u32, Duration)>) {
        let reached = self.reached();
        match (hurry, self.slow_at) {
            (Some((speed, lasting)), _) => {
                *self = Self::new(reached, speed, Some(reached + lasting.saturating_mul(speed)));
            }
            (None, Some(slow_at)) if slow_at <= reached => *self = Self::new(reached, 1, None),
            _ => {}
        }
    }
}

/// Plays a tape to its end.
pub(super) async fn run(venue: Rc<Venue>, mut tape: Tape, orders: Orders) {
    if orders.wait_for_subscriber {
        venue.subscribed().await;
    }
    let mut origin = Origin::new(Duration::ZERO, 1, None);
    while let Some(due) = tape.due(issued(&venue) < orders.limit) {
        if orders.flat_out {
            // Beyond a batch, what is left of the bound is for answers to requests and for doubled frames.
            venue.room(2 * BATCH).await;
        } else {
            tokio::select! {
                () = sleep_until((origin.now + origin.wait(due)).into()) => {}
                () = venue.hurried.notified() => {}
            }
            origin.turn(venue.take_hurry());
        }
        let until = if orders.flat_out { Duration::MAX } else { origin.reached() };
        tape.play(&venue, origin, until, &orders);
        venue.flush();
        tokio::task::yield_now().await;
    }
    venue.release_all();
    tracing::info!(exchange = venue.public.exchange, issued = issued(&venue), "the tape has ended");
    venue.public.finished.store(true, std::sync::atomic::Ordering::Release);
}

fn issued(venue: &Venue) -> u64 {
    venue.public.counters.issued.load(std::sync::atomic::Ordering::Relaxed)
}

impl Tape {
    /// When the next trade or frame is due, since the start. `None` at the end.
    fn due(&mut self, within_limit: bool) -> Option<Duration> {
        match self {
            _ if !within_limit => None,
            Self::Generated(generated) => Some(generated.schedule.peek().0),
            Self::Captured(capture) => capture.peek().map(|(due, _)| due),
        }
    }

    /// Plays what is due, up to a batch.
    fn play(&mut self, venue: &Venue, origin: Origin, until: Duration, orders: &Orders) {
        let flat_out_time = if orders.flat_out { clock::wall_ns() } else { 0 };
        for _ in 0..BATCH {
            if self.due(issued(venue) < orders.limit).is_none_or(|due| due > until) {
                return;
            }
            match self {
                Self::Generated(generated) => {
                    let (due, symbol) = generated.schedule.peek();
                    generated.schedule.pop();
                    let time = if orders.flat_out { flat_out_time } else { origin.wall(due) };
                    generated.issue(venue, symbol, time, orders.limit);
                }
                Self::Captured(capture) => {
                    if let Some((_, frame)) = capture.peek() {
                        venue.play(frame);
                    }
                    if let Err(err) = capture.advance() {
                        tracing::error!(exchange = venue.public.exchange, %err, "the capture ends early");
                    }
                }
            }
        }
    }
}

impl Generated {
    fn issue(&mut self, venue: &Venue, symbol: usize, time: u64, limit: u64) {
        let Some(stream) = self.streams.get_mut(symbol) else { return };
        if venue.take_restart(symbol) {
            stream.restart_ids();
            venue.public.book().restart(symbol);
        }
        stream.skip_ids(venue.take_id_skip(symbol));
        self.latest = self.latest.max(time / self.time_step * self.time_step);
        // The last row is cut, so that exactly as many fills are issued as were asked for.
        let left = u32::try_from(limit.saturating_sub(issued(venue))).unwrap_or(u32::MAX);
        stream.row(self.latest, self.fills_max.min(left), &mut self.fills);
        venue.issue(symbol, &self.fills);
    }
}
