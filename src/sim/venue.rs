//! One running venue: its connections, what each of them wants, and the way of a trade to all of them.
//!
//! It lives on the simulation's thread; [`Public`] is the part that the owner of [`super::Sim`] sees. No IO here.

mod public;
mod strike;
mod tell;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use super::faults::AckFault;
use super::faults::ills::Ills;
use super::faults::pending::Pending;
use super::twin::{Listing, Out, Session, Shape, Twin};

pub use public::Sent;
pub(super) use public::{Counters, Public};
pub(super) use strike::{Due, Numbers};

/// Frames are written one behind the other into chunks of this many bytes, which they then share.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest close reason, as WebSocket has it.
const REASON_BYTES_MAX: usize = 123;

/// How a venue treats its clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// Frames that wait for one client at most.
    pub(super) queue_frames: usize,
    /// The tape waits for slow clients, instead of their being dropped.
    pub(super) flat_out: bool,
    /// How long a connection stays half open: its client has given it up by then, and it holds a place.
    pub(super) half_open_for: Duration,
}

/// A running venue.
pub(super) struct Venue {
    pub(super) public: Arc<Public>,
    pub(super) twin: RefCell<Box<dyn Twin>>,
    pub(super) pending: RefCell<Pending>,
    manners: Manners,
    listings: Arc<[Listing]>,
    connections: RefCell<Vec<Rc<Connection>>>,
    script: RefCell<VecDeque<Due>>,
    numbers: Numbers,
    /// Ids that the tape is to leave out, a symbol.
    id_skips: RefCell<Vec<u64>>,
    /// Symbols whose ids begin again.
    restarts: RefCell<Vec<bool>>,
    /// How many times as fast the tape is to be played, and for how long.
    hurry: Cell<Option<(u32, Duration)>>,
    pub(super) hurried: Notify,
    chunk: RefCell<BytesMut>,
    /// Somebody subscribed, or room came up in a queue: the tape may go on.
    changed: Notify,
}

/// One client, as the venue sees it.
pub(super) struct Connection {
    queue: RefCell<VecDeque<Message>>,
    wants: RefCell<Vec<Option<Shape>>>,
    /// What happens to the next trades on this connection alone.
    ills: RefCell<Ills>,
    /// Trades that wait to be overtaken.
    held: RefCell<VecDeque<tell::Held>>,
    stalled: Cell<bool>,
    /// It was too slow: it takes nothing more and ends.
    overflowed: Cell<bool>,
    /// Nothing is read or written any more, until this time at most.
    pub(super) half_open: Cell<Option<Instant>>,
    /// The connection is to end without a word, once all is written.
    pub(super) hang_up: Cell<bool>,
    /// Set when the venue is to announce its end on this connection.
    pub(super) shut_down: Cell<Option<Duration>>,
    /// There is something to write.
    pub(super) wake: Notify,
    /// The connection is to be reset.
    pub(super) doom: Notify,
}

impl Venue {
    pub(super) fn new(
        public: Arc<Public>,
        twin: Box<dyn Twin>,
        manners: Manners,
        mut script: Vec<Due>,
        numbers: Numbers,
    ) -> Self {
        script.retain(|due| due.fault.exchange() == public.exchange);
        script.sort_by_key(|due| due.after);
        let listings: Arc<[Listing]> = public.book().listings().into();
        let this = Self {
            public,
            twin: RefCell::new(twin),
            pending: RefCell::default(),
            manners,
            connections: RefCell::default(),
            script: RefCell::new(script.into()),
            numbers,
            restarts: RefCell::new(vec![false; listings.len()]),
            hurry: Cell::new(None),
            hurried: Notify::new(),
            id_skips: RefCell::new(vec![0; listings.len()]),
            listings,
            chunk: RefCell::default(),
            changed: Notify::new(),
        };
        this.play_script(0);
        this
    }

