//! What the board says, as `/status` and as metrics.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::board::{Board, BucketView, FeedView, ShardView};
use super::registry;
use crate::config::settings::Nats;
use crate::feed::backfill::RepairStatus;
use crate::feed::mend::MendStats;
use crate::market::Decimal;
use crate::telemetry::build;
use crate::telemetry::metrics::{Buckets, GAP_REASONS, Metric, Metrics, PARSE_ERRORS, STATES};
use crate::topology::change::Change;
use crate::transport::nats::window::{LATENCY_BOUNDS, Stats};
use crate::transport::nats::{BacklogStats, NatsStatus};

/// The daemon's whole state, per connection and symbol.
#[must_use]
pub fn status(board: &Board, now: Instant) -> Value {
    let reasons = board.reasons(now);
    let shards: Vec<Value> =
        board.views().iter().map(|view| view.as_ref().map_or(Value::Null, |v| shard(v, now))).collect();
    json!({
        "version": build::VERSION,
        "git_sha": build::GIT_SHA,
        "uptime_seconds": board.uptime().as_secs(),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "draining": board.is_draining(),
        "shards": shards,
        "kv": board.buckets().iter().map(bucket).collect::<Vec<Value>>(),
    })
}

fn bucket(view: &BucketView) -> Value {
    json!({
        "role": view.role,
        "bucket": view.bucket,
        "state": view.state,
        "entries": view.entries,
        "puts": view.puts,
        "failures": view.failures,
        "last_error": (!view.last_error.is_empty()).then_some(&view.last_error),
    })
}

fn shard(view: &ShardView, now: Instant) -> Value {
    let feeds: Vec<Value> = view.venues.iter().flat_map(|venue| &venue.feeds).map(|view| feed(view, now)).collect();
    let repairs: Vec<Value> = view
        .venues
        .iter()
        .filter_map(|venue| venue.repair.as_ref().map(|status| repair(venue.exchange, status)))
        .collect();
    let ring = view.ring.as_ref().map(|(rings, stats)| {
        let rings: Vec<Value> = rings
            .iter()
            .map(|(exchange, path)| json!({"exchange": exchange, "segment": path.display().to_string()}))
            .collect();
        json!({"segments": rings, "records": stats.done})
    });
    json!({"connections": feeds, "repairs": repairs, "ipc": ring, "nats": view.nats.as_ref().map(nats)})
}

fn feed(view: &FeedView, now: Instant) -> Value {
    let status = &view.status;
    let symbols: Vec<Value> = view
        .symbols
        .iter()
        .map(|(route, symbol, venue_symbol)| {
            let of = status.routes.get(route).cloned().unwrap_or_default();
            let price = (of.trades > 0).then(|| price(of.last_price.0, of.last_price.1));
            json!({
                "symbol": symbol,
                "venue_symbol": venue_symbol,
                "trades": of.trades,
                "last_price": price,
                "last_trade_id": of.last_id.to_string(),
                "last_trade_ns": of.last_ts,
                "gaps": of.gaps,
                "missing": of.missing,
                "rejected": (!of.rejected.is_empty()).then_some(of.rejected),
            })
        })
        .collect();
    json!({
        "name": view.name,
        "state": status.state.as_str(),
        "for_seconds": status.since.map(|since| now.saturating_duration_since(since).as_secs()),
        "last_error": (!status.last_error.is_empty()).then_some(&status.last_error),
        "frames": status.frames,
        "trades": status.trades,
        "duplicates": status.sequence.duplicates,
        "gaps": status.sequence.gaps,
        "missing": status.sequence.missing,
        "bad_times": status.bad_times,
        "parse_errors": status.decode_errors.values().sum::<u64>(),
        "connects": status.connects,
        "disconnects": status.disconnects,
        "rotations": status.rotations,
        "symbols": symbols,
    })
}

fn repair(exchange: &str, status: &RepairStatus) -> Value {
    json!({
        "exchange": exchange,
        "open": status.open,
        "whole": status.whole,
        "partial": status.partial,
        "trades": status.trades,
        "requests": status.requests,
        "limited": status.limited,
        "failed": status.failed,
        "looks": status.looks,
        "mute": status.mute,
        "last_error": (!status.last_error.is_empty()).then_some(&status.last_error),
    })
}

