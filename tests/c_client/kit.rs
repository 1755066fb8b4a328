//! What the tests of the C client share: programs, rings to read, and a reader that is driven line by line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use data_manager::market::instrument::instrument_id;
use data_manager::market::{Flags, GapMsg, GapReason, GapStrength, Record, Side, Symbol, TradeMsg, trade};
use data_manager::transport::ipc::{Writer, WriterConfig, segment_path};
use tempfile::TempDir;

use crate::compiler::{Build, CLANG, GCC, GCC_CHECKED, build, build_of};

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(120);
/// Begins the names of rings in a directory of their own.
pub(crate) const PREFIX: &str = "/c_";
const EXCHANGE: &str = "okx";
const SYMBOLS_MAX: u32 = 300;

/// The programs of one compiler.
pub(crate) struct Programs {
    pub(crate) name: &'static str,
    pub(crate) dump: PathBuf,
    probe: PathBuf,
}

/// The programs of all compilers.
pub(crate) fn programs() -> &'static [Programs] {
    static BUILT: LazyLock<Vec<Programs>> = LazyLock::new(|| {
        let both = ["tests/c_client/probe.c", "tests/c_client/other.c"];
        let of = |one: &Build| Programs {
            name: one.name,
            dump: build(one, "clients/c/examples/dump.c"),
            probe: build_of(one, &both, "probe", &[]),
        };
        [&GCC, &GCC_CHECKED, &CLANG].map(of).into()
    });
    &BUILT
}

/// Record `n`: trades with a gap among them now and then. Its trade id is `n`, its size what is left of `n`.
pub(crate) fn record(n: u64) -> Record {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, ..] = mixed.to_be_bytes();
    let instrument_id = match n % 5 {
        0 => instrument_id(EXCHANGE, "BTCUSDT"),
        1 => instrument_id(EXCHANGE, "ETHUSDT"),
        _ => 1 + u32::from(c),
    };
    if n % 100 == 99 {
        return Record::Gap(GapMsg {
            ts_start: mixed,
            ts_end: !mixed,
            first_id: n,
            last_id: mixed,
            missing: n % 3,
            instrument_id,
            strength: if n % 700 == 99 { a } else { GapStrength::FramesLost as u8 },
            reason: if n % 700 == 199 { b } else { GapReason::Stall as u8 },
            flags: if n % 200 == 99 { Flags::BACKFILLED } else { 0 },
            kind: trade::KIND_GAP_V1,
        });
    }
    Record::Trade(TradeMsg {
        ts_event: mixed,
        ts_recv: !mixed,
        trade_id: n,
        price: mixed.cast_signed() >> 3,
        size: !n,
        instrument_id,
        price_scale: a % 19,
        size_scale: b % 19,
        // Each of them, the reserved side too.
        flags: if n == 0 { Flags::new(Side::Buy).bits() } else { c },
        kind: trade::KIND_TRADE_V1,
    })
}

/// What a ring of these tests is to be.
pub(crate) fn config(directory: &Path, prefix: &str, capacity: u64) -> WriterConfig {
    WriterConfig {
        directory: directory.to_owned(),
        path_prefix: prefix.to_owned(),
        exchange: EXCHANGE.to_owned(),
        capacity,
        symbols_max: SYMBOLS_MAX,
        ..WriterConfig::default()
    }
}

/// A ring with its writer, in a directory of its own.
pub(crate) struct Ring {
    pub(crate) config: WriterConfig,
    path: PathBuf,
    pub(crate) writer: Option<Writer>,
    written: u64,
    directory: Option<TempDir>,
}

impl Ring {
    pub(crate) fn new(capacity: u64) -> Self {
        let directory = tempfile::Builder::new().prefix("data-manager-test-c-").tempdir().unwrap();
        let mut ring = Self::in_directory(directory.path(), PREFIX, capacity);
        ring.directory = Some(directory);
        ring
    }

    pub(crate) fn in_directory(directory: &Path, prefix: &str, capacity: u64) -> Self {
        let config = config(directory, prefix, capacity);
        let path = segment_path(directory, prefix, EXCHANGE).unwrap();
        let mut ring = Self { config, path, writer: None, written: 0, directory: None };
        ring.start();
        ring
    }

