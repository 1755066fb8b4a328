//! What stands on the wire: subjects, message ids, reply subjects, answers. Pure functions over text and bytes.
//!
//! It decides nothing; the window does.

use std::collections::HashMap;
use std::fmt::Write as _;

use async_nats::Subject;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::window::{Answer, BatchOp, Key, Refusal, RefusedAt, Reply};
use crate::market::trade::RECORD_BYTES;
use crate::market::{Record, SubjectKind, Universe, subject};

/// Reply subjects are cut out of chunks of this size, so that one costs no allocation.
const CHUNK: usize = 32 * 1024;

/// Longest reply subject behind the inbox: `.<batch>.<flow>.fail.<seq>.<op>.$FI`.
const REPLY_BYTES: usize = 160;

/// The subjects of all instruments, by [`Key::index`].
#[derive(Debug)]
pub(super) struct Subjects(Vec<Subject>);

impl Subjects {
    pub(super) fn new(prefix: &str, universe: &Universe) -> Self {
        let of = |kind| move |(exchange, symbol): (&str, &str)| subject::subject(prefix, exchange, symbol, kind).into();
        let mut all = Vec::with_capacity(universe.instruments().len() * 2);
        for instrument in universe.instruments() {
            let names = (instrument.exchange, instrument.symbol.as_str());
            all.push(of(SubjectKind::Trades)(names));
            all.push(of(SubjectKind::Gaps)(names));
        }
        Self(all)
    }

    pub(super) fn of(&self, key: Key) -> Option<&Subject> {
        self.0.get(key.index())
    }

    /// What each of these subjects is for.
    pub(super) fn keys(&self) -> HashMap<&str, Key> {
        let kinds = [SubjectKind::Trades, SubjectKind::Gaps].into_iter();
        let keys = (0..).flat_map(|route| kinds.clone().map(move |kind| Key { route, kind }));
        self.0.iter().map(Subject::as_str).zip(keys).collect()
    }
}

/// Makes reply subjects under one inbox, and reads them back.
#[derive(Debug)]
pub(super) struct Replies {
    /// `_INBOX.<unique>.`.
    inbox: String,
    /// What batch numbers are appended to: unique to this publisher's life.
    run: String,
    arena: BytesMut,
}

/// What a reply subject told about the publish that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Token(u64),
    Batch { batch: u64, seq: u64 },
}

impl Replies {
    pub(super) fn new(inbox: &str, run: &str) -> Self {
        Self { inbox: format!("{inbox}."), run: run.to_owned(), arena: BytesMut::new() }
    }

    /// What all replies match.
    pub(super) fn wildcard(&self) -> String {
        format!("{}>", self.inbox)
    }

    pub(super) fn subject(&mut self, reply: Reply) -> Subject {
        match reply {
            Reply::Token(token) => self.token(token),
            Reply::Batch { batch, flow, seq, op } => self.batch(batch, flow, seq, op),
        }
    }

    /// The reply subject of a chained message.
    fn token(&mut self, token: u64) -> Subject {
        self.room();
        // Writing into a buffer with room for it cannot fail.
        let _ = write!(self.arena, "{}t.{token}", self.inbox);
        self.carve()
    }

    /// The reply subject of a message of a batch.
    pub(super) fn batch(&mut self, batch: u64, flow: u16, seq: u64, op: BatchOp) -> Subject {
        self.room();
        let op = op as u8;
        let _ = write!(self.arena, "{}{}-{batch}.{flow}.fail.{seq}.{op}.$FI", self.inbox, self.run);
        self.carve()
    }

    fn room(&mut self) {
        let longest = self.inbox.len() + self.run.len() + REPLY_BYTES;
        if self.arena.capacity() < longest {
            self.arena = BytesMut::with_capacity(CHUNK.max(longest));
        }
    }

    fn carve(&mut self) -> Subject {
        let bytes: Bytes = self.arena.split().freeze();
        Subject::try_from(bytes).unwrap_or_else(|_| Subject::from_static("invalid"))
    }

    /// Reads back what a reply subject was made from; `None`: none of ours.
    pub(super) fn read(&self, subject: &str) -> Option<Asked> {
        let rest = subject.strip_prefix(self.inbox.as_str())?;
        if let Some(token) = rest.strip_prefix("t.") {
            return token.parse().ok().map(Asked::Token);
        }
        let mut parts = rest.strip_prefix(self.run.as_str())?.strip_prefix('-')?.split('.');
        let batch = parts.next()?.parse().ok()?;
        let seq = parts.nth(2)?.parse().ok()?;
        Some(Asked::Batch { batch, seq })
    }
}

