//! The life of one venue connection: dial, subscribe, watch, rotate, come back; trades in order, losses declared.
//!
//! [`session`], [`sequence`], [`backoff`] are pure and take the time as an argument; [`socket`] is the only IO;
//! [`mod@run`] puts them together. [`audit`], pure too, looks afterwards at what came of it.

pub mod audit;
pub mod backoff;
pub mod instruments;
pub mod run;
pub mod sequence;
pub mod session;
pub mod socket;
pub mod status;

pub use backoff::Budget;

pub use run::{FeedShared, FeedSpec, run};
pub use sequence::Sequencer;
pub use session::Rules;
pub use status::{FeedState, FeedStatus, RouteStatus};

use crate::market::Record;

/// Where a feed's records go. Implemented by the daemon's outlet, and by tests.
pub trait Deliver {
    /// Takes one record of the instrument with this index in the universe. Never waits.
    fn record(&mut self, route: u32, record: &Record);

    /// Called once after each drained batch of frames: what was taken should become visible now.
    fn batch_end(&mut self);
}
