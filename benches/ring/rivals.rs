//! Records by way of what the ring is compared with: a Unix pipe to another process, a channel to another thread.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use data_manager::market::{Record, TradeMsg, trade};
use hdrhistogram::Histogram;

use crate::measure::{histogram, histogram_of, paced, record, record_with, start, trade_of, wall_ns};

const RECORD_BYTES: usize = trade::RECORD_BYTES;

pub(crate) fn pipe_throughput(records: u64, batch: usize) -> f64 {
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

pub(crate) fn pipe_read(mut each: impl FnMut(TradeMsg)) {
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

pub(crate) fn pipe_latency(samples: u64) -> Histogram<u64> {
    let mut reader = start("pipe-latency");
    let mut pipe = reader.stdin.take().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    paced(samples, |n| pipe.write_all(record_with(n, wall_ns()).as_bytes()).unwrap());
    drop(pipe);
    histogram_of(&mut reader)
}

pub(crate) fn mpsc_throughput(records: u64) -> f64 {
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

pub(crate) fn mpsc_latency(samples: u64) -> Histogram<u64> {
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
