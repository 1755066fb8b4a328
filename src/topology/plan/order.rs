//! The order of steps: what goes and what is narrowed makes room for what comes.
//!
//! It decides nothing about what is done.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Action, Found, Object, Step, config_of};
use crate::topology::change::Effect;
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
/// gives something away comes before what takes it.
pub(super) fn of_steps(mut steps: Vec<Step>, found: &Found) -> Vec<Step> {
    let phase = |step: &Step| match (step.action, &step.object) {
        (Action::Delete, Object::Consumer(..)) => 0,
        (Action::Delete, _) => 1,
        (_, Object::Consumer(..)) => 4,
        (Action::Change, _) if step.effect == Effect::Destructive => 2,
        _ => 3,
    };
    steps.sort_by_key(phase);
    let claims: Vec<Claim> = steps.iter().map(|step| claim(step, found)).collect();
    let mut left: Vec<(Step, Claim)> = steps.into_iter().zip(claims).collect();
    let mut done = Vec::with_capacity(left.len());
    while let Some((first, _)) = left.first() {
        let now = phase(first);
        // The first that takes nothing which another one has still to give. Two that swap have no first one: the server
        // says so.
        let is_free = |(index, (step, claim)): (usize, &(Step, Claim))| {
            let mut others = left.iter().enumerate().filter(|(other, _)| *other != index);
            phase(step) == now && others.all(|(_, (_, theirs))| !claim.takes_from(theirs))
        };
        let next = left.iter().enumerate().position(is_free).unwrap_or(0);
        done.push(left.remove(next).0);
    }
    done
}

/// What a step's object has, and is to have, of what belongs to one only: subjects to a stream, messages of a work
/// queue to a consumer.
struct Claim {
    /// Among whom: all streams, or the consumers of a work queue.
    among: Option<String>,
    had: Vec<String>,
    wants: Vec<String>,
}

impl Claim {
    /// Whether it is to have what the other one has now.
    fn takes_from(&self, other: &Self) -> bool {
        let overlaps = |one: &String| other.had.iter().any(|two| subject::overlaps(one, two));
        self.among.is_some() && self.among == other.among && self.wants.iter().any(overlaps)
    }
}

fn claim(step: &Step, found: &Found) -> Claim {
    let list = |key: &str, config: &Map<String, Value>| -> Option<Vec<String>> {
        let list = normal(key, config)?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(list)
    };
    let body = |value: &Value| value.as_object().cloned().unwrap_or_default();
    match &step.object {
        Object::Stream(name) | Object::Bucket(name) => {
            let is_bucket = matches!(step.object, Object::Bucket(_));
            let name = if is_bucket { Bucket::stream_name(name) } else { name.clone() };
            let had = found.streams.get(&name).and_then(|info| list("subjects", &config_of(info)));
            let wants = list("subjects", &body(&step.body));
            Claim { among: Some(String::new()), had: had.unwrap_or_default(), wants: wants.unwrap_or_default() }
        }
        Object::Consumer(stream, name) => {
            let all = || vec![">".to_owned()];
            let config = found.streams.get(stream).map(config_of).unwrap_or_default();
            let is_queue = config.get("retention").and_then(Value::as_str) == Some("workqueue");
            let info = found.consumers.get(&(stream.clone(), name.clone()));
            let had = info.map(|info| list("filter_subjects", &config_of(info)).unwrap_or_else(all));
            let wants = (step.action != Action::Delete)
                .then(|| list("filter_subjects", &body(&step.body["config"])).unwrap_or_else(all));
            let among = is_queue.then(|| stream.clone());
            Claim { among, had: had.unwrap_or_default(), wants: wants.unwrap_or_default() }
        }
    }
}
