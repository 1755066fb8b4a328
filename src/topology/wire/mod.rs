//! The server's words: a stream and a consumer as the JSON of its API, and how two of them are compared.
//!
//! What has its default value is left out of what is sent: an older server refuses what it does not know. No IO.

mod consumer;
mod stream;

use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

pub use self::consumer::{CONSUMER_KEYS, consumer};
pub use self::stream::{STREAM_KEYS, stream};
use crate::config::Span;

/// What the server takes when nothing is said.
const DUPLICATES: Span = Span::secs(120);
const ACK_WAIT: Span = Span::secs(30);
const MAX_WAITING: u64 = 512;
const MAX_ACK_PENDING: u64 = 1_000;
const PINNED_TTL: Span = Span::secs(120);

/// Version of a server.
pub type Version = (u32, u32, u32);

/// A server that knows everything.
pub const NEWEST: Version = (u32::MAX, 0, 0);

/// What older servers do not know: the key, and the version that brought it.
const NEWER: [(&str, (u32, u32)); 11] = [
    ("allow_msg_ttl", (2, 11)),
    ("subject_delete_marker_ttl", (2, 11)),
    ("priority_policy", (2, 11)),
    ("priority_groups", (2, 11)),
    ("priority_timeout", (2, 11)),
    ("allow_atomic", (2, 12)),
    ("allow_msg_counter", (2, 12)),
    ("allow_msg_schedules", (2, 12)),
    ("persist_mode", (2, 12)),
    ("mirror_direct", (2, 9)),
    ("allow_batched", (2, 14)),
];

/// The version in a server's greeting, such as `2.12.8` or `2.15.0-RC.1`.
#[must_use]
pub fn version(text: &str) -> Version {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Since when servers know a key; `None` where all do.
#[must_use]
pub fn since(key: &str) -> Option<(u32, u32)> {
    NEWER.iter().find(|(newer, _)| *newer == key).map(|(_, since)| *since)
}

/// Takes out what a server of this version does not know, and names it.
pub(super) fn leave_out(config: &mut Map<String, Value>, version: Version) -> Vec<String> {
    let unknown = |key: &str| since(key).is_some_and(|since| (version.0, version.1) < since);
    let left: Vec<String> = config.keys().filter(|key| unknown(key)).cloned().collect();
    left.iter().for_each(|key| drop(config.remove(key)));
    left
}

/// A value as it is compared: `None` where it is the server's default, without what the server adds of its own.
#[must_use]
pub fn normal(key: &str, config: &Map<String, Value>) -> Option<Value> {
    let value = match key {
        // One filter has a key of its own.
        "filter_subjects" => match (config.get("filter_subject"), config.get(key)) {
            (Some(Value::String(one)), _) if !one.is_empty() => Some(json!([one])),
            (_, many) => many.cloned(),
        },
        _ => config.get(key).cloned(),
    };
    let value = match value? {
        // Here it is a value: no bound, where nothing would be the server's default.
        value if key == "max_ack_pending" && value == -1 => value,
        value => clean(value)?,
    };
    let is_default = match key {
        "compression" => value == "none",
        "persist_mode" => value == "default",
        "priority_policy" => value == "none",
        _ => false,
    };
    if is_default {
        return None;
    }
    Some(match (key, value) {
        ("subjects" | "filter_subjects" | "priority_groups", Value::Array(mut list)) => {
            list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            list.into()
        }
        ("metadata", Value::Object(mut map)) => {
            // What the server notes for itself.
            map.retain(|key, _| !key.starts_with("_nats."));
            if map.is_empty() {
                return None;
            }
            map.into()
        }
        (_, value) => value,
    })
}

/// Whether a value that nobody declared is what the server took by itself.
#[must_use]
pub fn is_servers_own(key: &str, wanted: &Map<String, Value>, found: &Map<String, Value>) -> bool {
    let number = |config: &Map<String, Value>, key: &str| config.get(key).and_then(Value::as_u64).unwrap_or(0);
    let value = number(found, key);
    match key {
        // Two minutes, or the age of messages where that is less: the one that it had, or the one that it is to have.
        "duplicate_window" => [wanted, found].into_iter().any(|config| {
            let age = number(config, "max_age");
            value == if age == 0 { nanos(DUPLICATES) } else { age.min(nanos(DUPLICATES)) }
        }),
        "ack_wait" => {
            let first = found.get("backoff").and_then(|list| list.get(0)).and_then(Value::as_u64);
            value == first.unwrap_or_else(|| nanos(ACK_WAIT))
        }
        "max_ack_pending" => value == MAX_ACK_PENDING,
        // It is never changed.
        "max_waiting" => value <= MAX_WAITING,
        "priority_timeout" => value == nanos(PINNED_TTL),
        // The server takes it from the stream that is mirrored.
        "mirror_direct" => wanted.get("mirror").is_some_and(|mirror| mirror.get("external").is_none()),
        _ => false,
    }
}

/// A value without what means nothing: nulls, empty texts and lists, zeros, `false`, and -1 for no bound.
fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
        Value::Number(number) => (!matches!(number.as_i64(), Some(0 | -1))).then_some(Value::Number(number)),
        Value::Array(list) => {
            let list: Vec<Value> = list.into_iter().filter_map(clean).collect();
            (!list.is_empty()).then_some(list.into())
        }
        Value::Object(map) => {
            let map: Map<String, Value> =
                map.into_iter().filter_map(|(key, value)| Some((key, clean(value)?))).collect();
            (!map.is_empty()).then_some(map.into())
        }
        value => Some(value),
    }
}