/// The message id: instrument id, venue's trade id and venue's time, so that it is the same from every instance and
/// another one when a venue counts anew. A packed message adds how many records it holds.
pub(super) fn message_id(payload: &[u8], out: &mut String) {
    out.clear();
    let Some(Ok(record)) = payload.get(..RECORD_BYTES).map(Record::from_bytes) else { return };
    // Writing to a String cannot fail.
    let _ = match record {
        Record::Trade(trade) => {
            write!(out, "{:08x}-{}-{}", trade.instrument_id, trade.trade_id, trade.ts_event / 1_000_000)
        }
        Record::Gap(gap) => write!(
            out,
            "{:08x}-g{}-{}-{}-{}-{}",
            gap.instrument_id,
            gap.ts_start / 1_000_000,
            gap.ts_end / 1_000_000,
            gap.first_id,
            gap.last_id,
            gap.flags
        ),
    };
    if payload.len() > RECORD_BYTES {
        let _ = write!(out, "-{}", payload.len() / RECORD_BYTES);
    }
}

/// Every answer that a publish may get: an acknowledgement, an error, a word about a batch.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    msgs: u64,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ErrorBody>,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// What an answer means. `status` is that of a message without responders.
///
/// # Errors
/// A text for the log when the answer cannot be understood.
pub(super) fn answer(asked: Asked, status: Option<u16>, payload: &[u8]) -> Result<Answer, String> {
    let at = match asked {
        Asked::Token(token) => RefusedAt::Token(token),
        Asked::Batch { batch, seq } => RefusedAt::Batch { batch, seq },
    };
    if let Some(status) = status {
        let refusal = match status {
            503 => Refusal::NoStream,
            code => Refusal::Other { code: u64::from(code), text: "status".to_owned() },
        };
        return Ok(Answer::Refused { at, refusal });
    }
    let body: Body = serde_json::from_slice(payload)
        .map_err(|error| format!("{error} in {:?}", String::from_utf8_lossy(payload.get(..200).unwrap_or(payload))))?;
    if let Some(error) = &body.error {
        // A word about a batch names the message that it is about; an error of the publish itself is about that one.
        let at = match asked {
            Asked::Batch { batch, .. } if !body.kind.is_empty() => RefusedAt::Batch { batch, seq: body.seq },
            _ => at,
        };
        return Ok(Answer::Refused { at, refusal: refusal(error) });
    }
    Ok(match (asked, body.kind.as_str()) {
        (Asked::Batch { batch, .. }, "ack") => {
            Answer::Flow { batch, seq: body.seq, msgs: u16::try_from(body.msgs).unwrap_or(u16::MAX) }
        }
        // A word on the way; what the batch came to follows.
        (_, "gap" | "err") => {
            let text = format!("{} in a batch", body.kind);
            Answer::Refused { at, refusal: Refusal::Other { code: 0, text } }
        }
        (Asked::Batch { .. }, "") if body.count == 0 => Answer::Refused { at, refusal: Refusal::BatchLost },
        (Asked::Batch { batch, .. }, "") => {
            Answer::Closed { batch, seq: body.seq, count: body.count, duplicate: body.duplicate }
        }
        (Asked::Token(token), "") => Answer::Stored { token, seq: body.seq, duplicate: body.duplicate },
        (_, other) => return Err(format!("answer of unknown type {other:?}")),
    })
}

