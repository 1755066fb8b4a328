//! Clients that wait for their server, and whole streams read in order.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull::OrderedConfig;
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
    let mut reader = Reader { read: Vec::new(), wanted: None, trouble: None };
    let done = tokio::time::timeout(limit, reader.run(client, stream)).await;
    let Reader { read, wanted, trouble } = reader;
    let wanted = wanted.map_or_else(|| "an unknown number of".to_owned(), |wanted| wanted.to_string());
    let trouble = trouble.unwrap_or_else(|| "nothing more came".to_owned());
    assert!(done.is_ok(), "read {} of {wanted} messages of stream {stream} within {limit:?}: {trouble}", read.len());
    read
}

/// A reader to which nothing comes for so long is given up, and reading begins anew.
const STALLED: Duration = Duration::from_secs(20);

/// How far the reading of a stream is.
struct Reader {
    read: Vec<Read>,
    wanted: Option<u64>,
    /// The last thing that went wrong; after a restart or an election it may take a while until somebody answers.
    trouble: Option<String>,
}

impl Reader {
    async fn run(&mut self, client: &async_nats::Client, name: &str) {
        while let Err(trouble) = self.attempt(client, name).await {
            assert!(!trouble.contains("stream not found"), "stream {name}: {trouble}");
            self.trouble = Some(trouble);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn attempt(&mut self, client: &async_nats::Client, name: &str) -> Result<(), String> {
        self.read.clear();
        let context = jetstream::new(client.clone());
        let stream = context.get_stream(name).await.map_err(|error| error.to_string())?;
        let info = stream.cached_info();
        // A server that has just come back answers too, with what its own copy had when it went.
        if info.cluster.as_ref().is_some_and(|cluster| cluster.leader.as_ref().is_none_or(String::is_empty)) {
            return Err("the server that answered knows no leader".to_owned());
        }
        let state = info.state.clone();
        self.wanted = Some(state.messages);
        if state.messages == 0 {
            return Ok(());
        }
        self.read.reserve(usize::try_from(state.messages).unwrap());
        let consumer = stream.create_consumer(OrderedConfig::default()).await.map_err(|error| error.to_string())?;
        let mut messages = consumer.messages().await.map_err(|error| error.to_string())?;
        while let Ok(next) = tokio::time::timeout(STALLED, messages.next()).await {
            let Some(message) = next else { return Err("the reader ended early".to_owned()) };
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().unwrap();
            let (sequence, pending) = (info.stream_sequence, info.pending);
            self.read.push((sequence, message.subject.to_string(), message.payload.to_vec()));
            // The last messages may have been deleted, so that the last sequence never comes.
            if sequence >= state.last_sequence || pending == 0 {
                // A consumer on a replica that is behind ends where the replica does; one that comes to the end has
                // read all that can be read, even if the server has lost some.
                return if sequence >= state.last_sequence || self.read.len() as u64 >= state.messages {
                    Ok(())
                } else {
                    Err("it ended early".to_owned())
                };
            }
        }
        Err(format!("nothing came for {STALLED:?} behind message {} of {}", self.read.len(), state.messages))
    }
}
