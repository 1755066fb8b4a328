//! The other legs: async-nats's own ways to publish.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::context::{Context, PublishAckFuture};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::{INSTRUMENTS, connect, fresh_stream, record, subjects};

/// As the client's documentation has it: so many futures of acknowledgements in flight, awaited in order. With `ids`
/// each record carries the id that the daemon gives it, so that the server's work is the same.
pub(super) async fn windowed(url: String, n: u64, window: usize, ids: bool) -> Duration {
    let context = connect(&url).await;
    fresh_stream(&context).await;
    let subjects = subjects();
    let mut flight = FuturesOrdered::<<PublishAckFuture as IntoFuture>::IntoFuture>::new();
    let start = Instant::now();
    for (k, subject) in (0..n).zip(subjects.iter().cycle()) {
        if flight.len() == window {
            flight.next().await.unwrap().unwrap();
        }
        flight.push_back(publish(&context, subject, k, ids).await.into_future());
    }
    while let Some(ack) = flight.next().await {
        ack.unwrap();
    }
    start.elapsed()
}

/// One at a time.
pub(super) async fn each(url: String, n: u64, ids: bool) -> Duration {
    let context = connect(&url).await;
    fresh_stream(&context).await;
    let subjects = subjects();
    let start = Instant::now();
    for (k, subject) in (0..n).zip(subjects.iter().cycle()) {
        publish(&context, subject, k, ids).await.await.unwrap();
    }
    start.elapsed()
}

async fn publish(context: &Context, subject: &async_nats::Subject, k: u64, ids: bool) -> PublishAckFuture {
    if !ids {
        return context.publish(subject.clone(), record(k)).await.unwrap();
    }
    let id = format!("{:08x}-{}-1700000000123", k % INSTRUMENTS as u64 + 1, 1_000_000_000 + k);
    let message = jetstream::message::PublishMessage::build().payload(record(k)).message_id(id);
    context.send_publish(subject.clone(), message).await.unwrap()
}
