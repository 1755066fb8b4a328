//! `verify`: whether a stream, a ring or a recording is whole, by the venue's own ids.

mod book;
mod print;
mod recording;
mod sources;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;

use self::book::Wanted;
use self::print::Style;
use self::sources::{Audited, Names, instead};
use super::settings::{self, ConfigArgs, VenueArgs};
use super::tail::moment;
use super::{Failure, block_on};
use crate::config::Settings;
use crate::telemetry::{clock, logging};
use crate::transport::nats::consumer::Since;

/// What `verify` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Finds, per symbol: doubles, conflicts (one id, two contents), ids out of order, ids that are missing in silence, ids \
that are missing and declared, and records that cannot be right. The exit code is 1 when there is any, 0 when what was \
read is whole. It reads up to what is there at its start, changes nothing and acknowledges nothing. Where each exchange \
has a stream of its own they are audited one after the other, and the exit code is of all; with --json each object \
names its stream.
--since and --until take `start`, a time ago (`5m`), a time (`2026-01-31T08:00:00Z`) or, of the stream, a sequence \
(`#1000`): times of storage in the stream, times of receipt elsewhere.

Examples:
  data-manager verify --nats
  data-manager verify --nats --exchange binance --symbols BTCUSDT --since 1h --allow-declared
  data-manager verify --ipc --json
  data-manager tail --nats --since start --format json --count 1000000 > trades.jsonl
  data-manager verify --file trades.jsonl")]
pub(crate) struct Args {
    /// Audit the stream (the default); a URL beats the configured servers.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    nats: Option<String>,
    /// Audit the rings in shared memory.
    #[arg(long, conflicts_with = "nats")]
    ipc: bool,
    /// Audit a recording: what `tail` writes with --format json, csv or raw (as *.bin), or a file of `record` as
    /// Parquet or CSV; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nats", "ipc"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    venues: VenueArgs,
    /// Where to begin.
    #[arg(long, value_name = "WHEN", default_value = "start")]
    since: String,
    /// Where to end; default: what is there now.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Losses that are declared are no finding.
    #[arg(long)]
    allow_declared: bool,
    /// One object a line instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    logging::start("warn,data_manager::cli=info", logging::Format::Auto).map_err(Failure::config)?;
    let is_stream = !args.ipc && args.file.is_none();
    let bounds = Bounds::read(args, is_stream)?;
    let VenueArgs { exchanges, symbols } = named(args)?;
    let loaded = args.config.load(&settings::servers(args.nats.as_deref()))?;
    settings::check(&loaded)?;
    let wanted = Wanted { exchanges, symbols, from_ns: bounds.from_ns, until_ns: bounds.until_ns };
    if is_stream {
        settings::check_secrets(&loaded.settings.transport.nats)?;
        return streams(&loaded.settings, &wanted, &bounds, args);
    }
    let (place, name, audited) = if let Some(file) = &args.file {
        let records = |ending: &OsStr| ["bin", "raw", "parquet"].iter().any(|other| ending == *other);
        let place = if file.extension().is_some_and(records) { "record" } else { "line" };
        (place, file.display().to_string(), sources::recording(file, &loaded.settings, &wanted)?)
    } else {
        ("record", "the ring".to_owned(), sources::rings(&loaded.settings, &wanted)?)
    };
    tell(&audited, &wanted, &name, args, Style { stream: None, place, allow_declared: args.allow_declared })
}

/// What is named, in the daemon's spelling.
fn named(args: &Args) -> Result<VenueArgs, Failure> {
    let venues = args.venues.spelled();
    venues.known().map(|()| venues)
}

/// Audits the stream, or that of each exchange, one after the other: what is wrong with one does not end it.
fn streams(settings: &Settings, wanted: &Wanted, bounds: &Bounds, args: &Args) -> Result<(), Failure> {
    let streams = if bounds.is_sequence {
        // A sequence is a place in one stream.
        vec![settings::stream(settings, &wanted.exchanges, "verify with a sequence")?]
    } else {
        settings::streams(settings, &wanted.exchanges)?
    };
    let (several, mut failed) = (streams.len() > 1, None);
    let mut seen = Seen::default();
    for (at, nats) in streams.iter().enumerate() {
        let name = format!("stream {}", nats.jetstream.stream_name);
        if several && !args.json {
            headed(&name, at)?;
        }
        let mut wanted = wanted.clone();
        if let Some(exchange) = nats.jetstream.exchange() {
            wanted.exchanges.retain(|name| name == exchange);
        }
        let audited = block_on(sources::stream(nats, &wanted, bounds.since, bounds.until_sequence));
        seen.is_partial |= audited.is_err();
        let stream = Some(nats.jetstream.stream_name.as_str());
        let style = Style { stream, place: "sequence", allow_declared: args.allow_declared };
        let told = audited.and_then(|audited| {
            let asked = !wanted.symbols.is_empty();
            if several && asked {
                seen.take(&audited);
                // A symbol may be in another one.
                wanted.symbols.clear();
                if audited.findings.is_empty() {
                    return Ok(());
                }
            }
            tell(&audited, &wanted, &name, args, style)
        });
        note(&mut failed, told);
    }
    // One that could not be read may have what the others have not.
    if several && !seen.is_partial {
        note(&mut failed, seen.judge(&wanted.symbols, args));
    }
    failed.map_or(Ok(()), Err)
}

