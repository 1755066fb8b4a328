//! The same hundred thousand trades, read in four ways: the ring and the stream in Rust, by the Python client and by
//! the C client. All of them get the same bytes.
//!
//! It needs what `make test-python` and `make tools` install, and is run by the former.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]
#![allow(clippy::disallowed_methods, reason = "tests have deadlines")]

#[path = "../support/daemon.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod daemon;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data_manager::market::trade::RECORD_BYTES;
use data_manager::market::{Record, TradeMsg};
use data_manager::sim::{Sim, SimConfig, Source};
use data_manager::source::{Begin, Event, IpcConfig, IpcSource, NatsConfig, NatsSource, TradeSource};

use crate::daemon::{DEADLINE, Spec};
use crate::support::Server;

const TRADES: usize = 100_000;
const EXCHANGE: &str = "binance";

#[test]
fn a_hundred_thousand_trades_are_the_same_in_four_ways() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Server::start();
    let sim = SimConfig {
        source: Source::Generate { rate: 20_000.0 },
        limit: Some(TRADES as u64),
        ..SimConfig::of(&[EXCHANGE])
    };
    let sim = runtime.block_on(async { Sim::spawn(sim).unwrap() });
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    let all = |daemon: &mut daemon::Daemon| (daemon.metric("published_trades_total") >= TRADES as u64).then_some(());
    daemon.wait(all, "to publish all of them");

    let segment = daemon.segment(EXCHANGE);
    let name = segment.file_name().unwrap().to_str().unwrap();
    let prefix = format!("/{}", name.strip_suffix(EXCHANGE).unwrap());
    let mut ring = IpcSource::open(&IpcConfig {
        exchanges: vec![EXCHANGE.to_owned()],
        shm_path_prefix: prefix.clone(),
        begin: Begin::Oldest,
        ..IpcConfig::default()
    })
    .unwrap();
    let ring = read(&mut ring);
    let servers = vec![server.url()];
    let mut stream =
        NatsSource::open(&NatsConfig { servers, start: "all".to_owned(), ..NatsConfig::default() }).unwrap();
    let stream = read(&mut stream);
    assert_eq!(by_instrument(&ring), by_instrument(&stream), "ring and stream differ");

    let count = TRADES.to_string();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dump = compiled(root);
    let in_c = output(Command::new(&dump).args(["--raw", "--oldest", "--count", &count]).arg(&segment));
    assert!(in_c == ring, "the C client read something else from the ring");

    let python = root.join(".tools/python/bin/python");
    let client = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.args(["-m", "data_manager_client", "--format", "raw", "--since", "oldest", "--count", &count]);
        output(command.args(arguments).current_dir(root.join("clients/python/src")))
    };
    assert!(client(&["--ipc", EXCHANGE, "--prefix", &prefix]) == ring, "Python read something else from the ring");
    assert!(client(&["--nats", &server.url()]) == stream, "Python read something else from the stream");
    daemon.drain();
}

/// All the trades that a source has, as they are on the wire.
fn read(source: &mut impl TradeSource) -> Vec<u8> {
    let begun = Instant::now();
    let mut bytes = Vec::with_capacity(TRADES * RECORD_BYTES);
    while bytes.len() < TRADES * RECORD_BYTES {
        assert!(begun.elapsed() < DEADLINE, "{} bytes were read", bytes.len());
        match source.next(Duration::from_millis(100)).unwrap() {
            Some(Event::Trade(trade)) => bytes.extend(trade.msg.as_bytes()),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    assert!(source.next(Duration::from_millis(300)).unwrap().is_none(), "there are more");
    bytes
}

fn by_instrument(bytes: &[u8]) -> BTreeMap<u32, Vec<TradeMsg>> {
    let mut found = BTreeMap::<u32, Vec<TradeMsg>>::new();
    for record in bytes.chunks_exact(RECORD_BYTES) {
        let Record::Trade(trade) = Record::from_bytes(record).unwrap() else { panic!("no trade") };
        found.entry(trade.instrument_id).or_default().push(trade);
    }
    found
}

/// The C client's example.
fn compiled(root: &Path) -> std::path::PathBuf {
    let folder = root.join("clients/c");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dump");
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(&folder).arg("-o").arg(&target);
    output(command.arg(folder.join("examples/dump.c")));
    target
}

fn output(command: &mut Command) -> Vec<u8> {
    let started = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let done = started.unwrap_or_else(|error| panic!("{command:?}: {error}; `make test-python` installs it"));
    assert!(done.status.success(), "{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    done.stdout
}
