//! Rings in shared memory, from the oldest to the newest record.

use std::path::PathBuf;

use data_manager::market::{Record, Symbol};
use data_manager::transport::ipc::{Writer, WriterConfig};

use crate::kit::{EXCHANGE, SYMBOL, findings, gap, row, trade, trades};
use crate::process::{Done, run_with};

/// A ring of its own, gone with the test.
struct Ring {
    prefix: String,
    writer: Option<Writer>,
}

impl Ring {
    fn of(name: &str, capacity: u64, records: &[Record]) -> Self {
        let prefix = format!("/data_manager_test_{}_{name}_", std::process::id());
        let (path_prefix, exchange) = (prefix.clone(), EXCHANGE.to_owned());
        let config = WriterConfig { path_prefix, exchange, capacity, symbols_max: 64, ..WriterConfig::default() };
        let symbol = Symbol::new(SYMBOL).unwrap();
        let mut writer = Writer::create(&config, [(trade(1).instrument_id, &symbol)]).unwrap();
        records.iter().for_each(|record| writer.push(record));
        writer.publish();
        Self { prefix, writer: Some(writer) }
    }

    fn verify(&self, arguments: &[&str]) -> Done {
        let env = [("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", self.prefix.as_str())];
        run_with(&[&["verify", "--ipc"], arguments].concat(), &env, "")
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        drop(self.writer.take());
        for ending in ["", ".lock"] {
            // The lock may be named otherwise; what is left is small.
            let _ = std::fs::remove_file(PathBuf::from(format!("/dev/shm{}{EXCHANGE}{ending}", self.prefix)));
        }
    }
}

#[test]
fn a_whole_ring_is_whole_live_and_closed() {
    let mut ring = Ring::of("whole", 1_024, &trades(1..=500));
    for _ in 0..2 {
        let done = ring.verify(&[]).expect_code(0);
        assert_eq!(row(&done, SYMBOL)[2..5], ["500", "1", "500"]);
        drop(ring.writer.take());
    }
}

#[test]
fn a_ring_that_has_wrapped_is_audited_from_its_oldest_record() {
    let mut ring = Ring::of("wrapped", 256, &trades(1..=5_000));
    let done = ring.verify(&[]).expect_code(0);
    assert_eq!(row(&done, SYMBOL)[4], "5000");
    drop(ring.writer.take());
    // Nobody overwrites a closed ring: all of it is read.
    assert_eq!(row(&ring.verify(&[]).expect_code(0), SYMBOL)[2..5], ["256", "4745", "5000"]);
}

#[test]
fn damage_in_a_ring_is_found_with_its_record() {
    let mut unnamed = trade(9);
    unnamed.instrument_id = 77;
    let records = [trades([1, 2, 2, 5]), vec![gap(6, 7, false), Record::Trade(unnamed)], trades([8])].concat();
    let ring = Ring::of("damage", 64, &records);
    let done = ring.verify(&[]).expect_code(1);
    assert_eq!(
        findings(&done),
        [
            "double at record 2, id 2: as at 1",
            "silent at record 3, ids 3 to 4: 2 missing, declared by nothing",
            "declared at record 6, ids 6 to 7: 2 missing, declared by a gap",
        ]
    );
    assert!(done.out.contains("record 5: a record of instrument 77, which the ring does not name"), "{done:#?}");
    let done = ring.verify(&["--symbols", "ETHUSDT"]).expect_code(1);
    assert!(done.out.contains("instrument 77"), "{done:#?}");
    done.tells("the ring holds no trades of ETHUSDT").tells("there is binance BTCUSDT");
}

#[test]
fn no_ring_and_an_empty_ring_are_told() {
    let ring = Ring::of("empty", 64, &[]);
    ring.verify(&[]).expect_code(1).tells("the ring holds no trades: nothing was audited");
    ring.verify(&["--exchange", "coinbase"]).expect_code(1).tells("no ring at").tells("serve --ipc");
    let env = [("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", "/data_manager_test_nothing_")];
    run_with(&["verify", "--ipc"], &env, "").expect_code(1).tells("no segment").tells("serve --ipc");
}
