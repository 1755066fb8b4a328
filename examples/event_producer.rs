//! Sends business events to JetStream, each stored once however often it is sent. An event is a line of JSON on stdin:
//!
//! ```sh
//! export NATS_USER=producer NATS_PASSWORD=...        # as in config/topology/event-platform.toml
//! echo '{"id":"mail-1","type":"notifications.mail","data":{"to":"ann"}}' |
//!   cargo run --release --no-default-features --features nats --example event_producer -- nats://localhost:4222
//! ```
//!
//! What is sent to `events.<type>` is an envelope: `{"id", "type", "source", "time", "data"}`. The id is the caller's, and
//! stays the same when the caller is not sure and sends again; the server goes by it for the stream's duplicate window.

#![allow(clippy::disallowed_methods, reason = "a program of its own reads its own clock")]

use std::error::Error;
use std::io::BufRead as _;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{self, Context, publish::PublishAck};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How often an event is sent before the program gives up.
const TRIES: u32 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "nats://localhost:4222".to_owned());
    let (user, password) = (std::env::var("NATS_USER")?, std::env::var("NATS_PASSWORD")?);
    // Replies come to an inbox of the user's own, which nobody else may read.
    let inbox = format!("_INBOX_{user}");
    let options = async_nats::ConnectOptions::with_user_and_password(user.clone(), password);
    let client = options.custom_inbox_prefix(inbox).connect(server).await?;
    let context = jetstream::new(client);
    for line in std::io::stdin().lock().lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let (Some(id), Some(kind)) = (event["id"].as_str(), event["type"].as_str()) else {
            return Err(format!("an event needs an id and a type: {event}").into());
        };
        let time = OffsetDateTime::now_utc().format(&Rfc3339)?;
        let envelope = json!({"id": id, "type": kind, "source": user, "time": time, "data": event["data"]});
        let ack = send(&context, &format!("events.{kind}"), id, &envelope).await?;
        println!("{id} is message {} of {}{}", ack.sequence, ack.stream, if ack.duplicate { ", already" } else { "" });
    }
    Ok(())
}

/// Sends until the server says that it is stored. After a lost answer nobody knows whether it was: the id settles that.
async fn send(context: &Context, subject: &str, id: &str, envelope: &Value) -> Result<PublishAck, Box<dyn Error>> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    let mut wait = Duration::from_millis(100);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let payload = envelope.to_string().into();
        let sent = context.publish_with_headers(subject.to_owned(), headers.clone(), payload).await;
        let error = match sent {
            Ok(answer) => match answer.await {
                Ok(ack) => return Ok(ack),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if attempt == TRIES {
            return Err(format!("{id}: sent {TRIES} times in vain: {error}").into());
        }
        eprintln!("{id}: {error}; sending it again");
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}
