//! A complete small strategy process: reads trades from wherever its configuration says, decides, and after a kill at any
//! moment goes on without having missed or repeated a trade.
//!
//! ```sh
//! cargo run --example strategy -- strategy.toml
//! ```
//!
//! ```toml
//! [strategy]
//! trades = 50                       # looks this many trades back
//! state  = "strategy.state"         # what it knows, and how far it has read
//!
//! [data_source.nats]                # or [data_source.ipc], which has no memory: then it begins anew
//! servers = ["nats://localhost:4222"]
//! durable = "strategy"
//! start   = "all"
//! ```
//!
//! It prints a line of JSON whenever the price is higher, or lower, than all of the last trades; that is no advice.

#![allow(clippy::disallowed_methods, reason = "a program of its own reads its own clock")]

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_manager::market::Decimal;
use data_manager::source::{self, DataSource, Event, Lost, Place, Trade, TradeSource};
use serde::{Deserialize, Serialize};

/// How often what is known is put on disk. What came since is read again after a kill, and decided the same way.
const SAVE_EVERY: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Config {
    strategy: Strategy,
    data_source: DataSource,
}

#[derive(Deserialize)]
struct Strategy {
    trades: usize,
    state: PathBuf,
}

/// Everything that the strategy knows, together with how far it has read: both are saved in one step.
#[derive(Default, Deserialize, Serialize)]
struct State {
    /// The last sequence of the stream of which all records are in here.
    after: Option<u64>,
    /// Signals given so far.
    signals: u64,
    /// The last prices of each symbol, mantissa and scale.
    prices: BTreeMap<String, VecDeque<(i64, u8)>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: strategy CONFIG.toml")?;
    let config: Config = toml::from_str(&std::fs::read_to_string(path)?)?;
    let mut state = State::load(&config.strategy.state)?;
    let mut data_source = config.data_source;
    if let Some(nats) = &mut data_source.nats {
        // What we have saved says where to go on; the server's own memory only spares it the rest.
        nats.after = state.after.or(nats.after);
        nats.auto_commit = false;
    }
    let mut source = source::open(&data_source)?;
    run(&mut *source, &config.strategy, &mut state)
}

/// Reads, decides and saves, without end.
fn run(source: &mut dyn TradeSource, strategy: &Strategy, state: &mut State) -> Result<(), Box<dyn std::error::Error>> {
    let (mut saved_at, mut read) = (Instant::now(), state.after);
    loop {
        match source.next(SAVE_EVERY) {
            Ok(Some(Event::Trade(trade))) => {
                state.decide(&trade, strategy.trades);
                if let Place::Stream { sequence, whole: true } = trade.place {
                    read = Some(sequence);
                }
            }
            // A strategy has to know what it does not know: prices before a gap say nothing of those behind it.
            Ok(Some(Event::Gap(gap))) => {
                state.prices.remove(&name(gap.exchange, gap.symbol));
                if let Place::Stream { sequence, whole: true } = gap.place {
                    read = Some(sequence);
                }
            }
            Ok(Some(Event::Lost(lost))) => {
                eprintln!("{lost:?}: beginning anew");
                match lost {
                    Lost::Lagged { exchange, .. } => state.prices.retain(|name, _| !name.starts_with(exchange)),
                    Lost::Removed { .. } => state.prices.clear(),
                }
            }
            Ok(Some(other)) => eprintln!("{other:?}"),
            Ok(None) => {}
            Err(error) => eprintln!("{error}"),
        }
        // In the middle of a message nothing is saved: it would come again as a whole.
        if saved_at.elapsed() >= SAVE_EVERY && read != state.after {
            state.after = read;
            state.save(&strategy.state)?;
            source.commit()?;
            saved_at = Instant::now();
        }
    }
}

fn name(exchange: &str, symbol: &str) -> String {
    format!("{exchange} {symbol}")
}

impl State {
    fn load(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts all of it on disk in one step: there is the old state or the new one, whatever happens.
    fn save(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let temporary = path.with_extension("new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)?;
        Ok(())
    }

    fn decide(&mut self, trade: &Trade<'_>, trades: usize) {
        let prices = self.prices.entry(name(trade.exchange, trade.symbol)).or_default();
        let price = (trade.msg.price, trade.msg.price_scale);
        if prices.len() >= trades {
            let above = prices.iter().all(|other| exact(price) > exact(*other));
            let below = prices.iter().all(|other| exact(price) < exact(*other));
            if above || below {
                self.signals += 1;
                println!(
                    "{{\"signal\":{},\"exchange\":\"{}\",\"symbol\":\"{}\",\"is\":\"{}\",\"price\":\"{}\",\"trade_id\":\"{}\"}}",
                    self.signals,
                    trade.exchange,
                    trade.symbol,
                    if above { "high" } else { "low" },
                    Decimal::from_price(price.0, price.1),
                    trade.msg.trade_id
                );
            }
            prices.pop_front();
        }
        prices.push_back(price);
    }
}

/// A price as an integer that can be compared: in units of 10^-18, exact.
fn exact((mantissa, scale): (i64, u8)) -> i128 {
    i128::from(mantissa) * 10_i128.pow(u32::from(18_u8.saturating_sub(scale)))
}
