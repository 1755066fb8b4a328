//! One difference between what is declared and what a server has, and what making it costs.
//!
//! The rules are the server's: what it changes in place, what loses messages, what it never changes. It does no IO.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::model::Retention;
use super::subject;
use super::wire::{CONSUMER_KEYS, STREAM_KEYS, Version, is_servers_own, normal};
use crate::config::{Bytes, Span};

/// Since when a mirror can become a stream of its own in place.
const PROMOTED: Version = (2, 12, 0);
/// Since when the bound of a stream's consumers can be changed in place.
const CONSUMERS_BOUNDED: Version = (2, 12, 5);
/// Since when messages can be given a life of their own in a stream that is there.
const TTL_ALLOWED: Version = (2, 11, 2);

/// What a server's own limits may bound below its default.
const LIMITED: [&str; 3] = ["duplicate_window", "max_ack_pending", "max_batch"];

/// What a change costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing that is stored is lost.
    Harmless,
    /// It may remove what is stored, or lessens what is kept of it.
    Destructive,
    /// The server does not change it in place.
    Impossible,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key, in the server's words.
    pub key: &'static str,
    /// What the server has, for people.
    pub from: String,
    /// What is declared, for people.
    pub to: String,
    /// What it costs.
    pub effect: Effect,
    /// Why it costs that, or what to do instead; empty where nothing is to be said.
    pub note: Cow<'static, str>,
}

impl Change {
    /// The difference alone, for who changes nothing: `max_age is 1day, configured 1h`.
    #[must_use]
    pub fn as_found(&self) -> String {
        format!("{} is {}, configured {}", self.key, self.from, self.to)
    }

    /// Whether from then on a stream keeps only what its consumers have still to read.
    #[must_use]
    pub fn is_for_consumers(&self) -> bool {
        self.key == "retention" && self.effect == Effect::Destructive
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.from, self.to)?;
        match (self.effect, &*self.note) {
            (Effect::Harmless, "") => Ok(()),
            (Effect::Harmless, note) => write!(f, "  ({note})"),
            (Effect::Destructive, note) => write!(f, "  (destructive: {note})"),
            (Effect::Impossible, note) => write!(f, "  (not in place: {note})"),
        }
    }
}

/// Where a stream differs; `wanted` and `found` in the words of the API, of a server of this version.
#[must_use]
pub fn of_stream(wanted: &Map<String, Value>, found: &Map<String, Value>, version: Version) -> Vec<Change> {
    differing(&STREAM_KEYS, wanted, found)
        .map(|(key, to, from)| {
            let (effect, note) = stream_effect(key, from.as_ref(), to.as_ref(), version);
            of(key, from.as_ref(), to.as_ref(), (effect, note))
        })
        .collect()
}

/// Where a consumer differs, of a stream with this retention.
#[must_use]
pub fn of_consumer(wanted: &Map<String, Value>, found: &Map<String, Value>, retention: Retention) -> Vec<Change> {
    // One that nothing remembers keeps the name until its reader is gone.
    let passing = (!found.is_empty() && !found.contains_key("durable_name")).then(|| Change {
        key: "durable_name",
        from: "none".to_owned(),
        to: shown("name", wanted.get("name")),
        effect: Effect::Impossible,
        note: "a consumer of this name is there that lives as long as its reader; wait until it is gone, or choose \
               another"
            .into(),
    });
    let is_push = |config: &Map<String, Value>| normal("deliver_subject", config).is_some();
    let turned = is_push(wanted) != is_push(found);
    differing(&CONSUMER_KEYS, wanted, found)
        .map(|(key, to, from)| {
            let (effect, note) = match consumer_effect(key, from.as_ref(), to.as_ref(), retention) {
                _ if turned && key == "deliver_subject" => {
                    (Effect::Impossible, "a pull consumer is none that pushes; declare it under another name")
                }
                effect => effect,
            };
            of(key, from.as_ref(), to.as_ref(), (effect, note))
        })
        .chain(passing)
        .collect()
}

