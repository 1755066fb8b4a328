//! What the settings want a server to have, in the words of a topology: one declaration for making streams and buckets,
//! for comparing them at a start, and for the audit.
//!
//! It asks no server.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde_json::{Map, Value};

#[cfg(feature = "daemon")]
use super::kv::{self, Role};
#[cfg(feature = "daemon")]
use super::lease;
use crate::config::Bytes;
use crate::config::settings::{self, Nats};
use crate::market::subject::stream_subjects;
use crate::market::trade::RECORD_BYTES;
use crate::topology::change::{self, Change};
#[cfg(feature = "daemon")]
use crate::topology::model::Topology;
use crate::topology::model::{Discard, Retention, Storage, Stream};
#[cfg(feature = "daemon")]
use crate::topology::plan::Object;
use crate::topology::wire;

/// What a message costs in a file store beside its records: headers of the store, subject, message id.
/// A chained message stores its conditions too, some hundred bytes; the bound is the same for all servers, so that a
/// stream does not differ after a server's upgrade.
const MESSAGE_OVERHEAD: u64 = 112;

/// What the settings decide of a stream; the rest is the operator's.
const STREAM_KEYS: [&str; 10] = [
    "subjects",
    "storage",
    "retention",
    "max_age",
    "max_bytes",
    "max_msgs_per_subject",
    "num_replicas",
    "duplicate_window",
    "discard",
    "allow_batched",
];

/// The stream of trades, as the settings want it of a server that knows everything.
#[must_use]
pub fn stream(settings: &Nats) -> Stream {
    let stream = &settings.jetstream;
    let (max_age, window) = (stream.max_age, stream.duplicate_window);
    Stream {
        description: "trades and declared gaps of data-manager: 48-byte records".to_owned(),
        subjects: stream_subjects(&stream.subject_prefix, stream.exchange()),
        storage: storage(stream.storage),
        retention: match stream.retention {
            settings::Retention::Limits => Retention::Limits,
            settings::Retention::Interest => Retention::Interest,
            settings::Retention::WorkQueue => Retention::WorkQueue,
        },
        max_age,
        max_bytes: stream.max_bytes,
        max_bytes_per_subject: stream.max_bytes_per_subject,
        message_bytes: Bytes::from(MESSAGE_OVERHEAD + (settings.pack.max(1) * RECORD_BYTES) as u64),
        replicas: copies(settings),
        // The server refuses a window that is longer than messages live.
        duplicate_window: if max_age.is_zero() { window } else { window.min(max_age) },
        allow_direct: true,
        allow_batched: true,
        ..Stream::default()
    }
}

/// Everything that `serve` would want of a server with these settings: a stream, or one for each exchange, and the
/// buckets of venues and instruments, and of a pair's lease.
#[cfg(feature = "daemon")]
#[must_use]
pub fn topology<'a>(settings: &Nats, exchanges: impl IntoIterator<Item = &'a str>) -> Topology {
    let mut topology = Topology::default();
    let mut add = |settings: &Nats| topology.streams.insert(settings.jetstream.stream_name.clone(), stream(settings));
    if settings.jetstream.stream_per_exchange {
        for exchange in exchanges {
            add(&Nats { jetstream: settings.jetstream.of(exchange), ..settings.clone() });
        }
    } else {
        add(settings);
    }
    if settings.kv.enabled {
        for role in Role::ALL {
            topology.buckets.insert(role.bucket(&settings.kv).to_owned(), kv::bucket(settings, role));
        }
    }
    if settings.pair.enabled {
        topology.buckets.insert(settings.pair.bucket.clone(), lease::bucket(settings));
    }
    topology
}

/// Copies, of streams and buckets alike.
#[must_use]
pub fn copies(settings: &Nats) -> u8 {
    u8::try_from(settings.jetstream.replicas).unwrap_or(u8::MAX)
}

pub(super) const fn storage(storage: settings::Storage) -> Storage {
    match storage {
        settings::Storage::File => Storage::File,
        settings::Storage::Memory => Storage::Memory,
    }
}

