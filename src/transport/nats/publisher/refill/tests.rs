//! Real spool files that are damaged between two lives of a publisher: what comes back, and what is declared.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::settings::Nats;
use crate::market::{Instrument, Symbol, Universe};
use crate::transport::nats::publisher;

/// Records of a block as the backlog hands them over.
const BLOCK: usize = 1_000;

fn universe() -> Universe {
    let mut universe = Universe::default();
    for symbol in ["BTCUSDT", "ETHUSDT"] {
        universe.add(Instrument::new("binance", Symbol::new(symbol).unwrap(), symbol.to_owned())).unwrap();
    }
    universe
}

fn trade(route: usize, id: u64) -> Record {
    let instrument_id = universe().get(route).unwrap().id;
    Record::Trade(TradeMsg { instrument_id, trade_id: id, ts_event: id * 10, kind: 1, ..bytemuck::Zeroable::zeroed() })
}

/// A publisher that has the stream's ends, with its spool's thread.
struct Life {
    publisher: Publisher,
    transport: publisher::NatsTransport,
    thread: std::thread::JoinHandle<()>,
}

impl Life {
    fn begin(directory: &Path, ends: [Option<u64>; 2]) -> Self {
        let settings = Nats { outbox_dir: directory.to_owned(), outbox_memory: (1 << 30).into(), ..Nats::default() };
        let (transport, mut publisher) = publisher::new(settings, &universe(), true, Box::new(|_, _| None));
        let worker = publisher.spooling().unwrap();
        publisher.announced.live = true;
        publisher.ends = ends.map(|end| end.map(|id| End { id, ts: id * 10, met: false })).into();
        for (route, end) in (0..).zip(&publisher.ends) {
            if let (Some(end), Some(backlog)) = (end, publisher.shared.backlog.borrow_mut().as_mut()) {
                backlog.trails.begin(route, (end.id, end.ts));
            }
        }
        let mut this = Self { publisher, transport, thread: std::thread::spawn(move || worker.run()) };
        this.hear();
        this
    }

    /// Takes one word of the thread.
    fn hear(&mut self) {
        let shared = Rc::clone(&self.publisher.shared);
        let back = futures_util::future::poll_fn(|cx| shared.poll_backlog(cx));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        self.publisher.came_back(&runtime.block_on(back));
    }

    fn push(&self, records: impl IntoIterator<Item = (u32, Record)>) {
        records.into_iter().for_each(|(route, record)| self.transport.shared.push(route, &record));
    }

    /// All that waits on disk comes back, and what is in the window then, in order: instrument, first and last id,
    /// and of a gap its strength.
    fn all(mut self) -> Vec<(usize, u8, u64, u64)> {
        while self.publisher.shared.spooled() > 0 {
            self.publisher.refill();
            self.hear();
        }
        let remains = self.publisher.shared.window.borrow().remains();
        self.end();
        let mut said: Vec<(usize, u8, u64, u64)> = Vec::new();
        for record in remains.iter().map(|bytes| Record::from_bytes(bytes).unwrap()) {
            let route = usize::from(universe().instruments()[0].id != record.instrument_id());
            match (record, said.last_mut()) {
                (Record::Trade(trade), Some((of, 0, _, last))) if *of == route && *last + 1 == trade.trade_id => {
                    *last += 1;
                }
                (Record::Trade(trade), _) => said.push((route, 0, trade.trade_id, trade.trade_id)),
                (Record::Gap(gap), _) => said.push((route, gap.strength, gap.first_id, gap.last_id)),
            }
        }
        said
    }

    fn end(self) {
        *self.publisher.shared.backlog.borrow_mut() = None;
        drop(self.publisher);
        drop(self.transport);
        self.thread.join().unwrap();
    }
}

/// A spool as an earlier life leaves it, in blocks.
fn left_by_an_earlier_life(directory: &Path, records: &[Record]) {
    let mut life = Life::begin(directory, [None, None]);
    let shared = Rc::clone(&life.publisher.shared);
    for block in records.chunks(BLOCK) {
        let mut backlog = shared.backlog.borrow_mut();
        let backlog = backlog.as_mut().unwrap();
        block.iter().for_each(|record| backlog.push(record));
        backlog.flush();
    }
    for _ in records.chunks(BLOCK) {
        life.hear();
    }
    drop(shared);
    life.end();
}

/// Turns a bit in a block.
fn damage(directory: &Path, block: usize) {
    let path = directory.join("0").join("00000000000000000001.spool");
    let mut bytes = fs::read(&path).unwrap();
    bytes[128 + block * (32 + BLOCK * 48) + 100] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Trades of one instrument, with one of the other at both ends.
fn records() -> Vec<Record> {
    let of_first = (0..4 * BLOCK as u64 - 2).map(|id| trade(0, id));
    [trade(1, 7)].into_iter().chain(of_first).chain([trade(1, 8)]).collect()
}

#[test]
fn what_was_damaged_between_two_lives_is_declared_in_its_place() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &records());
    damage(dir.path(), 1);
    let all = Life::begin(dir.path(), [None, None]).all();
    assert_eq!(all, [(1, 0, 7, 7), (0, 0, 0, 998), (0, 1, 999, 1_998), (0, 0, 1_999, 3_997), (1, 0, 8, 8)]);
}

