//! A stream as the server itself writes it down and reads it back: its messages with their sequences and times, its
//! configuration, its consumers with their places.
//!
//! | file | what it knows |
//! |---|---|
//! | `save` | a snapshot as it comes from a server |
//! | `load` | a snapshot as it goes to a server |
//! | `file` | a snapshot in a file, with a checksum |
//! | `content`, `s2` | pure: whether a snapshot is whole, what it holds; how it is packed |
//! | `expect` | pure: what a restored stream must hold |
//!
//! Here are the connection that both ways need, and what the server says of a stream.

mod content;
pub mod expect;
mod file;
mod load;
mod s2;
mod save;

use std::time::Duration;

use async_nats::{Client, Event, Message, Request};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub use self::content::{Content, ContentError, Layout, Looker};
pub use self::file::{Backup, Check, FileError, Footer, Header, Writer};
pub use self::load::{Left, Load, discard, forgotten, is_marked};
pub use self::save::{Chunk, Save};
use super::connect::{self, Chain, ConnectError};
use crate::config::settings::Nats;

/// Events of a connection that wait to be looked at; more of them say nothing new.
const EVENTS: usize = 64;
/// How long an answer may take that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A large stream is deleted in parts of a second.
const DELETE_TIMEOUT: Duration = Duration::from_secs(3);
const DELETE_TRIES: usize = 5;
/// A page of names is of so many; nobody reads more pages than this.
const PAGES_MAX: usize = 64;
/// A name has so many bytes at most: it is the name of a directory too.
const NAME_MAX: usize = 255;
/// JetStream's codes.
const NO_STREAM: u64 = 10_059;
const NAME_TAKEN: u64 = 10_130;
const SUBJECTS_TAKEN: u64 = 10_065;
/// How often, and how far apart, is asked what must be answered once.
const PATIENT_TRIES: usize = 5;
const PATIENT_PAUSE: Duration = Duration::from_secs(1);

/// Why a stream is not saved, or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection is no longer what it was.
    #[error("{0}")]
    Gone(String),
    /// Nothing came for too long.
    #[error("{what}: nothing came within {time:?}; {hint}")]
    Silent {
        /// What was waited for.
        what: String,
        /// How long.
        time: Duration,
        /// What to look at.
        hint: &'static str,
    },
    /// There is no such stream.
    #[error("stream {0} does not exist")]
    NoStream(String),
    /// The server does not do it.
    #[error("{what}: {reason}{}", hint(*code, reason))]
    Refused {
        /// What was asked for.
        what: String,
        /// JetStream's code, 0 for none.
        code: u64,
        /// In the server's words.
        reason: String,
    },
    /// What came is not what the server should have sent.
    #[error("{0}")]
    Broken(String),
    /// What came is no whole snapshot.
    #[error("the snapshot is not whole: {0}")]
    Content(#[from] ContentError),
}

/// What a server says of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Messages that are there.
    pub messages: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Sequence of the first, or of the next where there is none.
    pub first_seq: u64,
    /// Sequence of the last that there was.
    pub last_seq: u64,
    /// Time of the first, as RFC 3339.
    #[serde(default)]
    pub first_ts: String,
    /// Time of the last.
    #[serde(default)]
    pub last_ts: String,
    /// Sequences between first and last without a message.
    #[serde(default)]
    pub num_deleted: u64,
    /// Consumers.
    #[serde(default)]
    pub consumer_count: u64,
}

/// Whether a server could have a stream of this name; in a subject the rest of any other would be another subject.
#[must_use]
pub fn is_name(stream: &str) -> bool {
    let foreign = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    !stream.is_empty() && stream.len() <= NAME_MAX && !stream.contains(foreign)
}

/// A stream's configuration and state.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// As the server said it, whatever it knows.
    pub config: Value,
    /// What it holds.
    pub state: State,
}

/// A connection for one stream's snapshot.
pub struct Session {
    client: Client,
    events: mpsc::Receiver<Event>,
}

impl Session {
    /// Dials.
    ///
    /// # Errors
    /// [`SnapshotError::Connect`]
    pub async fn open(settings: &Nats) -> Result<Self, SnapshotError> {
        let (tell, events) = mpsc::channel(EVENTS);
        let client = connect::dial_with(settings, move |event| {
            let _ = tell.try_send(event);
        })
        .await?;
        Ok(Self { client, events })
    }

