//! The ring between two processes: this test program starts itself again as the other end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use data_manager::market::instrument::instrument_id;
use data_manager::market::{Flags, GapMsg, GapReason, GapStrength, Record, Side, Symbol, TradeMsg, trade};
use data_manager::telemetry::clock;
use data_manager::transport::ipc::{
    CreateError, DIRECTORY, Gone, Next, Reader, Reopened, Wait, Writer, WriterConfig, segment_path,
};
use tempfile::TempDir;

/// Tells a test that it is the other process, and in which directory it works.
const CHILD: &str = "DATA_MANAGER_TEST_IPC_CHILD";
/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);
const CAPACITY: u64 = 1 << 15;

#[test]
fn a_million_records_arrive_in_another_process_all_equal() {
    const RECORDS: u64 = 1_000_000;
    const STEP: u64 = CAPACITY / 4;
    if let Some(directory) = std::env::var_os(CHILD) {
        return read_all(Path::new(&directory), STEP);
    }
    let dir = directory();
    let mut writer = Writer::create(&config(dir.path()), symbols().iter().map(|(id, symbol)| (*id, symbol))).unwrap();
    let mut reader = Other::start("a_million_records_arrive_in_another_process_all_equal", dir.path());
    // The ring itself waits for nobody. Here the reader says where it is, so that it may be asked for every record.
    let mut confirmed = 0;
    for n in 0..RECORDS {
        while n >= confirmed + CAPACITY - STEP {
            confirmed = reader.number("at");
        }
        writer.push(&record(n));
        if n % 64 == 0 {
            writer.publish();
        }
    }
    writer.close();
    let (read, lost) = (reader.number("read"), reader.number("lost"));
    assert_eq!((read, lost), (RECORDS, 0));
    assert!(reader.child.wait().unwrap().success());
}

/// The other end of the test above.
fn read_all(directory: &Path, step: u64) {
    let mut reader = Reader::open(&path(directory)).unwrap();
    let start = clock::now();
    for (id, symbol) in symbols() {
        assert_eq!(reader.symbol(id), Some(&symbol));
    }
    loop {
        match reader.poll() {
            Next::Record(found, position) => {
                assert_eq!(found, record(position));
                if (position + 1) % step == 0 {
                    say("at", position + 1);
                }
            }
            Next::Empty => Wait::Yield.wait(),
            Next::WriterGone(reason) => break assert_eq!(reason, Gone::Closed),
            other => panic!("{other:?}"),
        }
        assert!(reader.position() > 0 || start.elapsed() < DEADLINE, "nothing arrives");
    }
    say("read", reader.stats().read);
    say("lost", reader.stats().lost);
}

#[test]
fn a_killed_writer_is_noticed_and_its_successor_followed() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&directory));
    }
    let test = "a_killed_writer_is_noticed_and_its_successor_followed";
    let dir = directory();
    let mut writer = Other::start(test, dir.path());
    let epoch = writer.number("epoch");
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!((reader.epoch(), reader.writer_pid()), (epoch, writer.child.id()));
    read_some(&mut reader, 10_000);

    let refused = Writer::create(&config(dir.path()), []).unwrap_err();
    assert!(matches!(refused, CreateError::Busy { pid, .. } if pid == Some(writer.child.id())), "{refused}");

    for _ in 0..3 {
        // std's kill is SIGKILL; the writer dies at whatever step of a record it is.
        writer.child.kill().unwrap();
        writer.child.wait().unwrap();
        let start = clock::now();
        let silence = Duration::from_millis(300);
        loop {
            drain(&mut reader);
            match reader.check(clock::now(), silence) {
                Some(Gone::Silent { for_ }) => break assert!(for_ > silence),
                None => Wait::Sleep(Duration::from_millis(10)).wait(),
                Some(other) => panic!("{other}"),
            }
            assert!(start.elapsed() < DEADLINE, "its silence is not noticed");
        }
        assert_eq!(reader.reopen().unwrap(), Reopened::Same);

        let before = reader.epoch();
        writer = Other::start(test, dir.path());
        let epoch = writer.number("epoch");
        assert!(epoch > before);
        assert_eq!(reader.check(clock::now(), silence), Some(Gone::Replaced));
        assert_eq!(reader.reopen().unwrap(), Reopened::New { epoch });
        read_some(&mut reader, 10_000);
    }
    writer.child.kill().unwrap();
    writer.child.wait().unwrap();
}

