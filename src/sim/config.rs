//! What a simulation is told: venues, where trades come from, the venues' rules, and what can be wrong with any of it.
//!
//! It holds data only; [`super::Sim`] checks it when it starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::faults::Scripted;
use super::plan::FaultPlan;

/// One simulated venue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VenueConfig {
    /// The exchange's token, such as `binance`.
    pub exchange: String,
    /// Canonical symbols, each once. Empty: the venue's usual ones, or with a capture those that it holds.
    pub symbols: Vec<String>,
}

/// A simulation.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The venues, each once.
    pub venues: Vec<VenueConfig>,
    /// Where the first venue listens; the others follow on the next ports. Port 0: a free port for each.
    pub listen: SocketAddr,
    /// Where trades come from.
    pub source: Source,
    /// Decides every generated trade: the same seed gives the same trades, whatever the timing.
    pub seed: u64,
    /// A venue's tape ends after this many trades, single fills; its connections stay. `None`: never.
    pub limit: Option<u64>,
    /// The tape of a venue starts once all its symbols are subscribed. Otherwise at once: a real venue waits for
    /// nobody.
    pub wait_for_subscriber: bool,
    /// Generated trades of each symbol that the venue has behind it when it starts: for REST, and for
    /// what venues push at a subscribe. Not with
    /// a capture.
    pub backlog: u64,
    /// Newest trades kept per symbol, for REST and for [`super::Sim::history`]; 1 or more. One takes 56 bytes.
    pub history: usize,
    /// Frames that wait for one client at most, 1,024 or more. Beyond it a client is disconnected, as real venues do;
    /// flat out, the tape waits for it instead.
    pub queue_frames: usize,
    /// What the venues ask of their clients.
    pub rules: Rules,
    /// Faults at fixed places of a venue's tape.
    pub script: Vec<Scripted>,
    /// Faults by a plan: at times, at places of the tape, by chance.
    pub plan: FaultPlan,
}

/// Where trades come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Seeded trades with bursts.
    Generate {
        /// Trades a second on average, over all symbols of all venues; 0: flat out, as fast as the sockets take them.
        rate: f64,
    },
    /// Recorded frames of one venue, one a line (`.jsonl` or `.jsonl.gz`), sent as they are.
    Capture {
        /// The file.
        path: PathBuf,
        /// How fast.
        pace: Pace,
    },
}

/// How fast a capture is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As it was recorded, by the receive times beside it (`.recv_ns.txt` or `.recv_s.txt`, maybe `.gz`).
    Original {
        /// 1 is the recorded speed, 2 is twice as fast; above 0.
        speed: f64,
    },
    /// This many frames a second, evenly; above 0.
    Rate(f64),
    /// As fast as the sockets take them.
    FlatOut,
}

/// What venues ask of their clients and promise them, at its real values by default. Tests scale the times down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Binance: a ping this often.
    pub ping_every: Duration,
    /// Binance: its pong within this, else the connection is closed.
    pub pong_within: Duration,
    /// Binance: a connection is closed at this age. `None`: never.
    pub lifetime: Option<Duration>,
    /// Binance: `serverShutdown` comes this long before the end of `lifetime`.
    pub shutdown_notice: Duration,
    /// Coinbase: the first subscribe within this, else the connection is closed.
    pub subscribe_within: Duration,
    /// Coinbase: a `heartbeat` a product this often.
    pub heartbeat_every: Duration,
    /// OKX: a connection is closed when nothing was sent on it for this long, by either side.
    pub idle_within: Duration,
    /// Messages a second that a client may send, pings and pongs included. `None`: the venue's own (5 and 100; OKX
    /// counts 480 requests an hour instead).
    pub messages_per_second: Option<u32>,
    /// Binance: REST weight a minute.
    pub rest_weight_per_minute: u32,
    /// Coinbase: REST requests a second.
    pub rest_per_second: u32,
    /// OKX: REST requests in two seconds.
    pub rest_per_two_seconds: u32,
    /// A connection that a fault has left half open is reset after this.
    pub half_open_for: Duration,
}

/// Where a venue can be reached. Each stands where the configuration takes `ws_url` and `rest_url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `ws://host:port`.
    pub ws_url: String,
    /// `http://host:port`.
    pub rest_url: String,
}

