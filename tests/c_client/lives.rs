//! Writers that close, die, come back, go away or are cut off, seen from C.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_manager::transport::ipc::{Wait, Writer};

use crate::kit::{Dump, PREFIX, Probe, Ring, config, programs, record};

/// Tells a test that it is the other process, and in which directory it writes.
const CHILD: &str = "DATA_MANAGER_TEST_C_CHILD";
const SECOND: u64 = 1_000_000_000;

/// What a driven reader finds at a time of day that the test makes up.
fn check(probe: &mut Probe, now: u64) -> String {
    probe.ask(&format!("check {now} {}", 3 * SECOND))
}

#[test]
fn each_end_of_a_writer_is_told() {
    for programs in programs() {
        let mut ring = Ring::new(64);
        let mut probe = Probe::start(programs, ring.path());
        let writer = ring.writer.as_ref().unwrap();
        writer.heartbeat(77);
        let about = format!("okx {} {} 64 77 1", writer.epoch(), std::process::id());
        assert_eq!(probe.ask("about"), about);
        assert_eq!(probe.ask("poll"), "empty 0 0");
        // Only a change of the heartbeat counts, whichever way wall time goes.
        assert_eq!(check(&mut probe, 10 * SECOND), "alive");
        assert_eq!(check(&mut probe, 13 * SECOND), "alive");
        assert_eq!(check(&mut probe, 13 * SECOND + 1), "silent");
        writer.heartbeat(5);
        assert_eq!(check(&mut probe, 14 * SECOND), "alive");
        assert_eq!(check(&mut probe, 12 * SECOND), "alive");
        assert_eq!(check(&mut probe, 18 * SECOND), "silent");
        assert_eq!(probe.ask("reopen"), "same");

        ring.write(3);
        assert_eq!(probe.ask("poll"), "record 0 1");
        ring.close();
        assert_eq!(check(&mut probe, 19 * SECOND), "closed");
        assert_eq!(probe.ask("drain"), "2 read 0 lost closed");
        assert_eq!(probe.ask("poll"), "closed 3 0");

        ring.start();
        ring.write(100);
        assert_eq!(check(&mut probe, 20 * SECOND), "replaced");
        assert_eq!(probe.ask("poll"), "closed 3 0");
        assert_eq!(probe.ask("reopen"), "new");
        // 100 - 64 + 8 are behind the reader, which has lost none of them: it has just come.
        assert_eq!(probe.ask("poll"), "record 44 1");
        assert_eq!(probe.ask("newest"), "100");
        assert_eq!(probe.ask("oldest"), "44");
        assert_eq!(check(&mut probe, SECOND), "alive");
        assert_eq!(probe.ask("drain"), "56 read 0 lost empty");
        ring.close();
        assert_eq!(probe.ask("oldest"), "36");
        assert_eq!(probe.ask("drain"), "64 read 0 lost closed");

        fs::remove_file(ring.path()).unwrap();
        assert_eq!(check(&mut probe, 21 * SECOND), "removed");
        let missing = format!("no ring at {}; is `data-manager serve --ipc` running?", ring.path());
        assert_eq!(probe.ask("reopen"), missing);
        assert_eq!(probe.ask("poll"), "closed 100 0", "the reader is as before");
        probe.end();
    }
}

#[test]
fn a_file_that_is_cut_off_under_a_reader_is_never_touched_again() {
    for programs in programs() {
        let mut ring = Ring::new(1 << 12);
        ring.write(100);
        let mut probe = Probe::start(programs, ring.path());
        assert_eq!(probe.ask("poll"), "record 0 1");
        let file = OpenOptions::new().write(true).open(ring.path()).unwrap();
        // The writer's own mapping is not touched either, before its successor has its own.
        std::mem::forget(ring.writer.take());
        file.set_len(0).unwrap();
        for _ in 0..2 {
            assert_eq!(check(&mut probe, SECOND), "truncated");
            assert_eq!(probe.ask("poll"), "refused 1 0");
        }
        for (command, answer) in [("symbol 4711", "-"), ("oldest", "1"), ("newest", "1"), ("id X", "0")] {
            assert_eq!(probe.ask(command), answer, "{command}");
        }
        assert!(probe.ask("reopen").ends_with("only 0 bytes long, where a header alone has 4096"));
        assert_eq!(probe.ask("poll"), "refused 1 0");
        probe.end();
    }
}

