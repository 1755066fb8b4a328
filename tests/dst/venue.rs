//! A scripted venue before the real session, decoder and sequencer.
//!
//! Trades are issued whether anybody listens or not, as venues do. What the feed delivers is handed on, with its times,
//! to the world of the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use data_manager::exchange::{self, Event, Exchange, Frame, Trades};
use data_manager::feed::backoff::Budget;
use data_manager::feed::sequence::{Out, Sequencer};
use data_manager::feed::session::{Action, ConnId, DialFailure, Rules, Session};
use data_manager::feed::stamp::stamp;
use data_manager::market::{Instrument, Record, Symbol};

use crate::broker::Micros;

/// Symbols of the venue.
pub(crate) const SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
/// No data for this long is a stall.
const STALL: Duration = Duration::from_secs(3);
/// When a day begins, milliseconds since the Unix epoch.
const EPOCH_MS: Micros = 1_700_000_000_000;

/// What the feed made of a venue's day.
#[derive(Debug, Default)]
pub(crate) struct Day {
    /// Records in the order in which they were delivered, with their times.
    pub(crate) delivered: Vec<(Micros, u32, Record)>,
    /// What is wrong with them; empty if nothing is.
    pub(crate) faults: Vec<String>,
    /// Faults of the venue that struck.
    pub(crate) struck: u64,
    /// Gaps that were declared.
    pub(crate) gaps: u64,
}

enum Happening {
    Issue,
    Fault,
    Dialled { conn: ConnId, ok: bool },
    Subscribe { conn: ConnId, text: String },
    Pong { conn: ConnId },
    Arrive { conn: ConnId, frame: String },
    Close { conn: ConnId },
    Wake,
}

/// The venue's end of a connection.
#[derive(Debug, Default)]
struct Line {
    lag: Micros,
    free_at: Micros,
    streaming: bool,
    mute: bool,
    drop: u32,
}

struct Scene {
    rng: fastrand::Rng,
    now: Micros,
    start: Instant,
    queue: BTreeMap<(Micros, u64), Happening>,
    next: u64,
    lines: BTreeMap<ConnId, Line>,
    session: Session,
    sequencer: Sequencer,
    budget: Budget,
    trades: Trades,
    issued: [Vec<u64>; 2],
    listened: [Option<u64>; 2],
    trades_left: u32,
    calm_from: u32,
    day: Day,
}

/// Lives one seeded day of `trades` trades.
pub(crate) fn live(seed: u64, trades: u32, start: Instant) -> Day {
    let exchange = exchange::by_name("binance").expect("registered");
    let instruments = SYMBOLS.map(|name| Instrument::new("binance", Symbol::new(name).expect("valid"), name.into()));
    let rules = Rules {
        backoff: (Duration::from_millis(50), Duration::from_secs(1)),
        overlap: Duration::from_secs(2),
        stall: Some(STALL),
        looks: false,
    };
    let mut scene = Scene {
        rng: fastrand::Rng::with_seed(seed),
        now: 0,
        start,
        queue: BTreeMap::new(),
        next: 0,
        lines: BTreeMap::new(),
        session: Session::new(exchange, SYMBOLS.map(str::to_owned).to_vec(), rules, start, seed),
        sequencer: Sequencer::new(exchange.profile().ids, Duration::from_secs(1)),
        budget: Budget::new(exchange.profile().connects),
        trades: Trades::of(instruments.iter().enumerate().map(|(route, i)| (route as u32, i))),
        issued: [Vec::new(), Vec::new()],
        listened: [None, None],
        trades_left: trades,
        calm_from: 120,
        day: Day::default(),
    };
    scene.run(exchange);
    scene.judge();
    scene.day
}

