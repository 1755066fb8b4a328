//! What is wrong with a stream.

use super::{Check, REPLICAS_MAX, consumers};
use crate::config::{Bytes, Span};
use crate::topology::model::{Discard, PersistMode, Retention, Source, Storage, Stream, SubjectMapping};
use crate::topology::subject;

/// The server takes no shorter times.
const SHORTEST: Span = Span::millis(100);
/// The server reads the bound of a message as a number of 32 bits.
const MESSAGE_MAX: u64 = i32::MAX as u64;

pub(super) fn check(check: &mut Check<'_>, name: &str, stream: &Stream) {
    check.range("replicas", stream.replicas, 1, REPLICAS_MAX);
    subjects(check, name, stream);
    ages(check, stream);
    bounds(check, stream);
    flows(check, name, stream);
    switches(check, stream);
    consumers::check(check, name, stream);
    check.at(format!("streams.{name}"));
}

fn subjects(check: &mut Check<'_>, name: &str, stream: &Stream) {
    check.disjoint("subjects", &stream.subjects, "the server takes each subject once");
    for subject in &stream.subjects {
        let is_own = ["$JS.>", "$JSC.>", "$NRG.>", "$SYS.>"].iter().any(|own| subject::overlaps(own, subject));
        // What the server says of itself to whoever listens may be kept.
        let is_news = ["$JS.EVENT.>", "$SYS.ACCOUNT.>"].iter().any(|news| subject::covers(news, subject));
        if is_own && !is_news && !stream.no_ack {
            check.refuse("subjects", format!("{subject} takes in what the server says to itself; narrow it"));
        }
    }
    match (&stream.mirror, stream.subjects.is_empty()) {
        (Some(_), false) => check.refuse("subjects", "a mirror has none: it has what the mirrored stream takes in"),
        (None, true) if stream.sources.is_empty() => {
            let text = format!("is empty; name what {name} takes in, or say where it copies from (sources, mirror)");
            check.refuse("subjects", text);
        }
        _ => {}
    }
}

/// Ages and windows, which buckets have too.
pub(super) fn ages(check: &mut Check<'_>, stream: &Stream) {
    for (key, span) in [("max_age", stream.max_age), ("duplicate_window", stream.duplicate_window)] {
        if !span.is_zero() && span < SHORTEST {
            check.refuse(key, format!("{span} is shorter than {SHORTEST}, the least that the server takes"));
        }
    }
    if !stream.max_age.is_zero() && stream.duplicate_window > stream.max_age {
        let (window, age) = (stream.duplicate_window, stream.max_age);
        let text = format!("{window} is longer than max_age = {age}; ids are remembered as long as messages at most");
        check.refuse("duplicate_window", text);
    }
    let marker = stream.subject_delete_marker_ttl;
    if !marker.is_zero() && marker < Span::secs(1) {
        check.refuse(
            "subject_delete_marker_ttl",
            format!("{marker} is shorter than 1s, the least that the server takes"),
        );
    }
}

fn bounds(check: &mut Check<'_>, stream: &Stream) {
    if stream.max_bytes_per_subject.get() > 0 {
        if stream.max_msgs_per_subject > 0 {
            check.refuse("max_bytes_per_subject", "bounds the same as max_msgs_per_subject; keep one of them");
        }
        if stream.message_bytes.get() == 0 {
            let text =
                "needs message_bytes, what a message takes in the store: the server bounds a subject by count only";
            check.refuse("max_bytes_per_subject", text);
        }
    }
    if stream.max_msg_size.get() > MESSAGE_MAX {
        let most = Bytes::from(MESSAGE_MAX);
        check.refuse(
            "max_msg_size",
            format!("{} is more than {most}, the most that the server takes", stream.max_msg_size),
        );
    }
    if stream.discard_new_per_subject && (stream.discard != Discard::New || stream.messages_per_subject() == 0) {
        check.refuse("discard_new_per_subject", "needs discard = \"new\" and max_msgs_per_subject");
    }
    if !(stream.expected_rate.is_finite() && stream.expected_rate >= 0.0) {
        check.refuse("expected_rate", format!("{} is no number of messages a second", stream.expected_rate));
    }
}

fn flows(check: &mut Check<'_>, name: &str, stream: &Stream) {
    for (key, source) in
        stream.sources.iter().map(|source| ("sources", source)).chain(stream.mirror.iter().map(|one| ("mirror", one)))
    {
        copied(check, name, key, source);
    }
    if stream.mirror.is_some() && !stream.sources.is_empty() {
        check.refuse("mirror", "a mirror has no sources beside it; keep one of them");
    }
    if stream.mirror_direct && stream.mirror.is_none() {
        check.refuse("mirror_direct", "is for a mirror");
    }
    let origin = stream.mirror.as_ref().filter(|mirror| mirror.external.is_none());
    if let Some(origin) = origin.filter(|origin| check.stream(&origin.name).is_some_and(|one| !one.allow_direct))
        && stream.mirror_direct
    {
        let text = format!("the server takes it from {}: set allow_direct there, or leave this out", origin.name);
        check.refuse("mirror_direct", text);
    }
    if let Some(transform) = &stream.subject_transform {
        mapping(check, "subject_transform", transform);
        if stream.mirror.is_some() {
            check.refuse("subject_transform", "a mirror has its transforms in `mirror.subject_transforms`");
        }
    }
    if let Some(republish) = &stream.republish {
        check.subject("republish.src", &republish.src);
        if let Some(own) = stream.subjects.iter().find(|own| subject::overlaps(own, &republish.dest)) {
            let text = format!("{} comes back into the stream, which takes {own}: for ever", republish.dest);
            check.refuse("republish", text);
        }
    }
}

