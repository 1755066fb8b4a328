//! A snapshot as it comes from a server: in pieces, each acknowledged, none missing.
//!
//! It keeps nothing: what comes is handed on.

use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;

use super::{About, Session, SnapshotError, is_marked, refused, unless_gone};

/// Bytes of a piece that are asked for; servers send smaller ones.
const CHUNK: usize = 128 << 10;
/// Without a check the server answers as soon as it can be read.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// A check reads all of the stream first.
const CHECK_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
/// A server whose disk is slow may need so long for a piece.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);

/// A snapshot that is under way.
pub struct Save {
    chunks: Subscriber,
    what: String,
    /// The number of the last piece; the server counts them from 1, but for the last one.
    last: u64,
    /// Whether the piece without a number has come.
    ends: bool,
}

/// What comes.
pub enum Chunk {
    /// The next bytes.
    Bytes(Bytes),
    /// The server says that this was all.
    End,
}

impl Save {
    /// Asks for a snapshot; gives the stream as it is at its begin.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn begin(
        session: &mut Session,
        stream: &str,
        consumers: bool,
        check: bool,
    ) -> Result<(About, Self), SnapshotError> {
        // In a cluster nobody answers for a stream that is not there: whom this is asked does.
        let about = session.about(stream).await?.ok_or_else(|| SnapshotError::NoStream(stream.to_owned()))?;
        refuse_part(&about, stream)?;
        let inbox = session.client.new_inbox();
        let chunks = session.client.subscribe(inbox.clone()).await;
        let chunks = chunks.map_err(|error| SnapshotError::Gone(format!("cannot subscribe to an inbox: {error}")))?;
        let chunk = CHUNK.min(session.client.max_payload().max(1_024));
        let wanted =
            json!({ "deliver_subject": inbox, "no_consumers": !consumers, "jsck": check, "chunk_size": chunk });
        let time = if check { CHECK_TIMEOUT } else { BEGIN_TIMEOUT };
        let asked = session.ask(&format!("STREAM.SNAPSHOT.{stream}"), &wanted, time).await;
        let answer = asked.map_err(|error| match error {
            SnapshotError::Refused { code: super::NO_STREAM, .. } => SnapshotError::NoStream(stream.to_owned()),
            SnapshotError::Refused { code, reason, .. } => refused(&format!("stream {stream}"), code, &reason),
            other => other,
        })?;
        let about: About = super::read(answer)?;
        refuse_part(&about, stream)?;
        let what = format!("snapshot of stream {stream}");
        Ok((about, Self { chunks, what, last: 0, ends: false }))
    }

    /// The next piece.
    ///
    /// # Errors
    /// [`SnapshotError`]; also where a piece is missing.
    pub async fn next(&mut self, session: &mut Session) -> Result<Chunk, SnapshotError> {
        let next = tokio::time::timeout(CHUNK_TIMEOUT, self.chunks.next());
        let Ok(next) = unless_gone(&mut session.events, next).await? else {
            let hint = "does the server still run, does its disk?";
            return Err(SnapshotError::Silent { what: self.what.clone(), time: CHUNK_TIMEOUT, hint });
        };
        let Some(message) = next else {
            return Err(SnapshotError::Gone("the connection was closed".to_owned()));
        };
        if message.payload.is_empty() {
            return match message.status.map(|status| status.as_u16()) {
                None | Some(204) => Ok(Chunk::End),
                Some(status) => {
                    let said = message.description.as_deref().unwrap_or_default().trim();
                    // From 2.11 to 2.14 a server whose last piece is a full one may say so at the end, without a
                    // reason. What came tells whether it is whole.
                    if status == 500 && said.is_empty() {
                        return Ok(Chunk::End);
                    }
                    Err(refused(&self.what, 0, &format!("the server broke it off: {status} {said}")))
                }
            };
        }
        if self.ends {
            return Err(SnapshotError::Broken(format!("{}: a piece came behind the last one", self.what)));
        }
        match message.reply {
            Some(reply) => {
                // Out of this process before the piece is written, which may block: a server before 2.12 waits for
                // two seconds and no longer.
                let told = session.client.publish(reply.clone(), Bytes::new()).await;
                told.map_err(|error| SnapshotError::Gone(error.to_string()))?;
                let flushed = unless_gone(&mut session.events, session.client.flush()).await?;
                flushed.map_err(|error| SnapshotError::Gone(error.to_string()))?;
                self.count(&reply, message.payload.len())?;
            }
            None => self.ends = true,
        }
        Ok(Chunk::Bytes(message.payload))
    }

    /// The subject of an acknowledgement tells the size of its piece and its number.
    fn count(&mut self, reply: &str, size: usize) -> Result<(), SnapshotError> {
        let mut tokens = reply.rsplit('.').map(str::parse::<u64>);
        let (Some(Ok(number)), Some(Ok(bytes))) = (tokens.next(), tokens.next()) else {
            return Err(SnapshotError::Broken(format!("{}: a piece without a number, {reply}", self.what)));
        };
        if number != self.last + 1 || bytes != size as u64 {
            return Err(SnapshotError::Broken(format!(
                "{}: piece {number} of {bytes} bytes came with {size} bytes where piece {} was expected: the connection \
                 has lost some, try again",
                self.what,
                self.last + 1
            )));
        }
        self.last = number;
        Ok(())
    }
}

/// A stream that is being restored, or whose restore was broken off, is none that could be kept.
fn refuse_part(about: &About, stream: &str) -> Result<(), SnapshotError> {
    if !is_marked(&about.config) {
        return Ok(());
    }
    Err(SnapshotError::Broken(format!(
        "stream {stream} is there in part: a restore of it is under way, or was broken off; wait for its end, or restore \
         it anew with --discard-unfinished"
    )))
}
