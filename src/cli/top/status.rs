//! What `/status` says, taken from its JSON; and the latency of acknowledgements over the last seconds. It asks nobody.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::meter::SMOOTH;

/// Characters of a text that are kept.
const TEXT_MAX: usize = 256;
/// Reasons that are kept.
const REASONS_MAX: usize = 16;

/// The daemon's own numbers, over all its shards.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) git_sha: String,
    pub(super) uptime_seconds: u64,
    pub(super) ready: bool,
    pub(super) reasons: Vec<String>,
    #[serde(skip)]
    pub(super) connections: Vec<Connection>,
    /// `None`: it publishes to no stream.
    pub(super) publisher: Option<Publisher>,
    #[serde(skip)]
    pub(super) ack_counts: Vec<(AckBound, u64)>,
}

/// A connection to a venue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Connection {
    pub(super) exchange: String,
    pub(super) state: String,
    pub(super) symbols: Vec<String>,
}

/// Everything between the daemon and its broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Publisher {
    /// Of the first shard that does not publish, or `publishing`.
    pub(super) state: String,
    pub(super) mode: Option<String>,
    pub(super) last_error: Option<String>,
    /// Records that wait to be sent, in memory and on disk.
    pub(super) outbox_records: u64,
    /// Their bytes; `None`: this daemon does not say.
    pub(super) outbox_bytes: Option<u64>,
    /// Messages that are sent and not acknowledged.
    pub(super) in_flight: u64,
    /// Records given up.
    pub(super) dropped: u64,
}

/// What a latency did not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct AckBound {
    /// Microseconds; `None`: it was beyond the last bound.
    pub(super) le_us: Option<u64>,
}

impl Status {
    /// Reads it.
    ///
    /// # Errors
    /// A text where it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|_| "the answer is no JSON: another program?".to_owned())?;
        let Some(shards) = value["shards"].as_array() else {
            return Err("the answer is no status of data-manager: another program?".to_owned());
        };
        let connections = shards.iter().flat_map(|shard| list(&shard["connections"])).map(connection).collect();
        Ok(Self {
            version: text_of(&value["version"]),
            git_sha: text_of(&value["git_sha"]),
            uptime_seconds: number(&value["uptime_seconds"]),
            ready: value["ready"].as_bool().unwrap_or(false),
            reasons: list(&value["reasons"]).take(REASONS_MAX).map(text_of).collect(),
            connections,
            publisher: publisher(shards),
            ack_counts: ack_counts(shards),
        })
    }

    /// What an exchange's connections are doing, and whether all of them are live; `None`: it has none.
    pub(super) fn state_of(&self, exchange: &str) -> (String, Option<bool>) {
        let all: Vec<&str> =
            self.connections.iter().filter(|one| one.exchange == exchange).map(|one| one.state.as_str()).collect();
        let live = all.iter().filter(|state| **state == "live").count();
        match all.iter().find(|state| **state != "live") {
            None if all.is_empty() => ("not of this daemon".to_owned(), None),
            None => (format!("{live}/{} live", all.len()), Some(true)),
            // What is wrong first: the rest may be cut off.
            Some(other) => (format!("{other}, {live}/{} live", all.len()), Some(false)),
        }
    }
}

fn connection(value: &Value) -> Connection {
    let name = text_of(&value["name"]);
    Connection {
        exchange: name.split('/').next().unwrap_or_default().to_owned(),
        state: text_of(&value["state"]),
        symbols: list(&value["symbols"]).map(|symbol| text_of(&symbol["symbol"])).collect(),
    }
}

fn publisher(shards: &[Value]) -> Option<Publisher> {
    let all: Vec<&Value> = shards.iter().map(|shard| &shard["nats"]).filter(|nats| nats.is_object()).collect();
    let worst = all.iter().find(|nats| nats["state"] != "publishing").or_else(|| all.first())?;
    let sum = |of: &dyn Fn(&Value) -> u64| all.iter().map(|nats| of(nats)).sum::<u64>();
    let waiting = |nats: &Value| number(&nats["waiting"]) + number(&nats["spool"]["waiting"]);
    let told = all.iter().all(|nats| nats["waiting_bytes"].is_u64());
    Some(Publisher {
        state: text_of(&worst["state"]),
        mode: worst["mode"].is_string().then(|| text_of(&worst["mode"])),
        last_error: worst["last_error"].is_string().then(|| text_of(&worst["last_error"])),
        outbox_records: sum(&waiting),
        outbox_bytes: told.then(|| sum(&|nats| number(&nats["waiting_bytes"]) + number(&nats["spool"]["bytes"]))),
        in_flight: sum(&|nats| number(&nats["in_flight"])),
        dropped: sum(&|nats| number(&nats["dropped"]) + number(&nats["spool"]["dropped"])),
    })
}

