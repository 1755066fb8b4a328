//! What a server says of itself, gathered once.

use std::collections::BTreeMap;
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
            answer.tell(Severity::Critical, "connection", &servers, error.to_string());
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
        Ok((found, rates)) => {
            let server = match monitor {
                Some(url) => answer.page(url).await,
                None => None,
            };
            let reach = reach(nats, &client);
            let observed = Observed { now_ns: clock::wall_ns(), rates, account, server, reach };
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

    /// What the monitoring page says of JetStream.
    async fn page(&mut self, url: &str) -> Option<Map<String, Value>> {
        let url = format!("{}/jsz", url.trim_end_matches('/'));
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

/// What there is, and the rate at which messages come while it is watched.
async fn watched(client: &Client, sample: Duration) -> Result<(Found, BTreeMap<String, f64>), RemoteError> {
    let before = remote::look(client).await?;
    if sample.is_zero() {
        return Ok((before, BTreeMap::new()));
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
    let rates = rates.collect();
    Ok((after, rates))
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
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for here in
            ["nats://localhost:4222", "nats://127.0.0.1:4222", "nats://127.1.2.3", "tls://[::1]:4222", "localhost"]
        {
            assert!(is_here(here), "{here}");
        }
        for there in ["nats://10.0.0.1:4222", "nats://nats:4222", "tls://[2001:db8::1]:4222"] {
            assert!(!is_here(there), "{there}");
        }
    }
}
