//! The stream as a source: by a durable consumer, or in order and without any.
//!
//! It has a runtime of its own, which runs while the caller waits in `next` and in `commit`: no thread stands between
//! the socket and the caller. A caller that stays away for minutes loses its connection, and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "ipc")]
use async_nats::Client;
#[cfg(feature = "ipc")]
use tokio::task::JoinHandle;
#[cfg(feature = "ipc")]
use tokio::time::error::Elapsed;

use super::commits::Commits;
use super::config::NatsConfig;
use super::own::Own;
use super::{Event, Gap, Lost, Place, SourceError, Trade, TradeSource};
#[cfg(feature = "ipc")]
use crate::config::settings::Nats;
use crate::market::Record;
use crate::telemetry::clock;
use crate::transport::nats::consumer::{Filter, Item, Since, Tail, TailError, Trouble};
use crate::transport::nats::durable::{Durable, Spec};
#[cfg(feature = "ipc")]
use crate::transport::nats::last::last_records;

/// How long the last records are asked for.
#[cfg(feature = "ipc")]
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// As good as for ever.
const FOR_LONG: Duration = Duration::from_secs(86_400);
/// The runtime is given its turn after so many records that were there already: it answers the server's pings.
const TURN_EVERY: u32 = 4_096;

#[cfg(feature = "ipc")]
type LastRecords = Result<Result<Vec<Item>, TailError>, Elapsed>;

/// Reads the stream.
pub struct NatsSource {
    runtime: Own,
    reader: State,
    trouble: Trouble,
    acks: Option<Commits>,
    /// What was handed out last: the caller looks at it until it asks for the next one.
    item: Option<Item>,
    /// Whose messages were told as removed.
    removed: Option<(Arc<str>, Arc<str>)>,
    since_turn: u32,
    #[cfg(feature = "ipc")]
    settings: Nats,
    /// The last records that are asked for.
    #[cfg(feature = "ipc")]
    asked: Option<JoinHandle<LastRecords>>,
    #[cfg(feature = "ipc")]
    seen: Seen,
}

/// What was seen of the reader before it began to wait.
#[cfg(feature = "ipc")]
#[derive(Default)]
struct Seen {
    /// Everything that was stored has been handed out.
    caught_up: bool,
    /// The sequence from which it reads on.
    position: u64,
    client: Option<Client>,
}

/// The reader itself, or what it is about while it waits for the server.
enum State {
    Idle(Reader),
    Waiting(Pin<Box<dyn Future<Output = Reader> + Send>>),
    /// Between the two.
    Moved,
}

enum Reader {
    Ordered(Box<Tail>),
    Durable(Box<Durable>),
}

impl Reader {
    fn pop(&mut self) -> Option<Result<Item, TailError>> {
        match self {
            Self::Ordered(tail) => tail.pop(),
            Self::Durable(durable) => durable.pop(),
        }
    }

    async fn fill(mut self) -> Self {
        match &mut self {
            Self::Ordered(tail) => tail.fill().await,
            Self::Durable(durable) => durable.fill().await,
        }
        self
    }
}

impl NatsSource {
    /// Connects, and begins to read.
    ///
    /// # Errors
    /// [`SourceError`] when there is no server, no stream or no right, or the configuration cannot be used.
    pub fn open(config: &NatsConfig) -> Result<Self, SourceError> {
        check(config)?;
        let runtime = Own::new()?;
        let settings = config.settings();
        let lower = config.exchanges.iter().map(|name| name.trim().to_ascii_lowercase());
        let upper = config.symbols.iter().map(|symbol| symbol.trim().to_ascii_uppercase());
        let filter = Filter { exchanges: lower.collect(), symbols: upper.collect(), kind: None };
        let since = Since::parse(&config.start, clock::wall_ns())
            .map_err(|error| SourceError::Config { message: format!("data_source.nats.start: {error}") })?;
        let since = config.after.map_or(since, |after| Since::Sequence(after + 1));
        let (reader, acks) = if config.durable.is_empty() {
            let tail = runtime.block_on(Tail::open_at(&settings, filter, since, config.replay))?;
            (Reader::Ordered(Box::new(tail.map_err(SourceError::Stream)?)), None)
        } else {
            let spec = Spec {
                durable: config.durable.clone(),
                filter,
                since,
                replay: config.replay,
                after: config.after,
                ack_wait: config.ack_wait.duration(),
                max_ack_pending: config.max_ack_pending,
            };
            let durable = runtime.block_on(Durable::open(&settings, spec))?.map_err(SourceError::Stream)?;
            let acks = Commits::new(durable.acks(), config);
            (Reader::Durable(Box::new(durable)), Some(acks))
        };
        Ok(Self {
            runtime,
            #[cfg(feature = "ipc")]
            settings,
            #[cfg(feature = "ipc")]
            asked: None,
            #[cfg(feature = "ipc")]
            seen: Seen::default(),
            trouble: reader.trouble(),
            reader: State::Idle(reader),
            acks,
            item: None,
            removed: None,
            since_turn: 0,
        })
    }

