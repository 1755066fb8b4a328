//! What the venues issued against what is stored, by id, and the library's own audit as a second opinion.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use data_manager::exchange::{IdRule, by_name};
use data_manager::feed::audit::{Audit, Class};
use data_manager::market::instrument::instrument_id;
use data_manager::market::trade::RECORD_BYTES;
use data_manager::market::{Flags, Record, subject};
use data_manager::sim::{Sim, SimTrade};
use data_manager::transport::ipc::{Next, Reader};

use crate::daemon::{DEADLINE, Daemon};
use crate::support::{client, read_all_within};
use crate::truth::{STREAM, Trade};

/// Trades before its tape that a venue may tell of.
const BACKLOG: u64 = 1_000;

/// Records of an instrument, each with its place.
pub(crate) type Stored = BTreeMap<(String, String), Vec<(u64, Record)>>;

/// How much of what was issued can be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    /// What is older than the oldest stored trade was removed on purpose.
    FromFirst,
    /// What is younger than the newest stored trade was not read yet.
    ToLast,
}

/// What is wrong with what is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) issued: u64,
    pub(crate) stored: u64,
    /// Issued, not stored, and not inside an exact gap.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Behind a later one, not backfilled, not inside a declared gap.
    pub(crate) reordered: u64,
    /// Inside a declared gap and not stored.
    pub(crate) declared: u64,
    /// Never issued, or with another price, size or side.
    pub(crate) foreign: u64,
    pub(crate) gaps: u64,
    /// Where the library's audit comes to another result.
    pub(crate) disagreement: Vec<String>,
    /// The first few of each kind.
    examples: Vec<String>,
    /// Records that the audit calls impossible.
    pub(crate) bad: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issued, stored, lost, doubled, reordered, declared, foreign, gaps, .. } = self;
        write!(
            out,
            "issued {issued}, stored {stored}, lost {lost}, doubled {doubled}, reordered {reordered}, declared \
             {declared}, foreign {foreign}, gaps {gaps}"
        )?;
        for line in self.examples.iter().chain(&self.disagreement) {
            write!(out, "\n  {line}")?;
        }
        Ok(())
    }
}

/// Everything in the stream; a message may hold several records.
pub(crate) async fn in_stream(url: &str) -> Stored {
    let mut stored = Stored::new();
    for (sequence, name, payload) in read_all_within(&client(url).await, STREAM, DEADLINE * 4).await {
        let parts = subject::parse("market", &name).unwrap_or_else(|| panic!("{sequence}: subject {name}"));
        let records = stored.entry((parts.exchange.to_string(), parts.symbol.to_string())).or_default();
        for bytes in payload.chunks(RECORD_BYTES) {
            records.push((sequence, Record::from_bytes(bytes).unwrap_or_else(|error| panic!("{sequence}: {error}"))));
        }
    }
    stored
}

/// Everything in the rings of a daemon.
pub(crate) fn in_rings(daemon: &Daemon, sim: &Sim) -> Stored {
    let mut stored = Stored::new();
    for exchange in sim.venues() {
        let mut reader = Reader::open(&daemon.segment(exchange)).unwrap();
        reader.from_oldest();
        loop {
            match reader.poll() {
                Next::Record(record, position) => {
                    let symbol = reader.symbol(record.instrument_id()).unwrap().to_string();
                    stored.entry((exchange.to_owned(), symbol)).or_default().push((position, record));
                }
                Next::Empty | Next::WriterGone(_) => break,
                other => panic!("{exchange}: {other:?}"),
            }
        }
    }
    stored
}

/// Compares.
pub(crate) fn judge(sim: &Sim, stored: &Stored, scope: Scope) -> Verdict {
    let mut verdict = Verdict::default();
    for exchange in sim.venues() {
        for symbol in sim.symbols(exchange) {
            let key = (exchange.to_owned(), symbol);
            let records = stored.get(&key).map(Vec::as_slice).unwrap_or_default();
            let mut one = Instrument::new(sim, &key, &mut verdict);
            one.take(records);
            one.missing(scope);
            one.audit(records);
        }
    }
    verdict
}

/// One instrument on its way through the comparison.
struct Instrument<'a> {
    name: String,
    rule: IdRule,
    id: u32,
    /// Single fills, and rows by their last id where the venue sums up.
    issued: Vec<SimTrade>,
    rows: HashMap<u64, SimTrade>,
    place: HashMap<u64, usize>,
    seen: HashSet<u64>,
    /// Ids that gaps declare, and those that gaps call filled.
    declared: HashSet<u64>,
    filled: HashSet<u64>,
    /// The lowest live id and the highest.
    range: Option<(u64, u64)>,
    verdict: &'a mut Verdict,
    before: Verdict,
    /// Behind a later one and not backfilled, declared or not: as the audit counts.
    behind: u64,
}

impl<'a> Instrument<'a> {
    fn new(sim: &Sim, (exchange, symbol): &(String, String), verdict: &'a mut Verdict) -> Self {
        let issued = sim.history(exchange, symbol);
        let rows =
            sim.rows(exchange, symbol).into_iter().filter(|row| row.fills > 1).map(|row| (row.id, row)).collect();
        let place = issued.iter().enumerate().map(|(place, trade)| (trade.id, place)).collect();
        verdict.issued += issued.len() as u64;
        let before = verdict.clone();
        Self {
            name: format!("{exchange} {symbol}"),
            rule: by_name(exchange).unwrap().profile().ids,
            id: instrument_id(exchange, symbol),
            issued,
            rows,
            place,
            seen: HashSet::new(),
            declared: HashSet::new(),
            filled: HashSet::new(),
            range: None,
            verdict,
            before,
            behind: 0,
        }
    }

