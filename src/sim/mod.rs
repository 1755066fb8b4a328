//! Simulated venues: real WebSocket and REST on loopback, in each venue's own wire format, with faults on demand.
//!
//! Trades come from a seeded generator or from a capture. Everything runs on one thread of its own, so that it never
//! disturbs a shard. The simulation shares no wire code with the adapters in [`crate::exchange`]: an error there
//! cannot hide here. It does not know who listens.
//!
//! Faults come from the code ([`Sim::inject`]), from fixed places of a tape ([`SimConfig::script`]) or from a plan
//! ([`SimConfig::plan`]). [`Sim::history`], [`Sim::rows`] and [`Sim::sent`] are the oracle: what was issued, and
//! exactly what became of it.
//!
//! ```no_run
//! # fn main() -> Result<(), data_manager::sim::SimError> {
//! use data_manager::sim::{Sim, SimConfig};
//! let sim = Sim::spawn(SimConfig::of(&["binance", "coinbase"]))?;
//! let endpoint = sim.endpoint("binance").expect("it was asked for");
//! println!("ws_url = {:?}", endpoint.ws_url);
//! # Ok(())
//! # }
//! ```

mod binance;
mod capture;
mod coinbase;
mod config;
mod connection;
mod faults;
mod generator;
mod history;
mod okx;
mod plan;
mod server;
mod start;
mod tape;
mod twin;
mod venue;

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use config::{Endpoint, Pace, Rules, SimConfig, SimError, Source, VenueConfig};
pub use faults::{AckFault, Damage, Fault, RestFault, Scripted, Which, WireTime};
pub use history::SimTrade;
pub use plan::FaultPlan;
pub use venue::Sent;

use history::Book;
use venue::Public;

/// Sizes of a huge frame.
const HUGE_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 20;

/// A running simulation. Dropping it stops it.
#[derive(Debug)]
pub struct Sim {
    venues: Vec<Arc<Public>>,
    faults: mpsc::Sender<Fault>,
    replays: bool,
    flat_out: bool,
    stop: CancellationToken,
    /// Resolves when the thread is done: it drops the other end.
    ended: oneshot::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Binds the ports, then serves them on a thread of its own. When it returns, clients can connect.
    ///
    /// # Errors
    /// [`SimError`] when a setting is wrong, a port cannot be had, or the capture cannot be read.
    pub fn spawn(config: SimConfig) -> Result<Self, SimError> {
        start::start(config)
    }

    /// The tokens of the venues that can be simulated.
    #[must_use]
    pub fn exchanges() -> Vec<&'static str> {
        start::twins(Rules::default()).iter().map(|twin| twin.name()).collect()
    }

    /// The tokens of the venues of this simulation, in the order in which they were asked for.
    pub fn venues(&self) -> impl Iterator<Item = &'static str> {
        self.venues.iter().map(|venue| venue.exchange)
    }

    /// Where a venue can be reached.
    #[must_use]
    pub fn endpoint(&self, exchange: &str) -> Option<Endpoint> {
        self.venue(exchange).map(|venue| venue.endpoint.clone())
    }

    /// Canonical symbols of a venue, in the order in which it lists them.
    #[must_use]
    pub fn symbols(&self, exchange: &str) -> Vec<String> {
        let listed = |venue: &Public| venue.book().listings().iter().map(|listing| listing.symbol.clone()).collect();
        self.venue(exchange).map(listed).unwrap_or_default()
    }

    /// What a venue has done so far. Zeros for a venue that is not simulated.
    #[must_use]
    pub fn sent(&self, exchange: &str) -> Sent {
        self.venue(exchange).map(Public::sent).unwrap_or_default()
    }

    /// Whether every tape has ended. Frames may still be on their way.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.venues.iter().all(|venue| venue.finished.load(Acquire))
    }

    /// What the tape has issued of a symbol, oldest first: the newest [`SimConfig::history`] at most. Trades that
    /// nobody was sent are among them, those from before the start are not. These are single fills, as REST tells them.
    #[must_use]
    pub fn history(&self, exchange: &str, symbol: &str) -> Vec<SimTrade> {
        self.look(exchange, symbol, Book::issued)
    }

    /// The same trades as the socket tells them. A venue that sums up fills has fewer of these: compare what came from
    /// its socket with this, and what came from its REST API with [`Self::history`]. Elsewhere the two are equal.
    ///
    /// A row at the far end of the history whose first fills are forgotten already is left out.
    #[must_use]
    pub fn rows(&self, exchange: &str, symbol: &str) -> Vec<SimTrade> {
        self.look(exchange, symbol, Book::issued_rows)
    }

    fn look(&self, exchange: &str, symbol: &str, of: impl Fn(&Book, usize) -> Vec<SimTrade>) -> Vec<SimTrade> {
        let Some(venue) = self.venue(exchange) else { return Vec::new() };
        let book = venue.book();
        let index = book.listings().iter().position(|listing| listing.symbol == symbol);
        index.map(|index| of(&book, index)).unwrap_or_default()
    }

    /// Makes a fault happen, within a few milliseconds.
    ///
    /// # Errors
    /// [`SimError::Fault`] when this simulation has no such venue or symbol, cannot do it, or has 256 faults waiting.
    pub fn inject(&self, fault: Fault) -> Result<(), SimError> {
        self.check(&fault)?;
        self.faults
            .try_send(fault)
            .map_err(|_| SimError::Fault { message: "256 faults wait already, or the simulation has ended".to_owned() })
    }

    /// Ends every connection and waits until the thread is done.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // An error is what is waited for: the other end is dropped.
        let _ = (&mut self.ended).await;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the simulation's thread panicked");
        }
    }

    fn venue(&self, exchange: &str) -> Option<&Public> {
        self.venues.iter().find(|venue| venue.exchange == exchange).map(AsRef::as_ref)
    }

    fn check(&self, fault: &Fault) -> Result<(), SimError> {
        let refuse = |message: String| Err(SimError::Fault { message });
        let Some(venue) = self.venue(fault.exchange()) else {
            return refuse(format!("{:?} is not among the simulated venues", fault.exchange()));
        };
        let book = venue.book();
        match (fault, fault.symbol()) {
            (Fault::SkipIds { .. } | Fault::RestartIds { .. }, _) if self.replays => {
                refuse("a capture has its own ids; withhold trades instead".to_owned())
            }
            (Fault::Burst { .. }, _) if self.flat_out => {
                refuse("flat out there is nothing faster; give a rate".to_owned())
            }
            (Fault::Burst { factor: 0, .. } | Fault::Delay { by: 0, .. }, _) => {
                refuse("factor and by are 1 or more".to_owned())
            }
            (Fault::Huge { bytes, .. }, _) if !HUGE_BYTES.contains(bytes) => {
                refuse(format!("{bytes} bytes; from 1 KiB to 256 MiB"))
            }
            (_, Some(symbol)) if !book.listings().iter().any(|listing| listing.symbol == symbol) => {
                refuse(format!("{} lists no {symbol:?}", venue.exchange))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
