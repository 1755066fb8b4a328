//! What every way of sending records shares: the records, the pace, the clock, child processes, their histograms.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_manager::market::{Record, TradeMsg, trade};
use hdrhistogram::Histogram;

/// Tells a child process what to do.
pub(crate) const ROLE: &str = "DATA_MANAGER_BENCH_ROLE";
/// Records a second of a latency run.
const RATE: u64 = 100_000;

/// Calls `send` at `RATE`, spinning between.
pub(crate) fn paced(samples: u64, mut send: impl FnMut(u64)) {
    let begin = Instant::now();
    for n in 0..samples {
        let due = Duration::from_nanos(n * 1_000_000_000 / RATE);
        while begin.elapsed() < due {
            std::hint::spin_loop();
        }
        send(n);
    }
}

pub(crate) fn start(role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The child's histogram, as it prints it: one `value count` a line.
pub(crate) fn histogram_of(child: &mut Child) -> Histogram<u64> {
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

pub(crate) fn print_histogram(histogram: &Histogram<u64>) {
    for step in histogram.iter_recorded() {
        println!("{} {}", step.value_iterated_to(), step.count_at_value());
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap()
}

pub(crate) fn record(n: u64) -> Record {
    record_with(n, n)
}

pub(crate) fn record_with(n: u64, ts_event: u64) -> Record {
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

pub(crate) fn trade_of(record: &Record) -> &TradeMsg {
    match record {
        Record::Trade(trade) => trade,
        Record::Gap(_) => panic!("only trades are sent"),
    }
}

pub(crate) fn clock_cost() -> u64 {
    let begin = Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(wall_ns());
    }
    u64::try_from(begin.elapsed().as_nanos() / 100_000).unwrap()
}

pub(crate) fn wall_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
