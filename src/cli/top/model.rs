//! What has been read, as numbers: it takes records, what the daemon says of itself, and the time; it gives snapshots.
//! It does no IO: it neither reads nor draws.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::lags::{Lags, is_late, lag};
use super::meter::Meter;
use super::snapshot::{ExchangeRow, Figures, Lost, RingRow, Snapshot, SymbolRow};
use super::status::{Acks, Status};
use crate::market::decimal::SCALE_MAX;
use crate::market::{Decimal, Flags, GapMsg, TradeMsg};

/// Declared gaps of a symbol that are remembered, so that a later word of their being filled is understood.
const OPEN_MAX: usize = 256;

/// What is wrong with reading is shown so long after it was so last.
const NOTE_KEPT: Duration = Duration::from_secs(60);

/// All that has been read since the start.
#[derive(Debug)]
pub(super) struct Model {
    exchanges: Named<Exchange>,
    lags: Lags,
    ticked: Instant,
    interval_ns: u64,
    lost: Lost,
    status: Option<Result<Status, String>>,
    acks: Acks,
    /// What is wrong with reading, by its kind.
    notes: BTreeMap<&'static str, Note>,
    /// Why nothing can be read at present.
    trouble: Option<String>,
}

/// What went wrong, how often since it is shown, and when last.
#[derive(Debug)]
struct Note {
    count: u64,
    last: String,
    at: Instant,
}

#[derive(Debug)]
struct Exchange {
    symbols: Named<Symbol>,
    meter: Meter,
    lags: Lags,
    /// What is wrong with the writer of its ring; empty: nothing.
    writer: String,
    /// When the running interval began.
    start: Instant,
}

#[derive(Debug)]
struct Symbol {
    meter: Meter,
    last: Option<TradeMsg>,
    /// When the last live trade was received, wall time.
    live_ns: Option<u64>,
    direction: Ordering,
    lags: Lags,
    gaps: u64,
    filled: u64,
    missing: u64,
    /// Gaps of which nobody knows how many trades are missing.
    unknown: u64,
    /// First and last id and number of trades of gaps that may be filled yet.
    open: VecDeque<(u64, u64, u64)>,
}

