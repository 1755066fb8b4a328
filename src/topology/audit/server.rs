//! A declaration held against what a server says and does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::retention::{self, Load, about};
use super::{Finding, Severity, consumers, files};
use crate::config::{Bytes, Span};
use crate::topology::load::Declared;
use crate::topology::model::Stream;
use crate::topology::plan::{Action, Found, Plan, config_of};

/// A power failure costs what was acknowledged since the last sync: more than this is said.
const SYNC_WARNING: Duration = Duration::from_secs(10);
/// A store that is fuller than this, in percent, is said.
const FULL_PERCENT: u64 = 80;

/// A stream that covers this long, in seconds, tells its own rate.
const LONG_ENOUGH: f64 = 60.0;

/// From where on something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that wait for a consumer.
    pub lag_warning: u64,
    /// The same, when it is critical.
    pub lag_critical: u64,
    /// A stream that gets no message for this long; zero: only streams with an `expected_rate` are looked at.
    pub silence: Duration,
}

/// How the server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Servers that are not on this machine.
    pub remote: Vec<String>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the server asks who one is.
    pub auth: bool,
    /// The cluster's name, where it is one.
    pub cluster: Option<String>,
}

/// What was found beside streams and consumers.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Wall time, ns since the Unix epoch.
    pub now_ns: u64,
    /// Messages a second that came while it was looked at, by stream.
    pub rates: BTreeMap<String, f64>,
    /// Consumers, by stream and name, that got no acknowledgement while they were looked at.
    pub stood: BTreeSet<(String, String)>,
    /// The account, as `$JS.API.INFO` tells it.
    pub account: Map<String, Value>,
    /// The server, as its monitoring page `/jsz` tells it.
    pub server: Option<Map<String, Value>>,
    /// How it is reached.
    pub reach: Reach,
}

/// Everything that can be criticised of a running server, streams as declared first.
#[must_use]
pub fn of_server(
    declared: &Declared,
    found: &Found,
    plan: &Plan,
    observed: &Observed,
    limits: &Limits,
) -> Vec<Finding> {
    let mut findings = drift(declared, plan);
    findings.extend(reach(&observed.reach));
    for (name, stream) in declared.topology.streams.iter().filter(|(_, stream)| !stream.absent) {
        let Some(info) = found.streams.get(name) else { continue };
        let place = declared.place(&format!("streams.{name}"));
        findings.extend(kept(&place, name, stream, info, observed));
        findings.extend(converted(&place, stream, info));
        findings.extend(silent(&place, stream, info, observed, limits));
    }
    if let Some(cluster) = &observed.reach.cluster {
        findings.extend(copies(found, cluster));
    }
    findings.extend(store(found, observed));
    findings.extend(sync(found, observed));
    findings.extend(consumers::judge(found, &observed.stood, limits));
    findings.extend(files::of_files(declared).into_iter().filter(|finding| finding.check != "retention"));
    findings
}

/// Each stream, bucket and consumer as declared.
fn drift(declared: &Declared, plan: &Plan) -> Vec<Finding> {
    let cure = if declared.has_files() {
        "`data-manager topology plan` shows what it would take, `apply` does it"
    } else {
        "let transport.nats say what the server has; or declare it in a topology file, which `data-manager topology apply` \
         makes so"
    };
    let mut findings = Vec::new();
    for step in &plan.steps {
        let place = step.object.to_string();
        let changes: Vec<String> = step.changes.iter().map(ToString::to_string).collect();
        let (severity, message) = match step.action {
            Action::Create => (Severity::Critical, "is declared and not there".to_owned()),
            Action::Change => (Severity::Warning, format!("is not as declared: {}", changes.join(", "))),
            Action::Delete => (Severity::Warning, "is there, and declared absent".to_owned()),
        };
        findings.push(Finding::new(severity, "declared", place, message, cure));
    }
    for lacking in &plan.lacking {
        let cure = "a newer nats-server; a stream made without it may have to be made anew then";
        findings.push(Finding::new(Severity::Warning, "declared", "server", lacking.clone(), cure));
    }
    for conflict in &plan.conflicts {
        findings.push(Finding::new(Severity::Critical, "declared", "subjects", conflict.clone(), ""));
    }
    findings
}