/// The other end of the test above.
fn write_for_ever(directory: &Path) {
    let mut writer = Writer::create(&config(directory), []).unwrap();
    say("epoch", writer.epoch());
    let start = clock::now();
    for n in 0.. {
        writer.push(&record(n));
        if n % 256 == 0 {
            writer.publish();
            writer.heartbeat(clock::wall_ns());
            Wait::Sleep(Duration::from_micros(100)).wait();
            // Whoever should kill us is gone.
            assert!(start.elapsed() < DEADLINE * 2);
        }
    }
}

/// Reads that many records, each of which must be the one that its position says.
fn read_some(reader: &mut Reader, count: u64) {
    let start = clock::now();
    let until = reader.stats().read + count;
    while reader.stats().read < until {
        match reader.poll() {
            Next::Record(found, position) => assert_eq!(found, record(position)),
            Next::Lagged { .. } => {}
            Next::Empty => Wait::Yield.wait(),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < DEADLINE, "nothing arrives");
    }
}

/// Reads what is there.
fn drain(reader: &mut Reader) {
    loop {
        match reader.poll() {
            Next::Record(found, position) => assert_eq!(found, record(position)),
            Next::Lagged { .. } => {}
            Next::Empty => break,
            other => panic!("{other:?}"),
        }
    }
}

/// Another process that runs one test of this program as its other end.
struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(test: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The number of the next line that starts with `label`; the test harness writes lines of its own.
    fn number(&mut self, label: &str) -> u64 {
        let start = format!("@{label} ");
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_once(&start).map(|(_, number)| number.parse().unwrap()))
            .unwrap_or_else(|| panic!("the other process ended without {label:?}"))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(label: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{label} {number}").and_then(|()| out.flush()).unwrap();
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("data-manager-test-").tempdir_in(DIRECTORY).unwrap()
}

fn config(directory: &Path) -> WriterConfig {
    WriterConfig {
        directory: directory.to_owned(),
        path_prefix: "/e2e_".to_owned(),
        exchange: "binance".to_owned(),
        capacity: CAPACITY,
        ..WriterConfig::default()
    }
}

fn path(directory: &Path) -> std::path::PathBuf {
    segment_path(directory, "/e2e_", "binance").unwrap()
}

fn symbols() -> [(u32, Symbol); 2] {
    ["BTCUSDT", "ETHUSDT"].map(|text| (instrument_id("binance", text), Symbol::new(text).unwrap()))
}

/// Record `n`: trades with a gap among them now and then, every field made of `n`.
fn record(n: u64) -> Record {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    if n % 1_000 == 999 {
        return Record::Gap(GapMsg {
            ts_start: mixed,
            ts_end: !mixed,
            first_id: n,
            last_id: n + 1,
            missing: 2,
            instrument_id: u32::from_le_bytes([a, b, c, d]),
            strength: GapStrength::Proved as u8,
            reason: GapReason::Stall as u8,
            flags: 0,
            kind: trade::KIND_GAP_V1,
        });
    }
    Record::Trade(TradeMsg {
        ts_event: mixed,
        ts_recv: !mixed,
        trade_id: n,
        price: mixed.cast_signed() >> 3,
        size: mixed.rotate_left(17),
        instrument_id: u32::from_le_bytes([a, b, c, d]),
        price_scale: a % 19,
        size_scale: b % 19,
        flags: Flags::new(Side::Buy).with(Flags::AFTER_GAP).bits(),
        kind: trade::KIND_TRADE_V1,
    })
}
