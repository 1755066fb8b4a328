//! `replay`: a recording back into a stream, or into rings, bit for bit.

mod pace;
mod ring;
mod stream;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use self::pace::{Pace, Speed};
use super::progress::Progress;
use super::recording::Row;
use super::recording::series::{self, Missing, Series};
use super::settings::{self, ConfigArgs, VenueArgs, flag};
use super::signals::Stop;
use super::{Failure, block_on_and_leave};
use crate::config::Settings;
use crate::telemetry::logging;
use crate::transport::nats::bucket::Bucket;

/// What `replay` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It reads what `record` has written as Parquet or CSV: files, or folders with all their complete files. All of it is \
read once before anything goes out, so that a damaged file is told first. In a stream each message has the records, the \
order and the Nats-Msg-Id of the one that was recorded; records of a ring are one message each. Into a stream that \
holds records of the same instruments nothing is replayed without --append, and a foreign writer ends it. \
Times of receipt set the pace; more than a day between two records is not waited for.
A ring forgets what is older than transport.ipc.capacity records, read or not: with --speed max nobody keeps up.

Examples:
  data-manager replay trades --to-nats --stream AGAIN --subject-prefix again --speed max
  data-manager replay trades --to-ipc --prefix /replay_ --speed 10x
  data-manager replay --bucket trades --to-ipc --prefix /replay_ --exchange binance --symbols BTCUSDT")]
pub(crate) struct Args {
    /// Files of a recording, or folders with them.
    #[arg(value_name = "FILE|DIR", required_unless_present = "bucket", conflicts_with = "bucket")]
    recordings: Vec<PathBuf>,
    /// Into a stream; a URL beats the configured servers.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", required_unless_present = "to_ipc")]
    to_nats: Option<String>,
    /// Into a ring for each exchange.
    #[arg(long, conflicts_with = "to_nats")]
    to_ipc: bool,
    /// The stream; default: transport.nats.jetstream.stream_name.
    #[arg(long, value_name = "NAME", conflicts_with = "to_ipc")]
    stream: Option<String>,
    /// First token of the stream's subjects; default: transport.nats.jetstream.subject_prefix. Two streams of one
    /// server cannot have the same subjects.
    #[arg(long, value_name = "TOKEN", conflicts_with = "to_ipc")]
    subject_prefix: Option<String>,
    /// Also into a stream that holds records of the same instruments, behind them.
    #[arg(long, conflicts_with = "to_ipc")]
    append: bool,
    /// First part of the rings' names, beginning with `/`; default: transport.ipc.shm_path_prefix.
    #[arg(long, value_name = "PREFIX", conflicts_with = "to_nats")]
    prefix: Option<String>,
    /// `original`: as they were received; `10x`: ten times faster; `max`; `step`: a message for each Enter.
    #[arg(long, value_name = "SPEED", default_value = "original")]
    speed: Speed,
    /// Fetch the recording from this object store of the NATS servers.
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// Only this object of it; may be given several times.
    #[arg(long = "object", value_name = "NAME", requires = "bucket")]
    objects: Vec<String>,
    /// Also where files are missing in the middle, or nothing was recorded there.
    #[arg(long)]
    allow_missing: bool,
    #[command(flatten)]
    venues: VenueArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// It is looked for signals each time so many records were read.
const LOOK_RECORDS: u64 = 16_384;

/// Exchanges and symbols, with their instrument ids.
type Instruments = BTreeSet<(Arc<str>, Arc<str>, u32)>;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    logging::start("warn,data_manager::cli=info", logging::Format::Auto).map_err(Failure::config)?;
    let mut flags = settings::servers(args.to_nats.as_deref());
    let set = |name: &str, path: &str, value: &Option<String>| value.as_deref().map(|value| flag(name, path, value));
    flags.extend(set("--stream", "transport.nats.jetstream.stream_name", &args.stream));
    flags.extend(set("--subject-prefix", "transport.nats.jetstream.subject_prefix", &args.subject_prefix));
    flags.extend(set("--prefix", "transport.ipc.shm_path_prefix", &args.prefix));
    // Who names the stream means that one.
    flags.extend(
        args.stream.is_some().then(|| flag("--stream", "transport.nats.jetstream.stream_per_exchange", "false")),
    );
    let loaded = args.config.load(&flags)?;
    settings::check(&loaded)?;
    if !args.to_ipc || args.bucket.is_some() {
        settings::check_secrets(&loaded.settings.transport.nats)?;
    }
    block_on_and_leave(replay(args, &loaded.settings))
}

