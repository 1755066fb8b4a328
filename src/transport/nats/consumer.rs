//! Reading the stream back, as any consumer would: in order, from a place in it, across lost connections.
//!
//! It keeps nothing on the server: an ordered consumer goes when its reader goes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Message};
use futures_util::{FutureExt as _, StreamExt as _};
use time::OffsetDateTime;

use super::connect::{self, Chain};
pub use super::tail_error::{TailError, Trouble};
use super::take::{Queue, Subjects};
pub use super::wanted::{Filter, Replay, Since};
use super::watch::{Seen, Watch};
use crate::config::settings::Nats;
use crate::market::Record;
use crate::telemetry::clock;

/// First wait before a lost connection is made anew; it doubles up to [`RETRY_MAX`].
pub(super) const RETRY_MIN: Duration = Duration::from_millis(200);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(5);
/// Waiting is done in pieces of this length.
const SLICE: Duration = Duration::from_secs(1);
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

/// A reader of the stream.
pub struct Tail {
    settings: Nats,
    filter: Filter,
    since: Since,
    replay: Replay,
    subjects: Subjects,
    client: Option<Client>,
    messages: Option<Ordered>,
    /// What has arrived and is not looked into, each with its sequence.
    arrived: VecDeque<(u64, Message)>,
    watch: Watch,
    trouble: Trouble,
    /// Since when nothing has come.
    silent: Option<Instant>,
    /// Nothing has come since reading began anew.
    in_vain: bool,
    /// The stream counts anew, which is not told yet.
    anew: bool,
    /// When the last message that came was stored, ns since the Unix epoch.
    stored_ns: u64,
    /// The sequence to read from; the server says it when the first consumer is made.
    from: Option<u64>,
    queue: Queue,
    /// The sequence of the last record that was handed out.
    popped: u64,
    retry: Duration,
    /// The server has said that there is more.
    backlog: bool,
    /// What was stored has been read.
    is_live: bool,
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
            client: None,
            messages: None,
            arrived: VecDeque::new(),
            watch: Watch::new(&settings.jetstream.stream_name),
            trouble: Trouble::default(),
            silent: None,
            in_vain: false,
            anew: false,
            stored_ns: 0,
            from: None,
            queue: Queue::new(),
            popped: 0,
            retry: RETRY_MIN,
            backlog: false,
            is_live: false,
        };
        tail.begin(true).await?;
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

    /// What keeps it from reading, from now on.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble.clone()
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

    /// The last sequence that was looked into, or behind which reading began.
    pub(super) fn reached(&self) -> u64 {
        self.subjects.reached()
    }

    /// Whether the server has more that was stored when its last message came, or when reading began.
    #[must_use]
    pub const fn has_backlog(&self) -> bool {
        self.backlog
    }

    /// Whether everything that has arrived was handed out.
    #[cfg(feature = "ipc")]
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.arrived.is_empty()
    }

    /// The sequence of the next record, where it has arrived.
    #[must_use]
    pub fn front(&self) -> Option<u64> {
        self.queue.front().and_then(|next| next.as_ref().ok()).map(|item| item.sequence)
    }

    /// The connection that it reads over, while there is one.
    #[cfg(feature = "ipc")]
    pub(crate) fn client(&self) -> Option<Client> {
        self.client.clone()
    }

    /// Waits until something has arrived; what has arrived with it is taken too.
    pub async fn fill(&mut self) {
        self.watch.is_here();
        while self.queue.is_empty() {
            if !self.arrived.is_empty() {
                self.take_arrived().await;
                continue;
            }
            let Some(messages) = &mut self.messages else {
                self.again().await;
                continue;
            };
            // In slices, so that a caller who was away is told from a stream that is quiet.
            let Ok(next) = tokio::time::timeout(SLICE, messages.next()).await else {
                self.watch.is_here();
                self.note_silence().await;
                continue;
            };
            self.silent = None;
            match next {
                Some(Ok(message)) => {
                    self.arrive(message);
                    self.take_ready();
                }
                Some(Err(error)) => {
                    tracing::warn!(err = %Chain(&error), "reading the stream was interrupted, trying again");
                    self.trouble.interrupted(&Chain(&error).to_string());
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
        self.watch.is_here();
    }

    /// Nothing has come: where that lasts and there is more, no connection or another stream, reading begins anew.
    async fn note_silence(&mut self) {
        let now = clock::now();
        if now.saturating_duration_since(*self.silent.get_or_insert(now)) < STALLED {
            return;
        }
        self.silent = None;
        let state = self.client.as_ref().map(Client::connection_state);
        let waits = self.backlog && self.replay == Replay::Instant;
        let is_other = match &self.client {
            Some(client) => self.watch.is_other(client).await,
            None => false,
        };
        if waits || is_other || state != Some(State::Connected) {
            tracing::warn!(?STALLED, from = self.from, ?state, is_other, "the stream brings nothing: reading anew");
            self.messages = None;
        }
    }

    fn arrive(&mut self, message: Message) {
        let sequence = message.info().map_or_else(|_| self.from.unwrap_or(1), |info| info.stream_sequence);
        self.arrived.push_back((sequence, message));
    }

    /// Takes what has arrived besides, up to a burst.
    fn take_ready(&mut self) {
        while self.arrived.len() < BURST {
            match self.messages.as_mut().and_then(|messages| messages.next().now_or_never()) {
                Some(Some(Ok(message))) => self.arrive(message),
                Some(_) => {
                    self.messages = None;
                    break;
                }
                None => break,
            }
        }
    }

    /// Looks into what has arrived, once it is known what the stream has removed in front of it.
    async fn take_arrived(&mut self) {
        // The client makes its consumer anew after a silence, at the stream's start when nothing was read yet.
        let from = self.from.unwrap_or(0);
        if let Some(at) = self.arrived.iter().position(|(sequence, _)| *sequence < from) {
            self.arrived.truncate(at);
            self.messages = None;
        }
        let info = self.arrived.back().and_then(|(_, message)| message.info().ok());
        let pending = info.as_ref().map_or(0, |info| info.pending);
        self.stored_ns = info.map_or(self.stored_ns, |info| nanos(info.published));
        self.backlog = pending > 0;
        let behind = pending + self.arrived.len() as u64;
        // The last record of each subject: that there were others is known.
        if self.since != Since::Last || self.is_live {
            let arrived = self.arrived.iter().map(|(sequence, message)| (*sequence, message.subject.as_str()));
            if !self.watch.look(self.client.as_ref(), arrived, behind, &mut self.subjects).await {
                self.arrived.clear();
                self.messages = None;
            }
        } else if !self.backlog {
            self.is_live = true;
        }
        for (sequence, message) in self.arrived.drain(..) {
            self.in_vain = false;
            self.from = Some(sequence + 1);
            self.subjects.take(sequence, &message.subject, &message.payload, &mut self.queue);
        }
    }

    /// Whether the message that the last record came from holds more of them.
    #[cfg(feature = "daemon")]
    pub(super) fn is_within_message(&self) -> bool {
        self.front() == Some(self.popped)
    }

    async fn again(&mut self) {
        if std::mem::replace(&mut self.in_vain, true) {
            tokio::time::sleep(RETRY_MIN).await;
        }
        match self.begin(false).await {
            Ok(()) => {
                self.retry = RETRY_MIN;
                self.trouble.over();
            }
            Err(error) => {
                tracing::warn!(err = %error, retry_in = ?self.retry, "cannot read the stream");
                self.trouble.refused(&error);
                tokio::time::sleep(self.retry).await;
                self.retry = (self.retry * 2).min(RETRY_MAX);
            }
        }
    }

    async fn begin(&mut self, first: bool) -> Result<(), TailError> {
        let name = self.settings.jetstream.stream_name.clone();
        let fail = |reason: String| TailError::Read { stream: name.clone(), reason };
        let client = connect::dial(&self.settings).await?;
        let stream = jetstream::new(client.clone()).get_stream_no_info(&name).await;
        let stream = stream.map_err(|e| fail(Chain(&e).to_string()))?;
        if let Some(seen) = self.watch.begin(&client, &mut self.subjects).await {
            self.compare(seen, first)?;
        }
        // Made between this answer and the next request it would have records that are not read.
        if self.watch.is_missing() {
            return Err(fail("stream not found".to_owned()));
        }
        let config = OrderedConfig {
            name: Some(connect::consumer_name(&client)),
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
        self.client = Some(client);
        if first {
            let (reached, has_all) = match self.since {
                Since::Sequence(sequence) => (sequence.max(1).min(from) - 1, true),
                Since::Now => (from - 1, true),
                Since::Start | Since::Last | Since::Time(_) => (from - 1, false),
            };
            self.subjects.stand(reached, has_all);
        }
        if std::mem::take(&mut self.anew) {
            self.subjects.stand(from - 1, true);
            self.queue.push_back(Err(TailError::Anew { stream: name, from }));
        }
        self.from = Some(self.from.map_or(from, |before| before.max(from)));
        Ok(())
    }

    /// Whether it has what was read before; if not, it is to be read anew.
    fn compare(&mut self, seen: Seen, first: bool) -> Result<(), TailError> {
        let asked = if let Since::Sequence(sequence) = self.since { sequence } else { 0 };
        if first && asked > seen.last + 1 {
            let reason = format!(
                "it ends at sequence {}, and reading is to begin at {asked}: it was made anew, or has lost its end; \
                 begin at another place",
                seen.last
            );
            return Err(TailError::Read { stream: self.settings.jetstream.stream_name.clone(), reason });
        }
        if seen.is_other || self.from.is_some_and(|from| seen.last + 1 < from) {
            // Kept until it is told: what follows may fail, and is begun again.
            self.anew = true;
            // Of one that has lost its end, what was stored later than what was read.
            self.since = if seen.is_other { Since::Start } else { Since::Time(self.stored_ns + 1) };
            self.from = None;
            self.arrived.clear();
        }
        Ok(())
    }
}

/// Nanoseconds since the Unix epoch.
pub(super) fn nanos(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos()).unwrap_or(0)
}