    /// As [`TradeSource::next`], without the names: the item stays until the next call.
    pub(super) fn advance(&mut self, wait: Duration) -> Result<Option<&Item>, SourceError> {
        self.note_done();
        if self.acks.as_ref().is_some_and(|acks| acks.auto && acks.is_due(clock::now())) {
            self.acknowledge()?;
        }
        self.since_turn += 1;
        if self.since_turn >= TURN_EVERY {
            self.since_turn = 0;
            self.runtime.block_on(tokio::task::yield_now())?;
        }
        let mut next = self.pop();
        if next.is_none() {
            self.wait(wait)?;
            next = self.pop();
        }
        match next {
            Some(Ok(item)) => Ok(Some(self.item.insert(item))),
            Some(Err(error)) => {
                match (&error, &mut self.acks) {
                    // It was told, and is passed over: it must not come again for ever.
                    (TailError::Message { sequence, .. }, Some(acks)) => {
                        acks.handed = acks.handed.max(*sequence);
                        acks.done = acks.handed;
                    }
                    (TailError::Anew { from, .. }, Some(acks)) => acks.begin_anew(*from),
                    _ => {}
                }
                Err(SourceError::Stream(error))
            }
            None => Ok(None),
        }
    }

    /// Asks for the last records of these instruments, while the source waits.
    #[cfg(feature = "ipc")]
    pub(super) fn ask_last(&mut self, names: Vec<(String, String)>) {
        let Some(client) = self.seen.client.clone().filter(|_| self.asked.is_none()) else { return };
        let ask = last_records(client, self.settings.jetstream.clone(), names);
        self.asked = self.runtime.spawn(async { tokio::time::timeout(ASK_TIMEOUT, ask).await });
    }

    /// What was asked for and has come, as far as it stands before the place from which the stream is read on.
    #[cfg(feature = "ipc")]
    pub(super) fn last_records(&mut self) -> Vec<Record> {
        let Some(asked) = self.asked.take_if(|asked| asked.is_finished()) else { return Vec::new() };
        let position = self.seen.position;
        match self.runtime.block_on(asked) {
            Ok(Ok(Ok(Ok(items)))) => {
                items.into_iter().filter(|item| item.sequence < position).map(|item| item.record).collect()
            }
            // It is asked again; until then the stream is read on.
            _ => Vec::new(),
        }
    }

    /// Whether nothing comes because the connection is lost.
    #[cfg(feature = "tui")]
    pub(crate) fn is_cut_off(&self) -> bool {
        self.trouble.is_cut_off()
    }

    /// Whether everything that was stored when the last message came has been handed out.
    #[cfg(feature = "ipc")]
    pub(super) fn is_caught_up(&mut self) -> bool {
        // While it waits it cannot be asked; what was so then is so still, or nothing has come since.
        if let State::Idle(Reader::Ordered(tail)) = &self.reader {
            let caught_up = tail.is_drained() && !tail.has_backlog();
            self.seen =
                Seen { caught_up, position: tail.position(), client: caught_up.then(|| tail.client()).flatten() };
        }
        self.seen.caught_up
    }

