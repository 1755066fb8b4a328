//! The C client against rings that the crate itself has written: every byte, every loss, every end, every refusal.
//!
//! Header, examples and a driven reader are compiled by gcc, by gcc with sanitizers and by clang; no test here looks at
//! how long anything takes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "c_client/compiler.rs"]
mod compiler;
#[path = "c_client/files.rs"]
mod files;
#[path = "c_client/kit.rs"]
mod kit;
#[path = "c_client/lives.rs"]
mod lives;

use std::fs;
use std::path::Path;
use std::process::Command;

use compiler::{CLANG, GCC, GCC_CHECKED, accepts, build};
use data_manager::market::Decimal;
use data_manager::transport::ipc::segment_path;
use kit::{Dump, Probe, Ring, programs, record, run};

#[test]
fn both_compilers_take_all_of_it_without_a_warning() {
    for one in [&GCC, &GCC_CHECKED, &CLANG] {
        build(one, "clients/c/examples/follow.c");
    }
    // However the C library is asked for POSIX, and in newer dialects.
    let dialects = ["-std=c11", "-std=gnu11", "-std=c17", "-D_DEFAULT_SOURCE", "-D_XOPEN_SOURCE=700", "-D_GNU_SOURCE"];
    for (one, flag) in [&GCC, &CLANG].iter().flat_map(|one| dialects.map(|flag| (one, flag))) {
        accepts(one, "clients/c/examples/dump.c", &[flag, "-Wcast-qual", "-Wundef"]);
    }
}

#[test]
fn a_hundred_thousand_records_arrive_byte_for_byte() {
    const RECORDS: u64 = 100_000;
    for programs in programs() {
        let mut ring = Ring::new(1 << 17);
        // One half before the reader comes, one while it reads.
        ring.write(RECORDS / 2);
        let count = RECORDS.to_string();
        let dump = Dump::start(programs, &["--raw", "--oldest", "--count", &count, ring.path()]);
        ring.write(RECORDS / 2);
        let done = dump.end();
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", programs.name);
        let expected: Vec<u8> = (0..RECORDS).flat_map(|n| *record(n).as_bytes()).collect();
        assert!(done.out == expected, "{}: {} bytes of {}", programs.name, done.out.len(), expected.len());
    }
}

#[test]
fn a_reader_that_is_overtaken_counts_exactly() {
    for programs in programs() {
        let mut ring = Ring::new(64);
        let mut probe = Probe::start(programs, ring.path());
        probe.send("lap 5");
        // It never waits for the reader, and ends when the reader has been overtaken so often.
        let written = ring.write_until(|| probe.has_said("overtaken"));
        ring.close();
        let line = probe.answer();
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [read, lost, laps, position, wrong, last, counted_read, counted_lost, counted_laps] = numbers[..] else {
            panic!("{line}")
        };
        assert_eq!((read + lost, position, wrong), (written, written, 0), "{}: {line}", programs.name);
        assert_eq!((counted_read, counted_lost, counted_laps), (read, lost, laps), "{}: {line}", programs.name);
        assert!(laps >= 5 && last == written - 1, "{}: {line}", programs.name);
    }
}

#[test]
fn whatever_the_writer_does_between_two_loads_no_torn_record_comes_out() {
    for one in [&GCC, &GCC_CHECKED, &CLANG] {
        let program = build(one, "tests/c_client/steps.c");
        let mut ring = Ring::new(64);
        ring.write(64);
        let done = run(Command::new(program).arg(ring.path()));
        let said = String::from_utf8_lossy(&done.out);
        // Four records, the head brought up to date or trailing, 105 pairs of loads, nine ways to divide eight stores.
        assert_eq!((done.code, said.as_ref()), (Some(0), "7560 schedules, 0 wrong\n"), "{}{}", one.name, done.err);
    }
}

#[test]
fn json_is_what_tail_prints() {
    let prefix = format!("/data_manager_test_c_{}_", std::process::id());
    let mut ring = Ring::in_directory(Path::new("/dev/shm"), &prefix, 1 << 12);
    ring.write(2_500);
    // Two instruments have a symbol, most have none.
    let mut tail = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    tail.args(["tail", "--ipc", "--exchange", "okx", "--since", "start", "--format", "json", "--count", "2500"]);
    tail.env_remove("DATA_MANAGER_CONFIG").env("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", &prefix);
    let tail = run(&mut tail);
    assert_eq!(tail.code, Some(0), "{}", tail.err);
    assert!(
        tail.out.windows(12).any(|part| part == b"\"frames_lost") && tail.out.windows(6).any(|part| part == b"BTCUSD")
    );
    for programs in programs() {
        let done = Dump::start(programs, &["--oldest", "--count", "2500", "--prefix", &prefix, "okx"]).end();
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", programs.name);
        assert_eq!(String::from_utf8_lossy(&done.out), String::from_utf8_lossy(&tail.out), "{}", programs.name);
    }
}

