//! Where a connection begins: the consumer is found or made, and reading goes on behind what the caller has.

use async_nats::Client;
use async_nats::jetstream;

use super::order::Order;
use super::{Doubt, Durable, Link};
use crate::transport::nats::connect::{self, Chain};
use crate::transport::nats::consumer::{Since, Tail, TailError};
use crate::transport::nats::watch::Seen;

impl Durable {
    /// Connects, and goes on behind what the caller has.
    pub(super) async fn begin(&mut self, first: bool) -> Result<(), TailError> {
        self.hand_over();
        let client = connect::dial(&self.settings).await?;
        let seen = self.watch.begin(&client, &mut self.subjects).await;
        if let Some(seen) = seen {
            self.compare_stream(&client, seen, first).await?;
        }
        let (mut consumer, is_new) = self.consumer(&client).await?;
        let made = consumer.cached_info().created.unix_timestamp_nanos();
        if self.made.is_some_and(|before| before != made) {
            if seen.is_none() {
                return Err(self.fail("it was made anew, and the stream does not say whether it was, too".to_owned()));
            }
            tracing::warn!(consumer = %self.spec.durable, "the consumer was made anew while it was read");
            self.note_acknowledged();
            self.acks.forget();
            self.order.renew();
        }
        self.made = Some(made);
        self.acks.lock().client = Some(client);
        self.acks.repeat().await;
        let messages = self.pull(&consumer).await?;
        let info = consumer.info().await.map_err(|error| self.fail(Chain(&error).to_string()))?;
        self.pending = info.num_pending;
        // A consumer that has delivered nothing yet says where it begins.
        let floor = match info.num_ack_pending {
            0 => info.ack_floor.stream_sequence.max(info.delivered.stream_sequence),
            _ => info.ack_floor.stream_sequence,
        };
        self.go_on_behind(floor, is_new).await?;
        if std::mem::take(&mut self.anew) {
            let stream = self.settings.jetstream.stream_name.clone();
            self.subjects.stand(floor, true);
            self.queue.push_back(Err(TailError::Anew { stream, from: floor + 1 }));
        }
        self.link = Some(Link { messages, consumer });
        let Some(standing) = self.standing().await else {
            self.link = None;
            return Err(self.fail("it does not say how it stands".to_owned()));
        };
        self.note_acknowledged();
        self.doubt = Doubt::default();
        self.order.begin(standing);
        Ok(())
    }

    /// The consumer will not bring what it takes for acknowledged. Where the caller has less, that is read in another
    /// way: acknowledgements of an earlier life covered it, or the server went on over what was removed.
    async fn go_on_behind(&mut self, floor: u64, is_new: bool) -> Result<(), TailError> {
        match self.had() {
            Some(had) if had < floor => {
                let (filter, since) = (self.spec.filter.clone(), Since::Sequence(had + 1));
                let tail = Tail::open(&self.settings, filter, since).await?;
                self.missed = Some((Box::new(tail), floor));
                self.order.advance(floor);
            }
            had if self.begun.is_none() => {
                let reached = had.unwrap_or(floor).max(floor);
                let has_all = had.is_some() || !is_new || self.spec.since == Since::Now;
                self.subjects.stand(reached, has_all);
                self.order.advance(floor);
            }
            _ => {}
        }
        self.begun = self.begun.max(Some(floor));
        Ok(())
    }

    /// Whether it has what was read before; if not, it is to be read anew.
    async fn compare_stream(&mut self, client: &Client, seen: Seen, first: bool) -> Result<(), TailError> {
        let stream = self.settings.jetstream.stream_name.clone();
        let had = self.had().unwrap_or(0);
        if first && had > seen.last {
            let reason = format!(
                "it ends at sequence {}, and reading is to go on behind {had}: it was made anew, or has lost its end; \
                 leave `after` out to read what it has",
                seen.last
            );
            return Err(TailError::Read { stream, reason });
        }
        if seen.is_other || had > seen.last {
            // Kept until it is told: what follows may fail, and is begun again.
            self.anew = true;
            // What it takes for delivered is not what the stream has now.
            let context = jetstream::new(client.clone());
            if let Ok(there) = context.get_stream_no_info(&stream).await {
                let _ = there.delete_consumer(&self.spec.durable).await;
            }
            // Of one that has lost its end, what was stored later than what was read.
            self.spec.since = if seen.is_other { Since::Start } else { Since::Time(self.stored_ns + 1) };
            (self.spec.after, self.begun, self.made, self.missed) = (None, None, None, None);
            self.acks.forget();
            self.order = Order::new(0);
        }
        Ok(())
    }
}
