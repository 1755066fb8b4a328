//! How faults are spelled: `close exchange=binance which=newest code=1012`. What is written can be read back.
//!
//! One spelling for plan files, the command line and the log. It does nothing to a venue.

use std::fmt;
use std::time::Duration;

use super::keys::{Keys, count_text, quoted};
use super::{AckFault, Damage, Fault, RestFault, Which, WireTime};
use crate::sim::config::SimError;

/// Every kind of fault by its name.
pub(in crate::sim) const KINDS: [&str; 24] = [
    "drop",
    "hang_up",
    "close",
    "shutdown",
    "stall",
    "half_open",
    "resume",
    "duplicate",
    "replay",
    "withhold",
    "delay",
    "skip_ids",
    "restart_ids",
    "conflict",
    "retime",
    "spoil",
    "huge",
    "send",
    "burst",
    "ack",
    "refuse_symbol",
    "refuse_upgrade",
    "refuse_rest",
    "rest",
];

pub(in crate::sim) const WHICH: [(&str, Which); 3] =
    [("all", Which::All), ("oldest", Which::Oldest), ("newest", Which::Newest)];
pub(in crate::sim) const DAMAGES: [(&str, Damage); 9] = [
    ("truncated", Damage::Truncated),
    ("wrong_type", Damage::WrongType),
    ("nan", Damage::NotANumber),
    ("too_large", Damage::TooLarge),
    ("negative", Damage::Negative),
    ("missing_field", Damage::MissingField),
    ("nested", Damage::Nested),
    ("bad_utf8", Damage::BadUtf8),
    ("binary", Damage::Binary),
];
pub(in crate::sim) const TIMES: [(&str, WireTime); 4] = [
    ("zero", WireTime::Zero),
    ("future", WireTime::Future),
    ("seconds", WireTime::Seconds),
    ("micros", WireTime::Micros),
];
pub(in crate::sim) const ACKS: [(&str, u8); 4] = [("missing", 0), ("late", 1), ("wrong", 2), ("other_symbol", 3)];
const ANSWERS: [(&str, u8); 4] = [("slow", 0), ("empty", 1), ("short", 2), ("broken", 3)];

const SECOND: Duration = Duration::from_secs(1);

