//! The spool as its process dies, and on file systems that are full: this test program starts itself again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use data_manager::market::TradeMsg;
use data_manager::market::trade::KIND_TRADE_V1;
use data_manager::transport::nats::spool::{Limits, Spool, SpoolError};
use tempfile::TempDir;

/// Tells a test that it is the other process, and in which directory it works.
const CHILD: &str = "DATA_MANAGER_TEST_SPOOL_CHILD";
/// From which record on the other process appends.
const FROM: &str = "DATA_MANAGER_TEST_SPOOL_FROM";
/// How many times the other process is killed; more in a long run.
const CYCLES: &str = "DATA_MANAGER_TEST_SPOOL_CYCLES";

const OWNER: &str = "TRADES";
const CREATED: u64 = 1_700_000_000_000_000_000;
const LIMITS: Limits = Limits { bytes: 256 << 20, segment_bytes: 1 << 20 };

type Bytes = [u8; 48];

fn record(n: u64) -> Bytes {
    let trade = TradeMsg {
        ts_event: n,
        ts_recv: !n,
        trade_id: n,
        price: 1,
        size: 1,
        instrument_id: 7,
        price_scale: 0,
        size_scale: 0,
        flags: 1,
        kind: KIND_TRADE_V1,
    };
    *trade.as_bytes()
}

fn records(numbers: std::ops::Range<u64>) -> Vec<Bytes> {
    numbers.map(record).collect()
}

fn id(record: &Bytes) -> u64 {
    u64::from_le_bytes(record[16..24].try_into().unwrap())
}

fn read_all(spool: &mut Spool) -> Vec<Bytes> {
    let mut out = Vec::new();
    while spool.unread() > 0 {
        let reading = spool.read(10_000, &mut out).unwrap();
        assert_eq!(reading.broken, []);
    }
    out
}

/// This test program once more, to run one of its tests as another process.
fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, directory);
    command
}

/// Appends blocks of changing length for ever and says each time how far it is.
fn append_for_ever(directory: &Path) -> ! {
    let mut n: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let (mut spool, _) = Spool::open(directory, LIMITS, OWNER).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    loop {
        let count = 1 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_500;
        let appended = spool.append(CREATED, &records(n..n + count)).unwrap();
        assert!(appended.dropped.is_empty());
        n += count;
        writeln!(out, "appended {n}").unwrap();
    }
}

