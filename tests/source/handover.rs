//! What is stored, then the rings, where a writer does not last.

use std::time::Instant;

use data_manager::source::{HandoverSource, NatsConfig, TradeSource as _};
use tempfile::TempDir;

use crate::ring::{config, trades, write, writer};
use crate::stream::Scene;
use crate::{DEADLINE, WAIT, nothing, numbers, short, take};

#[test]
fn a_writer_that_is_followed_by_another_before_the_seam_costs_nothing() {
    let (scene, dir) = (Scene::start(), TempDir::new().unwrap());
    let mut first = writer(dir.path(), "one", 4_096);
    write(&mut first, trades("one", "BTCUSDT", 1..=10));
    scene.trades("one", "BTCUSDT", 1..=5);
    let mut source = HandoverSource::open(&config(&dir), &NatsConfig { ..scene.config() }).unwrap();
    assert_eq!(take(&mut source, 5), numbers("one BTCUSDT", 1..=5));
    // What the first has not stored the second finds at the venue.
    first.close();
    let mut second = writer(dir.path(), "one", 64);
    write(&mut second, trades("one", "BTCUSDT", 6..=500));
    scene.trades("one", "BTCUSDT", 6..=500);
    let mut taken = Vec::new();
    let begun = Instant::now();
    while !source.is_live() {
        taken.extend(source.next(WAIT).unwrap().map(|event| short(&event)));
        assert!(begun.elapsed() < DEADLINE, "the seam never came");
    }
    write(&mut second, trades("one", "BTCUSDT", 501..=510));
    let rest = 505 - taken.len();
    taken.extend(take(&mut source, rest));
    assert_eq!(taken, numbers("one BTCUSDT", 6..=510));
    nothing(&mut source);
}
