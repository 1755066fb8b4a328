//! Clients that wait for their server, and whole streams read in order.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, ServerAddr};
use futures_util::StreamExt as _;

use super::server::DEADLINE;

/// A message as it lies in a stream: its sequence, its subject, its payload.
pub type Read = (u64, String, Vec<u8>);

/// A client of the server at `url` (several, separated by commas), without credentials.
pub async fn client(url: &str) -> async_nats::Client {
    let addresses: Vec<ServerAddr> = url.split(',').map(|url| url.parse().unwrap()).collect();
    let start = Instant::now();
    loop {
        let options = ConnectOptions::new().connection_timeout(DEADLINE / 6);
        match options.connect(addresses.as_slice()).await {
            Ok(client) => return client,
            Err(error) if start.elapsed() > DEADLINE => panic!("no connection to {url} within {DEADLINE:?}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Everything that lies in `stream` now, in order.
pub async fn read_all(client: &async_nats::Client, stream: &str) -> Vec<Read> {
    read_all_within(client, stream, DEADLINE).await
}

/// As `read_all`, with a deadline of the test's own.
pub async fn read_all_within(client: &async_nats::Client, stream: &str, limit: Duration) -> Vec<Read> {
    let mut read = Vec::new();
    let mut wanted = None;
    let done = tokio::time::timeout(limit, fill(client, stream, &mut read, &mut wanted)).await;
    let wanted = wanted.map_or_else(|| "an unknown number of".to_owned(), |wanted: u64| wanted.to_string());
    assert!(done.is_ok(), "read {} of {wanted} messages of stream {stream} within {limit:?}", read.len());
    read
}

async fn fill(client: &async_nats::Client, name: &str, read: &mut Vec<Read>, wanted: &mut Option<u64>) {
    let stream = open(client, name).await;
    let state = stream.cached_info().state.clone();
    *wanted = Some(state.messages);
    if state.messages == 0 {
        return;
    }
    read.reserve(usize::try_from(state.messages).unwrap());
    let config = OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.unwrap_or_else(|error| panic!("a reader of {name}: {error}"));
    let mut messages = consumer.messages().await.unwrap();
    while let Some(message) = messages.next().await {
        let message = message.unwrap_or_else(|error| panic!("reading {name}: {error}"));
        let info = message.info().unwrap();
        let (sequence, pending) = (info.stream_sequence, info.pending);
        read.push((sequence, message.subject.to_string(), message.payload.to_vec()));
        // The last messages may have been deleted, so that the last sequence never comes.
        if sequence >= state.last_sequence || pending == 0 {
            return;
        }
    }
}

/// The stream, as soon as somebody answers for it: after a restart or an election that takes a moment.
async fn open(client: &async_nats::Client, name: &str) -> stream::Stream {
    let context = jetstream::new(client.clone());
    loop {
        match context.get_stream(name).await {
            Ok(stream) => return stream,
            Err(error) if error.to_string().contains("not found") => panic!("stream {name}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
