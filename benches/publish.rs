//! Records a second into a file-backed stream of a real nats-server, by each way to publish, in one run.
//!
//! `cargo bench --bench publish` measures; `-- --quick` only shows that everything works. It needs `make tools`.
//!
//! Every leg runs on a single-threaded runtime, with a client of its own and a fresh stream, and counts from its first
//! record to its last acknowledgement; then the stream must hold every record. Each round runs every leg, every other
//! round in the opposite order. A ratio compares two legs of one round, and the table shows the median of the ratios.
//! A message id costs the server about a third of its rate, whoever sends it: only like is compared with like.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench that cannot run must stop")]

use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Subject};
use bytes::Bytes;
use data_manager::market::trade::RECORD_BYTES;
use futures_util::future::LocalBoxFuture;
use support::Server;

#[path = "publish/ours.rs"]
mod ours;
#[path = "publish/peers.rs"]
mod peers;
#[path = "../tests/support/mod.rs"]
mod support;

const STREAM: &str = "BENCH";
const INSTRUMENTS: usize = 20;
/// What a server that hangs may cost; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A leg that takes longer hangs.
const LEG_MAX: Duration = Duration::from_secs(300);

/// A way to publish: connects to the URL, publishes so many records, and says how long that took.
struct Leg {
    name: &'static str,
    /// Whether its messages carry a `Nats-Msg-Id`; only legs that agree in this are compared.
    ids: bool,
    /// One of those whose fastest in a round is what the others are compared with.
    baseline: bool,
    /// It publishes so many times fewer records, because it is so slow.
    fewer: u64,
    /// Records a message, at most.
    pack: u64,
    run: fn(String, u64) -> LocalBoxFuture<'static, Duration>,
}

impl Leg {
    /// async-nats with its futures in flight.
    const fn window(name: &'static str, ids: bool, run: fn(String, u64) -> LocalBoxFuture<'static, Duration>) -> Self {
        Self { name, ids, baseline: true, fewer: 1, pack: 1, run }
    }

    /// Another way.
    const fn other(name: &'static str, ids: bool, run: fn(String, u64) -> LocalBoxFuture<'static, Duration>) -> Self {
        Self { name, ids, baseline: false, fewer: 1, pack: 1, run }
    }

    const fn fewer(mut self, fewer: u64) -> Self {
        self.fewer = fewer;
        self
    }

    const fn packed(mut self, pack: u64) -> Self {
        self.pack = pack;
        self
    }
}

const LEGS: [Leg; 14] = [
    Leg::window("async-nats, 256 acks in flight", true, |url, n| Box::pin(peers::windowed(url, n, 256, true))),
    Leg::window("async-nats, 1024", true, |url, n| Box::pin(peers::windowed(url, n, 1_024, true))),
    Leg::window("async-nats, 4096", true, |url, n| Box::pin(peers::windowed(url, n, 4_096, true))),
    Leg::other("async-nats, each ack awaited", true, |url, n| Box::pin(peers::each(url, n, true))).fewer(20),
    Leg::other("data-manager, window 1000", true, |url, n| Box::pin(ours::publish(url, n, |_| {}))),
    Leg::other("data-manager, window 4000", true, |url, n| Box::pin(ours::publish(url, n, |nats| nats.window = 4_000))),
    Leg::other("data-manager, 16 records packed", true, |url, n| {
        Box::pin(ours::publish(url, n, |nats| nats.pack = 16))
    })
    .packed(16),
    Leg::window("async-nats, 256 acks in flight", false, |url, n| Box::pin(peers::windowed(url, n, 256, false))),
    Leg::window("async-nats, 1024", false, |url, n| Box::pin(peers::windowed(url, n, 1_024, false))),
    Leg::window("async-nats, 4096", false, |url, n| Box::pin(peers::windowed(url, n, 4_096, false))),
    Leg::other("async-nats, each ack awaited", false, |url, n| Box::pin(peers::each(url, n, false))).fewer(20),
    Leg::other("data-manager, window 1000", false, |url, n| {
        Box::pin(ours::publish(url, n, |nats| nats.message_ids = false))
    }),
    Leg::other("data-manager, window 4000", false, |url, n| {
        Box::pin(ours::publish(url, n, |nats| (nats.message_ids, nats.window) = (false, 4_000)))
    }),
    Leg::other("data-manager, 16 records packed", false, |url, n| {
        Box::pin(ours::publish(url, n, |nats| (nats.message_ids, nats.pack) = (false, 16)))
    })
    .packed(16),
];

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
        // The daemon publishes to no stream that would not take its gaps.
        subjects: vec!["market.*.*.trades".to_owned(), "market.*.*.gaps".to_owned()],
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
    let run = async { tokio::time::timeout(LEG_MAX, (leg.run)(server.url(), records)).await };
    let took = runtime.block_on(run).unwrap_or_else(|_| panic!("{}: no end within {LEG_MAX:?}", leg.name));
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

/// Each half of the legs beside the fastest window of its own half.
fn table(rates: &[Vec<f64>]) {
    for (ids, title) in [(true, "with message ids (the default)"), (false, "without message ids")] {
        let half: Vec<(&Leg, &Vec<f64>)> = LEGS.iter().zip(rates).filter(|(leg, _)| leg.ids == ids).collect();
        let fastest = |round: usize| {
            let windows = half.iter().filter(|(leg, _)| leg.baseline);
            windows.map(|(_, rates)| rates[round]).fold(0.0, f64::max)
        };
        let best: Vec<f64> = (0..rates[0].len()).map(fastest).collect();
        println!("{title:<34} {:>12} {:>14}", "records/s", "of async-nats");
        for (leg, rates) in &half {
            let ratios = rates.iter().zip(&best).map(|(rate, best)| rate / best).collect();
            println!("{:<34} {:>12.0} {:>13.2}x", leg.name, median((*rates).clone()), median(ratios));
        }
        println!("{:<34} {:>12.0} {:>13.2}x\n", "async-nats, best of each round", median(best), 1.0);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
