//! Writer and reader together; here stands what the tests share.

mod files;
mod process;
mod rings;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{DIRECTORY, Writer, WriterConfig, segment_path};
use crate::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use crate::market::{GapMsg, Record, TradeMsg};

/// Shared memory where there is some: the tests then run on what runs in production.
fn directory() -> TempDir {
    let builder = |dir: &Path| tempfile::Builder::new().prefix("data-manager-test-").tempdir_in(dir);
    builder(Path::new(DIRECTORY)).or_else(|_| builder(&std::env::temp_dir())).unwrap()
}

fn config(directory: &Path, capacity: u64) -> WriterConfig {
    WriterConfig {
        directory: directory.to_owned(),
        path_prefix: "/test_".to_owned(),
        exchange: "binance".to_owned(),
        capacity,
        symbols_max: 4,
        mode: 0o640,
    }
}

fn path(directory: &Path) -> PathBuf {
    segment_path(directory, "/test_", "binance").unwrap()
}

fn create(directory: &Path, capacity: u64) -> Writer {
    Writer::create(&config(directory, capacity), []).unwrap()
}

/// Record `n` in whose every field `n` stands: a torn one cannot be equal to it.
fn trade(n: u64) -> Record {
    Record::Trade(TradeMsg {
        ts_event: n,
        ts_recv: !n,
        trade_id: n.wrapping_mul(3),
        price: -(n.cast_signed()),
        size: n ^ 0x5555_5555_5555_5555,
        instrument_id: (n & 0xffff_ffff) as u32,
        price_scale: (n % 19) as u8,
        size_scale: (n % 7) as u8,
        flags: (n & 0xff) as u8,
        kind: KIND_TRADE_V1,
    })
}

fn gap(n: u64) -> Record {
    Record::Gap(GapMsg {
        ts_start: n,
        ts_end: n + 1,
        first_id: 5,
        last_id: 9,
        missing: 5,
        instrument_id: 77,
        strength: 1,
        reason: 2,
        flags: 0,
        kind: KIND_GAP_V1,
    })
}