impl Model {
    /// Nothing read yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            exchanges: Named::default(),
            lags: Lags::default(),
            ticked: now,
            interval_ns: 0,
            lost: Lost::default(),
            status: None,
            acks: Acks::default(),
            notes: BTreeMap::new(),
            trouble: None,
        }
    }

    /// A trade was read.
    pub(super) fn trade(&mut self, exchange: &str, symbol: &str, trade: &TradeMsg) {
        let lag_ns = lag(trade);
        let exchange = self.exchange(exchange);
        exchange.meter.total += 1;
        exchange.lags.add(lag_ns);
        exchange.symbol(symbol).trade(trade, lag_ns);
        self.lags.add(lag_ns);
    }

    /// A declared gap was read.
    pub(super) fn gap(&mut self, exchange: &str, symbol: &str, gap: &GapMsg) {
        self.exchange(exchange).symbol(symbol).gap(gap);
    }

    /// The writer of a ring has overtaken this view.
    pub(super) fn lagged(&mut self, records: u64) {
        self.lost.records += records;
        self.lost.laps += 1;
    }

    /// The stream has removed messages before they were read, so many at most.
    pub(super) fn removed(&mut self, first: u64, last: u64) {
        self.lost.removed += last.saturating_sub(first) + 1;
    }

    /// What there is to say of a ring's writer; empty: nothing.
    pub(super) fn writer(&mut self, exchange: &str, text: &str) {
        text.clone_into(&mut self.exchange(exchange).writer);
    }

    /// Something went wrong with reading.
    pub(super) fn note(&mut self, now: Instant, what: &'static str, text: String) {
        let note = self.notes.entry(what).or_insert(Note { count: 0, last: String::new(), at: now });
        *note = Note { count: note.count + 1, last: text, at: now };
    }

    /// Why nothing can be read at present; `None`: it can.
    pub(super) fn trouble(&mut self, text: Option<String>) {
        self.trouble = text;
    }

    /// A record or message is not to be understood, and was passed over.
    pub(super) fn unreadable(&mut self, now: Instant, text: String) {
        self.lost.unreadable += 1;
        self.note(now, "records unreadable", text);
    }

    /// What the daemon says of itself, or why it says nothing. Symbols that it has and nobody has seen yet get a row.
    pub(super) fn status(&mut self, now: Instant, answer: Result<Status, String>, wanted: impl Fn(&str, &str) -> bool) {
        if let Ok(status) = &answer {
            self.acks.observe(now, &status.ack_counts);
            for connection in &status.connections {
                for symbol in connection.symbols.iter().filter(|symbol| wanted(&connection.exchange, symbol)) {
                    self.exchange(&connection.exchange).symbol(symbol);
                }
            }
        }
        self.status = Some(answer);
    }

    /// An interval ends.
    pub(super) fn tick(&mut self, now: Instant) {
        self.lags.tick();
        self.notes.retain(|_, note| now.saturating_duration_since(note.at) < NOTE_KEPT);
        for exchange in &mut self.exchanges.list {
            exchange.meter.tick(now);
            exchange.lags.tick();
            exchange.start = now;
            for symbol in &mut exchange.symbols.list {
                symbol.meter.tick(now);
                symbol.lags.tick();
            }
        }
        let interval = now.saturating_duration_since(self.ticked);
        self.interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.ticked = now;
    }

    /// All of it, as of the last tick; `now_ns` is wall time, to tell how old things are.
    pub(super) fn snapshot(&self, now_ns: u64, source: &str, rings: Vec<RingRow>) -> Snapshot {
        let status = self.status.as_ref();
        let told = status.and_then(|status| status.as_ref().ok());
        let exchanges: Vec<ExchangeRow> = self
            .exchanges
            .iter()
            .map(|(name, exchange)| {
                let (state, live) = told.map_or_else(|| (String::new(), None), |status| status.state_of(name));
                exchange.row(name, state, live, now_ns)
            })
            .collect();
        let past = self.notes.iter().map(|(what, note)| format!("{} {what}, last: {}", note.count, note.last));
        let notes: Vec<String> = self.trouble.clone().into_iter().chain(past).collect();
        Snapshot {
            now_ns,
            interval_ns: self.interval_ns,
            source: source.to_owned(),
            total: self.lags.on(Figures::sum(exchanges.iter().map(|row| &row.figures))),
            exchanges,
            rings,
            lost: self.lost,
            note: (!notes.is_empty()).then(|| notes.join(" | ")),
            daemon: told.cloned(),
            ack_p50: told.and_then(|_| self.acks.quantile(0.5)),
            ack_p99: told.and_then(|_| self.acks.quantile(0.99)),
            daemon_error: match status {
                None => Some("not asked yet".to_owned()),
                Some(answer) => answer.as_ref().err().cloned(),
            },
        }
    }

    fn exchange(&mut self, name: &str) -> &mut Exchange {
        let start = self.ticked;
        self.exchanges.of(name, || Exchange {
            symbols: Named::default(),
            meter: Meter::new(start),
            lags: Lags::default(),
            writer: String::new(),
            start,
        })
    }
}

impl Exchange {
    fn symbol(&mut self, name: &str) -> &mut Symbol {
        // The intervals of its exchange are its own.
        let start = self.start;
        self.symbols.of(name, || Symbol::new(start))
    }

    fn row(&self, name: &str, state: String, live: Option<bool>, now_ns: u64) -> ExchangeRow {
        let symbols: Vec<SymbolRow> = self.symbols.iter().map(|(name, symbol)| symbol.row(name, now_ns)).collect();
        let figures = self.lags.on(Figures::sum(symbols.iter().map(|row| &row.figures)));
        let trend = self.meter.trend();
        ExchangeRow { exchange: name.to_owned(), state, live, writer: self.writer.clone(), figures, trend, symbols }
    }
}

