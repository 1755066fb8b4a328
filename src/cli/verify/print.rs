//! What an audit has found, as a table with a verdict for people, or as one object a line.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::book::{Entry, Findings};
use crate::exchange::IdRule;
use crate::feed::audit::{Class, Finding, Report};

/// Findings of one instrument that people are shown; the rest is counted.
const SHOWN_MAX: usize = 20;

/// What numbers of places mean, and what is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    /// The stream that was audited, if it was one.
    pub(super) stream: Option<&'a str>,
    /// `sequence`, `line` or `record`.
    pub(super) place: &'static str,
    pub(super) allow_declared: bool,
}

const HEADER: [&str; 12] = [
    "exchange",
    "symbol",
    "trades",
    "first id",
    "last id",
    "doubles",
    "conflicts",
    "order",
    "silent",
    "declared",
    "late",
    "unprovable",
];

/// The table, the findings, the verdict.
pub(super) fn text(out: &mut dyn Write, findings: &Findings, style: Style<'_>) -> io::Result<()> {
    table(out, &findings.entries)?;
    let mut parted = false;
    for entry in &findings.entries {
        let listed = listed(&entry.report, style);
        if !listed.is_empty() && !std::mem::replace(&mut parted, true) {
            writeln!(out)?;
        }
        let name = format!("{} {}", entry.exchange, entry.symbol);
        for finding in listed.iter().take(SHOWN_MAX) {
            writeln!(out, "{name}: {}", sentence(finding, style))?;
        }
        let found: u64 = Class::ALL.into_iter().map(|class| entry.report.found(class)).sum();
        let rest = found.saturating_sub(listed.len().min(SHOWN_MAX) as u64);
        if rest > 0 {
            writeln!(out, "{name}: and {rest} more")?;
        }
    }
    for stray in findings.strays.iter().take(SHOWN_MAX) {
        writeln!(out, "{} {}: {}", style.place, stray.at, stray.what)?;
    }
    let rest = findings.stray_count.saturating_sub(findings.strays.len().min(SHOWN_MAX) as u64);
    if rest > 0 {
        writeln!(out, "and {rest} more that belong to no instrument")?;
    }
    writeln!(out, "\n{}", verdict(findings, style))
}

/// One object a line: each instrument, each finding that is listed, the verdict; of a stream with its name.
pub(super) fn objects(out: &mut dyn Write, findings: &Findings, style: Style<'_>) -> io::Result<()> {
    let mut write = |mut line: Value| {
        if let (Some(stream), Value::Object(line)) = (style.stream, &mut line) {
            line.insert("stream".to_owned(), stream.into());
        }
        writeln!(out, "{line}")
    };
    for entry in &findings.entries {
        write(instrument(entry))?;
    }
    for entry in &findings.entries {
        for finding in listed(&entry.report, style) {
            write(json!({
                "kind": "finding",
                "exchange": entry.exchange,
                "symbol": entry.symbol,
                "class": finding.class.as_str(),
                "fault": is_fault(finding.class, style),
                style.place: finding.at,
                "first_id": finding.first_id.to_string(),
                "last_id": finding.last_id.to_string(),
                "detail": finding.detail,
            }))?;
        }
    }
    for stray in &findings.strays {
        write(
            json!({"kind": "finding", "class": "stray", "fault": true, style.place: stray.at, "detail": stray.what}),
        )?;
    }
    let mut line = counts(|class| findings.count(class));
    line.insert("kind".to_owned(), "verdict".into());
    line.insert("whole".to_owned(), findings.is_whole(style.allow_declared).into());
    line.insert("records".to_owned(), findings.records.into());
    line.insert("instruments".to_owned(), findings.entries.len().into());
    line.insert("stray".to_owned(), findings.stray_count.into());
    line.insert("text".to_owned(), verdict(findings, style).into());
    write(Value::Object(line))
}

fn counts(count: impl Fn(Class) -> u64) -> Map<String, Value> {
    Class::ALL.into_iter().map(|class| (class.as_str().to_owned(), count(class).into())).collect()
}