fn of(key: &'static str, from: Option<&Value>, to: Option<&Value>, cost: (Effect, &'static str)) -> Change {
    let (effect, note) = match cost {
        // Nobody but the server's operator knows of such a limit, and what is lower may be somebody's mistake.
        (Effect::Harmless, "") if to.is_none() && LIMITED.contains(&key) => {
            (Effect::Harmless, "where the server's own limits allow no more, declare what they allow")
        }
        cost => cost,
    };
    Change { key, from: shown(key, from), to: shown(key, to), effect, note: note.into() }
}

fn differing<'a>(
    keys: &'a [&'static str],
    wanted: &'a Map<String, Value>,
    found: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'static str, Option<Value>, Option<Value>)> + 'a {
    keys.iter()
        .map(|key| (*key, normal(key, wanted), normal(key, found)))
        .filter(|(key, to, from)| to != from && !(to.is_none() && is_servers_own(key, wanted, found)))
}

fn stream_effect(key: &str, from: Option<&Value>, to: Option<&Value>, version: Version) -> (Effect, &'static str) {
    use Effect::{Destructive, Harmless, Impossible};
    const ANEW: &str = "back it up, delete it, apply again, and put back what is to be kept; or declare it under another \
                        name and source it from this one";
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    match key {
        "storage" | "persist_mode" | "allow_msg_counter" => (Impossible, ANEW),
        "max_consumers" if version < CONSUMERS_BOUNDED => (Impossible, ANEW),
        "max_consumers" if lower(from, to) => (Harmless, "those that are there stay; no new one until there is room"),
        "retention" if text(from) == "workqueue" || text(to) == "workqueue" => (Impossible, ANEW),
        "retention" if text(to) == "interest" => (Destructive, "what all consumers have acknowledged is removed"),
        "mirror" if from.is_none() || to.is_some() || version < PROMOTED => (Impossible, ANEW),
        "allow_msg_ttl" if version < TTL_ALLOWED => (Impossible, ANEW),
        "deny_delete" | "deny_purge" if to.is_none() => {
            (Impossible, "a denial is for ever; declare the stream under another name and source it from this one")
        }
        "allow_msg_ttl" | "allow_msg_schedules" if to.is_none() => {
            (Impossible, "it is never switched off; leave it on, or declare the stream under another name")
        }
        "max_msgs_per_subject" if lower(from, to) => {
            (Destructive, "what is beyond the lower bound is removed, by older servers with a subject's next message")
        }
        "max_age" | "max_bytes" | "max_msgs" if lower(from, to) => {
            (Destructive, "what is beyond the lower bound is removed at once")
        }
        "max_age" | "max_bytes" | "max_msgs" | "max_msgs_per_subject" => (Harmless, ""),
        "num_replicas" if lower(from, to) => (Destructive, "copies are removed"),
        "subjects" if from.is_some() && !are_covered(from, to) => {
            (Destructive, "what is published on the subjects that go is stored no longer")
        }
        "sources" if !missing(from, to).is_empty() => {
            (Destructive, "a source that goes, or changes, is copied no longer, or again from its start")
        }
        "mirror" => (Destructive, "it is a copy no longer, and takes in nothing but its own subjects"),
        "discard" if text(from) == "new" => {
            (Destructive, "a full stream removes its oldest messages instead of refusing new ones")
        }
        "discard_new_per_subject" if to.is_none() => {
            (Destructive, "a full subject removes its oldest messages instead of refusing new ones")
        }
        "deny_delete" | "deny_purge" | "allow_msg_ttl" | "allow_msg_schedules" => (Harmless, "for ever"),
        "discard" if text(to) == "new" => (Harmless, "a full stream refuses what is published"),
        "no_ack" if to.is_some() => (Harmless, "publishers get no acknowledgement: nobody learns of what is refused"),
        "duplicate_window" if from.is_some() && lower(from, to) => {
            (Harmless, "ids that are older are forgotten at once")
        }
        "max_msg_size" if lower(from, to) => (Harmless, "longer messages are refused from now on"),
        "placement" => (Harmless, "it moves to other servers, which takes its time"),
        _ => (Harmless, ""),
    }
}

