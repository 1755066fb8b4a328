//! Reading what is stored now, once, from its oldest message to the one that was the last when reading began.
//!
//! It keeps nothing on the server and acknowledges nothing. What a message holds is for its reader to say.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use time::OffsetDateTime;

use super::connect::{self, Chain};
use super::consumer::{Filter, Since, TailError, nanos};
use super::stream_manager::is_leaders;
use crate::config::settings::Nats;
use crate::market::subject;

/// First wait before a lost connection is made anew; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Attempts to go on after a lost connection, about a minute in all. A reader that reads once does not wait for ever.
const RETRIES_MAX: u32 = 15;
/// So often the stream's leader is asked for, about ten seconds: others that answer may be behind.
const LEADER_TRIES: u32 = 50;
/// After this long without a message it is asked whether there is any left: the rest may have been removed meanwhile.
const QUIET: Duration = Duration::from_secs(3);

/// One message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its stream sequence.
    pub sequence: u64,
    /// When it was stored, nanoseconds since the Unix epoch.
    pub stored_ns: u64,
    /// Its subject.
    pub subject: String,
    /// Its bytes, whatever they are.
    pub payload: Bytes,
}

/// A reader of what is stored now.
pub struct Scan {
    settings: Nats,
    filter: Filter,
    since: Since,
    messages: Option<Ordered>,
    /// The connection that it reads over.
    client: Option<Client>,
    /// The sequence to go on from.
    from: Option<u64>,
    /// The stream's first and last sequence when reading began.
    first: u64,
    last: u64,
    /// When the stream was made: another one under the same name is another stream.
    created: Option<OffsetDateTime>,
    done: bool,
}

impl Scan {
    /// Begins to read.
    ///
    /// # Errors
    /// [`TailError`] when there is no server, no stream, or no right to read it.
    pub async fn open(settings: &Nats, filter: Filter, since: Since) -> Result<Self, TailError> {
        let mut scan = Self {
            settings: settings.clone(),
            filter,
            since,
            messages: None,
            client: None,
            from: None,
            first: 0,
            last: 0,
            created: None,
            done: false,
        };
        scan.begin().await?;
        Ok(scan)
    }

    /// The stream's last sequence when reading began.
    #[must_use]
    pub const fn last_sequence(&self) -> u64 {
        self.last
    }

    /// The stream's first sequence when reading began.
    #[must_use]
    pub const fn first_sequence(&self) -> u64 {
        self.first
    }

