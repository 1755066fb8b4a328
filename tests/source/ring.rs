//! Rings as a source: filters, loss, writers that go and come.

use std::path::Path;
use std::time::Duration;

use data_manager::market::instrument::instrument_id;
use data_manager::market::{Record, Symbol};
use data_manager::source::{self, Begin, DataSource, IpcConfig, IpcSource};
use data_manager::transport::ipc::{Writer, WriterConfig};
use tempfile::TempDir;

use crate::{gap, nothing, numbers, refused, take, trade};

const SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

pub(crate) fn writer(directory: &Path, exchange: &str, capacity: u64) -> Writer {
    let config = WriterConfig {
        directory: directory.to_owned(),
        path_prefix: "/r_".to_owned(),
        exchange: exchange.to_owned(),
        capacity,
        symbols_max: 16,
        ..WriterConfig::default()
    };
    let symbols = SYMBOLS.map(|symbol| (instrument_id(exchange, symbol), Symbol::new(symbol).unwrap()));
    Writer::create(&config, symbols.iter().map(|(id, symbol)| (*id, symbol))).unwrap()
}

pub(crate) fn config(directory: &TempDir) -> IpcConfig {
    IpcConfig {
        directory: directory.path().to_owned(),
        shm_path_prefix: "/r_".to_owned(),
        begin: Begin::Oldest,
        ..IpcConfig::default()
    }
}

pub(crate) fn write(writer: &mut Writer, records: impl IntoIterator<Item = Record>) {
    records.into_iter().for_each(|record| writer.push(&record));
    writer.publish();
}

pub(crate) fn trades(exchange: &str, symbol: &str, ids: impl IntoIterator<Item = u64>) -> Vec<Record> {
    ids.into_iter().map(|id| trade(exchange, symbol, id)).collect()
}

#[test]
fn all_rings_are_read_with_their_gaps_in_line() {
    let dir = TempDir::new().unwrap();
    let (mut one, mut two) = (writer(dir.path(), "one", 4_096), writer(dir.path(), "two", 4_096));
    write(&mut one, trades("one", "BTCUSDT", 1..=200));
    write(&mut one, [gap("one", "BTCUSDT", 201, 203), trade("one", "BTCUSDT", 204)]);
    write(&mut two, trades("two", "ETHUSDT", 1..=100));
    let mut source = IpcSource::open(&config(&dir)).unwrap();
    let taken = take(&mut source, 302);
    let of = |name: &str| -> Vec<String> { taken.iter().filter(|text| text.starts_with(name)).cloned().collect() };
    let mut wanted = numbers("one BTCUSDT", 1..=200);
    wanted.extend(["one BTCUSDT gap 201-203".to_owned(), "one BTCUSDT 204".to_owned()]);
    assert_eq!(of("one"), wanted);
    assert_eq!(of("two"), numbers("two ETHUSDT", 1..=100));
    nothing(&mut source);
    write(&mut two, trades("two", "BTCUSDT", [7]));
    assert_eq!(take(&mut source, 1), ["two BTCUSDT 7"]);
}

#[test]
fn a_symbol_is_read_of_all_exchanges_and_from_now_on_where_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let (mut one, mut two) = (writer(dir.path(), "one", 4_096), writer(dir.path(), "two", 4_096));
    write(&mut one, trades("one", "BTCUSDT", 1..=3));
    let asked = IpcConfig { symbols: vec!["btcusdt ".to_owned()], begin: Begin::Newest, ..config(&dir) };
    let mut source = source::open(&DataSource { ipc: Some(asked), nats: None }).unwrap();
    nothing(&mut *source);
    write(&mut one, trades("one", "ETHUSDT", 1..=3_000));
    write(&mut one, trades("one", "BTCUSDT", 4..=5));
    write(&mut two, trades("two", "BTCUSDT", 9..=9));
    let mut taken = take(&mut *source, 3);
    taken.sort();
    assert_eq!(taken, ["one BTCUSDT 4", "one BTCUSDT 5", "two BTCUSDT 9"]);
    nothing(&mut *source);
}

