//! What to run, from the settings: which venues and instruments, on which shard, to which transports.
//!
//! Pure: it finds every problem before anything is started.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::Settings;
use crate::config::settings;
use crate::exchange::{self, Exchange};
use crate::market::{Instrument, Universe};

/// A venue and what is read of it.
#[derive(Clone, Debug)]
pub struct VenuePlan {
    /// The venue.
    pub exchange: &'static dyn Exchange,
    /// WebSocket base.
    pub ws_url: String,
    /// REST base.
    pub rest_url: String,
    /// Routes in the shard's universe, and their instruments.
    pub instruments: Vec<(u32, Instrument)>,
    /// The configured stall time-out, if there is one.
    pub stall: Option<std::time::Duration>,
    /// Connections that bring the same symbols.
    pub redundancy: usize,
}

/// What one thread owns.
#[derive(Clone, Debug, Default)]
pub struct ShardPlan {
    /// The instruments; a record's route is its index here.
    pub universe: Universe,
    /// The venues.
    pub venues: Vec<VenuePlan>,
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One a thread.
    pub shards: Vec<ShardPlan>,
}

/// Whether each exchange's records go to a stream of their own.
pub(super) const fn has_stream_each(settings: &Settings) -> bool {
    settings.transport.nats.enabled && settings.transport.nats.jetstream.stream_per_exchange
}

