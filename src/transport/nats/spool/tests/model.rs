//! The spool against a list in memory: any sequence of calls, reopened at any point.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// Appends this many records in one block.
    Append(usize),
    /// Reads up to this many.
    Read(usize),
    /// Releases what has been read but this many.
    Release(u64),
    DropOldest,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..6_000_usize).prop_map(Op::Append),
        4 => (0..9_000_usize).prop_map(Op::Read),
        3 => (0..3_000_u64).prop_map(Op::Release),
        1 => Just(Op::DropOldest),
        1 => Just(Op::Reopen),
    ]
}

/// What should be there: ids of the records in order, the first with its number.
#[derive(Default)]
struct Model {
    held: VecDeque<u64>,
    /// Number of the first held record, of the next to read, and what was released.
    first: u64,
    next: u64,
    released: u64,
}

impl Model {
    fn end(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    /// Segments were removed: everything before `first` is gone. Gives the ids that had not been read.
    fn forget(&mut self, first: u64) -> Vec<u64> {
        let mut unread = Vec::new();
        while self.first < first {
            let id = self.held.pop_front().unwrap();
            if self.first >= self.next {
                unread.push(id);
            }
            self.first += 1;
        }
        self.next = self.next.max(first);
        self.released = self.released.max(first);
        unread
    }

    fn assert_dropped(&mut self, spool: &Spool, dropped: &Dropped) {
        let first = spool.segments.front().map_or(spool.end, |segment| segment.first);
        let unread = self.forget(first);
        assert_eq!(dropped.records, unread.len() as u64);
        for lost in dropped.lost.values() {
            let theirs: Vec<&u64> =
                unread.iter().filter(|id| trade(**id).instrument_id == lost.instrument_id).collect();
            assert_eq!(lost.records, theirs.len() as u64);
            assert_eq!(lost.first, *trade(**theirs.first().unwrap()).as_bytes());
            assert_eq!(lost.last, *trade(**theirs.last().unwrap()).as_bytes());
        }
        assert_eq!(dropped.lost.values().map(|lost| lost.records).sum::<u64>(), dropped.records);
        assert_eq!(dropped.broken, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_in_any_order_agree_with_a_list(ops in prop::collection::vec(op(), 1..120)) {
        let dir = TempDir::new().unwrap();
        let limits = Limits { bytes: 2 << 20, segment_bytes: 1 << 20 };
        let (mut spool, _) = open(dir.path(), limits);
        let mut model = Model::default();
        let mut id = 0;
        for op in ops {
            match op {
                Op::Append(count) => {
                    let ids = id..id + count as u64;
                    id = ids.end;
                    let appended = spool.append(CREATED, &trades(ids.clone())).unwrap();
                    model.held.extend(ids);
                    model.assert_dropped(&spool, &appended.dropped);
                    prop_assert_eq!(appended.position.number(), model.end());
                    prop_assert!(spool.bytes() <= limits.bytes);
                }
                Op::Read(max) => {
                    let mut records = Vec::new();
                    let mut reading = spool.read(max, &mut records).unwrap();
                    // A call ends where one life ended and another began.
                    while records.len() < max && spool.unread() > 0 {
                        reading = spool.read(max - records.len(), &mut records).unwrap();
                    }
                    let skip = usize::try_from(model.next - model.first).unwrap();
                    let expected: Vec<Bytes> =
                        model.held.iter().skip(skip).take(max).map(|id| *trade(*id).as_bytes()).collect();
                    model.next += expected.len() as u64;
                    prop_assert!(records == expected);
                    prop_assert_eq!(reading.position.number(), model.next);
                    prop_assert_eq!(reading.broken, vec![]);
                }
                Op::Release(back) => {
                    model.released = model.released.max(model.next.saturating_sub(back));
                    spool.release(Position(model.next.saturating_sub(back))).unwrap();
                    let first = spool.segments.front().map_or(spool.end, |segment| segment.first);
                    prop_assert!(first <= model.released);
                    prop_assert!(model.forget(first).is_empty());
                }
                Op::DropOldest => {
                    let dropped = spool.drop_oldest().unwrap();
                    model.assert_dropped(&spool, &dropped);
                }
                Op::Reopen => {
                    drop(spool);
                    let recovered;
                    (spool, recovered) = open(dir.path(), limits);
                    prop_assert_eq!(recovered.records, model.held.len() as u64);
                    prop_assert_eq!(recovered.broken, vec![]);
                    if model.held.is_empty() {
                        // Numbers start again in an empty directory.
                        model.first = 0;
                    }
                    (model.next, model.released) = (model.first, model.first);
                }
            }
            prop_assert_eq!(spool.records(), model.end() - model.released);
            prop_assert_eq!(spool.unread(), model.end() - model.next);
            prop_assert_eq!(spool.is_empty(), spool.segments.is_empty());
        }
    }
}
