//! One WebSocket connection to a simulated venue: reads requests, writes what is queued, keeps the session's times.
//!
//! What is said is the session's and the venue's; this file only carries it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::faults::AckFault;
use super::twin::{Context, Control, Out, Session};
use super::venue::{Connection, Venue};
use crate::telemetry::clock;

/// Messages that are written before the queue is looked at again.
const BATCH: usize = 512;
/// How long a client has to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What is to happen after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    /// A close frame is out: wait for the client's.
    Closing,
    /// End without a word.
    Reset,
    /// The client is gone.
    Gone,
}

/// Runs a connection to its end.
pub(super) async fn run(venue: Rc<Venue>, socket: WebSocketStream<TcpStream>, session: Box<dyn Session>) {
    let connection = venue.join();
    let mut line = Line {
        venue,
        connection,
        socket,
        session,
        written: None,
        late: Vec::new(),
        out: Vec::new(),
        batch: Vec::with_capacity(BATCH),
    };
    line.venue.subscribe(&line.connection, &*line.session);
    let end = loop {
        match line.step().await {
            Next::Go => {}
            end => break end,
        }
    };
    line.venue.leave(&line.connection);
    match end {
        Next::Closing => line.await_close().await,
        Next::Reset => line.reset(),
        Next::Go | Next::Gone => {}
    }
}

struct Line {
    venue: Rc<Venue>,
    connection: Rc<Connection>,
    socket: WebSocketStream<TcpStream>,
    session: Box<dyn Session>,
    /// When something was last written.
    written: Option<Instant>,
    /// Acks that a fault holds back, and until when.
    late: Vec<(Instant, String)>,
    out: Vec<Out>,
    batch: Vec<Message>,
}

/// What woke the connection.
enum Event {
    Doomed,
    Queued,
    Came(Option<Result<Message, Error>>),
    Due,
}

impl Line {
    async fn step(&mut self) -> Next {
        if let Some(until) = self.connection.half_open.get() {
            return self.hold_still(until).await;
        }
        let late = self.late.iter().map(|(due, _)| *due).min();
        let deadline = [self.session.deadline(), late].into_iter().flatten().min();
        // Not biased: with a queue that is never empty, requests and deadlines still have their turn.
        let event = tokio::select! {
            () = self.connection.doom.notified() => Event::Doomed,
            () = self.connection.wake.notified() => Event::Queued,
            message = self.socket.next() => Event::Came(message),
            () = at(deadline) => Event::Due,
        };
        match event {
            Event::Doomed => Next::Reset,
            Event::Queued => {
                self.announce_end();
                match self.write().await {
                    Next::Go if self.connection.hang_up.get() => Next::Gone,
                    next => next,
                }
            }
            Event::Came(Some(Ok(message))) => {
                self.on_message(&message);
                Next::Go
            }
            Event::Came(None | Some(Err(_))) => Next::Gone,
            Event::Due => {
                self.tell_late_acks();
                self.with_session(|session, cx, out| session.on_tick(cx, out));
                self.venue.reply(&self.connection, &mut self.out);
                Next::Go
            }
        }
    }

    /// Neither reads nor writes, until it is told to go on, reset, or has held a place long enough.
    async fn hold_still(&self, until: Instant) -> Next {
        tokio::select! {
            () = self.connection.doom.notified() => Next::Reset,
            () = self.connection.wake.notified() => Next::Go,
            () = sleep_until(until.into()) => Next::Reset,
        }
    }

    fn on_message(&mut self, message: &Message) {
        let now = clock::now();
        match message {
            Message::Text(text) => self.on_text(text),
            Message::Binary(bytes) => self.on_text(&String::from_utf8_lossy(bytes)),
            Message::Ping(_) => self.session.on_control(now, Control::Ping, &mut self.out),
            Message::Pong(payload) => self.session.on_control(now, Control::Pong(payload), &mut self.out),
            // The socket answers a close by itself, and ends the next read.
            Message::Close(_) | Message::Frame(_) => {}
        }
        if !self.out.is_empty() {
            self.venue.reply(&self.connection, &mut self.out);
        }
    }

