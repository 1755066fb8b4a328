//! What is to be done so that a server has what is declared, in which order, and what each step costs.
//!
//! It only ever deletes what a declaration calls `absent`. It does no IO.

mod limits;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::change::{self, Change, Effect};
use super::load::Declared;
use super::model::{Bucket, Stream};
use super::subject;
use super::wire::{self, CONSUMER_KEYS, STREAM_KEYS, Version, leave_out, over};

/// What only lets publishers be faster: they do without on a server that does not know it.
const FASTER: [&str; 2] = ["allow_batched", "allow_atomic"];
/// What a stream has from its beginning, or never.
const FROM_THE_START: [&str; 2] = ["allow_msg_counter", "persist_mode"];

/// What a server has, in its own words.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The server's version.
    pub version: Version,
    /// Streams by name, as `STREAM.INFO` tells them: `config`, `state`, `cluster`, ...
    pub streams: BTreeMap<String, Map<String, Value>>,
    /// Consumers by stream and name, as `CONSUMER.INFO` tells them.
    pub consumers: BTreeMap<(String, String), Map<String, Value>>,
}

/// What a step is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A stream.
    Stream(String),
    /// A KV bucket.
    Bucket(String),
    /// A consumer of a stream.
    Consumer(String, String),
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not there yet.
    Create,
    /// It is there, and differs.
    Change,
    /// It is there, and declared to be gone.
    Delete,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// To what.
    pub object: Object,
    /// What differs; for a new thing what is no default.
    pub changes: Vec<Change>,
    /// What it costs.
    pub effect: Effect,
    /// What is lost with it, where something is deleted.
    pub note: String,
    /// The request's subject behind the API's prefix, such as `STREAM.CREATE.TRADES`.
    #[serde(skip)]
    pub request: String,
    /// The request's payload.
    #[serde(skip)]
    pub body: Value,
}

/// Everything that is to be done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// In the order in which it is to be done.
    pub steps: Vec<Step>,
    /// Subjects that two streams would claim, or swap: nothing is applied while there are any.
    pub conflicts: Vec<String>,
    /// What is declared and the server is too old for, where it means another behaviour.
    pub lacking: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// Streams, buckets and consumers that are as declared.
    pub unchanged: usize,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(name) => write!(f, "stream {name}"),
            Self::Bucket(name) => write!(f, "bucket {name}"),
            Self::Consumer(stream, name) => write!(f, "consumer {stream}/{name}"),
        }
    }
}

impl Plan {
    /// What is to be done so that a server that has `found` has what is declared.
    #[must_use]
    pub fn of(declared: &Declared, found: &Found) -> Self {
        let mut plan = Self { conflicts: conflicts(declared, found), ..Self::default() };
        let topology = &declared.topology;
        let buckets: Vec<(&String, Stream)> =
            topology.buckets.iter().map(|(name, bucket)| (name, bucket.as_stream(name))).collect();
        for (name, stream) in order::of_streams(&topology.streams) {
            let steps = plan.steps.len();
            plan.stream(Object::Stream(name.clone()), name, stream, found);
            if plan.steps.len() > steps {
                plan.convert(name, stream);
            }
        }
        for (name, stream) in &buckets {
            plan.stream(Object::Bucket((*name).clone()), &Bucket::stream_name(name), stream, found);
        }
        for (name, stream) in topology.streams.iter().filter(|(_, stream)| !stream.absent) {
            for (consumer, wanted) in &stream.consumers {
                plan.consumer(name, consumer, wanted, stream, found);
            }
        }
        let (steps, stuck) = order::of_steps(plan.steps, found);
        plan.steps = steps;
        if plan.conflicts.is_empty() {
            plan.conflicts = stuck;
        }
        plan.undeclared(declared, found);
        plan
    }

