//! The consumer on the server: made where it is missing, held against what is asked for where it is there.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{self, AckPolicy, Consumer};
use async_nats::jetstream::{self, context::ConsumerInfoErrorKind};

use super::Durable;
use crate::transport::nats::connect::Chain;
use crate::transport::nats::consumer::TailError;

/// How long one request for messages lasts, and how often the server says that it is still there.
pub(super) const PULL: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages that are asked for at a time.
const PULL_MESSAGES: usize = 1_000;

impl Durable {
    #[expect(clippy::needless_pass_by_ref_mut, reason = "what is borrowed over an await must be Send, and is not Sync")]
    pub(super) async fn pull(&mut self, consumer: &Consumer<Config>) -> Result<Stream, TailError> {
        let batch = PULL_MESSAGES.min(usize::try_from(self.spec.max_ack_pending).unwrap_or(PULL_MESSAGES));
        let pull = consumer.stream().max_messages_per_batch(batch).expires(PULL).heartbeat(HEARTBEAT);
        pull.messages().await.map_err(|error| self.fail(Chain(&error).to_string()))
    }

    /// The consumer as it is, or a new one, and whether it is new.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "what is borrowed over an await must be Send, and is not Sync")]
    pub(super) async fn consumer(&mut self, client: &Client) -> Result<(Consumer<Config>, bool), TailError> {
        let name = &self.settings.jetstream.stream_name;
        let fail = |reason: String| TailError::Read { stream: name.clone(), reason };
        let stream = jetstream::new(client.clone()).get_stream_no_info(name).await;
        let stream = stream.map_err(|error| fail(Chain(&error).to_string()))?;
        match stream.consumer_info(&self.spec.durable).await {
            Ok(info) => {
                self.compare(&info.config)?;
                let there = stream.get_consumer(&self.spec.durable).await;
                there.map(|there| (there, false)).map_err(|error| self.fail(error.to_string()))
            }
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
                let made = stream.create_consumer_strict(self.wanted()).await;
                made.map(|made| (made, true)).map_err(|error| self.fail(Chain(&error).to_string()))
            }
            Err(error) => Err(self.fail(Chain(&error).to_string())),
        }
    }

    fn wanted(&self) -> Config {
        Config {
            durable_name: Some(self.spec.durable.clone()),
            description: Some("data-manager reader".to_owned()),
            filter_subjects: self.filters(),
            // What was handed out and not acknowledged would be asked for again after a crash.
            deliver_policy: self.spec.since.policy(self.had().map(|_| self.order.acknowledged() + 1)),
            replay_policy: self.spec.replay.policy(),
            ack_policy: AckPolicy::All,
            ack_wait: self.spec.ack_wait,
            max_ack_pending: i64::from(self.spec.max_ack_pending),
            ..Config::default()
        }
    }

    fn filters(&self) -> Vec<String> {
        let mut filters = self.spec.filter.subjects(&self.settings.jetstream.subject_prefix);
        filters.sort();
        filters
    }

    /// One that is there must read the same in the same way; where it began is its own matter.
    fn compare(&self, there: &consumer::Config) -> Result<(), TailError> {
        let mut filters = there.filter_subjects.clone();
        filters.extend((!there.filter_subject.is_empty()).then(|| there.filter_subject.clone()));
        filters.sort();
        let wanted = self.wanted();
        let cure = "give this reader another name, or remove the consumer";
        let differs = |what: &str, there: String, wanted: String| {
            Err(self.fail(format!("{what} {there} where {wanted} is asked for; {cure}")))
        };
        if filters != wanted.filter_subjects {
            return differs("it reads", filters.join(" "), wanted.filter_subjects.join(" "));
        }
        if there.ack_policy != wanted.ack_policy {
            return differs(
                "it acknowledges by",
                format!("{:?}", there.ack_policy),
                format!("{:?}", wanted.ack_policy),
            );
        }
        if there.replay_policy != wanted.replay_policy {
            let names = |policy| format!("{policy:?}");
            return differs("it replays", names(there.replay_policy), names(wanted.replay_policy));
        }
        Ok(())
    }

    /// The last sequence that the caller has, or behind which it began; none: it is to begin.
    pub(super) fn had(&self) -> Option<u64> {
        self.spec.after.max(self.begun).map(|from| from.max(self.order.reached()))
    }

    pub(super) fn fail(&self, reason: String) -> TailError {
        TailError::Consumer {
            stream: self.settings.jetstream.stream_name.clone(),
            consumer: self.spec.durable.clone(),
            reason,
        }
    }
}
