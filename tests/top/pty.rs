//! A terminal of the system, and what is to be seen on it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process on a terminal; killed where it is dropped.
pub(crate) struct Pty {
    pub(crate) child: Child,
    /// `None`: it has hung up.
    master: Option<File>,
    /// Reads what is written to it, until it is to hang up.
    reader: Option<JoinHandle<()>>,
    hangs_up: Arc<AtomicBool>,
    /// Keeps the terminal while nobody else has it.
    slave: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    before: Termios,
    size: (u16, u16),
}

impl Pty {
    /// Starts a command on a terminal of so many columns and rows.
    pub(crate) fn start(command: &Command, columns: u16, rows: u16) -> Self {
        Self::start_on(command, columns, rows, true)
    }

    /// As [`Self::start`]; a terminal that is not the session's own sends no signals.
    pub(crate) fn start_on(command: &Command, columns: u16, rows: u16, controls: bool) -> Self {
        // No child may hold this end, or it never hangs up.
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave: OwnedFd = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into();
        resize(&master, columns, rows);
        let before = tcgetattr(&slave).unwrap();
        // A session of its own, whose terminal this is: the tester's is not touched.
        let mut setsid = Command::new("setsid");
        setsid.args(controls.then_some("--ctty")).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => setsid.env(key, value),
                None => setsid.env_remove(key),
            };
        }
        let io = || Stdio::from(slave.try_clone().unwrap());
        let child = setsid.stdin(io()).stdout(io()).stderr(io()).spawn().unwrap();
        let (written, master) = (Arc::<Mutex<Vec<u8>>>::default(), File::from(master));
        let (kept, mut from) = (Arc::clone(&written), master.try_clone().unwrap());
        let hangs_up = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&hangs_up);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = from.read(&mut bytes)
                && !ends.load(Ordering::Relaxed)
            {
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        let size = (columns, rows);
        Self { child, master: Some(master), reader: Some(reader), hangs_up, slave, written, before, size }
    }

    /// The terminal goes away, as one whose connection is lost, and its process ends.
    #[track_caller]
    pub(crate) fn hang_up(&mut self) -> ExitStatus {
        self.hangs_up.store(true, Ordering::Relaxed);
        // It looks up at what is written next.
        self.reader.take().unwrap().join().unwrap();
        self.master = None;
        self.end()
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
        resize(self.master.as_ref().unwrap(), columns, rows);
    }

    /// Everything that was written to the terminal.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// What is to be seen.
    pub(crate) fn screen(&self) -> Vec<String> {
        shown(&self.written(), self.size)
    }

    /// Waits until this is to be seen.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, seen: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !seen(&self.screen()) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "waiting for {what} it ended with {ended:?}: {:#?}", self.screen());
            assert!(Instant::now() < deadline, "waited in vain for {what}: {:#?}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until this was written, as by a process that has ended since.
    #[track_caller]
    pub(crate) fn until_written(&self, text: &str) {
        self.until_times(text, 1);
    }

    /// Waits until this was written so many times.
    #[track_caller]
    pub(crate) fn until_times(&self, text: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.written().matches(text).count() < times {
            assert!(Instant::now() < deadline, "waited in vain for {times} times {text:?}: {:?}", self.written());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:#?}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end, and asserts that the terminal is as it was.
    #[track_caller]
    pub(crate) fn restored(&mut self) -> ExitStatus {
        let status = self.end();
        let (now, before) = (tcgetattr(&self.slave).unwrap(), &self.before);
        let modes = |of: &Termios| (of.input_modes, of.output_modes, of.local_modes, of.control_modes);
        assert_eq!(modes(&now), modes(before), "its modes are not what they were");
        let last = |text: &str| self.written().rfind(text);
        let deadline = Instant::now() + DEADLINE;
        // What it wrote last is read by another thread.
        while last("\u{1b}[?1049l") < last("\u{1b}[?1049h") || last("\u{1b}[?25h") < last("\u{1b}[?25l") {
            assert!(Instant::now() < deadline, "screen or cursor were not given back: {:?}", self.written());
            std::thread::sleep(Duration::from_millis(10));
        }
        status
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: impl std::os::fd::AsFd, columns: u16, rows: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// The cells that these bytes leave: places, text, clearing. Colours and modes are passed over.
fn shown(bytes: &str, (columns, rows): (u16, u16)) -> Vec<String> {
    let (columns, rows) = (usize::from(columns), usize::from(rows));
    let mut cells = vec![vec![' '; columns]; rows];
    let (mut row, mut column) = (0, 0);
    let mut letters = bytes.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.clone().next() == Some('[') => {
                letters.next();
                let mut arguments = String::new();
                let end = letters.by_ref().find(|letter| {
                    let ends = letter.is_ascii_alphabetic();
                    if !ends {
                        arguments.push(*letter);
                    }
                    ends
                });
                let number = |at: usize| arguments.split(';').nth(at).and_then(|text| text.parse::<usize>().ok());
                match end {
                    Some('H') => (row, column) = (number(0).unwrap_or(1) - 1, number(1).unwrap_or(1) - 1),
                    Some('J') => cells = vec![vec![' '; columns]; rows],
                    _ => {}
                }
            }
            '\u{1b}' => {
                letters.next();
            }
            '\r' => column = 0,
            '\n' => row += 1,
            letter => {
                if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = letter;
                }
                column += 1;
            }
        }
    }
    cells.into_iter().map(|row| row.into_iter().collect()).collect()
}
