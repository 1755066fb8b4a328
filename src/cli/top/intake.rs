//! Brings records from the rings or the stream to the model. Rings are mapped read-only: their writers notice nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::model::Model;
use super::snapshot::RingRow;
use crate::cli::Failure;
use crate::cli::settings::{self, VenueArgs};
use crate::config::settings::{Nats, Settings};
use crate::source::{
    Begin, Event, IpcConfig, IpcSource, Lost, NatsConfig, NatsSource, SourceError, TradeSource, Waiting,
};
use crate::telemetry::clock;
use crate::transport::ipc::layout::State;
use crate::transport::ipc::{DIRECTORY, OpenError, Reader, segments};
use crate::transport::nats::consumer::TailError;

/// Records that are taken of one source before keys and clocks have their turn.
const BURST: u32 = 65_536;
/// Between two looks for rings that were not there yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two tries to open a stream that cannot be read.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// The same while one that was open cannot be read: a server that does not answer would hold keys up more often.
const RETRY_IN_TROUBLE: Duration = Duration::from_secs(15);

/// Where records come from.
pub(super) enum Intake {
    Rings(Box<Rings>),
    /// The stream, or that of each exchange.
    Streams(Streams),
}

/// Streams that are read, and those that cannot be read yet.
pub(super) struct Streams {
    open: Vec<NatsSource>,
    /// What they are opened with, and why that failed.
    missing: Vec<(NatsConfig, String)>,
    look_at: Instant,
}

/// The rings of this host.
pub(super) struct Rings {
    config: IpcConfig,
    /// Whether rings that nobody named are read too.
    all: bool,
    /// By exchange; those that were named are waited for.
    open: BTreeMap<String, Option<IpcSource>>,
    /// Those that stood there when reading began and could not be opened: what is in them is older than this view.
    old: BTreeSet<String>,
    /// The signs of life that were seen last.
    beats: BTreeMap<String, u64>,
    /// The most that waited in a ring at any look since it was told last.
    peaks: BTreeMap<String, u64>,
    look_at: Instant,
}

impl Intake {
    /// Opens what is named: the stream, or the rings.
    pub(super) fn open(settings: &Settings, stream: bool, venues: &VenueArgs) -> Result<Self, Failure> {
        if stream {
            let streams = settings::streams(settings, &venues.exchanges)?;
            return Streams::open(streams.iter().map(|nats| stream_config(nats, venues))).map(Self::Streams);
        }
        Ok(Self::Rings(Box::new(Rings::new(settings, venues))))
    }

    /// Begins to read, from here on.
    pub(super) fn begin(&mut self, model: &mut Model) -> Result<(), Failure> {
        match self {
            Self::Streams(_) => Ok(()),
            Self::Rings(rings) => rings.begin(model),
        }
    }

    /// What is read, for people.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Rings(_) => "ring",
            Self::Streams(_) => "stream",
        }
    }

    /// Takes what is there; waits for the stream so long at most. Whether there may be more at once.
    pub(super) fn take(&mut self, model: &mut Model, wait: Duration) -> Result<bool, Failure> {
        match self {
            Self::Streams(streams) => {
                // Each has its part of the time.
                let wait = wait / u32::try_from(streams.open.len()).unwrap_or(u32::MAX).max(1);
                let mut more = false;
                for source in &mut streams.open {
                    more |= drain(source, model, wait);
                }
                model.trouble(streams.look());
                Ok(more)
            }
            Self::Rings(rings) => {
                rings.look(model)?;
                let mut more = false;
                let rings = rings.as_mut();
                for (exchange, source) in &mut rings.open {
                    let Some(source) = source else { continue };
                    let waiting = source.readers().next().map_or(0, Reader::behind);
                    if let Some(peak) = rings.peaks.get_mut(exchange) {
                        *peak = waiting.max(*peak);
                    } else {
                        rings.peaks.insert(exchange.clone(), waiting);
                    }
                    more |= drain(source, model, Duration::ZERO);
                }
                Ok(more)
            }
        }
    }

    /// How the rings stand; peaks are those since the last call.
    pub(super) fn rings(&mut self) -> Vec<RingRow> {
        let Self::Rings(rings) = self else { return Vec::new() };
        let peaks = std::mem::take(&mut rings.peaks);
        let rows = rings.open.iter().filter_map(|(exchange, source)| {
            let reader = source.as_ref()?.readers().next()?;
            let unread = reader.behind();
            Some(RingRow {
                exchange: exchange.clone(),
                capacity: reader.capacity(),
                written: reader.position() + unread,
                unread,
                peak: peaks.get(exchange).copied().unwrap_or(0).max(unread),
            })
        });
        rows.collect()
    }
}

