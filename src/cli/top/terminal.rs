//! The terminal while the view has it: taken at the start, given back on every way out.

use std::io::{self, stdout};
use std::time::Duration;

use crossterm::cursor::Show;
use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use crossterm::execute;
use ratatui::DefaultTerminal;
use ratatui::layout::{Rect, Size};

use super::screen::Screen;
use super::view::{self, Places};
use crate::cli::Failure;

/// A terminal in raw mode, with a screen of its own.
pub(super) struct Terminal {
    inner: DefaultTerminal,
}

/// What the user did.
pub(super) enum Input {
    Key(KeyEvent),
    Resized,
}

impl Terminal {
    /// Takes the terminal. A panic gives it back before it says why.
    pub(super) fn take() -> Result<Self, Failure> {
        let inner = ratatui::try_init().map_err(|error| {
            give_back();
            Failure::failed(format!("no terminal to draw on: {error}; --json writes lines instead"))
        })?;
        Ok(Self { inner })
    }

    /// How many rows of the table there is room for.
    pub(super) fn height(&self, screen: &Screen) -> u16 {
        let Size { width, height } = self.inner.size().unwrap_or_default();
        Places::of(Rect::new(0, 0, width, height), screen).rows
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        screen.settle(self.height(screen));
        self.inner.draw(|frame| view::draw(frame, screen)).map(|_| ())
    }

    /// What the user did and nobody has looked at yet.
    pub(super) fn input(&self) -> io::Result<Option<Input>> {
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(Some(Input::Key(key))),
                Event::Resize(..) => return Ok(Some(Input::Resized)),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was. A terminal that is gone needs nothing.
fn give_back() {
    let _ = ratatui::try_restore();
    let _ = execute!(stdout(), Show);
}