    /// The version of the server that answered the dial.
    #[must_use]
    pub fn version(&self) -> String {
        self.client.server_info().version
    }

    /// Whether that server is one of several.
    #[must_use]
    pub fn is_clustered(&self) -> bool {
        self.client.server_info().cluster.is_some_and(|name| !name.is_empty())
    }

    /// Configuration and state of a stream; `None` where there is none.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn about(&mut self, stream: &str) -> Result<Option<About>, SnapshotError> {
        match self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null, ANSWER_TIMEOUT).await {
            Ok(answer) => Ok(Some(read(answer)?)),
            Err(SnapshotError::Refused { code: NO_STREAM, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::about`], over a connection that comes back and a stream whose leader changes.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn about_patiently(&mut self, stream: &str) -> Result<Option<About>, SnapshotError> {
        let mut told = self.about(stream).await;
        for _ in 1..PATIENT_TRIES {
            if told.is_ok() {
                break;
            }
            self.forget_events();
            tokio::time::sleep(PATIENT_PAUSE).await;
            self.forget_events();
            told = self.about(stream).await;
        }
        told
    }

    /// The names of the streams, or of those that take messages on a subject.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn names(&mut self, subject: Option<&str>) -> Result<Vec<String>, SnapshotError> {
        #[derive(Deserialize)]
        struct Page {
            streams: Option<Vec<String>>,
            total: usize,
        }
        let mut names = Vec::new();
        for _ in 0..PAGES_MAX {
            let wanted = json!({ "offset": names.len(), "subject": subject.unwrap_or_default() });
            let page: Page = read(self.ask("STREAM.NAMES", &wanted, ANSWER_TIMEOUT).await?)?;
            let more = page.streams.unwrap_or_default();
            let end = more.is_empty();
            names.extend(more);
            if end || names.len() >= page.total {
                break;
            }
        }
        Ok(names)
    }

    /// Past events of the connection say nothing of what it can do now.
    fn forget_events(&mut self) {
        while self.events.try_recv().is_ok() {}
    }

    /// Changes a stream's configuration.
    async fn update(&mut self, stream: &str, config: &Value) -> Result<About, SnapshotError> {
        read(self.ask(&format!("STREAM.UPDATE.{stream}"), config, ANSWER_TIMEOUT).await?)
    }

    /// Deletes a stream, or what is left of one: in a cluster nobody answers for a name without a stream, until it is
    /// asked again.
    async fn delete(&mut self, stream: &str) -> Result<(), SnapshotError> {
        let what = format!("STREAM.DELETE.{stream}");
        let mut done = self.ask(&what, &Value::Null, DELETE_TIMEOUT).await;
        for _ in 1..DELETE_TRIES {
            if !matches!(done, Err(SnapshotError::Silent { .. })) {
                break;
            }
            done = self.ask(&what, &Value::Null, DELETE_TIMEOUT).await;
        }
        match done {
            Err(SnapshotError::Refused { code: NO_STREAM, .. }) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Asks JetStream.
    async fn ask(&mut self, what: &str, body: &Value, time: Duration) -> Result<Value, SnapshotError> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let (client, subject) = (self.client.clone(), format!("$JS.API.{what}"));
        let asked = client.send_request(subject, Request::new().payload(body).timeout(Some(time)));
        let answered = unless_gone(&mut self.events, asked).await?;
        let message = answered.map_err(|error| match error.kind() {
            async_nats::client::RequestErrorKind::TimedOut => SnapshotError::Silent {
                what: what.to_owned(),
                time,
                hint: "is JetStream on, has the cluster a leader?",
            },
            async_nats::client::RequestErrorKind::NoResponders => refused(what, 0, "no responders"),
            _ => refused(what, 0, &Chain(&error).to_string()),
        })?;
        answer(what, &message)
    }
}

/// What a message of JetStream says; its error as one.
fn answer(what: &str, message: &Message) -> Result<Value, SnapshotError> {
    let answer: Value = serde_json::from_slice(&message.payload).map_err(|_| {
        let text = String::from_utf8_lossy(message.payload.get(..200).unwrap_or(&message.payload)).into_owned();
        refused(what, 0, &text)
    })?;
    let Some(error) = answer.get("error") else { return Ok(answer) };
    let code = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
    Err(refused(what, code, error.get("description").and_then(Value::as_str).unwrap_or("no reason given")))
}

fn refused(what: &str, code: u64, reason: &str) -> SnapshotError {
    SnapshotError::Refused { what: what.to_owned(), code, reason: reason.to_owned() }
}

fn read<T: for<'de> Deserialize<'de>>(answer: Value) -> Result<T, SnapshotError> {
    serde_json::from_value(answer).map_err(|error| SnapshotError::Broken(format!("the server's answer: {error}")))
}

/// Waits, unless the connection ends or the server says what it does not permit: that is all the answer there is.
async fn unless_gone<T>(
    events: &mut mpsc::Receiver<Event>,
    wanted: impl Future<Output = T>,
) -> Result<T, SnapshotError> {
    let mut wanted = std::pin::pin!(wanted);
    loop {
        tokio::select! {
            biased;
            done = &mut wanted => return Ok(done),
            event = events.recv() => match event {
                Some(Event::Disconnected | Event::Closed) | None => {
                    return Err(SnapshotError::Gone("the connection was lost; does the server still run?".to_owned()));
                }
                Some(Event::ServerError(error)) => return Err(SnapshotError::Gone(denied(&error.to_string()))),
                Some(_) => {}
            },
        }
    }
}

/// A word of the server with what to do about it.
fn denied(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let hint = if lower.contains("violation for publish") {
        "; this user needs the right to publish there: `data-manager topology backup --help` and `restore --help` list \
         what each needs"
    } else if lower.contains("violation for subscription") {
        "; set transport.nats.inbox_prefix to one that this user may subscribe to"
    } else {
        ""
    };
    format!("the server says: {text}{hint}")
}

fn hint(code: u64, reason: &str) -> &'static str {
    let text = reason.to_ascii_lowercase();
    let told = |number: u64| code == number || text.contains(&format!("({number})"));
    if text.contains("no impl") {
        "; this server saves no stream that lives in memory, and 2.15 is the first that does: update the server (trades \
         in a stream of ours can be kept with `data-manager record` too)"
    } else if text.contains("snapshot in progress") {
        "; another backup of it is under way: wait for its end. From a server before 2.12 this also comes after a \
         --check that found bad messages, until that server is restarted"
    } else if text.contains("bad message") {
        "; the stream is damaged on the server's disk: without --check the backup holds what is left of it"
    } else if text.contains("no flow response") || text.contains("no interest") {
        "; the server did not hear from us in time: may this user publish to $JS.SNAPSHOT.ACK.>, is the connection or \
         the disk that is written to very slow?"
    } else if told(NAME_TAKEN) {
        "; a restore of it is under way; or no such stream is to be seen, and a restore that was broken off in a \
         cluster has left its name taken: --discard-unfinished frees it. Look into the servers' logs first: if one could \
         not load the stream, that deletes its messages too"
    } else if told(10_047) || told(10_028) || told(10_023) {
        "; the store of the server, or of the account, is too small for it: raise max_file_store (max_memory_store for \
         a stream in memory) or the account's limits, or make room"
    } else if told(10_074) {
        "; a server that stands alone keeps one copy: give --replicas 1"
    } else if told(10_005) {
        "; fewer servers than replicas are there: give --replicas"
    } else if told(SUBJECTS_TAKEN) {
        "; another stream takes these subjects: delete it, or its subjects, first"
    } else if told(10_076) || told(10_039) || text.contains("not enabled") {
        "; start the server with JetStream (-js), or enable it for the account"
    } else if text.contains("no responders") {
        "; JetStream did not answer: is it on (-js), may this account use it, has the stream a leader?"
    } else if text.contains("invalid tar header") {
        "; a backup made by a server of 2.15 or later is for servers of 2.15 or later"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_stream_is_one_token() {
        assert!(is_name("MARKET_DATA") && is_name("KV_a-b") && is_name(&"a".repeat(255)));
        let long = "a".repeat(256);
        assert!(
            ["", "a.b", "a b", "a*", ">", "a/b", "a\\b", "a\n", "a\u{1b}[2J", &long].iter().all(|name| !is_name(name))
        );
    }
}
