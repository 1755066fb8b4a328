//! Writer and reader together: on real files, on hostile files, and across a process that is killed.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::layout::{AT_HEAD, HEADER_BYTES, HeaderError};
use super::*;
use crate::market::instrument::instrument_id;
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{GapMsg, Instrument, Record, Symbol, TradeMsg, Universe};
use crate::telemetry::clock;
use crate::transport::Transport as _;

/// Shared memory where there is some: the tests then run on what runs in production.
fn directory() -> TempDir {
    let builder = |dir: &Path| tempfile::Builder::new().prefix("data-manager-test-").tempdir_in(dir);
    builder(Path::new(DIRECTORY)).or_else(|_| builder(&std::env::temp_dir())).unwrap()
}

fn config(directory: &Path, capacity: u64) -> WriterConfig {
    WriterConfig {
        directory: directory.to_owned(),
        path_prefix: "/test_".to_owned(),
        exchange: "binance".to_owned(),
        capacity,
        symbols_max: 4,
        mode: 0o640,
    }
}

fn path(directory: &Path) -> PathBuf {
    segment_path(directory, "/test_", "binance").unwrap()
}

fn create(directory: &Path, capacity: u64) -> Writer {
    Writer::create(&config(directory, capacity), []).unwrap()
}

/// Record `n` in whose every field `n` stands: a torn one cannot be equal to it.
fn trade(n: u64) -> Record {
    Record::Trade(TradeMsg {
        ts_event: n,
        ts_recv: !n,
        trade_id: n.wrapping_mul(3),
        price: -(n.cast_signed()),
        size: n ^ 0x5555_5555_5555_5555,
        instrument_id: (n & 0xffff_ffff) as u32,
        price_scale: (n % 19) as u8,
        size_scale: (n % 7) as u8,
        flags: (n & 0xff) as u8,
        kind: KIND_TRADE_V1,
    })
}

fn gap(n: u64) -> Record {
    Record::Gap(GapMsg {
        ts_start: n,
        ts_end: n + 1,
        first_id: 5,
        last_id: 9,
        missing: 5,
        instrument_id: 77,
        strength: 1,
        reason: 2,
        flags: 0,
        kind: KIND_GAP_V1,
    })
}

#[test]
fn what_is_pushed_is_read_gaps_in_line_until_the_end() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!((reader.exchange(), reader.epoch(), reader.capacity()), ("binance", writer.epoch(), 64));
    assert_eq!(reader.writer_pid(), std::process::id());
    assert_eq!(reader.poll(), Next::Empty);
    writer.push(&trade(1));
    writer.push(&gap(2));
    writer.push(&trade(3));
    // Visible before `publish`, which only moves `head`.
    assert_eq!(reader.poll(), Next::Record(trade(1), 0));
    assert_eq!(reader.behind(), 0);
    writer.publish();
    assert_eq!(reader.behind(), 2);
    assert_eq!(reader.poll(), Next::Record(gap(2), 1));
    assert_eq!(reader.state(), Some(layout::State::Live));
    writer.close();
    assert_eq!(reader.poll(), Next::Record(trade(3), 2));
    assert_eq!(reader.poll(), Next::WriterGone(Gone::Closed));
    assert_eq!(reader.poll(), Next::WriterGone(Gone::Closed));
    assert_eq!(reader.stats(), ReaderStats { read: 3, ..ReaderStats::default() });
    // Who comes late still finds all of it, and the end.
    let mut late = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(late.poll(), Next::Record(trade(1), 0));
}

#[test]
fn readers_start_at_the_oldest_or_the_newest_record() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    for n in 0..50 {
        writer.push(&trade(n));
    }
    writer.publish();
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(reader.position(), 0);
    reader.from_newest();
    assert_eq!(reader.poll(), Next::Empty);
    for n in 50..100 {
        writer.push(&trade(n));
    }
    writer.publish();
    assert_eq!(reader.poll(), Next::Record(trade(50), 50));
    // 100 records in 64 slots: 36 is the oldest; while the writer lives, an eighth of the ring further on.
    reader.from_oldest();
    assert_eq!(reader.poll(), Next::Record(trade(44), 44));
    writer.close();
    reader.from_oldest();
    assert_eq!(reader.poll(), Next::Record(trade(36), 36));
}

