//! Repairs holes from a venue's REST history: which pages to ask for and when a hole is whole ([`job`]), what may be
//! asked when ([`budget`]), which symbols are silent for too long ([`watch`]), and the client that asks ([`mod@run`]).
//!
//! All but the client is pure.

pub mod budget;
pub mod job;
pub mod queue;
pub mod run;
pub mod watch;

pub use budget::RestBudget;
pub use queue::{Ask, RepairQueue, RepairStatus};
pub use run::{RepairShared, RepairSpec, run};