#[test]
fn a_reader_that_is_lapped_is_told_exactly_what_it_lost() {
    let dir = TempDir::new().unwrap();
    let mut one = writer(dir.path(), "one", 64);
    write(&mut one, trades("one", "BTCUSDT", 0..10));
    let mut source = IpcSource::open(&config(&dir)).unwrap();
    assert_eq!(take(&mut source, 5), numbers("one BTCUSDT", 0..5));
    write(&mut one, trades("one", "BTCUSDT", 10..1_000));
    let lost = take(&mut source, 1).remove(0);
    let next = take(&mut source, 1).remove(0);
    let first: u64 = next.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(lost, format!("Lost(Lagged {{ exchange: \"one\", records: {} }})", first - 5));
    let rest = take(&mut source, usize::try_from(999 - first).unwrap());
    assert_eq!(rest, numbers("one BTCUSDT", first + 1..1_000));
}

#[test]
fn a_writer_that_goes_is_told_and_its_successor_is_followed() {
    let dir = TempDir::new().unwrap();
    let mut one = writer(dir.path(), "one", 4_096);
    write(&mut one, trades("one", "BTCUSDT", 1..=3));
    let mut source = IpcSource::open(&config(&dir)).unwrap();
    assert_eq!(take(&mut source, 3), numbers("one BTCUSDT", 1..=3));
    // What is written last is read before the end is told.
    write(&mut one, trades("one", "BTCUSDT", 4..=5));
    one.close();
    assert_eq!(take(&mut source, 2), numbers("one BTCUSDT", 4..=5));
    assert_eq!(take(&mut source, 1), ["WriterGone { exchange: \"one\", reason: Closed }"]);
    nothing(&mut source);
    for _ in 0..2 {
        let mut next = writer(dir.path(), "one", 4_096);
        let epoch = next.epoch();
        write(&mut next, trades("one", "BTCUSDT", 6..=8));
        assert_eq!(take(&mut source, 1), [format!("WriterChanged {{ exchange: \"one\", epoch: {epoch} }}")]);
        assert_eq!(take(&mut source, 3), numbers("one BTCUSDT", 6..=8));
        // Dropped without a word: as good as killed, but for the lock.
        drop(next);
        let gone = take(&mut source, 1).remove(0);
        assert!(gone.starts_with("WriterGone"), "{gone}");
    }
}

#[test]
fn what_a_successor_has_lost_before_it_was_found_is_counted() {
    let dir = TempDir::new().unwrap();
    let mut one = writer(dir.path(), "one", 64);
    write(&mut one, trades("one", "BTCUSDT", 1..=3));
    let mut source = IpcSource::open(&config(&dir)).unwrap();
    assert_eq!(take(&mut source, 3), numbers("one BTCUSDT", 1..=3));
    one.close();
    let mut next = writer(dir.path(), "one", 64);
    write(&mut next, trades("one", "BTCUSDT", 0..1_000));
    let mut told = take(&mut source, 3);
    told.retain(|event| !event.starts_with("WriterGone"));
    assert!(told[0].starts_with("WriterChanged"), "{told:?}");
    let first: u64 = match told.get(2) {
        Some(first) => first.rsplit(' ').next().unwrap().parse().unwrap(),
        None => take(&mut source, 1)[0].rsplit(' ').next().unwrap().parse().unwrap(),
    };
    assert_eq!(told[1], format!("Lost(Lagged {{ exchange: \"one\", records: {first} }})"));
    assert!(first > 900, "{first}");
}

#[test]
fn a_ring_that_is_never_empty_does_not_hide_what_becomes_of_another() {
    let dir = TempDir::new().unwrap();
    let mut busy = writer(dir.path(), "busy", 65_536);
    let quiet = writer(dir.path(), "quiet", 64);
    write(&mut busy, trades("busy", "BTCUSDT", 0..1_000));
    let mut source = IpcSource::open(&config(&dir)).unwrap();
    quiet.close();
    for (next, id) in (1_000..1_000_000).enumerate() {
        write(&mut busy, trades("busy", "BTCUSDT", [id]));
        let event = take(&mut source, 1).remove(0);
        if event == "WriterGone { exchange: \"quiet\", reason: Closed }" {
            return;
        }
        assert_eq!(event, format!("busy BTCUSDT {next}"));
    }
    panic!("it was never told");
}

