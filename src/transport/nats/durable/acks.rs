//! Acknowledging what was handed out, by whoever holds the other end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;

/// How long it is waited for what was said to leave this process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Acknowledges what was handed out. It may be used while the reader waits.
#[derive(Clone, Default)]
pub struct Acks(Arc<Mutex<Acking>>);

#[derive(Default)]
pub(super) struct Acking {
    pub(super) client: Option<Client>,
    /// What was handed out and is not acknowledged: sequences, and where to say so.
    pub(super) open: VecDeque<(u64, Subject)>,
    /// The last one that was acknowledged.
    pub(super) last: Option<(u64, Subject)>,
}

impl Acks {
    pub(super) fn lock(&self) -> MutexGuard<'_, Acking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages that were handed out and are not acknowledged.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// Acknowledges everything up to this sequence, and waits until that is on its way. Without a connection it is said
    /// when there is one.
    pub async fn acknowledge(&self, sequence: u64) {
        let said = {
            let mut acking = self.lock();
            let before = acking.open.partition_point(|(at, _)| *at <= sequence);
            let Some(last) = acking.open.drain(..before).next_back() else { return };
            acking.last = Some(last);
            acking.client.clone().zip(acking.last.clone())
        };
        if let Some((client, (_, reply))) = said {
            // Lost, it is delivered again, known here, and acknowledged again.
            let _ = client.publish(reply, Bytes::new()).await;
        }
    }

    /// Waits until what was acknowledged has left this process, for a moment at most: it goes once there is a
    /// connection.
    pub async fn flush(&self) {
        let client = self.lock().client.clone();
        if let Some(client) = client {
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, client.flush()).await;
        }
    }

    /// The consumer was made anew: it knows nothing of what the old one delivered.
    pub(super) fn forget(&self) {
        let mut acking = self.lock();
        acking.open.clear();
        acking.last = None;
    }

    /// A message was delivered again: where it is acknowledged, its newest delivery is what is acknowledged.
    pub(super) fn renew(&self, sequence: u64, reply: Subject, dealt_with: bool) {
        let mut acking = self.lock();
        if let Some(open) = acking.open.iter_mut().find(|(at, _)| *at == sequence) {
            open.1 = reply;
        } else if !dealt_with {
            // Handed out before, by a consumer that is gone.
            let at = acking.open.partition_point(|(at, _)| *at < sequence);
            acking.open.insert(at, (sequence, reply));
        } else if acking.last.as_ref().is_none_or(|(at, _)| *at <= sequence) {
            acking.last = Some((sequence, reply));
        }
    }

    /// Says the last acknowledgement again.
    pub(super) async fn repeat(&self) {
        let said = {
            let acking = self.lock();
            acking.client.clone().zip(acking.last.clone())
        };
        if let Some((client, (_, reply))) = said {
            let _ = client.publish(reply, Bytes::new()).await;
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, client.flush()).await;
        }
    }
}