#[test]
fn what_was_appended_before_a_kill_is_there_in_order_and_once() {
    if let Some(directory) = std::env::var_os(CHILD) {
        append_for_ever(Path::new(&directory));
    }
    let cycles: u64 = std::env::var(CYCLES).map_or(30, |cycles| cycles.parse().unwrap());
    let dir = TempDir::new().unwrap();
    // What is held before a cycle, and the first number that may come next.
    let (mut held, mut next): (Vec<u64>, u64) = (Vec::new(), 0);
    let mut torn = 0;
    for cycle in 0..cycles {
        let mut other = child("what_was_appended_before_a_kill_is_there_in_order_and_once", dir.path())
            .env(FROM, next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The kill falls into some append: after so many of them, and a moment that differs from cycle to cycle.
        let seen = lines.by_ref().filter(|line| line.starts_with("appended ")).nth((cycle % 7) as usize * 5).unwrap();
        std::thread::sleep(Duration::from_micros(cycle * 613 % 7_000));
        other.kill().unwrap();
        let last = lines.filter(|line| line.starts_with("appended ")).last().unwrap_or(seen);
        assert_eq!(other.wait().unwrap().signal(), Some(9));
        // The last line may have been cut off by the kill: a shorter number asks for less, never for more.
        let printed: u64 = last["appended ".len()..].parse().unwrap();

        let (mut spool, recovered) = Spool::open(dir.path(), LIMITS, OWNER).unwrap();
        torn += recovered.broken.len();
        let found = read_all(&mut spool);
        assert!(found.iter().all(|bytes| *bytes == record(id(bytes))));
        let ids: Vec<u64> = found.iter().map(id).collect();
        let (old, new) = ids.split_at(held.len());
        assert_eq!(old, held, "what was there before is there again");
        assert!(new.iter().copied().eq(next..next + new.len() as u64), "in order, each once");
        let end = next + new.len() as u64;
        assert!(end >= printed, "cycle {cycle}: {printed} were appended, {end} are there");
        assert_eq!(recovered.last[&7].trade_id, end - 1);
        held = ids;
        next = end;
        // Now and then the broker is back.
        if cycle % 4 == 3 {
            let position = spool.read(1, &mut Vec::new()).unwrap().position;
            spool.release(position).unwrap();
            assert!(spool.is_empty() && spool.bytes() == 0);
            held.clear();
        }
    }
    eprintln!("{cycles} kills, {next} records, {torn} blocks were cut off");
}

/// Appends until there is no more room; everything that was appended must be there, and after a release it goes on.
fn until_full(directory: &Path, room: u64) {
    let (mut spool, _) = Spool::open(directory, Limits { bytes: room * 8, ..LIMITS }, OWNER).unwrap();
    let mut n = 0;
    let error = loop {
        match spool.append(CREATED, &records(n..n + 1_000)) {
            Ok(_) => n += 1_000,
            Err(error) => break error,
        }
        assert!(n * 48 <= room, "this directory was to be full by now");
    };
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    assert_eq!(spool.records(), n);
    // Again and again it is refused, and no half block stays.
    assert!(spool.append(CREATED, &records(n..n + 1_000)).is_err());
    let on_disk: u64 = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock")
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, spool.bytes());
    assert_eq!(read_all(&mut spool), records(0..n));
    drop(spool);
    let (mut spool, recovered) = Spool::open(directory, Limits { bytes: room * 8, ..LIMITS }, OWNER).unwrap();
    assert_eq!((recovered.records, recovered.broken), (n, vec![]));
    // The caller decides that the oldest has to go, and there is room again.
    let dropped = spool.drop_oldest().unwrap();
    assert_eq!((dropped.segments, dropped.lost[&7].first), (1, record(0)));
    let _ = spool.append(CREATED, &records(n..n + 1_000)).unwrap();
    assert_eq!(read_all(&mut spool), records(dropped.records..n + 1_000));
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_file_system_refuses_and_keeps_what_it_has() {
    let dir = TempDir::new().unwrap();
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&mount).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: mounting a small tmpfs is not permitted here");
        return;
    }
    let _unmount = Unmount(&mount);
    until_full(&mount, 3 << 20);
}

#[test]
fn a_limit_on_the_size_of_files_refuses_and_keeps_what_it_has() {
    const TEST: &str = "a_limit_on_the_size_of_files_refuses_and_keeps_what_it_has";
    if let Some(directory) = std::env::var_os(CHILD) {
        // Without the signal, the write itself says that the file is too large.
        return until_full(Path::new(&directory), 1 << 20);
    }
    let dir = TempDir::new().unwrap();
    let mut shell = Command::new("sh");
    // An ignored signal stays ignored in what is executed. The limit counts blocks of 512 bytes, or of 1,024 in bash.
    let script = r#"trap "" XFSZ; ulimit -f 600; exec "$0" "$@""#;
    let other = child(TEST, &dir.path().join("spool"));
    shell.args(["-c", script]).arg(other.get_program()).args(other.get_args());
    shell.envs(other.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn another_users_directory_is_refused_by_name() {
    const TEST: &str = "another_users_directory_is_refused_by_name";
    if let Some(directory) = std::env::var_os(CHILD) {
        let error = Spool::open(Path::new(&directory), LIMITS, OWNER).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SpoolError::Io { .. }), "{text}");
        assert!(text.contains(directory.to_str().unwrap()) && text.contains("denied"), "{text}");
        return;
    }
    let dir = TempDir::new().unwrap();
    drop(Spool::open(dir.path(), LIMITS, OWNER).unwrap());
    // Only root can become somebody else.
    let output = match child(TEST, dir.path()).uid(65_534).gid(65_534).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("not run: this process cannot run the test as another user ({error})"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn another_process_is_refused_and_told_the_pid_of_the_holder() {
    const TEST: &str = "another_process_is_refused_and_told_the_pid_of_the_holder";
    if let Some(directory) = std::env::var_os(CHILD) {
        let error = Spool::open(Path::new(&directory), LIMITS, OWNER).unwrap_err();
        assert!(matches!(error, SpoolError::Busy { .. }), "{error}");
        return println!("refused: {error}");
    }
    let dir = TempDir::new().unwrap();
    let (_spool, _) = Spool::open(dir.path(), LIMITS, OWNER).unwrap();
    let output = child(TEST, dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed") && text.contains(&format!("pid {}", std::process::id())), "{text}");
}
