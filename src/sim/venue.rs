//! One running venue: its connections, what each of them wants, and the way of a trade to all of them.
//!
//! It lives on the simulation's thread; [`Public`] is the part that the owner of [`super::Sim`] sees. No IO here.

mod public;
mod strike;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, protocol::CloseFrame};

use super::faults::{Pending, Scripted, Treatment};
use super::twin::{Listing, Out, Recorded, Row, SHAPES, Session, Shape, Twin};
use crate::market::TradeMsg;

pub use public::Sent;
pub(super) use public::{Counters, Public};

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
}

/// A running venue.
pub(super) struct Venue {
    pub(super) public: Arc<Public>,
    pub(super) twin: RefCell<Box<dyn Twin>>,
    pub(super) pending: RefCell<Pending>,
    manners: Manners,
    listings: Arc<[Listing]>,
    connections: RefCell<Vec<Rc<Connection>>>,
    script: RefCell<VecDeque<Scripted>>,
    /// Ids that the tape is to leave out, a symbol.
    id_skips: RefCell<Vec<u64>>,
    chunk: RefCell<BytesMut>,
    /// Somebody subscribed, or room came up in a queue: the tape may go on.
    changed: Notify,
}

/// One client, as the venue sees it.
pub(super) struct Connection {
    queue: RefCell<VecDeque<Message>>,
    wants: RefCell<Vec<Option<Shape>>>,
    withhold: RefCell<Vec<u64>>,
    stalled: Cell<bool>,
    /// Set when the venue is to announce its end on this connection.
    pub(super) shut_down: Cell<Option<Duration>>,
    /// There is something to write.
    pub(super) wake: Notify,
    /// The connection is to be reset.
    pub(super) doom: Notify,
}

impl Venue {
    pub(super) fn new(public: Arc<Public>, twin: Box<dyn Twin>, manners: Manners, mut script: Vec<Scripted>) -> Self {
        script.retain(|scripted| scripted.fault.exchange() == public.exchange);
        script.sort_by_key(|scripted| scripted.after);
        let listings: Arc<[Listing]> = public.book().listings().into();
        let this = Self {
            public,
            twin: RefCell::new(twin),
            pending: RefCell::default(),
            manners,
            connections: RefCell::default(),
            script: RefCell::new(script.into()),
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
            withhold: RefCell::new(vec![0; self.listings.len()]),
            stalled: Cell::new(false),
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

    /// A trade happens, in one fill or several: each goes into the book, and one row to everyone who wants it.
    pub(super) fn issue(&self, symbol: usize, fills: &[TradeMsg]) {
        let Some(row) = Row::of(fills) else { return };
        self.publish(symbol, fills, |shape| self.render(symbol, shape, &row));
    }

    /// A recorded frame is played: a trade to those who want its symbol, noise to everyone subscribed.
    pub(super) fn play(&self, frame: &str) {
        let recorded = self.twin.borrow().read(frame);
        match recorded {
            Recorded::Answer => {}
            Recorded::Other => {
                for connection in self.connections.borrow().iter().filter(|connection| connection.is_subscribed()) {
                    self.push(connection, Message::text(frame));
                }
            }
            Recorded::Trade(symbol, trade) => {
                let Some(index) = self.listings.iter().position(|listing| listing.symbol == symbol) else { return };
                let text = Utf8Bytes::from(frame);
                // A recorded row of several fills stands as one: nobody recorded the fills.
                self.publish(index, &[*trade], |_| text.clone());
            }
        }
    }

    fn publish(&self, symbol: usize, fills: &[TradeMsg], render: impl Fn(Shape) -> Utf8Bytes) {
        let count = u64::try_from(fills.len()).unwrap_or(u64::MAX);
        self.public.book().push(symbol, fills);
        let issued = self.public.counters.issued.fetch_add(count, Relaxed) + count;
        self.public.counters.rows.fetch_add(1, Relaxed);
        let copies = match self.pending.borrow_mut().treat(symbol) {
            Treatment::Send => 1,
            Treatment::Twice => {
                self.public.counters.duplicated.fetch_add(1, Relaxed);
                2
            }
            Treatment::Withhold => {
                self.public.counters.withheld.fetch_add(count, Relaxed);
                0
            }
        };
        let mut frames: [Option<Utf8Bytes>; SHAPES] = Default::default();
        for connection in self.connections.borrow().iter() {
            let Some(shape) = connection.shape(symbol).filter(|_| copies > 0) else { continue };
            if connection.withholds(symbol) {
                self.public.counters.withheld.fetch_add(count, Relaxed);
                continue;
            }
            let Some(frame) = frames.get_mut(usize::from(shape)) else { continue };
            let frame = frame.get_or_insert_with(|| render(shape));
            for _ in 0..copies {
                self.push(connection, Message::Text(frame.clone()));
            }
        }
        self.play_script(issued);
    }

    fn render(&self, symbol: usize, shape: Shape, row: &Row) -> Utf8Bytes {
        let Some(listing) = self.listings.get(symbol) else { return Utf8Bytes::default() };
        let mut chunk = self.chunk.borrow_mut();
        if chunk.capacity() < 1_024 {
            *chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.twin.borrow().frame(shape, listing, row, &mut chunk);
        let frame: Bytes = chunk.split().freeze();
        Utf8Bytes::try_from(frame).unwrap_or_default()
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
                Out::Text(text) => Message::text(text),
                Out::Ping(payload) => Message::Ping(payload.into()),
                Out::Close(code, reason) => close_message(code, &reason),
            };
            self.push(connection, message);
        }
        connection.wake.notify_one();
    }

    fn push(&self, connection: &Connection, message: Message) {
        if connection.stalled.get() && message.is_text() {
            return;
        }
        let mut queue = connection.queue.borrow_mut();
        if queue.len() >= self.manners.queue_frames {
            queue.clear();
            connection.doom.notify_one();
            // What comes until the connection's task has run is not counted again.
            connection.stalled.set(true);
            self.public.counters.overflowed.fetch_add(1, Relaxed);
            return;
        }
        queue.push_back(message);
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

    /// Ids that the tape is to leave out now.
    pub(super) fn take_id_skip(&self, symbol: usize) -> u64 {
        self.id_skips.borrow_mut().get_mut(symbol).map_or(0, std::mem::take)
    }
}

impl Connection {
    fn shape(&self, symbol: usize) -> Option<Shape> {
        self.wants.borrow().get(symbol).copied().flatten()
    }

    fn is_subscribed(&self) -> bool {
        self.wants.borrow().iter().any(Option::is_some)
    }

    fn withhold(&self, symbol: usize, count: u64) {
        if let Some(left) = self.withhold.borrow_mut().get_mut(symbol) {
            *left = left.saturating_add(count);
        }
    }

    /// Counts one down.
    fn withholds(&self, symbol: usize) -> bool {
        match self.withhold.borrow_mut().get_mut(symbol) {
            None | Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
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
