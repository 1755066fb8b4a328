//! Reading the stream by a durable consumer: the server remembers how far its reader came.
//!
//! The server delivers at least once, and out of order where something is delivered again; what is handed out here is
//! in the stream's order, each record once. Across lives of the process that holds from the last acknowledgement, or
//! from the sequence that the caller itself has kept: see [`Spec::after`].

mod acks;
mod begin;
mod make;
mod order;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::Subject;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{Config, Stream};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};

pub use self::acks::Acks;
use self::make::PULL;
use self::order::{Order, Standing, Taken};
use super::connect::Chain;
use super::consumer::{Filter, Item, RETRY_MAX, RETRY_MIN, Replay, Since, Tail, TailError, Trouble, nanos};
use super::take::{Queue, Subjects};
use super::watch::Watch;
use crate::config::settings::Nats;
use crate::telemetry::clock;

/// Records that are taken at a time where they have arrived.
const BURST: usize = 512;
/// In doubt the consumer is asked how it stands this often.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Where there is more, and nothing comes for so long, it is asked for anew.
const STALLED: Duration = Duration::from_secs(10);
/// A doubt that lasts is told this often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The stream is asked this often whether it has removed something unread.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The consumer's name on the server.
    pub durable: String,
    /// What to read.
    pub filter: Filter,
    /// Where to begin, where the consumer is made: one that is there goes on where it is.
    pub since: Since,
    /// How fast what is stored comes.
    pub replay: Replay,
    /// The last sequence that the caller has dealt with, as it has kept it together with what it made of it. With it,
    /// what was not acknowledged in time is not handed out again.
    pub after: Option<u64>,
    /// A message that is not acknowledged for so long is delivered again.
    pub ack_wait: Duration,
    /// Messages that may be delivered and not acknowledged.
    pub max_ack_pending: u32,
}

/// A reader of the stream whose place the server remembers.
pub struct Durable {
    settings: Nats,
    spec: Spec,
    subjects: Subjects,
    link: Option<Link>,
    order: Order<Arrived>,
    queue: Queue,
    acks: Acks,
    retry: Duration,
    doubt: Doubt,
    /// What is in order and not looked into.
    ready: VecDeque<Arrived>,
    watch: Watch,
    trouble: Trouble,
    /// Matching messages that the stream had behind the last one.
    pending: u64,
    /// When the consumer was made, ns since the Unix epoch.
    made: Option<i128>,
    /// When the last message that came was stored, ns since the Unix epoch.
    stored_ns: u64,
    /// The stream counts anew, which is not told yet.
    anew: bool,
    /// Behind which sequence reading began, once that is known.
    begun: Option<u64>,
    /// What the consumer will not bring though the caller has not had it: read in another way, up to a sequence.
    missed: Option<(Box<Tail>, u64)>,
    /// Since when nothing has come.
    heard: Option<Instant>,
}

struct Link {
    consumer: Consumer<Config>,
    messages: Stream,
}

/// A message that has arrived.
#[derive(Debug)]
struct Arrived {
    sequence: u64,
    subject: Subject,
    payload: Bytes,
    reply: Subject,
}

#[derive(Default)]
struct Doubt {
    since: Option<Instant>,
    asked: Option<Instant>,
    told: Option<Instant>,
}

impl Durable {
    /// Begins to read; makes the consumer where it is not there.
    ///
    /// # Errors
    /// [`TailError`] when there is no server, no stream or no right, the consumer is another one than asked for, or it
    /// has acknowledged more than [`Spec::after`].
    pub async fn open(settings: &Nats, spec: Spec) -> Result<Self, TailError> {
        let mut reader = Self {
            settings: settings.clone(),
            subjects: Subjects::new(&settings.jetstream.subject_prefix),
            order: Order::new(spec.after.unwrap_or(0)),
            spec,
            link: None,
            queue: Queue::new(),
            acks: Acks::default(),
            retry: RETRY_MIN,
            doubt: Doubt::default(),
            ready: VecDeque::new(),
            watch: Watch::new(&settings.jetstream.stream_name),
            trouble: Trouble::default(),
            pending: 0,
            made: None,
            begun: None,
            anew: false,
            stored_ns: 0,
            missed: None,
            heard: None,
        };
        reader.begin(true).await?;
        Ok(reader)
    }

