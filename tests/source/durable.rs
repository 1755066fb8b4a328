//! The stream by a durable consumer: processes that are killed, acknowledgements that are late or never come.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data_manager::config::Span;
use data_manager::source::{Event, NatsConfig, NatsSource, Place, TradeSource as _};
use tempfile::TempDir;

use crate::stream::Scene;
use crate::{DEADLINE, WAIT, nothing, numbers, refused, take, trade};

/// Tells a test that it is the process to be killed: the server, and the file that it writes.
const CHILD: &str = "DATA_MANAGER_TEST_SOURCE_CHILD";

fn durable(scene: &Scene) -> NatsConfig {
    NatsConfig { durable: "reader".to_owned(), ack_wait: Span::millis(500), ..scene.config() }
}

#[test]
fn it_goes_on_where_it_was() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=20);
    let mut source = NatsSource::open(&durable(&scene)).unwrap();
    assert_eq!(take(&mut source, 8), numbers("one BTCUSDT", 1..=8));
    source.commit().unwrap();
    drop(source);
    // Whatever is asked for of its beginning: it has begun.
    let later = NatsConfig { start: "new".to_owned(), ..durable(&scene) };
    let mut source = NatsSource::open(&later).unwrap();
    assert_eq!(take(&mut source, 12), numbers("one BTCUSDT", 9..=20));
    nothing(&mut source);
}

#[test]
fn what_is_not_acknowledged_comes_once_all_the_same() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=30);
    let config = NatsConfig { auto_commit: false, ack_wait: Span::millis(100), ..durable(&scene) };
    let mut source = NatsSource::open(&config).unwrap();
    assert_eq!(take(&mut source, 30), numbers("one BTCUSDT", 1..=30));
    // All of it is delivered again, more than once.
    for _ in 0..5 {
        nothing(&mut source);
    }
    scene.trades("one", "BTCUSDT", 31..=40);
    assert_eq!(take(&mut source, 10), numbers("one BTCUSDT", 31..=40));
    source.commit().unwrap();
    nothing(&mut source);
    drop(source);
    let mut source = NatsSource::open(&config).unwrap();
    nothing(&mut source);
}

#[test]
fn more_than_may_be_pending_flows_where_it_is_acknowledged() {
    let scene = Scene::start();
    for chunk in 0..40 {
        let records: Vec<_> = (chunk * 50..chunk * 50 + 50).map(|id| trade("one", "BTCUSDT", id)).collect();
        scene.store_packed("one", "BTCUSDT", &records);
    }
    scene.trades("one", "BTCUSDT", 2_000..2_300);
    let config = NatsConfig { max_ack_pending: 20, ack_every: 5, ..durable(&scene) };
    let mut source = NatsSource::open(&config).unwrap();
    assert_eq!(take(&mut source, 2_300), numbers("one BTCUSDT", 0..2_300));
}

#[test]
fn a_message_that_was_begun_comes_again_as_a_whole() {
    let scene = Scene::start();
    let records: Vec<_> = (1..=5).map(|id| trade("one", "BTCUSDT", id)).collect();
    scene.store_packed("one", "BTCUSDT", &records);
    scene.trades("one", "BTCUSDT", 6..=7);
    let mut source = NatsSource::open(&durable(&scene)).unwrap();
    assert_eq!(take(&mut source, 3), numbers("one BTCUSDT", 1..=3));
    source.commit().unwrap();
    drop(source);
    let mut source = NatsSource::open(&durable(&scene)).unwrap();
    assert_eq!(take(&mut source, 7), numbers("one BTCUSDT", 1..=7));
}

#[test]
fn another_reader_of_the_same_name_is_not_confused_with_it() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=5);
    let mut source = NatsSource::open(&durable(&scene)).unwrap();
    assert_eq!(take(&mut source, 5).len(), 5);
    source.commit().unwrap();
    let other = NatsConfig { symbols: vec!["ETHUSDT".to_owned()], ..durable(&scene) };
    let text = refused(NatsSource::open(&other));
    assert!(text.contains("consumer reader") && text.contains("ETHUSDT") && text.contains("another name"), "{text}");
}

