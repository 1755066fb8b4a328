//! Why a KV bucket cannot be written, each reason with its cure.

use super::Role;
use crate::config::Span;
use crate::config::settings::{Manage, Nats};
use crate::transport::nats::ConnectError;

/// Why a bucket cannot be written. Each names the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection is over.
    #[error("connection lost")]
    Lost,
    /// There is no such bucket, and it is not ours to create.
    #[error(
        "KV bucket {bucket} does not exist, and transport.nats.jetstream.manage = {manage:?} does not create it: create \
         it (`nats kv add {bucket} --history 1 --ttl {ttl} --storage {storage}`), or set transport.nats.kv.enabled = false"
    )]
    Missing {
        /// Its name.
        bucket: String,
        /// The setting.
        manage: &'static str,
        /// How long its entries are to live.
        ttl: Span,
        /// Where they are to be kept.
        storage: &'static str,
    },
    /// This user has not the right.
    #[error("KV bucket {bucket}: the server says: {words}; {cure}, or set transport.nats.kv.enabled = false")]
    Denied {
        /// Its name.
        bucket: String,
        /// The server's words.
        words: String,
        /// The right that is missing.
        cure: String,
    },
    /// The server would not have this entry; it may well have others.
    #[error("KV bucket {bucket}: it does not take the entry {key}: {reason}")]
    Refused {
        /// Its name.
        bucket: String,
        /// The key.
        key: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// The server would not.
    #[error("KV bucket {bucket}: {what}: {reason}")]
    Failed {
        /// Its name.
        bucket: String,
        /// What was tried.
        what: &'static str,
        /// What went wrong, and what to do.
        reason: String,
    },
}

impl KvError {
    /// Whether it is about one entry, and says nothing of others.
    #[must_use]
    pub const fn is_of_entry(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Denied { .. })
    }
}

/// There is no such bucket, and it is not ours to create.
pub(super) fn missing(settings: &Nats, role: Role) -> KvError {
    let manage = match settings.jetstream.manage {
        Manage::Create => "create",
        Manage::Verify => "verify",
        Manage::None => "none",
    };
    let storage = match role {
        Role::Status => "memory",
        Role::Instruments => "file",
    };
    KvError::Missing { bucket: role.bucket(&settings.kv).to_owned(), manage, ttl: role.ttl().into(), storage }
}

/// The key of this bucket that the server's words say may not be published to.
pub(super) fn denied_key<'a>(bucket: &str, words: &'a str) -> Option<&'a str> {
    let (_, subject) = words.split_once('"')?;
    let (subject, _) = subject.split_once('"')?;
    let own = format!("$KV.{bucket}.");
    let (start, key) = subject.split_at_checked(own.len())?;
    start.eq_ignore_ascii_case(&own).then_some(key)
}

/// What would lift a refusal; `None` where it is not about this bucket.
pub(in crate::transport::nats) fn cure(bucket: &str, words: &str) -> Option<String> {
    let lower = words.to_ascii_lowercase();
    if lower.contains("violation for subscription") {
        return Some("set transport.nats.inbox_prefix to one that this user may subscribe to".to_owned());
    }
    let denied = words.split_once('"').and_then(|(_, rest)| rest.split_once('"')).map(|(subject, _)| subject)?;
    let (own, stream) = (format!("$KV.{bucket}."), format!("KV_{bucket}"));
    let lower = denied.to_ascii_lowercase();
    let right = if lower.starts_with(&own.to_ascii_lowercase()) {
        format!("{own}>")
    } else if lower.starts_with(&format!("$js.api.direct.get.{}.", stream.to_ascii_lowercase())) {
        format!("$JS.API.DIRECT.GET.{stream}.>")
    } else if lower.ends_with(&format!(".{}", stream.to_ascii_lowercase())) {
        let is = |call: &&str| lower.contains(&format!(".stream.{}.", call.to_ascii_lowercase()));
        let call = ["CREATE", "MSG.GET"].into_iter().find(is).unwrap_or("INFO");
        format!("$JS.API.STREAM.{call}.{stream}")
    } else {
        return None;
    };
    Some(format!("let this user publish to {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_right_that_is_missing() {
        let says = |subject: &str| format!("nats: permissions violation for publish to \"{subject}\"");
        let told = |subject| cure("Venue", &says(subject));
        assert_eq!(told("$KV.venue.binance").as_deref(), Some("let this user publish to $KV.Venue.>"));
        assert!(told("$JS.API.STREAM.CREATE.KV_Venue").is_some_and(|cure| cure.ends_with("STREAM.CREATE.KV_Venue")));
        assert!(told("$js.api.stream.info.kv_venue").is_some_and(|cure| cure.ends_with("STREAM.INFO.KV_Venue")));
        assert!(told("$JS.API.STREAM.MSG.GET.KV_Venue").is_some_and(|cure| cure.ends_with("STREAM.MSG.GET.KV_Venue")));
        let direct = told("$JS.API.DIRECT.GET.KV_Venue.$KV.Venue.leader.A");
        assert!(direct.is_some_and(|cure| cure.ends_with("$JS.API.DIRECT.GET.KV_Venue.>")));
        assert_eq!(told("$JS.API.DIRECT.GET.KV_Venues.$KV.Venues.leader.A"), None, "another bucket");
        assert_eq!(told("$KV.venue-status.binance"), None, "another bucket");
        assert_eq!(told("$JS.API.STREAM.INFO.KV_a.KV_Venues"), None, "another bucket");
        assert_eq!(denied_key("Venue", &says("$KV.venue.binance.BTCUSDT")), Some("binance.BTCUSDT"));
        assert_eq!(denied_key("Venue", &says("$JS.API.STREAM.INFO.KV_Venue")), None);
        assert!(cure("a", "permissions violation for subscription to \"_INBOX.x\"").is_some());
    }
}
