//! How faults strike a venue: those of its script when they are due, others at once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Connection, Venue, close_message, tell};
use crate::sim::faults::ills::Treatment;
use crate::sim::faults::pending::Refusal;
use crate::sim::faults::{Fault, Which, spoil};
use crate::telemetry::clock;

/// A fault at a place of the venue's tape.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Due {
    /// Right after this many trades.
    pub(in crate::sim) after: u64,
    /// And again after so many more; 0: once.
    pub(in crate::sim) every: u64,
    pub(in crate::sim) fault: Fault,
}

/// The running number of the simulation's faults.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Numbers(Rc<Cell<u64>>);

impl Numbers {
    fn next(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

impl Venue {
    pub(super) fn play_script(&self, issued: u64) {
        loop {
            let due = self.script.borrow().front().is_some_and(|due| due.after <= issued);
            if !due {
                return;
            }
            let Some(mut due) = self.script.borrow_mut().pop_front() else { return };
            self.apply(due.fault.clone());
            if due.every > 0 {
                due.after = due.after.saturating_add(due.every);
                let mut script = self.script.borrow_mut();
                let place = script.partition_point(|other| other.after <= due.after);
                script.insert(place, due);
            }
        }
    }

    /// Makes a fault happen. Its exchange and symbol have been checked.
    pub(in crate::sim) fn apply(&self, fault: Fault) {
        let after = self.public.counters.issued.load(Relaxed);
        let number = self.numbers.next();
        self.public.counters.faults.fetch_add(1, Relaxed);
        tracing::info!(number, after, %fault, "fault injected");
        let symbol = fault.symbol().and_then(|name| self.listings.iter().position(|listing| listing.symbol == name));
        self.apply_to_trades(&fault, symbol);
        self.apply_to_answers(&fault, symbol);
        self.apply_to_connections(&fault);
    }

    fn apply_to_trades(&self, fault: &Fault, symbol: Option<usize>) {
        match fault {
            Fault::Duplicate { count, .. } => self.treat(symbol, Which::All, Treatment::Twice, *count),
            Fault::Withhold { which, count, .. } => self.treat(symbol, *which, Treatment::Withhold, *count),
            Fault::Spoil { which, damage, count, .. } => {
                self.treat(symbol, *which, Treatment::Spoil(*damage), *count);
            }
            Fault::Conflict { which, count, .. } => self.treat(symbol, *which, Treatment::Conflict, *count),
            Fault::Retime { which, time, count, .. } => {
                self.treat(symbol, *which, Treatment::Retime(*time), *count);
            }
            Fault::Delay { which, by, count, .. } => self.treat(symbol, *which, Treatment::Delay(*by), *count),
            Fault::Replay { which, count, .. } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                let symbols = symbol.map_or(0..self.listings.len(), |symbol| symbol..symbol + 1);
                self.each(*which, |connection| {
                    symbols.clone().for_each(|symbol| self.replay(connection, symbol, count));
                });
            }
            Fault::SkipIds { count, .. } => {
                let mut skips = self.id_skips.borrow_mut();
                if let Some(skip) = symbol.and_then(|symbol| skips.get_mut(symbol)) {
                    *skip = skip.saturating_add(*count);
                }
            }
            Fault::RestartIds { .. } => {
                for (place, restart) in self.restarts.borrow_mut().iter_mut().enumerate() {
                    *restart |= symbol.is_none_or(|symbol| symbol == place);
                }
            }
            Fault::Burst { factor, lasting, .. } => {
                self.hurry.set(Some((*factor, *lasting)));
                self.hurried.notify_one();
            }
            _ => {}
        }
    }

    fn apply_to_answers(&self, fault: &Fault, symbol: Option<usize>) {
        let name = || symbol.and_then(|symbol| self.listings.get(symbol)).map(|listing| listing.venue_symbol.clone());
        let mut pending = self.pending.borrow_mut();
        match fault {
            Fault::RefuseSymbol { times, .. } => pending.refuse_symbol(&name().unwrap_or_default(), *times),
            Fault::RefuseUpgrade { status, retry_after, times, .. } => {
                pending.refuse_upgrades(Refusal { status: *status, retry_after: *retry_after }, *times);
            }
            Fault::RefuseRest { status, retry_after, times, .. } => {
                pending.refuse_rest(Refusal { status: *status, retry_after: *retry_after }, *times);
            }
            Fault::Ack { fault, times, .. } => pending.spoil_acks(name(), *fault, *times),
            Fault::Rest { fault, times, .. } => pending.spoil_rest(name(), *fault, *times),
            _ => {}
        }
    }

    fn apply_to_connections(&self, fault: &Fault) {
        match fault {
            Fault::Drop { which, .. } => self.each(*which, |connection| connection.doom.notify_one()),
            Fault::HangUp { which, .. } => self.each(*which, |connection| connection.hang_up.set(true)),
            Fault::Close { which, code, reason, .. } => self.each(*which, |connection| {
                self.push(connection, close_message(*code, reason));
            }),
            Fault::Shutdown { which, grace, .. } => {
                self.each(*which, |connection| connection.shut_down.set(Some(*grace)));
            }
            Fault::Stall { which, .. } => self.each(*which, |connection| connection.stalled.set(true)),
            Fault::HalfOpen { which, .. } => {
                let until = clock::now() + self.manners.half_open_for;
                self.each(*which, |connection| {
                    let cut = connection.queue.borrow_mut().drain(..).filter(tell::is_data).count();
                    self.public.counters.silenced.fetch_add(u64::try_from(cut).unwrap_or(u64::MAX), Relaxed);
                    connection.half_open.set(Some(until));
                });
            }
            Fault::Resume { .. } => self.each(Which::All, |connection| {
                connection.stalled.set(false);
                connection.half_open.set(None);
            }),
            Fault::Send { which, text, .. } => self.send(*which, text.as_str().into()),
            Fault::Huge { which, bytes, .. } => {
                self.send(*which, spoil::huge(usize::try_from(*bytes).unwrap_or(usize::MAX)).into());
            }
            _ => {}
        }
    }

    fn send(&self, which: Which, text: Utf8Bytes) {
        self.each(which, |connection| {
            self.push_counted(connection, Message::Text(text.clone()), &self.public.counters.foreign);
        });
    }

    fn treat(&self, symbol: Option<usize>, which: Which, treatment: Treatment, count: u64) {
        match which {
            // Those to come are meant too.
            Which::All => self.pending.borrow_mut().trades.add(symbol, treatment, count),
            which => self.each(which, |connection| connection.ills.borrow_mut().add(symbol, treatment, count)),
        }
    }

    fn each(&self, which: Which, mut act: impl FnMut(&Connection)) {
        let connections = self.connections.borrow();
        let hit = match which {
            Which::All => connections.get(..),
            Which::Oldest => connections.get(..1),
            Which::Newest => connections.len().checked_sub(1).and_then(|last| connections.get(last..)),
        };
        for connection in hit.unwrap_or_default() {
            act(connection);
            connection.wake.notify_one();
        }
    }
}
