//! Instruments: what is traded where, with an id that is the same on every machine.

use xxhash_rust::xxh3::xxh3_64;

use super::symbol::Symbol;

/// One symbol on one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// First 4 bytes of xxh3-64 of `exchange:SYMBOL`; never 0.
    pub id: u32,
    /// The exchange's token, such as `binance`.
    pub exchange: &'static str,
    /// The canonical symbol.
    pub symbol: Symbol,
    /// The symbol as the venue spells it in its frames.
    pub venue_symbol: String,
}

/// All instruments of a process. A record's route through the house is its index here.
#[derive(Clone, Debug, Default)]
pub struct Universe {
    instruments: Vec<Instrument>,
}

/// Why an instrument cannot join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentError {
    /// Two instruments share an id.
    #[error(
        "{first} and {second} share the instrument id {id}: a reader could not tell them apart; configure one of them only"
    )]
    Collision {
        /// `exchange:SYMBOL` that was there first.
        first: String,
        /// `exchange:SYMBOL` that collides with it.
        second: String,
        /// The id of both.
        id: u32,
    },
    /// The same instrument twice.
    #[error("{name} is configured twice")]
    Twice {
        /// `exchange:SYMBOL`.
        name: String,
    },
}

/// The id of `exchange:SYMBOL`: the first 4 bytes (little-endian) of its xxh3-64, 1 where that would be 0.
///
/// # Examples
/// ```
/// use data_manager::market::instrument::instrument_id;
/// assert_eq!(instrument_id("binance", "BTCUSDT"), instrument_id("binance", "BTCUSDT"));
/// assert_ne!(instrument_id("binance", "BTCUSDT"), instrument_id("binance-usdm", "BTCUSDT"));
/// ```
#[must_use]
pub fn instrument_id(exchange: &str, symbol: &str) -> u32 {
    let hash = xxh3_64(format!("{exchange}:{symbol}").as_bytes()).to_le_bytes();
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1)
}

impl Instrument {
    /// An instrument with its id.
    #[must_use]
    pub fn new(exchange: &'static str, symbol: Symbol, venue_symbol: String) -> Self {
        Self { id: instrument_id(exchange, symbol.as_str()), exchange, symbol, venue_symbol }
    }

    /// `exchange:SYMBOL`, the text behind the id.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.exchange, self.symbol)
    }
}

impl Universe {
    /// Adds an instrument and returns its index.
    ///
    /// # Errors
    /// [`InstrumentError`] when it is there already, or shares its id with another.
    pub fn add(&mut self, instrument: Instrument) -> Result<usize, InstrumentError> {
        if let Some(other) = self.instruments.iter().find(|other| other.id == instrument.id) {
            return Err(if other.name() == instrument.name() {
                InstrumentError::Twice { name: other.name() }
            } else {
                InstrumentError::Collision { first: other.name(), second: instrument.name(), id: other.id }
            });
        }
        self.instruments.push(instrument);
        Ok(self.instruments.len() - 1)
    }

    /// The instruments, in the order in which they joined.
    #[must_use]
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// The instrument at an index that [`Self::add`] returned.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Instrument> {
        self.instruments.get(index)
    }

    /// Indexes and instruments of one exchange.
    pub fn of_exchange<'a>(&'a self, exchange: &'a str) -> impl Iterator<Item = (usize, &'a Instrument)> {
        self.instruments.iter().enumerate().filter(move |(_, instrument)| instrument.exchange == exchange)
    }
}