async fn replay(args: &Args, settings: &Settings) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let fetched;
    let files = match &args.bucket {
        Some(bucket) => {
            fetched = Fetched::new()?;
            tokio::select! {
                biased;
                () = stop.wait() => return Err(Failure::failed("ended before anything was replayed")),
                files = fetch(settings, bucket, &args.objects, &fetched) => files?,
            }
        }
        None => series::files(&args.recordings)?,
    };
    let missing = if args.allow_missing { Missing::Allow } else { Missing::Refuse };
    let mut source = Source { files, venues: Wanted::new(&args.venues), missing };
    let (instruments, records) = source.look(&mut stop).await?;
    source.missing = Missing::Known;
    if records == 0 {
        return Err(Failure::failed("there is no record in it of what was asked for: nothing to replay"));
    }
    let pace = Pace::new(args.speed);
    if args.to_ipc {
        ring::run(&settings.transport.ipc, &source, &instruments, records, pace, &mut stop).await
    } else {
        let exchanges: BTreeSet<String> = instruments.iter().map(|(exchange, ..)| exchange.to_string()).collect();
        let nats = settings::stream(settings, &Vec::from_iter(exchanges), "replay --to-nats")?;
        stream::run(&nats, args.append, &source, &instruments, records, pace, &mut stop).await
    }
}

/// Fetches objects into a folder that goes with this process.
async fn fetch(settings: &Settings, bucket: &str, objects: &[String], into: &Fetched) -> Result<Vec<PathBuf>, Failure> {
    let bucket = Bucket::open(&settings.transport.nats, bucket).await.map_err(Failure::failed)?;
    let mut there = bucket.list().await.map_err(Failure::failed)?;
    if let Some(name) = objects.iter().find(|name| !there.iter().any(|(other, _)| other == *name)) {
        return Err(Failure::failed(format!("the object store has no {name}")));
    }
    there.retain(|(name, _)| objects.is_empty() || objects.contains(name));
    if there.is_empty() {
        return Err(Failure::failed("the object store is empty: nothing to replay"));
    }
    into.has_room(there.iter().map(|(_, size)| size).sum())?;
    let mut files = Vec::new();
    for (name, _) in there {
        files.push(bucket.fetch(&name, &into.0).await.map_err(Failure::failed)?);
    }
    Ok(files)
}

/// A folder of our own for what was fetched; it is removed at the end.
struct Fetched(PathBuf);

impl Fetched {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        // Process ids come again: in a container each one may be the first.
        let path = std::env::temp_dir().join(format!("data-manager-replay-{:016x}", fastrand::u64(..)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    /// Whether so many bytes fit there: a disk that runs full has others to suffer from it.
    fn has_room(&self, bytes: u64) -> Result<(), Failure> {
        let Ok(disk) = rustix::fs::statvfs(&self.0) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let path = self.0.display();
        let text = || format!("{path}: the recording has {bytes} bytes, and {free} are free there; set TMPDIR");
        if bytes <= free { Ok(()) } else { Err(Failure::failed(text())) }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is wanted of a recording. Empty lists mean all.
struct Wanted {
    exchanges: Vec<String>,
    symbols: Vec<String>,
}

impl Wanted {
    fn new(venues: &VenueArgs) -> Self {
        let VenueArgs { exchanges, symbols } = venues.spelled();
        Self { exchanges, symbols }
    }

    fn takes(&self, row: &Row) -> bool {
        let any = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        any(&self.exchanges, &row.exchange) && any(&self.symbols, &row.symbol)
    }
}

/// The files of a recording, and what is wanted of them.
struct Source {
    files: Vec<PathBuf>,
    venues: Wanted,
    missing: Missing,
}

impl Source {
    /// Reads all of it: what there is, and whether it can be read.
    async fn look(&self, stop: &mut Stop) -> Result<(Instruments, u64), Failure> {
        let (mut rows, mut progress) = (self.rows()?, Progress::new("reading the recording"));
        let (mut instruments, mut records, mut last) = (Instruments::new(), 0_u64, None);
        while let Some(row) = rows.next(stop).await? {
            let key = (row.exchange, row.symbol, row.record.instrument_id());
            records += 1;
            if last.as_ref() != Some(&key) {
                instruments.insert(key.clone());
                last = Some(key);
            }
            progress.tell(records, || None);
        }
        progress.end();
        if stop.came().await {
            return Err(Failure::failed("ended before anything was replayed"));
        }
        Ok((instruments, records))
    }

    /// The records, from the first one.
    fn rows(&self) -> Result<Rows<'_>, Failure> {
        Ok(Rows { series: Series::open(&self.files, self.missing)?, venues: &self.venues, read: 0 })
    }
}

/// The records that are wanted.
struct Rows<'a> {
    series: Series,
    venues: &'a Wanted,
    /// Records that were read, wanted or not.
    read: u64,
}

impl Rows<'_> {
    /// The next record that is wanted; none also where it is to end.
    async fn next(&mut self, stop: &mut Stop) -> Result<Option<Row>, Failure> {
        while let Some(row) = self.step()? {
            if self.read.is_multiple_of(LOOK_RECORDS) && stop.came().await {
                return Ok(None);
            }
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Reads a record; nothing in place of one that is not wanted.
    fn step(&mut self) -> Result<Option<Option<Row>>, Failure> {
        self.read += 1;
        let row = self.series.next()?;
        Ok(row.map(|row| Some(row).filter(|row| self.venues.takes(row))))
    }
}
