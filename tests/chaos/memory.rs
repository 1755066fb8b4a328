//! S rows: the ring in shared memory.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use data_manager::transport::ipc::{Gone, Next, Reader, Reopened};

use crate::kit::{Scene, Setup, TWO, long, pause, secs, venues};
use crate::oracle::{Scope, Stored, in_rings, judge};
use crate::report::{Must, Running};

/// A reader that is slower than the ring is told exactly how much it has lost; the writer does not wait.
#[tokio::test]
async fn s01_slow_reader() {
    let seconds = if long() { 60.0 } else { 8.0 };
    let mut scene =
        Setup::new("s01_slow_reader", &["binance"], 2_000.0, seconds).set("TRANSPORT__IPC__CAPACITY", "256").start();
    let mut reader = Reader::open(&scene.daemon.segment("binance")).unwrap();
    reader.from_newest();
    let (first, mut read, mut lost, mut lags) = (reader.position(), 0_u64, 0_u64, 0_u64);
    let start = Instant::now();
    let mut exact = true;
    while start.elapsed() < Duration::from_secs(5) {
        // Once a little too slow, then far too slow.
        std::thread::sleep(Duration::from_millis(if lags < 3 { 150 } else { 600 }));
        loop {
            match reader.poll() {
                Next::Record(_, position) => {
                    exact &= position == first + read + lost;
                    read += 1;
                }
                Next::Lagged { lost: more } => {
                    lost += more;
                    lags += 1;
                }
                _ => break,
            }
        }
    }
    scene.row.must(exact && reader.position() == first + read + lost, format!("{read} read, {lost} lost: not exact"));
    scene.row.must(lags > 3, format!("the reader was lapped {lags} times only"));
    scene.row.note(format!("{read} read, {lost} told as lost in {lags} laps"));
    scene.end(Must::Whole).await;
}

/// Shared memory without room for the ring: refused at the start.
#[tokio::test]
async fn s02_no_room() {
    let mut row = Running::new("s02_no_room");
    let sim = venues(&TWO, 200.0, 2.0);
    let script = "mount -t tmpfs -o size=1m tmpfs /dev/shm || exit 99; exec \"$@\"";
    let (code, said) = crate::daemon::Spec::new(&sim).within(script).run_to_end();
    if code == Some(99) {
        row.note("not run: a small file system cannot be mounted here");
        return row.end();
    }
    row.must(matches!(code, Some(1..=78)), format!("it ended with {code:?}: {said}"));
    let told = said.to_ascii_lowercase();
    row.must(told.contains("/dev/shm has"), format!("it does not say why: {said}"));
    row.note(format!("exit code {}", code.unwrap_or(-1)));
    row.end();
}

/// The writer is killed between two stores: readers notice, follow its next life, and never see a torn record.
#[tokio::test]
async fn s03_writer_killed() {
    let mut scene = Setup::new("s03_writer_killed", &TWO, 1_000.0, 8.0).start();
    let mut reader = Reader::open(&scene.daemon.segment("binance")).unwrap();
    reader.from_oldest();
    let mut read = Stored::new();
    let mut drain = |reader: &mut Reader| {
        while let Next::Record(record, position) = reader.poll() {
            let symbol = reader.symbol(record.instrument_id()).unwrap().to_string();
            read.entry(("binance".to_owned(), symbol)).or_default().push((position, record));
        }
    };
    let killed = Instant::now();
    scene.daemon.kill9();
    let gone = loop {
        drain(&mut reader);
        if let Some(gone) = reader.check(Instant::now(), secs(1.0)) {
            break gone;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    scene.row.detected(killed);
    scene.row.must(matches!(gone, Gone::Silent { .. }), format!("{gone:?}"));
    let epoch = reader.epoch();
    scene.next_daemon();
    let started = Instant::now();
    let again = reader.reopen().unwrap();
    scene.row.must(matches!(again, Reopened::New { epoch: new } if new > epoch), format!("{again:?}"));
    while matches!(reader.poll(), Next::Empty) {
        std::thread::sleep(Duration::from_millis(1));
    }
    reader.from_oldest();
    scene.row.recovered(started);
    scene.settle().await;
    drain(&mut reader);
    // A torn record would be one that nobody issued.
    let torn = judge(&scene.sim, &read, Scope::ToLast).foreign;
    scene.row.must(torn == 0, format!("{torn} torn records"));
    scene.end(Must::Whole).await;
}

/// 64 readers attach and detach, one is killed: the ring holds everything, the writer keeps nothing of them.
#[tokio::test]
async fn s04_readers_come_and_go() {
    let mut scene = Setup::new("s04_readers_come_and_go", &TWO, 1_000.0, 7.0).start();
    let files = open_files(&scene);
    let (stop, attached) = (AtomicBool::new(false), AtomicU64::new(0));
    let path = scene.daemon.segment("binance");
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut reader = Reader::open(&path).unwrap();
                    reader.from_oldest();
                    let _ = (0..100).map(|_| reader.poll()).filter(|next| *next == Next::Empty).count();
                    attached.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(900));
                }
            });
        }
        for _ in 0..3 {
            let mut tail = tail(&scene);
            std::thread::sleep(Duration::from_millis(700));
            tail.kill().unwrap();
            tail.wait().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    scene.row.note(format!("{} times attached, 3 readers killed", attached.load(Ordering::Relaxed)));
    scene.settle().await;
    let verdict = judge(&scene.sim, &in_rings(&scene.daemon, &scene.sim), Scope::All);
    scene.row.judged(&verdict, Must::Whole);
    let after = open_files(&scene);
    scene.row.must(after <= files + 8, format!("{files} open files before, {after} after"));
    scene.end(Must::Whole).await;
}