impl Plan {
    /// Makes a plan.
    ///
    /// A venue stays on one thread, since its ring has one writer; venues are spread so that symbols are even. A
    /// publisher writes one stream: where each exchange has its own, each has a thread of its own.
    ///
    /// # Errors
    /// Every problem, one line each.
    pub fn of(settings: &Settings) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut all = Universe::default();
        let mut venues: Vec<(&'static dyn Exchange, &settings::Exchange, Vec<Instrument>)> = Vec::new();
        if settings.exchanges.is_empty() {
            problems.push(
                "no exchange is configured: add an [exchanges.NAME] table with symbols, or name one with --exchange \
                 and --symbols"
                    .to_owned(),
            );
        }
        for (name, table) in &settings.exchanges {
            match exchange::by_name(name) {
                Some(venue) => {
                    let instruments = instruments(venue, table, &mut all, &mut problems);
                    venues.push((venue, table, instruments));
                }
                None => problems.push(unknown_exchange(name)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let most = if has_stream_each(settings) { venues.len() } else { settings.shards };
        let count = most.clamp(1, venues.len().max(1));
        let mut shards = vec![ShardPlan::default(); count];
        venues.sort_by_key(|(_, _, instruments)| std::cmp::Reverse(instruments.len()));
        for (venue, table, instruments) in venues {
            let least = shards.iter_mut().min_by_key(|shard| shard.universe.instruments().len());
            if let Some(shard) = least {
                shard.add(venue, table, instruments).map_err(|problem| vec![problem])?;
            }
        }
        Ok(Self { shards })
    }

    /// The tokens of all venues, sorted.
    #[must_use]
    pub fn exchanges(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.venues().map(|venue| venue.exchange.profile().name).collect();
        names.sort_unstable();
        names
    }

    /// Ids of the instruments that shards other than this one own.
    #[must_use]
    pub fn elsewhere(&self, shard: usize) -> BTreeSet<u32> {
        let others = self.shards.iter().enumerate().filter(|(number, _)| *number != shard);
        others.flat_map(|(_, other)| other.universe.instruments()).map(|instrument| instrument.id).collect()
    }

    /// All venues.
    pub fn venues(&self) -> impl Iterator<Item = &VenuePlan> {
        self.shards.iter().flat_map(|shard| &shard.venues)
    }
}

impl ShardPlan {
    /// The settings of this shard: where each exchange has a stream, the one that it publishes to is its exchange's.
    #[must_use]
    pub fn settings(&self, settings: &Arc<Settings>) -> Arc<Settings> {
        match self.venues.as_slice() {
            [venue] if has_stream_each(settings) => {
                let mut own = Settings::clone(settings);
                own.transport.nats.jetstream = own.transport.nats.jetstream.of(venue.exchange.profile().name);
                Arc::new(own)
            }
            _ => Arc::clone(settings),
        }
    }

    fn add(
        &mut self,
        venue: &'static dyn Exchange,
        table: &settings::Exchange,
        instruments: Vec<Instrument>,
    ) -> Result<(), String> {
        let profile = venue.profile();
        let or =
            |text: &str, default: &str| if text.is_empty() { default } else { text }.trim_end_matches('/').to_owned();
        let mut routes = Vec::with_capacity(instruments.len());
        for instrument in instruments {
            let route = self.universe.add(instrument.clone()).map_err(|error| error.to_string())?;
            routes.push((u32::try_from(route).map_err(|_| "too many instruments".to_owned())?, instrument));
        }
        self.venues.push(VenuePlan {
            exchange: venue,
            ws_url: or(&table.ws_url, profile.ws_url),
            rest_url: or(&table.rest_url, profile.rest_url),
            instruments: routes,
            stall: Some(table.stall_timeout.duration()).filter(|stall| !stall.is_zero()),
            redundancy: table.redundancy,
        });
        Ok(())
    }
}

/// The instruments of a venue; each that cannot be is a problem.
fn instruments(
    venue: &'static dyn Exchange,
    table: &settings::Exchange,
    all: &mut Universe,
    problems: &mut Vec<String>,
) -> Vec<Instrument> {
    let name = venue.profile().name;
    let mut list = Vec::with_capacity(table.symbols.len());
    if table.symbols.is_empty() {
        let example = venue.profile().example.0;
        problems.push(format!(
            "exchanges.{name}.symbols is empty: name some, as in [\"{example}\"]; `data-manager symbols --exchange {name}` \
             lists them"
        ));
    }
    for text in &table.symbols {
        let made = venue.venue_symbol(text.trim()).map_err(|error| error.to_string()).and_then(|venue_symbol| {
            let symbol = venue.canonical(&venue_symbol).map_err(|error| error.to_string())?;
            Ok(Instrument::new(name, symbol, venue_symbol))
        });
        match made {
            Ok(instrument) => match all.add(instrument.clone()) {
                Ok(_) => list.push(instrument),
                Err(error) => problems.push(format!("exchanges.{name}.symbols: {error}")),
            },
            Err(error) => problems.push(format!("exchanges.{name}.symbols: {error}")),
        }
    }
    list
}

/// Tells an unknown exchange, with the nearest known one.
#[must_use]
pub fn unknown_exchange(name: &str) -> String {
    let known: Vec<&str> = exchange::registry::names().collect();
    let near = known.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let near = near.filter(|near| strsim::jaro_winkler(near, name) > 0.75);
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("no exchange {name:?}; there are {}{hint}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Exchange as Table;

    fn settings(tables: &[(&str, &[&str])]) -> Settings {
        let table =
            |symbols: &[&str]| Table { symbols: symbols.iter().map(ToString::to_string).collect(), ..Table::default() };
        let exchanges = tables.iter().map(|(name, symbols)| ((*name).to_owned(), table(symbols))).collect();
        Settings { exchanges, shards: 8, ..Settings::default() }
    }

    #[test]
    fn a_venue_stays_on_one_shard_and_routes_are_its_indexes() {
        let names: Vec<&str> = exchange::registry::names().collect();
        let (one, two) =
            (exchange::by_name(names[0]).unwrap().profile(), exchange::by_name(names[1]).unwrap().profile());
        let plan = Plan::of(&settings(&[(one.name, &[one.example.0]), (two.name, &[two.example.0])])).unwrap();
        assert_eq!(plan.shards.len(), 2);
        for shard in &plan.shards {
            assert_eq!(shard.venues.len(), 1);
            for (route, instrument) in &shard.venues[0].instruments {
                assert_eq!(shard.universe.get(*route as usize), Some(instrument));
            }
        }
        assert!(!plan.venues().next().unwrap().ws_url.ends_with('/'));
    }

    #[test]
    fn with_a_stream_each_every_exchange_has_a_shard_of_its_own() {
        let names: Vec<&str> = exchange::registry::names().collect();
        let tables: Vec<(&str, Vec<&str>)> =
            names.iter().map(|name| (*name, vec![exchange::by_name(name).unwrap().profile().example.0])).collect();
        let tables: Vec<(&str, &[&str])> = tables.iter().map(|(name, symbols)| (*name, symbols.as_slice())).collect();
        for shards in [1, 2, 64] {
            let mut settings = Settings { shards, ..settings(&tables) };
            settings.transport.nats.jetstream.stream_per_exchange = true;
            assert_eq!(Plan::of(&settings).unwrap().shards.len(), shards.min(names.len()), "nothing is published");
            settings.transport.nats.enabled = true;
            let (plan, settings) = (Plan::of(&settings).unwrap(), Arc::new(settings));
            let streams = plan.shards.iter().map(|shard| {
                let stream = shard.settings(&settings).transport.nats.jetstream.clone();
                assert_eq!(stream.exchange(), Some(shard.venues[0].exchange.profile().name));
                stream.stream_name
            });
            let mut streams: Vec<String> = streams.collect();
            streams.sort();
            let mut wanted: Vec<String> =
                names.iter().map(|name| settings.transport.nats.jetstream.stream_of(name)).collect();
            wanted.sort();
            assert_eq!(streams, wanted);
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let name = exchange::registry::names().next().unwrap();
        let near = format!("{name}x");
        let problems = Plan::of(&settings(&[(name, &["BTCUSDT", "btcusdt", "B T"]), (&near, &["A"])])).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems.iter().any(|text| text.ends_with(&format!("did you mean {name}?"))), "{problems:#?}");
        assert!(problems.iter().any(|text| text.contains("configured twice")), "{problems:#?}");
        assert_eq!(Plan::of(&settings(&[])).unwrap_err().len(), 1);
        assert!(Plan::of(&settings(&[(name, &[])])).unwrap_err()[0].contains("data-manager symbols"));
    }
}