/// Messages by their latency, summed over the shards.
fn ack_counts(shards: &[Value]) -> Vec<(AckBound, u64)> {
    let mut sum: Vec<(AckBound, u64)> = Vec::new();
    for bucket in shards.iter().flat_map(|shard| list(&shard["nats"]["ack_latency"])) {
        let (bound, count) = (AckBound { le_us: bucket["le_us"].as_u64() }, number(&bucket["messages"]));
        match sum.iter_mut().find(|(other, _)| *other == bound) {
            Some((_, total)) => *total += count,
            None => sum.push((bound, count)),
        }
    }
    sum
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What another program says may be of any length; nobody reads more than a line of it.
fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().chars().take(TEXT_MAX).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Latencies of acknowledgements over the last ten seconds, from totals that only grow.
#[derive(Debug, Default)]
pub(super) struct Acks {
    seen: VecDeque<(Instant, Vec<(AckBound, u64)>)>,
}

impl Acks {
    /// Totals at a moment.
    pub(super) fn observe(&mut self, now: Instant, counts: &[(AckBound, u64)]) {
        let fell = |(_, old): &(Instant, Vec<(AckBound, u64)>)| {
            old.len() != counts.len() || old.iter().zip(counts).any(|(old, new)| old.1 > new.1)
        };
        // Another daemon, or the same one started again.
        if self.seen.back().is_some_and(fell) {
            self.seen.clear();
        }
        self.seen.push_back((now, counts.to_vec()));
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SMOOTH) {
            self.seen.pop_front();
        }
    }

    /// The bound that this part of the messages did not exceed; `None`: nothing was acknowledged.
    pub(super) fn quantile(&self, part: f64) -> Option<AckBound> {
        let ((_, first), (_, last)) = (self.seen.front()?, self.seen.back()?);
        let grown = || last.iter().zip(first).map(|(last, first)| (last.0, last.1 - first.1));
        let all: u64 = grown().map(|(_, count)| count).sum();
        let mut sum = 0;
        grown().filter(|_| all > 0).find_map(|(bound, count)| {
            sum += count;
            (sum as f64 >= all as f64 * part).then_some(bound)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::clock;

    fn le(micros: u64) -> AckBound {
        AckBound { le_us: Some(micros) }
    }

    #[test]
    fn a_status_is_read_over_all_shards() {
        let shard = |state: &str, name: &str| {
            format!(
                r#"{{"connections":[{{"name":"{name}/0","state":"live","symbols":[{{"symbol":"BTCUSDT"}}]}},
                {{"name":"{name}/1","state":"connecting","symbols":[]}}],
                "nats":{{"state":"{state}","waiting":3,"waiting_bytes":300,"in_flight":2,"dropped":1,
                "spool":{{"waiting":10,"bytes":1000,"dropped":1}},
                "ack_latency":[{{"le_us":100,"messages":1}},{{"le_us":null,"messages":2}}]}}}}"#
            )
        };
        let text = format!(
            r#"{{"version":"1","uptime_seconds":7,"ready":true,"reasons":[],"shards":[null,{},{}]}}"#,
            shard("publishing", "x"),
            shard("reconciling", "y")
        );
        let status = Status::parse(&text).unwrap();
        let publisher = status.publisher.clone().unwrap();
        assert_eq!(publisher.state, "reconciling", "the one that is worse off");
        assert_eq!((publisher.outbox_records, publisher.outbox_bytes), (26, Some(2_600)));
        assert_eq!((publisher.in_flight, publisher.dropped), (4, 4));
        assert_eq!(status.ack_counts, [(le(100), 2), (AckBound::default(), 4)]);
        assert_eq!(status.state_of("x"), ("connecting, 1/2 live".to_owned(), Some(false)));
        assert_eq!(status.state_of("z"), ("not of this daemon".to_owned(), None));
        let long = format!(r#"{{"shards":[],"reasons":[{}"y"]}}"#, format!("\"{}\",", "x".repeat(9_999)).repeat(99));
        let reasons = Status::parse(&long).unwrap().reasons;
        assert!(reasons.len() == REASONS_MAX && reasons.iter().all(|reason| reason.len() == TEXT_MAX));
        assert!(Status::parse("<html>").unwrap_err().contains("no JSON"));
        assert!(Status::parse("{}").unwrap_err().contains("another program"));
    }

    #[test]
    fn latencies_are_of_the_last_seconds() {
        let (mut acks, start) = (Acks::default(), clock::now());
        let counts = |fast, slow| [(le(100), fast), (le(500), slow), (AckBound::default(), 0)];
        assert_eq!(acks.quantile(0.5), None);
        acks.observe(start, &counts(1_000, 1_000));
        assert_eq!(acks.quantile(0.5), None, "what was before is not known to be recent");
        acks.observe(start + Duration::from_secs(1), &counts(1_098, 1_002));
        assert_eq!((acks.quantile(0.5), acks.quantile(0.99)), (Some(le(100)), Some(le(500))));
        acks.observe(start + Duration::from_secs(2), &counts(5, 0));
        assert_eq!(acks.quantile(0.5), None, "it began anew");
    }
}