fn reach(reach: &Reach) -> Vec<Finding> {
    let Some(server) = reach.remote.first() else { return Vec::new() };
    let mut findings = Vec::new();
    let mut warn = |check, message: &str, cure: &str| {
        findings.push(Finding::new(Severity::Warning, check, server.clone(), message, cure));
    };
    if !reach.tls {
        let text =
            "it is reached from other machines, and not encrypted: who is on the way reads and changes what goes by";
        warn("tls", text, "give the server a certificate, write tls:// and set transport.nats.tls.ca");
    }
    if !reach.auth {
        let text = "the server asks nobody who they are: whoever reaches it can publish and delete";
        warn("auth", text, "`data-manager topology acl` writes accounts with least rights");
    }
    findings
}

/// How long it keeps what it is given, at the rate that was seen.
fn kept(place: &str, name: &str, stream: &Stream, info: &Map<String, Value>, observed: &Observed) -> Option<Finding> {
    let state = info.get("state")?;
    let messages = state.get("messages").and_then(Value::as_u64).unwrap_or(0);
    let bytes = state.get("bytes").and_then(Value::as_u64).unwrap_or(0);
    let time = |key: &str| moment(state.get(key)?.as_str()?);
    let lived = match (time("first_ts"), time("last_ts")) {
        (Some(first), Some(last)) if messages > 1 => last.saturating_sub(first) as f64 / 1e9,
        _ => 0.0,
    };
    // Over its whole content, where that is long enough to say anything; a burst that is looked at says little.
    let whole = if lived >= 1.0 { messages as f64 / lived } else { 0.0 };
    let now = observed.rates.get(name).copied().unwrap_or(0.0);
    let seen = if lived >= LONG_ENOUGH { whole } else { now.max(whole) };
    let message_bytes = match messages {
        0 => stream.message_bytes.get() as f64,
        messages => bytes as f64 / messages as f64,
    };
    let subjects = state.get("num_subjects").and_then(Value::as_u64).unwrap_or(0);
    let (rate, word) = if seen > 0.0 { (seen, "observed") } else { (stream.expected_rate, "expected") };
    retention::judge(place, stream, Load { rate, message_bytes, subjects }, word)
}

/// What a bound in bytes became: the server counts messages, and theirs may be longer or shorter than was thought.
fn converted(place: &str, stream: &Stream, info: &Map<String, Value>) -> Option<Finding> {
    let wanted = stream.max_bytes_per_subject.get();
    let state = info.get("state")?;
    let messages = state.get("messages").and_then(Value::as_u64).filter(|count| *count >= 100)?;
    let mean = state.get("bytes").and_then(Value::as_u64)? / messages;
    let count = config_of(info).get("max_msgs_per_subject").and_then(Value::as_u64)?;
    let really = count.saturating_mul(mean);
    if wanted == 0 || (really <= wanted + wanted / 2 && really >= wanted / 2) {
        return None;
    }
    let message = format!(
        "max_bytes_per_subject = {} became {count} messages, which are {} at the {mean} B that a message really takes",
        stream.max_bytes_per_subject,
        rounded(really),
    );
    let cure = format!("set message_bytes = \"{mean}B\" and apply");
    Some(Finding::new(Severity::Warning, "converted", place, message, cure))
}

/// No message for longer than is meant.
fn silent(
    place: &str,
    stream: &Stream,
    info: &Map<String, Value>,
    observed: &Observed,
    limits: &Limits,
) -> Option<Finding> {
    let state = info.get("state")?;
    let last_seq = state.get("last_seq").and_then(Value::as_u64).unwrap_or(0);
    let expected = stream.expected_rate > 0.0;
    // Ten messages late, and a minute at least: rates are means.
    let of_rate = Duration::from_secs_f64((10.0 / stream.expected_rate.max(1e-6)).clamp(60.0, 1e7));
    let bound = match (limits.silence.is_zero(), expected) {
        (false, _) => limits.silence,
        (true, true) => of_rate,
        (true, false) => return None,
    };
    if last_seq == 0 {
        let text = "it has never had a message";
        return (expected || !limits.silence.is_zero())
            .then(|| Finding::new(Severity::Warning, "silent", place, text, "look at its publishers"));
    }
    let age = observed.now_ns.saturating_sub(moment(state.get("last_ts")?.as_str()?)?);
    let age = Duration::from_nanos(age);
    if age <= bound {
        return None;
    }
    let message = format!("its last message is {} old", about(age.as_secs_f64()));
    Some(Finding::new(Severity::Warning, "silent", place, message, "look at its publishers, and at this clock"))
}

