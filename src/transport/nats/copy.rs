//! Putting recorded messages back into a stream: in order, each once, or not at all.
//!
//! Each message says which sequence the one before it must have. So the server refuses what comes behind one that is
//! missing, and a foreign writer ends the copy instead of mixing with it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;

use super::connect::{self, Chain, ConnectError};
use super::consumer::{Filter, Since, TailError};
use super::scan::Scan;
use super::stream_manager::{self, StreamError};
use super::wire::message_id;
use crate::config::settings::Nats;
use crate::market::{SubjectKind, subject};

/// Messages that may be without an answer.
const WINDOW: usize = 256;
/// An answer that takes longer is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a stream cannot be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It cannot be read what it holds.
    #[error(transparent)]
    Read(#[from] TailError),
    /// The server does not take a message.
    #[error("stream {stream} does not take message {number} of the recording, on {subject}: {reason}")]
    Refused {
        /// The stream.
        stream: String,
        /// The message, from 1.
        number: u64,
        /// Its subject.
        subject: String,
        /// What the server says.
        reason: String,
    },
    /// The server has this message already.
    #[error(
        "stream {stream} has had a message of the id of message {number} of the recording, on {subject}, within its \
         duplicate window of {window:?}: delete the stream, or wait that long"
    )]
    Duplicate {
        /// The stream.
        stream: String,
        /// The message, from 1.
        number: u64,
        /// Its subject.
        subject: String,
        /// How long the stream remembers.
        window: Duration,
    },
    /// The stream does not hold all of it.
    #[error(
        "stream {stream} has removed {removed} of the messages by its limits (max_bytes, max_bytes_per_subject, \
         max_age): raise them, and begin with an empty stream"
    )]
    Removed {
        /// The stream.
        stream: String,
        /// How many.
        removed: u64,
    },
}

/// A stream that is filled.
pub struct Copy {
    context: Context,
    stream: String,
    prefix: String,
    window: Duration,
    message_ids: bool,
    /// The stream's last sequence, were all that was sent stored.
    last: u64,
    waiting: VecDeque<(String, PublishAckFuture)>,
    /// Messages that were answered.
    stored: u64,
    /// Messages that the stream held before.
    before: u64,
}

impl Copy {
    /// Connects, and makes the stream where there is none.
    ///
    /// # Errors
    /// [`CopyError`]
    pub async fn open(settings: &Nats) -> Result<Self, CopyError> {
        let client = connect::dial(settings).await?;
        let report = stream_manager::ensure(&client, settings).await?;
        let mut context = jetstream::new(client);
        context.set_timeout(ANSWER_TIMEOUT);
        let mut this = Self {
            context,
            stream: settings.jetstream.stream_name.clone(),
            prefix: settings.jetstream.subject_prefix.clone(),
            window: report.duplicate_window,
            message_ids: settings.message_ids,
            last: report.last_seq,
            waiting: VecDeque::with_capacity(WINDOW),
            stored: 0,
            before: 0,
        };
        this.before = this.messages().await?;
        Ok(this)
    }

    /// Exchanges and symbols of which the stream holds anything.
    ///
    /// # Errors
    /// [`CopyError`]
    pub async fn instruments(&self, settings: &Nats) -> Result<BTreeSet<(String, String)>, CopyError> {
        let scan = Scan::open(settings, Filter::default(), Since::Now).await?;
        Ok(scan.instruments().await?)
    }

    /// Sends a message: one or more records of one subject, as they were recorded.
    ///
    /// # Errors
    /// [`CopyError`], also of a message before it.
    pub async fn send(
        &mut self,
        exchange: &str,
        symbol: &str,
        kind: SubjectKind,
        payload: Bytes,
    ) -> Result<(), CopyError> {
        if self.waiting.len() >= WINDOW {
            self.settle().await?;
        }
        let subject = subject::subject(&self.prefix, exchange, symbol, kind);
        let mut id = String::new();
        message_id(&payload, &mut id);
        let message = PublishMessage::build().payload(payload).expected_last_sequence(self.last);
        let message = if self.message_ids { message.message_id(id) } else { message };
        self.last += 1;
        let sent = self.context.send_publish(subject.clone(), message).await;
        match sent {
            Ok(answer) => self.waiting.push_back((subject, answer)),
            Err(error) => return Err(self.refused(subject, Chain(&error).to_string())),
        }
        Ok(())
    }

    /// Waits for all answers.
    ///
    /// # Errors
    /// [`CopyError`]
    pub async fn flush(&mut self) -> Result<(), CopyError> {
        while !self.waiting.is_empty() {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for all answers, and asks whether the stream still holds all of it; gives how many messages these are.
    ///
    /// # Errors
    /// [`CopyError`]
    pub async fn finish(mut self) -> Result<u64, CopyError> {
        self.flush().await?;
        let removed = (self.before + self.stored).saturating_sub(self.messages().await?);
        if removed > 0 {
            return Err(CopyError::Removed { stream: self.stream, removed });
        }
        Ok(self.stored)
    }

    /// Takes the answer of the oldest message.
    async fn settle(&mut self) -> Result<(), CopyError> {
        let Some((subject, answer)) = self.waiting.pop_front() else { return Ok(()) };
        match answer.await {
            Ok(ack) if ack.duplicate => Err(CopyError::Duplicate {
                stream: self.stream.clone(),
                number: self.stored + 1,
                subject,
                window: self.window,
            }),
            Ok(_) => {
                self.stored += 1;
                Ok(())
            }
            Err(error) => Err(self.refused(subject, Chain(&error).to_string())),
        }
    }

    fn refused(&self, subject: String, reason: String) -> CopyError {
        CopyError::Refused { stream: self.stream.clone(), number: self.stored + 1, subject, reason }
    }

    async fn messages(&self) -> Result<u64, CopyError> {
        let stream = self.context.get_stream(&self.stream).await;
        let stream = stream
            .map_err(|error| TailError::Read { stream: self.stream.clone(), reason: Chain(&error).to_string() })?;
        Ok(stream.cached_info().state.messages)
    }
}
