//! Binance spot.
use super::*;
/// Binance spot.
#[derive(Debug)]
pub struct Binance;
impl Exchange for Binance {
    fn profile(&self) -> &Profile {
        unimplemented!()
    }
    fn canonical(&self, _venue_symbol: &str) -> Result<Symbol, SymbolError> {
        unimplemented!()
    }
    fn venue_symbol(&self, _symbol: &str) -> Result<String, ExchangeError> {
        unimplemented!()
    }
    fn connect_url(&self, _base: &str, _venue_symbols: &[&str]) -> String {
        unimplemented!()
    }
    fn subscribe(&self, _venue_symbols: &[&str], _first_id: u64) -> Vec<Request> {
        unimplemented!()
    }
    fn decode(&self, _frame: Frame<'_>, _out: &mut Trades) -> Result<Event, DecodeError> {
        unimplemented!()
    }
    fn instruments_path(&self) -> String {
        unimplemented!()
    }
    fn parse_instruments(&self, _body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
        unimplemented!()
    }
}