    /// Whether nothing is left that could be done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.is_empty() && self.conflicts.is_empty()
    }

    /// Whether the server has what is declared.
    #[must_use]
    pub fn is_as_declared(&self) -> bool {
        self.is_done() && self.lacking.is_empty()
    }

    /// Leaves out changes of what is not decided here.
    pub fn keep(&mut self, is_decided: impl Fn(&Object, &str) -> bool) {
        for step in self.steps.iter_mut().filter(|step| step.action == Action::Change) {
            step.changes.retain(|change| is_decided(&step.object, change.key));
            step.effect = step.changes.iter().map(|change| change.effect).max().unwrap_or(Effect::Harmless);
        }
        let before = self.steps.len();
        self.steps.retain(|step| step.action != Action::Change || !step.changes.is_empty());
        self.unchanged += before - self.steps.len();
    }

    /// The worst that it costs.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.steps.iter().map(|step| step.effect).max().unwrap_or(Effect::Harmless)
    }

    fn stream(&mut self, object: Object, name: &str, stream: &Stream, found: &Found) {
        let there = found.streams.get(name);
        if stream.absent {
            let Some(info) = there else {
                self.unchanged += 1;
                return;
            };
            let messages = info.get("state").and_then(|state| state.get("messages")).and_then(Value::as_u64);
            let note = format!("{} messages are lost with it", messages.unwrap_or(0));
            return self.push(Action::Delete, object, Vec::new(), format!("STREAM.DELETE.{name}"), Value::Null, note);
        }
        let mut wanted = wire::stream(name, stream);
        let whole = wanted.clone();
        let left = self.left_out(&object, &mut wanted, found.version);
        let Some(config) = there.map(config_of) else {
            let changes = change::of_stream(&wanted, &Map::new(), found.version);
            let request = format!("STREAM.CREATE.{name}");
            self.push(Action::Create, object, changes, request, wanted.into(), String::new());
            return self.never(&left, &whole);
        };
        let mut changes = change::of_stream(&wanted, &config, found.version);
        limits::judge(&mut changes, name, stream, &wanted, found);
        // New consumers come between the two: what is kept for consumers is not kept for those that are to come.
        let (last, first): (Vec<_>, Vec<_>) = changes.into_iter().partition(Change::is_for_consumers);
        let request = || format!("STREAM.UPDATE.{name}");
        if !first.is_empty() && !last.is_empty() {
            let mut body = over(&config, &wanted, &STREAM_KEYS);
            body.extend(config.get("retention").map(|retention| ("retention".to_owned(), retention.clone())));
            self.push(Action::Change, object.clone(), first, request(), body.into(), String::new());
            let body = over(&config, &wanted, &STREAM_KEYS);
            return self.push(Action::Change, object, last, request(), body.into(), String::new());
        }
        let body = over(&config, &wanted, &STREAM_KEYS);
        self.push(Action::Change, object, [first, last].concat(), request(), body.into(), String::new());
    }

    /// Says of a stream that is to be made what it would be without for ever.
    fn never(&mut self, left: &[String], whole: &Map<String, Value>) {
        let Some(step) = self.steps.last_mut() else { return };
        for key in FROM_THE_START.into_iter().filter(|key| left.iter().any(|left| left == key)) {
            step.effect = Effect::Impossible;
            step.changes.push(Change {
                key,
                from: change::shown(key, None),
                to: change::shown(key, whole.get(key)),
                effect: Effect::Impossible,
                note: "the server is too old for it, and it is never switched on later".into(),
            });
        }
    }

    fn consumer(
        &mut self,
        stream_name: &str,
        name: &str,
        consumer: &super::model::Consumer,
        stream: &Stream,
        found: &Found,
    ) {
        let object = Object::Consumer(stream_name.to_owned(), name.to_owned());
        let there = found.consumers.get(&(stream_name.to_owned(), name.to_owned()));
        if consumer.absent {
            if there.is_none() {
                self.unchanged += 1;
                return;
            }
            let is_interest = order::retention_of(stream_name, found).as_deref() == Some("interest");
            let more = if is_interest { ", and messages that nobody else is still to read" } else { "" };
            let note = format!("its place in the stream is lost with it{more}");
            let request = format!("CONSUMER.DELETE.{stream_name}.{name}");
            return self.push(Action::Delete, object, Vec::new(), request, Value::Null, note);
        }
        let mut wanted = wire::consumer(name, consumer, stream);
        self.left_out(&object, &mut wanted, found.version);
        let (action, changes, config) = match there.map(config_of) {
            None => (Action::Create, change::of_consumer(&wanted, &Map::new(), stream.retention), wanted),
            Some(config) => {
                let changes = change::of_consumer(&wanted, &config, stream.retention);
                (Action::Change, changes, over(&config, &wanted, &CONSUMER_KEYS))
            }
        };
        let verb = if action == Action::Create { "create" } else { "update" };
        let body = json!({"stream_name": stream_name, "config": config, "action": verb});
        self.push(action, object, changes, format!("CONSUMER.CREATE.{stream_name}.{name}"), body, String::new());
    }

    fn push(
        &mut self,
        action: Action,
        object: Object,
        mut changes: Vec<Change>,
        request: String,
        body: Value,
        note: String,
    ) {
        if action == Action::Change && changes.is_empty() {
            self.unchanged += 1;
            return;
        }
        if action == Action::Create {
            // What is new costs nothing.
            for change in &mut changes {
                (change.effect, change.note) = (Effect::Harmless, "".into());
            }
        }
        let effect = match action {
            Action::Delete => Effect::Destructive,
            _ => changes.iter().map(|change| change.effect).max().unwrap_or(Effect::Harmless),
        };
        self.steps.push(Step { action, object, changes, effect, note, request, body });
    }

    /// Takes out what the server is too old for, says so, and names it.
    fn left_out(&mut self, object: &Object, wanted: &mut Map<String, Value>, version: Version) -> Vec<String> {
        let left = leave_out(wanted, version);
        for key in &left {
            let (major, minor) = wire::since(key).unwrap_or_default();
            let (ours, second, third) = version;
            let list = if FASTER.contains(&key.as_str()) { &mut self.notes } else { &mut self.lacking };
            list.push(format!(
                "{object}: {key} is left out: it needs nats-server {major}.{minor}, this is {ours}.{second}.{third}"
            ));
        }
        left
    }

    fn convert(&mut self, name: &str, stream: &Stream) {
        if stream.max_bytes_per_subject.get() > 0 && !stream.absent {
            self.notes.push(format!(
                "stream {name}: max_bytes_per_subject = {} becomes max_msgs_per_subject = {} messages of {}: the server \
                 bounds a subject by count only",
                stream.max_bytes_per_subject,
                stream.messages_per_subject(),
                stream.message_bytes,
            ));
        }
    }

    /// Says what is on the server and nowhere declared; it is left alone.
    fn undeclared(&mut self, declared: &Declared, found: &Found) {
        let known = names(declared);
        for name in found.streams.keys().filter(|name| !known.contains(name.as_str())) {
            self.notes.push(format!("stream {name} is on the server and not declared; it is left alone"));
        }
        for ((stream, name), info) in &found.consumers {
            if !config_of(info).contains_key("durable_name") {
                // It goes with its reader.
                continue;
            }
            let of = declared.topology.streams.get(stream);
            if of.is_some_and(|of| !of.absent && !of.consumers.contains_key(name)) {
                self.notes
                    .push(format!("consumer {stream}/{name} is on the server and not declared; it is left alone"));
            }
        }
    }
}

