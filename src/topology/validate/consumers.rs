//! What is wrong with a stream's consumers.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Check;
use crate::config::Span;
use crate::topology::model::{AckPolicy, Consumer, DeliverPolicy, Push, Retention, Stream};
use crate::topology::subject;

pub(super) fn check(check: &mut Check<'_>, stream_name: &str, stream: &Stream) {
    for (name, consumer) in stream.consumers.iter().filter(|(_, consumer)| !consumer.absent) {
        check.at(format!("streams.{stream_name}"));
        check.place.push_str(&format!(".consumers.{name}"));
        check.name(name);
        filters(check, stream_name, stream, consumer);
        beginning(check, consumer);
        acknowledgements(check, consumer);
        delivery(check, stream, consumer);
        check.range("replicas", consumer.replicas, 0, stream.replicas.max(1));
        if stream.retention != Retention::Limits && ![0, stream.replicas].contains(&consumer.replicas) {
            check.refuse("replicas", "are the stream's where acknowledgements remove messages; leave it out");
        }
        limits(check, stream, consumer);
        check.range("sample_percent", consumer.sample_percent, 0, 100);
        if stream.retention == Retention::WorkQueue && consumer.ack != AckPolicy::Explicit {
            check.refuse("ack", "a work queue needs \"explicit\": a message is gone once it is acknowledged");
        }
        if stream.retention == Retention::WorkQueue && consumer.deliver != DeliverPolicy::All {
            check.refuse("deliver", "a work queue needs \"all\": what is passed over would stay for ever");
        }
    }
    check.at(format!("streams.{stream_name}"));
    if stream.retention == Retention::WorkQueue {
        queue(check, stream);
    }
    let count = stream.consumers.values().filter(|consumer| !consumer.absent).count();
    if stream.max_consumers > 0 && count > stream.max_consumers as usize {
        let text = format!("{count} are declared, and max_consumers = {}", stream.max_consumers);
        check.refuse("consumers", text);
    }
}

/// What the stream allows its consumers.
fn limits(check: &mut Check<'_>, stream: &Stream, consumer: &Consumer) {
    let Some(limits) = &stream.consumer_limits else { return };
    let (most, longest) = (i64::from(limits.max_ack_pending), limits.inactive_threshold);
    if most > 0 && consumer.max_ack_pending > most {
        let own = consumer.max_ack_pending;
        let text = format!("{own} is more than consumer_limits.max_ack_pending = {most} of the stream");
        check.refuse("max_ack_pending", text);
    }
    if !longest.is_zero() && consumer.inactive_threshold > longest {
        let own = consumer.inactive_threshold;
        let text = format!("{own} is longer than consumer_limits.inactive_threshold = {longest} of the stream");
        check.refuse("inactive_threshold", text);
    }
}

/// The consumers of a work queue share nothing.
fn queue(check: &mut Check<'_>, stream: &Stream) {
    let all = [">".to_owned()];
    let consumers: Vec<_> = stream.consumers.iter().filter(|(_, consumer)| !consumer.absent).collect();
    for (index, (name, consumer)) in consumers.iter().enumerate() {
        for (other_name, other) in consumers.iter().skip(index + 1) {
            let of = |consumer: &Consumer| -> Vec<String> {
                if consumer.filters.is_empty() { all.to_vec() } else { consumer.filters.clone() }
            };
            let (ours, theirs) = (of(consumer), of(other));
            let both = ours.iter().flat_map(|one| theirs.iter().map(move |two| (one, two)));
            if let Some((one, two)) = both.into_iter().find(|(one, two)| subject::overlaps(one, two)) {
                let text = format!(
                    "{name} ({one}) and {other_name} ({two}) would take the same messages of a work queue; give each \
                     filters of its own, or let both read one consumer"
                );
                check.refuse("consumers", text);
            }
        }
    }
}

fn filters(check: &mut Check<'_>, stream_name: &str, stream: &Stream, consumer: &Consumer) {
    check.disjoint("filters", &consumer.filters, "a message is brought by one filter");
    if stream.origins().next().is_some() || stream.subject_transform.is_some() {
        // What is copied or changed has other subjects than the stream takes in.
        return;
    }
    for filter in &consumer.filters {
        if !stream.subjects.iter().any(|subject| subject::overlaps(subject, filter)) {
            check.refuse("filters", format!("nothing that {stream_name} takes in is on {filter}"));
        }
    }
}

