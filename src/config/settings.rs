//! Every setting with its type, default, unit and meaning. Names are a contract with operators.

mod jetstream;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::jetstream::{JetStream, Manage, Retention, Storage};
use super::secret::Secret;
use super::units::{Bytes, Span};

mod kv;
pub use kv::Kv;

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a drain may take at SIGTERM before the daemon gives up on what is still unacknowledged.
    pub shutdown_timeout: Span,
    /// Threads that own venue connections. A venue stays on one of them, since its ring has one writer, so no more are
    /// started than there are venues. 1..=64. With a stream for each exchange each venue has a thread of its own.
    pub shards: usize,
    /// One table a venue.
    pub exchanges: BTreeMap<String, Exchange>,
    /// How venue connections behave.
    pub feed: Feed,
    /// Where trades go.
    pub transport: Transport,
    /// Metrics, health and status.
    pub http: Http,
    /// Logs.
    pub log: Log,
}

/// One venue.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exchange {
    /// Canonical symbols (`BTCUSDT`); the venue's own spelling is taken too.
    pub symbols: Vec<String>,
    /// WebSocket base, `wss://host[:port]`; empty: the venue's own.
    pub ws_url: String,
    /// REST base, `https://host[:port]`; empty: the venue's own.
    pub rest_url: String,
    /// A connection on which nothing arrives for this long is replaced; zero: the venue's own rule.
    pub stall_timeout: Span,
    /// Connections that bring the same symbols side by side, 1..=4: the first arrival wins, the others fill.
    pub redundancy: usize,
}

/// How venue connections behave.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// DNS, TCP, TLS and the WebSocket handshake together.
    pub connect_timeout: Span,
    /// First wait before a reconnect; it doubles, with jitter, up to `backoff_max`.
    pub backoff_min: Span,
    /// Longest wait before a reconnect.
    pub backoff_max: Span,
    /// How long the old connection still runs beside its successor, at most.
    pub rotation_overlap: Span,
    /// How long trades behind a hole wait for the other connection of an overlap to fill it.
    pub hold: Span,
    /// Longest frame that is taken from a venue.
    pub frame_bytes_max: Bytes,
    /// Whether holes are filled from the venue's REST history. Without it they are declared and stay.
    pub repair: bool,
    /// How long live trades of a symbol wait on their way to the broker while a hole in front of them is filled.
    pub repair_hold: Span,
    /// Bound of what waits so, in bytes; the ring never waits.
    pub repair_hold_bytes: Bytes,
    /// How far back trades are fetched: at a start, after an outage.
    pub repair_horizon: Span,
}

/// Where trades go.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transport {
    /// Shared memory.
    pub ipc: Ipc,
    /// NATS JetStream.
    pub nats: Nats,
}

/// The ring in shared memory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ipc {
    /// Whether trades go there.
    pub enabled: bool,
    /// A segment's name is this prefix and the exchange: `/dev/shm/data_manager_binance`.
    pub shm_path_prefix: String,
    /// Records a segment holds; a power of two, 64..=2^30. One record takes 64 bytes.
    pub capacity: u64,
    /// Entries of the symbol table.
    pub symbols_max: u32,
    /// File mode of a segment, octal text.
    pub mode: String,
}

