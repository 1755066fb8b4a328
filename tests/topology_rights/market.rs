//! market.toml: the daemon itself, and all of data-manager that reads, under the rights of that file.

use std::time::Duration;

use data_manager::sim::{Sim, SimConfig, Source};
use serde_json::Value;

use crate::daemon::Spec;
use crate::kit::{Ground, User, VERSIONS, succeeds, text};
use crate::truth::{STREAM, issued, stored_by, wait_for_end};

const TRADES: u64 = 1_500;

async fn everything_has_the_rights_that_it_needs(version: &str) {
    let ground = Ground::example("market", version);
    let config = SimConfig {
        source: Source::Generate { rate: 1_000.0 },
        limit: Some(TRADES),
        ..SimConfig::of(&["binance", "coinbase"])
    };
    let sim = Sim::spawn(config).unwrap();
    let mut spec = Spec::new(&sim).nats(&ground.server.url());
    for (key, value) in ground.settings("data-manager") {
        spec.set(key, &value);
    }
    // The file's own bounds are the defaults.
    let spec = spec.with("TRANSPORT__NATS__JETSTREAM__MAX_BYTES", "10GiB");
    let mut daemon = spec.with("TRANSPORT__NATS__JETSTREAM__MANAGE", "verify").start();
    wait_for_end(&mut daemon, &sim);
    let reader = ground.user("reader").await;
    for (bucket, key, field) in [("venue-status", "binance", "state"), ("instruments", "binance.BTCUSDT", "tick")] {
        let entry = async { told(&reader, bucket, key, field).await };
        reader.does(bucket, entry).await;
    }
    let log = daemon.drain();
    let loud: Vec<&str> = log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).collect();
    assert!(loud.is_empty(), "nats-server {version}: {loud:#?}");

    let expected = issued(&sim);
    let found = stored_by(&reader.client).await;
    found.assert_whole(&expected, "as the reader");
    let count = found.records.values().map(Vec::len).sum::<usize>();
    let args = ["tail", "--nats", "--since", "start", "--format", "json", "--count", &count.to_string()];
    let tail = succeeds(&mut ground.command("reader", &args));
    for ((exchange, symbol), trades) in &expected {
        let of = |line: &Value| line["exchange"] == **exchange && line["symbol"] == **symbol;
        let lines = tail.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told: Vec<(String, String)> = lines
            .filter(of)
            .map(|line| [&line["price"], &line["size"]].map(|value| value.as_str().unwrap().to_owned()).into())
            .collect();
        let sent: Vec<(String, String)> =
            trades.iter().map(|trade| (trade.price.clone(), trade.size.clone())).collect();
        // In front of the tape is what a venue sends as its history.
        let told = &told[told.len().saturating_sub(sent.len())..];
        assert_eq!(told, sent, "nats-server {version}: tail of {exchange} {symbol}");
    }
    succeeds(&mut ground.command("reader", &["tail", "--nats", "--since", "last", "--count", "1"]));
    succeeds(&mut ground.command("reader", &["verify", "--nats"]));
    let dir = tempfile::tempdir().unwrap();
    for only in [&["--format", "csv"][..], &["--exchange", "binance", "--format", "csv"]] {
        let folder = dir.path().join(only.len().to_string());
        let recorded = succeeds(ground.command("reader", &["record", "--nats", "-o"]).arg(&folder).args(only));
        assert!(std::fs::read_dir(&folder).unwrap().count() > 0, "{recorded}");
    }
    move_house(&ground).await;
    stored_by(&reader.client).await.assert_whole(&expected, "restored, as the reader");
    let log = ground.server.log();
    let violations: Vec<&str> = log.lines().filter(|line| line.contains("Violation")).collect();
    assert!(violations.is_empty(), "nats-server {version}: {violations:#?}");
}

/// Waits until an entry of a bucket has this field.
async fn told(reader: &User, bucket: &str, key: &str, field: &str) -> Result<(), String> {
    let store = reader.js().get_key_value(bucket).await.map_err(text)?;
    loop {
        let entry = store.get(key).await.map_err(text)?;
        let entry: Option<Value> = entry.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if entry.is_some_and(|entry| entry[field].is_string()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The stream is saved, deleted and brought back, by whoever has the work `admin`.
async fn move_house(ground: &Ground) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("market-data.backup");
    succeeds(ground.command("admin", &["topology", "backup", STREAM, "-o"]).arg(&file));
    let admin = ground.user("admin").await;
    admin.does("delete", async { admin.js().delete_stream(STREAM).await.map_err(text) }).await;
    succeeds(ground.command("admin", &["topology", "restore"]).arg(&file));
    succeeds(ground.command("monitor", &["topology", "check"]).arg(&ground.file));
}

#[tokio::test]
async fn everything_has_the_rights_that_it_needs_on_2_10() {
    everything_has_the_rights_that_it_needs(VERSIONS[0]).await;
}

#[tokio::test]
async fn everything_has_the_rights_that_it_needs_on_2_12() {
    everything_has_the_rights_that_it_needs(VERSIONS[1]).await;
}

#[tokio::test]
async fn everything_has_the_rights_that_it_needs_on_2_15() {
    everything_has_the_rights_that_it_needs(VERSIONS[2]).await;
}
