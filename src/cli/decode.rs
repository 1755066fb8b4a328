//! `decode`: raw frames on stdin, one a line, to normalized trades on stdout.

use std::io::{self, Write};

use clap::ValueEnum;

use super::Failure;
use super::format::{self, Place};
use crate::app::plan::unknown_exchange;
use crate::exchange::{self, Exchange, Frame, Trades};
use crate::market::Record;

/// What `decode` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Frames that fail go to stderr with their line number, from 0 as in the output, and the reason; the exit code is then 1.

Example:
  data-manager decode --exchange binance < frames.jsonl > trades.jsonl")]
pub(crate) struct Args {
    /// The exchange whose frames these are.
    #[arg(long, value_name = "NAME")]
    exchange: String,
    /// How trades are written; raw is 48 bytes a trade.
    #[arg(long, value_enum, default_value_t = Output::Json)]
    format: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One object a line.
    Json,
    /// Comma-separated, with a header line.
    Csv,
    /// The records themselves, 48 bytes each.
    Raw,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let exchange = exchange::by_name(&args.exchange).ok_or_else(|| Failure::usage(unknown_exchange(&args.exchange)))?;
    let out = io::BufWriter::new(io::stdout().lock());
    match decode(exchange, args.format, io::stdin().lock(), out) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::silent()),
        // Whoever reads our output has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed(error)),
    }
}

/// Decodes every line; gives how many failed.
fn decode(
    exchange: &'static dyn Exchange,
    output: Output,
    mut frames: impl io::BufRead,
    mut out: impl Write,
) -> io::Result<u64> {
    let name = exchange.profile().name;
    let mut trades = Trades::open(exchange);
    let (mut bytes, mut number, mut failed) = (Vec::new(), 0, 0);
    if output == Output::Csv {
        writeln!(out, "{}", format::csv_header(true))?;
    }
    while {
        bytes.clear();
        frames.read_until(b'\n', &mut bytes)?
    } > 0
    {
        let text = std::str::from_utf8(&bytes).map(str::trim);
        let result = match text {
            Ok("") => Ok(()),
            Ok(text) => {
                trades.clear();
                exchange.decode(Frame::Text(text), &mut trades).map(drop).map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("not UTF-8: {error}")),
        };
        if text.is_ok_and(|text| !text.is_empty()) {
            for (i, row) in trades.rows().iter().enumerate() {
                let (symbol, venue_symbol) = trades.symbols(row.route).unwrap_or_default();
                let place = Place { exchange: name, symbol, frame: Some((number, i, venue_symbol)) };
                match output {
                    Output::Json => {
                        writeln!(out, "{}", format::line(format::Format::Json, place, &Record::Trade(row.msg)))?
                    }
                    Output::Csv => {
                        writeln!(out, "{}", format::line(format::Format::Csv, place, &Record::Trade(row.msg)))?
                    }
                    Output::Raw => out.write_all(row.msg.as_bytes())?,
                }
            }
        }
        if let Err(reason) = result {
            failed += 1;
            eprintln!("line {number}: {reason}");
        }
        number += 1;
    }
    out.flush()?;
    Ok(failed)
}
