//! Tells what runs with other streams or another number of shards have left on disk, since no shard of this run will
//! send it. It moves and removes nothing.

use std::sync::Arc;

use crate::config::Settings;
use crate::config::settings::Nats;
use crate::exchange::registry;
use crate::transport::nats::{LEFT_CURE, Left, left};

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
                "another run left records on disk, and no shard of this one sends them: {LEFT_CURE}"
            ),
            Err(err) => tracing::error!(
                %stream, %err, %directory,
                "another run may have left records on disk, which no shard of this one sends: {LEFT_CURE}"
            ),
        }
    }
}
