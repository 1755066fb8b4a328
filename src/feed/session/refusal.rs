//! What a session does about refused subscriptions. The connection stays: what is subscribed on it flows on.
//!
//! A refusal that names a symbol is that symbol's. One that names nobody may be about any symbol of its request, or
//! about none: the request is split until the symbol at fault stands alone. Where halves are refused one after the
//! other it is about everything, a limit or a maintenance: what is left is then tried one by one, ever more slowly.
//! Nobody is given up: what was refused is asked for again, with growing waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Action, Asked, Attempt, ConnId, Link, Note, Queued, Session};

/// A refused symbol is asked for again after this; the wait doubles with each time.
pub(super) const AGAIN_MIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(900);
/// Refusals in a row, with nothing accepted between them, behind which requests go out one at a time and wait.
const IN_ROW: u32 = 8;
const SPREAD_MIN: Duration = Duration::from_secs(1);
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// The symbols that are refused now.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    again: Instant,
    wait: Duration,
}

/// The refusals of one connection.
#[derive(Debug, Default)]
pub(super) struct Spread {
    in_row: u32,
    until: Option<Instant>,
}

/// What a venue says when it refuses.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) id: Option<u64>,
    pub(super) symbol: Option<String>,
    pub(super) reason: String,
}

impl Refusals {
    pub(super) fn has(&self, symbol: &str) -> bool {
        self.0.contains_key(symbol)
    }

    pub(super) fn symbols(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// When the first of them is to be asked for again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|refusal| refusal.again).min()
    }

    fn add(&mut self, now: Instant, symbol: &str) {
        // One that is refused once more has got its longer wait already, as it was asked for.
        let fresh = || Refusal { again: now + AGAIN_MIN, wait: AGAIN_MIN };
        self.0.entry(symbol.to_owned()).or_insert_with(fresh);
    }

    /// Those that are to be asked for again now.
    fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for (symbol, refusal) in self.0.iter_mut().filter(|(_, refusal)| refusal.again <= now) {
            refusal.wait = (refusal.wait * 2).min(AGAIN_MAX);
            refusal.again = now + refusal.wait;
            due.push(symbol.clone());
        }
        due
    }
}

impl Spread {
    /// Whether requests go out one at a time, and not before this.
    pub(super) fn holds(&self) -> Option<Instant> {
        self.until
    }

    fn refused(&mut self, now: Instant) {
        self.in_row += 1;
        if self.in_row > IN_ROW {
            let wait = SPREAD_MIN.saturating_mul(1 << (self.in_row - IN_ROW - 1).min(6)).min(SPREAD_MAX);
            self.until = Some(now + wait);
        }
    }
}

impl Session {
    pub(super) fn rejected(&mut self, now: Instant, conn: ConnId, refused: Refused, out: &mut Vec<Action>) {
        match refused.symbol {
            Some(symbol) => self.refused_by_name(now, conn, refused.id, symbol, refused.reason, out),
            None => self.refused_without_name(now, conn, refused.id, refused.reason, out),
        }
        self.send_queued(now, out);
        self.settle(now, conn, out);
    }

    fn refused_by_name(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: Option<u64>,
        symbol: String,
        reason: String,
        out: &mut Vec<Action>,
    ) {
        let Some(link) = self.link(conn) else { return };
        link.wanted.remove(&symbol);
        let by_symbol = link.unanswered.iter().position(|asked| asked.request.symbols.contains(&symbol));
        let by_id = || link.unanswered.iter().position(|asked| id.is_some() && asked.request.id == id);
        let asked = by_symbol.or_else(by_id).map(|place| link.unanswered.swap_remove(place));
        // What still waits to be asked for may name it too.
        let (named, rest) = std::mem::take(&mut link.queue)
            .into_iter()
            .partition::<Vec<Queued>, _>(|queued| queued.request.symbols.contains(&symbol));
        link.queue = rest.into();
        // One bad symbol fails a whole request on some venues: the others are asked for once more, without it.
        let answered = asked.map(|Asked { request, attempt, .. }| Queued { request, attempt });
        let again: Vec<(Vec<String>, Attempt)> =
            answered.into_iter().chain(named).map(|queued| (link.still_wanted(&queued), queued.attempt)).collect();
        self.refusals.add(now, &symbol);
        out.push(Action::Note(Note::Rejected { symbols: vec![symbol], reason }));
        for (symbols, attempt) in again {
            self.subscribe_more(conn, &symbols, attempt);
        }
    }

