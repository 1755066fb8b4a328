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
        (_, Some(alert)) => vec![(alert, true), (ring(screen, width), false), publisher(screen, width), keys],
        (_, None) => vec![(ring(screen, width), false), publisher(screen, width), keys],
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
        all.push(format!("LOST: up to {} messages were removed from the stream unread", text::count(lost.removed, 15)));
    }
    all.extend(snapshot.note.clone());
    if let Some(daemon) = snapshot.daemon.as_ref().filter(|daemon| !daemon.ready) {
        let count = daemon.reasons.len();
        let count = if count > 1 { format!(" for {count} reasons") } else { String::new() };
        all.push(format!("NOT READY{count}: {}", daemon.reasons.join("; ")));
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
    let Some(fullest) = rings.iter().max_by(|one, other| one.fill().total_cmp(&other.fill())) else {
        return "ring  -  (none is read)".to_owned();
    };
    let sum = |of: fn(&RingRow) -> u64| text::count(rings.iter().map(of).sum(), 15);
    let start = format!("ring  lost {}  unread {}", text::count(snapshot.lost.records, 15), sum(|ring| ring.unread));
    let written = rings.iter().map(|ring| ring.written).sum();
    let fill = |ring: &RingRow| format!("{} {:.1}%", ring.exchange, ring.fill());
    let long = format!(
        "{start}  peak fill {}  written {}",
        rings.iter().map(fill).collect::<Vec<_>>().join(", "),
        text::count(written, 15)
    );
    if long.chars().count() <= width {
        return long;
    }
    format!("{start}  peak fill {}, fullest of {}  written {}", fill(fullest), rings.len(), text::count(written, 7))
}

/// The way to the broker, and whether it loses anything.
fn publisher(screen: &Screen, width: usize) -> (String, bool) {
    let snapshot = &screen.snapshot;
    let nothing = |why: &str| (format!("nats  -  outbox -  in flight -  ack -  ({why})"), false);
    let Some(daemon) = &snapshot.daemon else {
        return nothing(&format!("/status: {}", snapshot.daemon_error.as_deref().unwrap_or("not asked")));
    };
    let Some(Publisher { state, mode, outbox_records, outbox_bytes, in_flight, dropped, last_error }) =
        &daemon.publisher
    else {
        return nothing("this daemon publishes to no stream");
    };
    let lost = if *dropped > 0 { format!("  DROPPED {}", text::count(*dropped, 11)) } else { String::new() };
    let outbox = text::count(*outbox_records, 11);
    let bytes = outbox_bytes.map_or_else(|| "-".to_owned(), text::bytes);
    let acks = format!("p50{} p99{}", latency(snapshot.ack_p50), latency(snapshot.ack_p99));
    let mut text = format!("nats  {state}{lost}  outbox {outbox}, {bytes}  in flight {in_flight}  ack {acks}");
    let room = width.saturating_sub(text.chars().count());
    if let Some(mode) = mode.as_ref().map(|mode| format!("  ({mode})")).filter(|mode| mode.chars().count() <= room) {
        text.push_str(&mode);
    }
    // The longest stands last: where there is little room, it is what is cut off.
    if let Some(error) = last_error.as_ref().filter(|_| state != "publishing") {
        text.push_str("  ");
        text.push_str(error);
    }
    (text, *dropped > 0)
}

/// Latencies are counted in buckets: the bound of one is all that is known.
fn latency(bound: Option<AckBound>) -> String {
    match bound {
        None => " -".to_owned(),
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
