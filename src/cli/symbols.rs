//! `symbols`: what a venue trades, in both spellings.

use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::json;

use super::format::Format;
use super::settings::{self, ConfigArgs};
use super::{Failure, block_on};
use crate::app::plan::unknown_exchange;
use crate::exchange::{self, InstrumentInfo};
use crate::feed::instruments::instruments;
use crate::market::instrument::instrument_id;

/// The largest list takes a few seconds on a slow line.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What `symbols` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  data-manager symbols --exchange coinbase
  data-manager symbols --exchange binance --format csv > binance.csv")]
pub(crate) struct Args {
    /// The exchange.
    #[arg(long, value_name = "NAME")]
    exchange: String,
    /// How they are printed.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    super::log_warnings()?;
    let exchange = exchange::by_name(&args.exchange).ok_or_else(|| Failure::usage(unknown_exchange(&args.exchange)))?;
    let loaded = args.config.load(&[])?;
    settings::check(&loaded)?;
    let configured = loaded.settings.exchanges.get(&args.exchange).map(|table| table.rest_url.clone());
    let rest_url = configured.filter(|url| !url.is_empty()).unwrap_or_else(|| exchange.profile().rest_url.to_owned());
    let mut list = block_on(async { instruments(exchange, &rest_url, TIMEOUT).await.map_err(Failure::failed) })?;
    list.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    match print(args.format, exchange.profile().name, &list) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

fn print(format: Format, exchange: &str, list: &[InstrumentInfo]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match format {
        Format::Json => {}
        Format::Csv => writeln!(out, "exchange,symbol,venue_symbol,tick_size,lot_size,instrument_id,trading")?,
        Format::Pretty => {
            writeln!(
                out,
                "{:<16} {:<16} {:>14} {:>14} {:>10}  trading",
                "symbol", "venue symbol", "tick", "lot", "id"
            )?;
        }
    }
    for one in list {
        let id = instrument_id(exchange, one.symbol.as_str());
        let (tick, lot) = (one.tick_size.as_deref().unwrap_or(""), one.lot_size.as_deref().unwrap_or(""));
        let (symbol, venue_symbol, trading) = (one.symbol.as_str(), &one.venue_symbol, one.trading);
        match format {
            Format::Json => {
                let line = json!({
                    "exchange": exchange, "symbol": symbol, "venue_symbol": venue_symbol, "tick_size": one.tick_size,
                    "lot_size": one.lot_size, "instrument_id": id, "trading": trading,
                });
                writeln!(out, "{line}")?;
            }
            Format::Csv => writeln!(out, "{exchange},{symbol},{venue_symbol},{tick},{lot},{id},{trading}")?,
            Format::Pretty => {
                let trading = if trading { "yes" } else { "no" };
                writeln!(out, "{symbol:<16} {venue_symbol:<16} {tick:>14} {lot:>14} {id:>10}  {trading}")?;
            }
        }
    }
    out.flush()
}
