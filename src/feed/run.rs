//! A feed at work: the session decides, the socket does, the decoder and the sequencer turn frames into records.

mod tell;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::Deliver;
use super::backfill::RepairQueue;
use super::backoff::Budget;
use super::sequence::{Out, Sequencer};
use super::session::{Action, ConnId, DialFailure, Rules, Session};
use super::socket::{Dialer, Incoming, Socket};
use super::stamp::stamp;
use super::status::{FeedState, FeedStatus};
use crate::exchange::{Event, Exchange, Frame, Trades};
use crate::market::{Instrument, Record};
use crate::telemetry::clock;

/// Frames of one connection that are handled before anything else gets its turn.
const BATCH_FRAMES: usize = 256;
/// A trade whose time is further away is not counted for the delay, nanoseconds.
const DELAY_MAX_NS: u64 = 3_600_000_000_000;
/// Undecodable frames of one kind are logged this often, at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What a feed is to do.
#[derive(Clone, Debug)]
pub struct FeedSpec {
    /// The venue.
    pub exchange: &'static dyn Exchange,
    /// The label in logs and status, such as `binance/0`.
    pub name: String,
    /// WebSocket base.
    pub ws_url: String,
    /// Routes and instruments.
    pub instruments: Vec<(u32, Instrument)>,
    /// Its number among the feeds that bring the same symbols.
    pub line: usize,
    /// The rules of the session.
    pub rules: Rules,
    /// Decides the jitter.
    pub seed: u64,
}

/// What a feed shares with the daemon, all on one thread.
pub struct FeedShared<D> {
    /// How to dial.
    pub dialer: Dialer,
    /// The venue's connection budget, shared by all its feeds.
    pub budget: Rc<RefCell<Budget>>,
    /// The order of the feed's symbols.
    pub sequencer: Rc<RefCell<Sequencer>>,
    /// Where records go.
    pub deliver: Rc<RefCell<D>>,
    /// What the feed says of itself.
    pub status: Rc<RefCell<FeedStatus>>,
    /// The venue's repairs: told of what comes, and telling which line is mute.
    pub repairs: Rc<RepairQueue>,
    /// Raw data frames with their receive times go here too, as `capture` wants them.
    pub tap: Option<Tap>,
}

/// Sees each raw text frame and its receive time in nanoseconds since the Unix epoch.
pub type Tap = Box<dyn FnMut(&str, u64)>;

type Dial = Pin<Box<dyn Future<Output = Result<Socket, DialFailure>>>>;

