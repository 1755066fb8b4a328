//! Reading the stream back, as any consumer would: in order, from a place in it, across lost connections.
//!
//! It keeps nothing on the server: an ordered consumer goes when its reader goes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, Message};
use futures_util::{FutureExt as _, StreamExt as _};

use super::connect::{self, Chain, ConnectError};
use super::take::{Queue, Subjects};
pub use super::wanted::{Filter, Replay, Since};
use crate::config::settings::Nats;
use crate::market::{Record, SubjectKind, subject};

/// First wait before a lost connection is made anew; it doubles up to [`RETRY_MAX`].
pub(super) const RETRY_MIN: Duration = Duration::from_millis(200);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(5);
/// Where there is more, and nothing comes for so long, reading begins anew.
const STALLED: Duration = Duration::from_secs(10);
/// Records that are taken at a time where they have arrived.
const BURST: usize = 512;

/// One record and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The exchange's token.
    pub exchange: Arc<str>,
    /// The canonical symbol.
    pub symbol: Arc<str>,
    /// The message's stream sequence.
    pub sequence: u64,
    /// The record.
    pub record: Record,
}

/// Why the stream cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not let us read.
    #[error("cannot read stream {stream}: {reason}")]
    Read {
        /// The stream.
        stream: String,
        /// What went wrong.
        reason: String,
    },
    /// A message that holds no records.
    #[error("sequence {sequence} on {subject}: {reason}")]
    Message {
        /// Its stream sequence.
        sequence: u64,
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The durable consumer cannot be used.
    #[error("consumer {consumer} of stream {stream}: {reason}")]
    Consumer {
        /// The stream.
        stream: String,
        /// The durable's name.
        consumer: String,
        /// What is wrong, and what would help.
        reason: String,
    },
    /// Messages that the stream has removed before they were read. Whether any of them was asked for is not known.
    #[error("sequences {first} to {last} were removed from the stream before they were read")]
    Removed {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A message came behind younger ones that were handed out already.
    #[error(
        "sequence {sequence} on {subject} came behind younger ones: does another process read consumer {consumer}? one \
         reader only, or each its own name"
    )]
    Late {
        /// Its stream sequence.
        sequence: u64,
        /// Its subject.
        subject: String,
        /// The durable's name.
        consumer: String,
    },
}

/// A reader of the stream.
pub struct Tail {
    settings: Nats,
    filter: Filter,
    since: Since,
    replay: Replay,
    subjects: Subjects,
    messages: Option<Ordered>,
    /// The sequence to read from; the server says it when the first consumer is made.
    from: Option<u64>,
    queue: Queue,
    /// The sequence of the last record that was handed out.
    popped: u64,
    retry: Duration,
    /// The server has said that there is more.
    backlog: bool,
}

impl Tail {
    /// Begins to read.
    ///
    /// # Errors
    /// [`TailError`] when there is no server, no stream, or no right to read it.
    pub async fn open(settings: &Nats, filter: Filter, since: Since) -> Result<Self, TailError> {
        Self::open_at(settings, filter, since, Replay::Instant).await
    }

