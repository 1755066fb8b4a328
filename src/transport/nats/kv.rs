//! The KV buckets that tell of venues and instruments: looked at, created, put to, on a connection of their own.
//!
//! What is put when is not decided here, and nothing here is tried again. A user needs these rights and no more:
//!
//! | publish to | for |
//! |---|---|
//! | `$KV.<bucket>.>` | putting |
//! | `$JS.API.STREAM.INFO.KV_<bucket>` | looking at it; not with `jetstream.manage = "none"` |
//! | `$JS.API.STREAM.CREATE.KV_<bucket>` | creating it where it is missing, with `jetstream.manage = "create"` |
//!
//! and the subscription to its own inboxes (`transport.nats.inbox_prefix`) that every publisher needs.

mod error;
mod put;

use std::time::Duration;

use async_nats::Event;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use tokio::sync::mpsc;

pub use error::KvError;
pub(super) use error::cure;
use error::missing;
pub use put::Answered;

use super::connect::{self, Chain};
use super::stream_manager::{self, is_leaders};
use super::{declared, lease};
use crate::config::settings::{Kv, Manage, Nats};
use crate::config::{self, Span};
use crate::topology::change::Change;
use crate::topology::model::{Bucket, Storage, Stream};

/// One question and its answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Events of a connection that wait to be handled; more of them say nothing new.
const EVENTS: usize = 64;

/// What a bucket is for. It decides what the bucket is; only its name is a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The state of each venue.
    Status,
    /// The instruments that are read.
    Instruments,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Status, Self::Instruments];

    /// The name that status and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Instruments => "instruments",
        }
    }

    /// How long an entry lives when nobody puts it again.
    #[must_use]
    pub const fn ttl(self) -> Duration {
        match self {
            Self::Status => Duration::from_secs(300),
            Self::Instruments => Duration::from_secs(86_400),
        }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(self, kv: &Kv) -> &str {
        match self {
            Self::Status => &kv.status_bucket,
            Self::Instruments => &kv.instruments_bucket,
        }
    }

    /// Far more than its entries take.
    const fn max_bytes(self) -> config::Bytes {
        match self {
            Self::Status => config::Bytes::mib(16),
            Self::Instruments => config::Bytes::mib(64),
        }
    }

    const fn storage(self) -> Storage {
        match self {
            Self::Status => Storage::Memory,
            Self::Instruments => Storage::File,
        }
    }
}

/// What is to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Only if the key's last value has this revision; `None`: whatever it has.
    pub expected: Option<u64>,
}

/// What became of a put that the server has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there, at this revision.
    Stored(u64),
    /// The key's last value had another revision.
    Stale,
}

/// A bucket as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it was created just now.
    pub created_now: bool,
    /// Stamp of its creation, nanoseconds since the Unix epoch: another one is another bucket.
    pub created_ns: i128,
    /// Its last revision.
    pub last_seq: u64,
    /// How many entries it has, with the marks of removed ones.
    pub messages: u64,
    /// How long an entry lives; zero: for ever.
    pub max_age: Duration,
    /// Where it is not what its role asks for.
    pub differences: Vec<Change>,
}

/// What came of a look at a bucket.
#[derive(Clone, Debug)]
pub enum Looked {
    /// It is there.
    Found(Found),
    /// It is not there, and was not to be created yet.
    Early,
    /// `manage` says not to look.
    Unasked,
}

/// A connection to the buckets.
pub struct Store {
    context: Context,
    events: mpsc::Receiver<Event>,
    settings: Nats,
}

impl Store {
    /// Dials once.
    ///
    /// # Errors
    /// [`KvError::Connect`]
    pub async fn open(settings: &Nats) -> Result<Self, KvError> {
        let (tell, events) = mpsc::channel(EVENTS);
        let client = connect::dial_with(settings, move |event| {
            let _ = tell.try_send(event);
        })
        .await?;
        let mut context = jetstream::new(client);
        context.set_timeout(TIMEOUT);
        Ok(Self { context, events, settings: settings.clone() })
    }

