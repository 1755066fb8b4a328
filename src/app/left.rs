//! Tells what runs with other streams or another number of shards have left on disk, since no shard of this run will
//! send it. It moves and removes nothing.

use std::sync::Arc;

use crate::config::Settings;
use crate::config::settings::Nats;
use crate::exchange::registry;
use crate::transport::nats::{Left, left};

/// What is to be done about it.
const CURE: &str = "let what left them send them: the same stream_per_exchange, shards and exchanges as then, until \
    nothing waits; or remove the directory";

/// Looks, before the shards open what is theirs.
pub(super) fn tell(all: &Settings, shards: &[Arc<Settings>]) {
    let all = &all.transport.nats;
    if !all.enabled || all.outbox_disk.get() == 0 {
        return;
    }
    let shards: Vec<Nats> = shards.iter().map(|settings| settings.transport.nats.clone()).collect();
    for Left { directory, stream, bytes } in left(all, &shards, registry::names()) {
        let directory = directory.display();
        match bytes {
            Ok(bytes) => tracing::error!(
                %stream, bytes, %directory,
                "another run left records on disk, and no shard of this one sends them: {CURE}"
            ),
            Err(err) => tracing::error!(
                %stream, %err, %directory,
                "another run may have left records on disk, which no shard of this one sends: {CURE}"
            ),
        }
    }
}
