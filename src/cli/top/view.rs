//! Draws a screen into cells. It decides nothing: what is shown is the screen's.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::arrange::Row;
use super::columns::Column;
use super::footer;
use super::screen::{Mode, Screen};
use super::snapshot::Direction;
use super::text::{self, Signs};

/// What the keys do.
const HELP: [&str; 20] = [
    "q Ctrl-C       quit; Ctrl-Z to the shell",
    "Ctrl-L         draw all of it anew",
    "up down        a row, PgUp PgDn a page, Home End",
    "s S            next, previous sort column",
    "r              reverse the order",
    "/              filter by exchange and symbol;",
    "               Enter keeps, Esc clears it",
    "e              fold or unfold the exchange",
    "p              pause; reading goes on",
    "?              this help",
    "",
    "LAG      received less the venue's time, mean",
    "WORST    the worst of the same trades",
    "AGE      since the last live trade was received",
    "MISSING  in gaps not filled since; +? unknown",
    "TRADES, GAPS: since this view began",
    "peak fill: how much of a ring was unread at most",
    "- nothing known; the line `nats` says why",
    "",
    "any key goes back",
];

/// Where things stand, from the top.
pub(super) struct Places {
    /// Rows that the table has room for.
    pub(super) rows: u16,
    /// Lines below it.
    footer: u16,
}

impl Places {
    pub(super) fn of(area: Rect, screen: &Screen) -> Self {
        let wanted = match area.height {
            0..5 => 0,
            5..12 => 1,
            _ => 3 + u16::from(footer::alert(screen).is_some()),
        };
        Self { rows: area.height.saturating_sub(2 + wanted), footer: wanted }
    }
}

/// Styles: what they say is also said by words and signs.
pub(super) struct Look {
    colour: bool,
    pub(super) signs: Signs,
}

impl Look {
    pub(super) fn of(screen: &Screen) -> Self {
        Self { colour: screen.colour, signs: if screen.utf8 { text::UTF8 } else { text::ASCII } }
    }

    fn paint(&self, style: Style, colour: Color) -> Style {
        if self.colour { style.fg(colour) } else { style }
    }

    pub(super) fn alarm(&self) -> Style {
        self.paint(Style::new().add_modifier(Modifier::BOLD), Color::Red)
    }

