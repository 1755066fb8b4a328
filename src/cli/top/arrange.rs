//! Which rows are shown, and in which order: sort, filter, folded exchanges. Pure.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use clap::ValueEnum;

use super::snapshot::{ExchangeRow, Figures, Snapshot, SymbolRow};

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// By name.
    #[default]
    Name,
    /// Trades a second in the last interval.
    Rate,
    /// Trades a second over ten seconds.
    #[value(name = "rate10")]
    Smooth,
    /// Receive time less the venue's time.
    Lag,
    /// Time since the last trade was received.
    Age,
    /// Trades since the start.
    Trades,
    /// Declared gaps since the start.
    Gaps,
    /// Trades that are missing.
    Missing,
}

/// What the user has chosen.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    /// Words that must all stand in exchange or symbol.
    pub(super) filter: String,
    /// Exchanges that are shown as one row.
    pub(super) folded: BTreeSet<String>,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    Exchange(&'a ExchangeRow),
    Symbol(&'a ExchangeRow, &'a SymbolRow),
}

impl Row<'_> {
    /// Exchange and symbol; the symbol of an exchange's own row is empty.
    pub(super) fn names(&self) -> (String, String) {
        match self {
            Row::Exchange(exchange) => (exchange.exchange.clone(), String::new()),
            Row::Symbol(exchange, symbol) => (exchange.exchange.clone(), symbol.symbol.clone()),
        }
    }
}

impl Sort {
    /// The next one, round and round.
    pub(super) fn next(self) -> Self {
        self.step(1)
    }

    /// The one before.
    pub(super) fn previous(self) -> Self {
        self.step(Self::value_variants().len() - 1)
    }

    fn step(self, by: usize) -> Self {
        let all = Self::value_variants();
        let at = all.iter().position(|one| *one == self).unwrap_or(0);
        all.get((at + by) % all.len()).copied().unwrap_or_default()
    }

    /// Names ascend, numbers descend: what matters stands on top.
    fn compare(self, one: &Figures, other: &Figures) -> Ordering {
        match self {
            Self::Name => Ordering::Equal,
            Self::Rate => other.rate.total_cmp(&one.rate),
            Self::Smooth => other.rate_10s.total_cmp(&one.rate_10s),
            Self::Lag => other.lag_ns.cmp(&one.lag_ns),
            Self::Age => other.age_ns.cmp(&one.age_ns),
            Self::Trades => other.trades.cmp(&one.trades),
            Self::Gaps => other.gaps.cmp(&one.gaps),
            Self::Missing => (other.missing, other.unknown).cmp(&(one.missing, one.unknown)),
        }
    }
}

impl Choice {
    /// Whether a symbol is shown.
    fn wants(&self, exchange: &str, symbol: &str) -> bool {
        let (exchange, symbol) = (exchange.to_ascii_lowercase(), symbol.to_ascii_lowercase());
        let filter = self.filter.to_ascii_lowercase();
        filter.split_whitespace().all(|word| exchange.contains(word) || symbol.contains(word))
    }

    fn order(&self, one: (&Figures, &str), other: (&Figures, &str)) -> Ordering {
        let order = self.sort.compare(one.0, other.0).then_with(|| one.1.cmp(other.1));
        if self.reverse { order.reverse() } else { order }
    }

