//! Every metric that the daemon has, as an enum, with handles registered at start.
//!
//! Values are plain totals that rooms keep; they are copied here when somebody scrapes, so that no hot path knows a
//! metric. No label ever holds a symbol: per-symbol numbers are in `/status`.

mod list;

use std::collections::HashMap;
use std::fmt::Write as _;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

pub use list::Metric;

/// What stands before every name.
pub const PREFIX: &str = "data_manager_";

/// Label values of `reason` in gaps, by the number in a gap record.
pub const GAP_REASONS: [&str; 6] =
    ["other", "venue_disconnect", "stall", "outbox_overflow", "broker_lost", "undecodable_frame"];

/// Label values of `kind` in undecodable frames.
pub const PARSE_ERRORS: [&str; 7] = ["json", "frame_type", "number", "time", "value", "unknown_symbol", "too_long"];

/// Label values of `state` in connections.
pub const STATES: [&str; 4] = ["connecting", "subscribing", "live", "stopped"];

/// Label values of `queue`.
pub const QUEUES: [&str; 5] = ["outbox_bytes", "spool_bytes", "window_messages", "retained_bytes", "repair_bytes"];

/// Label values of `bucket` in KV buckets.
pub const BUCKETS: [&str; 2] = ["status", "instruments"];

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until a restart.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound, a sum and a count.
    Histogram,
}

/// The labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// None.
    None,
    /// `exchange`.
    Exchange,
    /// `exchange` and another one of few values.
    ExchangeAnd(&'static str, &'static [&'static str]),
    /// One label of few values.
    One(&'static str, &'static [&'static str]),
}

/// A histogram that is kept elsewhere as plain counts.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Upper bounds in seconds, rising.
    pub bounds: Vec<f64>,
    /// Counts, one more than bounds; not cumulated.
    pub counts: Vec<u64>,
    /// Sum of what was counted, seconds.
    pub sum: f64,
}

enum Handle {
    Counter(Counter),
    Gauge(Gauge),
}

/// The handles of all metrics, and what renders them.
pub struct Metrics {
    recorder: PrometheusRecorder,
    /// `None`: known, and shown only once it has a value.
    handles: HashMap<(Metric, Vec<String>), Option<Handle>>,
    histograms: HashMap<Metric, Buckets>,
}

impl Metrics {
    /// Registers every metric for these exchanges.
    #[must_use]
    pub fn new(exchanges: &[&str], version: &str, git_sha: &str) -> Self {
        let mut this = Self {
            recorder: PrometheusBuilder::new().build_recorder(),
            handles: HashMap::new(),
            histograms: HashMap::new(),
        };
        for metric in Metric::ALL.iter().copied().filter(|metric| metric.kind() != Kind::Histogram) {
            let name = format!("{PREFIX}{}", metric.name());
            let help = metric.help().trim().into();
            match metric.kind() {
                Kind::Counter => this.recorder.describe_counter(name.into(), None, help),
                Kind::Gauge | Kind::Histogram => this.recorder.describe_gauge(name.into(), None, help),
            }
            for values in combinations(metric.labels(), exchanges) {
                let names = label_names(metric.labels());
                let labels =
                    names.into_iter().zip(&values).map(|(name, value)| Label::new(name, value.clone())).collect();
                let labels = match metric {
                    Metric::BuildInfo => {
                        vec![Label::new("version", version.to_owned()), Label::new("git_sha", git_sha.to_owned())]
                    }
                    _ => labels,
                };
                // A time that was never set would read as 1970.
                let late = matches!(metric, Metric::LastTrade | Metric::IngestDelay);
                let handle = (!late).then(|| this.register(metric, labels));
                this.handles.insert((metric, values), handle);
            }
        }
        this.set(Metric::BuildInfo, &[], 1.0);
        this
    }

    fn register(&self, metric: Metric, labels: Vec<Label>) -> Handle {
        let metadata = Metadata::new("data_manager", Level::INFO, None);
        let key = Key::from_parts(format!("{PREFIX}{}", metric.name()), labels);
        match metric.kind() {
            Kind::Counter => Handle::Counter(self.recorder.register_counter(&key, &metadata)),
            Kind::Gauge | Kind::Histogram => Handle::Gauge(self.recorder.register_gauge(&key, &metadata)),
        }
    }

    /// Sets a value: the total of a counter, the level of a gauge. Label values that are not known are ignored.
    pub fn set(&mut self, metric: Metric, labels: &[&str], value: f64) {
        let values: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let known = (metric, values);
        if let Some(None) = self.handles.get(&known) {
            let names = label_names(metric.labels());
            let labels = names.into_iter().zip(&known.1).map(|(name, value)| Label::new(name, value.clone())).collect();
            let handle = self.register(metric, labels);
            self.handles.insert(known.clone(), Some(handle));
        }
        match self.handles.get(&known) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "totals are whole and positive"
            )]
            Some(Some(Handle::Counter(counter))) => counter.absolute(value as u64),
            Some(Some(Handle::Gauge(gauge))) => gauge.set(value),
            Some(None) | None => {}
        }
    }

    /// Sets a histogram.
    pub fn set_histogram(&mut self, metric: Metric, buckets: Buckets) {
        self.histograms.insert(metric, buckets);
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.recorder.handle().render();
        for (metric, buckets) in &self.histograms {
            render_histogram(*metric, buckets, &mut text);
        }
        text
    }
}