fn beginning(check: &mut Check<'_>, consumer: &Consumer) {
    let by_sequence = consumer.deliver == DeliverPolicy::ByStartSequence;
    let by_time = consumer.deliver == DeliverPolicy::ByStartTime;
    match (by_sequence, consumer.start_sequence > 0) {
        (true, false) => check.refuse("start_sequence", "deliver = \"by_start_sequence\" needs it, from 1"),
        (false, true) => check.refuse("start_sequence", "needs deliver = \"by_start_sequence\""),
        _ => {}
    }
    match (by_time, !consumer.start_time.is_empty()) {
        (true, false) => check.refuse("start_time", "deliver = \"by_start_time\" needs it, as 2026-01-31T08:00:00Z"),
        (false, true) => check.refuse("start_time", "needs deliver = \"by_start_time\""),
        _ => time(check, "start_time", &consumer.start_time),
    }
    if consumer.deliver == DeliverPolicy::LastPerSubject && consumer.filters.is_empty() {
        check.refuse("filters", "deliver = \"last_per_subject\" needs one, as in [\">\"]");
    }
}

/// A time, or nothing.
pub(super) fn time(check: &mut Check<'_>, key: &str, text: &str) {
    if !text.is_empty() && OffsetDateTime::parse(text, &Rfc3339).is_err() {
        check.refuse(key, format!("{text:?} is no time; write it as 2026-01-31T08:00:00Z"));
    }
}

fn acknowledgements(check: &mut Check<'_>, consumer: &Consumer) {
    check.range("max_ack_pending", consumer.max_ack_pending, -1, i64::from(i32::MAX));
    let steps = consumer.backoff.len();
    if steps > 0 && consumer.max_deliver > 0 && (consumer.max_deliver as usize) < steps {
        let text = format!(
            "{} is less than the {steps} waits of backoff, and the server wants each used; set it to {steps} or leave it out",
            consumer.max_deliver,
        );
        check.refuse("max_deliver", text);
    }
    if steps > 0 && !consumer.ack_wait.is_zero() && consumer.backoff.first() != Some(&consumer.ack_wait) {
        check.refuse("ack_wait", "backoff stands in its place; leave it out");
    }
    if consumer.ack == AckPolicy::None {
        for (key, is_set) in [
            ("ack_wait", !consumer.ack_wait.is_zero()),
            ("max_deliver", consumer.max_deliver > 0),
            ("backoff", steps > 0),
            ("max_ack_pending", consumer.max_ack_pending != 0),
        ] {
            if is_set {
                check.refuse(key, "ack = \"none\" acknowledges nothing, so nothing is brought again");
            }
        }
    }
}

fn delivery(check: &mut Check<'_>, stream: &Stream, consumer: &Consumer) {
    let Some(Push { deliver_subject, flow_control, idle_heartbeat, .. }) = &consumer.push else {
        if let Some(priority) = &consumer.priority
            && priority.groups.iter().all(String::is_empty)
        {
            check.refuse("priority.groups", "is empty; name a group, such as \"main\"");
        }
        return;
    };
    check.literal("push.deliver_subject", deliver_subject);
    if let Some(own) = stream.subjects.iter().find(|own| subject::overlaps(own, deliver_subject)) {
        let text = format!("{deliver_subject} comes back into the stream, which takes {own}: for ever");
        check.refuse("push.deliver_subject", text);
    }
    if !idle_heartbeat.is_zero() && *idle_heartbeat < Span::millis(100) {
        check.refuse("push.idle_heartbeat", format!("{idle_heartbeat} is shorter than 100ms, the least that is taken"));
    }
    if *flow_control && idle_heartbeat.is_zero() {
        check.refuse("push.idle_heartbeat", "flow_control needs it, as in \"5s\"");
    }
    for (key, is_set) in [
        ("max_waiting", consumer.max_waiting > 0),
        ("max_request_batch", consumer.max_request_batch > 0),
        ("max_request_expires", !consumer.max_request_expires.is_zero()),
        ("max_request_bytes", consumer.max_request_bytes.get() > 0),
        ("priority", consumer.priority.is_some()),
    ] {
        if is_set {
            check.refuse(key, "is for a consumer that is asked (pull); leave out push, or this");
        }
    }
}
