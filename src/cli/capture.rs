//! `capture`: the raw frames of a live connection, as lines, receive times beside them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::settings::{self, ConfigArgs, VenueArgs};
use super::{Failure, block_on};
use crate::app::Plan;
use crate::app::plan::VenuePlan;
use crate::config::Settings;
use crate::feed::socket::Dialer;
use crate::feed::{self, Budget, Deliver, FeedShared, FeedSpec, FeedState, FeedStatus, Rules, Sequencer};
use crate::market::Record;

/// Progress is told this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What `capture` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With -o FILE.jsonl the receive times go to FILE.recv_ns.txt, one a line, so that `sim --capture FILE.jsonl` can replay \
it at its own pace. Without -o frames go to stdout, without times. Ctrl-C or SIGTERM ends it.

Example:
  data-manager capture --exchange binance --symbols BTCUSDT -o btcusdt.jsonl")]
pub(crate) struct Args {
    #[command(flatten)]
    venues: VenueArgs,
    /// The file for frames; their receive times go beside it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after this many frames.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time, such as `30s`.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Where frames go.
struct Recording {
    frames: Box<dyn Write>,
    times: Option<BufWriter<File>>,
    count: u64,
    limit: u64,
    error: Option<io::Error>,
    done: CancellationToken,
}

/// `capture` wants frames only.
struct Nowhere;

impl Deliver for Nowhere {
    fn record(&mut self, _route: u32, _record: &Record) {}

    fn batch_end(&mut self) {}
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    super::log_warnings()?;
    if args.venues.exchanges.len() != 1 {
        return Err(Failure::usage("name one exchange: --exchange binance"));
    }
    let mut loaded = args.config.load(&[])?;
    args.venues.apply(&mut loaded)?;
    settings::check(&loaded)?;
    let plan = Plan::of(&loaded.settings).map_err(|problems| Failure::config(problems.join("\n")))?;
    let venue = plan.venues().next().ok_or_else(|| Failure::usage("name one exchange"))?;
    let done = CancellationToken::new();
    let recording = Recording::open(args, done.clone())?;
    block_on(record(&loaded.settings, venue, Rc::new(RefCell::new(recording)), args.time, done))
}

async fn record(
    settings: &Settings,
    venue: &VenuePlan,
    recording: Rc<RefCell<Recording>>,
    time: Option<Duration>,
    done: CancellationToken,
) -> Result<(), Failure> {
    let profile = venue.exchange.profile();
    if venue.instruments.len() > profile.symbols_per_connection {
        return Err(Failure::usage(format!("a connection carries {} symbols at most", profile.symbols_per_connection)));
    }
    let frame_bytes_max = usize::try_from(settings.feed.frame_bytes_max.get()).unwrap_or(usize::MAX);
    let dialer = Dialer::new(settings.feed.connect_timeout.duration(), frame_bytes_max).map_err(Failure::failed)?;
    let status: Rc<RefCell<FeedStatus>> = Rc::default();
    let heard = Rc::clone(&recording);
    let shared = FeedShared {
        dialer,
        budget: Rc::new(RefCell::new(Budget::new(profile.connects))),
        sequencer: Rc::new(RefCell::new(Sequencer::new(profile.ids, settings.feed.hold.duration()))),
        deliver: Rc::new(RefCell::new(Nowhere)),
        status: Rc::clone(&status),
        repairs: Rc::default(),
        tap: Some(Box::new(move |text, ns| heard.borrow_mut().frame(text, ns))),
    };
    let spec = FeedSpec {
        exchange: venue.exchange,
        name: profile.name.to_owned(),
        ws_url: venue.ws_url.clone(),
        instruments: venue.instruments.clone(),
        line: 0,
        rules: Rules::new(&settings.feed, venue.stall, false),
        seed: fastrand::u64(..),
    };
    // `timeout` and supervisors end a command so; what was recorded must be whole then too.
    let mut term =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Failure::failed)?;
    let stop = done.clone();
    let watch = async {
        let over = tokio::time::sleep(time.unwrap_or(Duration::MAX));
        tokio::pin!(over);
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.tick().await;
        loop {
            tokio::select! {
                () = done.cancelled() => return,
                _ = tokio::signal::ctrl_c() => return,
                _ = term.recv() => return,
                () = &mut over => return,
                _ = tick.tick() => progress(&recording.borrow(), &status.borrow()),
            }
        }
    };
    let life = feed::run(spec, shared, stop.clone());
    let watched = async {
        watch.await;
        stop.cancel();
    };
    tokio::join!(life, watched);
    let mut recording = recording.borrow_mut();
    recording.finish()
}

fn progress(recording: &Recording, status: &FeedStatus) {
    let state = status.state.as_str();
    let why = if status.state == FeedState::Live { "" } else { status.last_error.as_str() };
    eprintln!("{} frames, {} trades, {state} {why}", recording.count, status.trades);
}

impl Recording {
    fn open(args: &Args, done: CancellationToken) -> Result<Self, Failure> {
        let create = |path: &Path| {
            File::create(path)
                .map(BufWriter::new)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
        };
        let (frames, times): (Box<dyn Write>, _) = match &args.output {
            Some(path) => {
                let stem = path.to_string_lossy();
                let times = format!("{}.recv_ns.txt", stem.trim_end_matches(".jsonl"));
                (Box::new(create(path)?), Some(create(Path::new(&times))?))
            }
            None => (Box::new(BufWriter::new(io::stdout())), None),
        };
        Ok(Self { frames, times, count: 0, limit: args.count.unwrap_or(u64::MAX), error: None, done })
    }

    fn frame(&mut self, text: &str, ns: u64) {
        if self.count >= self.limit || self.error.is_some() {
            return;
        }
        let written = writeln!(self.frames, "{}", text.trim_end()).and_then(|()| match &mut self.times {
            Some(times) => writeln!(times, "{ns}"),
            None => self.frames.flush(),
        });
        self.count += 1;
        self.error = written.err();
        if self.error.is_some() || self.count >= self.limit {
            self.done.cancel();
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.frames.flush().and_then(|()| self.times.as_mut().map_or(Ok(()), Write::flush));
        match self.error.take().map_or(flushed, Err) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
            _ => {
                eprintln!("{} frames", self.count);
                Ok(())
            }
        }
    }
}
