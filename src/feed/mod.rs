//! The life of one venue connection: dial, subscribe, watch, rotate, come back; trades in order, losses declared.
//!
//! [`session`], [`sequence`], [`backoff`] are pure and take the time as an argument; [`socket`] is the only IO;
//! [`mod@run`] puts them together. [`audit`], pure too, looks afterwards at what came of it.

pub mod audit;
pub mod backfill;
pub mod backoff;
pub mod instruments;
pub mod mend;
pub mod ranges;
pub mod rest;
pub mod run;
pub mod sequence;
pub mod session;
pub mod socket;
pub mod stamp;
pub mod status;

pub use backoff::Budget;

pub use run::{FeedShared, FeedSpec, run};
pub use sequence::Sequencer;
pub use session::Rules;
pub use status::{FeedState, FeedStatus, RouteStatus};

use crate::market::{GapMsg, Record};

/// Where a feed's records go. Implemented by the daemon's outlet, and by tests.
pub trait Deliver {
    /// Takes one record of the instrument with this index in the universe. Never waits.
    fn record(&mut self, route: u32, record: &Record);

    /// Called once after each drained batch of frames: what was taken should become visible now.
    fn batch_end(&mut self);

    /// Takes a record that only the broker misses: the ring had it. Who has no broker has nothing to do.
    fn restore(&mut self, route: u32, record: &Record) {
        let _ = (route, record);
    }

    /// Whether the broker takes what it is given: there is no sense in fetching what it would have to wait for.
    fn has_room(&self) -> bool {
        true
    }

    /// A gap will not be filled, or not wholly: nothing need wait for it. Who keeps nothing back has nothing to do.
    fn give_up(&mut self, route: u32, gap: &GapMsg) {
        let _ = (route, gap);
    }
}
