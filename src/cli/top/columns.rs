//! Which columns fit, how wide they are, and what stands in them. Pure.

use super::arrange::{Row, Sort};
use super::snapshot::{Direction, ExchangeRow, Figures, SymbolRow};
use super::text::{self, Signs};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Rate,
    Smooth,
    Price,
    Size,
    Side,
    Lag,
    Worst,
    Age,
    Trades,
    Gaps,
    Filled,
    Missing,
    Trend,
}

/// In which order they stand.
const ORDER: [Column; 14] = [
    Column::Name,
    Column::Rate,
    Column::Smooth,
    Column::Price,
    Column::Size,
    Column::Side,
    Column::Lag,
    Column::Worst,
    Column::Age,
    Column::Gaps,
    Column::Missing,
    Column::Filled,
    Column::Trades,
    Column::Trend,
];

/// What is given up last stands first.
const IMPORTANCE: [Column; 14] = [
    Column::Name,
    Column::Rate,
    Column::Price,
    Column::Age,
    Column::Lag,
    Column::Missing,
    Column::Gaps,
    Column::Smooth,
    Column::Trades,
    Column::Side,
    Column::Size,
    Column::Worst,
    Column::Filled,
    Column::Trend,
];

/// A terminal of so many columns has room for long names and numbers; on a narrower one they are cut.
const ROOMY: usize = 120;
/// Columns of a name are at least so wide, at most so on a narrow terminal, and at most so on a roomy one.
const NAME: [usize; 3] = [14, 16, 28];
/// Prices, with their direction.
const PRICE: [usize; 3] = [12, 16, 24];
const SIZE: [usize; 3] = [8, 12, 20];
/// A trend takes what is left.
const TREND: (usize, usize) = (12, 60);

