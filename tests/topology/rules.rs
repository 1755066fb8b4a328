//! Each rule of what a change costs, held against what the servers do when they are simply asked for it.

use data_manager::topology::change::{self, Effect};
use data_manager::topology::load::parse;
use data_manager::topology::model::{Consumer, Retention, Stream};
use data_manager::topology::wire;
use serde_json::{Map, Value, json};

use crate::kit::{Scene, VERSIONS};

/// From, to, and since which version servers know the keys.
type Row = (&'static str, &'static str, u32);

const STREAMS: &[Row] = &[
    ("", "description = \"x\"", 10),
    ("", "metadata = { a = \"b\" }", 10),
    ("", "storage = \"memory\"", 10),
    ("storage = \"memory\"", "", 10),
    ("", "retention = \"interest\"", 10),
    ("retention = \"interest\"", "", 10),
    ("", "retention = \"work_queue\"", 10),
    ("retention = \"work_queue\"", "", 10),
    ("retention = \"interest\"", "retention = \"work_queue\"", 10),
    ("retention = \"work_queue\"", "retention = \"interest\"", 10),
    ("max_age = \"1h\"", "max_age = \"30m\"", 10),
    ("max_age = \"1h\"", "", 10),
    ("", "max_bytes = \"1KiB\"", 10),
    ("max_bytes = \"1KiB\"", "", 10),
    ("", "max_msgs = 3", 10),
    ("max_msgs = 3", "max_msgs = 9", 10),
    ("", "max_msgs_per_subject = 3", 10),
    ("max_msgs_per_subject = 3", "", 10),
    ("", "max_msg_size = \"1KiB\"", 10),
    ("max_msg_size = \"1KiB\"", "", 10),
    ("", "max_consumers = 5", 10),
    ("max_consumers = 5", "max_consumers = 6", 10),
    ("max_consumers = 5", "", 10),
    ("", "discard = \"new\"", 10),
    ("discard = \"new\"", "", 10),
    (
        "discard = \"new\"\nmax_msgs_per_subject = 3",
        "discard = \"new\"\nmax_msgs_per_subject = 3\ndiscard_new_per_subject = true",
        10,
    ),
    (
        "discard = \"new\"\nmax_msgs_per_subject = 3\ndiscard_new_per_subject = true",
        "discard = \"new\"\nmax_msgs_per_subject = 3",
        10,
    ),
    ("duplicate_window = \"1m\"", "duplicate_window = \"2s\"", 10),
    ("", "compression = \"s2\"", 10),
    ("compression = \"s2\"", "", 10),
    ("", "sources = [{ name = \"O\" }]", 10),
    ("sources = [{ name = \"O\" }]", "", 10),
    ("sources = [{ name = \"O\" }]", "sources = [{ name = \"O\", filter_subject = \"o.x\" }]", 10),
    ("", "subject_transform = { src = \"a.>\", dest = \"z.>\" }", 10),
    (
        "subject_transform = { src = \"a.>\", dest = \"z.>\" }",
        "subject_transform = { src = \"a.>\", dest = \"y.>\" }",
        10,
    ),
    ("subject_transform = { src = \"a.>\", dest = \"z.>\" }", "", 10),
    ("", "republish = { src = \"a.>\", dest = \"z.>\" }", 10),
    ("republish = { src = \"a.>\", dest = \"z.>\" }", "", 10),
    ("", "no_ack = true", 10),
    ("no_ack = true", "", 10),
    ("", "allow_direct = true", 10),
    ("allow_direct = true", "", 10),
    ("", "deny_delete = true", 10),
    ("deny_delete = true", "", 10),
    ("", "deny_purge = true", 10),
    ("deny_purge = true", "", 10),
    ("", "allow_rollup = true", 10),
    ("allow_rollup = true", "", 10),
    ("", "consumer_limits = { inactive_threshold = \"1h\", max_ack_pending = 2000 }", 10),
    ("consumer_limits = { max_ack_pending = 2000 }", "", 10),
    ("", "allow_msg_ttl = true", 11),
    ("allow_msg_ttl = true", "", 11),
    ("allow_msg_ttl = true", "allow_msg_ttl = true\nsubject_delete_marker_ttl = \"1m\"", 11),
    ("allow_msg_ttl = true\nsubject_delete_marker_ttl = \"1m\"", "allow_msg_ttl = true", 11),
    ("", "allow_atomic = true", 12),
    ("allow_atomic = true", "", 12),
    ("", "allow_msg_counter = true", 12),
    ("allow_msg_counter = true", "", 12),
    ("", "allow_msg_schedules = true", 12),
    ("allow_msg_schedules = true", "", 12),
    ("", "persist_mode = \"async\"", 12),
    ("persist_mode = \"async\"", "", 12),
    ("", "allow_batched = true", 14),
    ("allow_batched = true", "", 14),
    ("subjects = []\nmirror = { name = \"O\" }", "", 10),
    ("", "subjects = []\nmirror = { name = \"O\" }", 10),
    ("subjects = []\nmirror = { name = \"O\" }", "subjects = []\nmirror = { name = \"P\" }", 10),
    (
        "subjects = []\nmirror = { name = \"O\" }",
        "subjects = []\nmirror = { name = \"O\", filter_subject = \"o.x\" }",
        10,
    ),
    ("subjects = [\"a.x\", \"a.y\"]", "subjects = [\"a.x\"]", 10),
    ("subjects = [\"a.x\"]", "subjects = [\"a.x\", \"a.y\"]", 10),
];