struct Feed<D> {
    spec: FeedSpec,
    shared: FeedShared<D>,
    session: Session,
    trades: Trades,
    sockets: Vec<(ConnId, Socket)>,
    dials: Vec<(ConnId, Dial)>,
    actions: Vec<Action>,
    out: Out,
    complained: Vec<(&'static str, Instant)>,
}

/// Something happened on one of the connections.
enum Happening {
    Dialled(ConnId, Box<Result<Socket, DialFailure>>),
    Came(ConnId, Incoming),
}

/// Runs one connection's life until `stop` is cancelled, then says good-bye to the venue.
pub async fn run<D: Deliver>(spec: FeedSpec, shared: FeedShared<D>, stop: CancellationToken) {
    let symbols = spec.instruments.iter().map(|(_, instrument)| instrument.venue_symbol.clone()).collect();
    let session = Session::new(spec.exchange, symbols, spec.rules, clock::now(), spec.seed);
    let trades = Trades::of(spec.instruments.iter().map(|(route, instrument)| (*route, instrument)));
    let mut feed = Feed {
        spec,
        shared,
        session,
        trades,
        sockets: Vec::new(),
        dials: Vec::new(),
        actions: Vec::new(),
        out: Out::new(),
        complained: Vec::new(),
    };
    feed.status_of(FeedState::Connecting);
    let repairs = Rc::clone(&feed.shared.repairs);
    while !stop.is_cancelled() {
        feed.settle().await;
        let wake = feed.wake_at();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            happening = next(&mut feed.dials, &mut feed.sockets) => feed.happened(happening),
            () = repairs.muted.notified() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
    feed.finish();
    for (_, socket) in feed.sockets.drain(..) {
        socket.close().await;
    }
    feed.status_of(FeedState::Stopped);
}

/// The next dial that ends, or the next thing that comes out of a socket. With neither it waits for ever.
async fn next(dials: &mut Vec<(ConnId, Dial)>, sockets: &mut [(ConnId, Socket)]) -> Happening {
    std::future::poll_fn(|cx| {
        for place in 0..dials.len() {
            let Some((conn, dial)) = dials.get_mut(place) else { break };
            if let Poll::Ready(result) = dial.as_mut().poll(cx) {
                let conn = *conn;
                drop(dials.swap_remove(place));
                return Poll::Ready(Happening::Dialled(conn, Box::new(result)));
            }
        }
        for (conn, socket) in sockets.iter_mut() {
            if let Poll::Ready(incoming) = socket.poll_next(cx) {
                return Poll::Ready(Happening::Came(*conn, incoming));
            }
        }
        Poll::Pending
    })
    .await
}

impl<D: Deliver> Feed<D> {
    /// Lets time pass and does what the session wants, until it wants nothing more.
    async fn settle(&mut self) {
        let now = clock::now();
        self.shared.sequencer.borrow_mut().expire(now, &mut self.out);
        if !self.out.is_empty() {
            self.deliver();
            self.shared.status.borrow_mut().sequence = self.shared.sequencer.borrow().stats();
            self.shared.deliver.borrow_mut().batch_end();
        }
        if let Some(why) = self.shared.repairs.take_mute(self.spec.line) {
            self.session.mute(now, why, &mut self.actions);
            self.shared.sequencer.borrow_mut().stalled();
        }
        let holding = self.shared.sequencer.borrow().holding();
        self.session.poll(now, &mut self.shared.budget.borrow_mut(), holding, &mut self.actions);
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.act(action).await;
            }
        }
    }

    /// What was read and still waits goes out.
    fn finish(&mut self) {
        self.shared.sequencer.borrow_mut().finish(&mut self.out);
        self.deliver();
        self.shared.status.borrow_mut().sequence = self.shared.sequencer.borrow().stats();
        self.shared.deliver.borrow_mut().batch_end();
    }

