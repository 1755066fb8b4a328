//! What a reading program configures: `[data_source.ipc]`, `[data_source.nats]`, or both for one after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SourceError, TradeSource};
#[cfg(feature = "nats")]
use crate::config::Secret;
#[cfg(feature = "nats")]
use crate::config::settings::{JetStream, Nats, Tls};
use crate::config::units::Span;
#[cfg(feature = "nats")]
use crate::transport::nats::consumer::Replay;

/// Where trades come from. With both tables what is stored comes first, then the rings.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSource {
    /// Rings in shared memory.
    pub ipc: Option<IpcConfig>,
    /// The stream.
    #[cfg(feature = "nats")]
    pub nats: Option<NatsConfig>,
    /// The stream; this build has no reader for it.
    #[cfg(not(feature = "nats"))]
    pub nats: Option<NatsConfig>,
}

/// Reading rings.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpcConfig {
    /// Exchange tokens; empty: those that have a ring when reading begins.
    pub exchanges: Vec<String>,
    /// Canonical symbols; empty: all.
    pub symbols: Vec<String>,
    /// A ring's name is this prefix and the exchange.
    pub shm_path_prefix: String,
    /// Where rings lie.
    pub directory: PathBuf,
    /// Where to begin.
    pub begin: Begin,
    /// What to do while nothing comes: `spin`, `yield`, or sleep for a time such as `50us`.
    pub wait: Waiting,
    /// A writer that shows no life for this long is told, 2s at least.
    pub silence: Span,
}

/// Where reading a ring begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// What comes from now on.
    #[default]
    Newest,
    /// The oldest record that is there.
    Oldest,
}

/// What to do while nothing comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Waiting {
    /// Keep the core.
    Spin,
    /// Offer the core to others.
    #[default]
    Yield,
    /// Sleep for so long.
    Sleep(Duration),
}

/// Reading the stream.
#[cfg(feature = "nats")]
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers of one cluster, `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// The connection's name, as the server lists it.
    pub name: String,
    /// Prefix of reply inboxes.
    pub inbox_prefix: String,
    /// Authentication by token.
    pub token: Option<Secret>,
    /// Authentication by user and `password`.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// Authentication by NKey: the seed (`SU...`).
    pub nkey: Option<Secret>,
    /// Authentication by JWT, with `seed`.
    pub jwt: Option<Secret>,
    /// The seed that signs for `jwt`.
    pub seed: Option<Secret>,
    /// Authentication by a credentials file.
    pub credentials: Option<PathBuf>,
    /// TLS.
    pub tls: Tls,
    /// The stream; with `stream_per_exchange` the first part of its name.
    pub stream_name: String,
    /// Whether each exchange has a stream of its own, as `transport.nats.jetstream.stream_per_exchange` of the daemon
    /// says. A source reads one of them: `exchanges` names it.
    pub stream_per_exchange: bool,
    /// First token of all subjects.
    pub subject_prefix: String,
    /// Exchange tokens; empty: all.
    pub exchanges: Vec<String>,
    /// Canonical symbols; empty: all.
    pub symbols: Vec<String>,
    /// Name of the durable consumer, one reader's own; empty: nothing is kept on the server, nothing acknowledged.
    pub durable: String,
    /// Where to begin: `new`, `all`, `last` (of each symbol), a time ago (`5m`), a time (`2026-01-31T08:00:00Z`) or a
    /// sequence (`#1000`). A durable consumer that is there goes on where it is.
    pub start: String,
    /// `instant`, or `original`: at the rate at which it was stored.
    pub replay: Replay,
    /// The last sequence that this program has dealt with, where it keeps that itself: reading goes on behind it.
    pub after: Option<u64>,
    /// A message that is not acknowledged for so long is brought again. 100ms..=1h.
    pub ack_wait: Span,
    /// Messages that may be delivered and not acknowledged, 1..=1000000.
    pub max_ack_pending: u32,
    /// `true`: what was handed out counts as dealt with when the next is asked for. `false`: only `commit` says so.
    pub auto_commit: bool,
    /// An acknowledgement is sent for this many messages at a time, or after `ack_interval`.
    pub ack_every: u32,
    /// See `ack_every`.
    pub ack_interval: Span,
}

/// Reading the stream, which this build cannot: its keys are taken, and refused when it is opened.
#[cfg(not(feature = "nats"))]
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NatsConfig {}