#[test]
fn a_lapped_reader_learns_exactly_what_it_lost() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    let mut written = 0;
    // One lap and a thousand laps, and steps between, published record by record or in one go.
    for (records, each) in [(65, true), (64 * 1_000, true), (1, true), (64 * 1_000, false), (63, false), (64, false)] {
        for _ in 0..records {
            writer.push(&trade(written));
            written += 1;
            if each {
                writer.publish();
            }
        }
        writer.publish();
        let from = reader.position();
        let (mut read, mut lost) = (0, 0);
        loop {
            match reader.poll() {
                Next::Record(record, position) => {
                    assert_eq!((record, position), (trade(position), from + read + lost));
                    read += 1;
                }
                Next::Lagged { lost: more } => lost += more,
                Next::Empty => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read + lost, records);
        assert_eq!(lost == 0, records < 64 || records == 64 && !each, "{records} records, {lost} lost");
        if records > 64 {
            assert_eq!(read, 64 - 8, "an eighth of the ring is left to the writer");
        }
    }
    let stats = reader.stats();
    assert_eq!(stats.read + stats.lost, written);
}

#[test]
fn symbols_are_found_as_the_table_grows_and_their_number_is_bounded() {
    let dir = directory();
    let symbols: Vec<Symbol> =
        ["BTCUSDT", "ETHUSDT", "ÄÖÜ-1", "XRPUSDT", "LTCUSDT"].map(|s| Symbol::new(s).unwrap()).into();
    let id = |symbol: &Symbol| instrument_id("binance", symbol.as_str());
    let first_two = symbols[..2].iter().map(|symbol| (id(symbol), symbol));
    let mut writer = Writer::create(&config(dir.path(), 64), first_two).unwrap();
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(reader.symbol(id(&symbols[0])), Some(&symbols[0]));
    assert_eq!(reader.symbol(id(&symbols[2])), None);
    writer.add_symbol(id(&symbols[2]), &symbols[2]).unwrap();
    writer.add_symbol(id(&symbols[2]), &symbols[2]).unwrap();
    assert_eq!(reader.symbol(id(&symbols[2])), Some(&symbols[2]));
    writer.add_symbol(id(&symbols[3]), &symbols[3]).unwrap();
    assert_eq!(reader.symbols().count(), 4);
    let full = writer.add_symbol(id(&symbols[4]), &symbols[4]).unwrap_err();
    assert_eq!(full, SymbolTableError::Full { symbol: symbols[4].clone(), symbols_max: 4 });
    let taken = writer.add_symbol(id(&symbols[0]), &symbols[1]).unwrap_err();
    assert!(matches!(taken, SymbolTableError::Taken { .. }));
    assert_eq!(writer.stats().symbols, 4);
}

