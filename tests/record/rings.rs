//! Rings: recorded, and replayed into rings and into a stream.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use data_manager::market::{Record, Symbol, TradeMsg};
use data_manager::transport::ipc::{Next, Reader, Writer, WriterConfig};

use crate::kit::{EXCHANGE, SYMBOL, Scene, trade, trades};
use crate::process::{Done, run_with};
use crate::records::{extremes, files, replay};
use crate::support::{client, read_all};

/// Rings under a prefix of their own, gone with the test.
pub(crate) struct Rings(String);

impl Rings {
    pub(crate) fn new(name: &str) -> Self {
        Self(format!("/data_manager_test_{}_{name}_", std::process::id()))
    }

    pub(crate) fn writer(&self, capacity: u64) -> Writer {
        let (path_prefix, exchange) = (self.0.clone(), EXCHANGE.to_owned());
        let config = WriterConfig { path_prefix, exchange, capacity, symbols_max: 64, ..WriterConfig::default() };
        Writer::create(&config, [(trade(1).instrument_id, &Symbol::new(SYMBOL).unwrap())]).unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        run_with(arguments, &self.env(), "")
    }

    pub(crate) fn env(&self) -> [(&str, &str); 2] {
        [
            ("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", self.0.as_str()),
            ("DATA_MANAGER__TRANSPORT__IPC__CAPACITY", "4096"),
        ]
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}{EXCHANGE}", self.0))
    }

    pub(crate) fn read(&self) -> Vec<Record> {
        let mut reader = Reader::open(&self.path()).unwrap();
        let mut read = Vec::new();
        while let Next::Record(record, _) = reader.poll() {
            assert_eq!(reader.symbol(record.instrument_id()).map(Symbol::as_str), Some(SYMBOL));
            read.push(record);
        }
        read
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        for ending in ["", ".lock"] {
            let _ = std::fs::remove_file(format!("/dev/shm{}{EXCHANGE}{ending}", self.0));
        }
    }
}

