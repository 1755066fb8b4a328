//! `tail`: trades read back, as any consumer would, from shared memory or from the stream.

mod follow;

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use futures_util::StreamExt as _;

use super::format::{self, Format, Place};
use super::settings::{self, ConfigArgs, VenueArgs};
use super::{Failure, block_on};
use crate::config::Settings;
use crate::market::Record;
use crate::telemetry::clock;
use crate::transport::ipc::{DIRECTORY, Gone, Next, OpenError, Reader, Reopened, segment_path, segments};
use crate::transport::nats::consumer::{Since, TailError};

/// A ring without anything new is looked at again after this.
const NAP: Duration = Duration::from_millis(1);
/// Whether a ring's writer lives is looked at this often.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A writer that shows no life for this long is told.
const SILENCE: Duration = Duration::from_secs(3);

/// What `tail` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--since takes `now`, `start`, a time ago (`5m`), a time (`2026-01-31T08:00:00Z`) or, with --nats, a sequence (`#1000`) \
or `last`: the last record of each symbol first. Where each exchange has a stream of its own, their order is kept \
within each of them, and a sequence is of one --exchange.

Examples:
  data-manager tail --ipc --format pretty
  data-manager tail --nats --exchange binance --symbols BTCUSDT --since 5m --format json
  data-manager tail --nats --since start --count 100 --format csv")]
pub(crate) struct Args {
    /// Read the rings in shared memory (the default).
    #[arg(long, conflicts_with = "nats")]
    ipc: bool,
    /// Read the stream; a URL beats the configured servers.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    nats: Option<String>,
    #[command(flatten)]
    venues: VenueArgs,
    /// Where to begin.
    #[arg(long, value_name = "WHEN", default_value = "now")]
    since: String,
    /// How records are printed; raw is 48 bytes a record.
    #[arg(long, value_enum, default_value_t = Output::Pretty)]
    format: Output,
    /// End after this many records.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One object a line.
    Json,
    /// Comma-separated, with a header line.
    Csv,
    /// Columns for people.
    Pretty,
    /// The records themselves, 48 bytes each.
    Raw,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    super::log_warnings()?;
    let since = moment("--since", &args.since, clock::wall_ns()).map_err(Failure::usage)?;
    let loaded = args.config.load(&settings::servers(args.nats.as_deref()))?;
    settings::check(&loaded)?;
    if args.nats.is_some() {
        settings::check_secrets(&loaded.settings.transport.nats)?;
    }
    let venues = args.venues.spelled();
    if args.nats.is_some() {
        // Another program may publish it; a mistake would wait for ever, without a word.
        if let Err(unknown) = venues.known() {
            eprintln!("{}; it is waited for all the same", unknown.message);
        }
    }
    let mut out = Printer::new(args)?;
    let done = if args.nats.is_some() {
        block_on(stream(&loaded.settings, &venues, since, &mut out))
    } else {
        rings(&loaded.settings, &venues, since, &mut out)
    };
    done.and_then(|()| out.finish())
}

