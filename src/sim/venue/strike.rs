//! How faults strike a venue: those of its script when they are due, others at once.

use tokio_tungstenite::tungstenite::Message;

use super::{Connection, Venue, close_message};
use crate::sim::faults::{Fault, Refusal, Which};

impl Venue {
    pub(super) fn play_script(&self, issued: u64) {
        loop {
            let due = self.script.borrow().front().is_some_and(|scripted| scripted.after <= issued);
            if !due {
                return;
            }
            let next = self.script.borrow_mut().pop_front();
            match next {
                Some(scripted) => self.apply(scripted.fault),
                None => return,
            }
        }
    }

    /// Makes a fault happen. Its exchange and symbol have been checked.
    pub(in crate::sim) fn apply(&self, fault: Fault) {
        tracing::info!(exchange = self.public.exchange, ?fault, "fault injected");
        let symbol = fault.symbol().and_then(|name| self.listings.iter().position(|listing| listing.symbol == name));
        let mut pending = self.pending.borrow_mut();
        match (fault, symbol) {
            (Fault::Duplicate { count, .. }, Some(symbol)) => pending.duplicate(symbol, count),
            (Fault::Withhold { count, which: Which::All, .. }, Some(symbol)) => pending.withhold(symbol, count),
            (Fault::Withhold { count, which, .. }, Some(symbol)) => {
                self.each(which, |connection| connection.withhold(symbol, count));
            }
            (Fault::SkipIds { count, .. }, Some(symbol)) => {
                if let Some(skip) = self.id_skips.borrow_mut().get_mut(symbol) {
                    *skip = skip.saturating_add(count);
                }
            }
            (Fault::RefuseSymbol { times, .. }, Some(symbol)) => {
                let listing = self.listings.get(symbol);
                pending.refuse_symbol(listing.map_or("", |listing| &listing.venue_symbol), times);
            }
            (Fault::RefuseUpgrade { status, retry_after, times, .. }, _) => {
                pending.refuse_upgrades(Refusal { status, retry_after }, times);
            }
            (Fault::RefuseRest { status, retry_after, times, .. }, _) => {
                pending.refuse_rest(Refusal { status, retry_after }, times);
            }
            (fault, _) => self.apply_to_connections(fault),
        }
    }

    fn apply_to_connections(&self, fault: Fault) {
        match fault {
            Fault::Drop { which, .. } => self.each(which, |connection| connection.doom.notify_one()),
            Fault::Close { which, code, reason, .. } => {
                self.each(which, |connection| self.push(connection, close_message(code, &reason)));
            }
            Fault::Shutdown { which, grace, .. } => {
                self.each(which, |connection| connection.shut_down.set(Some(grace)));
            }
            Fault::Stall { which, .. } => self.each(which, |connection| connection.stalled.set(true)),
            Fault::Resume { .. } => self.each(Which::All, |connection| connection.stalled.set(false)),
            Fault::Send { which, text, .. } => {
                self.each(which, |connection| self.push(connection, Message::text(text.as_str())));
            }
            _ => {}
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
