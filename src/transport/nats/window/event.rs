//! What the window and its driver say to each other: configuration, actions, answers, what is stored.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::market::SubjectKind;
use crate::market::trade::RECORD_BYTES;

/// What bounds a window.
#[derive(Clone, Debug)]
pub struct Config {
    /// Messages that may be sent and not yet acknowledged, at least 1.
    pub window: usize,
    /// Records of one subject packed into a message, at least 1.
    pub pack: usize,
    /// With `pack` above 1: a record waits at most this long for company.
    pub linger: Duration,
    /// No acknowledgement for this long is a doubt.
    pub ack_timeout: Duration,
    /// Bound of what waits, in bytes as [`Stats::waiting_bytes`](super::Stats::waiting_bytes) counts them.
    pub outbox_bytes: usize,
    /// Acknowledged messages are kept this long.
    pub retain: Duration,
    /// Bound of what `retain` keeps, in bytes as [`Stats::retained_bytes`](super::Stats::retained_bytes) counts them.
    pub retain_bytes: usize,
    /// Routes (instruments) are `0..routes`; a record of a route beyond them is refused by the window.
    pub routes: u32,
    /// Whether nobody else writes to the stream.
    pub sole: bool,
    /// Whether the stream removes the oldest message of a subject first (retention by limits). Only then does an old
    /// tail prove that newer messages were lost; with work-queue or interest retention only the sequence proves it.
    pub oldest_removed_first: bool,
    /// Seed of the jitter of back-offs.
    pub seed: u64,
}

/// How messages are sent in an epoch; the driver says which at [`Window::on_reconciled`](super::Window::on_reconciled).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Fast-ingest batches, gap mode `fail`: the server refuses what comes after a hole. Other writers may interleave.
    FastIngest,
    /// Every message names the stream sequence it must follow: the server refuses what comes after a hole. This
    /// publisher must be the only writer of the stream.
    Chained,
}

/// A subject, by the route of its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Index of the instrument.
    pub route: u32,
    /// Trades or gaps.
    pub kind: SubjectKind,
}

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Publish this, behind everything that was published before on this epoch's connection.
    Send(Send),
    /// Leave the old connection without looking back (nothing it has buffered may be sent), make a new one, fence, read
    /// what is stored, then call [`Window::on_reconciled`](super::Window::on_reconciled) or
    /// [`Window::on_reconcile_failed`](super::Window::on_reconcile_failed).
    Reconcile(Query),
}

/// One publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// Its subject. For a batch's end and for a ping any subject of the stream: the server stores nothing.
    pub key: Key,
    /// `n × 48` bytes; empty for a batch's end and for a ping.
    pub payload: Bytes,
    /// The reply subject to give.
    pub reply: Reply,
    /// A condition that the server is to check.
    pub expect: Option<Expect>,
    /// Whether the server may know its id without having it: it is to be sent without one.
    pub denied: bool,
}

/// The reply subject of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Chained: a number that no other publish of this window has. Answers carry it back in [`Answer::Stored`] and
    /// [`Answer::Refused`].
    Token(u64),
    /// Fast ingest.
    Batch {
        /// Number of the batch within this window's life: every batch has its own id.
        batch: u64,
        /// Ask for an acknowledgement every so many messages.
        flow: u16,
        /// Sequence within the batch, from 1.
        seq: u64,
        /// What the message does to the batch.
        op: BatchOp,
    },
}

/// What a message does to a fast-ingest batch. The discriminant is the wire value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BatchOp {
    /// Stored, and opens the batch.
    Start = 0,
    /// Stored.
    Append = 1,
    /// Stored, and ends the batch.
    Commit = 2,
    /// Not stored; ends the batch.
    End = 3,
    /// Not stored; asks for the newest acknowledgement.
    Ping = 4,
}

/// A condition on a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `Nats-Expected-Last-Sequence`.
    LastSequence(u64),
    /// `Nats-Expected-Last-Subject-Sequence`; 0: the subject is empty.
    LastSubjectSequence(u64),
}

/// What has to be read from the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The epoch that begins; answers are to be tagged with it.
    pub epoch: u32,
    /// Why.
    pub doubt: Doubt,
    /// A fast-ingest batch that may still be open at the server: end it and await any answer before reading.
    pub fence: Option<u64>,
    /// Subjects whose last message is needed. At the first reconcile these are all subjects of all routes.
    pub subjects: Vec<Key>,
    /// Whether this is the first reconcile of this window: its tails are the anchors of the feeds.
    pub first: bool,
    /// First and last sequence of what is to be read besides, as far as there is anything: all that was stored since
    /// the last acknowledgement.
    pub places: Option<(u64, u64)>,
}

/// What the leader says is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How to send from here on.
    pub mode: Mode,
    /// The stream's last sequence, read before the tails.
    pub last_seq: u64,
    /// A stamp of the stream's creation: another one means another stream under the same name.
    pub created: u64,
    /// Whether the stream was created just now: no earlier run has sent anything to it.
    pub is_new: bool,
    /// How long the server remembers ids, those too that it never stored; zero: messages have none.
    pub ids_kept: Duration,
    /// The last message of every subject that the query named; a subject left out counts as unknown.
    pub tails: Vec<Tail>,
    /// What stands at the sequences that the query named; one left out counts as unknown.
    pub places: Places,
}