    /// What the stream has removed is told as a loss.
    pub(super) fn told(&mut self, error: SourceError) -> Result<Event<'_>, SourceError> {
        let SourceError::Stream(TailError::Removed { instrument, first, last }) = error else { return Err(error) };
        self.removed = instrument;
        let instrument = self.removed.as_ref().map(|(exchange, symbol)| (&**exchange, &**symbol));
        Ok(Event::Lost(Lost::Removed { instrument, first, last }))
    }

    /// What was handed out last.
    pub(super) fn current(&self) -> Option<Event<'_>> {
        let whole = self.is_whole();
        self.item.as_ref().map(|item| event(item, whole))
    }

    /// Whether the record that was handed out last is the last one of its message.
    fn is_whole(&self) -> bool {
        let (State::Idle(reader), Some(item)) = (&self.reader, &self.item) else { return true };
        reader.front() != Some(item.sequence)
    }

    fn pop(&mut self) -> Option<Result<Item, TailError>> {
        match &mut self.reader {
            State::Idle(reader) => reader.pop(),
            _ => None,
        }
    }

    /// Waits for records, so long at most, and acknowledges meanwhile what is to be. What is not done by then goes on
    /// at the next call.
    fn wait(&mut self, wait: Duration) -> Result<(), SourceError> {
        let until = clock::now().checked_add(wait);
        loop {
            let now = clock::now();
            let left = until.map_or(FOR_LONG, |until| until.saturating_duration_since(now));
            let due = self.acks.as_ref().and_then(|acks| acks.due_in(now));
            self.wait_for(due.map_or(left, |due| due.min(left)))?;
            if matches!(self.reader, State::Idle(_)) || due.is_none_or(|due| due > left) && left < FOR_LONG {
                return Ok(());
            }
            if due.is_some_and(|due| due <= left) {
                self.acknowledge()?;
            }
        }
    }

    fn wait_for(&mut self, wait: Duration) -> Result<(), SourceError> {
        self.since_turn = 0;
        let mut waiting = match std::mem::replace(&mut self.reader, State::Moved) {
            State::Idle(reader) => Box::pin(reader.fill()) as Pin<Box<dyn Future<Output = Reader> + Send>>,
            State::Waiting(waiting) => waiting,
            State::Moved => return Ok(()),
        };
        let done = self.runtime.block_on(async {
            // The connection has its turn first, so that a wait of zero sees what has arrived.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            tokio::time::timeout(wait, waiting.as_mut()).await.ok()
        });
        match done {
            Ok(Some(reader)) => self.reader = State::Idle(reader),
            Ok(None) => self.reader = State::Waiting(waiting),
            Err(error) => {
                self.reader = State::Waiting(waiting);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What was handed out before the caller came back is dealt with, where its message was whole.
    fn note_done(&mut self) {
        let whole = self.is_whole();
        let Some(item) = self.item.take() else { return };
        if let Some(acks) = &mut self.acks {
            acks.unsaid += u32::from(whole);
            acks.handed = acks.handed.max(item.sequence);
            acks.done = if whole { acks.handed } else { acks.done };
        }
    }

    /// Says what is dealt with.
    fn acknowledge(&mut self) -> Result<(), SourceError> {
        let Some(acks) = &mut self.acks else { return Ok(()) };
        (acks.said_at, acks.unsaid) = (Some(clock::now()), 0);
        if acks.said < acks.done {
            acks.said = acks.done;
            let (sending, upto) = (acks.acks.clone(), acks.done);
            self.runtime.block_on(async move { sending.acknowledge(upto).await })?;
        }
        Ok(())
    }
}

impl Reader {
    fn trouble(&self) -> Trouble {
        match self {
            Self::Ordered(tail) => tail.trouble(),
            Self::Durable(durable) => durable.trouble(),
        }
    }

    /// The sequence of the record that comes next, where it has arrived.
    fn front(&self) -> Option<u64> {
        match self {
            Self::Ordered(tail) => tail.front(),
            Self::Durable(durable) => durable.front(),
        }
    }
}

impl TradeSource for NatsSource {
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        match self.advance(wait) {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Ok(self.current()),
            Err(error) => self.told(error).map(Some),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.now()
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.note_done();
        self.acknowledge()?;
        if let Some(acks) = &self.acks {
            let sending = acks.acks.clone();
            self.runtime.block_on(async move { sending.flush().await })?;
        }
        Ok(())
    }
}

/// An item as the caller sees it.
fn event(item: &Item, whole: bool) -> Event<'_> {
    let (exchange, symbol) = (&*item.exchange, &*item.symbol);
    let place = Place::Stream { sequence: item.sequence, whole };
    match item.record {
        Record::Trade(msg) => Event::Trade(Trade { msg, exchange, symbol, place }),
        Record::Gap(msg) => Event::Gap(Gap { msg, exchange, symbol, place }),
    }
}

fn check(config: &NatsConfig) -> Result<(), SourceError> {
    let refuse = |message: &str| Err(SourceError::Config { message: format!("data_source.nats.{message}") });
    if !(1..=1_000_000).contains(&config.max_ack_pending) {
        return refuse("max_ack_pending is out of 1..=1000000");
    }
    if config.ack_every == 0 || config.ack_every > config.max_ack_pending {
        return refuse("ack_every is out of 1..=max_ack_pending: the server would wait for acknowledgements for ever");
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&config.ack_wait.duration()) {
        return refuse("ack_wait is out of 100ms..=1h");
    }
    if config.stream_per_exchange && config.exchanges.len() != 1 {
        return refuse(
            "stream_per_exchange: a source reads one stream: name one in exchanges, and open a source for each",
        );
    }
    if config.durable.contains(['.', '*', '>', '/', '\\', ' ', '\t']) {
        return refuse("durable holds a character that a consumer's name cannot have: write letters, digits, - and _");
    }
    Ok(())
}
