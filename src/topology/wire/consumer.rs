//! A consumer in the server's words, with the defaults that the server fills in.

use serde_json::{Map, Value};

use super::{Fields, nanos};
use crate::topology::model::{Consumer, PriorityPolicy, Stream};

/// The keys that a declaration decides, in the order in which differences are told.
pub const CONSUMER_KEYS: [&str; 29] = [
    "description",
    "filter_subjects",
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "backoff",
    "max_ack_pending",
    "replay_policy",
    "headers_only",
    "inactive_threshold",
    "num_replicas",
    "mem_storage",
    "max_waiting",
    "max_batch",
    "max_expires",
    "max_bytes",
    "priority_policy",
    "priority_groups",
    "priority_timeout",
    "sample_freq",
    "deliver_subject",
    "deliver_group",
    "flow_control",
    "idle_heartbeat",
    "rate_limit_bps",
    "metadata",
];

/// A consumer of `stream` as the API wants it, without what has its default value.
#[must_use]
pub fn consumer(name: &str, consumer: &Consumer, stream: &Stream) -> Map<String, Value> {
    let mut fields = Fields::new();
    fields.put("name", name);
    fields.put("durable_name", name);
    fields.put("description", consumer.description.as_str());
    match consumer.filters.as_slice() {
        [one] => fields.put("filter_subject", one.as_str()),
        many => fields.put("filter_subjects", many.to_vec()),
    }
    fields.put_as("deliver_policy", consumer.deliver);
    fields.put("opt_start_seq", consumer.start_sequence);
    fields.put_time("opt_start_time", &consumer.start_time);
    fields.put_as("replay_policy", consumer.replay);
    fields.put("headers_only", consumer.headers_only);
    let limits = stream.consumer_limits.clone().unwrap_or_default();
    // The server fills in what the stream allows at most.
    let threshold =
        if consumer.inactive_threshold.is_zero() { limits.inactive_threshold } else { consumer.inactive_threshold };
    fields.put_span("inactive_threshold", threshold);
    fields.put("num_replicas", consumer.replicas);
    fields.put("mem_storage", consumer.memory);
    if consumer.sample_percent > 0 {
        fields.put("sample_freq", format!("{}%", consumer.sample_percent));
    }
    fields.put_as("metadata", &consumer.metadata);
    acknowledgements(consumer, &mut fields);
    match (consumer.max_ack_pending, i64::from(limits.max_ack_pending)) {
        (0, limit) => fields.put("max_ack_pending", limit),
        (-1, _) => drop(fields.0.insert("max_ack_pending".to_owned(), (-1).into())),
        (count, _) => fields.put("max_ack_pending", count),
    }
    delivery(consumer, &mut fields);
    fields.0
}

fn acknowledgements(consumer: &Consumer, fields: &mut Fields) {
    fields.put_as("ack_policy", consumer.ack);
    fields.put("max_deliver", consumer.max_deliver);
    fields.put("backoff", consumer.backoff.iter().map(|span| nanos(*span)).collect::<Vec<_>>());
    fields.put_span("ack_wait", consumer.backoff.first().copied().unwrap_or(consumer.ack_wait));
}

fn delivery(consumer: &Consumer, fields: &mut Fields) {
    match &consumer.push {
        Some(push) => {
            fields.put("deliver_subject", push.deliver_subject.as_str());
            fields.put("deliver_group", push.deliver_group.as_str());
            fields.put("flow_control", push.flow_control);
            fields.put_span("idle_heartbeat", push.idle_heartbeat);
            fields.put("rate_limit_bps", push.rate_limit_bps);
        }
        None => {
            fields.put("max_waiting", consumer.max_waiting);
            fields.put("max_batch", consumer.max_request_batch);
            fields.put_span("max_expires", consumer.max_request_expires);
            fields.put("max_bytes", consumer.max_request_bytes.get());
        }
    }
    if let Some(priority) = &consumer.priority {
        fields.put_as("priority_policy", priority.policy);
        fields.put("priority_groups", priority.groups.clone());
        if priority.policy == PriorityPolicy::PinnedClient {
            fields.put_span("priority_timeout", priority.timeout);
        }
    }
}