impl Symbol {
    fn new(start: Instant) -> Self {
        Self {
            meter: Meter::new(start),
            last: None,
            live_ns: None,
            direction: Ordering::Equal,
            lags: Lags::default(),
            gaps: 0,
            filled: 0,
            missing: 0,
            unknown: 0,
            open: VecDeque::new(),
        }
    }

    fn trade(&mut self, trade: &TradeMsg, lag_ns: Option<i128>) {
        self.meter.total += 1;
        self.lags.add(lag_ns);
        let late = is_late(trade);
        if !late {
            self.live_ns = Some(trade.ts_recv);
        }
        // What comes out of a history is no news of the price, unless there is none yet.
        if late && self.last.is_some() {
            return;
        }
        if let Some(last) = &self.last {
            let change = compare(trade, last);
            // As a tape has it: a price that stays keeps the direction that it came from.
            self.direction = if change.is_eq() { self.direction } else { change };
        }
        self.last = Some(*trade);
    }

    fn gap(&mut self, gap: &GapMsg) {
        let ids = (gap.first_id, gap.last_id);
        if Flags::from_bits(gap.flags).has(Flags::BACKFILLED) {
            self.filled += 1;
            if let Some(at) = self.open.iter().position(|(first, last, _)| (*first, *last) == ids) {
                let missing = self.open.remove(at).map_or(0, |(_, _, missing)| missing);
                self.missing = self.missing.saturating_sub(missing);
                self.unknown = self.unknown.saturating_sub(u64::from(missing == 0));
            }
            return;
        }
        self.gaps += 1;
        self.missing = self.missing.saturating_add(gap.missing);
        self.unknown += u64::from(gap.missing == 0);
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((ids.0, ids.1, gap.missing));
    }

    fn row(&self, name: &str, now_ns: u64) -> SymbolRow {
        let last = self.last.as_ref();
        SymbolRow {
            symbol: name.to_owned(),
            price: last.map(|last| Decimal::from_price(last.price, last.price_scale).to_string()),
            direction: self.direction.into(),
            size: last.map(|last| Decimal::from_size(last.size, last.size_scale).to_string()),
            side: last.map(|last| last.side().as_str()),
            trend: self.meter.trend(),
            figures: Figures {
                rate: self.meter.now(),
                rate_10s: self.meter.smooth(),
                trades: self.meter.total,
                gaps: self.gaps,
                filled: self.filled,
                missing: self.missing,
                unknown: self.unknown,
                age_ns: self.live_ns.map(|at| now_ns.saturating_sub(at)),
                ..self.lags.on(Figures::default())
            },
        }
    }
}

/// Two prices, exact: neither leaves 128 bits at the finest scale that there is.
fn compare(one: &TradeMsg, other: &TradeMsg) -> Ordering {
    let at_18 = |trade: &TradeMsg| {
        let shift = u32::from(SCALE_MAX.saturating_sub(trade.price_scale));
        i128::from(trade.price) * 10_i128.pow(shift)
    };
    at_18(one).cmp(&at_18(other))
}

/// Things by name, found without copying the name.
#[derive(Debug)]
struct Named<T> {
    places: BTreeMap<String, usize>,
    list: Vec<T>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), list: Vec::new() }
    }
}

impl<T> Named<T> {
    /// The one of this name, made where there is none.
    fn of(&mut self, name: &str, make: impl FnOnce() -> T) -> &mut T {
        let place = self.places.get(name).copied().unwrap_or_else(|| {
            self.places.insert(name.to_owned(), self.list.len());
            self.list.push(make());
            self.list.len() - 1
        });
        &mut self.list[place]
    }

    /// In the order of their names.
    fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.places.iter().filter_map(|(name, place)| Some((name, self.list.get(*place)?)))
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
