//! What to do about a venue connection: dial, subscribe, watch, rotate, come back. Pure: events and the time go in,
//! actions come out.
//!
//! A session owns at most two connections: the primary, and its successor while one replaces the other with overlap.

mod action;
mod probe;
mod refusal;
mod rotation;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub use action::{Action, ConnId, DialFailure, Note, Rules};

use super::backoff::{Backoff, Budget};
use crate::exchange::{Event, Exchange, Heartbeat, Request};
use crate::market::GapReason;
use probe::probe_at;
use refusal::{Refusals, Refused, Spread};
use rotation::{QUIET_MIN, SETTLE, rotation_margin};

/// A refusal that will not pass soon (bad request, banned, unavailable for legal reasons) is retried this late.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// The life of one venue connection.
#[derive(Debug)]
pub struct Session {
    exchange: &'static dyn Exchange,
    symbols: Vec<String>,
    rules: Rules,
    primary: Option<Link>,
    successor: Option<Link>,
    dial_at: Option<Instant>,
    successor_at: Option<Instant>,
    next_conn: ConnId,
    next_request: u64,
    backoff: Backoff,
    rng: fastrand::Rng,
    refusals: Refusals,
    /// The venue closed the last connection for reasons of its own before all was subscribed.
    shown_out: bool,
    /// A venue that pings and sends no trade for this long gets a fresh connection beside the old one; it doubles while
    /// that brings no trade either.
    quiet: Duration,
    /// When [`Self::poll`] was called last.
    polled: Instant,
}

/// One connection.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    opened: Option<Instant>,
    heard: Instant,
    data: Instant,
    /// The last trade, or the opening.
    traded: Instant,
    pace: Budget,
    queue: VecDeque<Queued>,
    /// When the message limit, or the venue's refusals, let the queue go on.
    queue_at: Option<Instant>,
    spread: Spread,
    unanswered: Vec<Asked>,
    wanted: BTreeSet<String>,
    subscribed: Option<Instant>,
    rotate_at: Option<Instant>,
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
    /// We asked for a sign of life: something must be heard by then.
    probed: Option<Instant>,
}

/// A request that is to be sent.
#[derive(Debug)]
struct Queued {
    request: Request,
    attempt: Attempt,
}

/// A request that was sent and is not answered yet.
#[derive(Debug)]
struct Asked {
    request: Request,
    due: Instant,
    attempt: Attempt,
}

/// How often something is asked for on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attempt {
    First,
    /// The first was not answered. Once a subscribe has been repeated, its next silence is the connection's end.
    Again,
    /// It was refused a while ago. Its silence is no more than another refusal.
    Probe,
}

impl Session {
    /// A session that dials at its first [`Self::poll`].
    #[must_use]
    pub fn new(exchange: &'static dyn Exchange, symbols: Vec<String>, rules: Rules, now: Instant, seed: u64) -> Self {
        Self {
            exchange,
            symbols,
            rules,
            primary: None,
            successor: None,
            dial_at: Some(now),
            successor_at: None,
            next_conn: 0,
            next_request: 1,
            backoff: Backoff::new(rules.backoff.0, rules.backoff.1, seed),
            rng: fastrand::Rng::with_seed(seed),
            refusals: Refusals::default(),
            shown_out: false,
            quiet: QUIET_MIN,
            polled: now,
        }
    }