    /// As [`Self::open`], at this speed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_at(settings: &Nats, filter: Filter, since: Since, replay: Replay) -> Result<Self, TailError> {
        let mut tail = Self {
            settings: settings.clone(),
            subjects: Subjects::new(&settings.jetstream.subject_prefix),
            filter,
            since,
            replay,
            messages: None,
            from: None,
            queue: Queue::new(),
            popped: 0,
            retry: RETRY_MIN,
            backlog: false,
        };
        tail.begin().await?;
        Ok(tail)
    }

    /// The next record. A lost connection is made anew, and reading goes on behind what was read.
    ///
    /// # Errors
    /// [`TailError::Message`] for a message that holds no records; the next call goes on behind it.
    pub async fn next(&mut self) -> Result<Item, TailError> {
        loop {
            if let Some(next) = self.pop() {
                return next;
            }
            self.fill().await;
        }
    }

    /// A record that has arrived already, or as [`Self::next`] what is wrong with a message.
    pub fn pop(&mut self) -> Option<Result<Item, TailError>> {
        let next = self.queue.pop_front();
        if let Some(Ok(item)) = &next {
            self.popped = item.sequence;
        }
        next
    }

    /// The sequence from which it reads on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.from.unwrap_or(0)
    }

    /// Whether the server has more that was stored when its last message came, or when reading began.
    #[must_use]
    pub const fn has_backlog(&self) -> bool {
        self.backlog
    }

    /// The sequence of the next record, where it has arrived.
    #[must_use]
    pub fn front(&self) -> Option<u64> {
        self.queue.front().and_then(|next| next.as_ref().ok()).map(|item| item.sequence)
    }

    /// Waits until something has arrived; what has arrived with it is taken too.
    pub async fn fill(&mut self) {
        while self.queue.is_empty() {
            let Some(messages) = &mut self.messages else {
                self.again().await;
                continue;
            };
            let next = match self.backlog && self.replay == Replay::Instant {
                true => tokio::time::timeout(STALLED, messages.next()).await,
                false => Ok(messages.next().await),
            };
            let Ok(next) = next else {
                tracing::warn!(?STALLED, from = self.from, "the stream has more and brings nothing: reading anew");
                self.messages = None;
                continue;
            };
            match next {
                // The client makes its consumer anew after a silence, at the stream's start when nothing was read yet.
                Some(Ok(message)) if self.is_before(&message) => self.messages = None,
                Some(Ok(message)) => {
                    self.take(&message);
                    self.take_ready();
                }
                Some(Err(error)) => {
                    tracing::warn!(err = %Chain(&error), "reading the stream was interrupted, trying again");
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
    }

    /// Takes what has arrived besides, up to a burst.
    fn take_ready(&mut self) {
        while self.queue.len() < BURST {
            let next = self.messages.as_mut().and_then(|messages| messages.next().now_or_never());
            match next {
                Some(Some(Ok(message))) if !self.is_before(&message) => self.take(&message),
                Some(_) => {
                    self.messages = None;
                    break;
                }
                None => break,
            }
        }
    }

    /// Whether the message that the last record came from holds more of them.
    #[cfg(feature = "daemon")]
    pub(super) fn is_within_message(&self) -> bool {
        self.front() == Some(self.popped)
    }

    async fn again(&mut self) {
        match self.begin().await {
            Ok(()) => self.retry = RETRY_MIN,
            Err(error) => {
                tracing::warn!(err = %error, retry_in = ?self.retry, "cannot read the stream");
                tokio::time::sleep(self.retry).await;
                self.retry = (self.retry * 2).min(RETRY_MAX);
            }
        }
    }

    async fn begin(&mut self) -> Result<(), TailError> {
        let name = &self.settings.jetstream.stream_name;
        let fail = |reason: String| TailError::Read { stream: name.clone(), reason };
        let client = connect::dial(&self.settings).await?;
        let stream = jetstream::new(client).get_stream_no_info(name).await.map_err(|e| fail(Chain(&e).to_string()))?;
        let config = OrderedConfig {
            filter_subjects: self.filter.subjects(&self.settings.jetstream.subject_prefix),
            deliver_policy: self.since.policy(self.from),
            replay_policy: self.replay.policy(),
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| fail(Chain(&e).to_string()))?;
        // Kept, so that a connection lost before the first message does not begin anew, at another place.
        let info = consumer.cached_info();
        let from = info.delivered.stream_sequence + 1;
        self.backlog = info.num_pending > 0;
        self.messages = Some(consumer.messages().await.map_err(|e| fail(Chain(&e).to_string()))?);
        self.from = Some(from);
        Ok(())
    }

    fn is_before(&self, message: &Message) -> bool {
        message.info().is_ok_and(|info| self.from.is_some_and(|from| info.stream_sequence < from))
    }

    fn take(&mut self, message: &Message) {
        let info = message.info();
        self.backlog = info.as_ref().is_ok_and(|info| info.pending > 0);
        let sequence = info.map_or_else(|_| self.from.unwrap_or(1), |info| info.stream_sequence);
        self.from = Some(sequence + 1);
        self.subjects.take(sequence, &message.subject, &message.payload, &mut self.queue);
    }
}

/// The last trades of some instruments (exchange and symbol), each as its last message has it; none of those of which
/// nothing is stored.
///
/// # Errors
/// [`TailError`] when the server does not say.
pub async fn last_records(settings: &Nats, names: &[(String, String)]) -> Result<Vec<Item>, TailError> {
    let name = &settings.jetstream.stream_name;
    let fail = |reason: String| TailError::Read { stream: name.clone(), reason };
    let client = connect::dial(settings).await?;
    let stream = jetstream::new(client).get_stream_no_info(name).await.map_err(|e| fail(Chain(&e).to_string()))?;
    let prefix = &settings.jetstream.subject_prefix;
    let (mut subjects, mut queue) = (Subjects::new(prefix), Queue::new());
    let mut found = Vec::new();
    for (exchange, symbol) in names {
        let subject = subject::subject(prefix, exchange, symbol, SubjectKind::Trades);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => subjects.take(message.sequence, &message.subject, &message.payload, &mut queue),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(fail(Chain(&error).to_string())),
        }
        found.extend(queue.drain(..).next_back().and_then(Result::ok));
    }
    Ok(found)
}
