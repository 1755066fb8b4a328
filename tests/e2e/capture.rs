//! Recorded frames of real venues, replayed through the whole chain. They are read from the folder that `CAPTURES_DIR`
//! names and never become part of the project.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use data_manager::exchange;
use data_manager::market::Side;
use data_manager::sim::{Pace, Sim, SimConfig, SimError, Source};
use serde_json::Value;

use crate::daemon::Spec;
use crate::support::Server;
use crate::truth::{Found, Trade, Trades, in_rings, stored, wait_for_end};

/// Folder of recordings, exchange token, and how many trades the largest recording there has at least.
const RECORDED: [(&str, &str, usize); 2] = [("binance-spot", "binance", 9_757), ("coinbase", "coinbase", 1)];

#[tokio::test]
async fn recorded_trades_arrive_whole_in_stream_and_rings() {
    let Some(folder) = std::env::var_os("CAPTURES_DIR").map(PathBuf::from) else {
        eprintln!("CAPTURES_DIR is not set: no recorded frames are replayed");
        return;
    };
    for (venue, token, least) in RECORDED {
        let mut most = 0;
        for capture in captures(&folder.join(venue)) {
            most = most.max(replay(&capture, token).await);
        }
        assert!(most >= least, "{venue}: the largest recording has {most} trades, {least} were to be there");
    }
}

/// Recordings with expected trades beside them.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| expected_beside(path).is_some()).collect();
    found.sort();
    found
}

fn expected_beside(path: &Path) -> Option<PathBuf> {
    let name = path.to_str()?;
    let stem = name.trim_end_matches(".gz").strip_suffix("_trades.jsonl")?;
    let both = [format!("{stem}_trades.expected.jsonl.gz"), format!("{stem}_trades.expected.jsonl")];
    both.into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// Replays a recording; gives how many trades it has.
async fn replay(capture: &Path, token: &str) -> usize {
    let server = Server::start();
    let source = Source::Capture { path: capture.to_owned(), pace: Pace::Rate(5_000.0) };
    let sim = match Sim::spawn(SimConfig { source, ..SimConfig::of(&[token]) }) {
        Ok(sim) => sim,
        Err(SimError::Capture { message, .. }) if message.contains("no line is a trade") => {
            eprintln!("{}: of another channel than we subscribe: {message}", capture.display());
            return 0;
        }
        Err(error) => panic!("{error}"),
    };
    let (expected, unit) = expected(&expected_beside(capture).unwrap(), token);
    let count = expected.values().map(Vec::len).sum();
    let mut daemon = Spec::new(&sim).nats(&server.url()).start();
    wait_for_end(&mut daemon, &sim);
    daemon.wait(|daemon| (daemon.metric("published_trades_total") >= count as u64).then_some(()), "to publish");
    let compare = |what: &str, found: Found| {
        let found = whole(found, unit);
        let place = format!("{what} of {}", capture.display());
        found.assert_is(&expected, &place);
        assert_eq!(found.gaps, holes(&expected), "{place}: a gap for each hole in the ids, and no other");
    };
    compare("ring", in_rings(&daemon, &sim));
    daemon.drain();
    compare("stream", stored(&server.url()).await);
    eprintln!("{}: {count} trades", capture.display());
    count
}

/// A recording's history is part of it; times are cut to the unit in which they were noted.
fn whole(found: Found, unit: u64) -> Found {
    let mut trades = found.history;
    for (key, mut later) in found.trades {
        trades.entry(key).or_default().append(&mut later);
    }
    for trade in trades.values_mut().flatten() {
        trade.ts_event -= trade.ts_event % unit;
    }
    Found { trades, history: Trades::new(), ..found }
}

/// How often an id does not follow the one before it.
fn holes(trades: &Trades) -> u64 {
    let of = |trades: &Vec<Trade>| trades.windows(2).filter(|pair| pair[1].id != pair[0].id + 1).count();
    trades.values().map(of).sum::<usize>() as u64
}

/// The trades that a recording holds, as its author noted them, and the unit of their times in nanoseconds.
fn expected(path: &Path, token: &str) -> (Trades, u64) {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let venue = exchange::by_name(token).unwrap();
    let (mut all, mut unit) = (Trades::new(), 1);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let value: Value = serde_json::from_str(line).unwrap();
        let symbol = venue.canonical(value["symbol"].as_str().unwrap()).unwrap().to_string();
        let (key, scale) = [("ts_ns", 1), ("ts_us", 1_000), ("ts_ms", 1_000_000)]
            .into_iter()
            .find(|(key, _)| value[*key].is_u64())
            .unwrap_or_else(|| panic!("{line}: no time"));
        unit = unit.max(scale);
        let ts_event = value[key].as_u64().unwrap() * scale;
        all.entry((token.to_owned(), symbol)).or_default().push(trade(&value, ts_event));
    }
    (all, unit)
}

fn trade(value: &Value, ts_event: u64) -> Trade {
    let text = |key: &str| match &value[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let decimal = |key: &str| data_manager::market::Decimal::parse(&text(key)).unwrap().to_string();
    Trade {
        id: text("trade_id").parse().unwrap(),
        price: decimal("price"),
        size: decimal("size"),
        side: match text("side").as_str() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => Side::None,
        },
        ts_event,
    }
}
