//! Asks each venue whether it has the configured symbols, and what it says of them: some venues take a subscription to
//! anything and then send nothing, for ever.
//!
//! It changes nothing about the feeds: a venue whose REST API is away may still stream.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use super::board::Board;
use super::plan::VenuePlan;
use crate::exchange::InstrumentInfo;
use crate::feed::backoff::Backoff;
use crate::feed::instruments::instruments;

/// The largest list takes a few seconds on a slow line.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks at a list that could not be had, or in which something is missing, shortest and longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1_800));

/// What the venues' lists say of the configured instruments. It stays on the main thread.
#[derive(Debug, Default)]
pub(super) struct Listed {
    venues: RefCell<BTreeMap<&'static str, Option<Vec<InstrumentInfo>>>>,
    changes: Cell<u64>,
}

impl Listed {
    /// What a venue's list says of its configured instruments; `None` before the venue was asked, or where the asking
    /// is under way. An inner `None`: the list could not be had so far.
    pub(super) fn of(&self, exchange: &str) -> Option<Option<Vec<InstrumentInfo>>> {
        self.venues.borrow().get(exchange).cloned()
    }

    /// Grows whenever something was learnt.
    pub(super) const fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Keeps what is known where nothing new is.
    fn learn(&self, exchange: &'static str, list: Option<Vec<InstrumentInfo>>) {
        let mut venues = self.venues.borrow_mut();
        let known = venues.entry(exchange).or_default();
        if list.is_some() {
            *known = list;
        }
        self.changes.set(self.changes.get() + 1);
    }
}

/// One venue's list.
struct Look {
    venue: VenuePlan,
    backoff: Backoff,
    failed: bool,
    /// Symbols that were listed, and were not the last time.
    gone: BTreeSet<String>,
    /// What the log was told of each symbol: whether it trades, `None` where it is not listed.
    told: BTreeMap<String, Option<bool>>,
}

/// Looks the symbols of these venues up, of all at once; what is not there is said on the board and in the log. With
/// `every` it asks again after that time, and sooner where a list could not be had or lacks something; without it ends.
pub(super) async fn look_up(venues: Vec<VenuePlan>, board: &Board, listed: &Listed, every: Option<Duration>) {
    // A venue that hangs delays nobody else; there are as many at once as venues are configured.
    join_all((0..).zip(venues).map(|(seed, venue)| Look::new(venue, seed).run(board, listed, every))).await;
}

impl Look {
    fn new(venue: VenuePlan, seed: u64) -> Self {
        let backoff = Backoff::new(AGAIN.0, AGAIN.1, seed);
        Self { venue, backoff, failed: false, gone: BTreeSet::new(), told: BTreeMap::new() }
    }

    async fn run(mut self, board: &Board, listed: &Listed, every: Option<Duration>) {
        let profile = self.venue.exchange.profile();
        // Frames from elsewhere (a simulation, a proxy) with the venue's own REST API: nothing there speaks of them.
        if self.venue.ws_url != profile.ws_url && self.venue.rest_url == profile.rest_url {
            listed.learn(profile.name, None);
            return;
        }
        loop {
            let answer = instruments(self.venue.exchange, &self.venue.rest_url, TIMEOUT).await;
            let is_whole = self.answered(answer.map_err(|error| error.to_string()), board, listed);
            let Some(every) = every else { return };
            let wait = match is_whole {
                true => every,
                false => self.backoff.wait(),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes note of an answer; says whether it was a list with everything that is configured.
    fn answered(&mut self, answer: Result<Vec<InstrumentInfo>, String>, board: &Board, listed: &Listed) -> bool {
        let name = self.venue.exchange.profile().name;
        let list = answer.and_then(|list| match list.is_empty() {
            true => Err("its list of instruments is empty".to_owned()),
            false => Ok(list),
        });
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(exchange = name, err = %error, "the symbols could not be looked up");
                }
                listed.learn(name, None);
                return false;
            }
        };
        self.failed = false;
        if self.is_doubtful(&list) {
            self.backoff.reset();
            tracing::info!(exchange = name, "the venue's list lacks symbols that were in it: asking again");
            return false;
        }
        let is_whole = self.tell(name, &list, board);
        if is_whole {
            self.backoff.reset();
        }
        let ours = |one: &InstrumentInfo| {
            self.venue.instruments.iter().any(|(_, instrument)| instrument.venue_symbol == one.venue_symbol)
        };
        listed.learn(name, Some(list.into_iter().filter(ours).collect()));
        is_whole
    }

    /// Whether symbols are missing for the first time that were listed before: a venue in trouble answers with a part.
    fn is_doubtful(&mut self, list: &[InstrumentInfo]) -> bool {
        let there: BTreeSet<&str> = list.iter().map(|one| one.venue_symbol.as_str()).collect();
        let missing = self.venue.instruments.iter().map(|(_, instrument)| instrument);
        let missing = missing.filter(|instrument| !there.contains(instrument.venue_symbol.as_str()));
        let was_listed = |symbol: &String| self.told.get(symbol).is_some_and(Option::is_some);
        let gone: BTreeSet<String> = missing.map(|one| one.symbol.as_str().to_owned()).filter(was_listed).collect();
        let is_new = !gone.is_subset(&self.gone);
        self.gone = gone;
        is_new
    }