fn price(mantissa: i64, scale: u8) -> String {
    Decimal::from_price(mantissa, scale).to_string()
}

fn nats(status: &NatsStatus) -> Value {
    let differences = status.stream.as_ref().map(|stream| &stream.differences);
    let differences: Option<Vec<String>> = differences.map(|all| all.iter().map(Change::as_found).collect());
    let window = &status.window;
    json!({
        "state": status.state.as_str(),
        "stream": status.stream_name,
        "mode": status.mode.map(crate::transport::nats::window::Mode::as_str),
        "server": status.server,
        "leader": (!status.leader.is_empty()).then_some(&status.leader),
        "last_error": (!status.last_error.is_empty()).then_some(&status.last_error),
        "last_ack_ns": status.last_ack_ns,
        "acked": window.acked,
        "waiting": window.waiting,
        "waiting_bytes": window.waiting_bytes,
        "in_flight": window.in_flight,
        "retained": window.retained,
        "resent": window.resent,
        "duplicates": window.duplicates,
        "dropped": window.dropped,
        "gaps_declared": window.declared,
        "broker_lost": window.broker_lost,
        "rewinds": status.rewinds,
        "spool": status.backlog.as_ref().map(|spool| json!({
            "available": spool.available,
            "waiting": spool.waiting,
            "bytes": spool.bytes,
            "spooled": spool.spooled,
            "recovered": spool.recovered,
            "dropped": spool.dropped,
            "broken": spool.broken,
            "last_error": (!spool.error.is_empty()).then_some(&spool.error),
        })),
        "ack_latency": ack_latency(window),
        "differences": differences,
    })
}

/// Messages by the time from send to acknowledgement, in buckets that do not overlap; the last one has no bound.
fn ack_latency(window: &Stats) -> Vec<Value> {
    let micros = |bound: &std::time::Duration| u64::try_from(bound.as_micros()).ok();
    let bounds = LATENCY_BOUNDS.iter().map(micros).chain([None]);
    bounds.zip(window.ack_latency).map(|(bound, messages)| json!({"le_us": bound, "messages": messages})).collect()
}

/// A counter and where its total comes from.
type Total<T> = (Metric, fn(&T) -> u64);

/// Copies what the board says to the metrics.
pub struct Scribe {
    metrics: Metrics,
    settings: Nats,
    /// Bound of what waits for repairs in a shard, bytes.
    repair_bytes: u64,
    /// Delay sums at the last scrape, by exchange: nanoseconds and trades.
    delays: std::collections::BTreeMap<&'static str, (i64, u64)>,
}

impl Scribe {
    /// A scribe for these exchanges.
    #[must_use]
    pub fn new(exchanges: &[&str], settings: Nats, repair_bytes: u64) -> Self {
        let metrics = Metrics::new(exchanges, build::VERSION, build::GIT_SHA);
        Self { metrics, settings, repair_bytes, delays: std::collections::BTreeMap::new() }
    }

    /// The text that Prometheus reads, as of now.
    pub fn scrape(&mut self, board: &Board, now: Instant) -> String {
        let ready = board.reasons(now).is_empty();
        self.set(Metric::Ready, &[], u64::from(ready));
        self.metrics.set(Metric::StartTime, &[], seconds(board.started_ns));
        self.set(Metric::ClockSteps, &[], board.clock_steps());
        self.set(Metric::ResidentBytes, &[], resident_bytes());
        let views: Vec<Arc<ShardView>> = board.views().into_iter().flatten().collect();
        for venue in views.iter().flat_map(|view| &view.venues) {
            self.venue(venue.exchange, &venue.feeds);
            self.repairs(venue.exchange, venue.repair.as_ref());
        }
        self.mending(&views);
        let ring: u64 = views.iter().filter_map(|view| view.ring.as_ref()).map(|(_, stats)| stats.done).sum();
        self.set(Metric::ShmPublishedTrades, &[], ring);
        self.nats(&views.iter().filter_map(|view| view.nats.as_ref()).collect::<Vec<_>>());
        for view in board.buckets() {
            self.set(Metric::KvWritten, &[view.role], u64::from(view.state == registry::WRITTEN));
            self.set(Metric::KvPuts, &[view.role], view.puts);
            self.set(Metric::KvFailures, &[view.role], view.failures);
        }
        self.metrics.render()
    }

