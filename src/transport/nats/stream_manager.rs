//! The stream that trades are stored in: created where it is missing, compared where it is there, never changed.
//!
//! A stream that differs from the settings is reported field by field and left alone: somebody made it so, and changing
//! retention or limits can delete data. It publishes nothing.

mod overlap;

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{self, Context};

use super::connect::Chain;
use super::declared;
use crate::config::settings::{JetStream, Manage, Nats};
use crate::topology::change::Change;
use crate::topology::covers;
use crate::topology::model::Stream;

/// First server version that has fast-ingest batches.
const FAST_INGEST_SINCE: (u32, u32) = (2, 14);

/// What was found, or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Whether it was created just now.
    pub created_now: bool,
    /// Where an existing stream is not as the settings say.
    pub differences: Vec<Change>,
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
    /// It takes in something else: what we publish would be stored elsewhere, or nowhere.
    #[error(
        "stream {name} does not take in {subject}, so that what is published there would be stored elsewhere or nowhere; \
         give it the subject, or choose another transport.nats.jetstream.stream_name; records wait until then"
    )]
    Foreign {
        /// The stream.
        name: String,
        /// The first of our subjects that it does not take in.
        subject: String,
    },
    /// Not its leader has answered: that server's copy may be behind.
    #[error("the server that answered for stream {name} does not lead it, and may be behind; asking again")]
    NotTheLeader {
        /// The stream.
        name: String,
    },
}

/// Looks at the stream and, as `manage` allows, creates it.
///
/// # Errors
/// [`StreamError`], with what to do about it.
pub async fn ensure(client: &async_nats::Client, settings: &Nats) -> Result<StreamReport, StreamError> {
    let context = jetstream::new(client.clone());
    let wanted = wanted(settings, takes_batches(&client.server_info().version));
    let stream = &settings.jetstream;
    match context.get_stream(&stream.stream_name).await {
        Ok(found) if !is_leaders(found.cached_info()) => {
            Err(StreamError::NotTheLeader { name: stream.stream_name.clone() })
        }
        Ok(found) => match foreign_subject(&wanted, &found.cached_info().config) {
            Some(subject) => Err(StreamError::Foreign { name: stream.stream_name.clone(), subject }),
            None => Ok(report(stream, &wanted, found.cached_info(), false)),
        },
        Err(error) if is_missing(&error) => match stream.manage {
            Manage::Create => create(&context, stream, wanted).await,
            Manage::Verify => Err(missing(stream, "verify", "create it, or let manage = \"create\" do it")),
            Manage::None => Err(missing(stream, "none", "create it before data-manager starts")),
        },
        Err(error) => Err(StreamError::Look { name: stream.stream_name.clone(), reason: look_reason(&error) }),
    }
}

/// The first of our subjects that a stream does not take in whole.
fn foreign_subject(wanted: &Stream, found: &Config) -> Option<String> {
    let is_taken = |ours: &&String| found.subjects.iter().any(|subject| covers(subject, ours));
    wanted.subjects.iter().find(|ours| !is_taken(ours)).cloned()
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
    declared::config(&settings.jetstream.stream_name, &wanted(settings, batches))
}

fn wanted(settings: &Nats, batches: bool) -> Stream {
    Stream { allow_batched: batches, ..declared::stream(settings) }
}

async fn create(context: &Context, stream: &JetStream, wanted: Stream) -> Result<StreamReport, StreamError> {
    match context.create_stream(declared::config(&stream.stream_name, &wanted)).await {
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

fn report(stream: &JetStream, wanted: &Stream, info: &Info, created_now: bool) -> StreamReport {
    let look = stream.manage != Manage::None && !created_now;
    let created = info.created.unix_timestamp_nanos();
    StreamReport {
        created_now,
        differences: if look { declared::differences(&stream.stream_name, wanted, &info.config) } else { Vec::new() },
        batches: info.config.allow_batch_publish,
        replicas: info.config.num_replicas,
        last_seq: info.state.last_sequence,
        created: u64::try_from(created).unwrap_or(0),
        duplicate_window: info.config.duplicate_window,
        messages_per_subject: u64::try_from(info.config.max_messages_per_subject).ok().filter(|count| *count > 0),
    }
}

/// Whether a server of this version knows fast-ingest batches.
fn takes_batches(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= FAST_INGEST_SINCE
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
    use crate::config::Span;

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
