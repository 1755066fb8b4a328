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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Termios, tcgetattr};

    use super::*;

    /// Tells this test that it is the process on the terminal.
    const CHILD: &str = "DATA_MANAGER_TEST_TOP_CHILD";
    const NAME: &str = "cli::top::terminal::tests::a_panic_gives_the_terminal_back_and_is_seen";

    #[test]
    fn a_panic_gives_the_terminal_back_and_is_seen() {
        if std::env::var_os(CHILD).is_some() {
            let _terminal = Terminal::take().unwrap_or_else(|failure| panic!("{failure:?}"));
            panic!("on purpose");
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let modes = || {
            let Termios { input_modes, output_modes, local_modes, .. } = tcgetattr(&slave).unwrap();
            (input_modes, output_modes, local_modes)
        };
        let before = modes();
        let io = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
        command.env(CHILD, "1").env("RUST_BACKTRACE", "0").stdin(io()).stdout(io()).stderr(io());
        let status = command.status().unwrap();
        drop(command);
        assert!(!status.success(), "it did not panic");
        assert_eq!(modes(), before);
        drop(slave);
        let (mut written, mut master) = (Vec::new(), File::from(master));
        // A terminal that nobody holds any more ends with an error.
        let _ = master.read_to_end(&mut written);
        let written = String::from_utf8_lossy(&written).into_owned();
        let place = |text: &str| written.find(text).unwrap_or_else(|| panic!("no {text:?} in {written:?}"));
        assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"), "{written:?}");
        assert!(place("\u{1b}[?1049l") < place("on purpose"), "it was said on a screen that is gone: {written:?}");
        assert!(written.contains("\u{1b}[?25h"), "{written:?}");
    }
}