    fn wake_at(&self) -> Instant {
        let far = clock::now() + Duration::from_secs(3_600);
        let sequencer = self.shared.sequencer.borrow().poll_at();
        [self.session.poll_at(), sequencer].into_iter().flatten().min().unwrap_or(far)
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Dial(conn) => {
                let symbols: Vec<&str> = self.spec.instruments.iter().map(|(_, i)| i.venue_symbol.as_str()).collect();
                let url = self.spec.exchange.connect_url(&self.spec.ws_url, &symbols);
                let dialer = self.shared.dialer.clone();
                self.dials.push((conn, Box::pin(async move { dialer.dial(&url).await })));
            }
            Action::Send(conn, text) => self.send(conn, Message::text(text)).await,
            Action::Ping(conn) => self.send(conn, Message::Ping(Vec::new().into())).await,
            Action::Close(conn) => {
                self.dials.retain(|(known, _)| *known != conn);
                if let Some(place) = self.sockets.iter().position(|(known, _)| *known == conn) {
                    self.sockets.swap_remove(place).1.close().await;
                }
            }
            Action::Lost(reason) => self.shared.sequencer.borrow_mut().disconnected(self.spec.line, reason),
            Action::Overlap(overlap) => self.shared.sequencer.borrow_mut().set_overlap(self.spec.line, overlap),
            Action::Note(note) => self.note(note),
        }
    }

    async fn send(&mut self, conn: ConnId, message: Message) {
        let Some((_, socket)) = self.sockets.iter_mut().find(|(known, _)| *known == conn) else { return };
        if let Err(why) = socket.send(message).await {
            self.sockets.retain(|(known, _)| *known != conn);
            self.session.closed(clock::now(), conn, None, &why, &mut self.actions);
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Dialled(conn, result) => match *result {
                Ok(socket) => {
                    self.sockets.push((conn, socket));
                    self.session.opened(clock::now(), conn, &mut self.actions);
                }
                Err(failure) => {
                    self.shared.status.borrow_mut().connect_failures += 1;
                    self.session.dial_failed(clock::now(), conn, &failure, &mut self.actions);
                }
            },
            Happening::Came(conn, incoming) => self.drain(conn, incoming),
        }
    }

    /// Handles what came and everything behind it that is there already, then makes it visible once.
    fn drain(&mut self, conn: ConnId, first: Incoming) {
        let mut next = Some(first);
        let mut handled = 0;
        while let Some(incoming) = next.take() {
            match incoming {
                Incoming::Message(message) => self.message(conn, &message),
                Incoming::Closed { code, why } => {
                    self.sockets.retain(|(known, _)| *known != conn);
                    self.session.closed(clock::now(), conn, code, &why, &mut self.actions);
                }
            }
            handled += 1;
            if handled < BATCH_FRAMES {
                next = self.sockets.iter_mut().find(|(known, _)| *known == conn).and_then(|(_, s)| s.try_next());
            }
        }
        self.counted();
        self.shared.deliver.borrow_mut().batch_end();
    }

    fn message(&mut self, conn: ConnId, message: &Message) {
        let (now, recv) = (clock::now(), clock::wall_ns());
        let frame = match message {
            Message::Text(text) => Frame::Text(text),
            Message::Binary(bytes) => Frame::Binary(bytes),
            _ => return self.session.heard(now, conn),
        };
        if let (Some(tap), Frame::Text(text)) = (&mut self.shared.tap, &frame) {
            tap(text, recv);
        }
        self.trades.clear();
        let event = self.spec.exchange.decode(frame, &mut self.trades);
        self.count(message.len(), recv);
        let mut sequencer = self.shared.sequencer.borrow_mut();
        for row in self.trades.rows() {
            let mut msg = row.msg;
            if !stamp(&mut msg, recv) {
                self.bad_time();
            }
            self.shared.repairs.beat(self.spec.line, row.route, msg.trade_id, now);
            let restarts = sequencer.restarts();
            sequencer.row(now, row.route, msg, row.span, &mut self.out);
            if sequencer.restarts() > restarts {
                let symbol = self.trades.symbols(row.route).map(|(symbol, _)| symbol);
                tracing::warn!(conn = %self.spec.name, symbol, id = msg.trade_id, "the venue counts its ids anew");
            }
        }
        if let Ok(Event::LastTrade { route, trade_id, ts }) = &event {
            sequencer.last_trade(now, *route, *trade_id, *ts);
            self.shared.repairs.quiet(self.spec.line, *route, *trade_id, now);
        }
        drop(sequencer);
        self.deliver();
        match event {
            Ok(event) => self.session.event(now, conn, event, &mut self.actions),
            Err(error) => {
                self.session.heard(now, conn);
                self.shared.sequencer.borrow_mut().undecodable();
                self.complain(now, &error, message);
            }
        }
    }

    fn count(&self, bytes: usize, recv: u64) {
        let mut status = self.shared.status.borrow_mut();
        status.frames += 1;
        status.bytes += bytes as u64;
        status.trades += self.trades.rows().len() as u64;
        if let Some(row) = self.trades.rows().last() {
            status.last_trade_ns = recv;
            // A venue's time of zero, or of another unit, says nothing about the delay.
            if recv.abs_diff(row.msg.ts_event) < DELAY_MAX_NS {
                status.delay_sum_ns =
                    status.delay_sum_ns.saturating_add(recv.wrapping_sub(row.msg.ts_event).cast_signed());
                status.delay_count += 1;
            }
        }
    }

    fn deliver(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let mut deliver = self.shared.deliver.borrow_mut();
        let mut status = self.shared.status.borrow_mut();
        for (route, record) in self.out.drain(..) {
            deliver.record(route, &record);
            let of_route = status.routes.entry(route).or_default();
            match record {
                Record::Trade(msg) => {
                    of_route.trades += 1;
                    of_route.last_id = msg.trade_id;
                    of_route.last_price = (msg.price, msg.price_scale);
                    of_route.last_ts = msg.ts_event;
                }
                Record::Gap(gap) if gap.flags == 0 => {
                    of_route.gaps += 1;
                    of_route.missing += gap.missing;
                    if let Some(count) = status.gaps_by_reason.get_mut(usize::from(gap.reason)) {
                        *count += 1;
                    }
                }
                Record::Gap(_) => {}
            }
        }
    }
}
