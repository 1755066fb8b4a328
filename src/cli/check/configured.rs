//! What the configuration declares: the stream that the daemon publishes to, as `serve` would make it.
//!
//! It asks nobody.

use async_nats::jetstream::stream::{RetentionPolicy, StorageType};

use crate::config::settings::{Manage, Nats};
use crate::config::{Bytes, Span};
use crate::topology::load::Declared;
use crate::topology::model::{Retention, Storage, Stream, Topology};
use crate::transport::nats::stream_manager;

/// The configured stream; nothing where the configuration says that nobody compares it.
pub(super) fn declared(nats: &Nats) -> Declared {
    if nats.jetstream.manage == Manage::None {
        return Declared::default();
    }
    let wanted = stream_manager::config(nats, true);
    let bound = |bound: i64| u64::try_from(bound).unwrap_or(0);
    let stream = Stream {
        description: wanted.description.unwrap_or_default(),
        subjects: wanted.subjects.iter().map(ToString::to_string).collect(),
        storage: match wanted.storage {
            StorageType::File => Storage::File,
            StorageType::Memory => Storage::Memory,
        },
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
    let streams = [(wanted.name, stream)].into();
    Topology { streams, ..Topology::default() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::load::parse;

    #[test]
    fn the_example_says_the_same_as_the_defaults() {
        let ours = declared(&Nats::default()).topology.streams.remove("MARKET_DATA").unwrap();
        let text = include_str!("../../../config/topology/market.toml");
        let mut theirs = parse("market.toml".as_ref(), text).unwrap().streams.remove("MARKET_DATA").unwrap();
        theirs.max_msgs_per_subject = theirs.messages_per_subject();
        (theirs.max_bytes_per_subject, theirs.message_bytes) = Default::default();
        assert_eq!(ours, theirs);
    }
}