/// NATS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Whether trades go there.
    pub enabled: bool,
    /// Servers of one cluster, `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// The connection's name, as the server lists it.
    pub name: String,
    /// Prefix of reply inboxes; roles with different prefixes cannot read each other's replies.
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
    /// The stream.
    pub jetstream: JetStream,
    /// Several instances on the same symbols, of which one publishes.
    pub pair: Pair,
    /// What is told of venues and instruments in KV buckets.
    pub kv: Kv,
    /// Messages that may be sent and not yet acknowledged, 1..=100000.
    pub window: usize,
    /// Records of one subject packed into a message, 1..=1000.
    pub pack: usize,
    /// With `pack` above 1: a record waits at most this long for company.
    pub linger: Span,
    /// Whether each message carries a `Nats-Msg-Id`: a second belt against doubles, and what consumers of several
    /// instances go by. Without it a message takes a third less of the server.
    pub message_ids: bool,
    /// No acknowledgement for this long means doubt: reconnect, read what is stored, go on behind it.
    pub ack_timeout: Span,
    /// Records that wait for the broker in memory, in bytes; beyond it they wait on disk.
    pub outbox_memory: Bytes,
    /// Records that wait for the broker on disk, in bytes; beyond it the oldest are dropped, declared. 0: none do.
    pub outbox_disk: Bytes,
    /// Where they wait; empty: where the system keeps the state of programs.
    pub outbox_dir: PathBuf,
    /// Acknowledged records are kept this long, to be sent again when a power failure took them from the broker: twice
    /// the server's `sync_interval`.
    pub retain: Span,
    /// Bound of what `retain` keeps, in bytes.
    pub retain_bytes: Bytes,
}

/// Several instances that read the same symbols: one publishes, the others stand by and take over.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pair {
    /// Whether there are others. Every instance of the stream must say so.
    pub enabled: bool,
    /// The KV bucket that holds the lease.
    pub bucket: String,
    /// A holder that has not renewed for this long is displaced, 300ms..=1m.
    pub lease: Span,
    /// This instance's name in the lease, of which each one has its own; empty: host, process and chance.
    pub id: String,
}

/// TLS towards NATS.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates to trust, PEM; none: the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Client key, PEM.
    pub key: Option<PathBuf>,
    /// Refuse a server without TLS.
    pub required: bool,
}

/// Metrics, health and status over HTTP.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port; empty: no HTTP.
    pub listen: String,
}

/// Logs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as `info,data_manager::feed=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shutdown_timeout: Span::secs(10),
            shards: 1,
            exchanges: BTreeMap::new(),
            feed: Feed::default(),
            transport: Transport::default(),
            http: Http { listen: "127.0.0.1:9464".to_owned() },
            log: Log::default(),
        }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            symbols: Vec::new(),
            ws_url: String::new(),
            rest_url: String::new(),
            stall_timeout: Span::default(),
            redundancy: 1,
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            connect_timeout: Span::secs(10),
            backoff_min: Span::millis(250),
            backoff_max: Span::secs(30),
            rotation_overlap: Span::secs(10),
            hold: Span::millis(250),
            frame_bytes_max: Bytes::mib(1),
            repair: true,
            repair_hold: Span::secs(5),
            repair_hold_bytes: Bytes::mib(64),
            repair_horizon: Span::secs(900),
        }
    }
}

impl Default for Ipc {
    fn default() -> Self {
        Self {
            enabled: false,
            shm_path_prefix: "/data_manager_".to_owned(),
            capacity: 1 << 20,
            symbols_max: 4096,
            mode: "0640".to_owned(),
        }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            enabled: false,
            servers: vec!["nats://localhost:4222".to_owned()],
            name: "data-manager".to_owned(),
            inbox_prefix: "_INBOX".to_owned(),
            token: None,
            user: None,
            password: None,
            nkey: None,
            jwt: None,
            seed: None,
            credentials: None,
            tls: Tls::default(),
            jetstream: JetStream::default(),
            pair: Pair::default(),
            kv: Kv::default(),
            window: 1_000,
            pack: 1,
            linger: Span::millis(1),
            message_ids: true,
            ack_timeout: Span::secs(5),
            outbox_memory: Bytes::mib(256),
            outbox_disk: Bytes::gib(4),
            outbox_dir: PathBuf::new(),
            retain: Span::secs(240),
            retain_bytes: Bytes::mib(64),
        }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self { enabled: false, bucket: "DATA_MANAGER".to_owned(), lease: Span::secs(1), id: String::new() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Settings::default().http
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}