    fn refused_without_name(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: Option<u64>,
        reason: String,
        out: &mut Vec<Action>,
    ) {
        let Some(link) = self.link(conn) else { return };
        let asked = match id {
            Some(_) => link.unanswered.extract_if(.., |asked| asked.request.id == id).collect::<Vec<_>>(),
            // It may be about any of them.
            None => std::mem::take(&mut link.unanswered),
        };
        let attempt = asked.iter().map(|asked| asked.attempt).max().unwrap_or(Attempt::First);
        let queued = asked.into_iter().map(|Asked { request, attempt, .. }| Queued { request, attempt });
        let symbols: Vec<String> = queued.flat_map(|queued| link.still_wanted(&queued)).collect();
        link.spread.refused(now);
        match symbols.as_slice() {
            [symbol] => {
                link.wanted.remove(symbol);
                self.refusals.add(now, symbol);
                out.push(Action::Note(Note::Rejected { symbols, reason }));
            }
            several => {
                out.push(Action::Note(Note::Split { symbols: several.len(), reason }));
                let (first, second) = several.split_at(several.len() / 2);
                self.subscribe_more(conn, first, attempt);
                self.subscribe_more(conn, second, attempt);
            }
        }
    }

    /// The venue has accepted symbols, some of which it may have refused before.
    pub(super) fn accepted(&mut self, conn: ConnId, symbols: &[String], out: &mut Vec<Action>) {
        if let Some(link) = self.link(conn) {
            link.spread = Spread::default();
        }
        let before = |symbol: &&String| self.refusals.0.remove(*symbol).is_some();
        let back: Vec<String> = symbols.iter().filter(before).cloned().collect();
        if !back.is_empty() {
            out.push(Action::Note(Note::Accepted { symbols: back }));
        }
    }

    /// What was refused a while ago is asked for again, on each open connection.
    pub(super) fn ask_for_refused(&mut self, now: Instant) {
        let links = [&self.primary, &self.successor].into_iter().flatten();
        let open: Vec<ConnId> = links.filter(|link| link.opened.is_some()).map(|link| link.conn).collect();
        if open.is_empty() || self.refusals.next().is_none_or(|next| now < next) {
            return;
        }
        let due = self.refusals.due(now);
        for conn in open {
            let asked = |symbol: &String| self.link_of(conn).is_some_and(|link| link.asks_for(symbol));
            let symbols: Vec<String> = due.iter().filter(|symbol| !asked(symbol)).cloned().collect();
            self.subscribe_more(conn, &symbols, Attempt::Probe);
        }
    }

    fn subscribe_more(&mut self, conn: ConnId, symbols: &[String], attempt: Attempt) {
        if symbols.is_empty() {
            return;
        }
        let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let requests = self.exchange.subscribe(&names, self.next_request);
        self.next_request += requests.len() as u64;
        if let Some(link) = self.link(conn) {
            link.wanted.extend(symbols.iter().cloned());
            link.queue.extend(requests.into_iter().map(|request| Queued { request, attempt }));
        }
    }
}

impl Link {
    /// What of a request is not accepted yet.
    fn still_wanted(&self, queued: &Queued) -> Vec<String> {
        queued.request.symbols.iter().filter(|symbol| self.wanted.contains(*symbol)).cloned().collect()
    }

    /// Whether a symbol is in a request that waits to be sent, or for its answer.
    fn asks_for(&self, symbol: &String) -> bool {
        let unanswered = self.unanswered.iter().map(|asked| &asked.request);
        self.queue.iter().map(|queued| &queued.request).chain(unanswered).any(|known| known.symbols.contains(symbol))
    }

    /// Whether all but probes is answered.
    pub(super) fn is_answered(&self) -> bool {
        let probe = |attempt: Attempt| attempt == Attempt::Probe;
        self.queue.iter().all(|queued| probe(queued.attempt)) && self.unanswered.iter().all(|a| probe(a.attempt))
    }
}
