//! Asks each venue whether it has the configured symbols, and what it says of them: some venues take a subscription to
//! anything and then send nothing, for ever.
//!
//! It changes nothing about the feeds: a venue whose REST API is away may still stream.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::board::Board;
use super::plan::VenuePlan;
use crate::exchange::InstrumentInfo;
use crate::feed::backoff::Backoff;
use crate::feed::instruments::instruments;
use crate::telemetry::clock;

/// The largest list takes a few seconds on a slow line.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks at a list that could not be had, shortest and longest.
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
    due: Instant,
    backoff: Backoff,
    failed: bool,
    /// What the log was told of each symbol: whether it trades, `None` where it is not listed.
    told: BTreeMap<String, Option<bool>>,
}

/// Looks the symbols of these venues up; what is not there is said on the board and in the log. With `every` it asks
/// again after that time, and sooner where a list could not be had; without, it ends.
pub(super) async fn look_up(venues: Vec<VenuePlan>, board: &Board, listed: &Listed, every: Option<Duration>) {
    let of = |(seed, venue)| Look {
        venue,
        due: clock::now(),
        backoff: Backoff::new(AGAIN.0, AGAIN.1, seed),
        failed: false,
        told: BTreeMap::new(),
    };
    let mut looks: Vec<Look> = (0..).zip(venues).map(of).collect();
    // Frames from elsewhere (a simulation, a proxy) with the venue's own REST API: nothing there speaks of them.
    looks.retain(|look| {
        let profile = look.venue.exchange.profile();
        let speaks = look.venue.ws_url == profile.ws_url || look.venue.rest_url != profile.rest_url;
        if !speaks {
            listed.learn(profile.name, None);
        }
        speaks
    });
    loop {
        for look in looks.iter_mut().filter(|look| look.due <= clock::now()) {
            let wait = match look.ask(board, listed).await {
                true => every.unwrap_or_default(),
                false => look.backoff.wait(),
            };
            look.due = clock::now() + wait;
        }
        let next = looks.iter().map(|look| look.due).min();
        let (Some(next), Some(_)) = (next, every) else { return };
        tokio::time::sleep_until(next.into()).await;
    }
}

impl Look {
    /// Asks once; says whether there was an answer.
    async fn ask(&mut self, board: &Board, listed: &Listed) -> bool {
        let name = self.venue.exchange.profile().name;
        match instruments(self.venue.exchange, &self.venue.rest_url, TIMEOUT).await {
            Ok(list) => {
                self.failed = false;
                self.backoff.reset();
                self.tell(name, &list, board);
                let ours = |one: &InstrumentInfo| {
                    self.venue.instruments.iter().any(|(_, instrument)| instrument.venue_symbol == one.venue_symbol)
                };
                listed.learn(name, Some(list.into_iter().filter(ours).collect()));
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(exchange = name, err = %error, "the symbols could not be looked up");
                }
                listed.learn(name, None);
                false
            }
        }
    }

    /// Tells the board what is missing, and the log what has changed.
    fn tell(&mut self, name: &'static str, list: &[InstrumentInfo], board: &Board) {
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
        board.miss(name, missed);
    }
}