/// Messages by their sequence: subject and payload; `None`: another's subject.
pub type Places = BTreeMap<u64, Option<(Key, Bytes)>>;

/// The last message of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The subject.
    pub key: Key,
    /// What is there; `None`: the subject is empty.
    pub last: Option<TailRecord>,
}

/// The last record of a subject's last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// The message's stream sequence.
    pub seq: u64,
    /// When the server stored it, by the server's clock: nanoseconds since the Unix epoch.
    pub stored_ns: u64,
    /// The last 48 bytes of its payload.
    pub record: [u8; RECORD_BYTES],
}

/// What the server answered to publishes of this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An ordinary acknowledgement of a chained publish.
    Stored {
        /// The reply subject's token.
        token: u64,
        /// Stream sequence.
        seq: u64,
        /// The server had this message id already and stored nothing.
        duplicate: bool,
    },
    /// Fast ingest: everything up to `seq` is persisted.
    Flow {
        /// The batch.
        batch: u64,
        /// Sequence within the batch; 0 answers the start.
        seq: u64,
        /// The next acknowledgement comes this many messages later.
        msgs: u16,
    },
    /// Fast ingest: the batch is over, `count` messages of it are persisted.
    Closed {
        /// The batch.
        batch: u64,
        /// Stream sequence of the last one.
        seq: u64,
        /// Messages of the batch that are persisted (or were duplicates).
        count: u64,
        /// A batch of one message that the server had already.
        duplicate: bool,
    },
    /// A publish was refused. Nothing after it may be counted as stored by position.
    Refused {
        /// Which, where the answer tells: the token of a chained publish or the sequence within the batch.
        at: RefusedAt,
        /// Why.
        refusal: Refusal,
    },
}

/// Which publish an error answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedAt {
    /// A chained publish, by its token.
    Token(u64),
    /// A message of a fast-ingest batch, by its sequence.
    Batch {
        /// The batch.
        batch: u64,
        /// The sequence; 0: the answer does not tell.
        seq: u64,
    },
    /// The message that was handed out last: the client itself would not take it.
    Last,
}

/// Why a publish was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No stream listens (503): deleted, or without a leader.
    NoStream,
    /// 10071 and its kin: the stream's end is not where it was expected.
    WrongSequence,
    /// 10208, or a gap seen by the server: the batch is gone or broken.
    BatchLost,
    /// 10205: the stream does not allow fast-ingest batches.
    BatchDisabled,
    /// 429 / 10167: the server drops what it cannot take fast enough.
    TooMany,
    /// 10158: its id is known and its message not stored: not yet, or, after a change of leader, never.
    InProcess,
    /// The stream or the server is full.
    Full {
        /// The server's words.
        text: String,
    },
    /// The message is larger than the server or the stream takes. It would be refused for ever.
    TooLarge,
    /// Anything else.
    Other {
        /// `err_code` of the answer, 0 where there is none.
        code: u64,
        /// The server's words.
        text: String,
    },
}

/// Why the window does not know what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing was read yet.
    Start,
    /// The connection was lost.
    Disconnected,
    /// No acknowledgement within `ack_timeout`.
    AckTimeout,
    /// The server refused a publish.
    Refused(Refusal),
    /// The server had a message already: sequences predicted behind it are wrong.
    Duplicate,
    /// An answer that fits nothing that was sent.
    Unexpected,
    /// The stream ends before what was acknowledged; read once more before believing it.
    Regression,
    /// The stream grew while it was read: messages of an old connection were still arriving.
    Growing,
    /// Reading what is stored failed.
    Unreadable {
        /// Why.
        text: String,
    },
}

impl Key {
    /// The trade subject of a route.
    #[must_use]
    pub const fn trades(route: u32) -> Self {
        Self { route, kind: SubjectKind::Trades }
    }

    /// The gap subject of a route.
    #[must_use]
    pub const fn gaps(route: u32) -> Self {
        Self { route, kind: SubjectKind::Gaps }
    }

    /// A dense index: two per route.
    #[must_use]
    pub const fn index(self) -> usize {
        self.route as usize * 2 + matches!(self.kind, SubjectKind::Gaps) as usize
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => f.write_str("no stream takes the subject (503 no responders)"),
            Self::WrongSequence => f.write_str("the stream's end is not where it was expected (10071)"),
            Self::BatchLost => f.write_str("the server gave the batch up"),
            Self::BatchDisabled => f.write_str("the stream does not allow fast-ingest batches (10205)"),
            Self::InProcess => f.write_str("the server says that it is at it already (10158)"),
            Self::TooMany => f.write_str("too many requests (429)"),
            Self::Full { text } => write!(f, "full: {text}"),
            Self::TooLarge => f.write_str("the message is larger than the server takes"),
            Self::Other { code, text } => write!(f, "{text} ({code})"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("nothing was read yet"),
            Self::Disconnected => f.write_str("connection lost"),
            Self::AckTimeout => f.write_str("no acknowledgement in time"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Duplicate => f.write_str("the server had a message already"),
            Self::Unexpected => f.write_str("an answer that fits nothing that was sent"),
            Self::Regression => f.write_str("the stream ends before what was acknowledged"),
            Self::Growing => f.write_str("the stream grew while it was read"),
            Self::Unreadable { text } => write!(f, "cannot read what is stored: {text}"),
        }
    }
}