#[test]
fn what_comes_again_of_packed_messages_says_where_each_ends() {
    let scene = Scene::start();
    for message in 0..4 {
        let records: Vec<_> = (1..=3).map(|id| trade("one", "BTCUSDT", message * 3 + id)).collect();
        scene.store_packed("one", "BTCUSDT", &records);
    }
    let mut source = NatsSource::open(&durable(&scene)).unwrap();
    assert_eq!(take(&mut source, 12).len(), 12);
    source.commit().unwrap();
    drop(source);
    let mut source = NatsSource::open(&NatsConfig { after: Some(1), ..durable(&scene) }).unwrap();
    let mut places = Vec::new();
    while places.len() < 9 {
        if let Some(Event::Trade(trade)) = source.next(WAIT).unwrap() {
            let Place::Stream { sequence, whole } = trade.place else { panic!("{:?}", trade.place) };
            places.push((sequence, whole));
        }
    }
    let wanted: Vec<_> =
        (2..=4).flat_map(|sequence| [(sequence, false), (sequence, false), (sequence, true)]).collect();
    assert_eq!(places, wanted);
    nothing(&mut source);
}

#[test]
fn what_was_acknowledged_and_not_dealt_with_comes_again() {
    let scene = Scene::start();
    scene.trades("one", "BTCUSDT", 1..=5);
    scene.trades("two", "BTCUSDT", 1..=5);
    scene.trades("one", "BTCUSDT", 6..=10);
    let mut source = NatsSource::open(&durable(&scene)).unwrap();
    assert_eq!(take(&mut source, 13).len(), 13);
    source.commit().unwrap();
    scene.trades("one", "BTCUSDT", 11..=15);
    drop(source);
    let mut source = NatsSource::open(&NatsConfig { after: Some(2), ..durable(&scene) }).unwrap();
    let mut wanted = numbers("one BTCUSDT", 3..=5);
    wanted.extend(numbers("two BTCUSDT", 1..=5));
    wanted.extend(numbers("one BTCUSDT", 6..=15));
    assert_eq!(take(&mut source, 18), wanted);
    nothing(&mut source);
}

#[test]
fn a_reader_killed_ten_times_misses_and_repeats_nothing() {
    if let Some(child) = std::env::var_os(CHILD) {
        let child = child.into_string().unwrap();
        let (url, path) = child.split_once(' ').unwrap();
        return read_for_ever(url, Path::new(path));
    }
    const TRADES: u64 = 4_000;
    let scene = Scene::start();
    scene.trades("other", "BTCUSDT", 1..=10);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("seen");
    File::create(&path).unwrap();
    let mut stored = 0;
    for round in 1..=11 {
        let child = format!("{} {}", scene.server.url(), path.display());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["durable::a_reader_killed_ten_times_misses_and_repeats_nothing", "--exact", "--nocapture"])
            .env(CHILD, child)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // While it reads, there is more.
        while stored < TRADES * round / 11 {
            scene.trades("one", "BTCUSDT", stored + 1..=stored + 20);
            stored += 20;
        }
        let begun = Instant::now();
        let wanted = if round == 11 { stored } else { stored - 30 };
        while (lines(&path).len() as u64) < wanted {
            assert!(begun.elapsed() < DEADLINE, "round {round}: {} of {wanted}", lines(&path).len());
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let seen: Vec<String> = lines(&path).iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(seen, numbers("one BTCUSDT", 1..=stored));
}

/// A strategy as small as can be: what it makes of a trade and how far it is are kept together.
fn read_for_ever(url: &str, path: &Path) {
    let after = lines(path).last().map(|line| line.split(' ').next().unwrap().parse().unwrap());
    let mut kept = OpenOptions::new().append(true).open(path).unwrap();
    let mut source = NatsSource::open(&NatsConfig {
        servers: vec![url.to_owned()],
        durable: "killed".to_owned(),
        exchanges: vec!["one".to_owned()],
        start: "all".to_owned(),
        ack_wait: Span::millis(500),
        ack_every: 50,
        after,
        ..NatsConfig::default()
    })
    .unwrap();
    loop {
        if let Some(Event::Trade(trade)) = source.next(WAIT).unwrap() {
            let Place::Stream { sequence, whole: true } = trade.place else { panic!("{:?}", trade.place) };
            // One write: a line is there whole or not at all.
            let line = format!("{sequence} {} {} {}\n", trade.exchange, trade.symbol, trade.msg.trade_id);
            kept.write_all(line.as_bytes()).unwrap();
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}
