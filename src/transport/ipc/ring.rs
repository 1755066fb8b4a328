//! The ring's algorithm on atomic words: how one writer and any number of readers share slots without waiting.
//!
//! It knows no file, no mapping and no clock. Words, fences and slots come through [`Words`], so that a model checker
//! can put its own atomics in their place: `model/` does, with this very file (`make loom`).
//!
//! Record `n` lies in slot `n mod capacity`. The slot's sequence is `2n+1` while the record is written and `2n+2` once
//! it is whole, so a reader that wants record `n` sees by one number whether it is whole, not there yet, or
//! overwritten. Every word of a record is an atomic of its own: a reader may copy while the writer writes, and what it
//! then copied is thrown away, but it is never undefined behaviour.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::layout::{LINE_WORDS, RECORD_WORDS};

/// A 64-bit atomic word.
pub(super) trait Word {
    /// Its value.
    fn load(&self, order: Ordering) -> u64;
    /// Replaces its value.
    fn store(&self, value: u64, order: Ordering);
}

/// The shared memory that the algorithm runs on.
pub(super) trait Words {
    /// The atomics in use.
    type Word: Word;
    /// Number of slots, a power of two.
    fn capacity(&self) -> u64;
    /// Records published since the epoch began.
    fn head(&self) -> &Self::Word;
    /// The slot of record `n`: sequence, six words of record, one spare word.
    fn slot(&self, n: u64) -> &[Self::Word; LINE_WORDS];
    /// A fence of the same memory model as the words.
    fn fence(order: Ordering);
}

/// A record as its slot holds it.
pub(super) type RecordWords = [u64; RECORD_WORDS];

/// What a reader finds at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The record, whole.
    Record(RecordWords),
    /// Not written yet, or being written right now.
    NotYet,
    /// Overwritten: go on at `next`; everything before it is lost to this reader.
    Lapped {
        /// Where to read next, always beyond the position asked for.
        next: u64,
    },
}

/// Writes record `n`, visible to readers at once. Only the one writer calls it, with `n` growing by one each time.
#[inline]
pub(super) fn write<W: Words>(ring: &W, n: u64, record: &RecordWords) {
    begin(ring, n);
    fill(ring, n, record);
    commit(ring, n);
}

/// First step of [`write()`]: the slot is marked as being written.
#[inline]
pub(super) fn begin<W: Words>(ring: &W, n: u64) {
    ring.slot(n)[0].store(writing(n), Ordering::Relaxed);
    // No word of the record may become visible before the mark: a reader that copied any of them sees the mark
    // when it reads the sequence again.
    W::fence(Ordering::Release);
}

/// Second step of [`write()`]: the words of the record.
#[inline]
pub(super) fn fill<W: Words>(ring: &W, n: u64, record: &RecordWords) {
    let [_, words @ .., _] = ring.slot(n);
    for (word, value) in words.iter().zip(record) {
        word.store(*value, Ordering::Relaxed);
    }
}

/// Last step of [`write()`]: the slot is marked as whole.
#[inline]
pub(super) fn commit<W: Words>(ring: &W, n: u64) {
    ring.slot(n)[0].store(whole(n), Ordering::Release);
}

/// Says that `count` records are published since the epoch began. Once a batch is enough: readers follow the slots'
/// own sequences and need `head` only to start and to find their way after being lapped.
#[inline]
pub(super) fn publish<W: Words>(ring: &W, count: u64) {
    ring.head().store(count, Ordering::Release);
}

/// Looks for record `n`.
#[inline]
pub(super) fn read<W: Words>(ring: &W, n: u64) -> Read {
    let [sequence, words @ .., _] = ring.slot(n);
    // Relaxed and then a fence, here and below, instead of acquire loads: only relaxed loads are guaranteed to
    // work on pages mapped read-only, and after the fence they order the same.
    let seen = sequence.load(Ordering::Relaxed);
    if seen < whole(n) {
        return Read::NotYet;
    }
    W::fence(Ordering::Acquire);
    if seen == whole(n) {
        let mut record = [0; RECORD_WORDS];
        for (value, word) in record.iter_mut().zip(words) {
            *value = word.load(Ordering::Relaxed);
        }
        // The copy must not sink below the second look at the sequence.
        W::fence(Ordering::Acquire);
        if sequence.load(Ordering::Relaxed) == seen {
            return Read::Record(record);
        }
    }
    Read::Lapped { next: oldest_safe(ring).max(n.saturating_add(1)) }
}

/// The number of published records.
#[inline]
pub(super) fn head<W: Words>(ring: &W) -> u64 {
    let head = ring.head().load(Ordering::Relaxed);
    W::fence(Ordering::Acquire);
    // No writer gets this far; a hostile one must not bring a reader's position to overflow.
    head.min(1 << 62)
}

/// The oldest record that the writer will not overwrite within the next [`margin`] records.
pub(super) fn oldest_safe<W: Words>(ring: &W) -> u64 {
    match head(ring).checked_sub(ring.capacity()) {
        Some(oldest) => oldest.saturating_add(margin(ring.capacity())),
        // Nothing has been overwritten so far.
        None => 0,
    }
}

/// How far ahead of the writer's next slot a lapped reader starts again, in records: an eighth of the ring, so that it
/// has time to read before the writer is upon it once more.
pub(super) const fn margin(capacity: u64) -> u64 {
    if capacity < 8 { 1 } else { capacity / 8 }
}