/// The configuration in what the server tells of a stream or a consumer.
pub(super) fn config_of(info: &Map<String, Value>) -> Map<String, Value> {
    info.get("config").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The names of all declared streams, those of buckets among them.
fn names(declared: &Declared) -> BTreeSet<String> {
    let topology = &declared.topology;
    topology.streams.keys().cloned().chain(topology.buckets.keys().map(|name| Bucket::stream_name(name))).collect()
}

/// Subjects that two streams would claim, declared ones and those on the server: the server would refuse the second.
fn conflicts(declared: &Declared, found: &Found) -> Vec<String> {
    let topology = &declared.topology;
    let mut claims: Vec<(String, String)> = Vec::new();
    for (name, stream) in topology.streams.iter().filter(|(_, stream)| !stream.absent) {
        let place = declared.place(&format!("streams.{name}"));
        claims.extend(stream.subjects.iter().map(|subject| (place.clone(), subject.clone())));
    }
    for (name, bucket) in topology.buckets.iter().filter(|(_, bucket)| !bucket.absent) {
        let place = declared.place(&format!("buckets.{name}"));
        claims.extend(bucket.as_stream(name).subjects.into_iter().map(|subject| (place.clone(), subject)));
    }
    let known = names(declared);
    for (name, info) in found.streams.iter().filter(|(name, _)| !known.contains(name.as_str())) {
        let config = config_of(info);
        let subjects = config.get("subjects").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        claims.extend(subjects.map(|subject| (format!("stream {name} on the server"), subject.to_owned())));
    }
    let mut told = Vec::new();
    for (index, (place, subject)) in claims.iter().enumerate() {
        for (other_place, other) in claims.iter().skip(index + 1).filter(|(other_place, _)| other_place != place) {
            if let Some(both) = subject::common(subject, other) {
                let like = if both == *subject || both == *other { String::new() } else { format!(" (as {both})") };
                told.push(format!(
                    "{place} takes {subject} and {other_place} takes {other}{like}: a subject belongs to one stream; \
                     narrow one of them, or give it a prefix of its own"
                ));
            }
        }
    }
    told
}

#[cfg(test)]
mod tests;