impl Default for IpcConfig {
    fn default() -> Self {
        Self {
            exchanges: Vec::new(),
            symbols: Vec::new(),
            shm_path_prefix: "/data_manager_".to_owned(),
            directory: PathBuf::from("/dev/shm"),
            begin: Begin::default(),
            wait: Waiting::default(),
            silence: Span::secs(3),
        }
    }
}

#[cfg(feature = "nats")]
impl Default for NatsConfig {
    fn default() -> Self {
        let Nats { servers, inbox_prefix, tls, jetstream, .. } = Nats::default();
        Self {
            servers,
            name: "data-manager-reader".to_owned(),
            inbox_prefix,
            token: None,
            user: None,
            password: None,
            nkey: None,
            jwt: None,
            seed: None,
            credentials: None,
            tls,
            stream_name: jetstream.stream_name,
            stream_per_exchange: jetstream.stream_per_exchange,
            subject_prefix: jetstream.subject_prefix,
            exchanges: Vec::new(),
            symbols: Vec::new(),
            durable: String::new(),
            start: "new".to_owned(),
            replay: Replay::Instant,
            after: None,
            ack_wait: Span::secs(5),
            max_ack_pending: 10_000,
            auto_commit: true,
            ack_every: 1_000,
            ack_interval: Span::millis(100),
        }
    }
}

#[cfg(feature = "nats")]
impl NatsConfig {
    /// What connecting and reading need of it.
    pub(super) fn settings(&self) -> Nats {
        let own = self.clone();
        let jetstream = JetStream {
            stream_name: own.stream_name,
            stream_per_exchange: own.stream_per_exchange,
            subject_prefix: own.subject_prefix,
            ..JetStream::default()
        };
        Nats {
            servers: own.servers,
            name: own.name,
            inbox_prefix: own.inbox_prefix,
            token: own.token,
            user: own.user,
            password: own.password,
            nkey: own.nkey,
            jwt: own.jwt,
            seed: own.seed,
            credentials: own.credentials,
            tls: own.tls,
            jetstream: match own.exchanges.as_slice() {
                [exchange] if own.stream_per_exchange => jetstream.of(exchange),
                _ => jetstream,
            },
            ..Nats::default()
        }
    }
}

impl TryFrom<String> for Waiting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "spin" => Ok(Self::Spin),
            "yield" => Ok(Self::Yield),
            _ => humantime::parse_duration(&text).map(Self::Sleep).map_err(|error| {
                format!("{text:?} is neither \"spin\", \"yield\" nor a time to sleep such as \"50us\" ({error})")
            }),
        }
    }
}

impl From<Waiting> for String {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Spin => "spin".to_owned(),
            Waiting::Yield => "yield".to_owned(),
            Waiting::Sleep(duration) => humantime::format_duration(duration).to_string(),
        }
    }
}

/// Opens the source that is configured.
///
/// # Errors
/// [`SourceError`] when none is, or it cannot be opened.
pub fn open(config: &DataSource) -> Result<Box<dyn TradeSource + Send>, SourceError> {
    let refuse = |message: &str| Err(SourceError::Config { message: message.to_owned() });
    match (&config.ipc, &config.nats) {
        (None, None) => refuse("no data source: write [data_source.ipc] or [data_source.nats]"),
        #[cfg(feature = "ipc")]
        (Some(ipc), None) => Ok(Box::new(super::IpcSource::open(ipc)?)),
        #[cfg(feature = "nats")]
        (None, Some(nats)) => Ok(Box::new(super::NatsSource::open(nats)?)),
        #[cfg(all(feature = "ipc", feature = "nats"))]
        (Some(ipc), Some(nats)) => Ok(Box::new(super::HandoverSource::open(ipc, nats)?)),
        #[cfg(not(feature = "ipc"))]
        (Some(_), _) => refuse("data_source.ipc: this program was built without the feature `ipc`"),
        #[cfg(not(feature = "nats"))]
        (_, Some(_)) => refuse("data_source.nats: this program was built without the feature `nats`"),
    }
}

/// Opens the source that a TOML file names in its table `data_source`; other tables are the program's own.
///
/// # Errors
/// As [`open`], and where the file cannot be read.
pub fn open_file(path: &Path) -> Result<Box<dyn TradeSource + Send>, SourceError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        data_source: DataSource,
    }
    let refuse = |message: String| SourceError::Config { message };
    let text =
        std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot read {}: {error}", path.display())))?;
    // Without the text that toml would quote: a secret may stand there.
    let file: File = toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
        refuse(format!("{}, line {line}: {}", path.display(), error.message()))
    })?;
    open(&file.data_source)
}
