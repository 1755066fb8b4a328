//! What these tests share: a server, topology files of their own, the binary run on both, and the server's raw words.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::{Client, Request};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Done, run};
use crate::support::{Builder, Server, client};

/// The servers that are supported: the oldest, one between, the newest.
pub(crate) const VERSIONS: [&str; 3] = ["2.10.26", "2.12.8", "2.15.1"];
pub(crate) const NEWEST: &str = VERSIONS[2];
/// Nanoseconds, in which the server counts times.
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const DAY: u64 = 86_400 * SECOND;
pub(crate) const GIB: u64 = 1 << 30;
/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// A server, and a directory for files.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) client: Client,
    dir: TempDir,
}

impl Scene {
    /// A server of this version, which a failure names.
    pub(crate) async fn start(version: &str) -> Self {
        Self::on(Server::builder().version(version)).await
    }

    pub(crate) async fn on(builder: Builder) -> Self {
        let server = builder.start();
        let client = client(&server.url()).await;
        eprintln!("--- nats-server {}", client.server_info().version);
        Self { server, client, dir: TempDir::new().unwrap() }
    }

    /// A server with room for the examples, which declare more than a test's server has.
    pub(crate) async fn roomy(version: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let store = dir.path().join("store");
        let block = format!("jetstream {{ store_dir: {store:?}, max_memory_store: 4GB, max_file_store: 200GB }}");
        let builder = Server::builder().version(version).store_in(&store).without_jetstream().config(&block);
        let mut scene = Self::on(builder).await;
        scene.dir = dir;
        scene
    }

