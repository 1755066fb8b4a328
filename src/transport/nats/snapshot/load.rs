//! A snapshot as it goes to a server: in pieces, each answered.
//!
//! A server that stands alone, before 2.15, makes the stream at the end, or not at all. Later ones write into it as the
//! messages come, and what they have when it is broken off stays, and looks like any stream. In a cluster, of any
//! version, the other replicas have an empty one from the beginning, and elect a leader for it when the restore is
//! broken off. So it is made under a mark and with a subject that nobody publishes to, and gets its own configuration
//! at the end.
//!
//! In a cluster the name is taken as soon as a server has agreed, and stays so for most of what goes wrong then,
//! whether or not there is such a stream to be seen.

mod abandon;

use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

pub use self::abandon::{Left, discard, forgotten};

use super::{About, Layout, SUBJECTS_TAKEN, Session, SnapshotError, State, answer, read, refused, unless_gone};

/// The metadata of a stream that is not whole.
const MARK: &str = "data-manager.restore";
/// Bytes of a piece, if the server takes so many.
const CHUNK: usize = 128 << 10;
/// Pieces that may be without an answer.
const WINDOW: usize = 16;
/// A server whose disk is slow may need so long for a piece.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// What a server says last may be overtaken by what says that it listens no more.
const REASON_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers before 2.12 unpack all of it at the end; later ones have done so by then.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(6 * 3_600);
const FINISH_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Servers of a cluster give a restore up 5 s after its last piece, and then delete what has its name by then. What has
/// stood for so long is left alone.
const CLUSTER_SETTLES: Duration = Duration::from_secs(7);
/// How often, and how far apart, the server is asked whether the stream has its own configuration.
const OWN_TRIES: usize = 20;
const OWN_PAUSE: Duration = Duration::from_millis(250);

/// A stream that is being restored.
pub struct Load {
    stream: String,
    inbox: String,
    answers: Subscriber,
    waiting: usize,
    config: Value,
    /// Its mark, where it is made under one.
    mark: Option<String>,
    chunk: usize,
    stage: Stage,
}

/// How far it is.
enum Stage {
    /// The server has not been asked, or does not do it.
    Idle,
    /// It was asked, and has not answered.
    Asked,
    /// It takes pieces at this subject.
    Begun(String),
    /// It has all of them, and has not said what it made of them. Nothing stops it any more.
    Finishing,
    /// It has all of them, and has made nothing of them.
    Refused,
    /// It has said that it has made the stream.
    Made,
}

/// Whether a configuration is that of what a restore has left that was broken off, or of one that is under way.
#[must_use]
pub fn is_marked(config: &Value) -> bool {
    mark(config).is_some()
}

fn mark(config: &Value) -> Option<&str> {
    config.get("metadata")?.get(MARK)?.as_str()
}

