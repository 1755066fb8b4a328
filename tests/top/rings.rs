//! A ring of a test's own, and the records that are written to it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use data_manager::market::instrument::instrument_id;
use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use data_manager::market::{Flags, GapMsg, Record, Side, Symbol, TradeMsg};
use data_manager::telemetry::clock;
use data_manager::transport::ipc::{DIRECTORY, Writer, WriterConfig};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A ring, removed where it is dropped.
pub(crate) struct Ring {
    pub(crate) prefix: String,
    pub(crate) writer: Option<Writer>,
    path: PathBuf,
}

/// A prefix that nobody else has.
pub(crate) fn prefix() -> String {
    format!("/dm_top_{}_{}_", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Ring {
    /// A ring of exchange `venue-a` with these symbols.
    pub(crate) fn new(symbols: &[&str], capacity: u64) -> Self {
        Self::at(&prefix(), symbols, capacity)
    }

    /// As [`Self::new`], with this prefix.
    pub(crate) fn at(prefix: &str, symbols: &[&str], capacity: u64) -> Self {
        let config = WriterConfig {
            directory: DIRECTORY.into(),
            path_prefix: prefix.to_owned(),
            exchange: "venue-a".to_owned(),
            capacity,
            ..WriterConfig::default()
        };
        let symbols: Vec<(u32, Symbol)> =
            symbols.iter().map(|name| (instrument_id("venue-a", name), Symbol::new(name).unwrap())).collect();
        let writer = Writer::create(&config, symbols.iter().map(|(id, symbol)| (*id, symbol))).unwrap();
        writer.heartbeat(clock::wall_ns());
        let path = writer.path().to_owned();
        Self { prefix: prefix.to_owned(), writer: Some(writer), path }
    }

    /// Writes records, and that it lives.
    pub(crate) fn write(&mut self, records: &[Record]) {
        let writer = self.writer.as_mut().unwrap();
        for record in records {
            writer.push(record);
        }
        writer.publish();
        writer.heartbeat(clock::wall_ns());
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        drop(self.writer.take());
        for path in [self.path.clone(), PathBuf::from(format!("{}.lock", self.path.display()))] {
            // A writer that closes leaves both behind; whoever has removed them already has done the same.
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(crate) fn trade(symbol: &str, price: i64, id: u64) -> Record {
    let now = clock::wall_ns();
    Record::Trade(TradeMsg {
        ts_event: now - 3_000_000,
        ts_recv: now,
        trade_id: id,
        price,
        size: 125,
        instrument_id: instrument_id("venue-a", symbol),
        price_scale: 2,
        size_scale: 4,
        flags: Flags::new(Side::Sell).bits(),
        kind: KIND_TRADE_V1,
    })
}

pub(crate) fn gap(symbol: &str, first_id: u64, last_id: u64) -> Record {
    Record::Gap(GapMsg {
        ts_start: 1,
        ts_end: 2,
        first_id,
        last_id,
        missing: last_id + 1 - first_id,
        instrument_id: instrument_id("venue-a", symbol),
        strength: 1,
        reason: 1,
        flags: 0,
        kind: KIND_GAP_V1,
    })
}