    /// A file with this text; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        write(self.dir.path(), name, text)
    }

    /// `topology COMMAND ARGUMENTS... --nats URL`.
    pub(crate) fn topology(&self, command: &str, arguments: &[&str]) -> Done {
        let url = self.server.url();
        run(&[&["topology", command], arguments, &["--nats", &url]].concat())
    }

    /// `topology apply` of these arguments, which succeeds.
    #[track_caller]
    pub(crate) fn apply(&self, arguments: &[&str]) -> Done {
        self.topology("apply", arguments).expect_code(0)
    }

    /// Applies this text.
    #[track_caller]
    pub(crate) fn declare(&self, text: &str) -> Done {
        self.apply(&[&self.file("declared.toml", text)])
    }

    /// `check ARGUMENTS... --nats URL` without a look at rates, which takes its time.
    pub(crate) fn check(&self, arguments: &[&str]) -> Done {
        let url = self.server.url();
        let sample: &[&str] = if arguments.contains(&"--sample") { &[] } else { &["--sample", "0s"] };
        run(&[&["check", "--nats", &url], sample, arguments].concat())
    }

    /// Another configuration, and a start from the store that is there.
    pub(crate) async fn start_again(&mut self, lines: &str) {
        self.server.reload(lines);
        self.server.launch();
        self.until_info(|info| info["limits"].is_object()).await;
    }

    /// Waits until the account is as wanted.
    pub(crate) async fn until_info(&self, is_so: impl Fn(&Value) -> bool) {
        let (start, client) = (Instant::now(), client(&self.server.url()).await);
        loop {
            // A server that has just started does not answer yet.
            let answer = client.request("$JS.API.INFO", "".into()).await.ok();
            let info = answer.and_then(|answer| serde_json::from_slice(&answer.payload).ok()).unwrap_or(Value::Null);
            if is_so(&info) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {info}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the API says, errors too.
    pub(crate) async fn ask(&self, call: &str, body: Value) -> Value {
        ask(&self.client, call, body).await
    }

    /// What the API says to what it has to do.
    #[track_caller]
    pub(crate) fn done(answer: &Value) -> &Value {
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// A stream's configuration in the server's words; null where there is none.
    pub(crate) async fn stream(&self, name: &str) -> Value {
        self.ask(&format!("STREAM.INFO.{name}"), Value::Null).await["config"].take()
    }

    /// A consumer's configuration in the server's words; null where there is none.
    pub(crate) async fn consumer(&self, stream: &str, name: &str) -> Value {
        self.ask(&format!("CONSUMER.INFO.{stream}.{name}"), Value::Null).await["config"].take()
    }

    /// Changes some keys of a stream behind everybody's back.
    pub(crate) async fn tamper(&self, name: &str, changes: Value) {
        let config = merged(self.stream(name).await, changes);
        Self::done(&self.ask(&format!("STREAM.UPDATE.{name}"), config).await);
    }

    /// Messages in a stream.
    pub(crate) async fn messages(&self, name: &str) -> u64 {
        let info = self.ask(&format!("STREAM.INFO.{name}"), Value::Null).await;
        info["state"]["messages"].as_u64().unwrap_or_else(|| panic!("{info}"))
    }

    /// Publishes messages of so many bytes; returns when the last is stored.
    pub(crate) async fn publish(&self, subject: &str, count: usize, bytes: usize) {
        for sent in 1..=count {
            let payload = vec![b'x'; bytes];
            if sent == count {
                let answer = self.client.request(subject.to_owned(), payload.into()).await.unwrap();
                let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
                assert!(answer.get("error").is_none(), "{answer}");
            } else {
                self.client.publish(subject.to_owned(), payload.into()).await.unwrap();
            }
        }
    }

    /// Waits until a consumer's answer satisfies.
    pub(crate) async fn until_consumer(&self, stream: &str, name: &str, is_so: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let info = self.ask(&format!("CONSUMER.INFO.{stream}.{name}"), Value::Null).await;
            if is_so(&info) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {info}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a stream has so many messages.
    pub(crate) async fn until_messages(&self, name: &str, count: u64) {
        let start = Instant::now();
        while self.messages(name).await != count {
            assert!(start.elapsed() < DEADLINE, "{count} messages were not in {name} within {DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything that the server has, as its lists tell it, without what changes by itself.
    pub(crate) async fn everything(&self) -> Vec<Value> {
        let streams = self.ask("STREAM.LIST", Value::Null).await["streams"].take();
        let mut all = Vec::new();
        for stream in streams.as_array().into_iter().flatten() {
            let name = stream["config"]["name"].as_str().unwrap();
            let consumers = self.ask(&format!("CONSUMER.LIST.{name}"), Value::Null).await["consumers"].take();
            let consumers = consumers.as_array().into_iter().flatten().map(|consumer| consumer["config"].clone());
            all.push(json!({"stream": stream["config"], "messages": stream["state"]["messages"],
                "consumers": consumers.collect::<Vec<_>>()}));
        }
        all
    }
}

pub(crate) async fn ask(client: &Client, call: &str, body: Value) -> Value {
    let payload = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::new().payload(payload.into()).timeout(Some(DEADLINE));
    let answer = client.send_request(format!("$JS.API.{call}"), request).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// A file with this text; its path.
pub(crate) fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// An object with some keys changed; null takes one out.
pub(crate) fn merged(mut object: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            object[key] = value.clone();
        }
    }
    object
}

/// Asserts that an object has these keys with these values; null stands for none, or what means nothing.
#[track_caller]
pub(crate) fn has(object: &Value, expected: Value) {
    for (key, wanted) in expected.as_object().unwrap() {
        let found = &object[key];
        let is_nothing = |value: &Value| value.is_null() || *value == json!(false) || *value == json!(0);
        assert!(found == wanted || wanted.is_null() && is_nothing(found), "{key} is {found}, not {wanted}: {object}");
    }
}

/// The whole of what a command printed as JSON.
#[track_caller]
pub(crate) fn parsed(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:#?}"))
}

/// Asserts that stdout has this text.
#[track_caller]
pub(crate) fn shows(done: &Done, text: &str) {
    assert!(done.out.contains(text), "no {text:?} in {done:#?}");
}
