//! What a feed tells of itself: status, notes of its session, frames that could not be decoded.

use std::time::Instant;

use tokio_tungstenite::tungstenite::Message;

use super::{COMPLAIN_EVERY, Feed};
use crate::exchange::DecodeError;
use crate::feed::Deliver;
use crate::feed::session::Note;
use crate::feed::status::FeedState;
use crate::market::Instrument;
use crate::telemetry::clock;

impl<D: Deliver> Feed<D> {
    /// Counts an undecodable frame, and shows one of each kind now and then.
    pub(super) fn complain(&mut self, now: Instant, error: &DecodeError, message: &Message) {
        let kind = error.kind();
        *self.shared.status.borrow_mut().decode_errors.entry(kind).or_default() += 1;
        let recent = self.complained.iter().any(|(known, at)| *known == kind && now < *at + COMPLAIN_EVERY);
        if recent {
            return;
        }
        self.complained.retain(|(known, _)| *known != kind);
        self.complained.push((kind, now));
        let frame: String = message.to_text().unwrap_or("(binary)").chars().take(200).collect();
        tracing::warn!(conn = self.spec.name, err = %error, frame, "a frame could not be decoded; it is counted and skipped");
    }

    pub(super) fn note(&self, note: Note) {
        let name = &self.spec.name;
        match note {
            Note::Connected(conn) => {
                self.shared.status.borrow_mut().connects += 1;
                tracing::info!(conn = %name, number = conn, "connected");
                if !self.session.is_live() {
                    self.status_of(FeedState::Subscribing);
                }
            }
            Note::Subscribed(conn) => {
                tracing::info!(conn = %name, number = conn, symbols = self.spec.instruments.len(), "subscribed");
                self.shared.sequencer.borrow_mut().connected(self.spec.line);
                self.shared.repairs.set_live(self.spec.line, true);
                self.accepted();
                self.status_of(FeedState::Live);
            }
            Note::Lost { conn, why, retry_in, opened } => {
                self.shared.status.borrow_mut().disconnects += u64::from(opened);
                self.shared.status.borrow_mut().last_error.clone_from(&why);
                if self.session.is_live() {
                    tracing::warn!(conn = %name, number = conn, err = why, ?retry_in, "one of two connections is gone");
                } else {
                    tracing::warn!(conn = %name, number = conn, err = why, ?retry_in, "no connection");
                    self.shared.repairs.set_live(self.spec.line, false);
                    self.status_of(FeedState::Connecting);
                }
            }
            Note::Rotating(why) => tracing::info!(conn = %name, why, "connecting a successor"),
            Note::Rotated => {
                self.shared.status.borrow_mut().rotations += 1;
                tracing::info!(conn = %name, "the successor has taken over");
            }
            Note::Split { symbols, reason } => {
                tracing::warn!(conn = %name, symbols, reason, "the venue refuses a subscription: finding the symbol");
                self.shared.status.borrow_mut().last_error = format!("the venue refuses a subscription: {reason}");
            }
            Note::Accepted { symbols } => {
                tracing::info!(conn = %name, symbols = symbols.join(","), "accepted after all");
                self.accepted();
            }
            Note::Rejected { symbols, reason } => self.rejected(&symbols, &reason),
        }
    }

    /// Counts a venue time that cannot be right, and tells of the first one.
    #[cold]
    pub(super) fn bad_time(&self) {
        let mut status = self.shared.status.borrow_mut();
        status.bad_times += 1;
        if status.bad_times == 1 {
            tracing::warn!(conn = %self.spec.name, "venue times cannot be right: the receive time stands in, and counts");
        }
    }

    /// Shows what the sequencer has counted, and tells what begins to go wrong.
    pub(super) fn counted(&self) {
        let now = self.shared.sequencer.borrow().stats();
        let mut status = self.shared.status.borrow_mut();
        let before = std::mem::replace(&mut status.sequence, now);
        if now.absurd > before.absurd {
            tracing::error!(conn = %self.spec.name, total = now.absurd, "a trade's id cannot be right: declared as a gap");
        }
    }

    /// What was refused is subscribed after all.
    fn accepted(&self) {
        let refused: Vec<&str> = self.session.rejected_symbols().collect();
        let mut status = self.shared.status.borrow_mut();
        for (route, instrument) in &self.spec.instruments {
            if !refused.contains(&instrument.venue_symbol.as_str())
                && let Some(of_route) = status.routes.get_mut(route)
            {
                of_route.rejected.clear();
            }
        }
    }

    /// Each refusal is told once, however often the venue repeats it.
    fn rejected(&self, symbols: &[String], reason: &str) {
        let mut status = self.shared.status.borrow_mut();
        status.last_error = format!("the venue refuses a subscription: {reason}");
        let of = |(_, instrument): &&(u32, Instrument)| symbols.contains(&instrument.venue_symbol);
        for (route, instrument) in self.spec.instruments.iter().filter(of) {
            let of_route = status.routes.entry(*route).or_default();
            if of_route.rejected != reason {
                let symbol = &instrument.venue_symbol;
                tracing::error!(conn = %self.spec.name, symbol, reason, "the venue refuses a symbol");
                reason.clone_into(&mut of_route.rejected);
            }
        }
    }

    pub(super) fn status_of(&self, state: FeedState) {
        let mut status = self.shared.status.borrow_mut();
        if state == FeedState::Live {
            status.last_error.clear();
        }
        if status.state != state || status.since.is_none() {
            status.state = state;
            status.since = Some(clock::now());
        }
    }
}
