//! Counts what the last five minutes of the stream hold, symbol by symbol, without keeping anything on the server:
//!
//! ```sh
//! cargo run --release --no-default-features --features nats --example replay_stream -- nats://localhost:4222
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use data_manager::source::{Event, NatsConfig, NatsSource, SourceError, TradeSource as _};

/// Trades, gaps, and how many trades are missing in these.
#[derive(Debug, Default)]
struct Count {
    trades: u64,
    gaps: u64,
    missing: u64,
}

fn main() -> Result<(), SourceError> {
    let servers: Vec<String> = std::env::args().skip(1).collect();
    let defaults = NatsConfig::default();
    let servers = if servers.is_empty() { defaults.servers.clone() } else { servers };
    let mut source = NatsSource::open(&NatsConfig { servers, start: "5m".to_owned(), ..defaults })?;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    // A second without anything: that was all.
    while let Some(event) = source.next(Duration::from_secs(1))? {
        match event {
            Event::Trade(trade) => {
                counts.entry(format!("{} {}", trade.exchange, trade.symbol)).or_default().trades += 1
            }
            Event::Gap(gap) => {
                let count = counts.entry(format!("{} {}", gap.exchange, gap.symbol)).or_default();
                count.gaps += 1;
                count.missing += gap.msg.missing;
            }
            other => eprintln!("{other:?}"),
        }
    }
    for (name, count) in counts {
        println!("{name}: {} trades, {} gaps, {} missing", count.trades, count.gaps, count.missing);
    }
    Ok(())
}