#[test]
fn no_source_sleeps_longer_than_its_caller_waits() {
    let dir = TempDir::new().unwrap();
    let _one = writer(dir.path(), "one", 64);
    let asleep = IpcConfig { wait: source::Waiting::Sleep(Duration::from_secs(86_400)), ..config(&dir) };
    let mut source = IpcSource::open(&asleep).unwrap();
    nothing(&mut source);
}

#[test]
fn a_ring_that_is_removed_is_waited_for() {
    let dir = TempDir::new().unwrap();
    let mut one = writer(dir.path(), "one", 64);
    write(&mut one, trades("one", "BTCUSDT", 1..=2));
    let mut source = IpcSource::open(&config(&dir)).unwrap();
    assert_eq!(take(&mut source, 2).len(), 2);
    std::fs::remove_file(one.path()).unwrap();
    assert_eq!(take(&mut source, 1), ["WriterGone { exchange: \"one\", reason: Removed }"]);
    drop(one);
    let mut next = writer(dir.path(), "one", 64);
    write(&mut next, trades("one", "BTCUSDT", 3..=3));
    let came = take(&mut source, 2);
    assert!(came[0].starts_with("WriterChanged") && came[1] == "one BTCUSDT 3", "{came:?}");
}

#[test]
fn what_cannot_be_read_is_named_with_its_cure() {
    let dir = TempDir::new().unwrap();
    let none = refused(IpcSource::open(&config(&dir)));
    assert!(none.contains("serve --ipc") && none.contains("r_*"), "{none}");
    let named = IpcConfig { exchanges: vec!["one".to_owned()], ..config(&dir) };
    let missing = refused(IpcSource::open(&named));
    assert!(missing.contains("r_one"), "{missing}");
    std::fs::write(dir.path().join("r_one"), [7; 8_192]).unwrap();
    let foreign = refused(IpcSource::open(&named));
    assert!(foreign.contains("not a data-manager ring"), "{foreign}");
    let nothing = refused(source::open(&DataSource::default()));
    assert!(nothing.contains("[data_source.ipc]"), "{nothing}");
}

#[test]
fn a_file_says_where_trades_come_from() {
    let dir = TempDir::new().unwrap();
    let mut one = writer(dir.path(), "one", 64);
    write(&mut one, trades("one", "BTCUSDT", 1..=2));
    let path = dir.path().join("strategy.toml");
    let text = |wait: &str| {
        format!(
            "[strategy]\nthreshold = 3\n[data_source.ipc]\ndirectory = {:?}\nshm_path_prefix = \"/r_\"\nwait = {wait:?}\n\
             begin = \"oldest\"\n",
            dir.path()
        )
    };
    for wait in ["spin", "yield", "100us"] {
        std::fs::write(&path, text(wait)).unwrap();
        let mut source = source::open_file(&path).unwrap();
        assert_eq!(take(&mut *source, 2), numbers("one BTCUSDT", 1..=2), "{wait}");
        assert!(source.next(Duration::ZERO).unwrap().is_none());
        source.commit().unwrap();
    }
    std::fs::write(&path, text("often")).unwrap();
    let wrong = refused(source::open_file(&path));
    assert!(wrong.contains("line 6") && wrong.contains("50us"), "{wrong}");
    std::fs::write(&path, "[data_source.ipc]\nexchange = \"one\"\n").unwrap();
    let unknown = refused(source::open_file(&path));
    assert!(unknown.contains("line 2") && unknown.contains("exchanges"), "{unknown}");
    let absent = refused(source::open_file(&dir.path().join("none.toml")));
    assert!(absent.contains("none.toml"), "{absent}");
}
