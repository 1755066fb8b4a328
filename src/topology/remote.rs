//! What a server has, and making it have what is declared: the only IO of this room but for reading files.
//!
//! It reads lists page by page, asks nothing twice, and stops at the first step that a server refuses.

use std::time::Duration;

use async_nats::Client;
use serde_json::{Map, Value, json};

use super::plan::{Action, Found, Step};
use super::wire;

/// How long a server may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Pages of a list; far more than a server can have.
const PAGES_MAX: usize = 10_000;
/// The server's number for a consumer's name that is taken; for a change it means something else.
const NAME_TAKEN: u64 = 10_013;
/// The server's number for a stream that is not there.
const NO_STREAM: u64 = 10_059;
/// What a name that is taken means for a change.
const LISTENED: &str = "; somebody still listens on the subject that it delivers to: stop its readers first, or declare \
                        another one for the new subject";

/// Why a server could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No answer.
    #[error("{call}: {reason}")]
    Ask {
        /// The call, such as `STREAM.LIST`.
        call: String,
        /// What went wrong, and what to look at.
        reason: String,
    },
    /// An answer that cannot be understood.
    #[error("{call}: the answer cannot be understood: {reason}")]
    Answer {
        /// The call.
        call: String,
        /// Why.
        reason: String,
    },
    /// The server says no.
    #[error("{call}: the server says: {description} ({code}){hint}")]
    Refused {
        /// The call.
        call: String,
        /// The server's number for it.
        code: u64,
        /// Its words.
        description: String,
        /// What to do.
        hint: &'static str,
    },
    /// The server has it and cannot run it: it was made by a newer one.
    #[error("{call}: the server keeps {names} switched off; start a server that knows it")]
    Offline {
        /// The call.
        call: String,
        /// The streams or consumers, each with the server's reason.
        names: String,
    },
    /// Some servers of a cluster did not answer for what they lead.
    #[error("{call}: no answer for {names}: their leaders are away; wait until the cluster is whole")]
    Missing {
        /// The call.
        call: String,
        /// The streams.
        names: String,
    },
}

/// Everything that a server has in the account of this connection.
///
/// # Errors
/// [`RemoteError`].
pub async fn look(client: &Client) -> Result<Found, RemoteError> {
    let mut found = Found { version: wire::version(&client.server_info().version), ..Found::default() };
    for info in list(client, "STREAM.LIST", "streams").await? {
        let Some(name) = text_at(&info, &["config", "name"]) else { continue };
        found.streams.insert(name, info);
    }
    let names: Vec<String> = found.streams.keys().cloned().collect();
    for stream in names {
        let consumers = match list(client, &format!("CONSUMER.LIST.{stream}"), "consumers").await {
            // Somebody has deleted it since it was listed.
            Err(RemoteError::Refused { code: NO_STREAM, .. }) => {
                found.streams.remove(&stream);
                continue;
            }
            consumers => consumers?,
        };
        for info in consumers {
            let Some(name) = text_at(&info, &["name"]) else { continue };
            found.consumers.insert((stream.clone(), name), info);
        }
    }
    Ok(found)
}

/// Does one step.
///
/// # Errors
/// [`RemoteError`]; the server has changed nothing then, or is asked again by the next plan.
pub async fn apply(client: &Client, step: &Step) -> Result<(), RemoteError> {
    let body = if step.action == Action::Delete { Value::Null } else { step.body.clone() };
    ask(client, &step.request, &body).await.map(drop)
}

/// Asks the API; `call` is what stands behind its prefix.
///
/// # Errors
/// [`RemoteError`].
pub async fn ask(client: &Client, call: &str, body: &Value) -> Result<Map<String, Value>, RemoteError> {
    let payload = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = async_nats::Request::new().payload(payload.into()).timeout(Some(ANSWER));
    let answer = client.send_request(format!("$JS.API.{call}"), request).await.map_err(|error| RemoteError::Ask {
        call: call.to_owned(),
        reason: format!(
            "{error}; is JetStream on (-js), has the cluster a leader, may this user publish on $JS.API.{call}?"
        ),
    })?;
    let unclear = |reason: String| RemoteError::Answer { call: call.to_owned(), reason };
    let answer: Value = serde_json::from_slice(&answer.payload).map_err(|error| unclear(error.to_string()))?;
    let Value::Object(answer) = answer else { return Err(unclear("it is no object".to_owned())) };
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => {
            let number = |key: &str| error.get(key).and_then(Value::as_u64).unwrap_or(0);
            let code = number("err_code");
            let description = error.get("description").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
            let is_update = body.get("action").and_then(Value::as_str) == Some("update");
            let hint = if code == NAME_TAKEN && is_update { LISTENED } else { hint(code) };
            Err(RemoteError::Refused { call: call.to_owned(), code, description, hint })
        }
    }
}

async fn list(client: &Client, call: &str, key: &str) -> Result<Vec<Map<String, Value>>, RemoteError> {
    let mut all = Vec::new();
    for _ in 0..PAGES_MAX {
        let answer = ask(client, call, &json!({"offset": all.len()})).await?;
        let offline: Vec<String> = answer
            .get("offline")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, reason)| format!("{name} ({})", reason.as_str().unwrap_or("no reason given")))
            .collect();
        if !offline.is_empty() {
            return Err(RemoteError::Offline { call: call.to_owned(), names: offline.join(", ") });
        }
        let missing: Vec<&str> =
            answer.get("missing").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if !missing.is_empty() {
            return Err(RemoteError::Missing { call: call.to_owned(), names: missing.join(", ") });
        }
        let page = answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
        let is_last = page.is_empty();
        all.extend(page.into_iter().filter_map(|item| match item {
            Value::Object(map) => Some(map),
            _ => None,
        }));
        if is_last || all.len() as u64 >= total {
            break;
        }
    }
    Ok(all)
}

fn text_at(info: &Map<String, Value>, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = rest.iter().try_fold(info.get(*first)?, |value, key| value.get(*key))?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What to do about the server's commonest refusals.
const fn hint(code: u64) -> &'static str {
    match code {
        10_065 => "; another stream takes these subjects: `topology plan` names it, where this user may list streams",
        10_047 | 10_028 => {
            "; the server's store, or the account's, is smaller than the sum of max_bytes: lower one of them"
        }
        10_074 | 10_005 => "; more replicas than servers: lower replicas, or start more servers",
        10_039 | 10_076 => "; start the server with JetStream (-js), and switch it on for this account",
        10_002 | 10_026 => "; the account may have no more of these: raise its limits, or delete what nobody needs",
        NAME_TAKEN | 10_148 => "; a consumer of this name is there already, and is another one",
        10_058 => "; it is there already with another configuration: `topology plan` shows where it differs",
        _ => "",
    }
}
