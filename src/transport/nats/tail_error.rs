//! What goes wrong in reading the stream.

use std::sync::{Arc, Mutex, PoisonError};

use super::connect::ConnectError;

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
    #[error("{}", removed(instrument.as_ref(), *first, *last))]
    Removed {
        /// Exchange and symbol, where only messages of one instrument were removed; none: everything was.
        instrument: Option<(Arc<str>, Arc<str>)>,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The stream was removed and made anew, or has lost its end: its sequences count anew from here on. It is read on
    /// from there.
    #[error(
        "stream {stream} was made anew, or has lost its end, while it was read: what it has from sequence {from} on is \
         read as new, what was not read before is gone"
    )]
    Anew {
        /// The stream.
        stream: String,
        /// The first sequence that counts anew.
        from: u64,
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

fn removed(instrument: Option<&(Arc<str>, Arc<str>)>, first: u64, last: u64) -> String {
    let of = instrument.map_or_else(String::new, |(exchange, symbol)| format!(" of {exchange} {symbol}"));
    format!("sequences {first} to {last}{of} were removed from the stream before they were read")
}

/// Why a reader gets nothing at present, for whoever waits for it.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<Option<Why>>>);

#[derive(Clone, Debug)]
struct Why {
    text: String,
    /// The connection is lost, so that the server would not answer other questions either.
    cut_off: bool,
}

impl Trouble {
    /// What is wrong now, if anything is.
    #[must_use]
    pub fn now(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|why| why.text.clone())
    }

    /// Whether the connection is lost.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|why| why.cut_off)
    }

    pub(super) fn interrupted(&self, reason: &str) {
        self.set(Some(Why { text: format!("interrupted: {reason}"), cut_off: true }));
    }

    pub(super) fn refused(&self, error: &TailError) {
        self.set(Some(Why { text: error.to_string(), cut_off: matches!(error, TailError::Connect(_)) }));
    }

    pub(super) fn over(&self) {
        self.set(None);
    }

    fn set(&self, why: Option<Why>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