    /// A client has come.
    pub(super) fn join(&self) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            queue: RefCell::default(),
            wants: RefCell::new(vec![None; self.listings.len()]),
            ills: RefCell::default(),
            held: RefCell::default(),
            stalled: Cell::new(false),
            overflowed: Cell::new(false),
            half_open: Cell::new(None),
            hang_up: Cell::new(false),
            shut_down: Cell::new(None),
            wake: Notify::new(),
            doom: Notify::new(),
        });
        self.connections.borrow_mut().push(Rc::clone(&connection));
        self.public.counters.accepted.fetch_add(1, Relaxed);
        self.public.counters.connections.fetch_add(1, Relaxed);
        connection
    }

    /// A client is gone.
    pub(super) fn leave(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().retain(|other| !Rc::ptr_eq(other, connection));
        self.public.counters.connections.fetch_sub(1, Relaxed);
        self.changed.notify_one();
    }

    /// Takes note of what a client wants now.
    pub(super) fn subscribe(&self, connection: &Connection, session: &dyn Session) {
        let wants = self.listings.iter().map(|listing| session.wants(listing)).collect();
        *connection.wants.borrow_mut() = wants;
        self.changed.notify_one();
    }

    /// Waits until every symbol has a subscriber.
    pub(super) async fn subscribed(&self) {
        while !(0..self.listings.len()).all(|symbol| self.has_subscriber(symbol)) {
            self.changed.notified().await;
        }
    }

    /// Waits until somebody is subscribed and every queue has room for `frames` more.
    pub(super) async fn room(&self, frames: usize) {
        while !self.has_room(frames) {
            self.changed.notified().await;
        }
    }

    fn has_room(&self, frames: usize) -> bool {
        let connections = self.connections.borrow();
        let mut listening = connections.iter().filter(|connection| connection.is_subscribed()).peekable();
        let full = self.manners.queue_frames.saturating_sub(frames);
        listening.peek().is_some() && listening.all(|connection| connection.queue.borrow().len() <= full)
    }

    fn has_subscriber(&self, symbol: usize) -> bool {
        self.connections.borrow().iter().any(|connection| connection.shape(symbol).is_some())
    }

    /// Wakes the connections that have something to write: once a batch, not once a frame.
    pub(super) fn flush(&self) {
        for connection in self.connections.borrow().iter() {
            if !connection.queue.borrow().is_empty() {
                connection.wake.notify_one();
            }
        }
    }

    /// Queues what a session has to say.
    pub(super) fn reply(&self, connection: &Connection, out: &mut Vec<Out>) {
        for reply in out.drain(..) {
            let message = match reply {
                Out::Text(text) | Out::Ack(text) => Message::text(text),
                Out::Ping(payload) => Message::Ping(payload.into()),
                Out::Close(code, reason) => close_message(code, &reason),
            };
            self.push(connection, message);
        }
        connection.wake.notify_one();
    }

    /// Takes up to `most` messages that wait, and tells the tape of the room.
    pub(super) fn take(&self, connection: &Connection, most: usize, into: &mut Vec<Message>) {
        let mut queue = connection.queue.borrow_mut();
        let count = queue.len().min(most);
        into.extend(queue.drain(..count));
        if self.manners.flat_out && count > 0 {
            self.changed.notify_one();
        }
    }

    /// What a fault does to this ack. Where acks name no symbol, those of the request count.
    pub(super) fn ack_fault(&self, request: &str, ack: &str) -> Option<AckFault> {
        let says = |text: &str, listing: &Listing| {
            [&listing.venue_symbol, &listing.stream_symbol].iter().any(|name| text.contains(&format!("\"{name}")))
        };
        let text = if self.listings.iter().any(|listing| says(ack, listing)) { ack } else { request };
        let names = |symbol: &str| self.listings.iter().any(|one| one.venue_symbol == symbol && says(text, one));
        let fault = self.pending.borrow_mut().ack(names)?;
        self.public.counters.bad_acks.fetch_add(1, Relaxed);
        Some(fault)
    }

    /// Ids that the tape is to leave out now.
    pub(super) fn take_id_skip(&self, symbol: usize) -> u64 {
        self.id_skips.borrow_mut().get_mut(symbol).map_or(0, std::mem::take)
    }

    /// Whether the ids are to begin again now.
    pub(super) fn take_restart(&self, symbol: usize) -> bool {
        self.restarts.borrow_mut().get_mut(symbol).is_some_and(std::mem::take)
    }

    /// How many times as fast the tape is to be played now, and for how long.
    pub(super) fn take_hurry(&self) -> Option<(u32, Duration)> {
        self.hurry.take()
    }
}

impl Connection {
    fn shape(&self, symbol: usize) -> Option<Shape> {
        self.wants.borrow().get(symbol).copied().flatten()
    }

    fn is_subscribed(&self) -> bool {
        self.wants.borrow().iter().any(Option::is_some)
    }
}

fn close_message(code: u16, reason: &str) -> Message {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
}