impl Load {
    /// What it takes to restore a stream; nothing is asked for.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn new(session: &Session, stream: &str, config: &Value, layout: Layout) -> Result<Self, SnapshotError> {
        let inbox = session.client.new_inbox();
        let answers = session.client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| SnapshotError::Gone(format!("cannot subscribe to an inbox: {error}")))?;
        let mark = (layout == Layout::Messages || session.is_clustered()).then(|| inbox.clone());
        let chunk = CHUNK.min(session.client.max_payload().max(1_024));
        let (stream, config) = (stream.to_owned(), config.clone());
        Ok(Self { stream, inbox, answers, waiting: 0, config, mark, chunk, stage: Stage::Idle })
    }

    /// Asks the server to take a snapshot. `state` is what it said of the stream as it made it.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn begin(&mut self, session: &mut Session, state: &State) -> Result<(), SnapshotError> {
        let asked_for = match &self.mark {
            Some(mark) => under_mark(&self.config, &self.stream, mark),
            None => self.config.clone(),
        };
        let wanted = json!({ "config": asked_for, "state": state });
        self.stage = Stage::Asked;
        let asked = session.ask(&format!("STREAM.RESTORE.{}", self.stream), &wanted, CHUNK_TIMEOUT).await;
        let told = asked.map_err(|error| {
            if matches!(error, SnapshotError::Refused { .. }) {
                self.stage = Stage::Idle;
            }
            of_stream(&self.stream, error)
        })?;
        let subject = told.get("deliver_subject").and_then(Value::as_str).unwrap_or_default().to_owned();
        if subject.is_empty() {
            return Err(SnapshotError::Broken("the server does not say where the snapshot is to go".to_owned()));
        }
        self.stage = Stage::Begun(subject);
        Ok(())
    }

    /// Whether the server has all pieces: it may have made the stream, or may still do so.
    #[must_use]
    pub const fn is_all_sent(&self) -> bool {
        matches!(self.stage, Stage::Finishing | Stage::Made)
    }

    /// How many bytes a piece should have, at most.
    #[must_use]
    pub const fn chunk(&self) -> usize {
        self.chunk
    }

    /// Sends the next piece, which is not empty.
    ///
    /// # Errors
    /// [`SnapshotError`], also of a piece before it.
    pub async fn send(&mut self, session: &mut Session, bytes: Bytes) -> Result<(), SnapshotError> {
        if self.waiting >= WINDOW {
            self.settle(session).await?;
        }
        self.publish(session, bytes).await?;
        self.waiting += 1;
        Ok(())
    }

    /// Says that this was all: what the server made of it.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn finish(&mut self, session: &mut Session) -> Result<State, SnapshotError> {
        while self.waiting > 0 {
            self.settle(session).await?;
        }
        self.publish(session, Bytes::new()).await?;
        self.stage = Stage::Finishing;
        let about = self.made(session).await?;
        if self.mark.is_none() {
            return Ok(about.state);
        }
        let state = self.unmark(session).await?;
        if session.is_clustered() { self.stands(session).await } else { Ok(state) }
    }

    /// Waits for what the server makes of all pieces.
    async fn made(&mut self, session: &mut Session) -> Result<About, SnapshotError> {
        let unpacks = matches!(minor(&session.version()), Some((2, ..12)));
        let message = self.answer(session, if unpacks { UNPACK_TIMEOUT } else { FINISH_TIMEOUT }).await?;
        if message.status.is_some() {
            self.stage = Stage::Refused;
            return Err(self.given_up(session).await);
        }
        let told = answer("", &message).map_err(|error| {
            self.stage = Stage::Refused;
            of_stream(&self.stream, error)
        })?;
        self.stage = Stage::Made;
        read(told)
    }

    /// Whether a cluster keeps what a server of it has made: if the leader has changed meanwhile, it does not.
    async fn stands(&self, session: &mut Session) -> Result<State, SnapshotError> {
        tokio::time::sleep(CLUSTER_SETTLES).await;
        match session.about_patiently(&self.stream).await? {
            Some(about) if is_own(&about.config, &self.config) => Ok(about.state),
            _ => {
                let text =
                    format!("the cluster has not kept stream {}: it changed leaders; restore it again", self.stream);
                Err(SnapshotError::Broken(text))
            }
        }
    }

    /// Gives the stream its own configuration, and sees that it has it: an answer may be late or lost, and in a cluster
    /// an older configuration may still be on its way.
    async fn unmark(&self, session: &mut Session) -> Result<State, SnapshotError> {
        let stream = &self.stream;
        let mut trouble = None;
        for _ in 0..OWN_TRIES {
            let refused = match session.update(stream, &self.config).await {
                Ok(_) => false,
                Err(error) => {
                    // A cluster that is busy refuses too, for a while.
                    let refused = matches!(error, SnapshotError::Refused { code: SUBJECTS_TAKEN, .. });
                    trouble = Some(error.to_string());
                    refused
                }
            };
            session.forget_events();
            match session.about(stream).await {
                Ok(Some(about)) if is_own(&about.config, &self.config) => return Ok(about.state),
                Ok(Some(_)) if refused => break,
                Ok(Some(_)) => {}
                Ok(None) => return Err(SnapshotError::Broken(format!("stream {stream} was deleted by somebody"))),
                Err(error) => trouble = Some(error.to_string()),
            }
            session.forget_events();
            tokio::time::sleep(OWN_PAUSE).await;
        }
        let trouble = trouble.unwrap_or_else(|| "the server keeps the one that it has".to_owned());
        let text = format!("stream {stream} is all there, but cannot have its own configuration: {trouble}");
        Err(SnapshotError::Broken(text))
    }

    async fn publish(&self, session: &Session, bytes: Bytes) -> Result<(), SnapshotError> {
        let Stage::Begun(subject) = &self.stage else {
            return Err(SnapshotError::Broken("the restore has not begun".to_owned()));
        };
        let sent = session.client.publish_with_reply(subject.clone(), self.inbox.clone(), bytes).await;
        sent.map_err(|error| SnapshotError::Gone(error.to_string()))
    }

    /// Waits for an answer to a piece. There is something in it only when the server gives up.
    async fn settle(&mut self, session: &mut Session) -> Result<(), SnapshotError> {
        let message = self.answer(session, CHUNK_TIMEOUT).await?;
        self.waiting -= 1;
        if message.status.is_some() {
            return Err(self.given_up(session).await);
        }
        if message.payload.is_empty() {
            return Ok(());
        }
        let what = format!("stream {}", self.stream);
        answer(&what, &message)?;
        Err(SnapshotError::Broken(format!("{what}: the server answered a piece in an unknown way")))
    }

    /// That nobody takes pieces any more. Why may come a little later.
    async fn given_up(&mut self, session: &mut Session) -> SnapshotError {
        let what = format!("stream {}", self.stream);
        while let Ok(message) = self.answer(session, REASON_TIMEOUT).await {
            if message.status.is_none()
                && !message.payload.is_empty()
                && let Err(error) = answer(&what, &message)
            {
                return error;
            }
        }
        refused(&what, 0, "the server has given the restore up; its log says why")
    }

    async fn answer(&mut self, session: &mut Session, time: Duration) -> Result<async_nats::Message, SnapshotError> {
        let next = tokio::time::timeout(time, self.answers.next());
        let Ok(next) = unless_gone(&mut session.events, next).await? else {
            let (what, hint) =
                (format!("restore of stream {}", self.stream), "does the server still run, does its disk?");
            return Err(SnapshotError::Silent { what, time, hint });
        };
        next.ok_or_else(|| SnapshotError::Gone("the connection was closed".to_owned()))
    }
}

