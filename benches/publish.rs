//! Records a second into a file-backed stream of a real nats-server, by each way to publish, in one run.
//!
//! `cargo bench --bench publish` measures; `-- --quick` only shows that everything works. It needs `make tools`.
//!
//! Every leg runs on a single-threaded runtime, with a client of its own and a fresh stream, and counts from its first
//! record to its last acknowledgement; then the stream must hold every record. Each round runs every leg, every other
//! round in the opposite order. A ratio compares two legs of one round, and the table shows the median of the ratios.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench that cannot run must stop")]

use std::time::{Duration, Instant};

use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Subject};
use bytes::Bytes;
use data_manager::market::trade::RECORD_BYTES;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesOrdered;
use support::Server;

#[path = "publish/ours.rs"]
mod ours;
#[path = "../tests/support/mod.rs"]
mod support;

const STREAM: &str = "BENCH";
const INSTRUMENTS: usize = 20;
/// What a server that hangs may cost; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to publish: connects to the URL, publishes so many records, and says how long that took.
struct Leg {
    name: &'static str,
    /// One of those whose fastest in a round is what the others are compared with.
    baseline: bool,
    /// It publishes so many times fewer records, because it is so slow.
    fewer: u64,
    /// Records a message, at most.
    pack: u64,
    run: fn(String, u64) -> LocalBoxFuture<'static, Duration>,
}

const LEGS: [Leg; 8] = [
    Leg {
        name: "async-nats, 256 acks in flight",
        baseline: true,
        fewer: 1,
        pack: 1,
        run: |url, n| Box::pin(window_256(url, n)),
    },
    Leg { name: "async-nats, 1024", baseline: true, fewer: 1, pack: 1, run: |url, n| Box::pin(window_1024(url, n)) },
    Leg { name: "async-nats, 4096", baseline: true, fewer: 1, pack: 1, run: |url, n| Box::pin(window_4096(url, n)) },
    Leg {
        name: "async-nats, 1024, message ids",
        baseline: false,
        fewer: 1,
        pack: 1,
        run: |url, n| Box::pin(windowed_with_ids(url, n, 1_024)),
    },
    Leg {
        name: "async-nats, each ack awaited",
        baseline: false,
        fewer: 20,
        pack: 1,
        run: |url, n| Box::pin(each(url, n)),
    },
    Leg {
        name: "data-manager",
        baseline: false,
        fewer: 1,
        pack: 1,
        run: |url, n| Box::pin(ours::publish(url, n, |_| {})),
    },
    Leg {
        name: "data-manager, without message ids",
        baseline: false,
        fewer: 1,
        pack: 1,
        run: |url, n| Box::pin(ours::publish(url, n, |nats| nats.message_ids = false)),
    },
    Leg {
        name: "data-manager, 16 records packed",
        baseline: false,
        fewer: 1,
        pack: 16,
        run: |url, n| Box::pin(ours::publish(url, n, |nats| nats.pack = 16)),
    },
];

async fn window_256(url: String, n: u64) -> Duration {
    windowed(url, n, 256).await
}

async fn window_1024(url: String, n: u64) -> Duration {
    windowed(url, n, 1_024).await
}

async fn window_4096(url: String, n: u64) -> Duration {
    windowed(url, n, 4_096).await
}

/// As the client's documentation has it: so many futures of acknowledgements in flight, awaited in order.
async fn windowed(url: String, n: u64, window: usize) -> Duration {
    let context = connect(&url).await;
    fresh_stream(&context).await;
    let subjects = subjects();
    let mut flight = FuturesOrdered::<<PublishAckFuture as IntoFuture>::IntoFuture>::new();
    let start = Instant::now();
    for (k, subject) in (0..n).zip(subjects.iter().cycle()) {
        if flight.len() == window {
            flight.next().await.unwrap().unwrap();
        }
        let ack = context.publish(subject.clone(), record(k)).await.unwrap();
        flight.push_back(ack.into_future());
    }
    while let Some(ack) = flight.next().await {
        ack.unwrap();
    }
    start.elapsed()
}

