//! One writer that wraps around, two readers, every order in which their steps can interleave and every value that the
//! memory model lets them see, up to a bound on preemptions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

use crate::layout::LINE_WORDS;
use crate::ring::{self, Read, RecordWords, Word, Words};

/// Records that the writer writes, into half as many slots.
const WRITES: u64 = 4;
const CAPACITY: usize = 2;
/// How often a thread may be interrupted where it could have gone on.
const PREEMPTIONS: usize = 2;

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, value, order);
    }
}

/// A ring in the checker's memory. Without fences it is wrong, and the checker must see that.
struct Memory<const FENCES: bool> {
    head: AtomicU64,
    slots: [[AtomicU64; LINE_WORDS]; CAPACITY],
}

impl<const FENCES: bool> Memory<FENCES> {
    fn new() -> Self {
        let word = |_| AtomicU64::new(0);
        Self { head: AtomicU64::new(0), slots: std::array::from_fn(|_| std::array::from_fn(word)) }
    }
}

impl<const FENCES: bool> Words for Memory<FENCES> {
    type Word = AtomicU64;

    fn capacity(&self) -> u64 {
        CAPACITY as u64
    }

    fn head(&self) -> &AtomicU64 {
        &self.head
    }

    fn slot(&self, n: u64) -> &[AtomicU64; LINE_WORDS] {
        let index = usize::try_from(n).expect("few records") % CAPACITY;
        &self.slots[index]
    }

    fn fence(order: Ordering) {
        if FENCES {
            fence(order);
        }
    }
}

/// A record that says in every word which one it is.
fn record(n: u64) -> RecordWords {
    std::array::from_fn(|word| (n + 1) * 100 + word as u64)
}

/// What a reader has seen.
#[derive(Default)]
struct Seen {
    position: u64,
    read: u64,
    lost: u64,
}

impl Seen {
    /// One look, as `Reader::poll` does it.
    fn poll(&mut self, ring: &impl Words) -> bool {
        match ring::read(ring, self.position) {
            Read::NotYet => return false,
            Read::Record(words) => {
                assert_eq!(words, record(self.position), "record {} is torn or out of order", self.position);
                self.position += 1;
                self.read += 1;
            }
            Read::Lapped { next } => {
                assert!(next > self.position, "a lapped reader must move forward");
                assert!(next <= WRITES, "a reader was sent beyond what is written");
                self.lost += next - self.position;
                self.position = next;
            }
        }
        assert_eq!(self.read + self.lost, self.position, "what was not read is not counted exactly");
        true
    }
}

/// `readers` readers beside the writer; each looks `looks` times meanwhile, and on to the end when the writer is done.
fn model<const FENCES: bool>(readers: usize, looks: usize) -> usize {
    let schedules = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = schedules.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let ring = Arc::new(Memory::<FENCES>::new());
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let ring = ring.clone();
                thread::spawn(move || {
                    let mut seen = Seen::default();
                    for _ in 0..looks {
                        seen.poll(&*ring);
                    }
                    seen
                })
            })
            .collect();
        for n in 0..WRITES {
            ring::write(&*ring, n, &record(n));
            ring::publish(&*ring, n + 1);
        }
        for thread in threads {
            let mut seen = thread.join().expect("a reader");
            while seen.poll(&*ring) {}
            assert_eq!(seen.position, WRITES, "what is whole is there for everyone");
            assert!(seen.read > 0, "the last record was never in danger");
        }
    });
    schedules.load(std::sync::atomic::Ordering::Relaxed)
}

/// Runs all of it; panics where something does not hold.
pub(crate) fn run() {
    // Readers change nothing, so what two of them may see multiplies and adds little: two looks each would take hours.
    for (readers, looks) in [(1, 4), (2, 1)] {
        let schedules = model::<true>(readers, looks);
        println!(
            "{WRITES} writes into {CAPACITY} slots, {readers} readers x {looks} looks, up to {PREEMPTIONS} preemptions: \
             {schedules} schedules hold"
        );
    }
    std::panic::set_hook(Box::new(|_| {}));
    let without = catch_unwind(AssertUnwindSafe(|| model::<false>(1, 4)));
    let _ = std::panic::take_hook();
    assert!(without.is_err(), "without its fences the ring is wrong, and the checker has not seen it");
    println!("without the fences it finds a torn record, as it must");
}
