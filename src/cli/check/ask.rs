//! What a server says of itself, gathered once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use async_nats::{Client, ServerAddr};
use serde_json::{Map, Value};

use crate::config::settings::Nats;
use crate::telemetry::clock;
use crate::topology::audit::{Finding, Observed, Reach, Severity};
use crate::topology::plan::Found;
use crate::topology::remote::{self, RemoteError};
use crate::transport::nats::connect;

/// How long a monitoring page may take.
const PAGE: Duration = Duration::from_secs(5);

/// What was gathered; what could not be is a finding.
#[derive(Default)]
pub(super) struct Answer {
    /// Findings on the way there.
    pub(super) findings: Vec<Finding>,
    /// Such as `nats-server 2.15.1 at nats://localhost:4222`; empty where nobody answered.
    pub(super) server: String,
    /// How long one answer of JetStream takes.
    pub(super) round_trip: Option<Duration>,
    /// What it has.
    pub(super) seen: Option<(Found, Observed)>,
}

/// Asks a server everything that the audit wants to know.
pub(super) async fn ask(nats: &Nats, monitor: Option<&str>, sample: Duration) -> Answer {
    let mut answer = Answer::default();
    let servers = nats.servers.join(",");
    let client = match connect::dial(nats).await {
        Ok(client) => client,
        Err(error) => {
            // The servers are named already.
            let text = error.to_string();
            let text = text.strip_prefix(&format!("{servers}: ")).unwrap_or(&text).to_owned();
            answer.tell(Severity::Critical, "connection", &servers, text);
            return answer;
        }
    };
    let info = client.server_info();
    answer.server = format!("nats-server {} at {servers}", info.version);
    let start = clock::now();
    let account = match remote::ask(&client, "INFO", &Value::Null).await {
        Ok(account) => account,
        Err(error) => {
            let is_off = matches!(&error, RemoteError::Refused { code: 10_039 | 10_076, .. });
            // A server without JetStream, and a user without the right, do not answer at all.
            let severity = if is_off || !info.jetstream { Severity::Critical } else { Severity::Unknown };
            answer.tell(severity, "jetstream", &servers, error.to_string());
            return answer;
        }
    };
    answer.round_trip = Some(clock::now().saturating_duration_since(start));
    match watched(&client, sample).await {
        Ok(Watched { found, rates, stood }) => {
            let mut reach = reach(nats, &client);
            let mut server = None;
            if let Some(url) = monitor {
                server = answer.page(url, "jsz").await;
                // Where the first page is missing, the second one says nothing new.
                let general = if server.is_some() { answer.page(url, "varz").await } else { None };
                if let Some(general) = general {
                    from_outside(&mut reach, &general);
                }
            }
            let observed = Observed { now_ns: clock::wall_ns(), rates, stood, account, server, reach };
            answer.seen = Some((found, observed));
        }
        Err(error) => answer.tell(Severity::Unknown, "streams", &servers, error.to_string()),
    }
    answer
}

impl Answer {
    fn tell(&mut self, severity: Severity, check: &'static str, place: &str, message: String) {
        self.findings.push(Finding::new(severity, check, place, message, ""));
    }

    /// What a monitoring page says.
    async fn page(&mut self, url: &str, name: &str) -> Option<Map<String, Value>> {
        let url = format!("{}/{name}", url.trim_end_matches('/'));
        match page(&url).await {
            Ok(page) => Some(page),
            Err(error) => {
                let message = format!("the monitoring page cannot be read: {error}");
                let cure = "it is where the server has `http` or `https` in its configuration, or `-m PORT`";
                self.findings.push(Finding::new(Severity::Unknown, "monitor", url, message, cure));
                None
            }
        }
    }
}

async fn page(url: &str) -> Result<Map<String, Value>, String> {
    let client = reqwest::Client::builder().timeout(PAGE).build().map_err(|error| error.to_string())?;
    let response = client.get(url).send().await.map_err(|error| chain(&error))?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(|error| chain(&error))?;
    if !status.is_success() {
        return Err(format!("{status}"));
    }
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// The innermost cause says it best.
fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), chain)
}

/// What there is, and what happened while it was watched.
struct Watched {
    found: Found,
    /// Messages a second, by stream.
    rates: BTreeMap<String, f64>,
    /// Consumers that got no acknowledgement.
    stood: BTreeSet<(String, String)>,
}

async fn watched(client: &Client, sample: Duration) -> Result<Watched, RemoteError> {
    let before = remote::look(client).await?;
    if sample.is_zero() {
        return Ok(Watched { stood: BTreeSet::new(), rates: BTreeMap::new(), found: before });
    }
    let start = clock::now();
    tokio::time::sleep(sample).await;
    let after = remote::look(client).await?;
    let seconds = clock::now().saturating_duration_since(start).as_secs_f64();
    let last = |found: &Found, name: &str| found.streams.get(name)?.get("state")?.get("last_seq")?.as_u64();
    let rates = after.streams.keys().filter_map(|name| {
        let came = last(&after, name)?.saturating_sub(last(&before, name)?);
        Some((name.clone(), came as f64 / seconds))
    });
    let floor = |found: &Found, key: &(String, String)| {
        Some((
            found.consumers.get(key)?.get("ack_floor")?.clone(),
            found.consumers.get(key)?.get("num_ack_pending")?.clone(),
        ))
    };
    let stood = after.consumers.keys().filter(|key| {
        let was = floor(&before, key);
        was.is_some() && was == floor(&after, key)
    });
    Ok(Watched { rates: rates.collect(), stood: stood.cloned().collect(), found: after })
}

/// How the server may be reached from elsewhere, whatever way we came.
fn from_outside(reach: &mut Reach, page: &Map<String, Value>) {
    let host = page.get("host").and_then(Value::as_str).unwrap_or_default();
    let port = page.get("port").and_then(Value::as_u64).unwrap_or(0);
    let url = format!("nats://{host}:{port}");
    if host.is_empty() || is_here(&url) || !reach.remote.is_empty() {
        return;
    }
    let is_on = |key: &str| page.get(key).and_then(Value::as_bool) == Some(true);
    (reach.tls, reach.auth) = (is_on("tls_required"), is_on("auth_required"));
    reach.remote.push(url);
}

fn reach(nats: &Nats, client: &Client) -> Reach {
    let info = client.server_info();
    let remote = nats.servers.iter().filter(|url| !is_here(url)).cloned().collect();
    let tls = nats.tls.required || info.tls_required || nats.servers.iter().all(|url| url.starts_with("tls://"));
    Reach { remote, tls, auth: info.auth_required, cluster: info.cluster.filter(|name| !name.is_empty()) }
}

/// Whether a server is on this machine.
fn is_here(url: &str) -> bool {
    let Ok(address) = url.parse::<ServerAddr>() else { return false };
    let host = address.host().trim_matches(['[', ']']);
    // ::ffff:127.0.0.1 is 127.0.0.1.
    let is_own = |ip: IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for here in [
            "nats://localhost:4222",
            "nats://127.0.0.1:4222",
            "nats://127.1.2.3",
            "tls://[::1]:4222",
            "localhost",
            "nats://[::ffff:127.0.0.1]",
        ] {
            assert!(is_here(here), "{here}");
        }
        for there in ["nats://10.0.0.1:4222", "nats://nats:4222", "tls://[2001:db8::1]:4222"] {
            assert!(!is_here(there), "{there}");
        }
    }
}