fn render_histogram(metric: Metric, buckets: &Buckets, text: &mut String) {
    let name = format!("{PREFIX}{}", metric.name());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} histogram", metric.help().trim());
    let mut sum = 0;
    for (at, count) in buckets.counts.iter().enumerate() {
        sum += count;
        let bound = buckets.bounds.get(at).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
    }
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {sum}\n", buckets.sum);
}

fn label_names(labels: Labels) -> Vec<&'static str> {
    match labels {
        Labels::None => vec![],
        Labels::Exchange => vec!["exchange"],
        Labels::ExchangeAnd(other, _) => vec!["exchange", other],
        Labels::One(name, _) => vec![name],
    }
}

fn combinations(labels: Labels, exchanges: &[&str]) -> Vec<Vec<String>> {
    let owned = |text: &&str| (*text).to_owned();
    match labels {
        Labels::None => vec![vec![]],
        Labels::Exchange => exchanges.iter().map(|exchange| vec![owned(exchange)]).collect(),
        Labels::ExchangeAnd(_, values) => {
            let of =
                |exchange: &&str| values.iter().map(|value| vec![owned(exchange), owned(value)]).collect::<Vec<_>>();
            exchanges.iter().flat_map(of).collect()
        }
        Labels::One(_, values) => values.iter().map(|value| vec![owned(value)]).collect(),
    }
}

/// The documentation of all metrics, as Markdown.
#[must_use]
pub fn documentation() -> String {
    let mut text = String::from(
        "# Metrics\n\nAll that `/metrics` shows. Written from the code; a test holds that it is up to date.\nNo label ever \
         holds a symbol: per-symbol numbers are in `/status`.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let labels = match metric.labels() {
            Labels::None if *metric == Metric::BuildInfo => "`version`, `git_sha`".to_owned(),
            Labels::None => String::new(),
            Labels::Exchange => "`exchange`".to_owned(),
            Labels::ExchangeAnd(other, values) => format!("`exchange`, `{other}`: {}", values.join(", ")),
            Labels::One(name, values) => format!("`{name}`: {}", values.join(", ")),
        };
        let kind = match metric.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{PREFIX}{}` | {kind} | {labels} | {} |", metric.name(), metric.help().trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_shows_from_the_start_or_from_its_first_value() {
        let mut metrics = Metrics::new(&["binance"], "1.2.3", "abc");
        let bounds = vec![0.001, 0.01];
        metrics.set_histogram(Metric::AckDuration, Buckets { bounds, counts: vec![1, 2, 3], sum: 0.5 });
        let before = metrics.render();
        assert!(!before.contains("last_trade_timestamp_seconds{"), "a time that was never set reads as 1970");
        metrics.set(Metric::LastTrade, &["binance"], 5.0);
        metrics.set(Metric::IngestDelay, &["binance"], -0.5);
        metrics.set(Metric::Gaps, &["binance", "stall"], 7.0);
        metrics.set(Metric::Gaps, &["nowhere", "stall"], 9.0);
        let text = metrics.render();
        for metric in Metric::ALL {
            assert!(text.contains(&format!("{PREFIX}{}", metric.name())), "{metric:?} is not shown");
        }
        assert!(text.contains("data_manager_gaps_total{exchange=\"binance\",reason=\"stall\"} 7"), "{text}");
        assert!(text.contains("data_manager_build_info{version=\"1.2.3\",git_sha=\"abc\"} 1"), "{text}");
        assert!(text.contains("data_manager_publish_ack_duration_seconds_bucket{le=\"0.01\"} 3"), "{text}");
        assert!(text.contains("data_manager_publish_ack_duration_seconds_bucket{le=\"+Inf\"} 6"), "{text}");
        assert!(!text.contains("nowhere"), "{text}");
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, documentation()).unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == documentation(), "docs/metrics.md is out of date: run UPDATE_DOCS=1 cargo test --lib metrics");
    }
}