/// What is sent to change `found` into `wanted`: what we do not know of stays as it is.
pub(super) fn over(found: &Map<String, Value>, wanted: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    let mut body = found.clone();
    for key in keys {
        body.remove(*key);
    }
    body.remove("filter_subject");
    // The server takes its default for what is left out, and does not change this one.
    if let Some(waiting) = found.get("max_waiting") {
        body.insert("max_waiting".to_owned(), waiting.clone());
    }
    // Newer servers take none for a stream that copies, and what it has would go.
    let window = found.get("duplicate_window").filter(|_| wanted.contains_key("sources"));
    // One that came from the age that it had is no more its own then.
    let own = wanted.get("max_age").and_then(Value::as_u64).unwrap_or(u64::MAX).min(nanos(DUPLICATES));
    if let Some(window) = window.filter(|window| window.as_u64() == Some(own)) {
        body.insert("duplicate_window".to_owned(), window.clone());
    }
    body.extend(wanted.clone());
    body
}

/// A map of what is no default.
struct Fields(Map<String, Value>);

impl Fields {
    fn new() -> Self {
        Self(Map::new())
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(value) = clean(value.into()) {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// Such as an enum, in the words that it is written with.
    fn put_as<T: serde::Serialize>(&mut self, key: &str, value: T) {
        self.put(key, serde_json::to_value(value).unwrap_or_default());
    }

    /// A time, as the server writes it.
    fn put_time(&mut self, key: &str, text: &str) {
        self.put(key, time(text));
    }

    fn put_span(&mut self, key: &str, span: Span) {
        self.put(key, nanos(span));
    }
}

/// A time as the server writes it; one that is none stays as it is.
fn time(text: &str) -> String {
    let parsed = OffsetDateTime::parse(text, &Rfc3339);
    parsed.ok().and_then(|time| time.to_offset(UtcOffset::UTC).format(&Rfc3339).ok()).unwrap_or_else(|| text.to_owned())
}

/// Nanoseconds, which is how the server writes times.
fn nanos(span: Span) -> u64 {
    u64::try_from(span.duration().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::model::{Bucket, Consumer, Stream};

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_plain_stream_is_sent_without_defaults() {
        let plain = Stream { subjects: vec!["a.>".to_owned()], ..Stream::default() };
        let sent = Value::from(stream("A", &plain));
        assert_eq!(
            sent,
            json!({"name": "A", "subjects": ["a.>"], "storage": "file", "retention": "limits", "discard": "old",
                "num_replicas": 1})
        );
    }

    #[test]
    fn a_bucket_is_the_stream_that_clients_make() {
        let bucket = Bucket { ttl: Span::secs(60), history: 5, ..Bucket::default() };
        let sent = stream("KV_b", &bucket.as_stream("b"));
        for (key, value) in [
            ("max_msgs_per_subject", json!(5)),
            ("max_age", json!(60_000_000_000_u64)),
            ("allow_rollup_hdrs", json!(true)),
            ("deny_delete", json!(true)),
            ("allow_direct", json!(true)),
            ("discard", json!("new")),
            ("subjects", json!(["$KV.b.>"])),
        ] {
            assert_eq!(sent.get(key), Some(&value), "{key}");
        }
    }

    #[test]
    fn what_a_server_adds_is_no_difference() {
        let ours = stream("A", &Stream { subjects: vec!["b".to_owned(), "a".to_owned()], ..Stream::default() });
        let theirs = map(json!({"name": "A", "subjects": ["a", "b"], "storage": "file", "retention": "limits",
            "discard": "old", "num_replicas": 1, "duplicate_window": 120_000_000_000_u64, "max_msgs": -1,
            "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "max_consumers": -1,
            "compression": "none", "allow_direct": false, "sealed": false, "consumer_limits": {},
            "metadata": {"_nats.level": "1", "_nats.ver": "2.15.1"}, "persist_mode": "default"}));
        assert_eq!(crate::topology::change::of_stream(&ours, &theirs, (2, 15, 1)), []);
    }

    #[test]
    fn one_filter_and_several_are_compared_alike() {
        let one = Consumer { filters: vec!["a.>".to_owned()], ..Consumer::default() };
        let sent = consumer("c", &one, &Stream::default());
        assert_eq!(sent.get("filter_subject"), Some(&json!("a.>")));
        assert_eq!(normal("filter_subjects", &sent), Some(json!(["a.>"])));
        let many = map(json!({"filter_subjects": ["b", "a"]}));
        assert_eq!(normal("filter_subjects", &many), Some(json!(["a", "b"])));
    }

    #[test]
    fn a_time_is_sent_as_the_server_writes_it() {
        assert_eq!(time("2026-01-31T08:00:00.500+01:00"), "2026-01-31T07:00:00.5Z");
        assert_eq!(time("2026-01-31T08:00:00.000Z"), "2026-01-31T08:00:00Z");
    }

    #[test]
    fn no_bound_is_not_the_servers_default() {
        let consumer = |count| Consumer { max_ack_pending: count, ..Consumer::default() };
        let sent = |count| super::consumer("c", &consumer(count), &Stream::default()).get("max_ack_pending").cloned();
        assert_eq!((sent(0), sent(-1), sent(5)), (None, Some(json!(-1)), Some(json!(5))));
        let found = map(json!({"max_ack_pending": 1_000}));
        assert!(is_servers_own("max_ack_pending", &Map::new(), &found));
        assert_eq!(normal("max_ack_pending", &map(json!({"max_ack_pending": -1}))), Some(json!(-1)));
    }

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(version("2.12.8"), (2, 12, 8));
        assert_eq!(version("2.15.0-RC.1"), (2, 15, 0));
        let mut config = map(json!({"name": "A", "allow_batched": true, "allow_atomic": true}));
        assert_eq!(leave_out(&mut config, (2, 12, 8)), ["allow_batched"]);
        assert!(config.contains_key("allow_atomic") && !config.contains_key("allow_batched"));
    }

    #[test]
    fn a_change_leaves_what_we_do_not_know() {
        let found = map(json!({"name": "A", "max_msgs": 5, "first_seq": 7, "of_the_future": {"a": 1}}));
        let wanted = map(json!({"name": "A", "storage": "file"}));
        let body = over(&found, &wanted, &STREAM_KEYS);
        assert_eq!(
            Value::from(body),
            json!({"name": "A", "storage": "file", "first_seq": 7, "of_the_future": {"a": 1}})
        );
        // A window that nobody declares is kept where the server would take none.
        let (window, other) = (nanos(DUPLICATES), nanos(DUPLICATES) / 2);
        let kept = |window, wanted| {
            let body = over(&map(json!({"duplicate_window": window})), &map(wanted), &STREAM_KEYS);
            body.get("duplicate_window").cloned()
        };
        assert_eq!(kept(window, json!({"sources": [{"name": "O"}]})), Some(json!(window)));
        assert_eq!(kept(window, json!({"sources": [{"name": "O"}], "max_age": other})), None);
        assert_eq!((kept(other, json!({"sources": [{"name": "O"}]})), kept(window, json!({}))), (None, None));
    }
}
