//! Puts to a bucket, each with an answer of its own: what refuses one of them says nothing of the others.

use async_nats::Event;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, ErrorCode};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::error::{self, cure, missing};
use super::{Answer, KvError, Put, Role, Store, is_end};
use crate::config::settings::{Manage, Nats};
use crate::transport::nats::connect::Chain;
use crate::transport::nats::stream_manager;

/// What became of a put.
pub type Answered = (String, Result<Answer, KvError>);

impl Store {
    /// Puts all of these, without waiting in between, and waits for what the server says to each.
    ///
    /// # Errors
    /// [`KvError`] when the connection cannot be used: then nothing is known of any of them.
    pub async fn put(&mut self, role: Role, puts: Vec<Put>) -> Result<Vec<Answered>, KvError> {
        let bucket = role.bucket(&self.settings.kv);
        let mut waiting: Vec<String> = puts.iter().map(|put| put.key.clone()).collect();
        let mut answers = Vec::with_capacity(puts.len());
        let mut acks: FuturesUnordered<_> = puts.into_iter().map(|put| send(&self.context, bucket, put)).collect();
        while !waiting.is_empty() {
            tokio::select! {
                biased;
                Some((key, answer)) = acks.next() => {
                    // One that was not permitted has been told, and is answered no more.
                    if let Some(at) = waiting.iter().position(|waits| *waits == key) {
                        waiting.swap_remove(at);
                        let answer = answer.or_else(|error| refused(&self.settings, role, &key, &error));
                        answers.push((key, answer));
                    }
                }
                event = self.events.recv() => match event {
                    Some(Event::ServerError(error)) => {
                        let words = error.to_string();
                        let Some(cure) = cure(bucket, &words) else { continue };
                        let denied = || KvError::Denied { bucket: bucket.to_owned(), words: words.clone(), cure };
                        match error::denied_key(bucket, &words) {
                            None => return Err(denied()),
                            Some(key) => {
                                let is_it = |waits: &String| waits.eq_ignore_ascii_case(key);
                                if let Some(at) = waiting.iter().position(is_it) {
                                    answers.push((waiting.swap_remove(at), Err(denied())));
                                }
                            }
                        }
                    }
                    Some(event) if !is_end(&event) => {}
                    Some(_) | None => return Err(KvError::Lost),
                },
            }
        }
        Ok(answers)
    }
}

async fn send(context: &Context, bucket: &str, put: Put) -> (String, Result<Answer, PublishError>) {
    let mut message = PublishMessage::build().payload(put.value);
    if let Some(revision) = put.expected {
        message = message.expected_last_subject_sequence(revision);
    }
    let stored = match context.send_publish(format!("$KV.{bucket}.{}", put.key), message).await {
        Ok(ack) => ack.await.map(|ack| Answer::Stored(ack.sequence)),
        Err(error) => Err(error),
    };
    (put.key, stored)
}

fn refused(settings: &Nats, role: Role, key: &str, error: &PublishError) -> Result<Answer, KvError> {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Ok(Answer::Stale),
        PublishErrorKind::Other if code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => {
            Ok(Answer::Stale)
        }
        // Without the right to look, this is how a missing bucket shows itself.
        PublishErrorKind::StreamNotFound if settings.jetstream.manage != Manage::Create => Err(missing(settings, role)),
        kind => {
            let text = Chain(error).to_string();
            let reason = format!("{text}{}", stream_manager::hint(&text));
            let bucket = role.bucket(&settings.kv).to_owned();
            Err(match kind {
                // Only what the server says is about this entry.
                PublishErrorKind::Other | PublishErrorKind::MaxPayloadExceeded => {
                    KvError::Refused { bucket, key: key.to_owned(), reason }
                }
                _ => KvError::Failed { bucket, what: "it does not take an entry", reason },
            })
        }
    }
}

/// The server's own number of a refusal.
fn code(error: &PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<jetstream::Error>().map(jetstream::Error::error_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_known_by_its_number() {
        let words = r#"{"code":400,"err_code":10164,"description":"wrong last sequence"}"#;
        let refused: jetstream::Error = serde_json::from_str(words).unwrap();
        let error = PublishError::with_source(PublishErrorKind::Other, refused);
        assert_eq!(code(&error), Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT));
        assert_eq!(code(&PublishError::new(PublishErrorKind::TimedOut)), None);
    }
}
