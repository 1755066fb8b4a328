//! Breaks frames: a good frame of a trade in, a bad one out. It works on the text, as any venue writes it.
//!
//! It knows no venue but for the names of four fields, and sends nothing.

use std::ops::Range;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Damage, WireTime};

/// How far ahead [`WireTime::Future`] is.
const AHEAD: Duration = Duration::from_secs(3_600);
/// How deep [`Damage::Nested`] is.
const DEPTH: usize = 1_000;

/// How a venue names the fields of a trade.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Keys {
    pub(in crate::sim) price: &'static str,
    pub(in crate::sim) size: &'static str,
    pub(in crate::sim) time: &'static str,
}

/// A frame in a broken form.
pub(in crate::sim) fn broken(frame: &str, keys: &Keys, damage: Damage) -> Message {
    let price = |value: &str| with_value(frame, keys.price, |_| value.to_owned());
    // A value keeps its quotes, if it had some.
    let inside = |key, new: &dyn Fn(&str) -> String| {
        with_value(frame, key, |old| match old.strip_prefix('"').and_then(|old| old.strip_suffix('"')) {
            Some(text) => format!("\"{}\"", new(text)),
            None => new(old),
        })
    };
    Message::text(match damage {
        Damage::Truncated => half(frame).to_owned(),
        Damage::WrongType => price("[1]"),
        Damage::NotANumber => inside(keys.price, &|_| "NaN".to_owned()),
        Damage::TooLarge => inside(keys.price, &|_| "1e400".to_owned()),
        Damage::Negative => inside(keys.size, &|old| format!("-{old}")),
        Damage::MissingField => frame.replacen(&format!("\"{}\"", keys.price), "\"nothing\"", 1),
        Damage::Nested => price(&format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH))),
        Damage::BadUtf8 => {
            let mut bytes = frame.as_bytes().to_vec();
            let at = value(frame, keys.price).map_or(bytes.len() / 2, |range| range.start + 1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = 0xFF;
            }
            return Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true));
        }
        Damage::Binary => return Message::binary(frame.as_bytes().to_vec()),
    })
}

/// The frame with another size: the same trade, told in another way.
pub(in crate::sim) fn conflicting(frame: &str, keys: &Keys) -> String {
    with_value(frame, keys.size, |old| {
        let Some(at) = old.rfind(|c: char| c.is_ascii_digit()) else { return old.to_owned() };
        let mut new = old.to_owned();
        // Never to zero: a trade of nothing would be another fault.
        let digit = match old.as_bytes().get(at) {
            Some(b'9') | None => "8".to_owned(),
            Some(digit) => char::from(digit + 1).to_string(),
        };
        new.replace_range(at..=at, &digit);
        new
    })
}

/// The frame with another venue time; `ts` is the true one, nanoseconds since the Unix epoch.
pub(in crate::sim) fn retimed(frame: &str, keys: &Keys, ts: u64, time: WireTime) -> String {
    with_value(frame, keys.time, |old| {
        let (quote, text) = match old.strip_prefix('"') {
            Some(rest) => ("\"", rest.trim_end_matches('"')),
            None => ("", old),
        };
        let ahead = ts.saturating_add(u64::try_from(AHEAD.as_nanos()).unwrap_or(u64::MAX));
        // Nanoseconds in a unit of the venue's numbers; `None` where it writes dates.
        let unit = text
            .parse()
            .ok()
            .and_then(|number: u64| [1, 1_000, 1_000_000, 1_000_000_000].into_iter().find(|unit| ts / unit == number));
        let new = match (time, unit) {
            (WireTime::Zero, Some(_)) => "0".to_owned(),
            (WireTime::Future, Some(unit)) => (ahead / unit).to_string(),
            (WireTime::Zero, None) => date(0),
            (WireTime::Future, None) => date(ahead),
            (WireTime::Seconds, _) => (ts / 1_000_000_000).to_string(),
            (WireTime::Micros, _) => (ts / 1_000).to_string(),
        };
        format!("{quote}{new}{quote}")
    })
}

/// JSON that is no trade, of this many bytes.
pub(in crate::sim) fn huge(bytes: usize) -> String {
    let (start, end) = (r#"{"noise":""#, r#""}"#);
    let mut text = String::with_capacity(bytes);
    text.push_str(start);
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(start.len() + end.len())));
    text.push_str(end);
    text
}

