//! Handles events from JetStream by a durable consumer, each acknowledged when it is done: what this program was busy with
//! when it died comes again.
//!
//! ```sh
//! export NATS_USER=notifier NATS_PASSWORD=...        # as in config/topology/event-platform.toml
//! cargo run --release --no-default-features --features nats --example event_consumer -- \
//!   NOTIFICATIONS notifications nats://localhost:4222
//! ```
//!
//! An event that cannot be handled comes again, at most `max_deliver` times; the server tells by an advisory when it gives
//! up. What is no event at all is terminated at once: it would be none the next time either.

use std::error::Error;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind, Message};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;

/// The envelope of all events.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    time: String,
    data: Value,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let (Some(stream), Some(durable)) = (args.next(), args.next()) else {
        return Err("usage: event_consumer STREAM CONSUMER [SERVER]".into());
    };
    let server = args.next().unwrap_or_else(|| "nats://localhost:4222".to_owned());
    let (user, password) = (std::env::var("NATS_USER")?, std::env::var("NATS_PASSWORD")?);
    let inbox = format!("_INBOX_{user}");
    let options = async_nats::ConnectOptions::with_user_and_password(user, password);
    let client = options.custom_inbox_prefix(inbox).connect(server).await?;
    // Whoever is given up is told once, to whoever listens: listen first.
    let advisory = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.{durable}");
    let mut given_up = client.subscribe(advisory).await?;
    // The consumer is there already: `data-manager topology apply` made it. This user could not.
    let stream = jetstream::new(client).get_stream_no_info(stream).await?;
    let consumer: PullConsumer = stream.get_consumer(&durable).await?;
    // Few at a time: `ack_wait` runs for all that are on their way.
    let mut messages = consumer.stream().max_messages_per_batch(10).messages().await?;
    println!("ready");
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => take(message?).await?,
                None => return Ok(()),
            },
            Some(told) = given_up.next() => {
                let told: Value = serde_json::from_slice(&told.payload)?;
                println!("message {} was given up after {} deliveries", told["stream_seq"], told["deliveries"]);
            }
        }
    }
}

/// Handles one message and tells the server what came of it.
async fn take(message: Message) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (sequence, delivered) = message.info().map(|info| (info.stream_sequence, info.delivered))?;
    let event: Event = match serde_json::from_slice(&message.payload) {
        Ok(event) => event,
        Err(error) => {
            println!("message {sequence} is no event and was terminated: {error}");
            return message.ack_with(AckKind::Term).await;
        }
    };
    match handle(&event) {
        // Done is done when the server has heard it; until then it may come again.
        Ok(()) => {
            message.double_ack().await?;
            println!("{} is done, delivery {delivered}", event.id);
        }
        Err(reason) => {
            println!("{} failed, delivery {delivered}: {reason}", event.id);
            message.ack_with(AckKind::Nak(None)).await?;
        }
    }
    Ok(())
}

/// What this program is for. It may meet an event a second time, so a real one looks up whether it did `id` already.
fn handle(event: &Event) -> Result<(), String> {
    let to = event.data["to"].as_str().ok_or("it names no receiver")?;
    println!("to {to}: {} from {} at {}", event.kind, event.source, event.time);
    Ok(())
}
