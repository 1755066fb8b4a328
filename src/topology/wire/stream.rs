//! A stream in the server's words.

use serde_json::{Map, Value, json};

use super::{Fields, nanos, time};
use crate::topology::model::{External, Placement, Source, Stream, SubjectMapping};

/// The keys that a declaration decides, in the order in which differences are told.
pub const STREAM_KEYS: [&str; 35] = [
    "description",
    "subjects",
    "storage",
    "retention",
    "max_age",
    "max_bytes",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "max_consumers",
    "discard",
    "discard_new_per_subject",
    "num_replicas",
    "duplicate_window",
    "compression",
    "sources",
    "mirror",
    "subject_transform",
    "republish",
    "no_ack",
    "allow_direct",
    "mirror_direct",
    "placement",
    "deny_delete",
    "deny_purge",
    "allow_rollup_hdrs",
    "consumer_limits",
    "allow_msg_ttl",
    "subject_delete_marker_ttl",
    "allow_atomic",
    "allow_msg_counter",
    "allow_msg_schedules",
    "persist_mode",
    "allow_batched",
    "metadata",
];

/// A stream as the API wants it, without what has its default value.
#[must_use]
pub fn stream(name: &str, stream: &Stream) -> Map<String, Value> {
    let mut fields = Fields::new();
    fields.put("name", name);
    limits(stream, &mut fields);
    flows(stream, &mut fields);
    // The server switches it on with these.
    let rolls_up = stream.allow_rollup || stream.allow_msg_schedules || !stream.subject_delete_marker_ttl.is_zero();
    for (key, on) in [
        ("no_ack", stream.no_ack),
        ("allow_direct", stream.allow_direct),
        ("mirror_direct", stream.mirror_direct),
        ("deny_delete", stream.deny_delete),
        ("deny_purge", stream.deny_purge),
        ("allow_rollup_hdrs", rolls_up),
        ("discard_new_per_subject", stream.discard_new_per_subject),
        ("allow_msg_ttl", stream.allow_msg_ttl),
        ("allow_atomic", stream.allow_atomic),
        ("allow_msg_counter", stream.allow_msg_counter),
        ("allow_msg_schedules", stream.allow_msg_schedules),
        ("allow_batched", stream.allow_batched),
    ] {
        fields.put(key, on);
    }
    fields.put_span("subject_delete_marker_ttl", stream.subject_delete_marker_ttl);
    if stream.persist_mode != Default::default() {
        fields.put_as("persist_mode", stream.persist_mode);
    }
    fields.put_as("metadata", &stream.metadata);
    fields.0
}

fn limits(stream: &Stream, fields: &mut Fields) {
    fields.put("description", stream.description.as_str());
    fields.put("subjects", stream.subjects.clone());
    fields.put_as("storage", stream.storage);
    let retention = match stream.retention {
        crate::topology::model::Retention::WorkQueue => "workqueue",
        crate::topology::model::Retention::Limits => "limits",
        crate::topology::model::Retention::Interest => "interest",
    };
    fields.put("retention", retention);
    fields.put_span("max_age", stream.max_age);
    fields.put("max_bytes", stream.max_bytes.get());
    fields.put("max_msgs", stream.max_msgs);
    fields.put("max_msgs_per_subject", stream.messages_per_subject());
    fields.put("max_msg_size", stream.max_msg_size.get());
    fields.put("max_consumers", stream.max_consumers);
    fields.put_as("discard", stream.discard);
    fields.put("num_replicas", stream.replicas);
    fields.put_span("duplicate_window", stream.duplicate_window);
    if stream.compression != Default::default() {
        fields.put_as("compression", stream.compression);
    }
    if let Some(limits) = &stream.consumer_limits {
        let threshold = nanos(limits.inactive_threshold);
        let limits = json!({"inactive_threshold": threshold, "max_ack_pending": limits.max_ack_pending});
        fields.put("consumer_limits", limits);
    }
}

fn flows(stream: &Stream, fields: &mut Fields) {
    fields.put("sources", stream.sources.iter().map(source).collect::<Vec<_>>());
    fields.put("mirror", stream.mirror.as_ref().map_or(Value::Null, source));
    fields.put("subject_transform", stream.subject_transform.as_ref().map_or(Value::Null, mapping));
    if let Some(republish) = &stream.republish {
        let headers_only = republish.headers_only;
        fields.put("republish", json!({"src": republish.src, "dest": republish.dest, "headers_only": headers_only}));
    }
    if let Some(Placement { cluster, tags }) = &stream.placement {
        fields.put("placement", json!({"cluster": cluster, "tags": tags}));
    }
}

fn source(source: &Source) -> Value {
    let transforms: Vec<Value> = source.subject_transforms.iter().map(mapping).collect();
    let External { api, deliver } = source.external.clone().unwrap_or_default();
    json!({
        "name": source.name,
        "filter_subject": source.filter_subject,
        "subject_transforms": transforms,
        "opt_start_seq": source.start_sequence,
        "opt_start_time": time(&source.start_time),
        "external": {"api": api, "deliver": deliver},
    })
}

fn mapping(mapping: &SubjectMapping) -> Value {
    json!({"src": mapping.src, "dest": mapping.dest})
}