#[test]
fn a_second_live_writer_is_refused_and_the_first_one_named() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    writer.push(&trade(7));
    let error = Writer::create(&config(dir.path(), 128), []).unwrap_err();
    assert!(matches!(&error, CreateError::Busy { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
    // Even when somebody has removed the segment.
    fs::remove_file(path(dir.path())).unwrap();
    assert!(matches!(Writer::create(&config(dir.path(), 64), []), Err(CreateError::Busy { .. })));
    writer.close();
    create(dir.path(), 64);
}

#[test]
fn a_new_writer_replaces_the_segment_and_readers_follow() {
    let dir = directory();
    let mut first = create(dir.path(), 64);
    first.push(&trade(1));
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    let now = clock::now();
    assert_eq!(reader.check(now, Duration::from_secs(2)), None);
    let epoch = first.epoch();
    first.close();
    assert_eq!(reader.reopen().unwrap(), Reopened::Same);

    let mut second = create(dir.path(), 128);
    assert!(second.epoch() > epoch);
    second.push(&trade(2));
    assert_eq!(reader.check(now, Duration::from_secs(2)), Some(Gone::Replaced));
    // The old segment is still there for whoever holds it.
    assert_eq!(reader.poll(), Next::Record(trade(1), 0));
    assert_eq!(reader.poll(), Next::WriterGone(Gone::Closed));
    assert_eq!(reader.reopen().unwrap(), Reopened::New { epoch: second.epoch() });
    assert_eq!(reader.poll(), Next::Record(trade(2), 0));
    assert_eq!(reader.check(now, Duration::from_secs(2)), None);

    fs::remove_file(path(dir.path())).unwrap();
    assert_eq!(reader.check(now, Duration::from_secs(2)), Some(Gone::Removed));
    assert!(matches!(reader.reopen(), Err(OpenError::Missing { .. })));
    // A failed reopen has not harmed it.
    second.push(&trade(3));
    assert_eq!(reader.poll(), Next::Record(trade(3), 1));
}

#[test]
fn an_epoch_never_repeats_even_when_the_clock_steps_back() {
    let dir = directory();
    create(dir.path(), 64).close();
    // What a writer left that ran while the clock was an hour ahead.
    let ahead = clock::wall_ns() + 3_600_000_000_000;
    let file = fs::OpenOptions::new().write(true).open(path(dir.path())).unwrap();
    file.write_all_at(&ahead.to_le_bytes(), 32).unwrap();
    assert_eq!(create(dir.path(), 64).epoch(), ahead + 1);
}

#[test]
fn a_heartbeat_that_stands_still_is_noticed_and_one_that_moves_again_too() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    let (start, silence) = (clock::now(), Duration::from_secs(2));
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(reader.check(after(0), silence), None);
    assert_eq!(reader.check(after(2), silence), None);
    assert_eq!(reader.check(after(3), silence), Some(Gone::Silent { for_: Duration::from_secs(3) }));
    // Any change is a sign of life, one to an earlier wall time too.
    writer.heartbeat(5);
    assert_eq!(reader.check(after(4), silence), None);
    assert_eq!(reader.heartbeat_ns(), 5);
    assert_eq!(reader.check(after(6), silence), None);
    assert!(matches!(reader.check(after(7), silence), Some(Gone::Silent { .. })));
}

#[test]
fn readers_beside_a_writer_get_whole_records_and_count_the_rest() {
    const RECORDS: u64 = 300_000;
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let path = path(dir.path());
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = Reader::open(&path).unwrap();
                scope.spawn(move || {
                    loop {
                        match reader.poll() {
                            Next::Record(record, position) => assert_eq!(record, trade(position), "torn"),
                            Next::Lagged { lost } => assert!(lost > 0),
                            Next::Empty => Wait::Yield.wait(),
                            Next::WriterGone(reason) => break assert_eq!(reason, Gone::Closed),
                            Next::Unknown { kind, position } => panic!("{position} has kind {kind}"),
                        }
                    }
                    reader.stats()
                })
            })
            .collect();
        for n in 0..RECORDS {
            writer.push(&trade(n));
            if n % 16 == 0 {
                writer.publish();
            }
            if n % 1_000 == 0 {
                // On two cores the readers would otherwise see little but laps.
                std::thread::yield_now();
            }
        }
        writer.close();
        for reader in readers {
            let stats = reader.join().unwrap();
            assert_eq!(stats.read + stats.lost, RECORDS);
            assert!(stats.read >= 56, "the end of the ring is there for everyone");
        }
    });
}

