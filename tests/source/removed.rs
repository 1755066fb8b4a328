//! What the stream removes before it is read, and streams and consumers that are made anew.

use std::time::{Duration, Instant};

use data_manager::config::Span;
use data_manager::source::{NatsConfig, NatsSource, TradeSource as _};

use crate::stream::Scene;
use crate::{DEADLINE, nothing, numbers, take};

/// Without a place on the server, and with one.
fn both(scene: &Scene) -> [NatsConfig; 2] {
    let durable = NatsConfig { durable: "reader".to_owned(), ack_wait: Span::millis(500), ..scene.config() };
    [scene.config(), durable]
}

/// Takes records until the loss is told: how many came before, and the words of it.
fn until_lost(source: &mut NatsSource) -> (Vec<String>, String) {
    let mut taken = Vec::new();
    loop {
        let next = take(source, 1).remove(0);
        if next.starts_with("Lost(") {
            return (taken, next);
        }
        taken.push(next);
    }
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
        let (taken, lost) = until_lost(&mut source);
        let last = 10 + taken.len() as u64;
        assert_eq!(taken, numbers("one BTCUSDT", 11..=last), "{at}");
        assert_eq!(lost, format!("Lost(Removed {{ instrument: None, first: {}, last: 5900 }})", last + 1), "{at}");
        assert_eq!(take(&mut source, 100), numbers("one BTCUSDT", 5_901..=6_000), "{at}");
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
        let (taken, lost) = until_lost(&mut source);
        let last = 10 + taken.len() as u64;
        assert_eq!(taken, numbers("one BTCUSDT", 11..=last), "{at}");
        let wanted =
            format!("Lost(Removed {{ instrument: Some((\"one\", \"BTCUSDT\")), first: {}, last: 5920 }})", last + 21);
        assert_eq!(lost, wanted, "{at}");
        let mut rest = numbers("one BTCUSDT", 5_901..=6_000);
        rest.extend(numbers("one ETHUSDT", 21..=30));
        assert_eq!(take(&mut source, 110), rest, "{at}");
        nothing(&mut source);
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
        scene.trades("one", "BTCUSDT", 1..=20);
        let mut source = NatsSource::open(&both(&scene)[at]).unwrap();
        assert_eq!(take(&mut source, 20).len(), 20);
        scene.renew();
        scene.trades("one", "BTCUSDT", 21..=25);
        let taken = take(&mut source, 6);
        assert!(taken[0].starts_with("error: stream MARKET_DATA was made anew"), "{at}: {taken:?}");
        assert_eq!(taken[1..], numbers("one BTCUSDT", 21..=25), "{at}");
        scene.trades("one", "BTCUSDT", [26]);
        assert_eq!(take(&mut source, 1), ["one BTCUSDT 26"], "{at}");
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
