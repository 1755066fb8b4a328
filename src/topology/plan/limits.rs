//! What a stream allows its consumers, held against the consumers that are there: the server refuses a bound that one
//! of them is beyond.

use serde_json::{Map, Value};

use super::{Found, config_of};
use crate::topology::change::{Change, Effect};
use crate::topology::model::Stream;

/// What can be bounded.
const KEYS: [&str; 2] = ["max_ack_pending", "inactive_threshold"];

/// Whether a consumer with this configuration is beyond these limits. No bound at all is none to the server.
pub(super) fn is_beyond(config: &Map<String, Value>, limits: Option<&Value>) -> bool {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
    KEYS.iter().any(|key| {
        let most = number(limits.and_then(|limits| limits.get(*key)));
        most > 0 && number(config.get(*key)) > most
    })
}

/// Says of new limits that consumers which nobody declares are beyond them. Those that are declared are changed, or
/// deleted, before the limits are.
pub(super) fn judge(changes: &mut [Change], name: &str, stream: &Stream, wanted: &Map<String, Value>, found: &Found) {
    let Some(change) = changes.iter_mut().find(|change| change.key == "consumer_limits") else { return };
    let limits = wanted.get("consumer_limits");
    let strangers: Vec<&str> = found
        .consumers
        .iter()
        .filter(|((of, consumer), info)| {
            of == name && !stream.consumers.contains_key(consumer) && is_beyond(&config_of(info), limits)
        })
        .map(|((_, consumer), _)| consumer.as_str())
        .collect();
    if !strangers.is_empty() {
        change.effect = Effect::Impossible;
        let (asks, it) = if strangers.len() == 1 { ("asks", "it") } else { ("ask", "them") };
        change.note = format!("{} {asks} for more: declare {it} with less, or as absent", strangers.join(", ")).into();
    }
}
