//! The stream that trades are stored in: created where it is missing, compared where it is there, never changed.
//!
//! A stream that differs from the settings is reported field by field and left alone: somebody made it so, and changing
//! retention or limits can delete data. It publishes nothing.

mod overlap;

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};

use super::connect::Chain;
use crate::config::Span;
use crate::config::settings::{JetStream, Manage, Nats, Retention, Storage};
use crate::market::subject::stream_subjects;
use crate::market::trade::RECORD_BYTES;

/// What a message costs in a file store beside its records: headers of the store, subject, message id.
/// A chained message stores its conditions too, some hundred bytes; the bound is the same for all servers, so that a
/// stream does not differ after a server's upgrade.
const MESSAGE_OVERHEAD: u64 = 112;

/// First server version that has fast-ingest batches.
const FAST_INGEST_SINCE: (u32, u32) = (2, 14);

/// What was found, or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Whether it was created just now.
    pub created_now: bool,
    /// Where an existing stream is not as the settings say.
    pub differences: Vec<Difference>,
    /// Whether the stream takes fast-ingest batches.
    pub batches: bool,
    /// Copies.
    pub replicas: usize,
    /// The last sequence.
    pub last_seq: u64,
    /// Stamp of the stream's creation, nanoseconds since the Unix epoch.
    pub created: u64,
    /// How long it remembers message ids.
    pub duplicate_window: Duration,
    /// What `max_bytes_per_subject` became: messages per subject, `None` for no bound.
    pub messages_per_subject: Option<u64>,
}

/// One field of an existing stream that is not as the settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, as the settings name it.
    pub field: &'static str,
    /// What the settings say.
    pub wanted: String,
    /// What the stream has.
    pub found: String,
}

/// Why there is no stream to publish to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// `manage` forbids to create it.
    #[error("stream {name} does not exist and transport.nats.jetstream.manage = {manage:?} does not create it; {cure}")]
    Missing {
        /// The stream.
        name: String,
        /// The setting.
        manage: &'static str,
        /// What would do.
        cure: &'static str,
    },
    /// The server would not create it.
    #[error("cannot create stream {name}: {reason}")]
    Create {
        /// The stream.
        name: String,
        /// The server's words, and what to do.
        reason: String,
    },
    /// The server could not be asked.
    #[error("cannot look at stream {name}: {reason}")]
    Look {
        /// The stream.
        name: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// Not its leader has answered: that server's copy may be behind.
    #[error("the server that answered for stream {name} does not lead it, and may be behind; asking again")]
    NotTheLeader {
        /// The stream.
        name: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: configured {}, the stream has {}", self.field, self.wanted, self.found)
    }
}

/// Looks at the stream and, as `manage` allows, creates it.
///
/// # Errors
/// [`StreamError`], with what to do about it.
pub async fn ensure(client: &async_nats::Client, settings: &Nats) -> Result<StreamReport, StreamError> {
    let context = jetstream::new(client.clone());
    let wanted = config(settings, takes_batches(&client.server_info().version));
    let stream = &settings.jetstream;
    match context.get_stream(&stream.stream_name).await {
        Ok(found) if !is_leaders(found.cached_info()) => {
            Err(StreamError::NotTheLeader { name: stream.stream_name.clone() })
        }
        Ok(found) => Ok(report(stream, &wanted, found.cached_info(), false)),
        Err(error) if is_missing(&error) => match stream.manage {
            Manage::Create => create(&context, stream, wanted).await,
            Manage::Verify => Err(missing(stream, "verify", "create it, or let manage = \"create\" do it")),
            Manage::None => Err(missing(stream, "none", "create it before data-manager starts")),
        },
        Err(error) => Err(StreamError::Look { name: stream.stream_name.clone(), reason: look_reason(&error) }),
    }
}

/// Whether the stream's leader has answered. In a cluster a server that has just come back answers as well, with what
/// its own copy had when it went: it knows no leader, or names another server as the leader.
pub(super) fn is_leaders(info: &Info) -> bool {
    info.cluster.as_ref().is_none_or(|cluster| {
        let leader = cluster.leader.as_deref().unwrap_or_default();
        !leader.is_empty() && cluster.replicas.iter().all(|replica| replica.name != leader)
    })
}

