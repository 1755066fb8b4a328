//! Consumers that do not keep up.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::server::Limits;
use super::{Finding, Severity};
use crate::topology::plan::{Found, config_of};

/// `stood`: those that got no acknowledgement while they were watched.
pub(super) fn judge(found: &Found, stood: &BTreeSet<(String, String)>, limits: &Limits) -> Vec<Finding> {
    found
        .consumers
        .iter()
        .flat_map(|((stream, name), info)| {
            let stands = stood.contains(&(stream.clone(), name.clone()));
            let place = format!("consumer {stream}/{name}");
            let first = found.streams.get(stream).and_then(|info| info.get("state"));
            [lag(&place, info, limits), stalled(&place, info).filter(|_| stands), overtaken(&place, info, first)]
        })
        .flatten()
        .collect()
}

/// Messages that wait for it.
fn lag(place: &str, info: &Map<String, Value>, limits: &Limits) -> Option<Finding> {
    let pending = number(info, "num_pending");
    let severity = match pending {
        pending if pending >= limits.lag_critical => Severity::Critical,
        pending if pending >= limits.lag_warning => Severity::Warning,
        _ => return None,
    };
    let idle = config_of(info).get("deliver_subject").is_none() && number(info, "num_waiting") == 0;
    let nobody = if idle { "; nobody asks for them now" } else { "" };
    let message = format!("{pending} messages wait for it{nobody}");
    let cure =
        "look at whoever reads it: is it up, is it slower than what comes, is its share for one process too much";
    Some(Finding::new(severity, "lag", place, message, cure))
}

/// It has handed out all that it may, and nobody acknowledges.
fn stalled(place: &str, info: &Map<String, Value>) -> Option<Finding> {
    let config = config_of(info);
    let most = number(&config, "max_ack_pending");
    let waiting = number(info, "num_ack_pending");
    if most == 0 || waiting < most || config.get("ack_policy").and_then(Value::as_str) == Some("none") {
        return None;
    }
    let message =
        format!("{waiting} messages were handed out and none is acknowledged, which is max_ack_pending: it stands");
    let cure = "whoever reads it has to acknowledge; or raise max_ack_pending";
    Some(Finding::new(Severity::Critical, "stalled", place, message, cure))
}

/// The stream has removed what it has not had yet.
fn overtaken(place: &str, info: &Map<String, Value>, state: Option<&Value>) -> Option<Finding> {
    let first = state?.get("first_seq").and_then(Value::as_u64)?;
    let at = |key: &str| info.get(key)?.get("stream_seq")?.as_u64();
    let next = at("delivered")?.max(at("ack_floor")?) + 1;
    // One that has had nothing may have begun later; one with filters passes over what is none of its.
    let filtered = config_of(info).contains_key("filter_subject") || config_of(info).contains_key("filter_subjects");
    if next == 1 || next >= first || filtered || number(info, "num_pending") == 0 {
        return None;
    }
    let message =
        format!("the stream begins at {first} and it has read up to {}: what lay between was removed unread", next - 1);
    let cure = "raise the stream's bounds, or read faster; what is gone is only in a backup or at its source";
    Some(Finding::new(Severity::Critical, "overtaken", place, message, cure))
}

fn number(map: &Map<String, Value>, key: &str) -> u64 {
    map.get(key).and_then(Value::as_u64).unwrap_or(0)
}
