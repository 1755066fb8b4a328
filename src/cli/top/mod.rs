//! `top`: what is being read, live, in a terminal or as lines of JSON. It reads like any consumer and changes nothing.

mod arrange;
mod columns;
mod footer;
mod intake;
mod keys;
mod lags;
mod meter;
mod model;
mod outside;
mod screen;
mod snapshot;
mod status;
mod terminal;
mod text;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use self::arrange::{Choice, Sort};
use self::intake::Intake;
use self::model::Model;
use self::outside::{Heard, News, Outside};
use self::screen::{Act, Screen};
use self::snapshot::Snapshot;
use self::terminal::{Input, Terminal};
use super::Failure;
use super::settings::{self, ConfigArgs, VenueArgs};
use crate::telemetry::clock;

/// While nothing happens, keys, rings and signals are looked at this often.
const STEP: Duration = Duration::from_millis(10);
/// The shortest interval.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The longest one.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// What `top` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
On a terminal it is a live view: ? shows the keys, q ends it. Otherwise, or with --json, it writes one JSON object \
an interval: counts since its start, rates of the interval; docs/top.md has the keys and their units.

A ring is mapped read-only: its writer notices nothing. Connections, outbox and acknowledgements come from the \
daemon's /status; without it those fields show `-` and say why. Without --exchange and --symbols all that is there \
is shown.

Examples:
  data-manager top
  data-manager top --nats nats://localhost:4222 --exchange binance --sort rate
  data-manager top --filter btc --status http://10.0.0.7:9464
  data-manager top --json --count 1 | jq '.exchanges[] | {exchange, rate, missing}'")]
pub(crate) struct Args {
    /// Read the rings in shared memory (the default).
    #[arg(long, conflicts_with = "nats")]
    ipc: bool,
    /// Read the stream; a URL beats the configured servers.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    nats: Option<String>,
    /// The daemon's HTTP address; empty: it is not asked. Default: that of `http.listen`.
    #[arg(long, value_name = "URL")]
    status: Option<String>,
    #[command(flatten)]
    venues: VenueArgs,
    /// Between two looks, from 100ms to 1h.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after this many intervals.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// What rows are sorted by.
    #[arg(long, value_enum, value_name = "COLUMN", default_value_t = Sort::Name)]
    sort: Sort,
    /// Show only what has all these words in its exchange or symbol; sums are of all, shown or not.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// One JSON object an interval, on a terminal too.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| format!("{error}; `1s` and `500ms` are times"))?;
    if interval < INTERVAL_MIN {
        return Err("shorter than 100ms".to_owned());
    }
    if interval > INTERVAL_MAX {
        return Err("longer than 1h".to_owned());
    }
    Ok(interval)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let loaded = args.config.load(&settings::servers(args.nats.as_deref()))?;
    settings::check(&loaded)?;
    if args.nats.is_some() {
        settings::check_secrets(&loaded.settings.transport.nats)?;
    }
    let live = !args.json && io::stdout().is_terminal();
    if !live {
        super::log_warnings()?;
    }
    // While it connects, a signal ends the process at once; heard from there on, it would wait.
    let venues = args.venues.spelled();
    let mut intake = Intake::open(&loaded.settings, args.nats.is_some(), &venues)?;
    // Time counts from where reading begins.
    let mut model = Model::new(clock::now());
    intake.begin(&mut model)?;
    let outside = Outside::open(daemon(args.status.as_deref(), &loaded.settings.http.listen))?;
    let choice = Choice { sort: args.sort, filter: args.filter.clone(), ..Choice::default() };
    let out = if live { Out::Terminal(Box::new(Live::start(choice)?)) } else { Out::Lines(choice) };
    Top { out, model, outside, intake, venues, args }.run()
}

/// Where the daemon answers, or why it is not asked.
fn daemon(flag: Option<&str>, listen: &str) -> Result<String, String> {
    match (flag, listen) {
        (Some(""), _) => Err("not asked: --status is empty".to_owned()),
        (Some(url), _) if url.contains("://") => Ok(url.to_owned()),
        (Some(url), _) => Ok(format!("http://{url}")),
        (None, "") => Err("http.listen is empty".to_owned()),
        // An address to listen on all sides is none to ask at.
        (None, listen) => {
            Ok(format!("http://{}", listen.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1)))
        }
    }
}

struct Top<'a> {
    /// The first to be dropped: whatever else takes time to end, the terminal is given back.
    out: Out,
    model: Model,
    outside: Outside,
    intake: Intake,
    venues: VenueArgs,
    args: &'a Args,
}

/// Where numbers go.
enum Out {
    Terminal(Box<Live>),
    Lines(Choice),
}

