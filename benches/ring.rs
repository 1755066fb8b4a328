//! The ring between two processes, beside a Unix pipe and an in-process channel, in one run on one machine.
//!
//! `cargo bench --bench ring` measures; `-- --quick` only shows that everything works.
//!
//! Throughput: one 48-byte record a publish, one reader that spins, nothing lost. So that nothing is lost, the reader
//! says every quarter of the ring where it is, on a second ring, and the bench's writer (not the ring) waits for it.
//! Latency: 100,000 records a second, each stamped right before it is sent; the reader spins.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench that cannot run must stop")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_manager::market::{Record, TradeMsg, trade};
use data_manager::transport::ipc::{DIRECTORY, Next, Reader, Wait, Writer, WriterConfig, segment_path};
use hdrhistogram::Histogram;

/// Tells a child process what to do.
const ROLE: &str = "DATA_MANAGER_BENCH_ROLE";
const RECORD_BYTES: usize = trade::RECORD_BYTES;
const CAPACITY: u64 = 1 << 16;
const STEP: u64 = CAPACITY / 4;
const RATE: u64 = 100_000;

#[derive(Clone, Copy)]
struct Size {
    /// Records of a throughput run.
    records: u64,
    /// Records of a latency run.
    samples: u64,
    /// Runs of each kind; the median counts.
    runs: usize,
}

fn main() {
    if let Some(role) = std::env::var_os(ROLE) {
        let role = role.into_string().unwrap();
        let words: Vec<&str> = role.split(' ').collect();
        return child(&words);
    }
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let size = if quick {
        Size { records: 200_000, samples: 2_000, runs: 1 }
    } else {
        Size { records: 20_000_000, samples: 200_000, runs: 5 }
    };
    println!("one reader, 48-byte records, median of {} runs\n", size.runs);
    throughput(size);
    latency(size);
}

fn throughput(size: Size) {
    let few = Size { records: size.records / 10, ..size };
    let rows = [
        ("ring, 1 record a publish", median(size.runs, || ring_throughput(size.records, 1))),
        ("ring, 64 records a publish", median(size.runs, || ring_throughput(size.records, 64))),
        ("Unix pipe, 1 record a write", median(size.runs, || pipe_throughput(few.records, 1))),
        ("Unix pipe, 64 records a write", median(size.runs, || pipe_throughput(size.records, 64))),
        ("std mpsc, in one process", median(size.runs, || mpsc_throughput(size.records))),
    ];
    println!("{:<32} {:>12} {:>16}", "throughput", "M records/s", "ring is faster");
    for (name, rate) in rows {
        println!("{name:<32} {:>12.2} {:>15.2}x", rate / 1e6, rows[0].1 / rate);
    }
    println!();
}

fn latency(size: Size) {
    let rows = [
        ("ring", middle(size.runs, || ring_latency(size.samples))),
        ("Unix pipe, 1 record a write", middle(size.runs, || pipe_latency(size.samples))),
        ("std mpsc, in one process", middle(size.runs, || mpsc_latency(size.samples))),
    ];
    println!("{:<32} {:>9} {:>9} {:>9} {:>16}", "one way at 100,000/s", "p50 ns", "p99 ns", "p99.9 ns", "ring p50 is");
    for (name, histogram) in &rows {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| histogram.value_at_quantile(quantile));
        let ratio = p50 as f64 / rows[0].1.value_at_quantile(0.5) as f64;
        println!("{name:<32} {p50:>9} {p99:>9} {p999:>9} {ratio:>9.2}x faster");
    }
    println!("\nreading the clock once costs {} ns, which every latency contains", clock_cost());
}

fn ring_throughput(records: u64, batch: u64) -> f64 {
    let dir = directory();
    let mut writer = create(dir.path(), "data");
    let mut reader = start(&format!("ring-read {}", dir.path().display()));
    let mut confirmed = confirmations(dir.path());
    let mut limit = CAPACITY - STEP;
    let begin = Instant::now();
    for n in 0..records {
        if n >= limit {
            limit = wait_for(&mut confirmed, n + STEP - CAPACITY) + CAPACITY - STEP;
        }
        writer.push(&record(n));
        if batch == 1 || n % batch == 0 {
            writer.publish();
        }
    }
    writer.publish();
    wait_for(&mut confirmed, records);
    let rate = records as f64 / begin.elapsed().as_secs_f64();
    writer.close();
    assert!(reader.wait().unwrap().success(), "the reader lost records");
    rate
}

