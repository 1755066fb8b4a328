//! Real spool files that are damaged between two lives of a publisher: what comes back, and what is declared.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::settings::Nats;
use crate::market::{Flags, GapStrength, Instrument, Symbol, TradeMsg, Universe, trade::KIND_GAP_V1};
use crate::transport::nats::publisher::{self, inherited::At};

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
        let mut this = Self::open(directory, 4 << 30);
        this.anchor(ends.map(|end| end.map_or(At::Fresh, |id| At::Trade(id, id * 10))));
        this
    }

    /// It does not know the stream yet.
    fn open(directory: &Path, disk: u64) -> Self {
        let mut this = Self::start(directory, (1 << 30, disk));
        this.hear();
        this
    }

    /// Its thread has not looked at the disk yet, as far as it knows.
    fn start(directory: &Path, (memory, disk): (u64, u64)) -> Self {
        let mut settings = Nats { outbox_dir: directory.to_owned(), outbox_memory: memory.into(), ..Nats::default() };
        settings.outbox_disk = disk.into();
        let (transport, publisher) = publisher::new(settings, &universe(), true, Box::new(|_, _| None));
        let worker = publisher.spooling(0, BTreeSet::new()).unwrap();
        Self { publisher, transport, thread: std::thread::spawn(move || worker.run()) }
    }

    /// The stream is read.
    fn anchor(&mut self, ends: [At; 2]) {
        self.publisher.announced.live = true;
        for (route, at) in (0..).zip(ends) {
            self.publisher.set_out(route, at, None, None);
        }
        self.publisher.held_against();
        self.publisher.give_up_early();
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
    left_on(4 << 30, directory, records);
}

/// As [`left_by_an_earlier_life`], on a disk of so many bytes.
fn left_on(disk: u64, directory: &Path, records: &[Record]) {
    let mut life = Life::open(directory, disk);
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
    let path = directory.join("0").join("00000000000001000000.spool");
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
fn what_the_bound_takes_of_an_inherited_spool_is_declared_once_and_only_what_the_stream_has_not() {
    // Two segments of one MiB are full; what is pushed takes the place of the first one.
    let left = 40_000;
    for anchored_first in [true, false] {
        for end in [10_000, 10] {
            let dir = TempDir::new().unwrap();
            left_on(2 << 20, dir.path(), &(100..100 + left).map(|id| trade(0, id)).collect::<Vec<_>>());
            let mut life = Life::open(dir.path(), 2 << 20);
            let own = (100 + left..100 + left + 5_000).map(|id| (0, trade(0, id)));
            let ends = [At::Trade(end, end * 10), At::Fresh];
            if anchored_first {
                life.anchor(ends);
            }
            life.push(own);
            life.transport.shared.backlog.borrow_mut().as_mut().unwrap().flush();
            for _ in 0..5 {
                life.hear();
            }
            if !anchored_first {
                life.anchor(ends);
            }
            let all = life.all();
            let [(0, 1, first, last), (0, 0, from, to)] = all[..] else { panic!("{all:?}") };
            assert_eq!((first, from, to), (end + 1, last + 1, 100 + left + 4_999));
            assert!(last > 20_000, "the first segment");
        }
    }
}

#[test]
fn what_is_read_before_the_stream_is_known_is_nothing() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &(50..70).map(|id| trade(0, id)).collect::<Vec<_>>());
    let mut life = Life::open(dir.path(), 4 << 30);
    life.push((70..75).map(|id| (0, trade(0, id))));
    life.publisher.refill();
    assert_eq!(life.publisher.shared.spooled(), 25, "nothing was asked for");
    life.anchor([At::Trade(40, 400), At::Fresh]);
    assert_eq!(life.all(), [(0, 1, 41, 49), (0, 0, 50, 74)]);
}

#[test]
fn a_stream_that_is_read_again_declares_nothing_that_waits_in_memory() {
    let dir = TempDir::new().unwrap();
    let left: Vec<Record> = (50..12_000).map(|id| trade(0, id)).collect();
    left_by_an_earlier_life(dir.path(), &left);
    let mut life = Life::begin(dir.path(), [Some(49), None]);
    life.publisher.refill();
    life.hear();
    assert!(life.publisher.shared.spooled() > 0, "only a part has been read");
    // Another instance had the lease for a moment, and stored less than what waits here.
    life.anchor([At::Trade(60, 600), At::Fresh]);
    let all = life.all();
    assert_eq!(all.iter().filter(|of| of.1 != 0).count(), 0, "{all:?}");
}

#[test]
fn what_the_stream_may_hold_is_left_out_where_it_cannot_be_read() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &[trade(0, 50), trade(0, 51), trade(1, 7)]);
    let mut life = Life::open(dir.path(), 4 << 30);
    let Record::Trade(told_again) = trade(0, 51) else { panic!("no trade") };
    let told_again = Record::Trade(TradeMsg { flags: told_again.flags | Flags::SNAPSHOT, ..told_again });
    life.push([(0, told_again), (0, trade(0, 55))]);
    life.anchor([At::Unread, At::Fresh]);
    life.push([(0, trade(0, 56))]);
    assert_eq!(life.all(), [(1, 0, 7, 7), (0, 0, 55, 56)]);
}

#[test]
fn what_this_run_took_before_it_knew_the_stream_is_held_against_it_too() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &[trade(1, 7)]);
    let mut life = Life::open(dir.path(), 4 << 30);
    life.push([(0, trade(0, 51)), (0, late(40)), (0, trade(0, 52))]);
    life.anchor([At::Trade(51, 510), At::Fresh]);
    // What comes now fills a gap of the stream, and its feed knows that.
    life.push([(0, late(41))]);
    assert_eq!(life.all(), [(1, 0, 7, 7), (0, 0, 52, 52), (0, 0, 41, 41)]);
}

#[test]
fn a_spool_before_whose_trades_the_stream_has_forgotten_all_may_not_be_whole() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &[trade(0, 50), trade(0, 51)]);
    let mut life = Life::open(dir.path(), 4 << 30);
    life.anchor([At::Forgotten, At::Fresh]);
    assert_eq!(life.all(), [(0, 3, 0, 0), (0, 0, 50, 51)]);
}

#[test]
fn what_another_instance_has_stored_of_an_inherited_spool_is_left_out() {
    let dir = TempDir::new().unwrap();
    left_by_an_earlier_life(dir.path(), &(50..70).map(|id| trade(0, id)).collect::<Vec<_>>());
    let mut life = Life::open(dir.path(), 4 << 30);
    life.push((71..75).map(|id| (0, trade(0, id))));
    life.publisher.shared.backlog.borrow_mut().as_mut().unwrap().skip_inherited();
    while life.publisher.shared.backlog.borrow().as_ref().unwrap().inherits() {
        life.hear();
    }
    // It takes over.
    life.anchor([At::Trade(71, 710), At::Fresh]);
    assert_eq!(life.all(), [(0, 0, 72, 74)]);
    assert_eq!(Life::begin(dir.path(), [None, None]).all(), [(0, 0, 71, 74)], "the earlier life's file is gone");
}

mod ahead;
mod leave;
