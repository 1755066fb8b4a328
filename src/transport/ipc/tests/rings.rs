//! Writer and reader in one process, on well-behaved files.

use std::fs;
use std::time::Duration;

use super::super::*;
use super::{config, create, directory, gap, path, trade};
use crate::config::settings::Ipc;
use crate::market::instrument::instrument_id;
use crate::market::{Instrument, Symbol, Universe};
use crate::telemetry::clock;
use crate::transport::Transport as _;

#[test]
fn what_is_pushed_is_read_gaps_in_line_until_the_end() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!((reader.exchange(), reader.epoch(), reader.capacity()), ("binance", writer.epoch(), 64));
    assert_eq!(reader.writer_pid(), std::process::id());
    assert_eq!(reader.poll(), Next::Empty);
    writer.push(&trade(1));
    writer.push(&gap(2));
    writer.push(&trade(3));
    // Visible before `publish`, which only moves `head`.
    assert_eq!(reader.poll(), Next::Record(trade(1), 0));
    assert_eq!(reader.behind(), 0);
    writer.publish();
    assert_eq!(reader.behind(), 2);
    assert_eq!(reader.poll(), Next::Record(gap(2), 1));
    assert_eq!(reader.state(), Some(layout::State::Live));
    writer.close();
    assert_eq!(reader.poll(), Next::Record(trade(3), 2));
    assert_eq!(reader.poll(), Next::WriterGone(Gone::Closed));
    assert_eq!(reader.poll(), Next::WriterGone(Gone::Closed));
    assert_eq!(reader.stats(), ReaderStats { read: 3, ..ReaderStats::default() });
    // Who comes late still finds all of it, and the end.
    let mut late = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(late.poll(), Next::Record(trade(1), 0));
}

#[test]
fn readers_start_at_the_oldest_or_the_newest_record() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    for n in 0..50 {
        writer.push(&trade(n));
    }
    writer.publish();
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(reader.position(), 0);
    reader.from_newest();
    assert_eq!(reader.poll(), Next::Empty);
    for n in 50..100 {
        writer.push(&trade(n));
    }
    writer.publish();
    assert_eq!(reader.poll(), Next::Record(trade(50), 50));
    // 100 records in 64 slots: 36 is the oldest; while the writer lives, an eighth of the ring further on.
    reader.from_oldest();
    assert_eq!(reader.poll(), Next::Record(trade(44), 44));
    writer.close();
    reader.from_oldest();
    assert_eq!(reader.poll(), Next::Record(trade(36), 36));
}

#[test]
fn a_lapped_reader_learns_exactly_what_it_lost() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    let mut written = 0;
    // One lap and a thousand laps, and steps between, published record by record or in one go.
    for (records, each) in [(65, true), (64 * 1_000, true), (1, true), (64 * 1_000, false), (63, false), (64, false)] {
        for _ in 0..records {
            writer.push(&trade(written));
            written += 1;
            if each {
                writer.publish();
            }
        }
        writer.publish();
        let from = reader.position();
        let (mut read, mut lost) = (0, 0);
        loop {
            match reader.poll() {
                Next::Record(record, position) => {
                    assert_eq!((record, position), (trade(position), from + read + lost));
                    read += 1;
                }
                Next::Lagged { lost: more } => lost += more,
                Next::Empty => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read + lost, records);
        assert_eq!(lost == 0, records < 64 || records == 64 && !each, "{records} records, {lost} lost");
        if records > 64 {
            assert_eq!(read, 64 - 8, "an eighth of the ring is left to the writer");
        }
    }
    let stats = reader.stats();
    assert_eq!(stats.read + stats.lost, written);
}

