//! What these tests share: streams with everything that a stream can have, and all that is in one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use tempfile::TempDir;

use crate::process::{Done, run};
use crate::support::{Server, client};

/// Long enough for any machine; reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// The oldest server that is supported, the last of 2.12, and the newest.
pub(crate) const VERSIONS: [&str; 3] = ["2.10.26", "2.12.8", "2.15.1"];

/// A message with all that a stream knows of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    subject: String,
    time_ns: i128,
    headers: Option<HeaderMap>,
    payload: Vec<u8>,
}

/// A server, what is on it, and a directory for backups.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) context: Context,
    pub(crate) directory: TempDir,
}

impl Scene {
    pub(crate) async fn of(version: &str) -> Self {
        Self::on(Server::builder().version(version).start()).await
    }

    pub(crate) async fn on(server: Server) -> Self {
        let context = jetstream::new(client(&server.url()).await);
        Self { server, context, directory: tempfile::tempdir().unwrap() }
    }

    /// A stream on `NAME.>`, with messages of all kinds.
    pub(crate) async fn stream(&self, name: &str, storage: StorageType, messages: u64) {
        let subjects = vec![format!("{name}.>")];
        let config = Config { name: name.to_owned(), subjects, storage, ..Config::default() };
        self.context.create_stream(config).await.unwrap();
        self.publish(name, messages).await;
    }

    pub(crate) async fn publish(&self, name: &str, messages: u64) {
        publish(&self.context, name, messages).await;
    }

    pub(crate) async fn state(&self, name: &str) -> jetstream::stream::State {
        state(&self.context, name).await
    }

    pub(crate) async fn has(&self, name: &str) -> bool {
        match self.context.get_stream(name).await {
            Ok(_) => true,
            Err(error) if error.to_string().contains("not found") => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything in a stream, in order.
    pub(crate) async fn messages(&self, name: &str) -> Vec<Message> {
        messages(&self.context, name).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Names of the files in the directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    pub(crate) fn backup(&self, stream: &str, file: &str, more: &[&str]) -> Done {
        let (url, path) = (self.server.url(), self.path(file));
        run(&[&["topology", "backup", stream, "-o", path.to_str().unwrap(), "--nats", &url], more].concat())
    }

    #[track_caller]
    pub(crate) fn restore(&self, path: &Path, more: &[&str]) -> Done {
        run(&[&["topology", "restore", path.to_str().unwrap(), "--nats", &self.server.url()], more].concat())
    }
}

/// Messages with and without headers, of no and of many bytes, that no compression makes small.
pub(crate) async fn publish(context: &Context, name: &str, messages: u64) {
    let client = context.client();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 1..=messages {
        let mut payload = Vec::with_capacity(512);
        for _ in 0..number % 64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            payload.extend(random.to_le_bytes());
        }
        let subject = format!("{name}.{}", number % 50);
        if number % 5 == 0 {
            client.publish(subject, payload.into()).await.unwrap();
        } else {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{name}-{number}"));
            headers.append("Twice", "one");
            headers.append("Twice", number.to_string());
            // The nodes of a cluster do not know at once who takes messages on a new subject.
            if number == 1 {
                until_taken(context, &subject, &headers, &payload).await;
            }
            client.publish_with_headers(subject, headers, payload.into()).await.unwrap();
        }
        // A server drops what comes faster than it stores.
        if number % 2_000 == 0 {
            until_stored(context, name, number).await;
        }
    }
    until_stored(context, name, messages).await;
}

async fn until_taken(context: &Context, subject: &str, headers: &HeaderMap, payload: &[u8]) {
    let start = Instant::now();
    loop {
        let sent = context.publish_with_headers(subject.to_owned(), headers.clone(), payload.to_vec().into());
        match sent.await.unwrap().await {
            Ok(_) => break,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
        }
    }
}

pub(crate) async fn until_stored(context: &Context, name: &str, count: u64) {
    context.client().flush().await.unwrap();
    let start = Instant::now();
    while state(context, name).await.messages < count {
        assert!(start.elapsed() < DEADLINE, "{count} messages were not stored within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn state(context: &Context, name: &str) -> jetstream::stream::State {
    context.get_stream(name).await.unwrap().cached_info().state.clone()
}

/// Everything in a stream, in order.
pub(crate) async fn messages(context: &Context, name: &str) -> Vec<Message> {
    let stream = context.get_stream(name).await.unwrap();
    let count = usize::try_from(stream.cached_info().state.messages).unwrap();
    let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
    let mut incoming = consumer.messages().await.unwrap();
    let (mut read, mut reader) = (Vec::with_capacity(count), None);
    while read.len() < count {
        let message = tokio::time::timeout(DEADLINE, incoming.next()).await.expect("messages").unwrap().unwrap();
        let info = message.info().unwrap();
        reader = Some(info.consumer.to_owned());
        read.push(Message {
            sequence: info.stream_sequence,
            time_ns: info.published.unix_timestamp_nanos(),
            subject: message.subject.to_string(),
            headers: message.headers.clone(),
            payload: message.payload.to_vec(),
        });
    }
    drop(incoming);
    // Servers of 2.15 save it with the others.
    if let Some(reader) = reader {
        stream.delete_consumer(&reader).await.unwrap();
    }
    read
}

/// A backup with another header and a checksum that holds.
pub(crate) fn forged(whole: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let (head, rest) = whole.split_at(12);
    let (length, rest) = rest.split_first_chunk().unwrap();
    let (header, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
    let mut header = serde_json::from_slice(header).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let body = &rest[..rest.len() - 40];
    let bytes = [head, &length, &header, body].concat();
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    [bytes.as_slice(), sum.as_ref(), b"DMBKPEND"].concat()
}
