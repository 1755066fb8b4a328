//! How a session's connections come, take over from each other, and go.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Action, ConnId, Link, Note, Session, Spread};
use crate::exchange::Heartbeat;
use crate::feed::backoff::Budget;
use crate::market::GapReason;

/// A connection that lived this long is healthy: waits before reconnects start over.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// After all of a successor's subscribes are acknowledged, the old connection runs on for at least this long: what it
/// had under way still arrives.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// A venue that pings on its own shows that the connection lives, and nothing about the data: without a trade for this
/// long a successor is asked for.
pub(super) const QUIET_MIN: Duration = Duration::from_secs(60);
const QUIET_MAX: Duration = Duration::from_secs(3_600);

impl Session {
    /// When a connection that only pings is to be replaced; a stall rule of the settings, or looks at the venue's
    /// history, stand in its place.
    pub(super) fn quiet_at(&self, link: &Link) -> Option<Instant> {
        let pings = matches!(self.exchange.profile().heartbeat, Heartbeat::ServerPing { .. });
        (pings && self.rules.stall.is_none() && !self.rules.looks && link.subscribed.is_some())
            .then(|| link.traded + self.quiet)
    }

    /// The primary does not bring what the venue trades: it is replaced, with overlap.
    pub fn mute(&mut self, now: Instant, why: String, out: &mut Vec<Action>) {
        if let Some(conn) = self.primary.as_ref().map(|link| link.conn) {
            self.rotate(now, conn, why, out);
        }
    }

    /// The primary should be replaced, with overlap.
    pub(super) fn rotate(&mut self, now: Instant, conn: ConnId, why: String, out: &mut Vec<Action>) {
        let is_primary = self.primary.as_ref().is_some_and(|link| link.conn == conn);
        if is_primary && self.successor.is_none() && self.successor_at.is_none() {
            self.successor_at = Some(now);
            out.push(Action::Note(Note::Rotating(why)));
        }
    }

    pub(super) fn begin_rotation(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(link) = &self.primary else { return };
        let conn = link.conn;
        if link.rotate_at.is_some_and(|at| at <= now) {
            self.rotate(now, conn, "the venue closes a connection of this age".to_owned(), out);
        } else if self.quiet_at(link).is_some_and(|at| at <= now)
            && self.successor_at.is_none()
            && self.successor.is_none()
        {
            self.rotate(now, conn, format!("no trade for {} s though the venue pings", self.quiet.as_secs()), out);
            self.quiet = (self.quiet * 2).min(QUIET_MAX);
        }
    }

    pub(super) fn finish_rotation(&mut self, now: Instant, holding: bool, out: &mut Vec<Action>) {
        let Some(since) = self.successor.as_ref().and_then(|link| link.subscribed) else { return };
        let age = now.saturating_duration_since(since);
        let done = age >= SETTLE.min(self.rules.overlap) && !holding || age >= self.rules.overlap;
        if !done {
            return;
        }
        if let Some(old) = self.primary.take() {
            out.push(Action::Close(old.conn));
        }
        self.primary = self.successor.take();
        out.push(Action::Overlap(false));
        out.push(Action::Note(Note::Rotated));
    }

    pub(super) fn dial_due(&mut self, now: Instant, budget: &mut Budget, out: &mut Vec<Action>) {
        if self.primary.is_none() && self.dial_at.is_some_and(|at| at <= now) {
            match budget.take(now) {
                Ok(()) => {
                    self.dial_at = None;
                    self.primary = Some(self.dial(now, out));
                }
                Err(later) => self.dial_at = Some(later),
            }
        }
        if self.successor.is_none() && self.successor_at.is_some_and(|at| at <= now) {
            match budget.take(now) {
                Ok(()) => {
                    self.successor_at = None;
                    self.successor = Some(self.dial(now, out));
                }
                Err(later) => self.successor_at = Some(later),
            }
        }
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Action>) -> Link {
        self.next_conn += 1;
        out.push(Action::Dial(self.next_conn));
        Link {
            conn: self.next_conn,
            opened: None,
            heard: now,
            data: now,
            traded: now,
            pace: Budget::new(self.exchange.profile().messages),
            queue: VecDeque::new(),
            queue_at: None,
            spread: Spread::default(),
            unanswered: Vec::new(),
            wanted: BTreeSet::new(),
            subscribed: None,
            rotate_at: None,
            ping_at: None,
            pong_by: None,
            probed: None,
        }
    }

    /// A connection is no more: the other one takes over, or a new one is dialled after a wait.
    pub(super) fn gone(
        &mut self,
        now: Instant,
        conn: ConnId,
        why: String,
        least: Option<Duration>,
        reason: GapReason,
        out: &mut Vec<Action>,
    ) {
        let is_primary = self.primary.as_ref().is_some_and(|link| link.conn == conn);
        let is_successor = self.successor.as_ref().is_some_and(|link| link.conn == conn);
        if !is_primary && !is_successor {
            return;
        }
        let gone = if is_primary { self.primary.take() } else { self.successor.take() };
        let opened = gone.and_then(|link| link.opened);
        let healthy = opened.is_some_and(|opened| now >= opened + HEALTHY_AFTER);
        if healthy {
            self.backoff.reset();
        }
        let wait = self.backoff.wait().max(least.unwrap_or_default());
        out.push(Action::Overlap(false));
        out.push(Action::Note(Note::Lost { conn, why, retry_in: wait, opened: opened.is_some() }));
        if is_successor {
            self.successor_at = Some(now + wait);
            return;
        }
        self.primary = self.successor.take();
        // A successor on which nothing is subscribed yet brings nothing.
        let live = self.primary.as_ref().is_some_and(|link| link.subscribed.is_some());
        if !live {
            out.push(Action::Lost(reason));
        }
        if self.primary.is_none() {
            // What was planned as a successor is simply the next connection.
            self.dial_at = Some(self.successor_at.take().map_or(now + wait, |at| at.min(now + wait)));
        }
    }
}

/// How long before a connection's known end its successor is dialled: a twentieth of its life, ten minutes at most, and
/// up to half as much again by chance, so that many connections do not rotate together.
pub(super) fn rotation_margin(life: Duration, jitter: f64) -> Duration {
    (life / 20).min(Duration::from_secs(600)).mul_f64(1.0 + jitter / 2.0)
}