#[test]
fn symbols_are_found_as_the_table_grows_and_their_number_is_bounded() {
    let dir = directory();
    let symbols: Vec<Symbol> =
        ["BTCUSDT", "ETHUSDT", "ÄÖÜ-1", "XRPUSDT", "LTCUSDT"].map(|s| Symbol::new(s).unwrap()).into();
    let id = |symbol: &Symbol| instrument_id("binance", symbol.as_str());
    let first_two = symbols[..2].iter().map(|symbol| (id(symbol), symbol));
    let mut writer = Writer::create(&config(dir.path(), 64), first_two).unwrap();
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    assert_eq!(reader.symbol(id(&symbols[0])), Some(&symbols[0]));
    assert_eq!(reader.symbol(id(&symbols[2])), None);
    writer.add_symbol(id(&symbols[2]), &symbols[2]).unwrap();
    writer.add_symbol(id(&symbols[2]), &symbols[2]).unwrap();
    assert_eq!(reader.symbol(id(&symbols[2])), Some(&symbols[2]));
    writer.add_symbol(id(&symbols[3]), &symbols[3]).unwrap();
    assert_eq!(reader.symbols().count(), 4);
    let full = writer.add_symbol(id(&symbols[4]), &symbols[4]).unwrap_err();
    assert_eq!(full, SymbolTableError::Full { symbol: symbols[4].clone(), symbols_max: 4 });
    let taken = writer.add_symbol(id(&symbols[0]), &symbols[1]).unwrap_err();
    assert!(matches!(taken, SymbolTableError::Taken { .. }));
    assert_eq!(writer.stats().symbols, 4);
}

#[test]
fn a_second_live_writer_is_refused_and_the_first_one_named() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    writer.push(&trade(7));
    let error = Writer::create(&config(dir.path(), 128), []).unwrap_err();
    assert!(matches!(&error, CreateError::Busy { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
    // Even when somebody has removed the segment.
    fs::remove_file(path(dir.path())).unwrap();
    assert!(matches!(Writer::create(&config(dir.path(), 64), []), Err(CreateError::Busy { .. })));
    writer.close();
    create(dir.path(), 64);
}

#[test]
fn a_new_writer_replaces_the_segment_and_readers_follow() {
    let dir = directory();
    let mut first = create(dir.path(), 64);
    first.push(&trade(1));
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    let now = clock::now();
    assert_eq!(reader.check(now, Duration::from_secs(2)), None);
    let epoch = first.epoch();
    first.close();
    assert_eq!(reader.reopen().unwrap(), Reopened::Same);

    let mut second = create(dir.path(), 128);
    assert!(second.epoch() > epoch);
    second.push(&trade(2));
    assert_eq!(reader.check(now, Duration::from_secs(2)), Some(Gone::Replaced));
    // The old segment is still there for whoever holds it.
    assert_eq!(reader.poll(), Next::Record(trade(1), 0));
    assert_eq!(reader.poll(), Next::WriterGone(Gone::Closed));
    assert_eq!(reader.reopen().unwrap(), Reopened::New { epoch: second.epoch() });
    assert_eq!(reader.poll(), Next::Record(trade(2), 0));
    assert_eq!(reader.check(now, Duration::from_secs(2)), None);

    fs::remove_file(path(dir.path())).unwrap();
    assert_eq!(reader.check(now, Duration::from_secs(2)), Some(Gone::Removed));
    assert!(matches!(reader.reopen(), Err(OpenError::Missing { .. })));
    // A failed reopen has not harmed it.
    second.push(&trade(3));
    assert_eq!(reader.poll(), Next::Record(trade(3), 1));
}

#[test]
fn a_heartbeat_that_stands_still_is_noticed_and_one_that_moves_again_too() {
    let dir = directory();
    let writer = create(dir.path(), 64);
    let mut reader = Reader::open(&path(dir.path())).unwrap();
    let (start, silence) = (clock::now(), Duration::from_secs(2));
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(reader.check(after(0), silence), None);
    assert_eq!(reader.check(after(2), silence), None);
    assert_eq!(reader.check(after(3), silence), Some(Gone::Silent { for_: Duration::from_secs(3) }));
    // Any change is a sign of life, one to an earlier wall time too.
    writer.heartbeat(5);
    assert_eq!(reader.check(after(4), silence), None);
    assert_eq!(reader.heartbeat_ns(), 5);
    assert_eq!(reader.check(after(6), silence), None);
    assert!(matches!(reader.check(after(7), silence), Some(Gone::Silent { .. })));
}

#[test]
fn readers_beside_a_writer_get_whole_records_and_count_the_rest() {
    const RECORDS: u64 = 300_000;
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let path = path(dir.path());
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = Reader::open(&path).unwrap();
                scope.spawn(move || {
                    loop {
                        match reader.poll() {
                            Next::Record(record, position) => assert_eq!(record, trade(position), "torn"),
                            Next::Lagged { lost } => assert!(lost > 0),
                            Next::Empty => Wait::Yield.wait(),
                            Next::WriterGone(reason) => break assert_eq!(reason, Gone::Closed),
                            Next::Unknown { kind, position } => panic!("{position} has kind {kind}"),
                        }
                    }
                    reader.stats()
                })
            })
            .collect();
        for n in 0..RECORDS {
            writer.push(&trade(n));
            if n % 16 == 0 {
                writer.publish();
            }
            if n % 1_000 == 0 {
                // On two cores the readers would otherwise see little but laps.
                std::thread::yield_now();
            }
        }
        writer.close();
        for reader in readers {
            let stats = reader.join().unwrap();
            assert_eq!(stats.read + stats.lost, RECORDS);
            assert!(stats.read >= 56, "the end of the ring is there for everyone");
        }
    });
}