#[test]
fn files_that_are_no_ring_give_an_error_that_says_so() {
    let dir = directory();
    let path = path(dir.path());
    let error = |path: &Path| Reader::open(path).unwrap_err();
    assert!(matches!(error(&path), OpenError::Missing { .. }));
    assert!(error(&path).to_string().contains("is `data-manager serve --ipc` running?"));

    create(dir.path(), 64).close();
    let good = fs::read(&path).unwrap();
    let header_error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match error(&path) {
            OpenError::Header { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    assert_eq!(header_error(&[]), HeaderError::Short { len: 0 });
    assert_eq!(header_error(&good[..4095]), HeaderError::Short { len: 4095 });
    let (declared, len) = (good.len() as u64, good.len() as u64 - 1);
    assert_eq!(header_error(&good[..good.len() - 1]), HeaderError::Truncated { declared, len });
    assert!(matches!(header_error(&[7; 10_000]), HeaderError::Magic { .. }));
    let mut other = good.clone();
    other[8] = 2;
    assert_eq!(header_error(&other), HeaderError::Version { found: 2 });

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(error(&path), OpenError::NotAFile { .. }));
    fs::remove_dir(&path).unwrap();
    // A named pipe must not hold the reader up.
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(error(&path), OpenError::NotAFile { .. }));
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(error(&path), OpenError::Io { .. }));
    assert!(matches!(Writer::create(&config(dir.path(), 64), []), Err(CreateError::Io { .. })));
}

#[test]
fn a_reader_survives_words_that_no_writer_writes() {
    let dir = directory();
    create(dir.path(), 64).close();
    let file = fs::OpenOptions::new().write(true).open(path(dir.path())).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let slots = (HEADER_BYTES * 2) as u64;
    for head in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 65, 0] {
        file.write_all_at(&head.to_le_bytes(), AT_HEAD as u64).unwrap();
        file.write_all_at(&u32::MAX.to_le_bytes(), 256).unwrap();
        for state in [1_u32, 2, 99] {
            file.write_all_at(&state.to_le_bytes(), 200).unwrap();
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(64 * 64).collect();
            file.write_all_at(&bytes, slots).unwrap();
            let mut reader = Reader::open(&path(dir.path())).unwrap();
            for _ in 0..200 {
                let _ = reader.poll();
                let _ = reader.symbol(random.u32(..));
            }
            reader.from_newest();
            let _ = reader.poll();
            let _ = reader.behind();
        }
    }
}

#[test]
fn a_file_cut_off_under_a_reader_is_noticed_by_check() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    writer.push(&trade(1));
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(reader.poll(), Next::Record(trade(1), 0));
    let declared = fs::metadata(path(dir.path())).unwrap().len();
    fs::OpenOptions::new().write(true).open(path(dir.path())).unwrap().set_len(4096).unwrap();
    assert_eq!(reader.check(clock::now(), Duration::from_secs(2)), Some(Gone::Truncated { declared, len: 4096 }));
    drop(reader);
    assert!(matches!(
        Reader::open(&path(dir.path())),
        Err(OpenError::Header { source: HeaderError::Truncated { .. }, .. })
    ));
}

