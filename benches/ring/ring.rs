//! Records by way of the ring, to another process.

use std::path::Path;
use std::time::{Duration, Instant};

use data_manager::market::Record;
use data_manager::transport::ipc::{DIRECTORY, Next, Reader, Wait, Writer, WriterConfig, segment_path};
use hdrhistogram::Histogram;

use crate::measure::{histogram, histogram_of, paced, print_histogram, record, record_with, start, wall_ns};

const CAPACITY: u64 = 1 << 16;
const STEP: u64 = CAPACITY / 4;

pub(crate) fn ring_throughput(records: u64, batch: u64) -> f64 {
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
pub(crate) fn ring_read(directory: &Path) {
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

pub(crate) fn ring_latency(samples: u64) -> Histogram<u64> {
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

pub(crate) fn ring_latency_read(directory: &Path) {
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