struct Live {
    terminal: Terminal,
    screen: Screen,
}

impl Top<'_> {
    fn run(mut self) -> Result<(), Failure> {
        let mut left = self.args.count.unwrap_or(u64::MAX);
        let mut next = clock::now() + self.args.interval;
        self.ask();
        if let Out::Terminal(live) = &mut self.out {
            live.screen.snapshot = self.model.snapshot(clock::wall_ns(), self.intake.name(), self.intake.rings());
            live.draw()?;
        }
        while left > 0 {
            let wait = next.saturating_duration_since(clock::now()).min(STEP);
            let more = self.intake.take(&mut self.model, wait)?;
            match self.outside.turn(if more { Duration::ZERO } else { wait }) {
                News::Signal(Heard::Stop) => return Ok(()),
                News::Signal(heard) => self.out.heard(heard)?,
                News::Status(answer) => self.answered(*answer),
                News::Nothing => {}
            }
            if let Out::Terminal(live) = &mut self.out
                && !live.input()?
            {
                return Ok(());
            }
            let now = clock::now();
            if now >= next {
                if !self.tick(now)? {
                    return Ok(());
                }
                left -= 1;
                next = following(next, self.args.interval, now);
            }
        }
        Ok(())
    }

    fn ask(&mut self) {
        if let Some(reason) = self.outside.ask() {
            self.answered(Err(reason));
        }
    }

    fn answered(&mut self, answer: Result<status::Status, String>) {
        let named = |all: &[String], name: &str| all.is_empty() || all.iter().any(|one| one == name);
        self.model.status(clock::now(), answer, |exchange, symbol| {
            named(&self.venues.exchanges, exchange) && named(&self.venues.symbols, symbol)
        });
    }

    /// An interval ends; whether anybody still looks.
    fn tick(&mut self, now: Instant) -> Result<bool, Failure> {
        self.model.tick(now);
        let snapshot = self.model.snapshot(clock::wall_ns(), self.intake.name(), self.intake.rings());
        self.ask();
        match &mut self.out {
            Out::Lines(choice) => print(&choice.arranged(&snapshot)),
            Out::Terminal(live) => {
                live.screen.show(snapshot);
                live.draw().map(|()| true)
            }
        }
    }
}

/// The end of the next interval. Whoever was late, as one that was stopped, has nothing to catch up with, and the next
/// interval is a whole one: the rate of a moment would be none.
fn following(end: Instant, interval: Duration, now: Instant) -> Instant {
    let next = end + interval;
    if next <= now { now + interval } else { next }
}

impl Out {
    fn heard(&mut self, heard: Heard) -> Result<(), Failure> {
        let Self::Terminal(live) = self else { return Ok(()) };
        if heard == Heard::Continued {
            live.terminal.take_again().map_err(Failure::failed)?;
        }
        live.draw()
    }
}

impl Live {
    fn start(choice: Choice) -> Result<Self, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // As the C library looks for the locale of characters.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        let screen = Screen {
            choice,
            colour: set("NO_COLOR").is_none(),
            utf8: locale.contains("utf-8") || locale.contains("utf8"),
            ..Screen::default()
        };
        Ok(Self { terminal: Terminal::take()?, screen })
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.terminal.draw(&mut self.screen).map_err(Failure::failed)
    }

    /// Looks at keys; whether to go on.
    fn input(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        loop {
            let key = match self.terminal.input() {
                Input::Key(key) => key,
                Input::Nothing => break,
                Input::Gone => return Ok(false),
            };
            any = true;
            match self.screen.key(key, self.terminal.height(&self.screen)) {
                Act::On => {}
                Act::Quit => return Ok(false),
                Act::Redraw => self.terminal.take_again().map_err(Failure::failed)?,
                Act::Suspend => self.terminal.suspend().map_err(Failure::failed)?,
            }
        }
        if any {
            self.draw()?;
        }
        Ok(true)
    }
}

/// Prints a line; `false` where nobody reads any more.
fn print(snapshot: &Snapshot) -> Result<bool, Failure> {
    let line = serde_json::to_string(snapshot).map_err(Failure::failed)?;
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).map_err(Failure::failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_was_late_is_followed_by_a_whole_one() {
        let (start, second) = (clock::now(), Duration::from_secs(1));
        assert_eq!(following(start, second, start + second / 10), start + second, "in step");
        assert_eq!(following(start, second, start + second), start + second * 2);
        assert_eq!(following(start, second, start + second * 9), start + second * 10);
    }

    #[test]
    fn an_interval_has_its_bounds() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert!(interval("99ms").is_err() && interval("61m").is_err() && interval("9999999999years").is_err());
    }
}
