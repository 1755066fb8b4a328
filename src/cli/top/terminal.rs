//! The terminal while the view has it: taken at the start, given back on every way out.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, stdin, stdout};
use std::os::fd::AsFd as _;

use crossterm::cursor::Show;
use crossterm::event::KeyEvent;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::DefaultTerminal;
use ratatui::layout::{Rect, Size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, kill_current_process_group};

use super::keys::Keys;
use super::screen::Screen;
use super::view::{self, Places};
use crate::cli::Failure;
use crate::telemetry::clock;

/// Bytes that are read at once.
const READ_BYTES: usize = 1_024;

/// A terminal in raw mode, with a screen of its own.
pub(super) struct Terminal {
    inner: DefaultTerminal,
    /// Where keys come from. It is read only when something has come: a read that waits would keep signals out.
    keyboard: File,
    keys: Keys,
}

/// What came from the keyboard.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Nothing,
    /// The terminal is gone.
    Gone,
}

impl Terminal {
    /// Takes the terminal. A panic gives it back before it says why.
    pub(super) fn take() -> Result<Self, Failure> {
        let fail = |error: io::Error| {
            give_back();
            Failure::failed(format!("no terminal to draw on: {error}; --json writes lines instead"))
        };
        let keyboard = keyboard().map_err(fail)?;
        Ok(Self { inner: ratatui::try_init().map_err(fail)?, keyboard, keys: Keys::default() })
    }

    /// Takes it anew, all of it: while this process was stopped, others had it.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        give_back();
        self.enter()
    }

    fn enter(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        // It clears, and forgets what was drawn. To clear alone would ask the terminal where its cursor stands, and
        // wait for the answer.
        self.inner.resize(self.inner.size()?.into())
    }

    /// Gives it to the shell, and takes it again when this process goes on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // All that runs in the terminal's foreground, as the key does it where nobody has taken the terminal. Without
        // a shell that could let it go on, the system does not stop it.
        kill_current_process_group(Signal::TSTP)?;
        self.enter()
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

    /// What the user did and nobody has looked at yet. It does not wait.
    pub(super) fn input(&mut self) -> Input {
        let now = clock::now();
        if let Some(key) = self.keys.next(now) {
            return Input::Key(key);
        }
        let mut bytes = [0; READ_BYTES];
        match self.read(&mut bytes) {
            Ok(None) => Input::Nothing,
            Ok(Some(count @ 1..)) => {
                self.keys.feed(bytes.get(..count).unwrap_or_default(), now);
                self.keys.next(now).map_or(Input::Nothing, Input::Key)
            }
            Ok(Some(0)) | Err(_) => Input::Gone,
        }
    }

    /// What has come; `None`: nothing has.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        let mut ready = [PollFd::new(&self.keyboard, PollFlags::IN)];
        match poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match self.keyboard.read(bytes) {
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => Ok(None),
            result => result.map(Some),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Standard input where it is a terminal, or the one that this process belongs to.
fn keyboard() -> io::Result<File> {
    if stdin().is_terminal() { stdin().as_fd().try_clone_to_owned().map(File::from) } else { File::open("/dev/tty") }
}

/// As it was. A terminal that is gone needs nothing.
fn give_back() {
    let _ = ratatui::try_restore();
    let _ = execute!(stdout(), Show);
}

#[cfg(test)]
mod tests {
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