#[test]
fn whole_files_come_back_as_they_are() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &records());
    let all = Life::begin(dir.path(), [None, None]).all();
    assert_eq!(all, [(1, 0, 7, 7), (0, 0, 0, 3_997), (1, 0, 8, 8)]);
}

#[test]
fn the_streams_end_tells_what_is_missing_at_the_front() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &records());
    damage(dir.path(), 0);
    let all = Life::begin(dir.path(), [Some(499), None]).all();
    assert_eq!(all, [(0, 1, 500, 998), (0, 0, 999, 3_997), (1, 3, 0, 0), (1, 0, 8, 8)]);
}

#[test]
fn what_is_missing_at_the_end_shows_at_the_next_trade_which_never_saw_the_disk() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &records());
    damage(dir.path(), 3);
    let life = Life::begin(dir.path(), [None, None]);
    life.push([(0, trade(0, 3_998)), (1, trade(1, 9))]);
    let all = life.all();
    let behind = [(0, 1, 2_999, 3_997), (0, 0, 3_998, 3_998), (1, 1, 8, 8), (1, 0, 9, 9)];
    assert_eq!(all, [&[(1, 0, 7, 7), (0, 0, 0, 2_998)], &behind[..]].concat());
}

/// A gap of the first instrument, or the news that it is filled.
fn gap(first_id: u64, last_id: u64, flags: u8) -> Record {
    Record::Gap(GapMsg {
        ts_start: first_id * 10,
        ts_end: last_id * 10,
        first_id,
        last_id,
        missing: last_id - first_id + 1,
        instrument_id: universe().instruments()[0].id,
        strength: GapStrength::Proved as u8,
        flags,
        kind: KIND_GAP_V1,
        ..bytemuck::Zeroable::zeroed()
    })
}

fn late(id: u64) -> Record {
    let Record::Trade(trade) = trade(0, id) else { panic!("no trade") };
    Record::Trade(TradeMsg { flags: trade.flags | Flags::BACKFILLED, ..trade })
}

#[test]
fn a_gap_that_the_stream_has_passed_is_not_declared_again() {
    let dir = TempDir::new().unwrap();
    let mut left = vec![trade(0, 49), gap(50, 51, 0), trade(0, 52), late(50), late(51)];
    left.extend([gap(50, 51, Flags::BACKFILLED), trade(0, 53), trade(0, 54)]);
    left_by_an_earlier_life(dir.path(), &left);
    let all = Life::begin(dir.path(), [Some(53), None]).all();
    assert_eq!(all, [(0, 0, 54, 54)]);
}

#[test]
fn a_late_trade_does_not_tell_where_the_spool_begins() {
    let dir = TempDir::new().unwrap();
    // What stood before was in memory: 61 to 90, with a hole of 70 to 80.
    let left = [late(79), late(80), gap(70, 80, Flags::BACKFILLED), trade(0, 91), trade(0, 92)];
    left_by_an_earlier_life(dir.path(), &left);
    let all = Life::begin(dir.path(), [Some(60), None]).all();
    assert_eq!(all, [(0, 1, 61, 90), (0, 0, 91, 92)]);
}

#[test]
fn a_gap_with_which_the_spool_begins_is_not_declared_twice() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &[gap(70, 80, 0), trade(0, 81)]);
    let all = Life::begin(dir.path(), [Some(60), None]).all();
    assert_eq!(all, [(0, 1, 61, 69), (0, 1, 70, 80), (0, 0, 81, 81)]);
}

#[test]
fn times_that_are_out_of_order_are_no_new_count() {
    let dir = TempDir::new().unwrap();
    let Record::Trade(odd) = trade(0, 98) else { panic!("no trade") };
    let odd = Record::Trade(TradeMsg { ts_event: 1_005, ..odd });
    left_by_an_earlier_life(dir.path(), &[odd, trade(0, 99), trade(0, 100), trade(0, 101)]);
    assert_eq!(Life::begin(dir.path(), [Some(100), None]).all(), [(0, 0, 101, 101)]);
}

#[test]
fn what_filled_an_older_gap_is_fetched_anew_with_the_news_that_it_is_filled() {
    let trade = |id, flags| TradeMsg { trade_id: id, flags, kind: 1, ..bytemuck::Zeroable::zeroed() };
    let filled = |first_id, last_id| GapMsg {
        first_id,
        last_id,
        flags: Flags::BACKFILLED,
        kind: KIND_GAP_V1,
        ..bytemuck::Zeroable::zeroed()
    };
    let end = End::of(&trade(61, 0));
    assert!(end.has_open(&Record::Trade(trade(50, Flags::BACKFILLED))));
    assert!(end.has_open(&Record::Gap(filled(50, 60))));
    assert!(!end.has_open(&Record::Trade(trade(70, Flags::BACKFILLED))), "its gap is in the spool too");
    assert!(!end.has_open(&Record::Gap(filled(70, 72))));
    assert!(!end.has_open(&Record::Trade(trade(62, 0))));
    assert!(!end.has_open(&Record::Gap(GapMsg { flags: 0, ..filled(50, 60) })), "a declaration is no filling");
}