    /// Whether the connection was lost, be it for a moment: what was in memory there may be gone with the server.
    pub fn is_lost(&mut self) -> bool {
        loop {
            match self.events.try_recv() {
                Ok(event) if is_end(&event) => return true,
                Ok(_) => {}
                Err(mpsc::error::TryRecvError::Empty) => return false,
                Err(mpsc::error::TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Looks at a bucket and, as `manage` allows and where `may_create`, creates it.
    ///
    /// # Errors
    /// [`KvError`], with what to do about it.
    pub async fn look(&mut self, role: Role, may_create: bool) -> Result<Looked, KvError> {
        if self.settings.jetstream.manage == Manage::None {
            return Ok(Looked::Unasked);
        }
        let (context, settings) = (self.context.clone(), self.settings.clone());
        self.unless_denied(role, look(&context, &settings, role, may_create)).await
    }

    /// What comes of `work`, or what the server says meanwhile: what is not permitted gets no other answer.
    async fn unless_denied<T>(
        &mut self,
        role: Role,
        work: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, KvError> {
        let bucket = role.bucket(&self.settings.kv);
        let trouble = async {
            loop {
                match self.events.recv().await {
                    Some(Event::ServerError(error)) => {
                        let words = error.to_string();
                        if let Some(cure) = cure(bucket, &words) {
                            return KvError::Denied { bucket: bucket.to_owned(), words, cure };
                        }
                    }
                    Some(event) if !is_end(&event) => {}
                    Some(_) | None => return KvError::Lost,
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            error = trouble => Err(error),
        }
    }
}

/// Who writes: the name of a pair's instance, otherwise host and process.
#[must_use]
pub fn instance(settings: &Nats) -> String {
    match settings.pair.id.as_str() {
        "" => format!("{}-{}", lease::host(), std::process::id()),
        id => id.to_owned(),
    }
}

const fn is_end(event: &Event) -> bool {
    matches!(event, Event::Disconnected | Event::Closed)
}

/// The bucket as its role asks for it.
#[must_use]
pub fn bucket(settings: &Nats, role: Role) -> Bucket {
    let description = match role {
        Role::Status => "state of each exchange's feeds, as data-manager sees it",
        Role::Instruments => "tick, lot and id of each instrument that data-manager publishes",
    };
    Bucket {
        description: description.to_owned(),
        storage: role.storage(),
        ttl: Span::from(role.ttl()),
        max_bytes: role.max_bytes(),
        replicas: declared::copies(settings),
        ..Bucket::default()
    }
}

async fn look(context: &Context, settings: &Nats, role: Role, may_create: bool) -> Result<Looked, KvError> {
    let bucket = role.bucket(&settings.kv);
    let (name, wanted) = (Bucket::stream_name(bucket), self::bucket(settings, role).as_stream(bucket));
    let fail = |what, reason| KvError::Failed { bucket: bucket.to_owned(), what, reason };
    match context.get_stream(&name).await {
        Ok(stream) if !is_leaders(stream.cached_info()) => Err(fail(
            "it cannot be looked at",
            "the server that answered does not lead it, and may be behind".to_owned(),
        )),
        Ok(stream) => {
            let info = stream.cached_info();
            Ok(found(info, differences(&name, &wanted, &info.config), false))
        }
        Err(error) if !stream_manager::is_missing(&error) => {
            Err(fail("it cannot be looked at", stream_manager::look_reason(&error)))
        }
        Err(_) if settings.jetstream.manage != Manage::Create => Err(missing(settings, role)),
        Err(_) if !may_create => Ok(Looked::Early),
        Err(_) => match context.create_stream(declared::config(&name, &wanted)).await {
            Ok(made) => Ok(found(made.cached_info(), Vec::new(), true)),
            Err(error) => {
                let text = Chain(&error).to_string();
                let hint = match error.kind() {
                    CreateStreamErrorKind::JetStream(error) if matches!(error.error_code().0, 10005 | 10074) => {
                        "; fewer servers than transport.nats.jetstream.replicas are there"
                    }
                    _ => stream_manager::hint(&text),
                };
                Err(fail("it cannot be created", format!("{text}{hint}")))
            }
        },
    }
}

fn found(info: &Info, differences: Vec<Change>, created_now: bool) -> Looked {
    let (created_ns, state) = (info.created.unix_timestamp_nanos(), &info.state);
    let (last_seq, messages, max_age) = (state.last_sequence, state.messages, info.config.max_age);
    Looked::Found(Found { created_now, created_ns, last_seq, messages, max_age, differences })
}

/// What a role decides of its bucket.
pub(super) const DECIDED: [&str; 4] = ["storage", "max_age", "max_msgs_per_subject", "num_replicas"];

/// Where a bucket is not what its role asks for; the rest is the operator's.
fn differences(name: &str, wanted: &Stream, found: &Config) -> Vec<Change> {
    let all = declared::compared(name, wanted, found);
    all.into_iter().filter(|change| DECIDED.contains(&change.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_that_differs_is_told() {
        let wanted = bucket(&Nats::default(), Role::Status).as_stream("b");
        let same = declared::config("KV_b", &wanted);
        assert_eq!(differences("KV_b", &wanted, &same), []);
        let found = Config { max_age: Duration::from_secs(60), num_replicas: 3, allow_direct: false, ..same };
        let told: Vec<String> = differences("KV_b", &wanted, &found).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "max_age: 1m -> 5m");
    }
}