#[tokio::test]
async fn a_ring_is_recorded_and_replayed_into_a_ring_and_a_stream() {
    let (from, to) = (Rings::new("from"), Rings::new("to"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut writer = from.writer(4_096);
    let all = extremes();
    let half = all.len() / 2;
    for part in [&all[..half], &all[half..]] {
        part.iter().for_each(|record| writer.push(record));
        writer.publish();
        from.run(&["record", "--ipc", "-o", path]).expect_code(0).tells(&format!("{} records in 1 file", part.len()));
    }
    from.run(&["record", "--ipc", "-o", path]).expect_code(0).tells("0 records in 0 files");
    let names = files(directory.path());
    let name = |first, last| format!("{EXCHANGE}-{:020}-{first:012}-{last:012}.parquet", writer.epoch());
    assert_eq!(names, [name(0, half - 1), name(half, all.len() - 1)]);
    to.run(&["replay", path, "--to-ipc", "--speed", "max"]).expect_code(0);
    assert_eq!(to.read(), all);
    // Whatever is slower gives the same.
    to.run(&["replay", path, "--to-ipc", "--speed", "1000000000000x"]).expect_code(0);
    assert_eq!(to.read(), all);
    run_with(
        &["replay", path, "--to-ipc", "--speed", "step", "--prefix", &to.0],
        &[("DATA_MANAGER__TRANSPORT__IPC__CAPACITY", "4096")],
        &"\n".repeat(all.len()),
    )
    .expect_code(0);
    assert_eq!(to.read(), all);
    // A ring that somebody writes to is left alone.
    from.run(&["replay", path, "--to-ipc", "--speed", "max"]).expect_code(1);

    let scene = Scene::start().await;
    replay(&scene, &[path]).expect_code(0);
    let read = read_all(&client(&scene.server.url()).await, "AGAIN").await;
    let bytes: Vec<Vec<u8>> = all.iter().map(|record| record.as_bytes().to_vec()).collect();
    assert_eq!(read.into_iter().map(|(_, _, payload)| payload).collect::<Vec<_>>(), bytes);
}

/// Times of receipt that are none hold nothing up.
#[test]
fn a_recording_with_odd_times_is_replayed_in_its_own_time() {
    let (from, to) = (Rings::new("odd"), Rings::new("even"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let odd = |id, ts_recv| Record::Trade(TradeMsg { ts_recv, ts_event: ts_recv, ..trade(id) });
    let all = [odd(1, 0), odd(2, trade(2).ts_recv), odd(3, u64::MAX), odd(4, 1 << 63), odd(5, trade(5).ts_recv)];
    let all = [&all[..], &trades(6..=1_500)].concat();
    let mut writer = from.writer(4_096);
    all.iter().for_each(|record| writer.push(record));
    writer.publish();
    from.run(&["record", "--ipc", "-o", path]).expect_code(0);
    let start = Instant::now();
    to.run(&["replay", path, "--to-ipc"]).expect_code(0).tells("it is not waited for");
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1_400) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!(to.read(), all);
}

#[test]
fn what_a_ring_has_overwritten_is_told_and_a_new_writer_begins_a_new_file() {
    let rings = Rings::new("overrun");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let record = || rings.run(&["record", "--ipc", "--format", "csv", "-o", path]);
    let mut writer = rings.writer(256);
    let write = |writer: &mut Writer, from: u64, to: u64| {
        trades(from..=to).iter().for_each(|record| writer.push(record));
        writer.publish();
    };
    write(&mut writer, 1, 100);
    record().expect_code(0).tells("100 records in 1 file");
    write(&mut writer, 101, 1_000);
    record().expect_code(1).tells("were overwritten before they were recorded").tells("going on behind record 99");
    drop(writer);
    let mut writer = rings.writer(256);
    write(&mut writer, 1_001, 1_010);
    let done = record().expect_code(1).tells("another writer since the last run").tells("10 records in 1 file");
    done.tells("; 1 times something may be missing");
    assert_eq!(files(directory.path()).len(), 3);
    record().expect_code(0).tells("0 records in 0 files");
    // One that has lapped itself before it was seen.
    drop(writer);
    let mut writer = rings.writer(256);
    write(&mut writer, 2_001, 2_400);
    let done = record().expect_code(1).tells("binance: records 0 to ");
    let lost = done.err.lines().find(|line| line.contains(" lost before they were read")).unwrap().to_owned();
    let number = |text: &str| text.split_whitespace().last().unwrap().parse::<u64>().unwrap();
    let (read, _) = lost.split_once(" record").unwrap();
    let (lost, _) = lost.split_once(" lost before").unwrap();
    assert_eq!(number(read) + number(lost), 400, "{done:#?}");
}

#[test]
fn since_is_for_the_first_run_and_until_leaves_the_rest_to_the_next_one() {
    let rings = Rings::new("since");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut writer = rings.writer(4_096);
    let mut write = |from: u64, to: u64| {
        trades(from..=to).iter().for_each(|record| writer.push(record));
        writer.publish();
    };
    write(1, 100);
    // Times of receipt are of 2023-11-14T22:13:20Z, a millisecond apart.
    let since = ["record", "--ipc", "-o", path, "--since", "2023-11-14T22:13:20.051Z"];
    let run = |more: &[&str]| rings.run(&[&since[..], more].concat()).expect_code(0);
    run(&["--until", "2023-11-14T22:13:20.060500Z"]).tells("10 records in 1 file");
    run(&[]).tells("40 records in 1 file");
    write(1, 20);
    run(&[]).tells("20 records in 1 file");
}

/// What came behind a record that is too late is left too, early as it may be: the next run begins with that record.
#[test]
fn until_a_time_nothing_is_taken_behind_what_is_too_late() {
    let rings = Rings::new("until");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut writer = rings.writer(4_096);
    [trades(1..=10), trades(90..=92), trades(11..=20)].concat().iter().for_each(|record| writer.push(record));
    writer.publish();
    let run = |more: &[&str]| rings.run(&[&["record", "--ipc", "-o", path], more].concat()).expect_code(0);
    run(&["--until", "2023-11-14T22:13:20.050Z"]).tells("10 records in 1 file");
    run(&[]).tells("13 records in 1 file");
}

#[test]
fn a_ring_is_known_by_its_writer_even_where_another_seems_to_be_younger() {
    let rings = Rings::new("epochs");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut writer = rings.writer(4_096);
    let mut write = |from: u64, to: u64| {
        trades(from..=to).iter().for_each(|record| writer.push(record));
        writer.publish();
    };
    write(1, 100);
    rings.run(&["record", "--ipc", "-o", path]).expect_code(0);
    let [name] = files(directory.path()).try_into().unwrap();
    // Before the clock was set back there was a writer that began later.
    let epoch = name.split('-').nth(1).unwrap();
    let later = name.replace(epoch, &format!("{:020}", epoch.parse::<u64>().unwrap() + 1_000_000_000));
    std::fs::copy(directory.path().join(&name), directory.path().join(later)).unwrap();
    write(101, 150);
    let done = rings.run(&["record", "--ipc", "-o", path]).expect_code(0);
    done.tells("going on behind record 99 of binance").tells("50 records in 1 file");
}