/// What an error of the server means for the window.
fn refusal(error: &ErrorBody) -> Refusal {
    match (error.err_code, error.code) {
        (10_071 | 10_164 | 10_070 | 10_193, _) => Refusal::WrongSequence,
        (10_208, _) => Refusal::BatchLost,
        (10_205, _) => Refusal::BatchDisabled,
        (10_158, _) => Refusal::InProcess,
        (10_167, _) | (_, 429) => Refusal::TooMany,
        (10_077 | 10_047 | 10_023 | 10_122 | 10_083, _) => Refusal::Full { text: error.description.clone() },
        (10_054 | 10_097, _) => Refusal::TooLarge,
        (10_059, _) => Refusal::NoStream,
        (code, _) => Refusal::Other { code, text: error.description.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::trade::{KIND_TRADE_V1, TradeMsg};

    fn replies() -> Replies {
        Replies::new("_INBOX.abc", "RUN")
    }

    #[test]
    fn reply_subjects_are_read_back() {
        let mut replies = replies();
        let subject = replies.subject(Reply::Batch { batch: 7, flow: 62, seq: 1_000_000, op: BatchOp::Append });
        assert_eq!(subject.as_str(), "_INBOX.abc.RUN-7.62.fail.1000000.1.$FI");
        assert_eq!(replies.read(&subject), Some(Asked::Batch { batch: 7, seq: 1_000_000 }));
        let subject = replies.subject(Reply::Token(1 << 40));
        assert_eq!(replies.read(&subject), Some(Asked::Token(1 << 40)));
        for foreign in ["_INBOX.abd.t.1", "_INBOX.abc.t.-1", "_INBOX.abc.OTHER-7.62.fail.1.0.$FI", "_INBOX.abc.RUN-x"] {
            assert_eq!(replies.read(foreign), None, "{foreign}");
        }
        for seq in 0..5_000 {
            let subject = replies.batch(u64::MAX, 500, seq, BatchOp::Start);
            assert_eq!(replies.read(&subject), Some(Asked::Batch { batch: u64::MAX, seq }));
        }
    }

    #[test]
    fn answers_of_a_server_are_understood() {
        let batch = Asked::Batch { batch: 3, seq: 9 };
        let token = Asked::Token(5);
        let of = |asked, text: &str| answer(asked, None, text.as_bytes()).unwrap();
        let ack = r#"{"stream":"S","seq":12,"duplicate":true}"#;
        assert_eq!(of(token, ack), Answer::Stored { token: 5, seq: 12, duplicate: true });
        let flow = r#"{"type":"ack","seq":64,"msgs":62}"#;
        assert_eq!(of(batch, flow), Answer::Flow { batch: 3, seq: 64, msgs: 62 });
        let closed = r#"{"stream":"S","seq":90,"batch":"RUN-3","count":64}"#;
        assert_eq!(of(batch, closed), Answer::Closed { batch: 3, seq: 90, count: 64, duplicate: false });
        let gap = r#"{"type":"gap","last_seq":3,"seq":5}"#;
        let at = RefusedAt::Batch { batch: 3, seq: 9 };
        let word = Refusal::Other { code: 0, text: "gap in a batch".to_owned() };
        assert_eq!(of(batch, gap), Answer::Refused { at, refusal: word });
        let nothing = r#"{"stream":"S","seq":0,"batch":"RUN-3","count":0}"#;
        assert_eq!(of(batch, nothing), Answer::Refused { at, refusal: Refusal::BatchLost });
        let wrong = r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"seq":0}"#;
        assert_eq!(of(batch, wrong), Answer::Refused { at, refusal: Refusal::WrongSequence });
        assert_eq!(of(token, wrong), Answer::Refused { at: RefusedAt::Token(5), refusal: Refusal::WrongSequence });
        let none = answer(token, Some(503), b"").unwrap();
        assert_eq!(none, Answer::Refused { at: RefusedAt::Token(5), refusal: Refusal::NoStream });
        assert!(answer(token, None, b"<html>").is_err());
        assert!(answer(token, None, br#"{"type":"new"}"#).is_err());
    }

    #[test]
    fn message_ids_tell_trades_apart_and_are_short() {
        let trade = TradeMsg {
            trade_id: 42,
            ts_event: 1_700_000_000_123_456_789,
            instrument_id: 0xAB,
            kind: KIND_TRADE_V1,
            ..bytemuck::Zeroable::zeroed()
        };
        let mut id = String::new();
        message_id(trade.as_bytes(), &mut id);
        assert_eq!(id, "000000ab-42-1700000000123");
        let two = [*trade.as_bytes(), *trade.as_bytes()].concat();
        message_id(&two, &mut id);
        assert_eq!(id, "000000ab-42-1700000000123-2");
        message_id(b"short", &mut id);
        assert_eq!(id, "");
    }

    #[test]
    fn message_ids_are_those_of_the_document() {
        let document = include_str!("../../../docs/trade-msg.md");
        let mut id = String::new();
        for block in document.split("```hex\n").skip(1) {
            let (hex, rest) = block.split_once("```").unwrap();
            let bytes: Vec<u8> = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            message_id(&bytes, &mut id);
            assert!(rest.contains(&format!("Its message id is\n`{id}`.")), "{id}");
        }
    }
}