    /// What acknowledges the records of this reader.
    #[must_use]
    pub fn acks(&self) -> Acks {
        self.acks.clone()
    }

    /// What keeps it from reading, from now on.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// A record that has arrived already, or what is wrong with a message.
    pub fn pop(&mut self) -> Option<Result<Item, TailError>> {
        self.queue.pop_front()
    }

    /// The sequence of the next record, where it has arrived.
    #[must_use]
    pub fn front(&self) -> Option<u64> {
        self.queue.front().and_then(|next| next.as_ref().ok()).map(|item| item.sequence)
    }

    /// Waits until something has arrived; what has arrived with it is taken too. A lost connection is made anew.
    pub async fn fill(&mut self) {
        self.watch.is_here();
        while self.queue.is_empty() {
            if self.missed.is_some() {
                self.catch_up().await;
                continue;
            }
            self.release().await;
            if !self.queue.is_empty() {
                break;
            }
            let Some(link) = &mut self.link else {
                self.again().await;
                continue;
            };
            let wait = if self.order.is_in_doubt() { ASK_EVERY } else { LOOK_EVERY };
            match tokio::time::timeout(wait, link.messages.next()).await {
                Ok(Some(Ok(message))) => {
                    self.heard = None;
                    self.take(message).await;
                    self.take_ready().await;
                }
                Ok(Some(Err(error))) => {
                    tracing::warn!(err = %Chain(&error), "reading the stream was interrupted, trying again");
                    self.trouble.interrupted(&Chain(&error).to_string());
                    self.link = None;
                }
                Ok(None) => self.link = None,
                Err(_) => self.note_silence().await,
            }
            if self.link.is_some() && self.order.is_in_doubt() {
                self.ask().await;
            }
        }
        self.watch.is_here();
    }

    /// Reads what the consumer will not bring.
    async fn catch_up(&mut self) {
        let Some((tail, last)) = &mut self.missed else { return };
        // What was stored when the connection began comes without a wait.
        let waits = tail.has_backlog() || tail.front().is_some();
        let mut next = if waits { Some(tail.next().await) } else { tail.pop() };
        let reached = loop {
            match next {
                Some(Err(TailError::Anew { .. })) => {
                    // It will be told by whoever reads on.
                    (self.missed, self.link) = (None, None);
                    return;
                }
                Some(Ok(item)) if item.sequence > *last => break item.sequence - 1,
                Some(next) => self.queue.push_back(next),
                // A message is handed over as a whole, with all of its records.
                None if waits => return,
                None => break tail.reached(),
            }
            next = tail.pop();
        };
        self.subjects.pass(reached);
        self.missed = None;
    }

    /// Whether there is more, and nothing brings it: the requests for it are made anew.
    async fn note_silence(&mut self) {
        let now = clock::now();
        if self.order.is_in_doubt() || now.saturating_duration_since(*self.heard.get_or_insert(now)) < STALLED {
            return;
        }
        self.heard = Some(now);
        let Some(link) = &mut self.link else { return };
        let full = self.acks.open() as u64 + self.order.held() as u64 >= u64::from(self.spec.max_ack_pending);
        let more = match link.consumer.info().await {
            Ok(info) => info.num_pending > 0,
            Err(_) => true,
        };
        if more && !full && self.spec.replay == Replay::Instant {
            tracing::warn!(consumer = %self.spec.durable, "the stream has more and brings nothing: asking anew");
            self.link = None;
        }
    }