/// A stream as the client library wants it: what data-manager's own streams and buckets have.
#[must_use]
pub fn config(name: &str, stream: &Stream) -> Config {
    Config {
        name: name.to_owned(),
        description: Some(stream.description.clone()),
        subjects: stream.subjects.clone(),
        storage: match stream.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        },
        retention: match stream.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::Interest => RetentionPolicy::Interest,
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
        },
        discard: match stream.discard {
            Discard::Old => DiscardPolicy::Old,
            Discard::New => DiscardPolicy::New,
        },
        max_age: stream.max_age.duration(),
        max_bytes: bound(stream.max_bytes.get()),
        max_messages_per_subject: bound(stream.messages_per_subject()),
        num_replicas: usize::from(stream.replicas),
        duplicate_window: stream.duplicate_window.duration(),
        allow_rollup: stream.allow_rollup,
        deny_delete: stream.deny_delete,
        allow_direct: stream.allow_direct,
        allow_batch_publish: stream.allow_batched,
        ..Config::default()
    }
}

/// Where the stream that was found is not as it is declared: what `topology plan` says of what the settings decide.
#[must_use]
pub fn differences(name: &str, stream: &Stream, found: &Config) -> Vec<Change> {
    let is_ours = |key: &str| STREAM_KEYS.contains(&key) && (key != "allow_batched" || stream.allow_batched);
    compared(name, stream, found).into_iter().filter(|change| is_ours(change.key)).collect()
}

/// Whether the settings decide this key of a stream or a bucket.
#[cfg(feature = "daemon")]
#[must_use]
pub fn is_decided(object: &Object, key: &str) -> bool {
    match object {
        Object::Bucket(_) => kv::DECIDED.contains(&key),
        _ => STREAM_KEYS.contains(&key),
    }
}

/// Every difference.
pub(super) fn compared(name: &str, stream: &Stream, found: &Config) -> Vec<Change> {
    let found: Map<String, Value> = match serde_json::to_value(found) {
        Ok(Value::Object(map)) => map,
        // The library's own type; what it cannot write cannot be compared.
        _ => return Vec::new(),
    };
    // No key of ours costs another thing on another version.
    change::of_stream(&wire::stream(name, stream), &found, wire::NEWEST)
}

fn bound(value: u64) -> i64 {
    if value == 0 { -1 } else { i64::try_from(value).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_in_bytes_becomes_a_bound_in_messages() {
        let mut settings = Nats::default();
        let messages = |settings: &Nats| stream(settings).messages_per_subject();
        assert_eq!(messages(&settings), (100 << 20) / 160);
        settings.pack = 10;
        assert_eq!(messages(&settings), (100 << 20) / (112 + 480));
        settings.jetstream.max_bytes_per_subject = 1.into();
        assert_eq!(messages(&settings), 1);
        settings.jetstream.max_bytes_per_subject = 0.into();
        assert_eq!(messages(&settings), 0);
        assert_eq!(config("S", &stream(&settings)).max_messages_per_subject, -1);
    }

    #[test]
    fn each_key_that_differs_is_told_and_no_other() {
        let wanted = stream(&Nats::default());
        let same = config("S", &wanted);
        assert_eq!(differences("S", &wanted, &same), []);
        assert_eq!(compared("S", &wanted, &same), []);
        let found = Config { num_replicas: 3, max_bytes: -1, allow_batch_publish: false, ..same.clone() };
        let found = Config { description: Some("another".to_owned()), ..found };
        let told: Vec<String> = differences("S", &wanted, &found).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("max_bytes: unlimited -> 10GiB"), "{told:?}");
        assert!(told[1].starts_with("num_replicas: 3 -> 1"), "{told:?}");
        assert_eq!(told[2], "allow_batched: false -> true");
        // A server that does not know batches is not told to have them.
        assert_eq!(differences("S", &Stream { allow_batched: false, ..wanted }, &same), []);
    }

    #[test]
    fn the_file_that_is_shipped_says_the_same() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/topology/market.toml");
        let shipped = crate::topology::load::load(&[path]).unwrap().topology;
        let wanted = stream(&Nats::default());
        assert_eq!(wire::stream("MARKET_DATA", &shipped.streams["MARKET_DATA"]), wire::stream("MARKET_DATA", &wanted));
        let all = topology(&Nats::default(), []);
        assert_eq!((shipped.buckets, all.streams.len()), (all.buckets, 1));
        let mut pair = Nats::default();
        pair.pair.enabled = true;
        let names: Vec<String> = topology(&pair, []).buckets.into_keys().collect();
        assert_eq!(names, ["DATA_MANAGER", "instruments", "venue-status"]);
        let mut each = Nats::default();
        each.jetstream.stream_per_exchange = true;
        let names: Vec<String> = topology(&each, ["a", "b-c"]).streams.into_keys().collect();
        assert_eq!(names, ["MARKET_DATA_A", "MARKET_DATA_B_C"]);
    }
}