fn instrument(entry: &Entry) -> Value {
    let report = &entry.report;
    let mut line = counts(|class| report.count(class));
    let ids = match entry.rule {
        Some(IdRule::Contiguous) => "contiguous",
        Some(IdRule::Increasing) => "increasing",
        Some(IdRule::Unique) => "unique",
        None => "unknown",
    };
    let mark = |mark: Option<crate::feed::audit::Mark>| {
        mark.map(|mark| json!({"id": mark.id.to_string(), "ts_event": mark.ts, "at": mark.at}))
    };
    let rest = [
        ("kind", json!("instrument")),
        ("exchange", json!(entry.exchange)),
        ("symbol", json!(entry.symbol)),
        ("ids", json!(ids)),
        ("trades", json!(report.trades)),
        ("gaps", json!(report.gaps)),
        ("first", json!(mark(report.first))),
        ("last", json!(mark(report.last))),
        ("uncompared", json!(report.uncompared)),
    ];
    line.extend(rest.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(line)
}

fn table(out: &mut dyn Write, entries: &[Entry]) -> io::Result<()> {
    let row = |entry: &Entry| {
        let report = &entry.report;
        let id =
            |mark: Option<crate::feed::audit::Mark>| mark.map_or_else(|| "-".to_owned(), |mark| mark.id.to_string());
        let count = |class: Class| report.count(class).to_string();
        [
            entry.exchange.clone(),
            entry.symbol.clone(),
            report.trades.to_string(),
            id(report.first),
            id(report.last),
            count(Class::Double),
            count(Class::Conflict),
            count(Class::Order),
            count(Class::Silent),
            count(Class::Declared),
            count(Class::Late),
            count(Class::Unprovable),
        ]
    };
    let rows: Vec<[String; 12]> = std::iter::once(HEADER.map(str::to_owned)).chain(entries.iter().map(row)).collect();
    let widths: [usize; 12] =
        std::array::from_fn(|place| rows.iter().map(|row| row[place].chars().count()).max().unwrap_or(0));
    for row in rows {
        let cells = row.iter().zip(widths).enumerate();
        // Names to the left, numbers to the right.
        let cells = cells.map(
            |(place, (cell, width))| if place < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") },
        );
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
    }
    Ok(())
}

const fn is_fault(class: Class, style: Style<'_>) -> bool {
    class.is_fault() && !(style.allow_declared && class.is_declared())
}

/// Faults first, then what is for information, each in its order.
fn listed<'a>(report: &'a Report, style: Style<'_>) -> Vec<&'a Finding> {
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_key(|finding| (!is_fault(finding.class, style), finding.class, finding.at));
    findings
}

fn sentence(finding: &Finding, style: Style<'_>) -> String {
    let Finding { class, at, first_id, last_id, detail } = finding;
    let ids = match (first_id, last_id) {
        (0, 0) => String::new(),
        (first, last) if first == last => format!(", id {first}"),
        (first, last) => format!(", ids {first} to {last}"),
    };
    let note = if is_fault(*class, style) { "" } else { " (for information)" };
    format!("{class} at {} {at}{ids}: {detail}{note}", style.place)
}

/// One line that says it all.
pub(super) fn verdict(findings: &Findings, style: Style<'_>) -> String {
    let trades: u64 = findings.entries.iter().map(|entry| entry.report.trades).sum();
    let some = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (trades, instruments) = (some(trades, "trade"), some(findings.entries.len() as u64, "instrument"));
    let told = |fault: bool| {
        let of_kind = Class::ALL.into_iter().filter(|class| is_fault(*class, style) == fault);
        let some = of_kind.map(|class| (class.as_str(), findings.count(class))).filter(|(_, count)| *count > 0);
        some.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>()
    };
    let mut faults = told(true);
    if findings.stray_count > 0 {
        faults.push(format!("{} of no instrument", findings.stray_count));
    }
    let mut line = if faults.is_empty() {
        format!("whole: {trades} of {instruments}, nothing missing in silence, doubled or out of order")
    } else {
        let which = findings.entries.iter().filter(|entry| !entry.report.is_whole(style.allow_declared)).count();
        format!("not whole: {} in {which} of {instruments}, {trades}", faults.join(", "))
    };
    let information = told(false);
    if !information.is_empty() {
        line += &format!("; for information: {}", information.join(", "));
    }
    let mut unproved: Vec<&str> = findings
        .entries
        .iter()
        .filter(|entry| entry.rule != Some(IdRule::Contiguous))
        .map(|entry| entry.exchange.as_str())
        .collect();
    unproved.dedup();
    if !unproved.is_empty() {
        line += &format!("; the ids of {} prove no loss", unproved.join(", "));
    }
    line
}