#[test]
fn a_damaged_ring_gives_way_and_a_foreign_file_does_not() {
    let dir = directory();
    let path = path(dir.path());
    for ours in [&b""[..], b"DMRING\0\x01 and then nothing", b"DMRING\0\x09"] {
        fs::write(&path, ours).unwrap();
        create(dir.path(), 64).close();
    }
    fs::write(&path, "somebody's notes").unwrap();
    let error = Writer::create(&config(dir.path(), 64), []).unwrap_err();
    assert!(matches!(error, CreateError::Foreign { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"somebody's notes");
}

#[test]
fn the_mode_is_the_configured_one_and_nothing_half_made_is_left() {
    let dir = directory();
    for mode in [0o600, 0o640, 0o664] {
        let writer = Writer::create(&WriterConfig { mode, ..config(dir.path(), 64) }, []).unwrap();
        assert_eq!(fs::metadata(writer.path()).unwrap().permissions().mode() & 0o7777, mode);
    }
    // What a writer left that was killed while it filled a segment.
    fs::write(lock::filling_path(&path(dir.path())), "half").unwrap();
    create(dir.path(), 64).close();
    let too_many = Symbol::new("A").unwrap();
    let symbols = (0..5).map(|id| (id + 1, &too_many));
    assert!(matches!(Writer::create(&config(dir.path(), 64), symbols), Err(CreateError::Symbol { .. })));
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["test_binance", "test_binance.lock"]);
    assert_eq!(segments(dir.path(), "/test_").unwrap(), ["binance"]);
    assert!(segments(dir.path(), "/other_").unwrap().is_empty());
}

#[test]
fn sizes_out_of_range_are_refused_with_the_setting_named() {
    let dir = directory();
    for capacity in [0, 32, 1_000, 1 << 31] {
        let error = Writer::create(&config(dir.path(), capacity), []).unwrap_err();
        assert!(error.to_string().starts_with("transport.ipc: header field capacity"), "{error}");
    }
    assert!(!path(dir.path()).exists());
}

#[test]
fn a_file_system_without_room_refuses_at_start() {
    let dir = directory();
    let mount = dir.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&mount).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: mounting a small tmpfs is not permitted here");
        return;
    }
    let unmount = Unmount(&mount);
    let error = Writer::create(&config(&mount, 4_096), []).unwrap_err();
    let CreateError::NoSpace { needed, free, .. } = &error else { panic!("{error}") };
    assert_eq!(*needed, 8_192 + 4_096 * 64);
    assert!(*free > 0 && *free <= 256 << 10);
    let text = error.to_string();
    assert!(text.contains("0.3 MiB") && text.contains("shm_size"), "{text}");
    assert!(!lock::filling_path(&path(&mount)).exists());

    // Room for one of 2,048 slots, not for two: the one of a writer that is gone gives way.
    for n in 0..3 {
        let mut writer = create(&mount, 2_048);
        writer.push(&trade(n));
        let mut reader = Reader::open(&path(&mount)).unwrap();
        assert_eq!(reader.poll(), Next::Record(trade(n), 0));
    }
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Names the directory to the child process of the next test.
const CHILD: &str = "DATA_MANAGER_TEST_TORN_WRITER";

/// What the child does: seven whole records, half of an eighth, then SIGKILL.
fn torn_writer(directory: &Path) -> ! {
    let mut writer = create(directory, 64);
    for n in 0..7 {
        writer.push(&trade(n));
    }
    writer.publish();
    writer.push_half(&trade(7));
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("killed")
}

#[test]
fn a_writer_killed_between_the_two_sequence_stores_leaves_no_torn_record() {
    if let Some(directory) = std::env::var_os(CHILD) {
        torn_writer(Path::new(&directory));
    }
    let dir = directory();
    let this = "transport::ipc::tests::a_writer_killed_between_the_two_sequence_stores_leaves_no_torn_record";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(9), "{output:?}");

    let mut reader = Reader::open(&path(dir.path())).unwrap();
    for n in 0..7 {
        assert_eq!(reader.poll(), Next::Record(trade(n), n));
    }
    assert_eq!(reader.poll(), Next::Empty);
    let start = clock::now();
    assert_eq!(reader.check(start, Duration::from_secs(1)), None);
    let gone = reader.check(start + Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(gone, Some(Gone::Silent { for_: Duration::from_secs(2) }));

    // The kernel has given the lock back: the next writer starts at once, in a new epoch.
    let mut writer = create(dir.path(), 64);
    writer.push(&trade(100));
    assert_eq!(reader.poll(), Next::Empty);
    assert_eq!(reader.check(start, Duration::from_secs(1)), Some(Gone::Replaced));
    assert_eq!(reader.reopen().unwrap(), Reopened::New { epoch: writer.epoch() });
    assert_eq!(reader.poll(), Next::Record(trade(100), 0));
}

