//! Reading what is stored, after a doubt: a new connection, the stream, the fence, the tails.
//!
//! It reports; what follows from it is for the window to say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::connect::{Chain, ConnectError};
use super::consumer::nanos;
use super::link::{Came, Link};
use super::past::{self, Past, Unclear};
use super::stream_manager::{self, StreamError, StreamReport};
use super::window::{Answer, Key, Mode, Places, Query, Refusal, Stored, Tail, TailRecord};
use super::wire::{Asked, Subjects};
use crate::config::settings::Nats;
use crate::market::Universe;
use crate::market::trade::RECORD_BYTES;

/// Last messages that are asked for at the same time.
const TAILS_AT_ONCE: usize = 64;

/// Messages in the place of ours that are asked for at the same time: a window of them takes some round trips, not
/// thousands.
const PLACES_AT_ONCE: usize = 512;

/// Each of them adds so much to the time that a reading may take.
const PLACE_TIMEOUT: Duration = Duration::from_millis(2);

/// How long an answer to the end of an old batch is waited for. A server that does not answer is not published to.
const FENCE_TIMEOUT: Duration = Duration::from_secs(3);

/// All of it together but for the recent past. A cluster that looks for a leader answers nothing for seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// The recent past of some instruments, at a start: nothing is published before it is known.
const PAST_TIMEOUT: Duration = Duration::from_secs(60);

/// Message ids may be remembered for so much longer than the server says: it looks for old ones now and then.
const STALE_SLACK: Duration = Duration::from_secs(5);

/// A stream to ask for messages, without its state.
type Unread = jetstream::stream::Stream<()>;

/// What is needed to read.
pub(super) struct Reading {
    pub(super) settings: Rc<Nats>,
    pub(super) subjects: Rc<Subjects>,
    pub(super) run: Rc<str>,
    /// Whether this publisher is the stream's only writer.
    pub(super) sole: bool,
    pub(super) universe: Rc<Universe>,
    /// How far back anything can still be repaired.
    pub(super) horizon: Duration,
    /// Whether each publish must name the sequence that it follows, so that a displaced writer is refused.
    pub(super) chained: bool,
    /// A connection to read over; `None`: a new one.
    pub(super) link: RefCell<Option<Link>>,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) link: Link,
    pub(super) stored: Stored,
    pub(super) stream: StreamReport,
    /// At the first reading: instruments whose last messages do not tell enough.
    pub(super) pasts: BTreeMap<u32, Past>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("{0}")]
    Other(String),
}

impl ReadError {
    /// Whether the broker itself could not be reached.
    pub(super) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// Dials, ends the batch that the query names, and reads.
pub(super) async fn read(reading: Reading, query: Query) -> Result<Outcome, ReadError> {
    let mut outcome = match Box::pin(tokio::time::timeout(READ_TIMEOUT, within(&reading, &query))).await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(ReadError::Other(format!("nothing was read within {READ_TIMEOUT:?}"))),
    };
    if let Some((first, last)) = query.places {
        let last = last.min(outcome.stored.last_seq);
        let client = outcome.link.client().clone();
        let read = unless_gone(&mut outcome.link, places(&client, &reading, (first, last)));
        let limit = READ_TIMEOUT + PLACE_TIMEOUT * u32::try_from(last.saturating_sub(first)).unwrap_or(u32::MAX);
        outcome.stored.places = match Box::pin(tokio::time::timeout(limit, read)).await {
            Ok(places) => places?,
            Err(_) => {
                return Err(ReadError::Other(format!("sequences {first} to {last} were not read within {limit:?}")));
            }
        };
    }
    if query.first {
        let pasts = pasts(&reading, &outcome.stored.tails);
        outcome.pasts = Box::pin(unless_gone(&mut outcome.link, pasts)).await?;
    }
    Ok(outcome)
}

async fn within(reading: &Reading, query: &Query) -> Result<Outcome, ReadError> {
    let known = reading.link.borrow_mut().take();
    let mut link = match known {
        Some(link) => link,
        None => Link::open(&reading.settings, &reading.run).await?,
    };
    let client = link.client().clone();
    let look = async || stream_manager::ensure(&client, &reading.settings).await.map_err(ReadError::from);
    // The stream may have to be made before anything can be asked of it.
    let mut stream = unless_gone(&mut link, look()).await?;
    if let Some(batch) = query.fence {
        fence(&mut link, reading, batch).await?;
        stream.last_seq = unless_gone(&mut link, look()).await?.last_seq;
    }
    let mode = if reading.chained { Mode::Chained } else { mode(&stream, reading.sole)? };
    let tails = unless_gone(&mut link, tails(&client, reading, &query.subjects)).await?;
    let ids_kept = match reading.settings.message_ids {
        true => stream.duplicate_window + STALE_SLACK,
        false => Duration::ZERO,
    };
    let (is_new, last_seq, created) = (stream.created_now, stream.last_seq, stream.created);
    let stored = Stored { mode, last_seq, created, is_new, ids_kept, tails, places: Places::new() };
    Ok(Outcome { link, stored, stream, pasts: BTreeMap::new() })
}