fn open_files(scene: &Scene) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", scene.daemon.pid())).unwrap().count()
}

/// A reader in a process of its own.
fn tail(scene: &Scene) -> std::process::Child {
    let segment = scene.daemon.segment("binance");
    let prefix = format!("/{}", segment.file_name().unwrap().to_str().unwrap().trim_end_matches("binance"));
    Command::new(env!("CARGO_BIN_EXE_data-manager"))
        .args(["tail", "--ipc", "--exchange", "binance"])
        .env("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", prefix)
        .env_remove("DATA_MANAGER_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Segments that are removed, cut off, or not what they say: typed errors, and no reader dies.
#[tokio::test]
async fn s05_bad_segments() {
    let mut scene = Setup::new("s05_bad_segments", &TWO, 800.0, 6.0).start();
    pause(0.5).await;
    let path = scene.daemon.segment("binance");
    let good = std::fs::read(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("segment");
    let mut errors = Vec::new();
    // Magic, version, sizes: each byte of the header's first line, and the file's length.
    for at in 0..64 {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&copy, &bytes).unwrap();
        match Reader::open(&copy) {
            Err(error) => errors.push(error.to_string()),
            Ok(mut reader) => {
                reader.from_oldest();
                let _ = (0..1_000).map(|_| reader.poll()).filter(|next| *next == Next::Empty).count();
            }
        }
    }
    for length in [0, 1, 63, 64, 4_096, good.len() / 2, good.len() - 1] {
        std::fs::write(&copy, &good[..length]).unwrap();
        let opened = Reader::open(&copy);
        scene.row.must(opened.is_err(), format!("a segment of {length} bytes was opened"));
        errors.extend(opened.err().map(|error| error.to_string()));
    }
    scene.row.must(errors.len() >= 15, format!("only {} were refused", errors.len()));
    std::fs::write(&copy, &good).unwrap();
    let mut reader = Reader::open(&copy).unwrap();
    std::fs::File::options().write(true).open(&copy).unwrap().set_len(4_096).unwrap();
    let cut = reader.check(Instant::now(), secs(1.0));
    scene.row.must(matches!(cut, Some(Gone::Truncated { .. })), format!("a file that was cut off: {cut:?}"));
    drop(reader);
    let mut reader = Reader::open(&path).unwrap();
    reader.from_newest();
    std::fs::remove_file(&path).unwrap();
    let start = Instant::now();
    let removed = loop {
        while matches!(reader.poll(), Next::Record(..)) {}
        match reader.check(Instant::now(), secs(30.0)) {
            None if start.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(10)),
            found => break found,
        }
    };
    scene.row.detected(start);
    scene.row.must(removed == Some(Gone::Removed), format!("a file that was removed: {removed:?}"));
    scene.row.note(format!("{} damaged segments refused", errors.len()));
    scene.end(Must::Whole).await;
}
