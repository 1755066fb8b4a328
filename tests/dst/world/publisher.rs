//! What goes between the world and a publisher under test.

use crate::broker::{Micros, Publish, Reply, Stored};

/// What reaches a publisher.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A connection that it asked for is there.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// The answer to a publish.
    Answer {
        /// The `reply` of the publish.
        reply: u64,
        /// What the broker said.
        answer: Reply,
    },
    /// The answer to [`Output::AskStream`].
    Stream {
        /// The stream's last sequence.
        last_seq: u64,
    },
    /// The answer to [`Output::AskTail`].
    Tail {
        /// The subject that was asked for.
        subject: u32,
        /// Its last message, with its sequence.
        stored: Option<(u64, Stored)>,
    },
    /// The answer to [`Output::AskPlaces`].
    Places(Vec<(u64, Stored)>),
    /// A trade to publish.
    Trade {
        /// The subject.
        subject: u32,
        /// The trade's id, contiguous per subject from 1.
        id: u64,
        /// It comes behind younger ones, from the venue's history.
        late: bool,
    },
    /// The time that [`Output::WakeAt`] asked for has come.
    Wake,
}

/// What a publisher wants done.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Drop the connection, if there is one, and dial a fresh one.
    Dial,
    /// Send a message.
    Publish(Publish),
    /// Ask for the stream's last sequence.
    AskStream,
    /// Ask for the last message of a subject.
    AskTail(u32),
    /// Ask for the messages of a range of sequences, as far as they are there.
    AskPlaces(u64, u64),
    /// Wake up then, at the latest.
    WakeAt(Micros),
}

/// A publisher under test: the real window in its adapter, or a policy that is known to be bad.
pub(crate) trait Publisher {
    /// Takes what happened, and says what to do.
    fn step(&mut self, now: Micros, input: Input, out: &mut Vec<Output>);
    /// Whether everything that it was given is stored, as far as it knows.
    fn idle(&self) -> bool;
}