    /// Hands over what is in order, once it is known what the stream has removed in front of it.
    async fn release(&mut self) {
        while self.ready.len() < BURST
            && let Some(message) = self.order.next()
        {
            self.ready.push_back(message);
        }
        if self.ready.is_empty() {
            return;
        }
        let client = self.acks.lock().client.clone();
        let behind = self.pending + self.order.held() as u64 + self.ready.len() as u64;
        let arrived = self.ready.iter().map(|message| (message.sequence, message.subject.as_str()));
        if !self.watch.look(client.as_ref(), arrived, behind, &mut self.subjects).await {
            // Another stream's: it is begun anew, and that is told.
            self.ready.clear();
            self.link = None;
            return;
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        for message in self.ready.drain(..) {
            self.acks.lock().open.push_back((message.sequence, message.reply));
            self.subjects.take(message.sequence, &message.subject, &message.payload, &mut self.queue);
        }
    }

    async fn take_ready(&mut self) {
        for _ in 0..BURST {
            let Some(Some(Ok(message))) = self.link.as_mut().and_then(|link| link.messages.next().now_or_never())
            else {
                return;
            };
            self.take(message).await;
        }
    }

    async fn take(&mut self, message: Message) {
        let (sequence, delivery) = match message.info() {
            Ok(info) => {
                self.pending = info.pending;
                self.stored_ns = nanos(info.published);
                (info.stream_sequence, info.consumer_sequence)
            }
            Err(error) => {
                tracing::warn!(err = %error, "a message came without its place");
                return;
            }
        };
        let Message { message, .. } = message;
        let Some(reply) = message.reply else { return };
        let subject = message.subject.clone();
        self.note_acknowledged();
        let again = reply.clone();
        let arrived = Arrived { sequence, subject: message.subject, payload: message.payload, reply };
        match self.order.take(sequence, delivery, arrived) {
            Taken::New => {}
            // Its acknowledgement may have been lost, with the process that had dealt with it too. The server goes by
            // the number of the delivery: the newest one counts.
            Taken::Again => {
                self.acks.renew(sequence, again, self.order.is_acknowledged(sequence));
                self.acks.repeat().await;
            }
            Taken::Late => {
                let consumer = self.spec.durable.clone();
                self.queue.push_back(Err(TailError::Late { sequence, subject: subject.into_string(), consumer }));
            }
        }
    }

    fn note_acknowledged(&mut self) {
        if let Some((sequence, _)) = &self.acks.lock().last {
            self.order.acknowledge(*sequence);
        }
    }

    /// Asks how the consumer stands, and ends the doubt where nothing is missing.
    async fn ask(&mut self) {
        let now = clock::now();
        if self.doubt.asked.is_some_and(|at| now.saturating_duration_since(at) < ASK_EVERY) {
            return;
        }
        self.doubt.asked = Some(now);
        let since = *self.doubt.since.get_or_insert(now);
        let Some(standing) = self.standing().await else {
            self.link = None;
            return;
        };
        self.note_acknowledged();
        let lasted = now.saturating_duration_since(since);
        self.order.settle(standing, lasted > 2 * self.spec.ack_wait + PULL);
        if !self.order.is_in_doubt() {
            self.doubt = Doubt::default();
        } else if lasted > TELL_EVERY
            && self.doubt.told.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY)
        {
            self.doubt.told = Some(now);
            tracing::warn!(
                consumer = %self.spec.durable, held = self.order.held(), pending = standing.pending,
                "waiting for messages that were delivered elsewhere to come again; does another process read this \
                 consumer?"
            );
        }
    }

    async fn standing(&mut self) -> Option<Standing> {
        let link = self.link.as_mut()?;
        let info = match link.consumer.info().await {
            Ok(info) => info.clone(),
            Err(error) => {
                tracing::warn!(err = %Chain(&error), consumer = %self.spec.durable, "the consumer does not answer");
                return None;
            }
        };
        Some(Standing {
            delivered: info.delivered.consumer_sequence,
            floor: info.ack_floor.stream_sequence,
            pending: info.num_ack_pending as u64,
            first: self.first().await.unwrap_or(0),
        })
    }

    /// The oldest sequence of the stream, where the server says.
    async fn first(&mut self) -> Option<u64> {
        let client = self.acks.lock().client.clone()?;
        self.watch.first(&client).await
    }

    async fn again(&mut self) {
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
}