/// The first half of a text.
pub(in crate::sim) fn half(text: &str) -> &str {
    let mut end = text.len() / 2;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn date(ns: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // Years beyond 9999 have no such form, and no clock shows one.
    time.format(&Rfc3339).unwrap_or_default()
}

/// The frame with the value of a key replaced; as it was where the key is not there.
fn with_value(frame: &str, key: &str, new: impl FnOnce(&str) -> String) -> String {
    let mut changed = frame.to_owned();
    if let Some(range) = value(frame, key) {
        let new = new(frame.get(range.clone()).unwrap_or_default());
        changed.replace_range(range, &new);
    }
    changed
}

/// Where the value of a key stands, quotes included. Values of trades are texts without escapes, or numbers.
fn value(frame: &str, key: &str) -> Option<Range<usize>> {
    let name = format!("\"{key}\":");
    let behind = frame.find(&name)? + name.len();
    let rest = frame.get(behind..)?;
    let start = behind + rest.len() - rest.trim_start().len();
    let rest = frame.get(start..)?;
    let length = match rest.strip_prefix('"') {
        Some(text) => text.find('"')? + 2,
        None => rest.find([',', '}', ']'])?,
    };
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const KEYS: Keys = Keys { price: "p", size: "q", time: "T" };
    const FRAME: &str = r#"{"e":"trade","t":7,"p":"61837.63","q":"0.29","T":1723161255342,"m":true}"#;
    const TS: u64 = 1_723_161_255_342_000_000;

    #[test]
    fn every_damage_is_what_it_says() {
        let text = |damage| broken(FRAME, &KEYS, damage).into_text().unwrap().to_string();
        let json = |damage| serde_json::from_str::<Value>(&text(damage)).unwrap();
        assert!(serde_json::from_str::<Value>(&text(Damage::Truncated)).is_err());
        assert_eq!(json(Damage::WrongType)["p"], serde_json::json!([1]));
        assert_eq!(json(Damage::NotANumber)["p"], "NaN");
        assert_eq!(json(Damage::TooLarge)["p"], "1e400");
        assert_eq!(json(Damage::Negative)["q"], "-0.29");
        assert_eq!(json(Damage::MissingField).get("p"), None);
        assert_eq!(text(Damage::Nested).matches('[').count(), DEPTH);
        assert_eq!(broken(FRAME, &KEYS, Damage::Binary), Message::binary(FRAME.as_bytes().to_vec()));
        let Message::Frame(frame) = broken(FRAME, &KEYS, Damage::BadUtf8) else { panic!("no frame") };
        assert!(std::str::from_utf8(frame.payload()).is_err());
    }

    #[test]
    fn a_conflict_changes_the_size_only_and_never_to_zero() {
        assert_eq!(conflicting(FRAME, &KEYS), FRAME.replace("0.29", "0.28"));
        assert_eq!(conflicting(r#"{"q":"1.0"}"#, &KEYS), r#"{"q":"1.1"}"#);
        assert_eq!(conflicting(r#"{"p":"1"}"#, &KEYS), r#"{"p":"1"}"#);
    }

    #[test]
    fn times_keep_the_form_of_the_venue() {
        let told = |time| value_of(&retimed(FRAME, &KEYS, TS, time));
        assert_eq!(told(WireTime::Zero), "0");
        assert_eq!(told(WireTime::Future), (1_723_161_255_342_u64 + 3_600_000).to_string());
        assert_eq!(told(WireTime::Seconds), "1723161255");
        assert_eq!(told(WireTime::Micros), "1723161255342000");
        let quoted = FRAME.replace("1723161255342", "\"1723161255342\"");
        assert_eq!(value_of(&retimed(&quoted, &KEYS, TS, WireTime::Zero)), "\"0\"");
        let dated = FRAME.replace("1723161255342", "\"2024-08-08T23:54:15.342Z\"");
        assert_eq!(value_of(&retimed(&dated, &KEYS, TS, WireTime::Zero)), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(value_of(&retimed(&dated, &KEYS, TS, WireTime::Future)), "\"2024-08-09T00:54:15.342Z\"");
    }

    fn value_of(frame: &str) -> String {
        frame.get(value(frame, "T").unwrap()).unwrap().to_owned()
    }

    #[test]
    fn a_huge_frame_has_exactly_its_size() {
        let frame = huge(2_048);
        assert!(frame.len() == 2_048 && serde_json::from_str::<Value>(&frame).is_ok());
    }
}
