//! The ring between two processes, beside a Unix pipe and an in-process channel, in one run on one machine.
//!
//! `cargo bench --bench ring` measures; `-- --quick` only shows that everything works.
//!
//! Throughput: one 48-byte record a publish, one reader that spins, nothing lost. So that nothing is lost, the reader
//! says every quarter of the ring where it is, on a second ring, and the bench's writer (not the ring) waits for it.
//! Latency: 100,000 records a second, each stamped right before it is sent; the reader spins.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run must stop")]

#[path = "ring/measure.rs"]
mod measure;
#[path = "ring/ring.rs"]
mod ring;
#[path = "ring/rivals.rs"]
mod rivals;

use hdrhistogram::Histogram;

use measure::{ROLE, clock_cost, histogram, print_histogram, wall_ns};
use ring::{ring_latency, ring_latency_read, ring_read, ring_throughput};
use rivals::{mpsc_latency, mpsc_throughput, pipe_latency, pipe_read, pipe_throughput};

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
