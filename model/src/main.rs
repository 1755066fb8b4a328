//! The ring's algorithm, the very file of the main build, on atomics of other kinds.
//!
//! `make loom` runs it on a model checker's atomics, `make miri` and `make tsan` run its unit tests. It is a package of
//! its own because these tools have to build everything beneath what they check, and the file beneath is one.

#[path = "../../src/transport/ipc/ring.rs"]
#[allow(dead_code, reason = "each tool uses a part of it")]
mod ring;

#[cfg(loom)]
mod check;

/// What the algorithm takes from the layout. Under the model checker a record has two words instead of six: a torn one
/// shows as well, and every further word multiplies the schedules.
mod layout {
    /// 64-bit words of a record.
    pub(crate) const RECORD_WORDS: usize = if cfg!(loom) { 2 } else { 6 };
    /// 64-bit words of a slot: sequence, record, a spare word.
    pub(crate) const LINE_WORDS: usize = RECORD_WORDS + 2;
}

#[cfg(loom)]
fn main() {
    check::run();
}

#[cfg(not(loom))]
fn main() {
    println!("nothing to run here without --cfg loom: see `make loom`, `make miri` and `make tsan`");
}