    /// Whether a connection is open and all its subscribes are answered.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.primary.as_ref().is_some_and(|link| link.subscribed.is_some())
    }

    /// A connection is open.
    pub fn opened(&mut self, now: Instant, conn: ConnId, out: &mut Vec<Action>) {
        let jitter = self.rng.f64();
        let (exchange, symbols) = (self.exchange, self.wanted());
        let first = self.next_request;
        let Some(link) = self.link(conn) else { return };
        let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let requests = exchange.subscribe(&names, first).into_iter();
        link.queue = requests.map(|request| Queued { request, attempt: Attempt::First }).collect();
        link.wanted = symbols.iter().cloned().collect();
        link.opened = Some(now);
        link.heard = now;
        link.data = now;
        link.traded = now;
        link.rotate_at = exchange.profile().lifetime.map(|life| now + life - rotation_margin(life, jitter));
        if let Heartbeat::ClientText { every, .. } = exchange.profile().heartbeat {
            link.ping_at = Some(now + every);
        }
        let asked = link.queue.len() as u64;
        self.next_request += asked;
        out.push(Action::Note(Note::Connected(conn)));
        out.push(Action::Overlap(self.both_open()));
        self.send_queued(now, out);
    }

    /// A dial failed.
    pub fn dial_failed(&mut self, now: Instant, conn: ConnId, failure: &DialFailure, out: &mut Vec<Action>) {
        let refused = matches!(failure.status, Some(400 | 401 | 403 | 404 | 418 | 451));
        let least = failure.retry_after.or_else(|| refused.then_some(REFUSED_WAIT));
        self.gone(now, conn, failure.message.clone(), least, GapReason::VenueDisconnect, out);
    }

    /// A connection closed, or broke.
    pub fn closed(&mut self, now: Instant, conn: ConnId, code: Option<u16>, why: &str, out: &mut Vec<Action>) {
        let refused = matches!(code, Some(1008 | 4000..=4999));
        let fresh = self.link(conn).is_some_and(|link| link.subscribed.is_none());
        // Once it may be that our subscribe came too late for the venue's patience, over a bad line.
        let late = refused && fresh && !std::mem::replace(&mut self.shown_out, refused);
        let least = (refused && !late).then_some(REFUSED_WAIT);
        self.gone(now, conn, why.to_owned(), least, GapReason::VenueDisconnect, out);
    }

    /// Something arrived on a connection, be it a ping.
    pub fn heard(&mut self, now: Instant, conn: ConnId) {
        if let Some(link) = self.link(conn) {
            link.heard = now;
            link.probed = None;
        }
    }

    /// A data message arrived and was this.
    pub fn event(&mut self, now: Instant, conn: ConnId, event: Event, out: &mut Vec<Action>) {
        let Some(link) = self.link(conn) else { return };
        link.heard = now;
        link.data = now;
        link.probed = None;
        match event {
            Event::Trades => {
                link.traded = now;
                self.quiet = QUIET_MIN;
            }
            Event::Ignored | Event::LastTrade { .. } => {}
            Event::Pong => link.pong_by = None,
            Event::Ping { reply } => out.push(Action::Send(conn, reply)),
            Event::AckedRequest(id) => {
                let answered = link.unanswered.iter().position(|asked| asked.request.id == Some(id));
                if let Some(place) = answered {
                    let symbols = link.unanswered.swap_remove(place).request.symbols;
                    self.acked(now, conn, &symbols, out);
                }
            }
            Event::AckedSymbols(symbols) => self.acked(now, conn, &symbols, out),
            Event::Rejected { id, symbol, reason } => {
                self.rejected(now, conn, Refused { id, symbol, reason }, out);
            }
            Event::Closing { reason } => self.rotate(now, conn, reason, out),
        }
    }

    /// Lets time pass. `holding` says whether trades wait behind a hole that the old connection may still fill.
    pub fn poll(&mut self, now: Instant, budget: &mut Budget, holding: bool, out: &mut Vec<Action>) {
        self.polled = now;
        self.watch(now, out);
        self.ask_for_refused(now);
        self.send_queued(now, out);
        self.finish_rotation(now, holding, out);
        self.begin_rotation(now, out);
        self.dial_due(now, budget, out);
    }

    /// When [`Self::poll`] should be called next, if nothing happens before.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let links = [&self.primary, &self.successor].into_iter().flatten();
        let refused = self.refusals.next().filter(|_| links.clone().any(|link| link.opened.is_some()));
        let of_links = links.flat_map(|link| self.link_deadlines(link)).min();
        [self.dial_at, self.successor_at, of_links, refused].into_iter().flatten().min()
    }

    /// The symbols that the venue refuses; each is asked for again after a while.
    pub fn rejected_symbols(&self) -> impl Iterator<Item = &str> {
        self.refusals.symbols()
    }

    fn link_deadlines(&self, link: &Link) -> impl Iterator<Item = Instant> {
        let open = link.opened.is_some();
        let silence = open.then(|| self.silent_at(link));
        let answer = link.unanswered.iter().map(|asked| asked.due).min();
        let queued = link.queue_at.filter(|_| open && !link.queue.is_empty());
        let rotate = link.rotate_at.filter(|_| self.successor.is_none() && self.successor_at.is_none());
        let quiet = self.quiet_at(link).filter(|_| self.successor.is_none() && self.successor_at.is_none());
        let probe = open.then(|| probe_at(link));
        [silence, probe, answer, queued, rotate, quiet, self.overlap_ends(), link.ping_at, link.pong_by]
            .into_iter()
            .flatten()
    }

    fn silent_at(&self, link: &Link) -> Instant {
        match self.rules.stall {
            Some(stall) => link.data + stall,
            None => link.heard + self.exchange.profile().silence,
        }
    }

    /// When the overlap is to be looked at: once what was under way has arrived, then at its end. What the sequencer
    /// waits for wakes us by itself.
    fn overlap_ends(&self) -> Option<Instant> {
        let since = self.successor.as_ref().and_then(|link| link.subscribed)?;
        let settled = since + SETTLE.min(self.rules.overlap);
        Some(if self.polled < settled { settled } else { since + self.rules.overlap })
    }

    fn wanted(&self) -> Vec<String> {
        self.symbols.iter().filter(|symbol| !self.refusals.has(symbol)).cloned().collect()
    }

    fn link_of(&self, conn: ConnId) -> Option<&Link> {
        [&self.primary, &self.successor].into_iter().flatten().find(|link| link.conn == conn)
    }

    fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        [&mut self.primary, &mut self.successor].into_iter().flatten().find(|link| link.conn == conn)
    }

    fn both_open(&self) -> bool {
        [&self.primary, &self.successor].into_iter().all(|link| link.as_ref().is_some_and(|l| l.opened.is_some()))
    }

    /// Silence and missing answers.
    fn watch(&mut self, now: Instant, out: &mut Vec<Action>) {
        let conns: Vec<ConnId> = [&self.primary, &self.successor].into_iter().flatten().map(|link| link.conn).collect();
        for conn in conns {
            let Some(link) = self.link(conn) else { continue };
            if link.opened.is_none() {
                continue;
            }
            let unanswered = link.unanswered.iter().any(|asked| asked.due <= now && asked.attempt == Attempt::Again);
            let no_pong = [link.pong_by, link.probed].into_iter().flatten().any(|by| by <= now);
            let silent = [&self.primary, &self.successor]
                .into_iter()
                .flatten()
                .any(|link| link.conn == conn && self.silent_at(link) <= now);
            let why = match (silent, no_pong, unanswered) {
                (true, _, _) => "nothing arrived for too long",
                (_, true, _) => "our ping was not answered",
                (_, _, true) => "a subscribe was not answered, twice",
                _ => {
                    self.ask_again(now, conn);
                    self.ping(now, conn, out);
                    self.probe(now, conn, out);
                    continue;
                }
            };
            out.push(Action::Close(conn));
            self.gone(now, conn, why.to_owned(), None, GapReason::Stall, out);
        }
    }

    /// A subscribe that was not answered goes out once more.
    fn ask_again(&mut self, now: Instant, conn: ConnId) {
        let Some(link) = self.link(conn) else { return };
        let due: Vec<usize> = (0..link.unanswered.len()).rev().filter(|i| link.unanswered[*i].due <= now).collect();
        for place in due {
            let asked = link.unanswered.swap_remove(place);
            if asked.attempt != Attempt::Probe {
                link.queue.push_back(Queued { request: asked.request, attempt: Attempt::Again });
            }
        }
    }

    fn ping(&mut self, now: Instant, conn: ConnId, out: &mut Vec<Action>) {
        let Heartbeat::ClientText { text, every, within } = self.exchange.profile().heartbeat else { return };
        let Some(link) = self.link(conn) else { return };
        if link.ping_at.is_some_and(|at| at <= now) {
            link.ping_at = Some(now + every);
            link.pong_by.get_or_insert(now + within);
            out.push(Action::Send(conn, text.to_owned()));
        }
    }

    /// Sends what the venue's message limit allows now.
    fn send_queued(&mut self, now: Instant, out: &mut Vec<Action>) {
        let ack_within = self.exchange.profile().ack_within;
        for link in [&mut self.primary, &mut self.successor].into_iter().flatten().filter(|link| link.opened.is_some())
        {
            link.queue_at = None;
            while !link.queue.is_empty() {
                if let Some(until) = link.spread.holds() {
                    if !link.unanswered.is_empty() {
                        break;
                    }
                    link.queue_at = Some(until).filter(|until| now < *until);
                }
                if link.queue_at.is_none() {
                    link.queue_at = link.pace.take(now).err();
                }
                if link.queue_at.is_some() {
                    break;
                }
                let Some(Queued { request, attempt }) = link.queue.pop_front() else { break };
                out.push(Action::Send(link.conn, request.text.clone()));
                link.unanswered.push(Asked { request, due: now + ack_within, attempt });
            }
        }
    }

    /// Symbols are subscribed.
    fn acked(&mut self, now: Instant, conn: ConnId, symbols: &[String], out: &mut Vec<Action>) {
        let Some(link) = self.link(conn) else { return };
        for symbol in symbols {
            link.wanted.remove(symbol);
        }
        let wanted = &link.wanted;
        link.unanswered.retain(|asked| asked.request.symbols.iter().any(|symbol| wanted.contains(symbol)));
        self.accepted(conn, symbols, out);
        self.send_queued(now, out);
        self.settle(now, conn, out);
    }

    /// Whether all of a connection's subscribes are answered now.
    fn settle(&mut self, now: Instant, conn: ConnId, out: &mut Vec<Action>) {
        let nothing_left = self.wanted().is_empty();
        let Some(link) = self.link(conn) else { return };
        // A connection on which nothing is subscribed is not live, whatever was answered.
        if link.subscribed.is_none() && link.is_answered() && !nothing_left {
            link.subscribed = Some(now);
            self.shown_out = false;
            out.push(Action::Note(Note::Subscribed(conn)));
        }
    }
}

#[cfg(test)]
mod tests;