    /// Tells the board what is missing, and the log what has changed; says whether nothing is missing.
    fn tell(&mut self, name: &'static str, list: &[InstrumentInfo], board: &Board) -> bool {
        let mut missed = Vec::new();
        for (_, instrument) in &self.venue.instruments {
            let symbol = &instrument.symbol;
            let one = list.iter().find(|one| one.venue_symbol == instrument.venue_symbol);
            let state = one.map(|one| one.trading);
            let before = self.told.insert(symbol.as_str().to_owned(), state);
            let text = format!("{name}: {symbol} is not among the venue's instruments");
            match (state, before) {
                (_, Some(before)) if before == state => {}
                (Some(true), None) => {}
                (Some(true), Some(_)) => tracing::info!(exchange = name, %symbol, "the venue trades it now"),
                // A halt ends, and trades come with its end: nothing is wrong with us.
                (Some(false), _) => tracing::warn!(exchange = name, %symbol, "the venue does not trade it now"),
                (None, _) => {
                    tracing::error!(exchange = name, %symbol, "{text}; `data-manager symbols` lists them");
                }
            }
            if state.is_none() {
                missed.push(text);
            }
        }
        let is_whole = missed.is_empty();
        board.miss(name, missed);
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::all;
    use crate::market::{Instrument, Symbol};

    const SYMBOLS: [&str; 2] = ["AUSD", "BUSD"];

    fn look() -> (Look, Board, Listed) {
        let exchange = all()[0];
        let one =
            |symbol: &str| Instrument::new(exchange.profile().name, Symbol::new(symbol).unwrap(), symbol.to_owned());
        let instruments = (0..).zip(SYMBOLS.map(one)).collect();
        let (ws_url, rest_url) = (String::new(), String::new());
        let venue = VenuePlan { exchange, ws_url, rest_url, instruments, stall: None, redundancy: 1 };
        (Look::new(venue, 7), Board::new(0), Listed::default())
    }

    fn list(symbols: &[&str]) -> Vec<InstrumentInfo> {
        let one = |symbol: &&str| InstrumentInfo {
            venue_symbol: (*symbol).to_owned(),
            symbol: Symbol::new(symbol).unwrap(),
            tick_size: Some("0.1".to_owned()),
            lot_size: None,
            trading: true,
        };
        symbols.iter().map(one).collect()
    }

    fn name() -> &'static str {
        all()[0].profile().name
    }

    #[test]
    fn an_empty_list_is_none() {
        let (mut look, board, listed) = look();
        assert!(!look.answered(Ok(Vec::new()), &board, &listed));
        assert_eq!((board.missed(name()).len(), listed.of(name())), (0, Some(None)), "nothing is known");
        assert!(look.answered(Ok(list(&["AUSD", "BUSD", "CUSD"])), &board, &listed));
        assert_eq!(listed.of(name()).unwrap().unwrap().len(), 2);
        assert!(!look.answered(Ok(Vec::new()), &board, &listed));
        assert!(!look.answered(Err("timed out".to_owned()), &board, &listed));
        assert_eq!(board.missed(name()).len(), 0);
        assert_eq!(listed.of(name()).unwrap().unwrap().len(), 2, "what is known stays known");
    }

    #[test]
    fn a_symbol_that_vanishes_is_believed_to_be_gone_the_second_time() {
        let (mut look, board, listed) = look();
        assert!(look.answered(Ok(list(&SYMBOLS)), &board, &listed));
        for _ in 0..2 {
            assert!(!look.answered(Ok(list(&["AUSD"])), &board, &listed), "it is asked for again soon");
            assert_eq!(board.missed(name()).len(), 0);
            assert_eq!(listed.of(name()).unwrap().unwrap().len(), 2);
            assert!(look.backoff.wait() <= AGAIN.0);
            assert!(look.answered(Ok(list(&SYMBOLS)), &board, &listed), "it was a part of the list");
        }
        look.answered(Ok(list(&["AUSD"])), &board, &listed);
        look.answered(Ok(list(&["BUSD"])), &board, &listed);
        assert_eq!(board.missed(name()).len(), 0, "each of them is missing for the first time");
        assert!(!look.answered(Ok(list(&["CUSD", "BUSD"])), &board, &listed));
        assert_eq!(board.missed(name()).len(), 1);
        assert_eq!(listed.of(name()).unwrap().unwrap().len(), 1);
        assert!(look.answered(Ok(list(&SYMBOLS)), &board, &listed));
        assert_eq!(board.missed(name()).len(), 0);
    }

    #[test]
    fn what_is_not_listed_at_the_first_look_is_told_at_once_and_asked_for_again() {
        let (mut look, board, listed) = look();
        assert!(!look.answered(Ok(list(&["AUSD"])), &board, &listed));
        assert_eq!(board.missed(name()).len(), 1);
        let wait = look.backoff.wait();
        assert!(wait >= AGAIN.0 / 2 && wait <= AGAIN.0, "{wait:?}");
    }
}