#[test]
fn dump_tells_of_a_file_that_is_cut_off_and_ends_with_one() {
    for programs in programs() {
        let mut ring = Ring::new(1 << 12);
        ring.write(100);
        let dump = Dump::start(programs, &["--newest", "--timeout", "1", ring.path()]);
        let file = OpenOptions::new().write(true).open(ring.path()).unwrap();
        std::mem::forget(ring.writer.take());
        file.set_len(8_192).unwrap();
        // Cut off before it was opened, between two looks, or under an access: told each time, and no signal.
        let done = dump.end();
        assert_eq!(done.code, Some(1), "{}: {}", programs.name, done.err);
        assert!(done.err.contains("cut off") || done.err.contains("truncated"), "{}: {}", programs.name, done.err);
    }
}

#[test]
fn dump_follows_a_writer_from_one_life_to_the_next() {
    for programs in programs() {
        let mut ring = Ring::new(64);
        ring.write(10);
        let mut dump = Dump::start(programs, &["--raw", "--oldest", "--count", "30", "--timeout", "120", ring.path()]);
        ring.close();
        dump.wait_for("the writer has closed the ring; waiting for it");
        ring.start();
        ring.write(10);
        dump.wait_for("a new writer has taken over");
        ring.close();
        dump.wait_for("has taken over\ndump: the writer has closed the ring");
        fs::remove_file(ring.path()).unwrap();
        dump.wait_for("has been removed; waiting for it");
        ring.start();
        ring.write(10);
        let done = dump.end();
        assert_eq!(done.code, Some(0), "{}: {}", programs.name, done.err);
        let expected: Vec<u8> = (0..30).flat_map(|n| *record(n % 10).as_bytes()).collect();
        assert_eq!(done.out, expected, "{}", programs.name);
    }
}

#[test]
fn dump_gives_up_on_a_ring_where_nothing_comes() {
    for programs in programs() {
        let mut ring = Ring::new(64);
        ring.write(5);
        let done = Dump::start(programs, &["--timeout", "0.2", ring.path()]).end();
        assert_eq!((done.code, done.out.len()), (Some(1), 0));
        assert_eq!(done.err, format!("dump: {}: nothing came for 0.2 s: the writer lives\n", ring.path()));
        ring.close();
        let done = Dump::start(programs, &["--oldest", "--raw", "--count", "6", "--timeout", "0.2", ring.path()]).end();
        assert_eq!((done.code, done.out.len()), (Some(1), 5 * 48));
        assert!(done.err.ends_with("nothing came for 0.2 s: the writer has closed the ring\n"), "{}", done.err);
    }
}

/// A process that writes; killed where it is dropped.
struct Other(Child);

impl Other {
    fn start(test: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().contains("@writes")), "it ended without a word");
        Self(child)
    }

    /// SIGKILL, at whatever step of a record it is.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_killed_writer_falls_silent_and_its_successor_is_followed() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&directory));
    }
    let test = "lives::a_killed_writer_falls_silent_and_its_successor_is_followed";
    for programs in programs() {
        let mut ring = Ring::new(1 << 12);
        ring.close();
        let directory = ring.config.directory.clone();
        let mut other = Other::start(test, &directory);
        let mut probe = Probe::start(programs, ring.path());
        for _ in 0..2 {
            let found = probe.ask("poll");
            assert!(found.starts_with("record ") || found.starts_with("lagged "), "{found}");
            assert_eq!(check(&mut probe, SECOND), "alive");
            other.kill();
            // Its last sign of life may have come behind the check above.
            let found = check(&mut probe, 10 * SECOND);
            assert!(found == "silent" || found == "alive", "{found}");
            assert_eq!(check(&mut probe, 20 * SECOND), "silent");
            assert!(probe.ask("drain").ends_with(" empty"), "killed, not closed");
            assert_eq!(probe.ask("reopen"), "same");
            other = Other::start(test, &directory);
            assert_eq!(check(&mut probe, 21 * SECOND), "replaced");
            assert_eq!(probe.ask("reopen"), "new");
        }
        probe.end();
        other.kill();
    }
}

/// The other end of the test above.
fn write_for_ever(directory: &Path) {
    let mut writer = Writer::create(&config(directory, PREFIX, 1 << 12), []).unwrap();
    let mut out = std::io::stdout();
    for n in 0..1_000_000 {
        writer.push(&record(n));
        if n % 256 == 0 {
            writer.publish();
            writer.heartbeat(n);
            if n == 256 {
                writeln!(out, "\n@writes").and_then(|()| out.flush()).unwrap();
            }
            // Whoever should kill us is gone when this ends.
            Wait::Sleep(Duration::from_millis(1)).wait();
        }
    }
}
