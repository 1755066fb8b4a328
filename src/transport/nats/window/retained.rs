//! What was acknowledged and is still kept, in case the broker loses it; and what was let go, in case it loses more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::Key;
use super::message::{Mark, Message};
use crate::market::Record;

#[derive(Debug)]
pub(super) struct Retained {
    queue: VecDeque<Message>,
    keep: Duration,
    bound: usize,
    bytes: usize,
    /// By [`Key::index`]: what was let go.
    gone: Vec<Option<Gone>>,
}

/// Acknowledged records of a subject that are no longer kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) first: Mark,
    pub(super) last: Mark,
    pub(super) count: u64,
    pub(super) instrument_id: u32,
    /// The last record that was let go: where the stream ends in it, all of it is stored and nothing behind it.
    pub(super) newest: Record,
}

impl Retained {
    pub(super) fn new(keep: Duration, bound: usize) -> Self {
        Self { queue: VecDeque::new(), keep, bound, bytes: 0, gone: Vec::new() }
    }

    pub(super) fn push(&mut self, now: Instant, mut message: Message) {
        message.seal();
        message.at = now;
        self.bytes += message.cost();
        self.queue.push_back(message);
        while self.bytes > self.bound {
            if self.let_go().is_none() {
                break;
            }
        }
    }

    /// Lets go what has been kept long enough.
    pub(super) fn trim(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|message| now.saturating_duration_since(message.at) > self.keep) {
            if self.let_go().is_none() {
                break;
            }
        }
    }

    pub(super) fn take(&mut self) -> VecDeque<Message> {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }

    /// Takes what `take` gave, or part of it, back with the times it had.
    pub(super) fn keep_again(&mut self, message: Message) {
        self.bytes += message.cost();
        self.queue.push_back(message);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.queue.iter()
    }

    pub(super) fn newest(&self) -> Option<&Message> {
        self.queue.back()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn gone(&self, key: Key) -> Option<Gone> {
        self.gone.get(key.index()).copied().flatten()
    }

    pub(super) fn forget_gone(&mut self, key: Key) {
        if let Some(slot) = self.gone.get_mut(key.index()) {
            *slot = None;
        }
    }

    /// Keys of which something was let go.
    pub(super) fn gone_keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.gone.iter().enumerate().filter(|(_, gone)| gone.is_some()).filter_map(|(index, _)| {
            let route = u32::try_from(index / 2).ok()?;
            Some(if index % 2 == 0 { Key::trades(route) } else { Key::gaps(route) })
        })
    }

    fn let_go(&mut self) -> Option<()> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.cost();
        let (first, last) = (message.first()?, message.last()?);
        let index = message.key.index();
        if self.gone.len() <= index {
            self.gone.resize(index + 1, None);
        }
        let slot = self.gone.get_mut(index)?;
        let count = message.records();
        match slot {
            Some(gone) => {
                let mark = Mark::of(&last);
                // Trades that came late stand behind younger ones; a venue that counts anew begins with low ids.
                if mark.after(&gone.last) || mark.outlives(&gone.last) {
                    gone.last = mark;
                }
                gone.count += count;
                gone.newest = last;
            }
            None => {
                *slot = Some(Gone {
                    first: Mark::of(&first),
                    last: Mark::of(&last),
                    count,
                    instrument_id: first.instrument_id(),
                    newest: last,
                });
            }
        }
        Some(())
    }
}