    #[expect(clippy::cast_precision_loss, reason = "a total beyond 2^53 is not reached in the life of a process")]
    fn set(&mut self, metric: Metric, labels: &[&str], value: u64) {
        self.metrics.set(metric, labels, value as f64);
    }

    fn venue(&mut self, exchange: &'static str, feeds: &[FeedView]) {
        let sum = |of: fn(&FeedView) -> u64| feeds.iter().map(of).sum::<u64>();
        for state in STATES {
            let count = feeds.iter().filter(|feed| feed.status.state.as_str() == state).count();
            self.set(Metric::Connections, &[exchange, state], count as u64);
        }
        self.set(Metric::ConnectionAttempts, &[exchange, "ok"], sum(|feed| feed.status.connects));
        self.set(Metric::ConnectionAttempts, &[exchange, "failed"], sum(|feed| feed.status.connect_failures));
        let totals: [Total<FeedView>; 13] = [
            (Metric::BadTimes, |feed| feed.status.bad_times),
            (Metric::TradesAbsurd, |feed| feed.status.sequence.absurd),
            (Metric::Disconnects, |feed| feed.status.disconnects),
            (Metric::Rotations, |feed| feed.status.rotations),
            (Metric::FramesReceived, |feed| feed.status.frames),
            (Metric::ReceivedBytes, |feed| feed.status.bytes),
            (Metric::TradesReceived, |feed| feed.status.trades),
            (Metric::TradesDuplicate, |feed| feed.status.sequence.duplicates),
            (Metric::TradesLate, |feed| feed.status.sequence.late),
            (Metric::TradesDelivered, |feed| feed.status.sequence.delivered),
            (Metric::GapTradesMissing, |feed| feed.status.sequence.missing),
            (Metric::GapsFilled, |feed| feed.status.sequence.filled),
            (Metric::IdRestarts, |feed| feed.status.sequence.restarts),
        ];
        for (metric, of) in totals {
            self.set(metric, &[exchange], sum(of));
        }
        for (number, reason) in GAP_REASONS.iter().enumerate() {
            let count = feeds.iter().filter_map(|feed| feed.status.gaps_by_reason.get(number)).sum();
            self.set(Metric::Gaps, &[exchange, reason], count);
        }
        for kind in PARSE_ERRORS {
            let count = feeds.iter().filter_map(|feed| feed.status.decode_errors.get(kind)).sum();
            self.set(Metric::ParseErrors, &[exchange, kind], count);
        }
        let last = feeds.iter().map(|feed| feed.status.last_trade_ns).max().unwrap_or(0);
        if last > 0 {
            self.metrics.set(Metric::LastTrade, &[exchange], seconds(last));
        }
        self.delay(exchange, feeds);
    }

    fn repairs(&mut self, exchange: &'static str, status: Option<&RepairStatus>) {
        let Some(status) = status else { return };
        self.set(Metric::Repairs, &[exchange, "whole"], status.whole);
        self.set(Metric::Repairs, &[exchange, "partial"], status.partial);
        let totals = [
            (Metric::RepairsOpen, status.open),
            (Metric::RepairedTrades, status.trades),
            (Metric::RepairRequests, status.requests),
            (Metric::RepairLimited, status.limited),
            (Metric::RepairFailed, status.failed),
            (Metric::RepairLooks, status.looks),
            (Metric::FeedMute, status.mute),
        ];
        for (metric, value) in totals {
            self.set(metric, &[exchange], value);
        }
    }