const PUSH: &str = "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\" }";

const CONSUMERS: &[Row] = &[
    ("", "description = \"x\"", 10),
    ("", "metadata = { a = \"b\" }", 10),
    ("", "filters = [\"a.x\"]", 10),
    ("filters = [\"a.x\"]", "filters = [\"a.x\", \"a.y\"]", 10),
    ("filters = [\"a.x\", \"a.y\"]", "", 10),
    ("", "deliver = \"new\"", 10),
    ("", "deliver = \"last_per_subject\"\nfilters = [\"a.x\"]", 10),
    ("deliver = \"by_start_sequence\"\nstart_sequence = 1", "deliver = \"by_start_sequence\"\nstart_sequence = 2", 10),
    (
        "deliver = \"by_start_time\"\nstart_time = \"2026-01-31T08:00:00Z\"",
        "deliver = \"by_start_time\"\nstart_time = \"2026-01-31T09:00:00Z\"",
        10,
    ),
    ("", "ack = \"all\"", 10),
    ("", "ack = \"none\"", 10),
    ("", "ack_wait = \"1m\"", 10),
    ("", "max_deliver = 5", 10),
    ("max_deliver = 5", "", 10),
    ("", "backoff = [\"1s\", \"2s\"]", 10),
    ("backoff = [\"1s\", \"2s\"]", "", 10),
    ("", "max_ack_pending = 5", 10),
    ("", "replay = \"original\"", 10),
    ("", "headers_only = true", 10),
    ("headers_only = true", "", 10),
    ("", "inactive_threshold = \"1h\"", 10),
    ("inactive_threshold = \"1h\"", "", 10),
    ("", "replicas = 1", 10),
    ("", "memory = true", 10),
    ("memory = true", "", 10),
    ("", "max_waiting = 5", 10),
    ("", "max_request_batch = 5", 10),
    ("", "max_request_expires = \"1m\"", 10),
    ("", "max_request_bytes = \"1KiB\"", 10),
    ("", "sample_percent = 5", 10),
    ("sample_percent = 5", "", 10),
    ("", "priority = { groups = [\"a\"] }", 11),
    ("priority = { groups = [\"a\"] }", "", 11),
    ("priority = { groups = [\"a\"] }", "priority = { groups = [\"b\"] }", 11),
    ("priority = { groups = [\"a\"] }", "priority = { policy = \"pinned_client\", groups = [\"a\"] }", 11),
    ("", PUSH, 10),
    (PUSH, "", 10),
    (PUSH, "push = { deliver_subject = \"e\", idle_heartbeat = \"5s\" }", 10),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"6s\" }", 10),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\", flow_control = true }", 10),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\", deliver_group = \"g\" }", 10),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\", rate_limit_bps = 100000 }", 10),
];

