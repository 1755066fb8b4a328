//! An audit for people and monitoring plugins, and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Audit;
use crate::topology::audit::Severity;

/// A status line with figures behind `|`, as plugins print it, and a line a finding.
pub(super) fn text(audit: &Audit) -> String {
    let count = |severity| audit.findings.iter().filter(|finding| finding.severity == severity).count();
    let mut parts: Vec<String> =
        [(Severity::Critical, "critical"), (Severity::Unknown, "not found out"), (Severity::Warning, "warning")]
            .into_iter()
            .map(|(severity, word)| (count(severity), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
    if parts.is_empty() {
        parts.push("all is well".to_owned());
    }
    let mut out = format!("{}: {}", audit.worst().as_str(), parts.join(", "));
    if !audit.answer.server.is_empty() {
        let _ = write!(out, "; {}", audit.answer.server);
    }
    if let Some(time) = audit.answer.round_trip {
        let _ = write!(out, ", answers in {:.2} ms", time.as_secs_f64() * 1e3);
    }
    if let Some((found, _)) = &audit.answer.seen {
        let _ = write!(out, ", {} streams, {} consumers", found.streams.len(), found.consumers.len());
    }
    let figures = figures(audit);
    if !figures.is_empty() {
        let _ = write!(out, " | {}", figures.join(" "));
    }
    out.push('\n');
    for finding in &audit.findings {
        let _ = writeln!(out, "{finding}");
    }
    out
}

fn figures(audit: &Audit) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(time) = audit.answer.round_trip {
        list.push(format!("round_trip={:.6}s", time.as_secs_f64()));
    }
    for Row { name, messages, bytes, .. } in streams(audit) {
        list.push(format!("'{name} messages'={messages}"));
        list.push(format!("'{name} bytes'={bytes}B"));
    }
    for (stream, name, pending) in consumers(audit) {
        list.push(format!("'{stream}/{name} lag'={pending}"));
    }
    list
}

/// A stream in figures.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// When its last message was stored, RFC 3339; empty where it has never had one.
    pub(super) last: &'a str,
}

/// All streams in figures.
pub(super) fn streams(audit: &Audit) -> Vec<Row<'_>> {
    let Some((found, _)) = &audit.answer.seen else { return Vec::new() };
    found
        .streams
        .iter()
        .map(|(name, info)| {
            let state = info.get("state");
            let number = |key: &str| state.and_then(|state| state.get(key)?.as_u64()).unwrap_or(0);
            let last = state.and_then(|state| state.get("last_ts")?.as_str()).filter(|_| number("last_seq") > 0);
            Row { name, messages: number("messages"), bytes: number("bytes"), last: last.unwrap_or_default() }
        })
        .collect()
}

/// Stream, name and waiting messages of each consumer.
pub(super) fn consumers(audit: &Audit) -> Vec<(&str, &str, u64)> {
    let Some((found, _)) = &audit.answer.seen else { return Vec::new() };
    let pending = |info: &Map<String, Value>| info.get("num_pending").and_then(Value::as_u64).unwrap_or(0);
    found.consumers.iter().map(|((stream, name), info)| (stream.as_str(), name.as_str(), pending(info))).collect()
}

/// The whole audit as one object.
pub(super) fn object(audit: &Audit) -> Value {
    let rates = audit.answer.seen.as_ref().map(|(_, observed)| &observed.rates);
    let streams: Vec<Value> = streams(audit)
        .into_iter()
        .map(|Row { name, messages, bytes, last }| {
            let rate = rates.and_then(|rates| rates.get(name));
            let last = if last.is_empty() { Value::Null } else { last.into() };
            json!({"stream": name, "messages": messages, "bytes": bytes, "rate": rate, "last_message": last})
        })
        .collect();
    let consumers: Vec<Value> = consumers(audit)
        .into_iter()
        .map(|(stream, name, pending)| json!({"stream": stream, "consumer": name, "pending": pending}))
        .collect();
    json!({
        "status": audit.worst(),
        "code": audit.worst().code(),
        "server": audit.answer.server,
        "round_trip_seconds": audit.answer.round_trip.map(|time| time.as_secs_f64()),
        "findings": audit.findings,
        "streams": streams,
        "consumers": consumers,
    })
}