    /// What waits on its way to the broker while holes are filled.
    fn mending(&mut self, views: &[Arc<ShardView>]) {
        let sum = |of: fn(&MendStats) -> u64| views.iter().map(|view| of(&view.mending)).sum::<u64>();
        self.set(Metric::RepairWaiting, &[], sum(|stats| stats.waiting));
        self.set(Metric::RepairMended, &[], sum(|stats| stats.mended));
        self.set(Metric::RepairOverdue, &[], sum(|stats| stats.overdue));
        self.set(Metric::QueueDepth, &["repair_bytes"], sum(|stats| stats.bytes as u64));
        self.set(Metric::QueueCapacity, &["repair_bytes"], self.repair_bytes * views.len() as u64);
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean of nanoseconds needs no more than 53 bits")]
    fn delay(&mut self, exchange: &'static str, feeds: &[FeedView]) {
        let sum: i64 = feeds.iter().map(|feed| feed.status.delay_sum_ns).fold(0, i64::saturating_add);
        let count: u64 = feeds.iter().map(|feed| feed.status.delay_count).sum();
        let (old_sum, old_count) = self.delays.insert(exchange, (sum, count)).unwrap_or_default();
        if count > old_count {
            let mean = (sum - old_sum) as f64 / (count - old_count) as f64 / 1e9;
            self.metrics.set(Metric::IngestDelay, &[exchange], mean);
        }
    }

    fn nats(&mut self, all: &[&NatsStatus]) {
        let sum = |of: fn(&Stats) -> u64| all.iter().map(|status| of(&status.window)).sum::<u64>();
        let live = all.iter().filter(|status| status.state == crate::transport::nats::NatsState::Publishing).count();
        self.set(Metric::PublisherLive, &[], live as u64);
        let totals: [Total<Stats>; 7] = [
            (Metric::PublishedTrades, |stats| stats.acked),
            (Metric::PublishResent, |stats| stats.resent),
            (Metric::PublishDuplicates, |stats| stats.duplicates),
            (Metric::PublishDropped, |stats| stats.dropped),
            (Metric::PublishGaps, |stats| stats.declared),
            (Metric::BrokerLost, |stats| stats.broker_lost),
            (Metric::ForeignWriters, |stats| stats.foreign),
        ];
        for (metric, of) in totals {
            self.set(metric, &[], sum(of));
        }

        let spool = |of: fn(&BacklogStats) -> u64| all.iter().filter_map(|s| s.backlog.as_ref()).map(of).sum::<u64>();
        let waiting = sum(|stats| stats.waiting + stats.in_flight_records) + spool(|stats| stats.waiting);
        self.set(Metric::PublishWaiting, &[], waiting);
        self.set(Metric::SpoolWaiting, &[], spool(|stats| stats.waiting));
        self.set(Metric::Spooled, &[], spool(|stats| stats.spooled));
        self.set(Metric::SpoolRecovered, &[], spool(|stats| stats.recovered));
        self.set(Metric::SpoolDropped, &[], spool(|stats| stats.dropped));
        self.set(Metric::SpoolBroken, &[], spool(|stats| stats.broken));
        self.set(Metric::WindowRewinds, &[], all.iter().map(|status| status.rewinds).sum());
        let shards = all.len() as u64;
        let queues: [(&str, u64, u64); 4] = [
            ("outbox_bytes", sum(|stats| stats.waiting_bytes as u64), self.settings.outbox_memory.get() * shards),
            ("spool_bytes", spool(|stats| stats.bytes), self.settings.outbox_disk.get() * shards),
            ("window_messages", sum(|stats| stats.in_flight as u64), self.settings.window as u64 * shards),
            ("retained_bytes", sum(|stats| stats.retained_bytes as u64), self.settings.retain_bytes.get() * shards),
        ];
        for (queue, depth, capacity) in queues {
            self.set(Metric::QueueDepth, &[queue], depth);
            self.set(Metric::QueueCapacity, &[queue], capacity);
        }
        let mut buckets = Buckets {
            bounds: LATENCY_BOUNDS.iter().map(std::time::Duration::as_secs_f64).collect(),
            counts: vec![0; LATENCY_BOUNDS.len() + 1],
            sum: seconds(sum(|stats| stats.ack_latency_sum_us).saturating_mul(1_000)),
        };
        for status in all {
            buckets.counts.iter_mut().zip(status.window.ack_latency).for_each(|(total, count)| *total += count);
        }
        self.metrics.set_histogram(Metric::AckDuration, buckets);
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a time since 1970 fit into 53 bits")]
fn seconds(ns: u64) -> f64 {
    (ns / 1_000) as f64 / 1e6
}

/// Resident memory of this process, 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