impl Fault {
    /// The names of all kinds of faults, as a plan spells them.
    #[must_use]
    pub const fn kinds() -> &'static [&'static str] {
        &KINDS
    }

    /// Reads a fault. Without an exchange or a symbol it is for every one: these are empty then, for the plan to fill.
    pub(in crate::sim) fn read(kind: &str, keys: &mut Keys) -> Result<Self, SimError> {
        let exchange = keys.text("exchange", "");
        let fault = match Self::read_of_connections(kind, &exchange, keys)? {
            Some(fault) => fault,
            None => match Self::read_of_trades(kind, &exchange, keys)? {
                Some(fault) => fault,
                None => Self::read_of_answers(kind, exchange, keys)?,
            },
        };
        Ok(fault)
    }

    fn read_of_connections(kind: &str, exchange: &str, keys: &mut Keys) -> Result<Option<Self>, SimError> {
        let exchange = exchange.to_owned();
        if kind == "resume" {
            return Ok(Some(Self::Resume { exchange }));
        }
        if !["drop", "hang_up", "close", "shutdown", "stall", "half_open", "huge", "send"].contains(&kind) {
            return Ok(None);
        }
        let which = keys.choice("which", Which::All, &WHICH)?;
        Ok(Some(match kind {
            "drop" => Self::Drop { exchange, which },
            "hang_up" => Self::HangUp { exchange, which },
            "close" => {
                let (code, reason) = (keys.number("code", 1001)?, keys.text("reason", ""));
                Self::Close { exchange, which, code, reason }
            }
            "shutdown" => Self::Shutdown { exchange, which, grace: keys.duration("grace", SECOND)? },
            "stall" => Self::Stall { exchange, which },
            "half_open" => Self::HalfOpen { exchange, which },
            "huge" => Self::Huge { exchange, which, bytes: keys.bytes("bytes", 16 << 20)? },
            _ => Self::Send { exchange, which, text: keys.text("text", r#"{"noise":true}"#) },
        }))
    }

    fn read_of_trades(kind: &str, exchange: &str, keys: &mut Keys) -> Result<Option<Self>, SimError> {
        let exchange = exchange.to_owned();
        Ok(Some(match kind {
            "burst" => {
                let (factor, lasting) = (keys.number("factor", 100)?, keys.duration("lasting", SECOND)?);
                Self::Burst { exchange, factor, lasting }
            }
            "restart_ids" => Self::RestartIds { exchange, symbol: keys.some_text("symbol") },
            "duplicate" => {
                Self::Duplicate { exchange, symbol: keys.text("symbol", ""), count: keys.count("count", 1)? }
            }
            "skip_ids" => Self::SkipIds { exchange, symbol: keys.text("symbol", ""), count: keys.count("count", 1)? },
            "withhold" | "replay" | "delay" | "conflict" | "retime" | "spoil" => {
                let symbol = keys.some_text("symbol");
                let which = keys.choice("which", Which::All, &WHICH)?;
                let count = keys.count("count", if kind == "replay" { 1_000 } else { 1 })?;
                match kind {
                    "withhold" => Self::Withhold { exchange, symbol: symbol.unwrap_or_default(), count, which },
                    "replay" => Self::Replay { exchange, symbol, which, count },
                    "delay" => Self::Delay { exchange, symbol, which, by: keys.count("by", 1)?, count },
                    "conflict" => Self::Conflict { exchange, symbol, which, count },
                    "retime" => {
                        let time = keys.choice("how", WireTime::Zero, &TIMES)?;
                        Self::Retime { exchange, symbol, which, time, count }
                    }
                    _ => {
                        let damage = keys.choice("how", Damage::Truncated, &DAMAGES)?;
                        Self::Spoil { exchange, symbol, which, damage, count }
                    }
                }
            }
            _ => return Ok(None),
        }))
    }

    fn read_of_answers(kind: &str, exchange: String, keys: &mut Keys) -> Result<Self, SimError> {
        Ok(match kind {
            "refuse_symbol" => {
                Self::RefuseSymbol { exchange, symbol: keys.text("symbol", ""), times: keys.count("times", 1)? }
            }
            "refuse_upgrade" | "refuse_rest" => {
                let upgrade = kind == "refuse_upgrade";
                let status = keys.number("status", if upgrade { 503 } else { 429 })?;
                let (retry_after, times) = (keys.some_number("retry_after")?, keys.count("times", 1)?);
                if upgrade {
                    Self::RefuseUpgrade { exchange, status, retry_after, times }
                } else {
                    Self::RefuseRest { exchange, status, retry_after, times }
                }
            }
            "ack" => {
                let (symbol, times) = (keys.some_text("symbol"), keys.count("times", 1)?);
                let fault = match keys.choice("how", 0, &ACKS)? {
                    0 => AckFault::Missing,
                    1 => AckFault::Late(keys.duration("delay", 2 * SECOND)?),
                    2 => AckFault::Wrong,
                    _ => AckFault::OtherSymbol,
                };
                Self::Ack { exchange, symbol, fault, times }
            }
            "rest" => {
                let (symbol, times) = (keys.some_text("symbol"), keys.count("times", 1)?);
                let fault = match keys.choice("how", 0, &ANSWERS)? {
                    0 => RestFault::Slow(keys.duration("delay", 2 * SECOND)?),
                    1 => RestFault::Empty,
                    2 => RestFault::Short(keys.number("rows", 1)?),
                    _ => RestFault::Broken,
                };
                Self::Rest { exchange, symbol, fault, times }
            }
            unknown => return Err(keys.wrong(format!("no fault {unknown:?}; there are {}", KINDS.join(", ")))),
        })
    }

    /// Its kind, and its keys beside exchange and symbol.
    fn spelled(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let which = |which: &Which| ("which", name_of(&WHICH, which));
        let count = |count: &u64| ("count", count_text(*count));
        let times = |times: &u64| ("times", count_text(*times));
        let refusal = |status: &u16, retry_after: &Option<u64>, left: &u64| {
            let mut keys = vec![("status", status.to_string()), times(left)];
            keys.extend(retry_after.map(|seconds| ("retry_after", seconds.to_string())));
            keys
        };
        match self {
            Self::Drop { which: w, .. } => ("drop", vec![which(w)]),
            Self::HangUp { which: w, .. } => ("hang_up", vec![which(w)]),
            Self::Close { which: w, code, reason, .. } => {
                ("close", vec![which(w), ("code", code.to_string()), ("reason", reason.clone())])
            }
            Self::Shutdown { which: w, grace, .. } => ("shutdown", vec![which(w), ("grace", span(*grace))]),
            Self::Stall { which: w, .. } => ("stall", vec![which(w)]),
            Self::HalfOpen { which: w, .. } => ("half_open", vec![which(w)]),
            Self::Resume { .. } => ("resume", vec![]),
            Self::Duplicate { count: n, .. } => ("duplicate", vec![count(n)]),
            Self::Replay { which: w, count: n, .. } => ("replay", vec![which(w), count(n)]),
            Self::Withhold { which: w, count: n, .. } => ("withhold", vec![which(w), count(n)]),
            Self::Delay { which: w, by, count: n, .. } => ("delay", vec![which(w), ("by", count_text(*by)), count(n)]),
            Self::SkipIds { count: n, .. } => ("skip_ids", vec![count(n)]),
            Self::RestartIds { .. } => ("restart_ids", vec![]),
            Self::Conflict { which: w, count: n, .. } => ("conflict", vec![which(w), count(n)]),
            Self::Retime { which: w, time, count: n, .. } => {
                ("retime", vec![which(w), ("how", name_of(&TIMES, time)), count(n)])
            }
            Self::Spoil { which: w, damage, count: n, .. } => {
                ("spoil", vec![which(w), ("how", name_of(&DAMAGES, damage)), count(n)])
            }
            Self::Huge { which: w, bytes, .. } => ("huge", vec![which(w), ("bytes", bytes.to_string())]),
            Self::Send { which: w, text, .. } => ("send", vec![which(w), ("text", text.clone())]),
            Self::Burst { factor, lasting, .. } => {
                ("burst", vec![("factor", factor.to_string()), ("lasting", span(*lasting))])
            }
            Self::Ack { fault, times: n, .. } => ("ack", [fault.spelled(), vec![times(n)]].concat()),
            Self::RefuseSymbol { times: n, .. } => ("refuse_symbol", vec![times(n)]),
            Self::RefuseUpgrade { status, retry_after, times: n, .. } => {
                ("refuse_upgrade", refusal(status, retry_after, n))
            }
            Self::RefuseRest { status, retry_after, times: n, .. } => ("refuse_rest", refusal(status, retry_after, n)),
            Self::Rest { fault, times: n, .. } => ("rest", [fault.spelled(), vec![times(n)]].concat()),
        }
    }
}

impl AckFault {
    fn spelled(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Missing => vec![("how", "missing".to_owned())],
            Self::Late(delay) => vec![("how", "late".to_owned()), ("delay", span(*delay))],
            Self::Wrong => vec![("how", "wrong".to_owned())],
            Self::OtherSymbol => vec![("how", "other_symbol".to_owned())],
        }
    }
}