    fn on_text(&mut self, text: &str) {
        self.with_session(|session, cx, out| session.on_text(cx, text, out));
        self.spoil_acks(text);
        self.venue.reply(&self.connection, &mut self.out);
        // The answer is queued and the subscription takes effect in one go: no trade can come between.
        self.venue.subscribe(&self.connection, &*self.session);
    }

    fn announce_end(&mut self) {
        if let Some(grace) = self.connection.shut_down.take() {
            self.session.shut_down(clock::now(), clock::wall_ns(), grace, &mut self.out);
            self.venue.reply(&self.connection, &mut self.out);
        }
    }

    fn with_session(&mut self, act: impl FnOnce(&mut dyn Session, &mut Context<'_>, &mut Vec<Out>)) {
        let book = self.venue.public.book();
        let mut faults = self.venue.pending.borrow_mut();
        let (now, wall_ns) = (clock::now(), clock::wall_ns());
        let mut cx = Context { now, wall_ns, written: self.written, book: &book, faults: &mut faults };
        act(&mut *self.session, &mut cx, &mut self.out);
        drop((book, faults));
    }

    /// Lets faults have their way with the acks among the answers to a request.
    fn spoil_acks(&mut self, request: &str) {
        for answer in std::mem::take(&mut self.out) {
            let fault = match &answer {
                Out::Ack(ack) => self.venue.ack_fault(request, ack),
                _ => None,
            };
            match (fault, answer) {
                (Some(AckFault::Missing), _) => {}
                (Some(AckFault::Late(by)), Out::Ack(ack)) => self.late.push((clock::now() + by, ack)),
                (Some(fault), Out::Ack(ack)) => {
                    let strange = fault == AckFault::OtherSymbol;
                    self.out.push(Out::Text(self.venue.twin.borrow().false_ack(&ack, strange)));
                }
                (_, answer) => self.out.push(answer),
            }
        }
    }

    fn tell_late_acks(&mut self) {
        let now = clock::now();
        let due = self.late.extract_if(.., |(due, _)| *due <= now);
        self.out.extend(due.map(|(_, ack)| Out::Ack(ack)));
    }

    /// Writes all that is queued; gives up when the connection is doomed meanwhile.
    async fn write(&mut self) -> Next {
        let connection = Rc::clone(&self.connection);
        tokio::select! {
            biased;
            () = connection.doom.notified() => Next::Reset,
            written = self.write_queue() => written.unwrap_or(Next::Gone),
        }
    }

    async fn write_queue(&mut self) -> Result<Next, Error> {
        let mut next = Next::Go;
        while next == Next::Go {
            self.venue.take(&self.connection, BATCH, &mut self.batch);
            if self.batch.is_empty() {
                break;
            }
            let mut written = 0;
            for message in self.batch.drain(..) {
                if self.venue.swallows(&self.connection, &message) {
                    continue;
                }
                let last = message.is_close();
                self.socket.feed(message).await?;
                written += 1;
                if last {
                    next = Next::Closing;
                    break;
                }
            }
            self.written = Some(clock::now());
            self.venue.public.counters.frames.fetch_add(written, std::sync::atomic::Ordering::Relaxed);
        }
        self.socket.flush().await?;
        Ok(next)
    }

    async fn await_close(&mut self) {
        let drain = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // A client that does not answer is left behind.
        let _ = timeout(CLOSE_WITHIN, drain).await;
    }

    /// Ends the connection by a reset, as a crash or a network fault would.
    fn reset(&self) {
        // Where the system refuses, the end is a plain one.
        let _ = SockRef::from(self.socket.get_ref()).set_linger(Some(Duration::ZERO));
    }
}

/// Waits until then; for ever where there is no such time.
pub(super) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
