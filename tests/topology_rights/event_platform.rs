//! event-platform.toml with the two example programs as they are shipped: events are stored once, handled once, tried
//! again, given up, and told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use serde_json::{Value, json};

use crate::kit::{DEADLINE, Ground, VERSIONS, password, text};
use crate::raw::Try;
use crate::support::read_all_within;

/// The program that `cargo test` puts beside the tests.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_data-manager")).with_file_name("examples").join(name);
    assert!(path.exists(), "there is no {}: run `cargo build --examples`, as `cargo test` does", path.display());
    path
}

fn as_user(ground: &Ground, name: &str, user: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program(name));
    command.args(args).arg(ground.server.url());
    command.env("NATS_USER", user).env("NATS_PASSWORD", password(&ground.declared(user).password_env));
    command
}

/// Sends these and returns what the program said.
fn produce(ground: &Ground, events: &[Value]) -> Vec<String> {
    let mut command = as_user(ground, "event_producer", "producer", &[]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for event in events {
        writeln!(stdin, "{event}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The consumer; killed when it is dropped.
struct Consumer {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Consumer {
    fn start(ground: &Ground, user: &str, stream: &str, durable: &str) -> Self {
        let mut command = as_user(ground, "event_consumer", user, &[stream, durable]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (heard, lines) = sync_channel(1_000);
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| heard.send(line)));
        let mut consumer = Self { child, lines, heard: Vec::new() };
        consumer.wait("ready");
        consumer
    }

    /// Waits until it has said this, as the beginning of a line.
    fn wait(&mut self, beginning: &str) {
        let start = Instant::now();
        while !self.heard.iter().any(|line| line.starts_with(beginning)) {
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.heard.push(line),
                Err(error) => panic!("it never said {beginning:?} ({error}), but {:#?}", self.heard),
            }
        }
    }

    fn count(&self, beginning: &str) -> usize {
        self.heard.iter().filter(|line| line.starts_with(beginning)).count()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(id: &str, kind: &str, data: Value) -> Value {
    json!({"id": id, "type": kind, "data": data})
}

async fn events_are_stored_once_and_handled(version: &str) {
    let ground = Ground::example("event-platform", version);
    let events = [
        event("mail-1", "notifications.mail", json!({"to": "ann"})),
        event("poison", "notifications.mail", json!({"from": "nobody"})),
        event("mail-2", "notifications.mail", json!({"to": "bob"})),
        event("login-1", "audit.login", json!({"who": "ann"})),
    ];
    let said = produce(&ground, &events);
    let first = ["mail-1 is message 1 of NOTIFICATIONS", "poison is message 2 of NOTIFICATIONS"];
    assert_eq!(said[..2], first);
    assert_eq!(said[3], "login-1 is message 1 of AUDIT");
    let again = produce(&ground, &events);
    assert!(again.iter().all(|line| line.ends_with(", already")), "{again:?}");
    // What is no event comes from somebody who does not use the program.
    let producer = ground.user("producer").await;
    let garbage = async {
        let ack = producer.js().publish("events.notifications.mail", "{\"id\":".into()).await.map_err(text)?;
        ack.await.map_err(text)
    };
    assert_eq!(producer.does("send", garbage).await.sequence, 4);

    let mut notifier = Consumer::start(&ground, "notifier", "NOTIFICATIONS", "notifications");
    notifier.wait("mail-1 is done, delivery 1");
    notifier.wait("mail-2 is done, delivery 1");
    notifier.wait("message 4 is no event and was terminated: ");
    for delivery in 1..=3 {
        notifier.wait(&format!("poison failed, delivery {delivery}: it names no receiver"));
    }
    notifier.wait("message 2 was given up after 3 deliveries");
    assert!(produce(&ground, &[event("mail-3", "notifications.mail", json!({"to": "eve"}))])[0].contains("message 5"));
    notifier.wait("mail-3 is done, delivery 1");
    // All that it said: nothing was handled twice, and the poison came no fourth time.
    assert_eq!((notifier.count("to "), notifier.count("poison failed"), notifier.count("message 4")), (3, 3, 1));
    drop(notifier);
    // It goes on where it was.
    produce(&ground, &[event("mail-4", "notifications.mail", json!({"to": "ann"}))]);
    let mut notifier = Consumer::start(&ground, "notifier", "NOTIFICATIONS", "notifications");
    notifier.wait("mail-4 is done, delivery 1");
    assert_eq!(notifier.count("to "), 1, "{:?}", notifier.heard);

    let admin = ground.user("admin").await;
    let stored = read_all_within(&admin.client, "NOTIFICATIONS", DEADLINE).await;
    assert_eq!(stored.len(), 6);
    let envelope: Value = serde_json::from_slice(&stored[0].2).unwrap();
    let keys: Vec<&String> = envelope.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5, "{envelope}");
    assert_eq!((&envelope["id"], &envelope["source"]), (&json!("mail-1"), &json!("producer")));
    let auditor = ground.user("auditor").await;
    let audited = read_all_within(&auditor.client, "AUDIT", DEADLINE).await;
    assert_eq!((audited.len(), audited[0].1.as_str()), (1, "events.audit.login"));
    assert_eq!(auditor.refused(), Vec::<String>::new());
    let log = ground.server.log();
    assert!(!log.contains("Violation"), "{log}");
}

#[tokio::test]
async fn events_are_stored_once_and_handled_on_2_10() {
    events_are_stored_once_and_handled(VERSIONS[0]).await;
}

#[tokio::test]
async fn events_are_stored_once_and_handled_on_2_12() {
    events_are_stored_once_and_handled(VERSIONS[1]).await;
}

#[tokio::test]
async fn events_are_stored_once_and_handled_on_2_15() {
    events_are_stored_once_and_handled(VERSIONS[2]).await;
}

/// Whoever has no rights to an event's stream is told so, and nothing looks as if it were stored.
#[test]
fn a_producer_without_the_right_does_not_pretend() {
    let ground = Ground::example("event-platform", VERSIONS[2]);
    let mut command = as_user(&ground, "event_producer", "auditor", &[]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It is said once; then there is nobody who answers.
    writeln!(child.stdin.take().unwrap(), "{}", event("forged", "audit.login", json!({}))).unwrap();
    let denied = Try::Publish("events.audit.login".to_owned());
    let start = Instant::now();
    while !denied.is_logged(&ground.server.log(), "auditor") {
        assert!(start.elapsed() < DEADLINE, "{}", ground.server.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
