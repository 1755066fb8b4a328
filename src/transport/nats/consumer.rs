//! Reading the stream back, as any consumer would: in order, from a place in it, across lost connections.
//!
//! It keeps nothing on the server: an ordered consumer goes when its reader goes.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Message};
use futures_util::StreamExt as _;
use time::OffsetDateTime;

use super::connect::{self, Chain, ConnectError};
use crate::config::settings::Nats;
use crate::market::trade::RECORD_BYTES;
use crate::market::{Record, SubjectKind, subject};

/// First wait before a lost connection is made anew; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What to read. Empty lists mean all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Exchange tokens.
    pub exchanges: Vec<String>,
    /// Canonical symbols.
    pub symbols: Vec<String>,
    /// Only trades, or only gaps; none: both.
    pub kind: Option<SubjectKind>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// What comes from now on.
    #[default]
    Now,
    /// The oldest that is stored.
    Start,
    /// What was stored at this time or later, nanoseconds since the Unix epoch.
    Time(u64),
    /// This stream sequence.
    Sequence(u64),
}

impl Filter {
    /// The subjects of what is asked for.
    pub(super) fn subjects(&self, prefix: &str) -> Vec<String> {
        let any = |names: &[String]| {
            if names.is_empty() { vec!["*".to_owned()] } else { names.iter().map(|n| subject::token(n)).collect() }
        };
        let mut subjects = Vec::new();
        for exchange in any(&self.exchanges) {
            for symbol in any(&self.symbols) {
                let kinds = [SubjectKind::Trades, SubjectKind::Gaps].into_iter();
                let kinds = kinds.filter(|kind| self.kind.is_none_or(|only| only == *kind));
                subjects.extend(kinds.map(|kind| format!("{prefix}.{exchange}.{symbol}.{}", kind.as_str())));
            }
        }
        subjects
    }
}

impl Since {
    /// Where a consumer begins; `from` is the sequence to go on from, once one is known.
    pub(super) fn policy(self, from: Option<u64>) -> DeliverPolicy {
        match (from, self) {
            (None, Self::Now) => DeliverPolicy::New,
            (None, Self::Start) => DeliverPolicy::All,
            (Some(start_sequence), _) | (None, Self::Sequence(start_sequence)) => {
                DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) }
            }
            (None, Self::Time(ns)) => match OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                Err(_) => DeliverPolicy::All,
            },
        }
    }
}

/// One record and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The exchange's token.
    pub exchange: String,
    /// The canonical symbol.
    pub symbol: String,
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
}

/// A reader of the stream.
pub struct Tail {
    settings: Nats,
    filter: Filter,
    since: Since,
    messages: Option<Ordered>,
    /// The sequence to read from; the server says it when the first consumer is made.
    from: Option<u64>,
    items: VecDeque<Item>,
    retry: Duration,
}

impl Tail {
    /// Begins to read.
    ///
    /// # Errors
    /// [`TailError`] when there is no server, no stream, or no right to read it.
    pub async fn open(settings: &Nats, filter: Filter, since: Since) -> Result<Self, TailError> {
        let mut tail = Self {
            settings: settings.clone(),
            filter,
            since,
            messages: None,
            from: None,
            items: VecDeque::new(),
            retry: RETRY_MIN,
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
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            let Some(messages) = &mut self.messages else {
                self.again().await;
                continue;
            };
            match messages.next().await {
                // The client makes its consumer anew after a silence, at the stream's start when nothing was read yet.
                Some(Ok(message)) if self.is_before(&message) => self.messages = None,
                Some(Ok(message)) => self.take(&message)?,
                Some(Err(error)) => {
                    tracing::warn!(err = %Chain(&error), "reading the stream was interrupted, trying again");
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
    }

    /// Whether the message that the last record came from holds more of them.
    pub(super) fn is_within_message(&self) -> bool {
        !self.items.is_empty()
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
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| fail(Chain(&e).to_string()))?;
        // Kept, so that a connection lost before the first message does not begin anew, at another place.
        let from = consumer.cached_info().delivered.stream_sequence + 1;
        self.messages = Some(consumer.messages().await.map_err(|e| fail(Chain(&e).to_string()))?);
        self.from = Some(from);
        Ok(())
    }

    fn is_before(&self, message: &Message) -> bool {
        message.info().is_ok_and(|info| self.from.is_some_and(|from| info.stream_sequence < from))
    }

    fn take(&mut self, message: &Message) -> Result<(), TailError> {
        let sequence = message.info().map_or_else(|_| self.from.unwrap_or(1), |info| info.stream_sequence);
        self.from = Some(sequence + 1);
        let subject = message.subject.as_str();
        let fail = |reason: String| TailError::Message { sequence, subject: subject.to_owned(), reason };
        let parts = subject::parse(&self.settings.jetstream.subject_prefix, subject)
            .ok_or_else(|| fail("the subject is none of ours".to_owned()))?;
        if message.payload.is_empty() || !message.payload.len().is_multiple_of(RECORD_BYTES) {
            return Err(fail(format!("{} bytes are no records of {RECORD_BYTES}", message.payload.len())));
        }
        for bytes in message.payload.chunks_exact(RECORD_BYTES) {
            let record = Record::from_bytes(bytes).map_err(|error| fail(error.to_string()))?;
            let (exchange, symbol) = (parts.exchange.clone(), parts.symbol.clone());
            self.items.push_back(Item { exchange, symbol, sequence, record });
        }
        Ok(())
    }
}
