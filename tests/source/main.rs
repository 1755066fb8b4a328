//! Reading it back through `source`: real rings, a real nats-server, processes that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]
#![allow(clippy::disallowed_methods, reason = "tests have deadlines")]

mod durable;
mod handover;
mod removed;
mod ring;
mod stream;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use data_manager::market::instrument::instrument_id;
use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use data_manager::market::{GapMsg, Record, TradeMsg};
use data_manager::source::{Event, SourceError, TradeSource};

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);
/// As long as a source waits at a time.
const WAIT: Duration = Duration::from_millis(50);

/// The `n`th trade of a symbol.
fn trade(exchange: &str, symbol: &str, n: u64) -> Record {
    Record::Trade(TradeMsg {
        ts_event: 1_700_000_000_000_000_000 + n * 1_000_000,
        ts_recv: 1_700_000_000_000_100_000 + n * 1_000_000,
        trade_id: n,
        price: 10_000 + i64::try_from(n).unwrap(),
        price_scale: 2,
        size: 1 + n,
        instrument_id: instrument_id(exchange, symbol),
        kind: KIND_TRADE_V1,
        ..bytemuck::Zeroable::zeroed()
    })
}

fn gap(exchange: &str, symbol: &str, first: u64, last: u64) -> Record {
    Record::Gap(GapMsg {
        first_id: first,
        last_id: last,
        missing: last - first + 1,
        instrument_id: instrument_id(exchange, symbol),
        kind: KIND_GAP_V1,
        ..bytemuck::Zeroable::zeroed()
    })
}

/// What an event says, in short: `binance BTCUSDT 7`, `binance BTCUSDT gap 3-4`, or its own words.
fn short(event: &Event<'_>) -> String {
    match event {
        Event::Trade(trade) => format!("{} {} {}", trade.exchange, trade.symbol, trade.msg.trade_id),
        Event::Gap(gap) => format!("{} {} gap {}-{}", gap.exchange, gap.symbol, gap.msg.first_id, gap.msg.last_id),
        other => format!("{other:?}"),
    }
}

/// The next events, errors among them, until there are so many; fails where nothing comes.
fn take(source: &mut (impl TradeSource + ?Sized), count: usize) -> Vec<String> {
    let begun = Instant::now();
    let mut taken = Vec::new();
    while taken.len() < count {
        match source.next(WAIT) {
            Ok(Some(event)) => taken.push(short(&event)),
            Ok(None) => assert!(begun.elapsed() < DEADLINE, "nothing more came behind {taken:?}"),
            Err(error) => taken.push(format!("error: {error}")),
        }
    }
    taken
}

/// Fails where something comes.
fn nothing(source: &mut (impl TradeSource + ?Sized)) {
    let next = source.next(4 * WAIT).unwrap();
    assert!(next.is_none(), "{next:?}");
}

/// What a source says that cannot be opened.
fn refused<T>(source: Result<T, SourceError>) -> String {
    match source {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

fn numbers(name: &str, ids: impl IntoIterator<Item = u64>) -> Vec<String> {
    ids.into_iter().map(|id| format!("{name} {id}")).collect()
}
