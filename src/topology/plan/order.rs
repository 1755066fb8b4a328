//! The order of steps: what goes and what is narrowed makes room for what comes.
//!
//! It decides nothing about what is done.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Action, Found, Object, Step, config_of, limits};
use crate::topology::change::{Change, Effect};
use crate::topology::model::{Bucket, Stream};
use crate::topology::subject;
use crate::topology::wire::normal;

/// Streams behind those that they copy from.
pub(super) fn of_streams(streams: &BTreeMap<String, Stream>) -> Vec<(&String, &Stream)> {
    let mut done: Vec<(&String, &Stream)> = Vec::with_capacity(streams.len());
    let mut left: Vec<_> = streams.iter().collect();
    while !left.is_empty() {
        let is_ready = |stream: &Stream, left: &[(&String, &Stream)]| {
            !stream.origins().any(|origin| left.iter().any(|(name, _)| **name == origin.name))
        };
        let (ready, rest): (Vec<_>, Vec<_>) = left.iter().copied().partition(|(_, stream)| is_ready(stream, &left));
        // Streams that copy from each other have no first one.
        let stuck = ready.is_empty();
        done.extend(ready);
        if stuck {
            done.extend(rest);
            break;
        }
        left = rest;
    }
    done
}

/// What goes, then what is narrowed or lowered, then what is new; consumers behind their streams. Among those, what
/// gives something away comes before what takes it. Beside the steps: which ones cannot be done one after the other.
pub(super) fn of_steps(mut steps: Vec<Step>, found: &Found) -> (Vec<Step>, Vec<String>) {
    let phases = Phases::of(&steps, found);
    steps.sort_by_key(|step| phases.of_step(step));
    let claims: Vec<Claim> = steps.iter().map(|step| claim(step, found)).collect();
    let mut left: Vec<(Step, Claim)> = steps.into_iter().zip(claims).collect();
    let (mut done, mut stuck) = (Vec::with_capacity(left.len()), Vec::new());
    while let Some((first, claim)) = left.first() {
        let now = phases.of_step(first);
        // The first that takes nothing which another one has still to give. Two that swap have no first one.
        let is_free = |(index, (step, claim)): (usize, &(Step, Claim))| {
            let mut others = left.iter().enumerate().filter(|(other, _)| *other != index);
            phases.of_step(step) == now && others.all(|(_, (_, theirs))| claim.taken_from(theirs).is_none())
        };
        let next = left.iter().enumerate().position(is_free);
        if next.is_none() {
            let others = left.iter().skip(1);
            stuck.extend(others.filter_map(|(step, theirs)| Some((step, claim.taken_from(theirs)?))).map(
                |(step, subject)| {
                    let (one, other) = (&first.object, &step.object);
                    format!(
                        "{one} takes {subject} from {other}, and neither can be first: give {one} another one in its \
                         place, apply, and then this one"
                    )
                },
            ));
        }
        done.push(left.remove(next.unwrap_or(0)).0);
    }
    (done, stuck)
}

/// How a stream that is there keeps its messages, in the server's word.
pub(super) fn retention_of(stream: &str, found: &Found) -> Option<String> {
    let config = found.streams.get(stream).map(config_of)?;
    config.get("retention").and_then(Value::as_str).map(str::to_owned)
}

/// When which step is done.
struct Phases<'a> {
    found: &'a Found,
    /// What streams that change will allow their consumers.
    limits: BTreeMap<String, Value>,
    /// Streams that keep messages for their consumers, and have room for new ones beside the old.
    kept: BTreeSet<String>,
    /// Those of them whose coming limits a consumer is beyond that they have: their own step is the last.
    late: BTreeSet<String>,
}

impl<'a> Phases<'a> {
    fn of(steps: &[Step], found: &'a Found) -> Self {
        let mut limits = BTreeMap::new();
        for step in steps {
            let has_limits =
                step.action == Action::Change && step.changes.iter().any(|one| one.key == "consumer_limits");
            if let (Object::Stream(name), true) = (&step.object, has_limits) {
                limits.insert(name.clone(), step.body.get("consumer_limits").cloned().unwrap_or_default());
            }
        }
        let kept = found
            .streams
            .keys()
            .filter(|name| retention_of(name, found).as_deref() == Some("interest") && has_room(name, steps, found));
        let kept: BTreeSet<String> = kept.cloned().collect();
        let beyond = found.consumers.iter().filter(|((stream, _), info)| {
            kept.contains(stream) && limits::is_beyond(&config_of(info), limits.get(stream))
        });
        let late = beyond.map(|((stream, _), _)| stream.clone()).collect();
        Self { found, limits, kept, late }
    }