/// The stream as the settings want it; `batches` says whether the server knows fast-ingest batches.
#[must_use]
pub fn config(settings: &Nats, batches: bool) -> Config {
    let stream = &settings.jetstream;
    let max_age = stream.max_age.duration();
    let window = stream.duplicate_window.duration();
    Config {
        name: stream.stream_name.clone(),
        description: Some("trades and declared gaps of data-manager: 48-byte records".to_owned()),
        subjects: stream_subjects(&stream.subject_prefix, stream.exchange()),
        storage: match stream.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        },
        retention: match stream.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::Interest => RetentionPolicy::Interest,
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
        },
        discard: DiscardPolicy::Old,
        max_age,
        max_bytes: bound(stream.max_bytes.get()),
        max_messages_per_subject: messages_per_subject(settings).map_or(-1, bound),
        num_replicas: stream.replicas,
        // The server refuses a window that is longer than messages live.
        duplicate_window: if max_age.is_zero() { window } else { window.min(max_age) },
        allow_direct: true,
        allow_batch_publish: batches,
        ..Config::default()
    }
}

/// `max_bytes_per_subject` as messages, which is what the server can bound; `None` for no bound.
#[must_use]
pub fn messages_per_subject(settings: &Nats) -> Option<u64> {
    let bytes = settings.jetstream.max_bytes_per_subject.get();
    let message = MESSAGE_OVERHEAD + (settings.pack.max(1) * RECORD_BYTES) as u64;
    (bytes > 0).then(|| (bytes / message).max(1))
}

async fn create(context: &Context, stream: &JetStream, wanted: Config) -> Result<StreamReport, StreamError> {
    match context.create_stream(wanted.clone()).await {
        Ok(made) => Ok(report(stream, &wanted, made.cached_info(), true)),
        Err(error) => {
            let taken = match error.kind() {
                CreateStreamErrorKind::JetStream(error) if error.error_code().0 == overlap::CODE => {
                    overlap::taken_by(context, &wanted.subjects).await
                }
                _ => None,
            };
            let reason = create_reason(&error, stream, taken.as_deref());
            Err(StreamError::Create { name: stream.stream_name.clone(), reason })
        }
    }
}

fn report(stream: &JetStream, wanted: &Config, info: &Info, created_now: bool) -> StreamReport {
    let look = stream.manage != Manage::None && !created_now;
    let created = info.created.unix_timestamp_nanos();
    StreamReport {
        created_now,
        differences: if look { differences(wanted, &info.config) } else { Vec::new() },
        batches: info.config.allow_batch_publish,
        replicas: info.config.num_replicas,
        last_seq: info.state.last_sequence,
        created: u64::try_from(created).unwrap_or(0),
        duplicate_window: info.config.duplicate_window,
        messages_per_subject: u64::try_from(info.config.max_messages_per_subject).ok().filter(|count| *count > 0),
    }
}