/// Major and minor number of a server's version.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A configuration that nobody takes for the stream's own.
fn under_mark(config: &Value, stream: &str, mark: &str) -> Value {
    let mut config = config.clone();
    if let Some(fields) = config.as_object_mut() {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if !metadata.is_object() {
            *metadata = json!({});
        }
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(MARK.to_owned(), json!(mark));
        }
        // A mirror has none, and must have none.
        if fields.get("subjects").and_then(Value::as_array).is_some_and(|subjects| !subjects.is_empty()) {
            fields.insert("subjects".to_owned(), json!([format!("_RESTORE.{stream}")]));
        }
    }
    config
}

/// Whether a stream has no mark, and the subjects that it is to have.
fn is_own(is: &Value, must: &Value) -> bool {
    !is_marked(is) && subjects(is) == subjects(must)
}

fn subjects(config: &Value) -> Vec<&Value> {
    config.get("subjects").and_then(Value::as_array).into_iter().flatten().collect()
}

fn of_stream(stream: &str, error: SnapshotError) -> SnapshotError {
    match error {
        SnapshotError::Refused { code, reason, .. } => refused(&format!("stream {stream}"), code, &reason),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_configuration_differs_in_nothing_else() {
        let config = json!({"name": "S", "subjects": ["a.>"], "metadata": {"x": "y"}, "max_age": 5});
        let marked = under_mark(&config, "S", "m");
        let expected =
            json!({"name": "S", "subjects": ["_RESTORE.S"], "metadata": {"x": "y", MARK: "m"}, "max_age": 5});
        assert_eq!(marked, expected);
        assert_eq!(mark(&marked), Some("m"));
        assert_eq!(mark(&config), None);
        assert!(is_own(&config, &config) && !is_own(&marked, &config));
        let mirror = under_mark(&json!({"name": "M", "mirror": {"name": "S"}, "metadata": null}), "M", "m");
        assert_eq!(mirror.get("subjects"), None);
        assert!(is_marked(&mirror));
        assert!(is_own(&json!({"name": "M"}), &json!({"name": "M", "subjects": []})));
    }
}