async fn stream(settings: &Settings, venues: &VenueArgs, since: Since, out: &mut Printer) -> Result<(), Failure> {
    let streams = match since {
        // A sequence is a place in one stream.
        Since::Sequence(_) => vec![settings::stream(settings, &venues.exchanges, "tail --since #..")?],
        _ => settings::streams(settings, &venues.exchanges)?,
    };
    let tails = follow::all(streams, venues, since).await?;
    let tails = tails.into_iter().map(|follow| {
        Box::pin(futures_util::stream::unfold(follow, async |mut follow| Some((follow.next().await, follow))))
    });
    let mut tails = futures_util::stream::select_all(tails);
    while !out.is_full() {
        match tails.next().await {
            Some(Ok(item)) => {
                out.print(&item.exchange, &item.symbol, &item.record)?;
                out.flush()?;
            }
            Some(Err(error @ (TailError::Message { .. } | TailError::Removed { .. } | TailError::Anew { .. }))) => {
                eprintln!("{error}");
            }
            Some(Err(error)) => return Err(Failure::failed(error)),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// One ring that is read.
struct Ring {
    exchange: String,
    reader: Option<Reader>,
    /// The writer has closed it, and all of it is read.
    closed: bool,
    told: String,
}

fn rings(settings: &Settings, venues: &VenueArgs, since: Since, out: &mut Printer) -> Result<(), Failure> {
    if let Since::Sequence(_) | Since::Last = since {
        let text = "--since with a sequence, or `last`, is for --nats; a ring has `now`, `start` and times";
        return Err(Failure::usage(text));
    }
    let prefix = &settings.transport.ipc.shm_path_prefix;
    let directory = Path::new(DIRECTORY);
    let mut names = venues.exchanges.clone();
    if names.is_empty() {
        names = segments(directory, prefix).map_err(Failure::failed)?;
    }
    if names.is_empty() {
        let hint = "start `data-manager serve --ipc`, or name the exchange to wait for it";
        return Err(Failure::failed(format!("no segment {DIRECTORY}{prefix}* in shared memory; {hint}")));
    }
    let mut rings: Vec<Ring> =
        names.into_iter().map(|exchange| Ring { exchange, reader: None, closed: false, told: String::new() }).collect();
    let mut check_at = clock::now();
    while !out.is_full() {
        let now = clock::now();
        if now >= check_at {
            for ring in &mut rings {
                ring.look(directory, prefix, since, now)?;
            }
            check_at = now + CHECK_EVERY;
        }
        let mut any = false;
        for ring in &mut rings {
            any |= ring.read(&venues.symbols, since, out)?;
        }
        if !any {
            out.flush()?;
            std::thread::sleep(NAP);
        }
    }
    Ok(())
}

impl Ring {
    /// Opens the ring where it is not open, and tells once what is wrong with its writer.
    fn look(&mut self, directory: &Path, prefix: &str, since: Since, now: Instant) -> Result<(), Failure> {
        let Some(reader) = &mut self.reader else { return self.open(directory, prefix, since) };
        let Some(gone) = reader.check(now, SILENCE) else {
            if !self.closed {
                self.told.clear();
            }
            return Ok(());
        };
        match reader.reopen() {
            Ok(Reopened::New { .. }) => {
                self.closed = false;
                self.tell("a new writer has taken over".to_owned());
            }
            // A closed ring has told why it is silent. The text has no duration in it: it is told once.
            Ok(Reopened::Same) if self.closed => {}
            Ok(Reopened::Same) => self.tell("the writer shows no life: killed, or stopped; waiting for it".to_owned()),
            Err(error) => {
                self.tell(format!("{gone}; {error}; waiting for it"));
                self.reader = None;
            }
        }
        Ok(())
    }

    fn open(&mut self, directory: &Path, prefix: &str, since: Since) -> Result<(), Failure> {
        let path = segment_path(directory, prefix, &self.exchange).map_err(Failure::usage)?;
        match Reader::open(&path) {
            Ok(mut reader) => {
                // A ring that appears while we wait is new in all of it.
                if since == Since::Now && self.told.is_empty() {
                    reader.from_newest()
                } else {
                    reader.from_oldest()
                }
                self.reader = Some(reader);
                self.closed = false;
                self.told.clear();
            }
            Err(error @ (OpenError::Permission { .. } | OpenError::Io { .. })) => return Err(Failure::failed(error)),
            Err(error) => self.tell(format!("{error}; waiting for it")),
        }
        Ok(())
    }

    fn tell(&mut self, text: String) {
        if self.told != text {
            eprintln!("{}: {text}", self.exchange);
            self.told = text;
        }
    }

    /// Prints what is new, up to a burst; whether there was anything.
    fn read(&mut self, symbols: &[String], since: Since, out: &mut Printer) -> Result<bool, Failure> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        for at in 0..1_024 {
            if out.is_full() {
                return Ok(true);
            }
            match reader.poll() {
                Next::Record(record, _) => {
                    let symbol = reader.symbol(record.instrument_id()).map(ToString::to_string);
                    let symbol = symbol.unwrap_or_else(|| format!("#{}", record.instrument_id()));
                    let wanted = symbols.is_empty() || symbols.iter().any(|name| name.eq_ignore_ascii_case(&symbol));
                    if wanted && !is_older(&record, since) {
                        out.print(&self.exchange, &symbol, &record)?;
                    }
                }
                Next::Unknown { kind, .. } => eprintln!("{}: a record of unknown kind {kind}", self.exchange),
                Next::Lagged { lost } => eprintln!("{}: too slow, {lost} records lost", self.exchange),
                Next::WriterGone(Gone::Closed) => {
                    self.closed = true;
                    self.tell("the writer has closed the ring; waiting for the next one".to_owned());
                    return Ok(at > 0);
                }
                Next::Empty | Next::WriterGone(_) => return Ok(at > 0),
            }
        }
        Ok(true)
    }
}

pub(super) fn is_older(record: &Record, since: Since) -> bool {
    let Since::Time(from) = since else { return false };
    match record {
        Record::Trade(trade) => trade.ts_recv < from,
        Record::Gap(gap) => gap.ts_end < from,
    }
}

/// Reads what a flag says of a place.
pub(super) fn moment(flag: &str, text: &str, now_ns: u64) -> Result<Since, String> {
    Since::parse(text, now_ns).map_err(|error| format!("{flag} {error}"))
}

/// Writes lines until there are enough.
struct Printer {
    out: Box<dyn Write>,
    format: Output,
    left: u64,
}

impl Printer {
    fn new(args: &Args) -> Result<Self, Failure> {
        let mut this = Self {
            out: Box::new(io::BufWriter::new(io::stdout())),
            format: args.format,
            left: args.count.unwrap_or(u64::MAX),
        };
        if args.format == Output::Csv {
            let header = writeln!(this.out, "{}", format::csv_header(false));
            this.done(header)?;
        }
        Ok(this)
    }

    const fn is_full(&self) -> bool {
        self.left == 0
    }

    fn print(&mut self, exchange: &str, symbol: &str, record: &Record) -> Result<(), Failure> {
        let place = Place { exchange, symbol, frame: None };
        let mut text = |format| writeln!(self.out, "{}", format::line(format, place, record));
        let written = match self.format {
            Output::Json => text(Format::Json),
            Output::Csv => text(Format::Csv),
            Output::Pretty => text(Format::Pretty),
            Output::Raw => self.out.write_all(record.as_bytes()),
        };
        self.left -= 1;
        self.done(written)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.out.flush();
        self.done(flushed)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.flush()
    }

    /// A reader that went away has had enough.
    fn done(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.left = 0;
                Ok(())
            }
            result => result.map_err(Failure::failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_read() {
        let since = |text, now| moment("--since", text, now);
        assert_eq!(since("now", 9), Ok(Since::Now));
        assert_eq!(since("start", 9), Ok(Since::Start));
        assert_eq!(since("#12", 9), Ok(Since::Sequence(12)));
        assert_eq!(since("2s", 5_000_000_000), Ok(Since::Time(3_000_000_000)));
        assert_eq!(since("1970-01-01T00:00:01Z", 0), Ok(Since::Time(1_000_000_000)));
        assert!(since("yesterday", 0).unwrap_err().contains("2026-01-31T08:00:00Z"));
        assert!(since("#x", 0).is_err());
    }
}