/// Where servers before 2.14.4 say yes, and change nothing.
const SAID_ONLY: [&str; 1] = ["mem_storage"];

fn stream(text: &str) -> Stream {
    let subjects = if text.contains("subjects") { "" } else { "subjects = [\"a.x\", \"a.y\"]\n" };
    let text = format!("[streams.A]\n{subjects}{text}\n");
    parse("rule.toml".as_ref(), &text).unwrap().streams.remove("A").unwrap()
}

fn consumer(text: &str) -> Consumer {
    let text = format!("[streams.A.consumers.c]\n{text}\n");
    parse("rule.toml".as_ref(), &text).unwrap().streams.remove("A").unwrap().consumers.remove("c").unwrap()
}

fn minor(version: &str) -> u32 {
    version.split('.').nth(1).unwrap().parse().unwrap()
}

/// What there is with what is wanted in place of the keys that a declaration decides.
fn over(found: &Value, wanted: &Map<String, Value>, keys: &[&str]) -> Value {
    let mut body = found.as_object().unwrap().clone();
    keys.iter().for_each(|key| drop(body.remove(*key)));
    body.remove("filter_subject");
    body.extend(wanted.clone());
    body.into()
}

/// Collects where our table and a server disagree.
#[derive(Default)]
struct Verdicts(Vec<String>);

impl Verdicts {
    fn hold(&mut self, row: &Row, changes: &[change::Change], answer: &Value) {
        assert!(!changes.is_empty(), "{row:?} changes nothing");
        let ours = changes.iter().any(|change| change.effect == Effect::Impossible);
        let lied = changes.iter().all(|change| SAID_ONLY.contains(&change.key));
        let theirs = answer.get("error").is_some();
        if ours != theirs && !lied {
            let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
            self.0.push(format!("{told:?}: {}", answer.get("error").unwrap_or(&Value::Null)));
        }
    }
}

#[tokio::test]
async fn the_server_refuses_what_is_called_impossible_and_takes_the_rest() {
    for text in VERSIONS {
        let (scene, version) = (Scene::start(text).await, wire::version(text));
        for name in ["O", "P"] {
            let subject = format!("{}.>", name.to_lowercase());
            let body = json!({"name": name, "subjects": [subject]});
            Scene::done(&scene.ask(&format!("STREAM.CREATE.{name}"), body).await);
        }
        let mut verdicts = Verdicts::default();
        for row in STREAMS.iter().filter(|row| row.2 <= minor(text)) {
            let (from, to) = (wire::stream("A", &stream(row.0)), wire::stream("A", &stream(row.1)));
            let made = scene.ask("STREAM.CREATE.A", from.into()).await;
            let found = &Scene::done(&made)["config"];
            let changes = change::of_stream(&to, found.as_object().unwrap(), version);
            let answer = scene.ask("STREAM.UPDATE.A", over(found, &to, &wire::STREAM_KEYS)).await;
            verdicts.hold(row, &changes, &answer);
            Scene::done(&scene.ask("STREAM.DELETE.A", Value::Null).await);
        }
        let on = stream("");
        Scene::done(&scene.ask("STREAM.CREATE.A", wire::stream("A", &on).into()).await);
        for row in CONSUMERS.iter().filter(|row| row.2 <= minor(text)) {
            let of = |text: &str| wire::consumer("c", &consumer(text), &on);
            let body = |config: Value, action: &str| json!({"stream_name": "A", "config": config, "action": action});
            let made = scene.ask("CONSUMER.CREATE.A.c", body(of(row.0).into(), "create")).await;
            let (found, to) = (&Scene::done(&made)["config"], of(row.1));
            let changes = change::of_consumer(&to, found.as_object().unwrap(), Retention::Limits);
            let config = over(found, &to, &wire::CONSUMER_KEYS);
            let answer = scene.ask("CONSUMER.CREATE.A.c", body(config, "update")).await;
            verdicts.hold(row, &changes, &answer);
            Scene::done(&scene.ask("CONSUMER.DELETE.A.c", Value::Null).await);
        }
        assert!(verdicts.0.is_empty(), "nats-server {text}: {:#?}", verdicts.0);
    }
}