#[test]
fn readers_that_come_and_go_leave_nothing_behind() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let open_files = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches(dir.path().to_str().unwrap()).count();
    let (files_before, maps_before) = (open_files(), maps());
    for n in 0..200 {
        let mut readers: Vec<Reader> = (0..64).map(|_| Reader::open(&path(dir.path())).unwrap()).collect();
        writer.push(&trade(n));
        for reader in &mut readers {
            reader.from_newest();
            assert!(matches!(reader.poll(), Next::Record(..)));
        }
        writer.publish();
    }
    assert_eq!(maps(), maps_before);
    // Other tests of this process open files too, but not the 12,800 that were opened here.
    assert!(open_files() < files_before + 1_000);
}

#[test]
fn the_transport_fills_one_ring_an_exchange_by_route() {
    let dir = directory();
    let mut universe = Universe::default();
    let instrument = |exchange, symbol| Instrument::new(exchange, Symbol::new(symbol).unwrap(), symbol.to_owned());
    for (exchange, symbol) in [("binance", "BTCUSDT"), ("coinbase", "BTCUSD"), ("binance", "ETHUSDT")] {
        universe.add(instrument(exchange, symbol)).unwrap();
    }
    let settings = crate::config::settings::Ipc {
        enabled: true,
        shm_path_prefix: "/t_".to_owned(),
        capacity: 64,
        symbols_max: 3,
        mode: "0600".to_owned(),
    };
    let mut transport = IpcTransport::create_in(dir.path(), &settings, &universe).unwrap();
    assert_eq!(transport.name(), "ipc");
    assert_eq!(transport.rings().map(|(exchange, _)| exchange).collect::<Vec<_>>(), ["binance", "coinbase"]);
    let added = instrument("coinbase", "ETHUSD");
    assert_eq!(transport.add(&added).unwrap(), Some(3));
    assert_eq!(transport.add(&instrument("kraken", "ETHUSD")).unwrap(), None);

    for (route, n) in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5)] {
        transport.publish(route, &trade(n));
    }
    transport.publish(99, &trade(6));
    let stats = transport.stats();
    assert_eq!((stats.taken, stats.done, stats.waiting, stats.dropped), (6, 0, 5, 1));
    transport.flush();
    let stats = transport.stats();
    assert_eq!((stats.taken, stats.done, stats.waiting, stats.dropped), (6, 5, 0, 1));

    let mut binance = Reader::open(&segment_path(dir.path(), "/t_", "binance").unwrap()).unwrap();
    let mut coinbase = Reader::open(&segment_path(dir.path(), "/t_", "coinbase").unwrap()).unwrap();
    transport.heartbeat(42);
    assert_eq!((binance.heartbeat_ns(), coinbase.heartbeat_ns()), (42, 42));
    transport.close();
    for (position, n) in [1, 3, 5].into_iter().enumerate() {
        assert_eq!(binance.poll(), Next::Record(trade(n), position as u64));
    }
    assert_eq!(binance.poll(), Next::WriterGone(Gone::Closed));
    for (position, n) in [2, 4].into_iter().enumerate() {
        assert_eq!(coinbase.poll(), Next::Record(trade(n), position as u64));
    }
    assert_eq!(coinbase.symbol(added.id), Some(&added.symbol));

    for mode in ["", "rw", "0999", "0440", "01777"] {
        let settings = crate::config::settings::Ipc { mode: mode.to_owned(), ..settings.clone() };
        let error = IpcTransport::create_in(dir.path(), &settings, &universe).unwrap_err();
        assert!(matches!(error, IpcError::Mode { .. }), "{mode:?}: {error}");
    }
}

#[test]
fn a_reader_without_permission_is_told_so() {
    if rustix::process::getuid().is_root() {
        eprintln!("not run: root may read everything");
        return;
    }
    let dir = directory();
    let _writer = create(dir.path(), 64);
    fs::set_permissions(path(dir.path()), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(Reader::open(&path(dir.path())), Err(OpenError::Permission { .. })));
}

#[test]
fn waiting_returns() {
    let start: Instant = clock::now();
    for wait in [Wait::Spin, Wait::Yield, Wait::Sleep(Duration::from_micros(1))] {
        wait.wait();
    }
    assert!(clock::now() >= start);
}
