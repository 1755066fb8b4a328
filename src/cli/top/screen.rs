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
    /// Number of the first row that is shown.
    pub(super) offset: usize,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    pub(super) colour: bool,
    pub(super) utf8: bool,
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

    /// A key; `height` rows fit. Whether to go on.
    pub(super) fn key(&mut self, key: KeyEvent, height: u16) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return false;
        }
        match self.mode {
            Mode::Help => self.mode = Mode::Table,
            Mode::Filter => self.type_filter(key.code, control),
            Mode::Table => return self.command(key.code, usize::from(height)),
        }
        true
    }

    fn command(&mut self, code: KeyCode, height: usize) -> bool {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('s') => self.choice.sort = self.choice.sort.next(),
            KeyCode::Char('S') => self.choice.sort = self.choice.sort.previous(),
            KeyCode::Char('r') => self.choice.reverse = !self.choice.reverse,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('e') => self.fold(),
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected += 1,
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(height.max(1)),
            KeyCode::PageDown => self.selected += height.max(1),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = usize::MAX,
            _ => {}
        }
        true
    }

    fn type_filter(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.choice.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Backspace => {
                self.choice.filter.pop();
            }
            KeyCode::Char(letter) if !control && self.choice.filter.len() < FILTER_MAX => {
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
        let is_it = |row: &Row<'_>| matches!(row, Row::Exchange(row) if row.exchange == exchange);
        self.selected = rows.iter().position(is_it).unwrap_or(0);
        if !self.choice.folded.remove(&exchange) {
            self.choice.folded.insert(exchange);
        }
    }

    /// Keeps the selected row among the rows, and in sight.
    pub(super) fn settle(&mut self, height: u16) {
        let (rows, height) = (self.choice.rows(&self.snapshot).len(), usize::from(height));
        self.selected = self.selected.min(rows.saturating_sub(1));
        self.offset = self.offset.min(self.selected).min(rows.saturating_sub(height));
        if height > 0 && self.selected >= self.offset + height {
            self.offset = self.selected + 1 - height;
        }
    }
}