    fn example(&mut self, what: &str, at: u64, id: u64) {
        let kind = format!("{what}: {}", self.name);
        if self.verdict.examples.iter().filter(|line| line.starts_with(&kind)).count() < 3 {
            self.verdict.examples.push(format!("{kind} at {at}, id {id}"));
        }
    }

    fn take(&mut self, records: &[(u64, Record)]) {
        // What traded before the tape began has the ids right before its first one.
        let first = self.issued.first().map_or(0, |trade| trade.id);
        let before = first.saturating_sub(BACKLOG)..first;
        let mut highest = None;
        for (at, record) in records {
            let trade = match record {
                Record::Trade(trade) => trade,
                Record::Gap(gap) => {
                    self.verdict.gaps += 1;
                    if gap.first_id != 0 && gap.first_id <= gap.last_id && gap.last_id - gap.first_id < 10_000_000 {
                        let filled = gap.flags & Flags::BACKFILLED != 0;
                        let ids = if filled { &mut self.filled } else { &mut self.declared };
                        ids.extend(gap.first_id..=gap.last_id);
                    }
                    continue;
                }
            };
            let (id, flags) = (trade.trade_id, trade.flag_set());
            let backfilled = flags.has(Flags::BACKFILLED);
            if before.contains(&id) && !self.place.contains_key(&id) {
                continue;
            }
            self.verdict.stored += 1;
            let row = self.rows.get(&id).filter(|_| flags.has(Flags::AGGREGATED)).cloned();
            let fills = row.as_ref().map_or(1, |row| u64::from(row.fills));
            let Some(place) = self.place.get(&id).copied() else {
                self.verdict.foreign += 1;
                self.example("never issued", *at, id);
                continue;
            };
            if !same(row.as_ref().unwrap_or(&self.issued[place]), &Trade::from(trade)) {
                self.verdict.foreign += 1;
                self.example("another payload", *at, id);
            }
            // All of it: a new loop would stop at the first.
            let again = (id + 1 - fills..=id).filter(|id| !self.seen.insert(*id)).count();
            if again > 0 {
                self.verdict.doubled += 1;
                self.example("doubled", *at, id);
                continue;
            }
            if !backfilled {
                let (low, high) = self.range.unwrap_or((id, id));
                self.range = Some((low.min(id), high.max(id)));
            } else if let Some((_, high)) = &mut self.range {
                *high = id.max(*high);
            }
            if highest.is_some_and(|highest| place < highest) && !backfilled {
                self.behind += 1;
                if !self.declared.contains(&id) {
                    self.verdict.reordered += 1;
                    self.example("reordered", *at, id);
                }
            }
            highest = highest.max(Some(place));
        }
    }

    fn missing(&mut self, scope: Scope) {
        let places = || self.seen.iter().filter_map(|id| self.place.get(id).copied());
        let from = if scope == Scope::FromFirst { places().min().unwrap_or(0) } else { 0 };
        let to = match scope {
            Scope::ToLast => places().max().map_or(0, |last| last + 1),
            Scope::All | Scope::FromFirst => self.issued.len(),
        };
        self.verdict.declared +=
            self.declared.iter().filter(|id| !self.seen.contains(id) && !self.filled.contains(id)).count() as u64;
        let missing = |trade: &&SimTrade| {
            let told = self.declared.contains(&trade.id) && !self.filled.contains(&trade.id);
            !self.seen.contains(&trade.id) && !told
        };
        let ids: Vec<u64> = self.issued[from..to.max(from)].iter().filter(missing).map(|trade| trade.id).collect();
        self.verdict.lost += ids.len() as u64;
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            let range = self.range;
            let line = format!("lost: {} {} ids of {first}..={last}; live range {range:?}", self.name, ids.len());
            self.verdict.examples.push(line);
        }
    }

    /// The audit sees the stored records only: it knows nothing of what is missing at either end.
    fn audit(&mut self, records: &[(u64, Record)]) {
        let mut audit = Audit::new(self.rule, self.id);
        records.iter().for_each(|(at, record)| audit.record(*at, record));
        let report = audit.finish();
        self.verdict.bad += report.count(Class::Bad);
        // Where fills are summed up or ids began anew, the two count in other units.
        if report.count(Class::Restart) + report.count(Class::Unprovable) > 0 || !self.rows.is_empty() {
            return;
        }
        let (low, high) = self.range.unwrap_or((1, 0));
        let open = (low..=high).filter(|id| !self.seen.contains(id));
        let silent = open.filter(|id| !self.declared.contains(id) || self.filled.contains(id)).count() as u64;
        let ours = [
            ("double", self.verdict.doubled - self.before.doubled),
            ("order", self.behind),
            ("silent", silent),
            ("declared", self.verdict.declared - self.before.declared),
        ];
        let theirs = [
            report.count(Class::Double) + report.count(Class::Conflict),
            report.count(Class::Order),
            report.count(Class::Silent) + report.count(Class::Unfilled),
            report.count(Class::Declared),
        ];
        for ((what, ours), theirs) in ours.into_iter().zip(theirs) {
            if ours != theirs {
                let finding = report.findings.first();
                let line = format!("{}: {what} {ours}, the audit says {theirs}: {finding:?}", self.name);
                self.verdict.disagreement.push(line);
            }
        }
    }
}

/// Equal but for the time, which faults may change on the wire.
fn same(issued: &SimTrade, stored: &Trade) -> bool {
    let text = |text: &str| data_manager::market::Decimal::parse(text).unwrap().to_string();
    stored.price == text(&issued.price) && stored.size == text(&issued.size) && stored.side == issued.side
}
