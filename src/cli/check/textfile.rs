//! An audit as a file for node_exporter's textfile collector, replaced whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::print::Row;
use super::{Audit, print};
use crate::telemetry::clock;

/// Writes it beside its place and moves it there: a collector never reads half of it.
pub(super) fn write(path: &Path, audit: &Audit) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // Another ending: a collector reads `*.prom` only.
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = Path::new(&beside);
    let written = std::fs::write(beside, text(audit, clock::wall_ns())).and_then(|()| std::fs::rename(beside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(beside);
    }
    written
}

fn text(audit: &Audit, now_ns: u64) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, rows: Vec<(String, String)>| {
        if rows.is_empty() {
            return;
        }
        let name = format!("data_manager_check_{name}");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in rows {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let plain = |value: String| vec![(String::new(), value)];
    gauge(
        "status",
        "Outcome of the audit: 0 well, 1 warning, 2 critical, 3 unknown.",
        plain(audit.worst().code().to_string()),
    );
    gauge("timestamp_seconds", "When the audit ran, Unix time.", plain(format!("{:.3}", now_ns as f64 / 1e9)));
    let trip = audit.answer.round_trip.map_or_else(Vec::new, |time| plain(format!("{:.6}", time.as_secs_f64())));
    gauge("round_trip_seconds", "How long one answer of JetStream took.", trip);
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for finding in &audit.findings {
        *counts.entry((finding.check, finding.severity.as_str())).or_default() += 1;
    }
    let counts = counts.into_iter().map(|((check, severity), count)| {
        let severity = severity.to_ascii_lowercase();
        (labels(&[("check", check), ("severity", &severity)]), count.to_string())
    });
    gauge("findings", "Findings of the audit.", counts.collect());
    let streams = print::streams(audit);
    let of = |value: fn(&Row<'_>) -> Option<String>| -> Vec<(String, String)> {
        streams.iter().filter_map(|row| Some((labels(&[("stream", row.name)]), value(row)?))).collect()
    };
    gauge("stream_messages", "Messages in a stream.", of(|row| Some(row.messages.to_string())));
    gauge("stream_bytes", "Bytes in a stream.", of(|row| Some(row.bytes.to_string())));
    let last = of(|row| {
        let time = OffsetDateTime::parse(row.last, &Rfc3339).ok()?;
        Some(format!("{:.3}", time.unix_timestamp_nanos() as f64 / 1e9))
    });
    gauge("stream_last_message_timestamp_seconds", "When a stream's last message was stored, Unix time.", last);
    let pending = print::consumers(audit)
        .into_iter()
        .map(|(stream, name, pending)| (labels(&[("stream", stream), ("consumer", name)]), pending.to_string()));
    gauge("consumer_pending", "Messages that wait for a consumer.", pending.collect());
    out
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let list: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", list.join(","))
}