/// Where `found` is not as `wanted`, in the words of the settings.
fn differences(wanted: &Config, found: &Config) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut compare = |field, wanted: String, found: String| {
        if wanted != found {
            list.push(Difference { field, wanted, found });
        }
    };
    let (mut ours, mut theirs) = (wanted.subjects.clone(), found.subjects.clone());
    ours.sort();
    theirs.sort();
    compare("subjects", ours.join(" "), theirs.join(" "));
    compare("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage));
    compare("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention));
    compare("max_age", Span::from(wanted.max_age).to_string(), Span::from(found.max_age).to_string());
    compare("max_bytes", limit(wanted.max_bytes), limit(found.max_bytes));
    compare(
        "max_bytes_per_subject (as messages)",
        limit(wanted.max_messages_per_subject),
        limit(found.max_messages_per_subject),
    );
    compare("replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string());
    let window = |config: &Config| Span::from(config.duplicate_window).to_string();
    compare("duplicate_window", window(wanted), window(found));
    compare("discard", format!("{:?}", wanted.discard), format!("{:?}", found.discard));
    if wanted.allow_batch_publish {
        compare("allow_batched (fast ingest)", "true".to_owned(), found.allow_batch_publish.to_string());
    }
    list
}

/// Whether a server of this version knows fast-ingest batches.
fn takes_batches(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= FAST_INGEST_SINCE
}

fn bound(value: u64) -> i64 {
    if value == 0 { -1 } else { i64::try_from(value).unwrap_or(i64::MAX) }
}

fn limit(value: i64) -> String {
    if value <= 0 { "unlimited".to_owned() } else { value.to_string() }
}

pub(super) fn is_missing(error: &GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

fn missing(stream: &JetStream, manage: &'static str, cure: &'static str) -> StreamError {
    StreamError::Missing { name: stream.stream_name.clone(), manage, cure }
}

pub(super) fn look_reason(error: &GetStreamError) -> String {
    let text = Chain(error).to_string();
    let hint = match error.kind() {
        GetStreamErrorKind::InvalidStreamName | GetStreamErrorKind::EmptyName => {
            "; a stream's name has no white space, dots, asterisks or angle brackets"
        }
        _ => hint(&text),
    };
    format!("{text}{hint}")
}

fn create_reason(error: &CreateStreamError, stream: &JetStream, taken: Option<&str>) -> String {
    let text = Chain(error).to_string();
    let overlaps;
    let hint = match error.kind() {
        CreateStreamErrorKind::JetStream(error) => match error.error_code().0 {
            overlap::CODE => {
                overlaps = overlap::cure(stream, taken);
                &overlaps
            }
            10047 | 10028 => "; the server's store is smaller than max_bytes: lower transport.nats.jetstream.max_bytes",
            10074 => "; replicas above 1 need a cluster: set transport.nats.jetstream.replicas = 1",
            10005 => "; fewer servers than replicas are there: lower transport.nats.jetstream.replicas",
            _ => hint(&text),
        },
        _ => hint(&text),
    };
    let replicas = if stream.replicas > 1 { format!(" (replicas = {})", stream.replicas) } else { String::new() };
    format!("{text}{replicas}{hint}")
}

pub(super) fn hint(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    if text.contains("not enabled") {
        "; start the server with JetStream (-js)"
    } else if ["timed out", "no responders", "resource does not exist"].iter().any(|word| text.contains(word)) {
        "; JetStream did not answer: is it on (-js), has the cluster a leader, may this user publish to $JS.API.>?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_in_bytes_becomes_a_bound_in_messages() {
        let mut settings = Nats::default();
        assert_eq!(messages_per_subject(&settings), Some((100 << 20) / 160));
        settings.pack = 10;
        assert_eq!(messages_per_subject(&settings), Some((100 << 20) / (112 + 480)));
        settings.jetstream.max_bytes_per_subject = 1.into();
        assert_eq!(messages_per_subject(&settings), Some(1));
        settings.jetstream.max_bytes_per_subject = 0.into();
        assert_eq!(messages_per_subject(&settings), None);
        assert_eq!(config(&settings, true).max_messages_per_subject, -1);
    }

    #[test]
    fn a_copy_that_may_be_behind_is_told_from_the_leader() {
        let info = |cluster: &str| -> Info {
            let text = format!(
                r#"{{"created":"2026-01-31T08:00:00Z","config":{{"name":"S","retention":"limits","storage":"file",
                "discard":"old","num_replicas":3,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,
                "max_msgs_per_subject":-1}},"state":{{"messages":0,"bytes":0,"first_seq":1,
                "first_ts":"2026-01-31T08:00:00Z","last_seq":0,"last_ts":"2026-01-31T08:00:00Z",
                "consumer_count":0}}{cluster}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let copies =
            |names: [&str; 2]| names.map(|name| format!(r#"{{"name":"{name}","current":true,"active":1}}"#)).join(",");
        let led = |leader: &str| format!(r#","cluster":{{"name":"c"{leader},"replicas":[{}]}}"#, copies(["n1", "n2"]));
        assert!(is_leaders(&info("")), "a server of its own");
        assert!(is_leaders(&info(&led(r#","leader":"n0""#))));
        assert!(!is_leaders(&info(&led(""))), "a server that has just come back knows no leader");
        assert!(!is_leaders(&info(&led(r#","leader":"n2""#))), "a copy names the leader among the others");
    }

    #[test]
    fn each_field_that_differs_is_told_and_no_other() {
        let wanted = config(&Nats::default(), true);
        assert_eq!(differences(&wanted, &wanted), []);
        let found = Config { num_replicas: 3, max_bytes: -1, allow_batch_publish: false, ..wanted.clone() };
        let told: Vec<String> = differences(&wanted, &found).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "max_bytes: configured 10737418240, the stream has unlimited");
        assert!(told[2].contains("fast ingest"), "{told:?}");
        // A server that does not know batches is not told to have them.
        assert_eq!(differences(&config(&Nats::default(), false), &wanted), []);
    }

    #[test]
    fn batches_are_asked_for_where_the_server_has_them() {
        for (version, has) in
            [("2.10.26", false), ("2.13.9", false), ("2.14.0", true), ("2.15.1", true), ("3.0.0", true)]
        {
            assert_eq!(takes_batches(version), has, "{version}");
        }
        assert!(!takes_batches("dev"));
    }

    #[test]
    fn a_duplicate_window_never_outlives_the_messages() {
        let mut settings = Nats::default();
        settings.jetstream.max_age = Span::secs(30);
        assert_eq!(config(&settings, true).duplicate_window.as_secs(), 30);
    }
}
