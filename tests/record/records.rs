//! Records at the ends of what there can be, and folders of recordings.

use std::path::Path;

use async_nats::jetstream;
use data_manager::market::instrument::instrument_id;
use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use data_manager::market::{GapMsg, Record, TradeMsg};

use crate::kit::{EXCHANGE, SYMBOL, Scene, gap, trade};
use crate::process::{Done, run_with};
use crate::support::client;

/// Settings of the replayed stream: it is to fit beside the first one.
pub(crate) const ENV: [(&str, &str); 1] = [("DATA_MANAGER__TRANSPORT__NATS__JETSTREAM__MAX_BYTES", "1GiB")];

/// Trades and gaps with every flag, and with the least and the most that each field holds.
pub(crate) fn extremes() -> Vec<Record> {
    let mut all: Vec<Record> =
        (0..=u8::MAX).map(|flags| Record::Trade(TradeMsg { flags, ..trade(u64::from(flags) + 1) })).collect();
    let mantissas = [(i64::MIN, u64::MAX), (i64::MAX, u64::MAX - 1), (-1, 1), (0, 0), (100, 1_000)];
    for (at, (price, size)) in (1_000..).zip(mantissas) {
        for scale in [0, 5, 18, u8::MAX] {
            let id = at * 1_000 + u64::from(scale);
            all.push(Record::Trade(TradeMsg { price, size, price_scale: scale, size_scale: scale, ..trade(id) }));
        }
    }
    let instrument_id = instrument_id(EXCHANGE, SYMBOL);
    for (ts, id) in [(0, 0), (u64::MAX, u64::MAX), (1 << 63, 1 << 63)] {
        let kind = KIND_TRADE_V1;
        let (ts_event, ts_recv, trade_id) = (ts, ts, id);
        all.push(Record::Trade(TradeMsg { ts_event, ts_recv, trade_id, instrument_id, kind, ..trade(1) }));
    }
    all.push(gap(5, 9, true));
    for byte in [0, 3, 200, u8::MAX] {
        let value = u64::from(byte) << 56;
        all.push(Record::Gap(GapMsg {
            ts_start: value,
            ts_end: !value,
            first_id: value,
            last_id: !value,
            missing: value,
            instrument_id,
            strength: byte,
            reason: byte,
            flags: byte,
            kind: KIND_GAP_V1,
        }));
    }
    all
}

/// Records the stream of a scene.
#[track_caller]
pub(crate) fn record(scene: &Scene, directory: &Path, arguments: &[&str]) -> Done {
    let (url, directory) = (scene.server.url(), directory.to_str().unwrap());
    run_with(&[&["record", "--nats", &url, "-o", directory], arguments].concat(), &[], "")
}

/// Starts the server of a scene again, on what is in its store.
pub(crate) async fn restart(scene: &mut Scene) {
    scene.server.restart_live().await;
    scene.context = jetstream::new(client(&scene.server.url()).await);
}

/// Replays into a second stream of the scene's server.
#[track_caller]
pub(crate) fn replay(scene: &Scene, arguments: &[&str]) -> Done {
    let url = scene.server.url();
    let to = ["replay", "--to-nats", &url, "--stream", "AGAIN", "--subject-prefix", "again", "--speed", "max"];
    run_with(&[&to, arguments].concat(), &ENV, "")
}

/// The complete files of a recording, by name.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.') && !name.ends_with(".json")).collect();
    names.sort();
    names
}