    /// The rows: each exchange above its symbols. Its sums are of all its symbols, shown or not.
    pub(super) fn rows<'a>(&self, snapshot: &'a Snapshot) -> Vec<Row<'a>> {
        let mut exchanges: Vec<&ExchangeRow> = snapshot.exchanges.iter().collect();
        exchanges.sort_by(|one, other| self.order((&one.figures, &one.exchange), (&other.figures, &other.exchange)));
        let mut rows = Vec::new();
        for exchange in exchanges {
            let wanted = |symbol: &&SymbolRow| self.wants(&exchange.exchange, &symbol.symbol);
            let mut symbols: Vec<&SymbolRow> = exchange.symbols.iter().filter(wanted).collect();
            if symbols.is_empty() && !self.wants(&exchange.exchange, "") {
                continue;
            }
            rows.push(Row::Exchange(exchange));
            if !self.folded.contains(&exchange.exchange) {
                symbols.sort_by(|one, other| self.order((&one.figures, &one.symbol), (&other.figures, &other.symbol)));
                rows.extend(symbols.into_iter().map(|symbol| Row::Symbol(exchange, symbol)));
            }
        }
        rows
    }

    /// The same as a snapshot, for `--json`.
    pub(super) fn arranged(&self, snapshot: &Snapshot) -> Snapshot {
        let mut exchanges: Vec<ExchangeRow> = Vec::new();
        for row in self.rows(snapshot) {
            match (row, exchanges.last_mut()) {
                (Row::Exchange(exchange), _) => {
                    exchanges.push(ExchangeRow { symbols: Vec::new(), ..exchange.clone() });
                }
                (Row::Symbol(_, symbol), Some(last)) => last.symbols.push(symbol.clone()),
                (Row::Symbol(..), None) => {}
            }
        }
        Snapshot { exchanges, ..snapshot.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str, rate: f64, age_ns: Option<u64>) -> SymbolRow {
        let figures = Figures { rate, age_ns, ..Figures::default() };
        SymbolRow { symbol: name.to_owned(), figures, ..SymbolRow::default() }
    }

    fn exchange(name: &str, symbols: Vec<SymbolRow>) -> ExchangeRow {
        let figures = Figures::sum(symbols.iter().map(|row| &row.figures));
        ExchangeRow { exchange: name.to_owned(), figures, symbols, ..ExchangeRow::default() }
    }

    fn snapshot() -> Snapshot {
        let slow = vec![symbol("BTCUSDT", 5.0, Some(9)), symbol("ETHUSDT", 1.0, None)];
        let fast = vec![symbol("ETHUSD", 7.0, Some(1)), symbol("BTCUSD", 3.0, Some(2))];
        Snapshot { exchanges: vec![exchange("slow", slow), exchange("fast", fast)], ..Snapshot::default() }
    }

    fn shown(choice: &Choice) -> String {
        let snapshot = snapshot();
        let name = |row: &Row<'_>| match row {
            Row::Exchange(exchange) => exchange.exchange.clone(),
            Row::Symbol(_, symbol) => symbol.symbol.clone(),
        };
        choice.rows(&snapshot).iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn symbols_stay_below_their_exchange_in_every_order() {
        let mut choice = Choice::default();
        assert_eq!(shown(&choice), "fast BTCUSD ETHUSD slow BTCUSDT ETHUSDT");
        choice.reverse = true;
        assert_eq!(shown(&choice), "slow ETHUSDT BTCUSDT fast ETHUSD BTCUSD");
        choice = Choice { sort: Sort::Rate, ..Choice::default() };
        assert_eq!(shown(&choice), "fast ETHUSD BTCUSD slow BTCUSDT ETHUSDT");
        choice.sort = Sort::Age;
        assert_eq!(shown(&choice), "slow BTCUSDT ETHUSDT fast BTCUSD ETHUSD", "the oldest first, the unknown last");
    }

    #[test]
    fn sorts_go_round_in_both_directions() {
        let mut sort = Sort::default();
        for _ in Sort::value_variants() {
            assert_eq!(sort.next().previous(), sort);
            sort = sort.next();
        }
        assert_eq!(sort, Sort::default());
    }

    #[test]
    fn a_filter_takes_words_of_both_names() {
        let filtered = |filter: &str| shown(&Choice { filter: filter.to_owned(), ..Choice::default() });
        assert_eq!(filtered("eth"), "fast ETHUSD slow ETHUSDT");
        assert_eq!(filtered("SLOW btc"), "slow BTCUSDT");
        assert_eq!(filtered("fast"), "fast BTCUSD ETHUSD");
        assert_eq!(filtered("usdt"), "slow BTCUSDT ETHUSDT");
        assert_eq!(filtered("nothing"), "");
    }

    #[test]
    fn a_folded_exchange_is_one_row_with_all_its_sums() {
        let choice = Choice { folded: ["fast".to_owned()].into(), ..Choice::default() };
        assert_eq!(shown(&choice), "fast slow BTCUSDT ETHUSDT");
        let choice = Choice { filter: "slow eth".to_owned(), ..Choice::default() };
        let arranged = choice.arranged(&snapshot());
        assert_eq!((arranged.exchanges.len(), arranged.exchanges[0].symbols.len()), (1, 1));
        assert_eq!(arranged.exchanges[0].figures.rate, 6.0);
    }
}
