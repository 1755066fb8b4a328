//! What the entries say: of each venue whether it is connected, since when and why not; of each instrument what the
//! venue's list says of it. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::app::board::{ShardView, VenueView, stuck};
use crate::exchange::InstrumentInfo;
use crate::feed::FeedState;
use crate::market::Instrument;
use crate::market::subject::key_token;
use crate::telemetry::build;

/// Words that change while the state stays are told this often at most.
const WORDS: Duration = Duration::from_secs(10);

/// Longest reason, bytes: all symbols of a venue may have one.
const REASON: usize = 900;

/// RFC 3339 of one length, so that later is greater.
const STAMP: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// What is said of a venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VenueEntry {
    exchange: &'static str,
    /// `connected`, `degraded` or `down`.
    state: &'static str,
    /// When the state began, RFC 3339, to the millisecond.
    since: String,
    /// Empty: connected. Otherwise in the words of `/readyz`, of which many reasons are only counted.
    reason: String,
    /// Connections that there should be.
    connections: usize,
    /// Connections that are live.
    live: usize,
    /// Configured symbols.
    symbols: usize,
    instance: String,
    version: &'static str,
}

/// A venue as it was seen just now.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    exchange: &'static str,
    state: &'static str,
    reason: String,
    connections: usize,
    live: usize,
    symbols: usize,
}

impl Seen {
    /// A venue of this shard, of which `missed` says what is not in its list.
    pub(super) fn of(number: usize, shard: &ShardView, venue: &VenueView, missed: &[String], now: Instant) -> Self {
        let mut reasons = Vec::new();
        let silent = stuck(number, now.saturating_duration_since(shard.at));
        let is_silent = silent.is_some();
        reasons.extend(silent);
        venue.reasons(now, Duration::ZERO, &mut reasons);
        reasons.extend(missed.iter().cloned());
        let live = if is_silent { 0 } else { venue.live() };
        let mut routes: Vec<u32> = venue.feeds.iter().flat_map(|feed| feed.symbols.iter()).map(|one| one.0).collect();
        routes.sort_unstable();
        routes.dedup();
        let state = match (live, reasons.is_empty()) {
            (0, _) => "down",
            (_, true) => "connected",
            (_, false) => "degraded",
        };
        let (exchange, connections) = (venue.exchange, venue.feeds.len());
        Self { exchange, state, reason: joined(&reasons), connections, live, symbols: routes.len() }
    }
}

/// What is said of all venues.
#[derive(Debug)]
pub(super) struct Venues {
    instance: String,
    /// What is said, and since when in these words.
    said: BTreeMap<&'static str, (VenueEntry, Instant)>,
}

impl Venues {
    pub(super) const fn new(instance: String) -> Self {
        Self { instance, said: BTreeMap::new() }
    }

    /// What to say of a venue that is seen so.
    pub(super) fn say(&mut self, seen: Seen, now: Instant, wall_ns: u64) -> (String, Bytes) {
        let before = self.said.get(seen.exchange);
        let since = match before {
            Some((entry, _)) if entry.state == seen.state => entry.since.clone(),
            _ => rfc3339(wall_ns),
        };
        let entry = VenueEntry {
            exchange: seen.exchange,
            state: seen.state,
            since,
            reason: seen.reason,
            connections: seen.connections,
            live: seen.live,
            symbols: seen.symbols,
            instance: self.instance.clone(),
            version: build::VERSION,
        };
        let key = key_token(seen.exchange);
        if let Some((said, at)) = before {
            let words_only = VenueEntry { reason: said.reason.clone(), ..entry.clone() } == *said;
            if words_only && (entry.reason == said.reason || now.saturating_duration_since(*at) < WORDS) {
                return (key, json(said));
            }
        }
        let value = json(&entry);
        self.said.insert(seen.exchange, (entry, now));
        (key, value)
    }

    /// What to say of all venues when the daemon ends.
    pub(super) fn stopped(&self, wall_ns: u64) -> Vec<(String, Bytes)> {
        let stopped = |(entry, _): &(VenueEntry, Instant)| VenueEntry {
            state: "down",
            since: rfc3339(wall_ns),
            reason: FeedState::Stopped.as_str().to_owned(),
            live: 0,
            ..entry.clone()
        };
        self.said.iter().map(|(exchange, said)| (key_token(exchange), json(&stopped(said)))).collect()
    }
}

/// What is said of an instrument. Prices and sizes are text, exact.
#[derive(Debug, Serialize)]
struct InstrumentEntry<'a> {
    exchange: &'a str,
    symbol: &'a str,
    venue_symbol: &'a str,
    id: u32,
    /// Smallest price step; `None` where nobody says.
    tick: Option<&'a str>,
    /// Smallest size step, likewise.
    lot: Option<&'a str>,
    /// Whether the venue trades it now; `None` where its list could not be had.
    trading: Option<bool>,
}

/// The entry of an instrument; `list` is what the venue's list says of all configured ones, if it could be had.
pub(super) fn instrument(instrument: &Instrument, list: Option<&[InstrumentInfo]>) -> (String, Bytes) {
    let one = list.and_then(|list| list.iter().find(|one| one.venue_symbol == instrument.venue_symbol));
    let entry = InstrumentEntry {
        exchange: instrument.exchange,
        symbol: instrument.symbol.as_str(),
        venue_symbol: &instrument.venue_symbol,
        id: instrument.id,
        tick: one.and_then(|one| one.tick_size.as_deref()),
        lot: one.and_then(|one| one.lot_size.as_deref()),
        trading: list.map(|_| one.is_some_and(|one| one.trading)),
    };
    let key = format!("{}.{}", key_token(instrument.exchange), key_token(instrument.symbol.as_str()));
    (key, json(&entry))
}

/// The first token of a key of either bucket: of which exchange it tells.
pub(super) fn exchange_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(exchange, _)| exchange)
}

fn json(entry: &impl Serialize) -> Bytes {
    // Plain fields of text and numbers always become JSON.
    serde_json::to_vec(entry).unwrap_or_default().into()
}

/// The reasons in one line, as many as fit.
fn joined(reasons: &[String]) -> String {
    let mut line = String::new();
    for (number, reason) in reasons.iter().enumerate() {
        let rest = reasons.len() - number;
        // The first one is told in any case, as far as it goes.
        let room = REASON.saturating_sub(line.len());
        if number > 0 && reason.len() + "; ".len() > room {
            return format!("{line}; and {rest} more");
        }
        line.push_str(if number > 0 { "; " } else { "" });
        match reason.len() > room {
            true => line.extend([&reason[..reason.floor_char_boundary(room)], "..."]),
            false => line.push_str(reason),
        }
    }
    line
}

fn rfc3339(wall_ns: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(wall_ns.into()).ok();
    time.and_then(|time| time.format(STAMP).ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
