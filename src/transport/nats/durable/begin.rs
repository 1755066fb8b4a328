//! Where a connection begins: the consumer is found or made, and reading goes on behind what the caller has.

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
        if let Some(seen) = self.watch.begin(&client, &mut self.subjects).await {
            self.compare_stream(seen, first)?;
        }
        let mut consumer = self.consumer(&client).await?;
        let made = consumer.cached_info().created.unix_timestamp_nanos();
        if self.created.1.replace(made).is_some_and(|before| before != made) {
            tracing::warn!(consumer = %self.spec.durable, "the consumer was made anew while it was read");
            self.acks.forget();
            self.order.renew();
        }
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
        self.go_on_behind(floor, first).await?;
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
    async fn go_on_behind(&mut self, floor: u64, first: bool) -> Result<(), TailError> {
        let had = self.had();
        if let Some(had) = had.filter(|had| *had < floor) {
            let (filter, since) = (self.spec.filter.clone(), Since::Sequence(had + 1));
            let tail = Tail::open(&self.settings, filter, since).await?;
            self.missed = Some((Box::new(tail), floor));
        } else if first {
            self.subjects.stand(had.unwrap_or(0).max(floor));
        }
        self.order.advance(floor);
        Ok(())
    }

    /// Whether it is the stream that was read before, and has what the caller has.
    fn compare_stream(&mut self, seen: Seen, first: bool) -> Result<(), TailError> {
        let stream = self.settings.jetstream.stream_name.clone();
        if self.created.0.replace(seen.created).is_some_and(|created| created != seen.created) {
            (self.spec.after, self.spec.since, self.created.1, self.missed) = (None, Since::Start, None, None);
            self.acks.forget();
            self.order = Order::new(0);
            self.subjects.stand(0);
            self.queue.push_back(Err(TailError::Anew { stream }));
        } else if let Some(after) = self.spec.after
            && first
            && after > seen.last
        {
            let reason = format!(
                "it ends at sequence {}, and reading is to go on behind {after}: it was made anew, or has lost its end; \
                 leave `after` out to read what it has",
                seen.last
            );
            return Err(TailError::Read { stream, reason });
        }
        Ok(())
    }
}
