//! Putting recorded messages back into a stream: in order, each once, or not at all.
//!
//! Each message says which sequence the one before it must have, and which id: a foreign message takes the sequence of
//! one that is refused for it. So the server refuses what comes behind one that is missing, and a foreign writer ends
//! the copy instead of mixing with it.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::connect::{self, Chain, ConnectError};
use super::consumer::{Filter, Since, TailError};
use super::scan::Scan;
use super::stream_manager::{self, StreamError};
use super::wire::message_id;
use crate::config::settings::Nats;
use crate::market::{SubjectKind, subject};
use crate::telemetry::clock;

/// Ids that are kept of the time of a duplicate window, at most.
const IDS_MAX: usize = 1 << 22;
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

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Messages.
    pub messages: u64,
    /// Of these, those that went without an id: one with the same id was sent shortly before, and the stream would have
    /// taken them for its duplicates.
    pub without_id: u64,
}

/// Ids that the server may remember.
struct Ids {
    /// The server remembers an id for so long, and what is on its way for a little more.
    window: Duration,
    since: Instant,
    /// Their hashes: of those that came since, and of those of the time before that.
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Ids {
    fn new(window: Duration) -> Self {
        let window = window.saturating_add(ANSWER_TIMEOUT);
        Self { window, since: clock::now(), young: HashSet::new(), old: HashSet::new() }
    }

    /// Whether it is new, as far as the server can know.
    fn is_new(&mut self, id: &str) -> bool {
        let now = clock::now();
        if now.saturating_duration_since(self.since) >= self.window || self.young.len() >= IDS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        let hash = xxh3_64(id.as_bytes());
        self.young.insert(hash) && !self.old.contains(&hash)
    }
}

/// A stream that is filled.
pub struct Copy {
    context: Context,
    stream: String,
    prefix: String,
    window: Duration,
    message_ids: bool,
    ids: Ids,
    without_id: u64,
    /// The id of the message before, where that was ours and has one.
    last_id: Option<String>,
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
            ids: Ids::new(report.duplicate_window),
            without_id: 0,
            last_id: None,
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
        let message = match self.last_id.take() {
            Some(last) => message.expected_last_message_id(last),
            None => message,
        };
        let message = match self.message_ids {
            true if self.ids.is_new(&id) => message.message_id(self.last_id.insert(id)),
            // A stream may hold the same id twice, further apart than its window; here they are closer.
            true => {
                self.without_id += 1;
                message
            }
            false => message,
        };
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

    /// Waits for all answers, and asks whether the stream still holds all of it.
    ///
    /// # Errors
    /// [`CopyError`]
    pub async fn finish(mut self) -> Result<Copied, CopyError> {
        self.flush().await?;
        let removed = (self.before + self.stored).saturating_sub(self.messages().await?);
        if removed > 0 {
            return Err(CopyError::Removed { stream: self.stream, removed });
        }
        Ok(Copied { messages: self.stored, without_id: self.without_id })
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