impl Streams {
    /// Opens them. One that cannot be read ends nothing while another one can.
    fn open(configs: impl Iterator<Item = NatsConfig>) -> Result<Self, Failure> {
        let mut this = Self { open: Vec::new(), missing: Vec::new(), look_at: clock::now() + RETRY_EVERY };
        let begun = OffsetDateTime::from_unix_timestamp_nanos(i128::from(clock::wall_ns())).ok();
        let begun = begun.and_then(|time| time.format(&Rfc3339).ok());
        for config in configs {
            match NatsSource::open(&config) {
                Ok(source) => this.open.push(source),
                // What it has taken when it can be read at last is new since now.
                Err(error) => {
                    let start = begun.clone().unwrap_or(config.start);
                    this.missing.push((NatsConfig { start, ..config }, told(&error)));
                }
            }
        }
        if this.open.is_empty() {
            let texts: BTreeSet<String> = this.missing.into_iter().map(|(_, why)| why).collect();
            return Err(Failure::failed(Vec::from_iter(texts).join("\n")));
        }
        Ok(this)
    }

    /// Tries those again that cannot be read, and tells why nothing comes of any.
    fn look(&mut self) -> Option<String> {
        let trouble = self.open.iter().find_map(TradeSource::trouble);
        // Opening waits for the server: where the connection is lost, keys must not wait for it. A stream that was
        // deleted, say, is no reason not to try the others.
        if self.missing.is_empty() || self.open.iter().any(NatsSource::is_cut_off) {
            return trouble;
        }
        let now = clock::now();
        if now >= self.look_at {
            let Self { open, missing, .. } = self;
            missing.retain_mut(|(config, why)| match NatsSource::open(config) {
                Ok(source) => {
                    open.push(source);
                    false
                }
                Err(error) => {
                    *why = told(&error);
                    true
                }
            });
            self.look_at = clock::now() + if trouble.is_some() { RETRY_IN_TROUBLE } else { RETRY_EVERY };
        }
        trouble.or_else(|| self.told_missing())
    }

    fn told_missing(&self) -> Option<String> {
        self.missing.first().map(|(_, why)| format!("{why}; the others are read"))
    }
}

impl Rings {
    fn new(settings: &Settings, venues: &VenueArgs) -> Self {
        let exchanges = &venues.exchanges;
        Self {
            config: IpcConfig {
                symbols: venues.symbols.clone(),
                shm_path_prefix: settings.transport.ipc.shm_path_prefix.clone(),
                begin: Begin::Newest,
                wait: Waiting::Yield,
                ..IpcConfig::default()
            },
            all: exchanges.is_empty(),
            open: exchanges.iter().map(|exchange| (exchange.clone(), None)).collect(),
            old: BTreeSet::new(),
            beats: BTreeMap::new(),
            peaks: BTreeMap::new(),
            look_at: clock::now(),
        }
    }

    /// Opens what is there.
    fn begin(&mut self, model: &mut Model) -> Result<(), Failure> {
        let prefix = &self.config.shm_path_prefix;
        if self.all {
            let found = segments(Path::new(DIRECTORY), prefix).map_err(Failure::failed)?;
            self.open = found.into_iter().map(|exchange| (exchange, None)).collect();
        }
        if self.open.is_empty() {
            let hint = "start `data-manager serve --ipc`, or name the exchange to wait for it";
            return Err(Failure::failed(format!("no segment {DIRECTORY}{prefix}* in shared memory; {hint}")));
        }
        self.open_missing(model)
    }

    /// Opens rings that have appeared, and sees whether a writer that was silent is back.
    fn look(&mut self, model: &mut Model) -> Result<(), Failure> {
        let now = clock::now();
        if now < self.look_at {
            return Ok(());
        }
        self.look_at = now + LOOK_EVERY;
        if self.all {
            match segments(Path::new(DIRECTORY), &self.config.shm_path_prefix) {
                Ok(found) => {
                    for exchange in found {
                        self.open.entry(exchange).or_default();
                    }
                }
                // What is open is read on.
                Err(error) => model.note(now, "looks for rings failed", format!("{DIRECTORY}: {error}")),
            }
        }
        for (exchange, source) in &self.open {
            let Some(reader) = source.as_ref().and_then(|source| source.readers().next()) else { continue };
            let beat = reader.heartbeat_ns();
            if self.beats.insert(exchange.clone(), beat) != Some(beat) && reader.state() == Some(State::Live) {
                model.writer(exchange, "");
            }
        }
        self.open_missing(model)
    }