    fn quiet(&self) -> Style {
        self.paint(Style::new(), Color::DarkGray)
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let (look, places) = (Look::of(screen), Places::of(area, screen));
    if area.width == 0 || area.height == 0 {
        return;
    }
    line(buffer, area, 0, &footer::header(screen, area.width.into()), Style::new().add_modifier(Modifier::BOLD), &look);
    if screen.mode == Mode::Help {
        return help(buffer, area, &look);
    }
    table(buffer, area, screen, places.rows, &look);
    let top = area.height - places.footer;
    for (at, (text, alarm)) in footer::lines(screen, area.width.into(), places.footer).iter().enumerate() {
        let style = if *alarm { look.alarm() } else { Style::new() };
        let y = top + u16::try_from(at).unwrap_or(u16::MAX);
        if y < area.height {
            line(buffer, area, y, text, style, &look);
        }
    }
}

/// A line of text, cut where it is too long.
fn line(buffer: &mut Buffer, area: Rect, y: u16, text: &str, style: Style, look: &Look) {
    let text = text::cut(text, area.width.into(), &look.signs);
    buffer.set_stringn(area.x, area.y + y, text, area.width.into(), style);
}

fn help(buffer: &mut Buffer, area: Rect, look: &Look) {
    for (at, text) in HELP.iter().enumerate() {
        let y = u16::try_from(at + 2).unwrap_or(u16::MAX);
        if y < area.height {
            line(buffer, area, y, &format!("  {text}"), Style::new(), look);
        }
    }
}

fn table(buffer: &mut Buffer, area: Rect, screen: &Screen, height: u16, look: &Look) {
    if area.height < 2 {
        return;
    }
    let rows = screen.choice.rows(&screen.snapshot);
    let columns = Column::fitting(area.width.into(), &rows, screen.choice.sort);
    heads(buffer, area, screen, &columns, look);
    if rows.is_empty() {
        let text = if screen.choice.filter.is_empty() { "  nothing read yet" } else { "  nothing matches the filter" };
        if height > 0 {
            line(buffer, area, 2, text, look.quiet(), look);
        }
        return;
    }
    for (at, row) in rows.iter().enumerate().skip(screen.offset).take(height.into()) {
        let y = area.y + 2 + u16::try_from(at - screen.offset).unwrap_or(u16::MAX);
        let folded = match row {
            Row::Exchange(exchange) => screen.choice.folded.contains(&exchange.exchange),
            Row::Symbol(..) => false,
        };
        let mut x = area.x;
        for (column, width) in &columns {
            let text = text::cut(&column.text(row, *width, folded, &look.signs), *width, &look.signs);
            cell(buffer, (x, y), *width, &text, column.is_left(), style(*column, row, look));
            x += u16::try_from(width + 1).unwrap_or(u16::MAX);
        }
        if let Row::Exchange(exchange) = row {
            let (text, wrong) = if exchange.writer.is_empty() {
                (exchange.state.as_str(), exchange.live == Some(false))
            } else {
                (exchange.writer.as_str(), true)
            };
            let style = if wrong { look.alarm() } else { Style::new() };
            state(buffer, (area.x, y), &columns, text, style, look);
        }
        if at == screen.selected {
            // The name alone: a bar over the whole row would hide what its colours say.
            let name = columns.first().map_or(0, |(_, width)| u16::try_from(*width).unwrap_or(u16::MAX));
            buffer.set_style(Rect::new(area.x, y, name, 1), Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

fn heads(buffer: &mut Buffer, area: Rect, screen: &Screen, columns: &[(Column, usize)], look: &Look) {
    let style = Style::new().add_modifier(Modifier::UNDERLINED);
    buffer.set_style(Rect::new(area.x, area.y + 1, area.width, 1), style);
    let mut x = area.x;
    for (column, width) in columns {
        let mut title = column.title().to_owned();
        if column.is(screen.choice.sort) {
            // Names ascend unless reversed, numbers descend.
            let up = (*column == Column::Name) != screen.choice.reverse;
            let sign = if up { look.signs.up } else { look.signs.down };
            title = format!("{}{sign}", text::cut(&title, width.saturating_sub(1), &look.signs));
        }
        let title = text::cut(&title, *width, &look.signs);
        cell(buffer, (x, area.y + 1), *width, &title, column.is_left(), style.add_modifier(Modifier::BOLD));
        x += u16::try_from(width + 1).unwrap_or(u16::MAX);
    }
}

/// Text that is known to fit, at the left or at the right edge.
fn cell(buffer: &mut Buffer, at: (u16, u16), width: usize, text: &str, left: bool, style: Style) {
    let columns = ratatui::text::Span::raw(text).width();
    let indent = if left { 0 } else { width.saturating_sub(columns) };
    let x = at.0 + u16::try_from(indent).unwrap_or(0);
    buffer.set_stringn(x, at.1, text, width - indent, style);
}

/// What an exchange's connections do stands where symbols have prices, which it has not.
fn state(buffer: &mut Buffer, at: (u16, u16), columns: &[(Column, usize)], text: &str, style: Style, look: &Look) {
    let mut x = 0;
    let mut place: Option<(usize, usize)> = None;
    for (column, width) in columns {
        if matches!(column, Column::Price | Column::Size | Column::Side) {
            let start = place.map_or(x, |(start, _)| start);
            place = Some((start, x + width - start));
        }
        x += width + 1;
    }
    if let Some((start, width)) = place {
        let x = at.0 + u16::try_from(start).unwrap_or(u16::MAX);
        cell(buffer, (x, at.1), width, &text::cut(text, width, &look.signs), true, style);
    }
}

fn style(column: Column, row: &Row<'_>, look: &Look) -> Style {
    let (figures, plain) = match row {
        Row::Exchange(exchange) => (&exchange.figures, Style::new().add_modifier(Modifier::BOLD)),
        Row::Symbol(_, symbol) => (&symbol.figures, Style::new()),
    };
    let direction = if let Row::Symbol(_, symbol) = row { symbol.direction } else { Direction::None };
    match (column, direction) {
        (Column::Gaps, _) if figures.gaps > 0 => look.paint(plain, Color::Yellow),
        (Column::Missing, _) if figures.missing + figures.unknown > 0 => look.alarm(),
        (Column::Price, Direction::Up) => look.paint(plain, Color::Green),
        (Column::Price, Direction::Down) => look.paint(plain, Color::Red),
        _ => plain,
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
