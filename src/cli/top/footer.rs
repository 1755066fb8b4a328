//! The lines above and below the table, as text.

use std::collections::BTreeMap;

use super::screen::{Mode, Screen};
use super::snapshot::RingRow;
use super::status::{AckBound, Publisher};
use super::text;

/// The first line: the daemon, what is read, how much of it.
pub(super) fn header(screen: &Screen, width: usize) -> String {
    let snapshot = &screen.snapshot;
    let daemon = snapshot.daemon.as_ref().map_or_else(
        || "data-manager -".to_owned(),
        |daemon| {
            let ready = if daemon.ready { "ready" } else { "NOT READY" };
            format!("data-manager {}  up {}  {ready}", daemon.version, text::uptime(daemon.uptime_seconds))
        },
    );
    let rate = format!("{}/s", text::rate(snapshot.total.rate, 9));
    let paused = if screen.paused { "PAUSED  " } else { "" };
    let right = format!("{paused}{}  {rate}", snapshot.source);
    let columns = |text: &str| text.chars().count();
    let room = width.saturating_sub(columns(&right));
    if columns(&daemon) < room { format!("{daemon:<room$}{right}") } else { format!("{paused}{rate}  {daemon}") }
}

/// The lines below the table, so many of them, and whether each is an alarm.
pub(super) fn lines(screen: &Screen, width: usize, count: u16) -> Vec<(String, bool)> {
    let keys = (keys(screen, width), false);
    match (count, alert(screen)) {
        (0, _) => Vec::new(),
        (1, Some(alert)) if screen.mode == Mode::Table => vec![(alert, true)],
        (1, _) => vec![keys],
        (_, Some(alert)) => vec![(alert, true), (ring(screen, width), false), (publisher(screen), false), keys],
        (_, None) => vec![(ring(screen, width), false), (publisher(screen), false), keys],
    }
}

/// What somebody should know now.
pub(super) fn alert(screen: &Screen) -> Option<String> {
    let snapshot = &screen.snapshot;
    let mut all = Vec::new();
    let lost = snapshot.lost;
    if lost.records > 0 {
        all.push(format!("LAPPED: this view lost {} records, {} times", text::count(lost.records, 15), lost.laps));
    }
    if lost.removed > 0 {
        all.push(format!("LOST: {} messages were removed from the stream unread", text::count(lost.removed, 15)));
    }
    all.extend(snapshot.note.clone());
    if let Some(daemon) = snapshot.daemon.as_ref().filter(|daemon| !daemon.ready) {
        all.push(format!("NOT READY: {}", daemon.reasons.join("; ")));
    }
    let mut writers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in snapshot.exchanges.iter().filter(|row| !row.writer.is_empty()) {
        writers.entry(&row.writer).or_default().push(&row.exchange);
    }
    all.extend(writers.iter().map(|(text, exchanges)| format!("{}: {text}", exchanges.join(", "))));
    (!all.is_empty()).then(|| all.join(" | "))
}

fn ring(screen: &Screen, width: usize) -> String {
    let snapshot = &screen.snapshot;
    let rings = &snapshot.rings;
    let Some(fullest) = rings.iter().max_by_key(|ring| ring.fill()) else {
        return "ring    -  (none is read)".to_owned();
    };
    let sum = |of: fn(&RingRow) -> u64| text::count(rings.iter().map(of).sum(), 15);
    let start = format!("ring    lost {}  unread {}", text::count(snapshot.lost.records, 15), sum(|ring| ring.unread));
    let each: Vec<String> = rings
        .iter()
        .map(|ring| format!("{} {}% at {}", ring.exchange, ring.fill(), text::count(ring.written, 15)))
        .collect();
    let long = format!("{start}  filled: {}", each.join("  "));
    if long.chars().count() <= width {
        return long;
    }
    let (written, count) = (sum(|ring| ring.written), rings.len());
    format!("{start}  {count} rings, {written} written, fullest {} {}%", fullest.exchange, fullest.fill())
}

fn publisher(screen: &Screen) -> String {
    let snapshot = &screen.snapshot;
    let Some(daemon) = &snapshot.daemon else {
        let why = snapshot.daemon_error.as_deref().unwrap_or("not asked");
        return format!("nats    -  outbox -  in flight -  ack -  (/status: {why})");
    };
    let Some(Publisher { state, mode, outbox_records, outbox_bytes, in_flight, dropped, last_error }) =
        &daemon.publisher
    else {
        return "nats    -  outbox -  in flight -  ack -  (this daemon publishes to no stream)".to_owned();
    };
    let bytes = outbox_bytes.map_or_else(|| "-".to_owned(), text::bytes);
    let dropped = if *dropped > 0 { format!("  DROPPED {}", text::count(*dropped, 11)) } else { String::new() };
    let mode = mode.as_ref().map(|mode| format!("  ({mode})")).unwrap_or_default();
    let error = last_error.as_ref().filter(|_| state != "publishing").map(|error| format!(": {error}"));
    format!(
        "nats    {state}{}{dropped}  outbox {} / {bytes}  in flight {in_flight}  ack p50 {} p99 {}{mode}",
        error.unwrap_or_default(),
        text::count(*outbox_records, 11),
        latency(snapshot.ack_p50),
        latency(snapshot.ack_p99)
    )
}

/// Latencies are counted in buckets: the bound of one is all that is known.
fn latency(bound: Option<AckBound>) -> String {
    match bound {
        None => "-".to_owned(),
        Some(AckBound { le_us: Some(micros) }) => {
            format!("<{}", text::span(i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX)))
        }
        Some(AckBound { le_us: None }) => ">5s".to_owned(),
    }
}

fn keys(screen: &Screen, width: usize) -> String {
    let filter = &screen.choice.filter;
    if screen.mode == Mode::Filter {
        return format!("filter: {filter}_   Enter keeps, Esc clears");
    }
    let kept = if filter.is_empty() { String::new() } else { format!("filter: {filter}   ") };
    let long = "q quit  ? help  s/S sort  r reverse  / filter  e fold  p pause  arrows scroll";
    let short = "q quit  ? help";
    let text = if kept.len() + long.len() <= width { long } else { short };
    format!("{kept}{text}")
}
