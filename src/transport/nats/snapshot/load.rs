//! A snapshot as it goes to a server: in pieces, each answered.
//!
//! A server before 2.15 makes the stream at the end, or not at all. Later ones write into it as the messages come, and
//! what they have when it is broken off stays, and looks like any stream. So it is made under a mark and with a subject
//! that nobody publishes to, and gets its own configuration at the end.

use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{About, Layout, Session, SnapshotError, State, answer, read, refused, unless_gone};

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
/// Servers before 2.12 unpack all of it at the end.
const FINISH_TIMEOUT: Duration = Duration::from_secs(6 * 3_600);

/// A stream that is being restored.
pub struct Load {
    stream: String,
    /// Where pieces go.
    subject: String,
    inbox: String,
    answers: Subscriber,
    waiting: usize,
    /// Its mark and its own configuration, where it is made under a mark.
    marked: Option<(String, Value)>,
    chunk: usize,
}

/// Whether a stream is what a restore has left that was broken off, or one that is under way.
#[must_use]
pub fn is_unfinished(about: &About) -> bool {
    mark(&about.config).is_some()
}

fn mark(config: &Value) -> Option<&str> {
    config.get("metadata")?.get(MARK)?.as_str()
}

impl Load {
    /// Asks the server to take a snapshot. `state` is what it said of the stream as it made it.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn begin(
        session: &mut Session,
        stream: &str,
        config: &Value,
        state: &State,
        layout: Layout,
    ) -> Result<Self, SnapshotError> {
        let inbox = session.client.new_inbox();
        let answers = session.client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| SnapshotError::Gone(format!("cannot subscribe to an inbox: {error}")))?;
        let marked = (layout == Layout::Messages).then(|| (inbox.clone(), config.clone()));
        let asked_for = match &marked {
            Some((mark, config)) => under_mark(config, stream, mark),
            None => config.clone(),
        };
        let wanted = json!({ "config": asked_for, "state": state });
        let asked = session.ask(&format!("STREAM.RESTORE.{stream}"), &wanted, CHUNK_TIMEOUT).await;
        let told = asked.map_err(|error| of_stream(stream, error))?;
        let subject = told.get("deliver_subject").and_then(Value::as_str).unwrap_or_default().to_owned();
        if subject.is_empty() {
            return Err(SnapshotError::Broken("the server does not say where the snapshot is to go".to_owned()));
        }
        let chunk = CHUNK.min(session.client.max_payload().max(1_024));
        Ok(Self { stream: stream.to_owned(), subject, inbox, answers, waiting: 0, marked, chunk })
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
        let message = self.answer(session, FINISH_TIMEOUT).await?;
        let told = answer("", &message).map_err(|error| of_stream(&self.stream, error))?;
        let about: About = read(told)?;
        let Some((_, config)) = &self.marked else { return Ok(about.state) };
        let updated = session.update(&self.stream, config).await;
        updated.map_err(|error| {
            let stream = &self.stream;
            SnapshotError::Broken(format!(
                "stream {stream} is all there, but cannot have its own configuration: {error}"
            ))
        })?;
        Ok(about.state)
    }

    /// Takes back what there is of it, after it went wrong; says what is left where something may be.
    pub async fn abandon(self, session: &mut Session) -> Option<String> {
        let Self { stream, marked: Some((own, _)), .. } = self else { return None };
        let left = |error| {
            format!("part of stream {stream} may be left ({error}): restore it again with --discard-unfinished")
        };
        // Events of the connection that made it fail say nothing of what it can do now.
        while session.events.try_recv().is_ok() {}
        match session.about(&stream).await {
            Ok(Some(about)) if mark(&about.config) == Some(&own) => session.delete(&stream).await.err().map(left),
            Ok(_) => None,
            Err(error) => Some(left(error)),
        }
    }

    async fn publish(&self, session: &Session, bytes: Bytes) -> Result<(), SnapshotError> {
        let sent = session.client.publish_with_reply(self.subject.clone(), self.inbox.clone(), bytes).await;
        sent.map_err(|error| SnapshotError::Gone(error.to_string()))
    }

    /// Waits for an answer to a piece. There is something in it only when the server gives up.
    async fn settle(&mut self, session: &mut Session) -> Result<(), SnapshotError> {
        let message = self.answer(session, CHUNK_TIMEOUT).await?;
        self.waiting -= 1;
        let what = format!("stream {}", self.stream);
        if message.status.is_some() {
            return Err(self.given_up(session, &what).await);
        }
        if message.payload.is_empty() {
            return Ok(());
        }
        answer(&what, &message)?;
        Err(SnapshotError::Broken(format!("{what}: the server answered a piece in an unknown way")))
    }

    /// That nobody takes pieces any more. Why may come a little later.
    async fn given_up(&mut self, session: &mut Session, what: &str) -> SnapshotError {
        while let Ok(message) = self.answer(session, REASON_TIMEOUT).await {
            if message.status.is_none()
                && !message.payload.is_empty()
                && let Err(error) = answer(what, &message)
            {
                return error;
            }
        }
        refused(what, 0, "the server has given the restore up; its log says why")
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

/// Deletes what a restore has left that was broken off.
///
/// # Errors
/// [`SnapshotError`]
pub async fn discard(session: &mut Session, stream: &str) -> Result<(), SnapshotError> {
    session.delete(stream).await
}

/// A configuration that nobody takes for the stream's own.
fn under_mark(config: &Value, stream: &str, mark: &str) -> Value {
    let mut config = config.clone();
    if let Some(fields) = config.as_object_mut() {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
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
        let mirror = under_mark(&json!({"name": "M", "mirror": {"name": "S"}}), "M", "m");
        assert_eq!(mirror.get("subjects"), None);
    }
}
