//! The way of a trade: into the book, then to every connection that wants it, unless a fault is in the way.
//!
//! It queues messages and counts them exactly; the connections write them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{CHUNK_BYTES, Connection, Venue};
use crate::market::TradeMsg;
use crate::sim::faults::ills::Treatment;
use crate::sim::faults::spoil;
use crate::sim::twin::{Recorded, Row, SHAPES, Shape};

/// Trades that wait to be overtaken on one connection at most; beyond it the first one goes on.
const HELD_MAX: usize = 1_024;

/// A trade that waits to be overtaken.
pub(super) struct Held {
    symbol: usize,
    /// By how many more.
    left: u64,
    message: Message,
}

impl Venue {
    /// A trade happens, in one fill or several: each goes into the book, and one row to everyone who wants it.
    pub(in crate::sim) fn issue(&self, symbol: usize, fills: &[TradeMsg]) {
        let Some(row) = Row::of(fills) else { return };
        self.publish(symbol, fills, |shape| self.render(symbol, shape, &row));
    }

    /// A recorded frame is played: a trade to those who want its symbol, noise to everyone subscribed.
    pub(in crate::sim) fn play(&self, frame: &str) {
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
        let ts = fills.last().map_or(0, |fill| fill.ts_event);
        let counters = &self.public.counters;
        self.public.book().push(symbol, fills);
        let issued = counters.issued.fetch_add(count, Relaxed) + count;
        counters.rows.fetch_add(1, Relaxed);
        let of_all = self.pending.borrow_mut().trades.treat(symbol);
        if of_all == Treatment::Withhold {
            counters.withheld.fetch_add(count, Relaxed);
        }
        let mut frames: [Option<Utf8Bytes>; SHAPES] = Default::default();
        for connection in self.connections.borrow().iter() {
            let Some(shape) = connection.shape(symbol) else { continue };
            let treatment = match of_all {
                Treatment::Send => connection.ills.borrow_mut().treat(symbol),
                of_all => of_all,
            };
            if treatment == Treatment::Withhold {
                if of_all == Treatment::Send {
                    counters.withheld.fetch_add(count, Relaxed);
                }
                continue;
            }
            let Some(frame) = frames.get_mut(usize::from(shape)) else { continue };
            let frame = frame.get_or_insert_with(|| render(shape));
            self.tell(connection, symbol, treatment, frame, ts);
        }
        self.play_script(issued);
    }

    /// Queues a trade on a connection, whole or as a fault has it.
    fn tell(&self, connection: &Connection, symbol: usize, treatment: Treatment, frame: &Utf8Bytes, ts: u64) {
        let counters = &self.public.counters;
        let keys = || self.twin.borrow().keys();
        let whole = || Message::Text(frame.clone());
        match treatment {
            Treatment::Withhold => return,
            Treatment::Send => {
                self.push(connection, whole());
            }
            Treatment::Twice => {
                self.push(connection, whole());
                self.push_counted(connection, whole(), &counters.duplicated);
            }
            Treatment::Spoil(damage) => {
                self.push_counted(connection, spoil::broken(frame, &keys(), damage), &counters.spoiled);
            }
            Treatment::Conflict => {
                self.push(connection, whole());
                let other = Message::text(spoil::conflicting(frame, &keys()));
                self.push_counted(connection, other, &counters.conflicting);
            }
            Treatment::Retime(time) => {
                let other = Message::text(spoil::retimed(frame, &keys(), ts, time));
                self.push_counted(connection, other, &counters.mistimed);
            }
            Treatment::Delay(by) => {
                if self.silences(connection) {
                    return;
                }
                let held = Held { symbol, left: by, message: whole() };
                connection.held.borrow_mut().push_back(held);
                counters.delayed.fetch_add(1, Relaxed);
                if connection.held.borrow().len() > HELD_MAX {
                    self.release(connection, |_, place| place == 0);
                }
                return;
            }
        }
        if !connection.held.borrow().is_empty() {
            self.release(connection, |held, _| {
                held.left = held.left.saturating_sub(u64::from(held.symbol == symbol));
                held.left == 0
            });
        }
    }

    /// The tape has ended: nothing more will overtake what waits.
    pub(in crate::sim) fn release_all(&self) {
        for connection in self.connections.borrow().iter() {
            self.release(connection, |_, _| true);
        }
        self.flush();
    }

    /// Queues the trades that waited and of which this holds, given each with its place.
    fn release(&self, connection: &Connection, mut goes: impl FnMut(&mut Held, usize) -> bool) {
        let waiting = std::mem::take(&mut *connection.held.borrow_mut());
        for (place, mut held) in waiting.into_iter().enumerate() {
            if goes(&mut held, place) {
                self.push(connection, held.message);
            } else {
                connection.held.borrow_mut().push_back(held);
            }
        }
    }

    /// Sends the last `count` rows of a symbol once more, oldest first.
    pub(super) fn replay(&self, connection: &Connection, symbol: usize, count: usize) {
        let Some(shape) = connection.shape(symbol) else { return };
        let rows = self.public.book().last_rows(symbol, count);
        for row in rows {
            let frame = Message::Text(self.render(symbol, shape, &row));
            self.push_counted(connection, frame, &self.public.counters.replayed);
        }
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

    /// As [`Self::push`]; counts what is queued and nothing else.
    pub(super) fn push_counted(&self, connection: &Connection, message: Message, counter: &AtomicU64) {
        if self.push(connection, message) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Queues a message; false where the connection takes none.
    pub(super) fn push(&self, connection: &Connection, message: Message) -> bool {
        if connection.overflowed.get() || (connection.half_open.get().is_some() && !is_data(&message)) {
            return false;
        }
        if is_data(&message) && self.silences(connection) {
            return false;
        }
        let mut queue = connection.queue.borrow_mut();
        if queue.len() >= self.manners.queue_frames {
            queue.clear();
            connection.doom.notify_one();
            // What comes until the connection's task has run is not counted again.
            connection.overflowed.set(true);
            self.public.counters.overflowed.fetch_add(1, Relaxed);
            return false;
        }
        queue.push_back(message);
        true
    }

    /// Whether a message that was about to be written is not, because the connection is half open by now.
    pub(in crate::sim) fn swallows(&self, connection: &Connection, message: &Message) -> bool {
        let half_open = connection.half_open.get().is_some();
        if half_open && is_data(message) {
            self.public.counters.silenced.fetch_add(1, Relaxed);
        }
        half_open
    }

    /// Whether a fault keeps a frame with data from a connection; counts it then.
    fn silences(&self, connection: &Connection) -> bool {
        let silent = connection.stalled.get() || connection.half_open.get().is_some();
        if silent {
            self.public.counters.silenced.fetch_add(1, Relaxed);
        }
        silent
    }
}

/// Whether a message is more than a control frame.
pub(super) const fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_) | Message::Frame(_))
}
