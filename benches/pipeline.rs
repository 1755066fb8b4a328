//! From a venue's socket to a stored message: trades a second flat out, and how late a consumer has them at a rate.
//!
//! `cargo bench --bench pipeline` measures; `-- --quick` only shows that everything works. It needs `make tools`.
//!
//! One leg is this project's binary, as it is run. The other is what one would write with the same libraries in an
//! afternoon: each frame as a JSON tree, numbers as floats, one message with an id a trade, acknowledgements awaited
//! as futures, 1,024 in flight. Venue, server, subscriptions and consumer are the same; both run as processes of their
//! own beside them. The afternoon's pipeline keeps no order, finds no gap, removes no double and has no ring.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench that cannot run must stop")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use data_manager::market::Record;
use data_manager::sim::{Sim, SimConfig, Source};
use data_manager::telemetry::clock;
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use support::Server;

#[path = "pipeline/afternoon.rs"]
mod afternoon;
#[path = "../tests/support/mod.rs"]
mod support;

const STREAM: &str = "MARKET_DATA";
/// Trades a second of the latency legs.
const RATE: f64 = 5_000.0;
/// What a leg that hangs may cost; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who publishes.
#[derive(Clone, Copy)]
enum Leg {
    Ours,
    Afternoon,
}

fn main() {
    if let Some(venue) = std::env::var_os(afternoon::CHILD) {
        return afternoon::run(venue.to_str().unwrap());
    }
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let (trades, rounds, timed) = if quick { (10_000, 1, 2_000) } else { (200_000, 5, 50_000) };
    let rounds: Vec<_> =
        (0..rounds).map(|_| (throughput(Leg::Ours, trades), throughput(Leg::Afternoon, trades))).collect();
    let of = |pick: fn(&(Run, Run)) -> f64| median(rounds.iter().map(pick).collect());
    println!("socket to stored, flat out, {trades} trades, median of {} rounds", rounds.len());
    println!("{:<28} {:>12} {:>8} {:>16} {:>8}", "", "trades/s", "ratio", "CPU µs a trade", "ratio");
    let line = |name: &str, rate: f64, ratio: f64, cpu: f64, less: f64| {
        println!("{name:<28} {rate:>12.0} {ratio:>7.2}x {cpu:>16.2} {less:>7.2}x");
    };
    let (faster, less) = (of(|(a, b)| a.rate / b.rate), of(|(a, b)| a.cpu / b.cpu));
    line("data-manager serve", of(|(a, _)| a.rate), faster, of(|(a, _)| a.cpu * 1e6), less);
    line("an afternoon's pipeline", of(|(_, b)| b.rate), 1.0, of(|(_, b)| b.cpu * 1e6), 1.0);
    println!("\nreceived by us to received by a consumer of the stream, {RATE} trades/s, {timed} trades");
    println!("{:<28} {:>10} {:>10} {:>10}", "", "p50", "p99", "p99.9");
    for (name, leg) in [("data-manager serve", Leg::Ours), ("an afternoon's pipeline", Leg::Afternoon)] {
        let late = latency(leg, timed);
        let at = |quantile| format!("{:.0} µs", late.value_at_quantile(quantile) as f64 / 1e3);
        println!("{name:<28} {:>10} {:>10} {:>10}", at(0.5), at(0.99), at(0.999));
    }
}

fn venue(rate: f64, limit: u64) -> Sim {
    let source = Source::Generate { rate };
    Sim::spawn(SimConfig { source, limit: Some(limit), history: 1_000, ..SimConfig::of(&["binance"]) }).unwrap()
}

/// The publisher, as a process. Killed when dropped.
struct Publisher(Child);

impl Publisher {
    fn start(leg: Leg, sim: &Sim, server: &Server) -> Self {
        let endpoint = sim.endpoint("binance").unwrap();
        let symbols = sim.symbols("binance").join(",");
        let mut command = match leg {
            Leg::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
                command.args([
                    "serve",
                    "--exchange",
                    "binance",
                    "--symbols",
                    &symbols,
                    "--nats",
                    &server.url(),
                    "--ipc",
                ]);
                command
            }
            Leg::Afternoon => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.env(afternoon::CHILD, &endpoint.ws_url).env(afternoon::SERVER, server.url());
                command.env(afternoon::SYMBOLS, &symbols);
                command
            }
        };
        let prefix = format!("/dm_bench_{}_", std::process::id());
        command
            .env("DATA_MANAGER__EXCHANGES__BINANCE__WS_URL", &endpoint.ws_url)
            .env("DATA_MANAGER__EXCHANGES__BINANCE__REST_URL", &endpoint.rest_url)
            .env("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", prefix)
            .env("DATA_MANAGER__TRANSPORT__NATS__JETSTREAM__MAX_BYTES", "4GiB")
            .env("DATA_MANAGER__HTTP__LISTEN", "")
            .env("DATA_MANAGER__LOG__LEVEL", "warn");
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Publisher {
    /// Processor time that it has used, seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // Fields 14 and 15, counted behind the name in brackets, in ticks of a hundredth of a second.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let prefix = format!("dm_bench_{}_", std::process::id());
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// What a run flat out came to.
struct Run {
    /// Trades a second, from the first that is stored to the last.
    rate: f64,
    /// Processor time of the publishing process, seconds a trade.
    cpu: f64,
}

fn throughput(leg: Leg, trades: u64) -> Run {
    let server = Server::start();
    on_a_thread(async {
        let stream = prepare(&server).await;
        let sim = venue(0.0, trades);
        let publisher = Publisher::start(leg, &sim, &server);
        let mut consumer = messages(&stream).await;
        let next = async |consumer: &mut Messages| tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
        next(&mut consumer).await.unwrap().unwrap();
        let start = Instant::now();
        for _ in 1..trades {
            next(&mut consumer).await.unwrap().unwrap();
        }
        Run { rate: (trades - 1) as f64 / start.elapsed().as_secs_f64(), cpu: publisher.cpu() / trades as f64 }
    })
}

/// From the receive time in the record to the consumer, nanoseconds.
fn latency(leg: Leg, trades: u64) -> Histogram<u64> {
    let server = Server::start();
    on_a_thread(async {
        let stream = prepare(&server).await;
        let sim = venue(RATE, trades);
        let _publisher = Publisher::start(leg, &sim, &server);
        let mut consumer = messages(&stream).await;
        let mut late = Histogram::new(3).unwrap();
        for n in 0..trades {
            let message = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().unwrap();
            let now = clock::wall_ns();
            let received = match Record::from_bytes(&message.payload) {
                Ok(Record::Trade(trade)) => trade.ts_recv,
                Ok(Record::Gap(gap)) => panic!("{gap:?}"),
                Err(_) => afternoon::received(&message.payload),
            };
            // The first tenth warms up.
            if n >= trades / 10 {
                late.record(now.saturating_sub(received)).unwrap();
            }
        }
        late
    })
}

type Messages = jetstream::consumer::pull::Ordered;

async fn messages(stream: &jetstream::stream::Stream) -> Messages {
    stream.create_consumer(OrderedConfig::default()).await.unwrap().messages().await.unwrap()
}

/// The stream as the daemon makes it, so that both legs store into the same.
async fn prepare(server: &Server) -> jetstream::stream::Stream {
    let context = jetstream::new(support::client(&server.url()).await);
    let settings = data_manager::config::settings::Nats::default();
    let mut config = data_manager::transport::nats::stream_manager::config(&settings, true);
    config.max_bytes = 4 << 30;
    assert_eq!(config.name, STREAM);
    context.create_stream(config).await.unwrap()
}

fn on_a_thread<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