    /// Starts a writer, in place of the one that is there.
    pub(crate) fn start(&mut self) {
        self.close();
        let symbols = self.symbols();
        self.writer = Some(Writer::create(&self.config, symbols.iter().map(|(id, symbol)| (*id, symbol))).unwrap());
        self.written = 0;
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub(crate) fn symbols(&self) -> Vec<(u32, Symbol)> {
        let of = |text| (instrument_id(&self.config.exchange, text), Symbol::new(text).unwrap());
        vec![of("BTCUSDT"), of("ETHUSDT")]
    }

    pub(crate) fn symbols_max(&self) -> u32 {
        self.config.symbols_max
    }

    pub(crate) fn name(&mut self, id: u32, symbol: &str) {
        self.writer.as_mut().unwrap().add_symbol(id, &Symbol::new(symbol).unwrap()).unwrap();
    }

    /// Writes the next records.
    pub(crate) fn write(&mut self, count: u64) {
        let writer = self.writer.as_mut().unwrap();
        for n in self.written..self.written + count {
            writer.push(&record(n));
        }
        writer.publish();
        self.written += count;
    }

    /// Writes trades without a pause until it is told to end; how many.
    pub(crate) fn write_until(&mut self, mut end: impl FnMut() -> bool) -> u64 {
        let writer = self.writer.as_mut().unwrap();
        let Record::Trade(first) = record(0) else { unreachable!("record 0 is a trade") };
        while !self.written.is_multiple_of(4_096) || !end() {
            let trade = TradeMsg { trade_id: self.written, size: !self.written, ..first };
            writer.push(&Record::Trade(trade));
            self.written += 1;
        }
        self.written
    }

    pub(crate) fn close(&mut self) {
        self.writer = None;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.close();
        if self.directory.is_none() {
            // The directory is everybody's.
            let _ = std::fs::remove_file(&self.path);
            let _ = std::fs::remove_file(format!("{}.lock", self.path.display()));
        }
    }
}

/// What an ended program has left.
#[derive(Debug)]
pub(crate) struct Done {
    /// `None`: a signal has ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Done {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Done { code: done.status.code(), out: done.stdout, err: String::from_utf8_lossy(&done.stderr).into_owned() }
}

/// The example `dump` while it runs; killed where it is dropped.
pub(crate) struct Dump {
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Receiver<String>,
    said: String,
}

impl Dump {
    pub(crate) fn start(programs: &Programs, arguments: &[&str]) -> Self {
        let mut command = Command::new(&programs.dump);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let out = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let err = lines(child.stderr.take().unwrap());
        Self { child, out: Some(out), err, said: String::new() }
    }

    /// Waits until it has said something on stderr.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let line = self.err.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("no {text:?} in {:?}: {error}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Done {
        let out = self.out.take().unwrap().join().unwrap();
        while let Ok(line) = self.err.recv_timeout(DEADLINE) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        let status: ExitStatus = self.child.wait().unwrap();
        Done { code: status.code(), out, err: std::mem::take(&mut self.said) }
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader in C that does what it is told; killed where it is dropped.
pub(crate) struct Probe {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Probe {
    /// One that reads this ring.
    pub(crate) fn start(programs: &Programs, path: &str) -> Self {
        Self::spawn(Command::new(&programs.probe).arg(path))
    }

    /// One without a ring.
    pub(crate) fn idle(programs: &Programs) -> Self {
        Self::spawn(&mut Command::new(&programs.probe))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = lines(child.stdout.take().unwrap());
        let commands = child.stdin.take();
        let mut probe = Self { child, commands, answers };
        // It has the ring open once it answers.
        assert_eq!(probe.ask("decimal 1 0"), "1");
        probe
    }

    pub(crate) fn send(&mut self, command: &str) {
        let commands = self.commands.as_mut().unwrap();
        writeln!(commands, "{command}").and_then(|()| commands.flush()).unwrap();
    }

    pub(crate) fn answer(&mut self) -> String {
        self.answers
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|error| panic!("no answer: {error}: {:?}", self.child.wait()))
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// Whether its next line, if there is one by now, is this one.
    pub(crate) fn has_said(&mut self, text: &str) -> bool {
        match self.answers.try_recv() {
            Ok(line) => line == text || panic!("{line}"),
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => panic!("it has ended: {:?}", self.child.wait()),
        }
    }

    /// Lets it end by itself, which the sanitizers take for the moment to tell of leaks.
    pub(crate) fn end(mut self) {
        self.commands = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if line.map_or(true, |line| sender.send(line).is_err()) {
                return;
            }
        }
    });
    receiver
}