/// The sequence of a slot while record `n` is written. Wrapping, because a hostile `head` may name any number.
const fn writing(n: u64) -> u64 {
    n.wrapping_mul(2).wrapping_add(1)
}

/// The sequence of a slot that holds record `n`.
const fn whole(n: u64) -> u64 {
    n.wrapping_mul(2).wrapping_add(2)
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, value, order);
    }
}

/// The processor's own fence, for every [`Words`] on real memory.
#[inline]
pub(super) fn hardware_fence(order: Ordering) {
    fence(order);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring in plain memory.
    struct Memory {
        head: AtomicU64,
        slots: Vec<[AtomicU64; LINE_WORDS]>,
    }

    impl Memory {
        fn new(capacity: usize) -> Self {
            Self { head: AtomicU64::new(0), slots: (0..capacity).map(|_| Default::default()).collect() }
        }
    }

    impl Words for Memory {
        type Word = AtomicU64;

        fn capacity(&self) -> u64 {
            self.slots.len() as u64
        }

        fn head(&self) -> &AtomicU64 {
            &self.head
        }

        fn slot(&self, n: u64) -> &[AtomicU64; LINE_WORDS] {
            &self.slots[usize::try_from(n % self.capacity()).unwrap()]
        }

        fn fence(order: Ordering) {
            hardware_fence(order);
        }
    }

    /// A record that says of itself which one it is, in every word.
    fn record(n: u64) -> RecordWords {
        std::array::from_fn(|i| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i as u64))
    }

    #[test]
    fn sequences_stand_in_the_slots_as_the_layout_says() {
        let ring = Memory::new(4);
        begin(&ring, 5);
        assert_eq!(ring.slots[1][0].load(Ordering::Relaxed), 11);
        fill(&ring, 5, &[10, 20, 30, 40, 50, 60]);
        commit(&ring, 5);
        let words: Vec<u64> = ring.slots[1].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        assert_eq!(words, [12, 10, 20, 30, 40, 50, 60, 0]);
        publish(&ring, 6);
        assert_eq!(ring.head.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_record_is_there_only_when_whole() {
        let ring = Memory::new(4);
        assert_eq!(read(&ring, 0), Read::NotYet);
        begin(&ring, 0);
        assert_eq!(read(&ring, 0), Read::NotYet);
        fill(&ring, 0, &record(0));
        assert_eq!(read(&ring, 0), Read::NotYet);
        commit(&ring, 0);
        assert_eq!(read(&ring, 0), Read::Record(record(0)));
        assert_eq!(read(&ring, 1), Read::NotYet);
    }

    #[test]
    fn a_slot_being_overwritten_is_lapped_before_it_is_whole() {
        let ring = Memory::new(4);
        for n in 0..4 {
            write(&ring, n, &record(n));
        }
        publish(&ring, 4);
        begin(&ring, 4);
        // head - capacity + margin = 1.
        assert_eq!(read(&ring, 0), Read::Lapped { next: 1 });
        assert_eq!(read(&ring, 4), Read::NotYet);
    }

    #[test]
    fn a_lapped_reader_goes_on_an_eighth_of_the_ring_ahead_of_the_writer() {
        let ring = Memory::new(64);
        for n in 0..1_000 {
            write(&ring, n, &record(n));
            publish(&ring, n + 1);
        }
        let Read::Lapped { next } = read(&ring, 3) else { panic!("3 is long gone") };
        assert_eq!(next, 1_000 - 64 + 8);
        assert_eq!(read(&ring, next), Read::Record(record(next)));
    }

    #[test]
    fn with_a_head_that_trails_a_lapped_reader_still_moves_forward() {
        let ring = Memory::new(4);
        for n in 0..40 {
            write(&ring, n, &record(n));
        }
        let mut position = 0;
        let mut lost = 0;
        while let Read::Lapped { next } = read(&ring, position) {
            lost += next - position;
            position = next;
        }
        assert_eq!((position, lost), (36, 36));
    }

    #[test]
    fn readers_beside_a_writer_get_whole_records_and_count_the_rest_exactly() {
        // An interpreter is a thousand times slower.
        const RECORDS: u64 = if cfg!(miri) { 500 } else { 300_000 };
        let ring = Memory::new(64);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut position, mut whole, mut lost) = (0, 0, 0);
                        while position < RECORDS {
                            match read(&ring, position) {
                                Read::Record(words) => {
                                    assert_eq!(words, record(position), "record {position} is torn");
                                    whole += 1;
                                    position += 1;
                                }
                                Read::NotYet => std::thread::yield_now(),
                                Read::Lapped { next } => {
                                    lost += next - position;
                                    position = next;
                                }
                            }
                        }
                        (whole, lost)
                    })
                })
                .collect();
            for n in 0..RECORDS {
                write(&ring, n, &record(n));
                publish(&ring, n + 1);
                if n % 1_000 == 0 {
                    // On two cores the readers would otherwise see little but laps.
                    std::thread::yield_now();
                }
            }
            for reader in readers {
                let (whole, lost) = reader.join().unwrap();
                assert_eq!(whole + lost, RECORDS);
                assert!(whole >= 56, "the last records are there for everyone");
            }
        });
    }
}