/// Streams with one copy where there could be three.
fn copies(found: &Found, cluster: &str) -> Vec<Finding> {
    let single = |info: &Map<String, Value>| config_of(info).get("num_replicas").and_then(Value::as_u64) == Some(1);
    found
        .streams
        .iter()
        .filter(|(_, info)| single(info))
        .map(|(name, _)| {
            let message =
                format!("has one copy in cluster {cluster}: it is away with its server, and gone with its disk");
            Finding::new(Severity::Warning, "replicas", format!("stream {name}"), message, "set replicas = 3 and apply")
        })
        .collect()
}

/// What streams may take together, against what the account may take and what the server has. Both count copies, and
/// what other accounts may take counts on the server.
fn store(found: &Found, observed: &Observed) -> Vec<Finding> {
    let object = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_object).cloned();
    let number = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut findings = Vec::new();
    for (kind, word, used, reserved, most) in [
        ("file", "on disk", "storage", "reserved_storage", "max_storage"),
        ("memory", "in memory", "memory", "reserved_memory", "max_memory"),
    ] {
        let bounds = found.streams.values().map(config_of).filter_map(|config| {
            let is_kind = config.get("storage").and_then(Value::as_str) == Some(kind);
            is_kind.then(|| number(&config, "max_bytes").saturating_mul(number(&config, "num_replicas").max(1)))
        });
        let sum = bounds.fold(0_u64, u64::saturating_add);
        let account = object(&observed.account, "limits").map(|limits| (number(&limits, most), sum, &observed.account));
        let server = observed
            .server
            .as_ref()
            .and_then(|server| Some((number(&object(server, "config")?, most), number(server, reserved), server)));
        let rooms = [("account", account), ("server", server)];
        for (place, (room, may, of)) in rooms.into_iter().filter_map(|(place, room)| Some((place, room?))) {
            let taken = number(of, used);
            if room == 0 {
                continue;
            }
            if may > room {
                let (may, room) = (rounded(may), rounded(room));
                let message = format!(
                    "the streams {word} may take {may} together, and there is room for {room}: a full store refuses \
                     everybody"
                );
                findings.push(Finding::new(
                    Severity::Critical,
                    "store",
                    place,
                    message,
                    "lower max_bytes, or make room",
                ));
            }
            if taken.saturating_mul(100) > room.saturating_mul(FULL_PERCENT) {
                let message = format!("{} of {} {word} are taken", rounded(taken), rounded(room));
                findings.push(Finding::new(Severity::Warning, "store", place, message, "make room before it is full"));
            }
        }
    }
    findings
}

/// What an acknowledgement is worth on one machine.
fn sync(found: &Found, observed: &Observed) -> Vec<Finding> {
    let lonely: Vec<&str> = found
        .streams
        .iter()
        .filter(|(_, info)| {
            let config = config_of(info);
            config.get("num_replicas").and_then(Value::as_u64) == Some(1)
                && config.get("storage").and_then(Value::as_str) == Some("file")
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if lonely.is_empty() {
        return Vec::new();
    }
    let config = observed.server.as_ref().and_then(|server| server.get("config"));
    let Some(config) = config else {
        let text = "how often the server syncs its files can be known from its monitoring page only";
        return vec![Finding::new(Severity::Ok, "sync", "server", text, "give --monitor http://HOST:8222")];
    };
    if config.get("sync_always").and_then(Value::as_bool) == Some(true) {
        return Vec::new();
    }
    let Some(interval) = config.get("sync_interval").and_then(Value::as_u64).map(Duration::from_nanos) else {
        return Vec::new();
    };
    if interval <= SYNC_WARNING {
        return Vec::new();
    }
    let message = format!(
        "files are synced every {}: a power failure costs what was acknowledged since, in streams with one copy ({})",
        Span::from(interval),
        lonely.join(", ")
    );
    let cure = "three copies, or sync_interval in the server's jetstream block; data-manager itself keeps and sends again \
                what it had acknowledged for transport.nats.retain";
    vec![Finding::new(Severity::Warning, "sync", "server", message, cure)]
}

/// A time of the API, ns since the Unix epoch.
fn moment(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos()).ok()
}

/// Bytes in three digits or so.
fn rounded(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            return format!("{:.1}{unit}", bytes as f64 / (1_u64 << shift) as f64);
        }
    }
    Bytes::from(bytes).to_string()
}