    /// The sequence from which it reads on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.from.unwrap_or(0)
    }

    /// When the stream was made, nanoseconds since the Unix epoch: another one of its name is another stream.
    #[must_use]
    pub fn created_ns(&self) -> u64 {
        self.created.and_then(|created| u64::try_from(created.unix_timestamp_nanos()).ok()).unwrap_or(0)
    }

    /// The next message; `None` behind the last one. A lost connection is made anew for about a minute.
    ///
    /// # Errors
    /// [`TailError`] when reading cannot go on, or the stream is another one meanwhile.
    pub async fn next(&mut self) -> Result<Option<Stored>, TailError> {
        while !self.done {
            let Some(messages) = &mut self.messages else {
                self.again().await?;
                continue;
            };
            let next = match messages.next().now_or_never() {
                Some(next) => Ok(next),
                None => tokio::time::timeout(QUIET, messages.next()).await,
            };
            match next {
                Ok(Some(Ok(message))) => {
                    if let Some(stored) = self.take(message)? {
                        return Ok(Some(stored));
                    }
                }
                Ok(Some(Err(error))) => {
                    tracing::warn!(err = %Chain(&error), "reading the stream was interrupted, trying again");
                    self.messages = None;
                }
                Ok(None) | Err(_) => self.messages = None,
            }
        }
        Ok(None)
    }

    /// Exchanges and symbols of which the stream holds anything.
    ///
    /// # Errors
    /// [`TailError`] when the server does not say.
    pub async fn instruments(&self) -> Result<BTreeSet<(String, String)>, TailError> {
        let prefix = &self.settings.jetstream.subject_prefix;
        let stream = self.stream().await?;
        let subjects = stream.info_with_subjects(format!("{prefix}.>")).await;
        let subjects: Vec<(String, usize)> = match subjects {
            Ok(subjects) => subjects.try_collect().await.map_err(|error| self.fail(Chain(&error).to_string()))?,
            Err(error) => return Err(self.fail(Chain(&error).to_string())),
        };
        let parts = subjects.iter().filter_map(|(name, _)| subject::parse(prefix, name));
        Ok(parts.map(|parts| (parts.exchange, parts.symbol)).collect())
    }

    /// Whether nothing is left of what was stored when reading began.
    #[cfg(feature = "record")]
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// The stream's first sequence by now, asked for over the connection that is read over.
    ///
    /// # Errors
    /// [`TailError`] when the server does not say.
    #[cfg(feature = "record")]
    pub async fn first_now(&self) -> Result<u64, TailError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => connect::dial(&self.settings).await?,
        };
        Ok(self.stream_on(client).await?.cached_info().state.first_sequence)
    }

    /// The sequence of the oldest message of a subject; `None` where there is none.
    pub async fn first_of(&self, subject: &str) -> Option<u64> {
        let stream = self.stream().await.ok()?;
        stream.get_first_raw_message_by_subject(subject, 1).await.ok().map(|message| message.sequence)
    }

    fn fail(&self, reason: String) -> TailError {
        TailError::Read { stream: self.settings.jetstream.stream_name.clone(), reason }
    }

    async fn stream(&self) -> Result<jetstream::stream::Stream, TailError> {
        self.stream_on(connect::dial(&self.settings).await?).await
    }

    async fn stream_on(&self, client: Client) -> Result<jetstream::stream::Stream, TailError> {
        let name = &self.settings.jetstream.stream_name;
        let context = jetstream::new(client);
        for _ in 0..LEADER_TRIES {
            let stream = context.get_stream(name).await.map_err(|error| self.fail(Chain(&error).to_string()))?;
            if is_leaders(stream.cached_info()) {
                return Ok(stream);
            }
            tokio::time::sleep(RETRY_MIN).await;
        }
        Err(self.fail("it has no leader; look at the cluster".to_owned()))
    }

    async fn again(&mut self) -> Result<(), TailError> {
        let mut retry = RETRY_MIN;
        for attempt in 1.. {
            match self.begin().await {
                Err(error) if attempt < RETRIES_MAX && !self.is_another(&error) => {
                    tracing::warn!(err = %error, retry_in = ?retry, "cannot read the stream");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
                result => return result,
            }
        }
        Ok(())
    }

    fn is_another(&self, error: &TailError) -> bool {
        matches!(error, TailError::Read { reason, .. } if reason == ANOTHER)
    }

    async fn begin(&mut self) -> Result<(), TailError> {
        let client = connect::dial(&self.settings).await?;
        self.client = Some(client.clone());
        let name = connect::consumer_name(&client);
        let stream = self.stream_on(client).await?;
        let info = stream.cached_info();
        match self.created {
            Some(created) if created != info.created => return Err(self.fail(ANOTHER.to_owned())),
            Some(_) => {}
            None => {
                self.created = Some(info.created);
                self.first = info.state.first_sequence;
                self.last = info.state.last_sequence;
            }
        }
        let config = OrderedConfig {
            name: Some(name),
            filter_subjects: self.filter.subjects(&self.settings.jetstream.subject_prefix),
            deliver_policy: self.since.policy(self.from),
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| self.fail(Chain(&error).to_string()))?;
        let info = consumer.cached_info();
        let from = info.delivered.stream_sequence + 1;
        self.done = info.num_pending == 0 || from > self.last;
        // Kept, so that a connection lost before the first message does not begin anew, at another place.
        self.from.get_or_insert(from);
        let messages = consumer.messages().await.map_err(|error| self.fail(Chain(&error).to_string()))?;
        self.messages = Some(messages);
        Ok(())
    }

    /// A message that is to be read; `None` for one that came before, or that was stored after reading began.
    fn take(&mut self, message: Message) -> Result<Option<Stored>, TailError> {
        let info = message.info().map_err(|error| self.fail(format!("a message without its place: {error}")))?;
        let (sequence, left) = (info.stream_sequence, info.pending);
        let stored_ns = nanos(info.published);
        if self.from.is_some_and(|from| sequence < from) {
            // The client makes its consumer anew after a silence, at the start when nothing was read yet.
            self.messages = None;
            return Ok(None);
        }
        self.from = Some(sequence + 1);
        self.done = sequence >= self.last;
        if left == 0 {
            // Said of a consumer that has seen removals meanwhile: a new one counts anew what is left.
            self.messages = None;
        }
        if sequence > self.last {
            return Ok(None);
        }
        let Message { message, .. } = message;
        Ok(Some(Stored { sequence, stored_ns, subject: message.subject.into_string(), payload: message.payload }))
    }
}

const ANOTHER: &str = "it was deleted and made anew while it was read; begin again";
