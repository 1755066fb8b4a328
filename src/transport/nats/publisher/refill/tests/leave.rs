//! A drain with the broker away: what is in memory and what waits on disk is there for the next life, once, in order.

use super::*;

/// The least memory that a publisher may have.
const TINY: u64 = 64 << 10;

impl Life {
    /// It knows the stream, which is empty; the broker takes nothing.
    fn away(directory: &Path, memory: u64) -> Self {
        let mut this = Self::start(directory, (memory, 4 << 30));
        this.hear();
        this.anchor([At::Fresh, At::Fresh]);
        this
    }

    /// Trades of the first instrument, with one of the second now and then.
    fn take(&self, ids: std::ops::Range<u64>) {
        for id in ids {
            self.push([(0, trade(0, id))]);
            if id % 1_000 == 0 {
                self.push([(1, trade(1, id / 1_000))]);
            }
        }
        if let Some(backlog) = self.transport.shared.backlog.borrow_mut().as_mut() {
            backlog.flush();
        }
    }

    /// Reads so many times from disk, as far as memory has room.
    fn read_back(&mut self, times: usize) {
        for _ in 0..times {
            self.publisher.refill();
            while self.publisher.shared.backlog.borrow().as_ref().is_some_and(Backlog::is_reading) {
                self.hear();
            }
        }
    }

    /// The drain's time is over.
    fn leave(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.publisher.leave_behind());
        self.end();
    }
}

/// What the next life finds of [`Life::take`].
fn found(directory: &Path) -> Vec<Record> {
    let mut life = Life::begin(directory, [None, None]);
    while life.publisher.shared.spooled() > 0 {
        life.publisher.refill();
        life.hear();
    }
    let remains = life.publisher.shared.window.borrow().remains();
    life.end();
    remains.iter().map(|bytes| Record::from_bytes(bytes).unwrap()).collect()
}

fn taken(ids: std::ops::Range<u64>) -> Vec<Record> {
    ids.flat_map(|id| [Some(trade(0, id)), (id % 1_000 == 0).then(|| trade(1, id / 1_000))]).flatten().collect()
}

#[test]
fn what_is_in_memory_stands_in_front_of_what_is_on_disk() {
    let dir = TempDir::new().unwrap();
    let life = Life::away(dir.path(), TINY);
    life.take(0..20_000);
    assert!(life.publisher.shared.spooled() > 15_000 && !life.publisher.shared.window.borrow().is_drained());
    life.leave();
    assert!(found(dir.path()) == taken(0..20_000));
}

#[test]
fn what_came_back_from_disk_is_left_once_however_often_a_run_ends() {
    let dir = TempDir::new().unwrap();
    Life::away(dir.path(), TINY).leave();
    for round in 0..5_u64 {
        let mut life = Life::away(dir.path(), TINY);
        // The more often, the more of it is in memory and still in its files.
        life.read_back(usize::try_from(round).unwrap());
        life.take(round * 9_000..(round + 1) * 9_000);
        life.leave();
    }
    assert!(found(dir.path()) == taken(0..45_000));
}

#[test]
fn what_was_read_back_whole_and_what_came_behind_it_in_memory_is_left_once() {
    let dir = TempDir::new().unwrap();
    let life = Life::away(dir.path(), TINY);
    life.take(0..9_000);
    life.leave();
    let mut life = Life::away(dir.path(), 1 << 30);
    life.read_back(4);
    assert_eq!(life.publisher.shared.spooled(), 0);
    life.take(9_000..10_000);
    life.leave();
    assert!(found(dir.path()) == taken(0..10_000));
}

#[test]
fn more_than_the_thread_takes_at_once_is_left_whole() {
    let dir = TempDir::new().unwrap();
    let life = Life::away(dir.path(), 1 << 30);
    life.take(0..700_000);
    assert_eq!(life.publisher.shared.spooled(), 0);
    life.leave();
    assert!(found(dir.path()) == taken(0..700_000));
}

#[test]
fn a_drain_before_the_disk_has_been_looked_at_leaves_all_behind_what_is_there() {
    let dir = TempDir::new().unwrap();
    let life = Life::away(dir.path(), TINY);
    life.take(0..5_000);
    life.leave();
    let life = Life::start(dir.path(), (TINY, 4 << 30));
    life.push((5_000..6_000).map(|id| (0, trade(0, id))));
    life.leave();
    let expected = taken(0..6_000).into_iter().filter(|record| *record != trade(1, 5)).collect::<Vec<_>>();
    assert!(found(dir.path()) == expected);
}

#[test]
fn what_is_not_configured_any_more_is_kept_in_a_directory_of_its_own() {
    let dir = TempDir::new().unwrap();
    let stranger = |id| match trade(0, id) {
        Record::Trade(trade) => Record::Trade(TradeMsg { instrument_id: 77, ..trade }),
        Record::Gap(_) => panic!("no trade"),
    };
    left_by_an_earlier_life(dir.path(), &[trade(0, 1), stranger(1), trade(0, 2), stranger(2), trade(1, 1)]);
    assert_eq!(found(dir.path()), [trade(0, 1), trade(0, 2), trade(1, 1)]);
    let bytes = fs::read(dir.path().join("1").join("00000000000001000000.spool")).unwrap();
    assert_eq!(bytes[160..], [stranger(1), stranger(2)].map(|record| *record.as_bytes()).concat());
}