fn consumer_effect(
    key: &str,
    from: Option<&Value>,
    to: Option<&Value>,
    retention: Retention,
) -> (Effect, &'static str) {
    match key {
        // Servers before 2.14.4 say yes to another `mem_storage`, and keep the consumer where it is.
        "deliver_policy" | "opt_start_seq" | "opt_start_time" | "ack_policy" | "replay_policy" | "max_waiting"
        | "flow_control" | "idle_heartbeat" | "mem_storage" => (
            Effect::Impossible,
            "declare it under another name, or set `absent = true`, apply, and declare it again: its place is lost",
        ),
        "max_deliver" => (Effect::Harmless, "what was brought more often already is not brought again"),
        "inactive_threshold" if lower(from, to) => {
            (Effect::Destructive, "it is removed, and its place with it, when nobody asks for so long")
        }
        "filter_subjects" if retention == Retention::Interest && !(to.is_none() || are_covered(from, to)) => {
            (Effect::Destructive, "what nobody asks for any more is removed from the stream")
        }
        "deliver_subject" => (Effect::Harmless, "the server does it only while nobody listens on the old subject"),
        "filter_subjects" => (Effect::Harmless, "what it passed over so far stays passed over"),
        _ => (Effect::Harmless, ""),
    }
}

/// Whether the new bound is the lower one; none is the highest.
fn lower(from: Option<&Value>, to: Option<&Value>) -> bool {
    let number = |value: Option<&Value>| value.map_or(f64::INFINITY, |value| value.as_f64().unwrap_or(0.0));
    number(to).partial_cmp(&number(from)) == Some(Ordering::Less)
}

/// Whether everything on the first subjects is on the second ones too; no list is everything, as a consumer's filters
/// have it.
fn are_covered(from: Option<&Value>, to: Option<&Value>) -> bool {
    let list = |value: Option<&'_ Value>| -> Vec<String> {
        value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let to = list(to);
    let from = if from.is_none() { vec![">".to_owned()] } else { list(from) };
    from.iter().all(|old| to.iter().any(|new| subject::covers(new, old)))
}

/// What is in the first list and not in the second.
fn missing<'a>(from: Option<&'a Value>, to: Option<&Value>) -> Vec<&'a Value> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let has = list(to);
    from.and_then(Value::as_array).into_iter().flatten().filter(|item| !has.contains(item)).collect()
}

/// A value as people write it.
#[must_use]
pub fn shown(key: &str, value: Option<&Value>) -> String {
    let Some(value) = value else {
        return match key {
            "max_age"
            | "max_bytes"
            | "max_msgs"
            | "max_msgs_per_subject"
            | "max_msg_size"
            | "max_consumers"
            | "max_deliver"
            | "max_batch"
            | "max_expires"
            | "inactive_threshold" => "unlimited",
            "duplicate_window" | "ack_wait" | "max_ack_pending" | "max_waiting" | "priority_timeout" => {
                "the server's default"
            }
            "num_replicas" => "the stream's",
            key if key.starts_with("allow_") || key.starts_with("deny_") => "false",
            "no_ack"
            | "mirror_direct"
            | "discard_new_per_subject"
            | "headers_only"
            | "mem_storage"
            | "flow_control" => "false",
            _ => "none",
        }
        .to_owned();
    };
    match (key, value) {
        (
            "max_age"
            | "duplicate_window"
            | "ack_wait"
            | "max_expires"
            | "inactive_threshold"
            | "idle_heartbeat"
            | "priority_timeout"
            | "subject_delete_marker_ttl",
            Value::Number(number),
        ) => span(number.as_u64()),
        ("max_bytes" | "max_msg_size", Value::Number(number)) => Bytes::from(number.as_u64().unwrap_or(0)).to_string(),
        ("backoff", Value::Array(list)) => list.iter().map(|value| span(value.as_u64())).collect::<Vec<_>>().join(", "),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Array(list)) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        (_, value) => value.to_string(),
    }
}

fn span(nanos: Option<u64>) -> String {
    Span::from(std::time::Duration::from_nanos(nanos.unwrap_or(0))).to_string()
}

#[cfg(test)]
mod tests;