/// Reads more where the last messages leave a doubt. Without the right to do so, what is certain has to do.
async fn pasts(reading: &Reading, tails: &[Tail]) -> Result<BTreeMap<u32, Past>, ReadError> {
    let Some(unclear) = Unclear::of(tails, reading.horizon) else { return Ok(BTreeMap::new()) };
    let read = past::read(&reading.settings, &reading.universe, &unclear);
    let failed = match tokio::time::timeout(PAST_TIMEOUT, read).await {
        Ok(Ok(pasts)) => return Ok(pasts),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it was not read within {PAST_TIMEOUT:?}"),
    };
    tracing::warn!(
        err = failed,
        instruments = unclear.routes.len(),
        "the recent past of the stream cannot be read: gaps that an earlier run was filling stay as they are"
    );
    Ok(unclear.routes.keys().map(|route| (*route, past::at_least(tails, *route))).collect())
}

/// A request that is not permitted gets no answer but a word on the connection: it ends the wait, and is the reason.
async fn unless_gone<T>(link: &mut Link, work: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
    let gone = async {
        loop {
            if let Came::Gone(why) = link.next().await {
                return why;
            }
        }
    };
    tokio::select! {
        biased;
        result = work => result,
        why = gone => Err(ReadError::Other(why)),
    }
}

/// The best way to publish that the stream has.
fn mode(stream: &StreamReport, sole: bool) -> Result<Mode, ReadError> {
    match (stream.batches, sole) {
        (true, _) => Ok(Mode::FastIngest),
        (false, true) => Ok(Mode::Chained),
        (false, false) => Err(ReadError::Other(
            "the stream takes no fast-ingest batches (nats-server 2.14, allow_batched), so only one writer can keep \
             the order: set shards = 1"
                .to_owned(),
        )),
    }
}

/// Ends a batch that may still be open, and waits until the server has said what became of it: nothing of the old
/// connection can be stored behind that.
async fn fence(link: &mut Link, reading: &Reading, batch: u64) -> Result<(), ReadError> {
    link.fence(&reading.subjects, batch).await.map_err(ReadError::Other)?;
    let answered = async {
        loop {
            match link.next().await {
                // A word on the way says nothing yet of what is still being stored.
                Came::Answer(_, Ok(Answer::Refused { refusal: Refusal::Other { code: 0, .. }, .. })) => {}
                Came::Answer(Asked::Batch { batch: of, .. }, _) if of == batch => return Ok(()),
                Came::Gone(why) => return Err(ReadError::Other(why)),
                Came::Answer(..) | Came::Word(_) => {}
            }
        }
    };
    match tokio::time::timeout(FENCE_TIMEOUT, answered).await {
        Ok(result) => result,
        Err(_) => Err(ReadError::Other("the server does not say what became of the last batch".to_owned())),
    }
}

async fn stream_of(client: &async_nats::Client, reading: &Reading) -> Result<Unread, ReadError> {
    let context = jetstream::new(client.clone());
    let stream = context.get_stream_no_info(&reading.settings.jetstream.stream_name).await;
    stream.map_err(|error| ReadError::Other(Chain(&error).to_string()))
}

/// The last message of each subject, from the stream's leader: a replica may be behind.
async fn tails(client: &async_nats::Client, reading: &Reading, keys: &[Key]) -> Result<Vec<Tail>, ReadError> {
    let stream = &stream_of(client, reading).await?;
    let one = |key: Key| async move {
        let Some(subject) = reading.subjects.of(key) else { return Ok(Tail { key, last: None }) };
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => last_record(subject, &message).map(|last| Tail { key, last }),
            Err(error) if is_empty(&error) => Ok(Tail { key, last: None }),
            Err(error) => Err(ReadError::Other(format!("cannot read the last of {subject}: {}", Chain(&error)))),
        }
    };
    stream::iter(keys.iter().copied()).map(one).buffer_unordered(TAILS_AT_ONCE).try_collect().await
}

/// What stands at some sequences, from the stream's leader.
async fn places(
    client: &async_nats::Client,
    reading: &Reading,
    (first, last): (u64, u64),
) -> Result<Places, ReadError> {
    let keys = &reading.subjects.keys();
    let stream = &stream_of(client, reading).await?;
    let one = |seq: u64| async move {
        match stream.get_raw_message(seq).await {
            Ok(message) => {
                let key = keys.get(message.subject.as_str()).copied();
                Ok(Some((seq, key.map(|key| (key, message.payload)))))
            }
            Err(error) if is_empty(&error) => Ok(None),
            Err(error) => Err(ReadError::Other(format!("cannot read sequence {seq} of the stream: {}", Chain(&error)))),
        }
    };
    let read = stream::iter(first..=last).map(one).buffer_unordered(PLACES_AT_ONCE);
    Ok(read.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

fn last_record(subject: &str, message: &StreamMessage) -> Result<Option<TailRecord>, ReadError> {
    let (seq, payload) = (message.sequence, &message.payload);
    let stored_ns = nanos(message.time);
    let record = payload.rchunks(RECORD_BYTES).next().and_then(|bytes| <[u8; RECORD_BYTES]>::try_from(bytes).ok());
    match record {
        Some(record) if payload.len().is_multiple_of(RECORD_BYTES) => Ok(Some(TailRecord { seq, stored_ns, record })),
        _ => Err(ReadError::Other(format!(
            "the last message of {subject}, sequence {seq}, has {} bytes, which are no records of 48: somebody else \
             wrote it; remove it or choose another subject_prefix",
            payload.len()
        ))),
    }
}

fn is_empty(error: &LastRawMessageError) -> bool {
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => true,
        LastRawMessageErrorKind::JetStream(error) => error.error_code() == ErrorCode::NO_MESSAGE_FOUND,
        _ => false,
    }
}