impl Column {
    /// What it is called.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Name => "SYMBOL",
            Self::Rate => "TRADE/S",
            Self::Smooth => "AVG10S",
            Self::Price => "PRICE",
            Self::Size => "SIZE",
            Self::Side => "SIDE",
            Self::Lag => "LAG",
            Self::Worst => "WORST",
            Self::Age => "AGE",
            Self::Trades => "TRADES",
            Self::Gaps => "GAPS",
            Self::Filled => "FILLED",
            Self::Missing => "MISSING",
            Self::Trend => "TREND",
        }
    }

    /// Whether the table is sorted by it.
    pub(super) const fn is(self, sort: Sort) -> bool {
        matches!(
            (self, sort),
            (Self::Name, Sort::Name)
                | (Self::Rate, Sort::Rate)
                | (Self::Smooth, Sort::Smooth)
                | (Self::Lag, Sort::Lag)
                | (Self::Age, Sort::Age)
                | (Self::Trades, Sort::Trades)
                | (Self::Gaps, Sort::Gaps)
                | (Self::Missing, Sort::Missing)
        )
    }

    /// Whether it begins at its left edge.
    pub(super) const fn is_left(self) -> bool {
        matches!(self, Self::Name | Self::Side | Self::Trend)
    }

    fn width(self, rows: &[Row<'_>], roomy: bool) -> usize {
        let bounded =
            |wanted: usize, [least, narrow, most]: [usize; 3]| wanted.clamp(least, if roomy { most } else { narrow });
        let widest = |of: &dyn Fn(&SymbolRow) -> usize| {
            let symbols = rows.iter().filter_map(|row| match row {
                Row::Symbol(_, symbol) => Some(of(symbol)),
                Row::Exchange(_) => None,
            });
            symbols.max().unwrap_or(0)
        };
        match self {
            Self::Name => {
                let exchanges = rows.iter().filter_map(|row| match row {
                    Row::Exchange(exchange) => Some(exchange.exchange.len() + 2),
                    Row::Symbol(..) => None,
                });
                bounded(widest(&|row| row.symbol.len() + 2).max(exchanges.max().unwrap_or(0)), NAME)
            }
            Self::Price => bounded(widest(&|row| row.price.as_ref().map_or(0, String::len) + 2), PRICE),
            Self::Size => bounded(widest(&|row| row.size.as_ref().map_or(0, String::len)), SIZE),
            Self::Side => 4,
            Self::Gaps => 5,
            Self::Age | Self::Filled => 6,
            Self::Lag | Self::Worst | Self::Smooth => 7,
            Self::Rate | Self::Missing => 8,
            Self::Trades => 10,
            Self::Trend => TREND.0,
        }
    }

    /// The columns that fit into this width, from the left, one blank between them. What the rows are sorted by is
    /// given up late.
    pub(super) fn fitting(width: usize, rows: &[Row<'_>], sort: Sort) -> Vec<(Self, usize)> {
        let sorted = IMPORTANCE.into_iter().find(|column| column.is(sort));
        let kept = IMPORTANCE.into_iter().take(3).chain(sorted).chain(IMPORTANCE.into_iter().skip(3));
        let (mut chosen, mut used): (Vec<(Self, usize)>, usize) = (Vec::new(), 0);
        for column in kept {
            if chosen.iter().any(|(other, _)| *other == column) {
                continue;
            }
            let blank = usize::from(!chosen.is_empty());
            let wanted = column.width(rows, width >= ROOMY);
            if used + blank + wanted <= width {
                chosen.push((column, wanted));
                used += blank + wanted;
            } else if chosen.is_empty() {
                // The name stays, as much of it as there is room for.
                chosen.push((column, width));
                used = width;
            }
        }
        if let Some((_, trend)) = chosen.iter_mut().find(|(column, _)| *column == Self::Trend) {
            *trend = (*trend + width - used).min(TREND.1);
        }
        ORDER.into_iter().filter_map(|column| chosen.iter().find(|(other, _)| *other == column).copied()).collect()
    }

    /// What stands in it, `-` where nothing is known.
    pub(super) fn text(self, row: &Row<'_>, width: usize, folded: bool, signs: &Signs) -> String {
        match row {
            Row::Exchange(exchange) => self.of_exchange(exchange, width, folded, signs),
            Row::Symbol(_, symbol) => self.of_symbol(symbol, width, signs),
        }
    }

    fn of_exchange(self, row: &ExchangeRow, width: usize, folded: bool, signs: &Signs) -> String {
        match self {
            Self::Name => format!("{} {}", if folded { signs.folded } else { signs.open }, row.exchange),
            Self::Price | Self::Size | Self::Side => String::new(),
            Self::Trend => text::trend(&row.trend, width, signs),
            other => other.of_figures(&row.figures, width),
        }
    }

    fn of_symbol(self, row: &SymbolRow, width: usize, signs: &Signs) -> String {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        match self {
            Self::Name => format!("  {}", row.symbol),
            Self::Price => {
                let sign = match row.direction {
                    Direction::None => " ",
                    Direction::Up => signs.up,
                    Direction::Down => signs.down,
                };
                // A price that is cut says so, and keeps its direction.
                format!("{} {sign}", text::cut(&known(&row.price), width.saturating_sub(2), signs))
            }
            Self::Size => known(&row.size),
            Self::Side => row.side.unwrap_or("-").to_owned(),
            Self::Trend => text::trend(&row.trend, width, signs),
            other => other.of_figures(&row.figures, width),
        }
    }

    fn of_figures(self, figures: &Figures, width: usize) -> String {
        let span = |ns: Option<i64>| ns.map_or_else(|| "-".to_owned(), text::span);
        match self {
            Self::Rate => text::rate(figures.rate, width),
            Self::Smooth => text::rate(figures.rate_10s, width),
            Self::Lag => span(figures.lag_ns),
            Self::Worst => span(figures.lag_worst_ns),
            Self::Age => span(figures.age_ns.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX))),
            Self::Trades => text::count(figures.trades, width),
            Self::Gaps => text::count(figures.gaps, width),
            Self::Filled => text::count(figures.filled, width),
            // Nobody knows how many there are: at least so many.
            Self::Missing if figures.unknown > 0 => format!("{}+?", text::count(figures.missing, width - 2)),
            Self::Missing => text::count(figures.missing, width),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(width: usize, sort: Sort) -> Vec<Column> {
        let fitting = Column::fitting(width, &[], sort);
        let used: usize = fitting.iter().map(|(_, width)| width + 1).sum();
        assert!(used <= width + 1, "{width}: {fitting:?}");
        fitting.into_iter().map(|(column, _)| column).collect()
    }

    #[test]
    fn the_least_important_goes_first_and_none_is_too_wide() {
        for width in 0..300 {
            columns(width, Sort::Name);
        }
        assert_eq!(columns(200, Sort::Name), ORDER);
        assert_eq!(columns(10, Sort::Name), [Column::Name]);
        let at_80 = columns(80, Sort::Name);
        for column in [Column::Rate, Column::Smooth, Column::Price, Column::Lag, Column::Age, Column::Missing] {
            assert!(at_80.contains(&column), "{at_80:?}");
        }
    }

    #[test]
    fn what_is_sorted_by_stays() {
        assert!(!columns(60, Sort::Name).contains(&Column::Trades));
        assert!(columns(60, Sort::Trades).contains(&Column::Trades));
    }
}