/// Keeps what went wrong last: whoever called tells it.
fn note(failed: &mut Option<Failure>, told: Result<(), Failure>) {
    if let Some(before) = told.err().and_then(|failure| failed.replace(failure)) {
        before.tell();
    }
}

/// What was found in any of several streams.
#[derive(Default)]
struct Seen {
    symbols: BTreeSet<String>,
    names: Names,
    /// Not all of them could be read.
    is_partial: bool,
}

impl Seen {
    fn take(&mut self, audited: &Audited) {
        self.symbols.extend(audited.findings.entries.iter().map(|entry| entry.symbol.clone()));
        self.names.extend(audited.names.iter().cloned());
    }

    /// An error for symbols that none of them holds.
    fn judge(&self, wanted: &[String], args: &Args) -> Result<(), Failure> {
        let missing: Vec<String> = wanted.iter().filter(|symbol| !self.symbols.contains(*symbol)).cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(absent("none of the streams holds", &missing, &self.names, args)) }
    }
}

/// Names the stream that is audited next.
fn headed(name: &str, at: usize) -> Result<(), Failure> {
    let written = writeln!(io::stdout().lock(), "{}{name}", if at > 0 { "\n" } else { "" });
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// Prints what was found; an error when it is not whole, or when there is nothing that could be.
fn tell(audited: &Audited, wanted: &Wanted, name: &str, args: &Args, style: Style<'_>) -> Result<(), Failure> {
    let Audited { findings, names } = audited;
    let missing = findings.missing(wanted);
    let absent = || absent(&format!("{name} holds no"), &missing, names, args);
    if findings.is_empty() {
        return Err(absent());
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed =
        if args.json { print::objects(&mut out, findings, style) } else { print::text(&mut out, findings, style) };
    match printed.and_then(|()| out.flush()) {
        // Whoever reads our output has enough; the verdict is in the exit code.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(Failure::failed(error)),
        _ => {}
    }
    if !missing.is_empty() {
        return Err(absent());
    }
    if findings.is_whole(style.allow_declared) { Ok(()) } else { Err(Failure::silent()) }
}

/// There is nothing of what was asked for.
fn absent(place: &str, missing: &[String], names: &Names, args: &Args) -> Failure {
    let asked = missing.first().map(String::as_str).unwrap_or_default();
    let of = if missing.is_empty() { String::new() } else { format!(" of {}", missing.join(", ")) };
    let bounded = args.until.is_some() || args.since != "start";
    let within = if bounded { " between --since and --until" } else { "" };
    Failure::failed(format!("{place} trades{of}{within}: nothing was audited{}", instead(names, asked)))
}

/// Where to begin and to end.
#[derive(Debug)]
struct Bounds {
    /// For the stream.
    since: Since,
    until_sequence: Option<u64>,
    /// Whether either is a sequence.
    is_sequence: bool,
    /// For what has times of receipt only.
    from_ns: Option<u64>,
    until_ns: Option<u64>,
}

impl Bounds {
    fn read(args: &Args, is_stream: bool) -> Result<Self, Failure> {
        let now = clock::wall_ns();
        let since = moment("--since", &args.since, now).map_err(Failure::usage)?;
        let until =
            args.until.as_deref().map(|text| moment("--until", text, now)).transpose().map_err(Failure::usage)?;
        let sequences = [Some(since), until].into_iter().flatten().any(|bound| matches!(bound, Since::Sequence(_)));
        if sequences && !is_stream {
            let text = "--since and --until with a sequence are for the stream; rings and recordings have times";
            return Err(Failure::usage(text));
        }
        if since == Since::Last || until == Some(Since::Last) {
            return Err(Failure::usage("`last` is for `tail --nats`: an audit is of all that lies between two places"));
        }
        if since == Since::Now {
            return Err(Failure::usage("--since now: nothing is stored from now on; what is there ends now"));
        }
        if until == Some(Since::Start) {
            return Err(Failure::usage("--until start: nothing lies before the start"));
        }
        let time = |bound: Since| match bound {
            Since::Time(ns) => Some(ns),
            _ => None,
        };
        let until_sequence = match until {
            Some(Since::Sequence(sequence)) => Some(sequence),
            _ => None,
        };
        Ok(Self { since, until_sequence, is_sequence: sequences, from_ns: time(since), until_ns: until.and_then(time) })
    }
}
