//! `record`: the stream, or the rings, into files that give every byte back.

mod done;
mod recorder;
mod rings;
mod stream;
mod uploads;

use std::path::PathBuf;
use std::time::Duration;

use self::recorder::{Limits, Recorder};
use super::recording::Format;
use super::recording::folder::Folder;
use super::settings::{self, ConfigArgs, VenueArgs};
use super::signals::Stop;
use super::tail::moment;
use super::{Failure, block_on};
use crate::telemetry::{clock, logging};
use crate::transport::nats::consumer::Since;

/// What `record` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file has its final name, such as MARKET_DATA-000000000001-000000100000.parquet, once it is whole and on the disk. Run \
again on the same folder it goes on behind the last complete file, each record once and in order. Ctrl-C or SIGTERM \
completes the open file, puts what is left into the --bucket (a second one leaves that to the next run) and ends. The \
exit code is 1 where anything was lost before it was recorded, or may have been. Without --follow and --until it ends with what is there at its start. \
Where each exchange has a stream of its own, one --exchange chooses it, and each has a folder of its own. \
--since and --until take `start`, a time ago (`5m`), a time (`2026-01-31T08:00:00Z`) or, of the stream, a sequence \
(`#1000`): times of storage in the stream, times of receipt in rings. --since holds for the first run on a folder. \
Parquet and CSV give every byte back. DBN does not hold gaps, ids or sizes beyond 32 bits, sizes that are no whole \
number, prices finer than 1e-9, nor any flag but the side: it rounds nothing; the summary counts what it leaves out.

Examples:
  data-manager record --nats -o trades
  data-manager record --nats --exchange binance --symbols BTCUSDT --since 1h --format csv -o btcusdt
  data-manager record --nats --follow --rotate-interval 10m --bucket trades -o trades
  data-manager record --ipc --since now --follow -o ring")]
pub(crate) struct Args {
    /// Record the stream (the default); a URL beats the configured servers.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    nats: Option<String>,
    /// Record the rings in shared memory.
    #[arg(long, conflicts_with = "nats")]
    ipc: bool,
    #[command(flatten)]
    venues: VenueArgs,
    /// Where to begin.
    #[arg(long, value_name = "WHEN", default_value = "start")]
    since: String,
    /// Where to end; default: what is there now.
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    until: Option<String>,
    /// Go on with what comes.
    #[arg(long)]
    follow: bool,
    /// End after this many records, and the rest of their message.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How files are written.
    #[arg(long, value_enum, default_value_t = Format::Parquet)]
    format: Format,
    /// Records of a file, and the rest of their message.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = records())]
    rotate_records: u64,
    /// A file is completed after this time, such as `10m`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    rotate_interval: Duration,
    /// Put each complete file into this object store of the NATS servers too.
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// The folder that the files go to.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What a file may hold: DBN is gathered in memory.
fn records() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=10_000_000)
}

/// What is to be recorded.
struct Wanted {
    exchanges: Vec<String>,
    /// Canonical, upper case.
    symbols: Vec<String>,
    since: Since,
    until: Option<Since>,
    follow: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    logging::start("warn,data_manager::cli=info", logging::Format::Auto).map_err(Failure::config)?;
    let wanted = Wanted::read(args)?;
    let loaded = args.config.load(&settings::servers(args.nats.as_deref()))?;
    settings::check(&loaded)?;
    let nats = &if args.ipc {
        loaded.settings.transport.nats.clone()
    } else {
        settings::stream(&loaded.settings, &wanted.exchanges, "record")?
    };
    if !args.ipc || args.bucket.is_some() {
        settings::check_secrets(nats)?;
    }
    let folder = Folder::open(&args.output, args.format)?;
    let limits = Limits { records: args.rotate_records, time: args.rotate_interval, all: args.count };
    block_on(async {
        let mut stop = Stop::new()?;
        let mut recorder = Recorder::new(folder, args.format, limits)?;
        if let Some(bucket) = &args.bucket {
            tokio::select! {
                biased;
                () = stop.wait() => return Err(Failure::failed("ended before anything was recorded")),
                done = recorder.upload_to(nats, bucket) => done?,
            }
        }
        let done = if args.ipc {
            rings::run(&loaded.settings, &wanted, &mut recorder, &mut stop).await
        } else {
            Box::pin(stream::run(nats, &wanted, &mut recorder, &mut stop)).await
        };
        // What was read before it went wrong is whole.
        let closed = recorder.finish(&mut stop).await;
        recorder.tell();
        done.and(closed)?;
        if recorder.is_whole() { Ok(()) } else { Err(Failure::silent()) }
    })
}

impl Wanted {
    fn read(args: &Args) -> Result<Self, Failure> {
        let now = clock::wall_ns();
        let since = moment("--since", &args.since, now).map_err(Failure::usage)?;
        let until = args.until.as_deref().map(|text| moment("--until", text, now));
        let until = until.transpose().map_err(Failure::usage)?;
        let sequences = [Some(since), until].into_iter().flatten().any(|bound| matches!(bound, Since::Sequence(_)));
        if sequences && args.ipc {
            return Err(Failure::usage("--since and --until with a sequence are for the stream; rings have times"));
        }
        if since == Since::Last || until == Some(Since::Last) {
            return Err(Failure::usage(
                "`last` is for `tail --nats`: a recording is of all that lies between two places",
            ));
        }
        if since == Since::Now && !args.follow {
            return Err(Failure::usage("--since now: nothing is there from now on; add --follow"));
        }
        if until == Some(Since::Start) {
            return Err(Failure::usage("--until start: nothing lies before the start"));
        }
        let VenueArgs { mut exchanges, mut symbols } = args.venues.spelled();
        exchanges.sort();
        symbols.sort();
        Ok(Self { exchanges, symbols, since, until, follow: args.follow })
    }

    /// Whether nothing is left out.
    const fn is_all(&self) -> bool {
        self.exchanges.is_empty() && self.symbols.is_empty()
    }
}