impl Scene {
    fn run(&mut self, exchange: &'static dyn Exchange) {
        self.push(1_000, Happening::Issue);
        self.push(5_000_000, Happening::Fault);
        self.push(0, Happening::Wake);
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = at;
            let mut actions = Vec::new();
            self.happen(exchange, happening, &mut actions);
            self.settle(&mut actions);
            if self.trades_left == 0 && self.queue.values().all(|happening| matches!(happening, Happening::Wake)) {
                break;
            }
        }
        let mut out = Out::new();
        self.sequencer.expire(self.instant() + Duration::from_secs(10), &mut out);
        self.deliver(out);
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn push(&mut self, at: Micros, happening: Happening) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), happening);
    }

    fn settle(&mut self, actions: &mut Vec<Action>) {
        let now = self.instant();
        let mut out = Out::new();
        self.sequencer.expire(now, &mut out);
        self.deliver(out);
        self.session.poll(now, &mut self.budget, self.sequencer.holding(), actions);
        for action in std::mem::take(actions) {
            self.act(action);
        }
        let wake = [self.session.poll_at(), self.sequencer.poll_at()].into_iter().flatten().min();
        if let Some(wake) = wake {
            let at = wake.saturating_duration_since(self.start).as_micros() as Micros;
            let at = at.max(self.now + 1_000);
            if !self.queue.iter().any(|((due, _), h)| matches!(h, Happening::Wake) && *due <= at) {
                self.push(at, Happening::Wake);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial(conn) => {
                let ok = self.trades_left <= self.calm_from || self.rng.u8(0..10) != 0;
                let at = self.now + self.rng.u64(5_000..50_000);
                self.push(at, Happening::Dialled { conn, ok });
            }
            Action::Send(conn, text) => {
                let at = self.now + self.rng.u64(1_000..30_000);
                self.push(at, Happening::Subscribe { conn, text });
            }
            Action::Ping(conn) => {
                // A mute line is one that a network has swallowed.
                if self.lines.get(&conn).is_some_and(|line| !line.mute) {
                    let at = self.now + self.rng.u64(1_000..30_000);
                    self.push(at, Happening::Pong { conn });
                }
            }
            Action::Close(conn) => {
                self.lines.remove(&conn);
            }
            Action::Lost(reason) => self.sequencer.disconnected(0, reason),
            Action::Overlap(overlap) => self.sequencer.set_overlap(0, overlap),
            Action::Note(_) => {}
        }
    }

    fn happen(&mut self, exchange: &'static dyn Exchange, happening: Happening, actions: &mut Vec<Action>) {
        let now = self.instant();
        match happening {
            Happening::Issue => self.issue(),
            Happening::Fault => self.fault(),
            Happening::Dialled { conn, ok: true } => {
                let lag = self.rng.u64(500..300_000);
                self.lines.insert(conn, Line { lag, ..Line::default() });
                self.session.opened(now, conn, actions);
            }
            Happening::Dialled { conn, ok: false } => {
                self.session.dial_failed(now, conn, &DialFailure::default(), actions);
            }
            Happening::Subscribe { conn, text } => self.subscribe(conn, &text),
            Happening::Pong { conn } => {
                if self.lines.contains_key(&conn) {
                    self.session.heard(now, conn);
                }
            }
            Happening::Arrive { conn, frame } => self.arrive(exchange, conn, &frame, actions),
            Happening::Close { conn } => {
                if self.lines.remove(&conn).is_some_and(|line| !line.mute) {
                    self.session.closed(now, conn, Some(1_001), "going away", actions);
                }
            }
            Happening::Wake => {}
        }
    }

    fn subscribe(&mut self, conn: ConnId, text: &str) {
        let id: u64 = text
            .rsplit_once("\"id\":")
            .and_then(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok())
            .unwrap_or(0);
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.streaming = true;
        for (symbol, issued) in self.issued.iter().enumerate() {
            self.listened[symbol].get_or_insert_with(|| issued.last().copied().unwrap_or(0));
        }
        self.send(conn, format!("{{\"result\":null,\"id\":{id}}}"));
    }

    /// The venue matches trades: one, or now and then a burst, of which many have a time that cannot be right.
    fn issue(&mut self) {
        if self.trades_left == 0 {
            return;
        }
        let at = self.now + self.rng.u64(0..200_000);
        self.push(at, Happening::Issue);
        let symbol = self.rng.usize(0..2);
        if self.trades_left > self.calm_from && self.rng.u8(0..50) == 0 {
            for _ in 0..self.rng.u32(20..40).min(self.trades_left - self.calm_from) {
                let timed = self.rng.bool();
                self.tell(symbol, timed);
            }
        } else {
            self.tell(symbol, true);
        }
    }

    /// A trade is told to all that listen.
    fn tell(&mut self, symbol: usize, timed: bool) {
        self.trades_left -= 1;
        let calm = self.trades_left <= self.calm_from;
        // Once in a while the venue skips ids.
        let step = if !calm && self.rng.u8(0..100) == 0 { self.rng.u64(2..6) } else { 1 };
        let id = self.issued[symbol].last().copied().unwrap_or(0) + step;
        self.issued[symbol].push(id);
        let frame = format!(
            "{{\"stream\":\"{}@trade\",\"data\":{{\"e\":\"trade\",\"E\":1,\"s\":\"{}\",\"t\":{id},\"p\":\"{}\",\"q\":\"1\",\"T\":{},\"m\":true}}}}",
            SYMBOLS[symbol].to_lowercase(),
            SYMBOLS[symbol],
            id + 1,
            if timed { EPOCH_MS + self.now / 1_000 } else { 0 }
        );
        let listening: Vec<ConnId> = self.lines.iter().filter(|(_, l)| l.streaming).map(|(conn, _)| *conn).collect();
        for conn in listening {
            self.send(conn, frame.clone());
            if !calm && self.rng.u8(0..50) == 0 {
                self.send(conn, frame.clone());
            }
        }
    }

    fn send(&mut self, conn: ConnId, frame: String) {
        let jitter = self.rng.u64(0..2_000);
        let Some(line) = self.lines.get_mut(&conn) else { return };
        if line.mute {
            return;
        }
        if line.drop > 0 {
            line.drop -= 1;
            return;
        }
        line.free_at = line.free_at.max(self.now + line.lag + jitter);
        let at = line.free_at;
        self.push(at, Happening::Arrive { conn, frame });
    }

    fn fault(&mut self) {
        if self.trades_left <= self.calm_from {
            return;
        }
        let at = self.now + self.rng.u64(500_000..9_000_000);
        self.push(at, Happening::Fault);
        let conns: Vec<ConnId> = self.lines.keys().copied().collect();
        let Some(conn) = conns.get(self.rng.usize(0..conns.len().max(1))).copied() else { return };
        self.day.struck += 1;
        match self.rng.u8(0..6) {
            0 => self.push(self.now, Happening::Close { conn }),
            1 => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.mute = true;
                }
            }
            2 | 3 => {
                self.send(conn, r#"{"e":"serverShutdown","E":1}"#.to_owned());
                let at = self.now + self.rng.u64(300_000..6_000_000);
                self.push(at, Happening::Close { conn });
            }
            4 => {
                let count = self.rng.u32(1..4);
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.drop = count;
                }
            }
            _ => self.send(conn, "{\"garbage\":".to_owned()),
        }
    }

    fn arrive(&mut self, exchange: &'static dyn Exchange, conn: ConnId, frame: &str, actions: &mut Vec<Action>) {
        if !self.lines.contains_key(&conn) {
            return;
        }
        let now = self.instant();
        self.trades.clear();
        let event = exchange.decode(Frame::Text(frame), &mut self.trades);
        let mut out = Out::new();
        for row in self.trades.rows() {
            let mut msg = row.msg;
            stamp(&mut msg, EPOCH_MS * 1_000_000 + self.now * 1_000);
            self.sequencer.row(now, row.route, msg, row.span, &mut out);
        }
        self.deliver(out);
        self.session.event(now, conn, event.unwrap_or(Event::Ignored), actions);
    }

    fn deliver(&mut self, out: Out) {
        let now = self.now;
        self.day.delivered.extend(out.into_iter().map(|(route, record)| (now, route, record)));
    }

    /// Each issued trade since the first subscribe is delivered once or lies in a declared gap.
    fn judge(&mut self) {
        for (symbol, name) in SYMBOLS.iter().enumerate() {
            let mut seen = BTreeSet::new();
            let mut missing = BTreeSet::new();
            for (_, route, record) in &self.day.delivered {
                match record {
                    _ if *route as usize != symbol => {}
                    Record::Trade(msg) if !seen.insert(msg.trade_id) => {
                        self.day.faults.push(format!("{} of {} delivered twice", msg.trade_id, name));
                    }
                    Record::Trade(_) => {}
                    Record::Gap(gap) if gap.flags == 0 => {
                        self.day.gaps += 1;
                        missing.extend(gap.first_id..=gap.last_id);
                    }
                    Record::Gap(_) => {}
                }
            }
            let (Some(first), Some(last)) = (seen.first().copied(), seen.last().copied()) else { continue };
            let issued: BTreeSet<u64> = self.issued[symbol].iter().copied().collect();
            if let Some(id) = seen.difference(&issued).next() {
                self.day.faults.push(format!("{id} of {} was never issued", name));
            }
            if issued.last().is_some_and(|newest| *newest != last) {
                self.day.faults.push(format!("{} ends at {last}, not at {:?}", name, issued.last()));
            }
            let silent = issued.iter().find(|id| **id >= first && !seen.contains(id) && !missing.contains(id));
            if let Some(id) = silent {
                self.day.faults.push(format!("{id} of {} is missing, undeclared", name));
            }
        }
    }
}