/// Reads to the end, saying on a ring of its own where it is: every `STEP` records, and when there is nothing to read.
fn ring_read(directory: &Path) {
    let mut progress = create(directory, "progress");
    let mut reader = Reader::open(&path(directory, "data")).unwrap();
    let mut idle = 0_u32;
    loop {
        match reader.poll() {
            Next::Record(Record::Trade(found), position) => {
                assert_eq!(found.trade_id, position);
                idle = 0;
                if (position + 1) % STEP == 0 {
                    progress.push(&record(position + 1));
                }
            }
            Next::Empty => {
                idle = idle.saturating_add(1);
                // The last few records make no whole step.
                if idle == 1_000 {
                    progress.push(&record(reader.position()));
                }
                Wait::Spin.wait();
            }
            Next::WriterGone(_) => break,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until the reader has said that it is at `at` or beyond, and returns where it is.
fn wait_for(confirmed: &mut Reader, at: u64) -> u64 {
    loop {
        match confirmed.poll() {
            Next::Record(Record::Trade(said), _) if said.trade_id >= at => return said.trade_id,
            Next::Empty => Wait::Spin.wait(),
            Next::WriterGone(reason) => panic!("{reason}"),
            _ => {}
        }
    }
}

fn ring_latency(samples: u64) -> Histogram<u64> {
    let dir = directory();
    let mut writer = create(dir.path(), "data");
    let mut reader = start(&format!("ring-latency {}", dir.path().display()));
    // Its one record means that it is ready.
    wait_for(&mut confirmations(dir.path()), 0);
    paced(samples, |n| {
        writer.push(&record_with(n, wall_ns()));
        writer.publish();
    });
    writer.close();
    histogram_of(&mut reader)
}

fn ring_latency_read(directory: &Path) {
    let mut reader = Reader::open(&path(directory, "data")).unwrap();
    let mut ready = create(directory, "progress");
    ready.push(&record(0));
    let mut histogram = histogram();
    loop {
        match reader.poll() {
            Next::Record(Record::Trade(found), position) => {
                assert_eq!(found.trade_id, position);
                histogram.saturating_record(wall_ns().saturating_sub(found.ts_event));
            }
            Next::Empty => Wait::Spin.wait(),
            Next::WriterGone(_) => break,
            other => panic!("{other:?}"),
        }
    }
    print_histogram(&histogram);
}

fn pipe_throughput(records: u64, batch: usize) -> f64 {
    let mut reader = start("pipe-read");
    let mut pipe = reader.stdin.take().unwrap();
    let begin = Instant::now();
    let mut buffer = Vec::with_capacity(batch * RECORD_BYTES);
    for n in 0..records {
        buffer.extend_from_slice(record(n).as_bytes());
        if buffer.len() == batch * RECORD_BYTES {
            pipe.write_all(&buffer).unwrap();
            buffer.clear();
        }
    }
    pipe.write_all(&buffer).unwrap();
    drop(pipe);
    // It ends when it has read all.
    assert!(reader.wait().unwrap().success());
    records as f64 / begin.elapsed().as_secs_f64()
}

fn pipe_read(mut each: impl FnMut(TradeMsg)) {
    let mut input = std::io::stdin().lock();
    let mut buffer = vec![0; 1 << 16];
    let (mut filled, mut n) = (0, 0);
    loop {
        let more = input.read(&mut buffer[filled..]).unwrap();
        if more == 0 {
            break;
        }
        filled += more;
        let whole = filled - filled % RECORD_BYTES;
        for bytes in buffer[..whole].chunks_exact(RECORD_BYTES) {
            let Ok(Record::Trade(found)) = Record::from_bytes(bytes) else { panic!("record {n} is none") };
            assert_eq!(found.trade_id, n);
            n += 1;
            each(found);
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

fn pipe_latency(samples: u64) -> Histogram<u64> {
    let mut reader = start("pipe-latency");
    let mut pipe = reader.stdin.take().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    paced(samples, |n| pipe.write_all(record_with(n, wall_ns()).as_bytes()).unwrap());
    drop(pipe);
    histogram_of(&mut reader)
}

fn mpsc_throughput(records: u64) -> f64 {
    let (sender, receiver) = mpsc::sync_channel::<Record>(1 << 16);
    let begin = Instant::now();
    let reader = std::thread::spawn(move || receiver.iter().map(|record| trade_of(&record).trade_id).sum::<u64>());
    for n in 0..records {
        sender.send(record(n)).unwrap();
    }
    drop(sender);
    assert_eq!(reader.join().unwrap(), records * (records - 1) / 2);
    records as f64 / begin.elapsed().as_secs_f64()
}

fn mpsc_latency(samples: u64) -> Histogram<u64> {
    let (sender, receiver) = mpsc::sync_channel::<Record>(1 << 16);
    let reader = std::thread::spawn(move || {
        let mut histogram = histogram();
        loop {
            match receiver.try_recv() {
                Ok(found) => {
                    histogram.saturating_record(wall_ns().saturating_sub(trade_of(&found).ts_event));
                }
                Err(mpsc::TryRecvError::Empty) => std::hint::spin_loop(),
                Err(mpsc::TryRecvError::Disconnected) => break histogram,
            }
        }
    });
    paced(samples, |n| sender.send(record_with(n, wall_ns())).unwrap());
    drop(sender);
    reader.join().unwrap()
}

/// Calls `send` at `RATE`, spinning between.
fn paced(samples: u64, mut send: impl FnMut(u64)) {
    let begin = Instant::now();
    for n in 0..samples {
        let due = Duration::from_nanos(n * 1_000_000_000 / RATE);
        while begin.elapsed() < due {
            std::hint::spin_loop();
        }
        send(n);
    }
}

fn child(words: &[&str]) {
    match words {
        ["ring-read", directory] => ring_read(directory.as_ref()),
        ["ring-latency", directory] => ring_latency_read(directory.as_ref()),
        ["pipe-read"] => pipe_read(|_| {}),
        ["pipe-latency"] => {
            let mut histogram = histogram();
            pipe_read(|found| histogram.saturating_record(wall_ns().saturating_sub(found.ts_event)));
            print_histogram(&histogram);
        }
        other => panic!("no such role: {other:?}"),
    }
}

fn start(role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The child's histogram, as it prints it: one `value count` a line.
fn histogram_of(child: &mut Child) -> Histogram<u64> {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let mut histogram = histogram();
    for line in text.lines() {
        let (value, count) = line.split_once(' ').unwrap();
        histogram.saturating_record_n(value.parse().unwrap(), count.parse().unwrap());
    }
    histogram
}

fn print_histogram(histogram: &Histogram<u64>) {
    for step in histogram.iter_recorded() {
        println!("{} {}", step.value_iterated_to(), step.count_at_value());
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap()
}

/// The reader's ring of confirmations, as soon as it is there.
fn confirmations(directory: &Path) -> Reader {
    let begin = Instant::now();
    loop {
        match Reader::open(&path(directory, "progress")) {
            Ok(reader) => return reader,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn create(directory: &Path, name: &str) -> Writer {
    let config = WriterConfig {
        directory: directory.to_owned(),
        path_prefix: "/".to_owned(),
        exchange: name.to_owned(),
        capacity: CAPACITY,
        ..WriterConfig::default()
    };
    Writer::create(&config, []).unwrap()
}

fn path(directory: &Path, name: &str) -> std::path::PathBuf {
    segment_path(directory, "/", name).unwrap()
}

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("data-manager-bench-").tempdir_in(DIRECTORY).unwrap()
}

fn record(n: u64) -> Record {
    record_with(n, n)
}

fn record_with(n: u64, ts_event: u64) -> Record {
    Record::Trade(TradeMsg {
        ts_event,
        ts_recv: n,
        trade_id: n,
        price: 6_183_763,
        size: 1_234,
        instrument_id: 77,
        price_scale: 2,
        size_scale: 5,
        flags: 1,
        kind: trade::KIND_TRADE_V1,
    })
}

fn trade_of(record: &Record) -> &TradeMsg {
    match record {
        Record::Trade(trade) => trade,
        Record::Gap(_) => panic!("only trades are sent"),
    }
}

fn median(runs: usize, mut run: impl FnMut() -> f64) -> f64 {
    let mut rates: Vec<f64> = (0..runs).map(|_| run()).collect();
    rates.sort_by(f64::total_cmp);
    rates[runs / 2]
}

/// The run with the median p50: a percentile of merged runs would show the machine's worst second.
fn middle(runs: usize, mut run: impl FnMut() -> Histogram<u64>) -> Histogram<u64> {
    let mut histograms: Vec<_> = (0..runs).map(|_| run()).collect();
    histograms.sort_by_key(|histogram| histogram.value_at_quantile(0.5));
    histograms.swap_remove(runs / 2)
}

fn clock_cost() -> u64 {
    let begin = Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(wall_ns());
    }
    u64::try_from(begin.elapsed().as_nanos() / 100_000).unwrap()
}

fn wall_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