impl RestFault {
    fn spelled(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Slow(delay) => vec![("how", "slow".to_owned()), ("delay", span(*delay))],
            Self::Empty => vec![("how", "empty".to_owned())],
            Self::Short(rows) => vec![("how", "short".to_owned()), ("rows", rows.to_string())],
            Self::Broken => vec![("how", "broken".to_owned())],
        }
    }
}

impl fmt::Display for Fault {
    /// As `--fault` takes it, but for the time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, keys) = self.spelled();
        write!(f, "{kind} exchange={}", self.exchange())?;
        if let Some(symbol) = self.symbol() {
            write!(f, " symbol={symbol}")?;
        }
        keys.iter().try_for_each(|(name, value)| write!(f, " {name}={}", quoted(value)))
    }
}

fn name_of<T: PartialEq>(names: &[(&str, T)], value: &T) -> String {
    names.iter().find(|(_, one)| one == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

fn span(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Fault, SimError> {
        let mut keys = Keys::of_line("there", line)?;
        let kind = keys.text("kind", "");
        let fault = Fault::read(&kind, &mut keys)?;
        keys.finish(&kind).map(|()| fault)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let more = [
            "spoil exchange=okx symbol=BTCUSDT which=newest how=bad_utf8 count=7",
            "retime exchange=okx how=micros count=forever",
            "delay exchange=okx by=12 count=3",
            "ack exchange=okx how=late delay=90s",
            "ack exchange=okx symbol=BTCUSDT how=other_symbol times=forever",
            "rest exchange=okx how=short rows=3 times=2",
            "rest exchange=okx how=broken",
            "refuse_upgrade exchange=okx status=429 retry_after=3",
            "close exchange=okx code=4000 reason=\"going away\"",
            "huge exchange=okx bytes=2MiB",
            "send exchange=okx text=\"{\\\"a\\\": 1}\"",
        ];
        let usual = KINDS.iter().map(|kind| format!("{kind} exchange=okx"));
        for line in usual.chain(more.map(str::to_owned)) {
            let fault = read(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let written = fault.to_string();
            assert!(written.starts_with(line.split(' ').next().unwrap()), "{line} is written as {written}");
            assert_eq!(read(&written.replace("symbol= ", "")).unwrap(), fault, "{line}, {written}");
        }
    }

    #[test]
    fn what_is_no_fault_is_told_with_what_is() {
        let error = read("dropp exchange=okx").unwrap_err().to_string();
        assert!(error.contains("\"dropp\"") && error.contains("drop, hang_up"), "{error}");
        let error = read("drop exchange=okx code=1").unwrap_err().to_string();
        assert!(error.contains("code = \"1\": no such key; drop takes") && error.contains("which"), "{error}");
        let error = read("spoil exchange=okx how=badly").unwrap_err().to_string();
        assert!(error.contains("truncated, wrong_type"), "{error}");
    }
}
