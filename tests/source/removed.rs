//! What the stream removes before it is read, and streams and consumers that are made anew.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use data_manager::config::Span;
use data_manager::source::{Event, Lost, NatsConfig, NatsSource, Place, TradeSource as _};

use crate::stream::Scene;
use crate::{DEADLINE, WAIT, nothing, numbers, take};

/// Without a place on the server, and with one.
fn both(scene: &Scene) -> [NatsConfig; 2] {
    let durable = NatsConfig { durable: "reader".to_owned(), ack_wait: Span::millis(500), ..scene.config() };
    [scene.config(), durable]
}

/// What came of the sequences from `first` on until `last` came: each was handed out, or is in a range that was told.
/// A server may remove in several goes; each is told where it is missing.
fn account(source: &mut NatsSource, instrument: &str, first: u64, last: u64) -> u64 {
    let (mut next, mut lost) = (first, 0);
    while next <= last {
        match source.next(WAIT).unwrap() {
            Some(Event::Trade(trade)) => {
                let Place::Stream { sequence, .. } = trade.place else { panic!("{:?}", trade.place) };
                assert_eq!(sequence, next);
                next += 1;
            }
            Some(Event::Lost(Lost::Removed { instrument: of, first, last })) => {
                assert_eq!((of.map_or("", |of| of.1), first), (instrument, next));
                lost += last + 1 - first;
                next = last + 1;
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    lost
}

#[test]
fn what_the_streams_own_limits_remove_is_told_where_it_is_missing() {
    for at in 0..2 {
        let scene = Scene::start();
        scene.trades("one", "BTCUSDT", 1..=6_000);
        let mut source = NatsSource::open(&both(&scene)[at]).unwrap();
        assert_eq!(take(&mut source, 10), numbers("one BTCUSDT", 1..=10));
        // More than is on its way to the reader.
        scene.limit(|config| config.max_messages = 100);
        assert!(account(&mut source, "", 11, 6_000) > 2_000, "{at}");
        nothing(&mut source);
    }
}

#[test]
fn what_the_limit_of_a_busy_subject_removes_is_told_and_nothing_of_quiet_ones() {
    for at in 0..2 {
        let scene = Scene::start();
        // The first and the last of the stream stay.
        scene.trades("one", "ETHUSDT", 1..=20);
        scene.trades("one", "BTCUSDT", 1..=6_000);
        scene.trades("one", "ETHUSDT", 21..=30);
        let mut source = NatsSource::open(&both(&scene)[at]).unwrap();
        assert_eq!(take(&mut source, 30).len(), 30);
        scene.limit(|config| config.max_messages_per_subject = 100);
        assert!(account(&mut source, "BTCUSDT", 31, 6_030) > 2_000, "{at}");
        nothing(&mut source);
    }
}

#[test]
fn what_the_limit_of_a_subject_removed_while_nobody_read_is_told() {
    let scene = Scene::start();
    scene.trades("one", "ETHUSDT", 1..=20);
    scene.trades("one", "BTCUSDT", 1..=2_900);
    // As many as one can have, and no more than it ever had.
    scene.trades("one", "SOLUSDT", 1..=100);
    let [ordered, durable] = both(&scene);
    let mut source = NatsSource::open(&durable).unwrap();
    assert_eq!(take(&mut source, 50).len(), 50);
    source.commit().unwrap();
    drop(source);
    scene.limit(|config| config.max_messages_per_subject = 101);
    scene.until_left(20 + 101 + 100);
    let kept = NatsConfig { after: Some(50), auto_commit: false, ..durable };
    for config in [NatsConfig { after: Some(50), ..ordered }, kept] {
        let mut source = NatsSource::open(&config).unwrap();
        assert_eq!(account(&mut source, "BTCUSDT", 51, 3_020), 2_769, "{config:?}");
        nothing(&mut source);
    }
}

#[test]
fn a_reader_of_a_quiet_symbol_hears_nothing_of_what_others_lose() {
    for at in 0..2 {
        let scene = Scene::start();
        scene.limit(|config| config.max_messages = 50);
        scene.trades("one", "ETHUSDT", [1]);
        let quiet = NatsConfig { symbols: vec!["ETHUSDT".to_owned()], ..both(&scene)[at].clone() };
        let mut source = NatsSource::open(&quiet).unwrap();
        assert_eq!(take(&mut source, 1), ["one ETHUSDT 1"]);
        // Longer than a caller may be away.
        for round in 0..7 {
            scene.trades("one", "BTCUSDT", round * 50..round * 50 + 50);
            assert_eq!(source.next(Duration::from_secs(1)).unwrap(), None);
        }
        scene.trades("one", "ETHUSDT", [2]);
        assert_eq!(take(&mut source, 1), ["one ETHUSDT 2"], "{at}");
    }
}

#[test]
fn what_was_removed_while_nobody_read_is_told_to_whoever_goes_on() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=50);
    let [ordered, durable] = both(&scene);
    let mut source = NatsSource::open(&durable).unwrap();
    assert_eq!(take(&mut source, 20).len(), 20);
    source.commit().unwrap();
    drop(source);
    scene.limit(|config| config.max_messages = 10);
    let lost = "Lost(Removed { instrument: None, first: 21, last: 40 })";
    let kept = NatsConfig { after: Some(20), auto_commit: false, ..durable.clone() };
    for config in [NatsConfig { after: Some(20), ..ordered }, kept] {
        let mut source = NatsSource::open(&config).unwrap();
        let taken = take(&mut source, 11);
        assert_eq!((taken[0].as_str(), &taken[1..]), (lost, &numbers("one BTCUSDT", 41..=50)[..]), "{config:?}");
        nothing(&mut source);
    }
    // The server takes for dealt with what it has removed: who keeps no place of his own hears nothing of it.
    let mut source = NatsSource::open(&durable).unwrap();
    assert_eq!(take(&mut source, 10), numbers("one BTCUSDT", 41..=50));
}

#[test]
fn a_consumer_that_is_removed_while_it_is_read_costs_nothing() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=2_000);
    let [_, durable] = both(&scene);
    let mut source = NatsSource::open(&durable).unwrap();
    let mut taken = take(&mut source, 700);
    for round in 0..2 {
        // Where it is gone still, the reader has not made it anew yet.
        while !scene.run(async {
            let stream = scene.context.get_stream("MARKET_DATA").await.unwrap();
            stream.delete_consumer("reader").await.is_ok()
        }) {
            nothing(&mut source);
        }
        scene.trades("one", "BTCUSDT", 2_001 + round * 10..=2_010 + round * 10);
        let rest = usize::try_from(2_010 + round * 10).unwrap() - taken.len();
        taken.extend(take(&mut source, rest));
    }
    assert_eq!(taken, numbers("one BTCUSDT", 1..=2_020));
    nothing(&mut source);
    // It is acknowledged at the new one as well.
    source.commit().unwrap();
    drop(source);
    nothing(&mut NatsSource::open(&durable).unwrap());
}

