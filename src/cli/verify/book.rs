//! All audits of a run, by exchange and symbol, and what is wanted of what is read.

use std::collections::HashMap;

use crate::exchange::{self, IdRule};
use crate::feed::audit::{Audit, Class, Report};
use crate::market::Record;
use crate::market::instrument::instrument_id;

/// Things that belong to no instrument and are kept with their places; the rest is counted.
pub(super) const STRAYS_MAX: usize = 100;

/// What is wanted. Empty lists mean all.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) exchanges: Vec<String>,
    pub(super) symbols: Vec<String>,
    /// The time of receipt, nanoseconds: from here.
    pub(super) from_ns: Option<u64>,
    /// Up to here.
    pub(super) until_ns: Option<u64>,
}

impl Wanted {
    /// Whether the names are asked for.
    pub(super) fn names(&self, exchange: &str, symbol: &str) -> bool {
        let any = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        any(&self.exchanges, exchange) && any(&self.symbols, symbol)
    }

    /// Whether a record lies within the time that is asked for.
    pub(super) fn time(&self, record: &Record) -> bool {
        let (from, until) = match record {
            // Not every recording has times of receipt.
            Record::Trade(trade) if trade.ts_recv == 0 => (trade.ts_event, trade.ts_event),
            Record::Trade(trade) => (trade.ts_recv, trade.ts_recv),
            Record::Gap(gap) => (gap.ts_end, gap.ts_end),
        };
        self.from_ns.is_none_or(|bound| from >= bound) && self.until_ns.is_none_or(|bound| until <= bound)
    }
}

/// All audits of a run.
#[derive(Debug, Default)]
pub(super) struct Book {
    audits: Vec<Page>,
    places: HashMap<String, HashMap<String, usize>>,
    /// Records taken.
    pub(super) records: u64,
    /// Records, or what stands in their place, that belong to no instrument.
    pub(super) strays: Vec<Stray>,
    pub(super) stray_count: u64,
}

#[derive(Debug)]
struct Page {
    exchange: String,
    symbol: String,
    rule: Option<IdRule>,
    audit: Audit,
}

/// Something that belongs to no instrument.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    pub(super) at: u64,
    pub(super) what: String,
}

/// What was found of one instrument.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) exchange: String,
    pub(super) symbol: String,
    /// What the venue promises of its ids; `None` for an exchange that this build does not know.
    pub(super) rule: Option<IdRule>,
    pub(super) report: Report,
}

impl Book {
    /// The audit of an instrument, as a number for [`Self::take`].
    pub(super) fn open(&mut self, exchange: &str, symbol: &str, id: Option<u32>) -> usize {
        if let Some(place) = self.places.get(exchange).and_then(|symbols| symbols.get(symbol)) {
            return *place;
        }
        let place = self.audits.len();
        let rule = exchange::by_name(exchange).map(|exchange| exchange.profile().ids);
        let id = id.unwrap_or_else(|| instrument_id(exchange, symbol));
        self.audits.push(Page {
            exchange: exchange.to_owned(),
            symbol: symbol.to_owned(),
            rule,
            // Of ids that nobody promises anything of, no more is asked than that they are unique.
            audit: Audit::new(rule.unwrap_or(IdRule::Unique), id),
        });
        self.places.entry(exchange.to_owned()).or_default().insert(symbol.to_owned(), place);
        place
    }

    /// Takes the next record of an instrument.
    pub(super) fn take(&mut self, place: usize, at: u64, record: &Record) {
        self.records += 1;
        if let Some(page) = self.audits.get_mut(place) {
            page.audit.record(at, record);
        }
    }

    /// Something that stands where a record of this instrument should.
    pub(super) fn bad(&mut self, place: usize, at: u64, why: &str) {
        self.records += 1;
        if let Some(page) = self.audits.get_mut(place) {
            page.audit.bad(at, why);
        }
    }

    /// Something that belongs to no instrument.
    pub(super) fn stray(&mut self, at: u64, what: String) {
        self.stray_count += 1;
        if self.strays.len() < STRAYS_MAX {
            self.strays.push(Stray { at, what });
        }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes over what another book holds.
    pub(super) fn append(&mut self, other: Self) {
        self.records += other.records;
        self.stray_count += other.stray_count;
        self.strays.extend(other.strays);
        self.strays.truncate(STRAYS_MAX);
        for page in other.audits {
            self.places.entry(page.exchange.clone()).or_default().insert(page.symbol.clone(), self.audits.len());
            self.audits.push(page);
        }
    }

    /// What was found, by exchange and symbol.
    pub(super) fn finish(self) -> Findings {
        let entry = |page: Page| {
            let Page { exchange, symbol, rule, audit } = page;
            Entry { exchange, symbol, rule, report: audit.finish() }
        };
        let mut entries: Vec<Entry> = self.audits.into_iter().map(entry).collect();
        entries.sort_by(|a, b| (&a.exchange, &a.symbol).cmp(&(&b.exchange, &b.symbol)));
        Findings { entries, records: self.records, strays: self.strays, stray_count: self.stray_count }
    }
}

/// What a run has found.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) entries: Vec<Entry>,
    pub(super) records: u64,
    pub(super) strays: Vec<Stray>,
    pub(super) stray_count: u64,
}

impl Findings {
    pub(super) fn is_whole(&self, allow_declared: bool) -> bool {
        self.stray_count == 0 && self.entries.iter().all(|entry| entry.report.is_whole(allow_declared))
    }

    /// How many of a class there are in all.
    pub(super) fn count(&self, class: Class) -> u64 {
        self.entries.iter().map(|entry| entry.report.count(class)).fold(0, u64::saturating_add)
    }

    /// Whether nothing was read.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.stray_count == 0
    }

    /// Names that were asked for and of which there is nothing.
    pub(super) fn missing(&self, wanted: &Wanted) -> Vec<String> {
        let exchanges = wanted.exchanges.iter().filter(|name| !self.entries.iter().any(|e| e.exchange == **name));
        let symbols = wanted.symbols.iter().filter(|name| !self.entries.iter().any(|e| e.symbol == **name));
        exchanges.chain(symbols).cloned().collect()
    }
}