    fn of_step(&self, step: &Step) -> u8 {
        let Object::Consumer(stream, name) = &step.object else {
            return match step.action {
                Action::Delete => 2,
                // The last of what makes: consumers that come behind it would find nothing.
                Action::Change if step.changes.iter().all(Change::is_for_consumers) => 8,
                Action::Change if matches!(&step.object, Object::Stream(name) if self.late.contains(name)) => 10,
                Action::Change if step.effect != Effect::Harmless => 3,
                _ => 4,
            };
        };
        let config = self.found.consumers.get(&(stream.clone(), name.clone())).map(config_of).unwrap_or_default();
        let is_beyond = !self.late.contains(stream) && limits::is_beyond(&config, self.limits.get(stream));
        match step.action {
            // What no consumer is to read any more is removed at once: the old ones go when the new ones are there.
            Action::Delete if self.kept.contains(stream) && !is_beyond => 9,
            Action::Delete => 0,
            // The server refuses limits that a consumer is beyond.
            Action::Change if is_beyond => 1,
            Action::Change if self.kept.contains(stream) && step.effect == Effect::Destructive => 7,
            Action::Change if self.kept.contains(stream) => 6,
            _ => 5,
        }
    }
}

/// Whether a stream has room for its new consumers while the old ones are there.
fn has_room(stream: &str, steps: &[Step], found: &Found) -> bool {
    let new = steps.iter().find(|step| matches!(&step.object, Object::Stream(name) if name == stream));
    let config = match new.and_then(|step| step.body.as_object()) {
        Some(body) => body.clone(),
        None => found.streams.get(stream).map(config_of).unwrap_or_default(),
    };
    let Some(most) = normal("max_consumers", &config).and_then(|most| most.as_u64()) else { return true };
    let is_new =
        |step: &&Step| step.action == Action::Create && matches!(&step.object, Object::Consumer(of, _) if of == stream);
    let count = found.consumers.keys().filter(|(of, _)| of == stream).count() + steps.iter().filter(is_new).count();
    count as u64 <= most
}

/// What a step's object has, and is to have, of what belongs to one only: subjects to a stream, messages of a work
/// queue to a consumer.
#[derive(Default)]
struct Claim {
    /// Among whom: all streams, or the consumers of a work queue.
    among: Option<String>,
    had: Vec<String>,
    wants: Vec<String>,
}

impl Claim {
    /// What it is to have of what the other one has now.
    fn taken_from(&self, other: &Self) -> Option<&str> {
        let overlaps = |one: &&String| other.had.iter().any(|two| subject::overlaps(one, two));
        let is_rival = self.among.is_some() && self.among == other.among;
        self.wants.iter().find(overlaps).filter(|_| is_rival).map(String::as_str)
    }
}

fn claim(step: &Step, found: &Found) -> Claim {
    let list = |key: &str, config: &Map<String, Value>| -> Option<Vec<String>> {
        let list = normal(key, config)?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(list)
    };
    let body = |value: &Value| value.as_object().cloned().unwrap_or_default();
    match &step.object {
        // The other half of a change has it.
        _ if step.action == Action::Change && step.changes.iter().all(Change::is_for_consumers) => Claim::default(),
        Object::Stream(name) | Object::Bucket(name) => {
            let is_bucket = matches!(step.object, Object::Bucket(_));
            let name = if is_bucket { Bucket::stream_name(name) } else { name.clone() };
            let had = found.streams.get(&name).and_then(|info| list("subjects", &config_of(info)));
            let wants = list("subjects", &body(&step.body));
            Claim { among: Some(String::new()), had: had.unwrap_or_default(), wants: wants.unwrap_or_default() }
        }
        Object::Consumer(stream, name) => {
            let all = || vec![">".to_owned()];
            let is_queue = retention_of(stream, found).as_deref() == Some("workqueue");
            let info = found.consumers.get(&(stream.clone(), name.clone()));
            let had = info.map(|info| list("filter_subjects", &config_of(info)).unwrap_or_else(all));
            let wants = (step.action != Action::Delete)
                .then(|| list("filter_subjects", &body(&step.body["config"])).unwrap_or_else(all));
            let among = is_queue.then(|| stream.clone());
            Claim { among, had: had.unwrap_or_default(), wants: wants.unwrap_or_default() }
        }
    }
}