#[test]
fn a_stream_that_is_made_anew_is_told_and_read_from_its_beginning() {
    for at in 0..2 {
        let scene = Scene::start();
        scene.trades("one", "BTCUSDT", 1..=200);
        let few = NatsConfig { max_ack_pending: 20, ack_every: 5, ..both(&scene)[at].clone() };
        let mut source = NatsSource::open(&few).unwrap();
        assert_eq!(take(&mut source, 200).len(), 200);
        scene.renew();
        scene.trades("one", "BTCUSDT", 201..=205);
        let taken = take(&mut source, 6);
        assert!(taken[0].starts_with("error: stream MARKET_DATA was made anew"), "{at}: {taken:?}");
        assert_eq!(taken[1..], numbers("one BTCUSDT", 201..=205), "{at}");
        // Acknowledged as well: otherwise the server would bring no more than may wait.
        scene.trades("one", "BTCUSDT", 206..=300);
        assert_eq!(take(&mut source, 95), numbers("one BTCUSDT", 206..=300), "{at}");
    }
}

#[test]
fn a_stream_that_has_lost_its_end_is_told_and_read_on_from_there() {
    for at in 0..2 {
        let mut scene = Scene::start();
        scene.trades("one", "BTCUSDT", 1..=20);
        let (store, copy) = (scene.server.store(), tempfile::TempDir::new().unwrap());
        let copied = |from: &Path, to: &Path| {
            let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
            assert!(status.success());
        };
        scene.server.terminate();
        copied(&store, copy.path());
        scene.server.restart();
        scene.again(21..=30);
        let mut source = NatsSource::open(&both(&scene)[at]).unwrap();
        assert_eq!(take(&mut source, 30), numbers("one BTCUSDT", 1..=30));
        // A disk that had promised more than it held.
        scene.server.kill9();
        std::fs::remove_dir_all(&store).unwrap();
        std::fs::create_dir_all(&store).unwrap();
        copied(copy.path(), &store);
        scene.server.restart();
        scene.again(101..=105);
        let taken = take(&mut source, 6);
        assert!(taken[0].contains("has lost its end") && taken[0].contains("from sequence 21"), "{at}: {taken:?}");
        assert_eq!(taken[1..], numbers("one BTCUSDT", 101..=105), "{at}");
        scene.again([106]);
        assert_eq!(take(&mut source, 1), ["one BTCUSDT 106"], "{at}");
    }
}

#[test]
fn what_is_dealt_with_is_acknowledged_while_nothing_comes() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=5);
    let [_, durable] = both(&scene);
    let often = NatsConfig { ack_interval: Span::millis(50), ack_wait: Span::millis(60_000), ..durable };
    let mut source = NatsSource::open(&often).unwrap();
    assert_eq!(take(&mut source, 5).len(), 5);
    assert!(source.next(Duration::from_secs(1)).unwrap().is_none());
    let begun = Instant::now();
    let floor = || {
        scene.run(async {
            let stream = scene.context.get_stream("MARKET_DATA").await.unwrap();
            stream.consumer_info("reader").await.unwrap().ack_floor.stream_sequence
        })
    };
    // It was sent; the server may take its time.
    while floor() < 5 {
        assert!(begun.elapsed() < DEADLINE, "the last ones are not acknowledged");
    }
}
