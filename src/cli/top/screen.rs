//! What the user sees and has done: keys in, a screen to draw out. Pure.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::arrange::{Choice, Row};
use super::snapshot::Snapshot;

/// The longest filter.
const FILTER_MAX: usize = 64;

/// Everything that a draw needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    pub(super) snapshot: Snapshot,
    pub(super) choice: Choice,
    /// Number of the row that keys are about.
    pub(super) selected: usize,
    /// Exchange and symbol of that row, which it is looked for by when rows change their places; `None`: the top row,
    /// whatever it is.
    pub(super) chosen: Option<(String, String)>,
    /// Number of the first row that is shown.
    pub(super) offset: usize,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    pub(super) colour: bool,
    pub(super) utf8: bool,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing but a look at the screen.
    On,
    Quit,
    /// The terminal is to be drawn anew, all of it.
    Redraw,
    /// The terminal is to be given to the shell.
    Suspend,
}

/// What keys mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// A filter is being typed.
    Filter,
    Help,
}

impl Screen {
    /// Newer numbers; a pause keeps the old ones.
    pub(super) fn show(&mut self, snapshot: Snapshot) {
        if !self.paused {
            self.snapshot = snapshot;
        }
    }

    /// A key; `height` rows fit.
    pub(super) fn key(&mut self, key: KeyEvent, height: u16) -> Act {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Act::Quit,
                KeyCode::Char('l') => Act::Redraw,
                KeyCode::Char('z') => Act::Suspend,
                _ => Act::On,
            };
        }
        // Another key than the one that it is held with.
        if key.modifiers.contains(KeyModifiers::ALT) {
            return Act::On;
        }
        match self.mode {
            Mode::Help => self.mode = Mode::Table,
            Mode::Filter => self.type_filter(key.code),
            Mode::Table => return self.command(key.code, usize::from(height)),
        }
        Act::On
    }

    fn command(&mut self, code: KeyCode, height: usize) -> Act {
        let page = height.max(1);
        match code {
            KeyCode::Char('q') => return Act::Quit,
            // No end: an arrow key whose bytes come one by one begins with it.
            KeyCode::Esc => self.choice.filter.clear(),
            KeyCode::Char('s') => self.choice.sort = self.choice.sort.next(),
            KeyCode::Char('S') => self.choice.sort = self.choice.sort.previous(),
            KeyCode::Char('r') => self.choice.reverse = !self.choice.reverse,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('e') => self.fold(),
            KeyCode::Up => self.go(self.selected.saturating_sub(1)),
            KeyCode::Down => self.go(self.selected.saturating_add(1)),
            KeyCode::PageUp => self.go(self.selected.saturating_sub(page)),
            KeyCode::PageDown => self.go(self.selected.saturating_add(page)),
            KeyCode::Home => self.go(0),
            KeyCode::End => self.go(usize::MAX),
            _ => {}
        }
        Act::On
    }

    /// Selects the row of this number, or the last one.
    fn go(&mut self, row: usize) {
        let rows = self.choice.rows(&self.snapshot);
        self.selected = row.min(rows.len().saturating_sub(1));
        self.chosen = rows.get(self.selected).filter(|_| self.selected > 0).map(Row::names);
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.choice.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Backspace => {
                self.choice.filter.pop();
            }
            KeyCode::Char(letter) if self.choice.filter.len() < FILTER_MAX => {
                self.choice.filter.push(letter);
            }
            _ => {}
        }
    }

    /// Folds the exchange of the selected row, or unfolds it; its row is the selected one then.
    fn fold(&mut self) {
        let rows = self.choice.rows(&self.snapshot);
        let exchange = match rows.get(self.selected.min(rows.len().saturating_sub(1))) {
            Some(Row::Exchange(exchange) | Row::Symbol(exchange, _)) => exchange.exchange.clone(),
            None => return,
        };
        if !self.choice.folded.remove(&exchange) {
            self.choice.folded.insert(exchange.clone());
        }
        let is_it = |row: &Row<'_>| matches!(row, Row::Exchange(row) if row.exchange == exchange);
        let row = self.choice.rows(&self.snapshot).iter().position(is_it);
        self.go(row.unwrap_or(0));
    }

    /// Keeps the selected row among the rows, and in sight.
    pub(super) fn settle(&mut self, height: u16) {
        let (rows, height) = (self.choice.rows(&self.snapshot), usize::from(height));
        let place = self.chosen.as_ref().map(|names| rows.iter().position(|row| row.names() == *names));
        // One that is out of sight comes back when the filter is gone; until then its place is kept.
        self.selected = place.map_or(0, |place| place.unwrap_or(self.selected)).min(rows.len().saturating_sub(1));
        self.offset = self.offset.min(self.selected).min(rows.len().saturating_sub(height));
        if height > 0 && self.selected >= self.offset + height {
            self.offset = self.selected + 1 - height;
        }
    }
}