#[test]
fn the_transport_fills_one_ring_an_exchange_by_route() {
    let dir = directory();
    let mut universe = Universe::default();
    let instrument = |exchange, symbol| Instrument::new(exchange, Symbol::new(symbol).unwrap(), symbol.to_owned());
    for (exchange, symbol) in [("binance", "BTCUSDT"), ("coinbase", "BTCUSD"), ("binance", "ETHUSDT")] {
        universe.add(instrument(exchange, symbol)).unwrap();
    }
    let settings =
        Ipc { enabled: true, shm_path_prefix: "/t_".to_owned(), capacity: 64, symbols_max: 3, mode: "0600".to_owned() };
    let mut transport = IpcTransport::create_in(dir.path(), &settings, &universe).unwrap();
    assert_eq!(transport.name(), "ipc");
    assert_eq!(transport.rings().map(|(exchange, _)| exchange).collect::<Vec<_>>(), ["binance", "coinbase"]);
    let added = instrument("coinbase", "ETHUSD");
    assert_eq!(transport.add(&added).unwrap(), Some(3));
    assert_eq!(transport.add(&instrument("kraken", "ETHUSD")).unwrap(), None);

    for (route, n) in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5)] {
        transport.publish(route, &trade(n));
    }
    transport.publish(99, &trade(6));
    let stats = transport.stats();
    assert_eq!((stats.taken, stats.done, stats.waiting, stats.dropped), (6, 0, 5, 1));
    transport.flush();
    let stats = transport.stats();
    assert_eq!((stats.taken, stats.done, stats.waiting, stats.dropped), (6, 5, 0, 1));

    let mut binance = Reader::open(&segment_path(dir.path(), "/t_", "binance").unwrap()).unwrap();
    let mut coinbase = Reader::open(&segment_path(dir.path(), "/t_", "coinbase").unwrap()).unwrap();
    transport.heartbeat(42);
    assert_eq!((binance.heartbeat_ns(), coinbase.heartbeat_ns()), (42, 42));
    transport.close();
    for (position, n) in [1, 3, 5].into_iter().enumerate() {
        assert_eq!(binance.poll(), Next::Record(trade(n), position as u64));
    }
    assert_eq!(binance.poll(), Next::WriterGone(Gone::Closed));
    for (position, n) in [2, 4].into_iter().enumerate() {
        assert_eq!(coinbase.poll(), Next::Record(trade(n), position as u64));
    }
    assert_eq!(coinbase.symbol(added.id), Some(&added.symbol));

    for mode in ["", "rw", "0999", "0440", "01777"] {
        let settings = Ipc { mode: mode.to_owned(), ..settings.clone() };
        let error = IpcTransport::create_in(dir.path(), &settings, &universe).unwrap_err();
        assert!(matches!(error, IpcError::Mode { .. }), "{mode:?}: {error}");
    }
}