/// The same, each record with the id that the daemon gives it, so that the server's work is the same.
async fn windowed_with_ids(url: String, n: u64, window: usize) -> Duration {
    let context = connect(&url).await;
    fresh_stream(&context).await;
    let subjects = subjects();
    let mut flight = FuturesOrdered::<<PublishAckFuture as IntoFuture>::IntoFuture>::new();
    let start = Instant::now();
    for (k, subject) in (0..n).zip(subjects.iter().cycle()) {
        if flight.len() == window {
            flight.next().await.unwrap().unwrap();
        }
        let id = format!("{:08x}-{}-1700000000123", k % INSTRUMENTS as u64, 1_000_000_000 + k);
        let message = jetstream::message::PublishMessage::build().payload(record(k)).message_id(id);
        let ack = context.send_publish(subject.clone(), message).await.unwrap();
        flight.push_back(ack.into_future());
    }
    while let Some(ack) = flight.next().await {
        ack.unwrap();
    }
    start.elapsed()
}

/// One at a time.
async fn each(url: String, n: u64) -> Duration {
    let context = connect(&url).await;
    fresh_stream(&context).await;
    let subjects = subjects();
    let start = Instant::now();
    for (k, subject) in (0..n).zip(subjects.iter().cycle()) {
        context.publish(subject.clone(), record(k)).await.unwrap().await.unwrap();
    }
    start.elapsed()
}

async fn connect(url: &str) -> jetstream::Context {
    context(support::client(url).await)
}

fn context(client: Client) -> jetstream::Context {
    ContextBuilder::new().timeout(PATIENCE).max_ack_inflight(8_192).build(client)
}

/// The stream, empty, as the daemon would make it.
async fn fresh_stream(context: &jetstream::Context) {
    // It is not there in the first round.
    let _ = context.delete_stream(STREAM).await;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["market.*.*.trades".to_owned()],
        storage: stream::StorageType::File,
        allow_batch_publish: true,
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
}

fn subjects() -> Vec<Subject> {
    (0..INSTRUMENTS).map(|n| format!("market.binance.COIN{n}-USDT.trades").into()).collect()
}

fn record(k: u64) -> Bytes {
    let mut record = [0x5a; RECORD_BYTES];
    record[..8].copy_from_slice(&k.to_le_bytes());
    Bytes::copy_from_slice(&record)
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let (records, rounds) = if quick { (20_000, 1) } else { (200_000, 7) };
    let server = Server::start();
    let mut rates = vec![Vec::new(); LEGS.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..LEGS.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for leg in order {
            rates[leg].push(measure(&LEGS[leg], &server, records / LEGS[leg].fewer));
        }
    }
    println!("nats-server {}, file storage, one replica, {RECORD_BYTES}-byte records", version(&server));
    println!("{records} records a leg (fewer for slow ones), median of {rounds} rounds\n");
    table(&rates);
}

/// Records a second.
fn measure(leg: &Leg, server: &Server, records: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let took = runtime.block_on((leg.run)(server.url(), records));
    let stored = runtime.block_on(stored(&server.url()));
    let fewest = records.div_ceil(leg.pack);
    assert!((fewest..=records).contains(&stored), "{}: the stream does not hold what was published", leg.name);
    assert!(leg.pack > 1 || stored == records, "{}: {stored} of {records} are stored", leg.name);
    records as f64 / took.as_secs_f64()
}

async fn stored(url: &str) -> u64 {
    connect(url).await.get_stream(STREAM).await.unwrap().cached_info().state.messages
}

fn version(server: &Server) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { support::client(&server.url()).await.server_info().version })
}

fn table(rates: &[Vec<f64>]) {
    let rounds = rates[0].len();
    let fastest = |round: usize| {
        let windows = LEGS.iter().zip(rates).filter(|(leg, _)| leg.baseline);
        windows.map(|(_, rates)| rates[round]).fold(0.0, f64::max)
    };
    let best: Vec<f64> = (0..rounds).map(fastest).collect();
    println!("{:<34} {:>12} {:>14}", "", "records/s", "of async-nats");
    for (leg, rates) in LEGS.iter().zip(rates) {
        let ratios = rates.iter().zip(&best).map(|(rate, best)| rate / best).collect();
        println!("{:<34} {:>12.0} {:>13.2}x", leg.name, median(rates.clone()), median(ratios));
    }
    println!("{:<34} {:>12.0} {:>13.2}x", "async-nats, best of each round", median(best), 1.0);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
