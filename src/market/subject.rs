//! NATS subjects: `{prefix}.{exchange}.{symbol}.trades` and `.gaps`.
//!
//! In a token every byte outside `A-Z a-z 0-9 _ -` is written `%XX`; in a token of a KV key, which takes no `%`, `=XX`.

use std::fmt::Write as _;

/// What a subject carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// Trades only.
    Trades,
    /// Declared losses only.
    Gaps,
}

impl SubjectKind {
    /// The last token of the subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Gaps => "gaps",
        }
    }
}

/// The parts of a subject, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The exchange's token.
    pub exchange: String,
    /// The canonical symbol.
    pub symbol: String,
    /// What the subject carries.
    pub kind: SubjectKind,
}

/// The subject of an instrument.
///
/// # Examples
/// ```
/// use data_manager::market::subject::{SubjectKind, subject};
/// assert_eq!(subject("market", "binance", "BTCUSDT", SubjectKind::Trades), "market.binance.BTCUSDT.trades");
/// assert_eq!(subject("market", "binance", "A.B", SubjectKind::Gaps), "market.binance.A%2EB.gaps");
/// ```
#[must_use]
pub fn subject(prefix: &str, exchange: &str, symbol: &str, kind: SubjectKind) -> String {
    format!("{prefix}.{}.{}.{}", token(exchange), token(symbol), kind.as_str())
}

/// Escapes a text into one subject token.
#[must_use]
pub fn token(text: &str) -> String {
    escaped(text, '%')
}

/// Escapes a text into one token of a KV key: as [`token`], with `=XX`, since clients refuse a key with `%`.
///
/// # Examples
/// ```
/// use data_manager::market::subject::key_token;
/// assert_eq!(key_token("BTCUSDT-SWAP"), "BTCUSDT-SWAP");
/// assert_eq!(key_token("A.B"), "A=2EB");
/// ```
#[must_use]
pub fn key_token(text: &str) -> String {
    escaped(text, '=')
}

fn escaped(text: &str, mark: char) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "{mark}{byte:02X}");
        }
    }
    out
}

/// Reverses [`token`]; `None` where the escape is broken or the bytes are no UTF-8.
#[must_use]
pub fn untoken(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            bytes.push(hex(*high)? << 4 | hex(*low)?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Takes a subject apart; `None` when it is not one of ours under `prefix`.
#[must_use]
pub fn parse(prefix: &str, subject: &str) -> Option<Parts> {
    let mut tokens = subject.strip_prefix(prefix)?.strip_prefix('.')?.split('.');
    let exchange = untoken(tokens.next()?)?;
    let symbol = untoken(tokens.next()?)?;
    let kind = match tokens.next()? {
        "trades" => SubjectKind::Trades,
        "gaps" => SubjectKind::Gaps,
        _ => return None,
    };
    tokens.next().is_none().then_some(Parts { exchange, symbol, kind })
}

/// The subjects that a stream must capture for `prefix`: all trades and all gaps, or those of one exchange.
///
/// # Examples
/// ```
/// use data_manager::market::subject::stream_subjects;
/// assert_eq!(stream_subjects("market", None), ["market.*.*.trades", "market.*.*.gaps"]);
/// assert_eq!(stream_subjects("market", Some("okx")), ["market.okx.*.trades", "market.okx.*.gaps"]);
/// ```
#[must_use]
pub fn stream_subjects(prefix: &str, exchange: Option<&str>) -> Vec<String> {
    let exchange = exchange.map_or_else(|| "*".to_owned(), token);
    [SubjectKind::Trades, SubjectKind::Gaps].map(|kind| format!("{prefix}.{exchange}.*.{}", kind.as_str())).into()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