/// Why a simulation does not start, or a fault cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// No simulated venue of this name.
    #[error("no simulated venue {exchange:?}; there are {known}")]
    Exchange {
        /// What was asked for.
        exchange: String,
        /// What there is, comma-separated.
        known: String,
    },
    /// A symbol that the venue could not have.
    #[error("the simulated {exchange} cannot have a symbol {symbol:?}: {hint}")]
    Symbol {
        /// The exchange's token.
        exchange: &'static str,
        /// What was asked for.
        symbol: String,
        /// What would do.
        hint: &'static str,
    },
    /// A setting out of its range.
    #[error("{setting}: {message}")]
    Setting {
        /// The field's name.
        setting: &'static str,
        /// What is wrong, and what would do.
        message: String,
    },
    /// The address cannot be had.
    #[error("{exchange} cannot listen on {addr}: {source}; port 0 takes a free one")]
    Listen {
        /// The exchange's token.
        exchange: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The capture cannot be read.
    #[error("capture {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The capture can be read and not used.
    #[error("capture {}: {message}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line, and what would do.
        message: String,
    },
    /// The thread or its runtime could not be started.
    #[error("the simulation's thread does not start: {source}")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// A plan of faults that cannot be read, or does not fit.
    #[error("{place}: {message}")]
    Plan {
        /// The file with its line, or the flag.
        place: String,
        /// What is wrong, and what would do.
        message: String,
    },
    /// A fault that cannot be done.
    #[error("fault refused: {message}")]
    Fault {
        /// Why, and what would do.
        message: String,
    },
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            venues: Vec::new(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            source: Source::Generate { rate: 1_000.0 },
            seed: 1,
            limit: None,
            wait_for_subscriber: true,
            backlog: 100,
            history: 100_000,
            queue_frames: 65_536,
            rules: Rules::default(),
            script: Vec::new(),
            plan: FaultPlan::default(),
        }
    }
}

impl SimConfig {
    /// A simulation of these venues with their usual symbols, on loopback, otherwise as [`Self::default`].
    #[must_use]
    pub fn of(exchanges: &[&str]) -> Self {
        let venue = |exchange: &&str| VenueConfig { exchange: (*exchange).to_owned(), symbols: Vec::new() };
        Self { venues: exchanges.iter().map(venue).collect(), ..Self::default() }
    }

    /// Whether the tape waits for its subscribers instead of a clock.
    pub(super) fn flat_out(&self) -> bool {
        match &self.source {
            Source::Generate { rate } => *rate == 0.0,
            Source::Capture { pace, .. } => *pace == Pace::FlatOut,
        }
    }

    /// Refuses settings out of their range.
    pub(super) fn check(&self) -> Result<(), SimError> {
        let refuse = |setting, message: String| Err(SimError::Setting { setting, message });
        if self.venues.is_empty() {
            return refuse("venues", "none is named; name at least one".to_owned());
        }
        if self.history == 0 {
            return refuse("history", "0 keeps nothing; 1 or more".to_owned());
        }
        if self.queue_frames < 1_024 {
            return refuse("queue_frames", format!("{} is too few; 1024 or more", self.queue_frames));
        }
        match &self.source {
            Source::Generate { rate } if !rate.is_finite() || *rate < 0.0 => {
                refuse("rate", format!("{rate} is no rate; above 0, or 0 for flat out"))
            }
            Source::Capture { pace: Pace::Original { speed: x } | Pace::Rate(x), .. }
                if !x.is_finite() || *x <= 0.0 =>
            {
                refuse("pace", format!("{x} is no pace; above 0"))
            }
            Source::Capture { .. } if self.venues.len() != 1 => {
                refuse("venues", "a capture is of one venue; name that one".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(60),
            lifetime: Some(Duration::from_secs(24 * 3_600)),
            shutdown_notice: Duration::from_secs(10),
            subscribe_within: Duration::from_secs(5),
            heartbeat_every: Duration::from_secs(1),
            idle_within: Duration::from_secs(30),
            messages_per_second: None,
            rest_weight_per_minute: 6_000,
            rest_per_second: 10,
            rest_per_two_seconds: 20,
            half_open_for: Duration::from_secs(120),
        }
    }
}
