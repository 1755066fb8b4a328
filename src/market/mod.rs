//! The nouns of the house: trade, gap, decimal, symbol, instrument, subject.
//!
//! Everything here is plain data and pure functions. Nothing here knows a venue or a transport.

pub mod decimal;
mod gap;
pub mod instrument;
pub mod record;
pub mod subject;
pub mod symbol;
pub mod trade;

pub use decimal::{Decimal, DecimalError};
pub use instrument::{Instrument, InstrumentError, Universe};
pub use record::Record;
pub use subject::SubjectKind;
pub use symbol::{Symbol, SymbolError};
pub use trade::{Flags, GapMsg, GapReason, GapStrength, Side, TradeMsg};