#[test]
fn decimals_and_names_are_the_daemons() {
    for programs in programs() {
        let mut probe = Probe::idle(programs);
        for mantissa in [0, 1, -1, 9, 10, -125, 30_236, 6_183_763, i64::MAX, i64::MIN] {
            for scale in [0, 1, 2, 5, 17, 18, 19, 20, 64, 255] {
                let expected = Decimal::from_price(mantissa, scale).to_string();
                assert_eq!(probe.ask(&format!("decimal {mantissa} {scale}")), expected);
                let size = mantissa.cast_unsigned();
                let expected = Decimal::from_size(size, scale).to_string();
                assert_eq!(probe.ask(&format!("unsigned {size} {scale}")), expected);
            }
        }
        let long = format!("/{}", "p".repeat(201));
        for (prefix, exchange) in [
            ("/data_manager_", "binance-usdm"),
            ("/", "okx"),
            ("data_manager_", "okx"),
            ("/a/b_", "okx"),
            ("/x_", "a/b"),
            ("/x_", "an-exchange-name-of-33-bytes-long"),
            ("/x_", "an-exchange-name-of-32-bytes-len"),
            (&long, "okx"),
        ] {
            let expected = match segment_path("/dev/shm".as_ref(), prefix, exchange) {
                Ok(path) => path.display().to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(probe.ask(&format!("name /dev/shm {prefix} {exchange}")), expected);
        }
        assert!(probe.ask("name /dev/shm /x_ -").contains("1 to 32 bytes"));
    }
}

#[test]
fn symbols_that_join_later_are_found() {
    for programs in programs() {
        let mut ring = Ring::new(64);
        let mut probe = Probe::start(programs, ring.path());
        let ids = ring.symbols();
        for (id, symbol) in &ids {
            assert_eq!(probe.ask(&format!("symbol {id}")), symbol.as_str());
            assert_eq!(probe.ask(&format!("id {symbol}")), id.to_string());
        }
        assert_eq!((probe.ask("symbol 4711").as_str(), probe.ask("id SYMBOL-7").as_str()), ("-", "0"));
        // Past the cache's first size, and up to the table's last entry.
        let room = ring.symbols_max() - u32::try_from(ids.len()).unwrap();
        for n in 0..room {
            ring.name(10_000 + n * 64, &format!("SYMBOL-{n}"));
            if n % 7 == 0 {
                assert_eq!(probe.ask(&format!("symbol {}", 10_000 + n * 64)), format!("SYMBOL-{n}"));
            }
        }
        for n in 0..room {
            assert_eq!(probe.ask(&format!("symbol {}", 10_000 + n * 64)), format!("SYMBOL-{n}"));
        }
        assert_eq!((probe.ask("symbol 4711").as_str(), probe.ask("id SYMBOL-7").as_str()), ("-", "10448"));
        for (id, symbol) in &ids {
            assert_eq!(probe.ask(&format!("symbol {id}")), symbol.as_str());
        }
    }
}

#[test]
fn hostile_symbols_are_judged_as_the_daemon_judges_them() {
    let ring = Ring::new(64);
    let mut bytes = fs::read(ring.path()).unwrap();
    let entries: [&[u8]; 12] = [
        b"lower",
        b"A B",
        b"",
        b"A\tB",
        "Ä€".as_bytes(),
        b"\xff",
        "A\u{2003}B".as_bytes(),
        "\u{85}".as_bytes(),
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        "\u{10ffff}".as_bytes(),
        b"\x7f",
    ];
    for (at, text) in entries.iter().enumerate() {
        let start = 4096 + 64 * at;
        let entry = &mut bytes[start..start + 64];
        entry.fill(0);
        entry[0] = u8::try_from(at + 1).unwrap();
        entry[4] = u8::try_from(text.len()).unwrap();
        entry[8..8 + text.len()].copy_from_slice(text);
    }
    // Longer than an entry; and a count beyond the table.
    bytes[4096 + 64 * 12..][..5].copy_from_slice(&[13, 0, 0, 0, 57]);
    bytes[256..260].copy_from_slice(&u32::MAX.to_le_bytes());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostile");
    fs::write(&path, bytes).unwrap();
    let mut reader = data_manager::transport::ipc::Reader::open(&path).unwrap();
    for programs in programs() {
        let mut probe = Probe::start(programs, path.to_str().unwrap());
        for id in 1..=14 {
            let expected = reader.symbol(id).map_or_else(|| "-".to_owned(), ToString::to_string);
            assert_eq!(probe.ask(&format!("symbol {id}")), expected, "entry {id}");
        }
    }
}

#[test]
fn dump_refuses_wrong_usage_and_teaches_the_right_one() {
    for programs in programs() {
        let help = Dump::start(programs, &["--help"]).end();
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
        assert!(String::from_utf8_lossy(&help.out).contains("Examples:\n  dump binance\n"));
        let wrong: [&[&str]; 10] = [
            &[],
            &["a", "b"],
            &["--count"],
            &["--count", "0", "a"],
            &["--count", "-1", "a"],
            &["--count", "1x", "a"],
            &["--timeout", "0", "a"],
            &["--timeout", "nan", "a"],
            &["--nope", "a"],
            &["--prefix", "x", "a"],
        ];
        for arguments in wrong {
            let done = Dump::start(programs, arguments).end();
            assert_eq!((done.code, done.out.len(), done.err.lines().count()), (Some(2), 0, 1), "{arguments:?}");
        }
    }
}
