//! Follows the rings of this host and prints each trade with its age. Built with the feature `ipc` alone it compiles
//! neither a runtime nor TLS:
//!
//! ```sh
//! cargo run --release --no-default-features --features ipc --example follow_ring
//! ```

#![allow(clippy::disallowed_methods, reason = "a program of its own reads its own clock")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_manager::source::{Event, IpcConfig, IpcSource, SourceError, TradeSource as _, Waiting};

fn main() -> Result<(), SourceError> {
    let mut source = IpcSource::open(&IpcConfig { wait: Waiting::Yield, ..IpcConfig::default() })?;
    loop {
        match source.next(Duration::from_secs(10))? {
            Some(Event::Trade(trade)) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let age = now.saturating_sub(Duration::from_nanos(trade.msg.ts_recv));
                let side = trade.msg.side().as_str();
                println!(
                    "{} {} {side} {} x {}, {age:?} old",
                    trade.exchange,
                    trade.symbol,
                    trade.price(),
                    trade.size()
                );
            }
            Some(other) => eprintln!("{other:?}"),
            None => eprintln!("nothing for ten seconds"),
        }
    }
}
