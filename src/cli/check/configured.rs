//! What the configuration declares: the stream that the daemon publishes to and its buckets, as `serve` makes them.
//!
//! It asks nobody.

use async_nats::jetstream::stream::{RetentionPolicy, StorageType};

use crate::config::settings::{Manage, Nats};
use crate::config::{Bytes, Span};
use crate::topology::load::Declared;
use crate::topology::model::{Bucket, Retention, Storage, Stream, Topology};
use crate::transport::nats::kv::{self, Role};
use crate::transport::nats::stream_manager;

/// The configured stream and buckets; nothing where the configuration says that nobody compares it.
pub(super) fn declared(nats: &Nats) -> Declared {
    if nats.jetstream.manage == Manage::None {
        return Declared::default();
    }
    let wanted = stream_manager::config(nats, true);
    let stream = Stream {
        description: wanted.description.unwrap_or_default(),
        subjects: wanted.subjects.iter().map(ToString::to_string).collect(),
        storage: storage(wanted.storage),
        retention: match wanted.retention {
            RetentionPolicy::Limits => Retention::Limits,
            RetentionPolicy::Interest => Retention::Interest,
            RetentionPolicy::WorkQueue => Retention::WorkQueue,
        },
        max_age: Span::from(wanted.max_age),
        max_bytes: Bytes::from(bound(wanted.max_bytes)),
        max_msgs_per_subject: bound(wanted.max_messages_per_subject),
        replicas: u8::try_from(wanted.num_replicas).unwrap_or(u8::MAX),
        duplicate_window: Span::from(wanted.duplicate_window),
        allow_direct: wanted.allow_direct,
        allow_batched: wanted.allow_batch_publish,
        ..Stream::default()
    };
    let roles = Role::ALL.into_iter().filter(|_| nats.kv.enabled);
    Topology {
        streams: [(wanted.name, stream)].into(),
        buckets: roles.map(|role| (role.bucket(&nats.kv).to_owned(), bucket(nats, role))).collect(),
        ..Topology::default()
    }
    .into()
}

fn bucket(nats: &Nats, role: Role) -> Bucket {
    let wanted = kv::config(nats, role);
    Bucket {
        description: wanted.description.unwrap_or_default(),
        storage: storage(wanted.storage),
        ttl: Span::from(wanted.max_age),
        history: u8::try_from(wanted.max_messages_per_subject).unwrap_or(1),
        replicas: u8::try_from(wanted.num_replicas).unwrap_or(u8::MAX),
        max_bytes: Bytes::from(bound(wanted.max_bytes)),
        ..Bucket::default()
    }
}

const fn storage(storage: StorageType) -> Storage {
    match storage {
        StorageType::File => Storage::File,
        StorageType::Memory => Storage::Memory,
    }
}

/// The server has -1 for none.
fn bound(bound: i64) -> u64 {
    u64::try_from(bound).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::load::parse;

    #[test]
    fn the_example_says_the_same_as_the_defaults() {
        let ours = declared(&Nats::default()).topology;
        let mut theirs = parse("m.toml".as_ref(), include_str!("../../../config/topology/market.toml")).unwrap();
        let stream = theirs.streams.get_mut("MARKET_DATA").unwrap();
        stream.max_msgs_per_subject = stream.messages_per_subject();
        (stream.max_bytes_per_subject, stream.message_bytes) = Default::default();
        assert_eq!((ours.streams, ours.buckets), (theirs.streams, theirs.buckets));
    }
}
