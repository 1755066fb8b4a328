//! S rows: the ring in shared memory.

use std::time::{Duration, Instant};

use data_manager::transport::ipc::{Gone, Next, Reader, Reopened};

use crate::kit::{Setup, TWO, secs};
use crate::oracle::{Scope, Stored, judge};
use crate::report::Must;

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
    scene.settle();
    drain(&mut reader);
    // A torn record would be one that nobody issued.
    let torn = judge(&scene.sim, &read, Scope::ToLast).foreign;
    scene.row.must(torn == 0, format!("{torn} torn records"));
    scene.end(Must::Whole).await;
}