fn copied(check: &mut Check<'_>, name: &str, key: &str, source: &Source) {
    if source.name.is_empty() {
        check.refuse(key, "has no name; say which stream is copied");
    }
    if source.name == name && source.external.is_none() {
        check.refuse(key, "a stream is no copy of itself");
    }
    if !source.filter_subject.is_empty() {
        check.subject(&format!("{key}.filter_subject"), &source.filter_subject);
        if !source.subject_transforms.is_empty() {
            check.refuse(key, "filter_subject and subject_transforms exclude each other; a transform filters as well");
        }
    }
    for one in &source.subject_transforms {
        mapping(check, &format!("{key}.subject_transforms"), one);
    }
    if source.start_sequence > 0 && !source.start_time.is_empty() {
        check.refuse(key, "start_sequence and start_time exclude each other");
    }
    consumers::time(check, &format!("{key}.start_time"), &source.start_time);
    // What is copied under its own subject, or another, lies outside of what the origin takes in: nothing would come.
    let is_plain = |origin: &&Stream| origin.origins().next().is_none() && origin.subject_transform.is_none();
    let origin = check.stream(&source.name).filter(is_plain).filter(|_| source.external.is_none());
    let Some(taken) = origin.map(|origin| origin.subjects.clone()) else { return };
    let filters = source.subject_transforms.iter().map(|one| one.src.as_str()).chain([source.filter_subject.as_str()]);
    for filter in filters.filter(|filter| !filter.is_empty()) {
        if !taken.iter().any(|subject| subject::overlaps(subject, filter)) {
            check.refuse(key, format!("nothing that {} takes in is on {filter}", source.name));
        }
    }
}

fn mapping(check: &mut Check<'_>, key: &str, mapping: &SubjectMapping) {
    if !mapping.src.is_empty() {
        check.subject(&format!("{key}.src"), &mapping.src);
    }
    if mapping.dest.is_empty() || mapping.dest.chars().any(char::is_whitespace) && !mapping.dest.contains("{{") {
        check.refuse(&format!("{key}.dest"), format!("{:?} is no subject", mapping.dest));
    }
}

fn switches(check: &mut Check<'_>, stream: &Stream) {
    if stream.allow_rollup && stream.deny_purge {
        check.refuse("allow_rollup", "a roll-up purges, which deny_purge forbids; keep one of them");
    }
    if stream.persist_mode == PersistMode::Async {
        if stream.allow_atomic {
            check.refuse("persist_mode", "\"async\" stores no atomic batches; keep one of them");
        }
        if stream.storage == Storage::Memory {
            check.refuse("persist_mode", "\"async\" is for a stream on disk");
        }
        if stream.replicas > 1 {
            check.refuse("persist_mode", "\"async\" is for a stream with one copy");
        }
    }
    if stream.deny_purge && (stream.allow_msg_schedules || !stream.subject_delete_marker_ttl.is_zero()) {
        let text =
            "the server takes it away again for subject_delete_marker_ttl and allow_msg_schedules; keep one of them";
        check.refuse("deny_purge", text);
    }
    if stream.allow_msg_counter
        && (stream.discard == Discard::New
            || stream.allow_msg_ttl
            || stream.allow_msg_schedules
            || stream.retention != Retention::Limits)
    {
        let text =
            "goes with retention = \"limits\" and discard = \"old\", without allow_msg_ttl and allow_msg_schedules";
        check.refuse("allow_msg_counter", text);
    }
    if stream.allow_msg_schedules && stream.origins().next().is_some() {
        check.refuse("allow_msg_schedules", "a stream that copies sends nothing later; keep one of them");
    }
    if stream.mirror.is_some() {
        for (key, is_set) in [
            ("allow_atomic", stream.allow_atomic),
            ("allow_batched", stream.allow_batched),
            ("allow_msg_counter", stream.allow_msg_counter),
            ("subject_delete_marker_ttl", !stream.subject_delete_marker_ttl.is_zero()),
        ] {
            if is_set {
                check.refuse(key, "a mirror has none: nobody publishes to it");
            }
        }
    }
    if !stream.subject_delete_marker_ttl.is_zero() && !stream.allow_msg_ttl {
        check.refuse("subject_delete_marker_ttl", "needs allow_msg_ttl");
    }
}