    fn open_missing(&mut self, model: &mut Model) -> Result<(), Failure> {
        let first = self.config.begin == Begin::Newest;
        for (exchange, source) in self.open.iter_mut().filter(|(_, source)| source.is_none()) {
            let begin = if self.old.contains(exchange) { Begin::Newest } else { self.config.begin };
            match IpcSource::open(&IpcConfig { exchanges: vec![exchange.clone()], begin, ..self.config.clone() }) {
                Ok(opened) => {
                    model.writer(exchange, "");
                    *source = Some(opened);
                }
                Err(SourceError::Ring(OpenError::Missing { .. })) => model.writer(exchange, "no ring yet"),
                Err(error @ SourceError::Ring(_)) => {
                    if first {
                        self.old.insert(exchange.clone());
                    }
                    model.writer(exchange, &told(&error));
                }
                Err(error) => return Err(Failure::usage(told(&error))),
            }
        }
        // What appears from here on is new in all of it.
        self.config.begin = Begin::Oldest;
        Ok(())
    }
}

/// Takes what is there, up to a burst; whether there may be more.
fn drain(source: &mut dyn TradeSource, model: &mut Model, mut wait: Duration) -> bool {
    for _ in 0..BURST {
        match source.next(wait) {
            Ok(Some(event)) => take(&event, model),
            Ok(None) => return false,
            // It was passed over, and what stands behind it is not worse for it.
            Err(error @ (SourceError::Kind { .. } | SourceError::Stream(TailError::Message { .. }))) => {
                model.unreadable(clock::now(), told(&error));
            }
            Err(error) => {
                model.note(clock::now(), "reads failed", told(&error));
                // What cannot be read at all must not keep a core busy.
                return false;
            }
        }
        wait = Duration::ZERO;
    }
    true
}

fn take(event: &Event<'_>, model: &mut Model) {
    match event {
        Event::Trade(trade) => {
            model.trade(trade.exchange, &named(trade.symbol, trade.msg.instrument_id), &trade.msg);
        }
        Event::Gap(gap) => model.gap(gap.exchange, &named(gap.symbol, gap.msg.instrument_id), &gap.msg),
        Event::Lost(Lost::Lagged { records, .. }) => model.lagged(*records),
        Event::Lost(Lost::Removed { first, last, .. }) => model.removed(*first, *last),
        Event::WriterGone { exchange, reason } => model.writer(exchange, &reason.to_string()),
        Event::WriterChanged { exchange, .. } => model.writer(exchange, ""),
    }
}

/// The symbol, or the number of an instrument that the ring has not named.
fn named(symbol: &str, instrument: u32) -> std::borrow::Cow<'_, str> {
    if symbol.is_empty() { format!("#{instrument}").into() } else { symbol.into() }
}

/// An error in the words of the daemon's settings, which are what this command reads.
fn told(error: &SourceError) -> String {
    error.to_string().replace("data_source.", "transport.")
}

/// What is new in the stream, in order, without anything that stays on the server.
fn stream_config(nats: &Nats, venues: &VenueArgs) -> NatsConfig {
    let nats = nats.clone();
    let own = nats.jetstream.exchange().map(|exchange| vec![exchange.to_owned()]);
    NatsConfig {
        servers: nats.servers,
        name: "data-manager-top".to_owned(),
        inbox_prefix: nats.inbox_prefix,
        token: nats.token,
        user: nats.user,
        password: nats.password,
        nkey: nats.nkey,
        jwt: nats.jwt,
        seed: nats.seed,
        credentials: nats.credentials,
        tls: nats.tls,
        stream_name: nats.jetstream.stream_name,
        subject_prefix: nats.jetstream.subject_prefix,
        exchanges: own.unwrap_or_else(|| venues.exchanges.clone()),
        symbols: venues.symbols.clone(),
        start: "new".to_owned(),
        ..NatsConfig::default()
    }
}
