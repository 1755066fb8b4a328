//! Each rule of what a change costs, held against what the servers do when they are simply asked for it.

use data_manager::topology::change::{self, Effect};
use data_manager::topology::load::parse;
use data_manager::topology::model::{Consumer, Retention, Stream};
use data_manager::topology::wire;
use serde_json::{Map, Value, json};

use crate::kit::{Scene, VERSIONS};

/// What it costs. Where older servers refuse what newer ones do, it is what it costs on the newer.
const H: Effect = Effect::Harmless;
const D: Effect = Effect::Destructive;
const I: Effect = Effect::Impossible;

/// From, to, since which version servers know the keys, and what it costs.
type Row = (&'static str, &'static str, u32, Effect);

const STREAMS: &[Row] = &[
    ("", "description = \"x\"", 10, H),
    ("", "metadata = { a = \"b\" }", 10, H),
    ("", "storage = \"memory\"", 10, I),
    ("storage = \"memory\"", "", 10, I),
    ("", "retention = \"interest\"", 10, D),
    ("retention = \"interest\"", "", 10, H),
    ("", "retention = \"work_queue\"", 10, I),
    ("retention = \"work_queue\"", "", 10, I),
    ("retention = \"interest\"", "retention = \"work_queue\"", 10, I),
    ("retention = \"work_queue\"", "retention = \"interest\"", 10, I),
    ("max_age = \"1h\"", "max_age = \"30m\"", 10, D),
    ("max_age = \"1h\"", "", 10, H),
    ("", "max_bytes = \"1KiB\"", 10, D),
    ("max_bytes = \"1KiB\"", "", 10, H),
    ("", "max_msgs = 3", 10, D),
    ("max_msgs = 3", "max_msgs = 9", 10, H),
    ("", "max_msgs_per_subject = 3", 10, D),
    ("max_msgs_per_subject = 3", "", 10, H),
    ("", "max_msg_size = \"1KiB\"", 10, H),
    ("max_msg_size = \"1KiB\"", "", 10, H),
    ("", "max_consumers = 5", 10, H),
    ("max_consumers = 5", "max_consumers = 6", 10, H),
    ("max_consumers = 5", "", 10, H),
    ("", "discard = \"new\"", 10, H),
    ("discard = \"new\"", "", 10, D),
    (
        "discard = \"new\"\nmax_msgs_per_subject = 3",
        "discard = \"new\"\nmax_msgs_per_subject = 3\ndiscard_new_per_subject = true",
        10,
        H,
    ),
    (
        "discard = \"new\"\nmax_msgs_per_subject = 3\ndiscard_new_per_subject = true",
        "discard = \"new\"\nmax_msgs_per_subject = 3",
        10,
        D,
    ),
    ("duplicate_window = \"1m\"", "duplicate_window = \"2s\"", 10, H),
    ("", "compression = \"s2\"", 10, H),
    ("compression = \"s2\"", "", 10, H),
    ("", "sources = [{ name = \"O\" }]", 10, H),
    ("sources = [{ name = \"O\" }]", "", 10, D),
    ("sources = [{ name = \"O\" }]", "sources = [{ name = \"O\", filter_subject = \"o.x\" }]", 10, D),
    ("", "subject_transform = { src = \"a.>\", dest = \"z.>\" }", 10, H),
    (
        "subject_transform = { src = \"a.>\", dest = \"z.>\" }",
        "subject_transform = { src = \"a.>\", dest = \"y.>\" }",
        10,
        H,
    ),
    ("subject_transform = { src = \"a.>\", dest = \"z.>\" }", "", 10, H),
    ("", "republish = { src = \"a.>\", dest = \"z.>\" }", 10, H),
    ("republish = { src = \"a.>\", dest = \"z.>\" }", "", 10, H),
    ("", "no_ack = true", 10, H),
    ("no_ack = true", "", 10, H),
    ("", "allow_direct = true", 10, H),
    ("allow_direct = true", "", 10, H),
    ("", "deny_delete = true", 10, H),
    ("deny_delete = true", "", 10, I),
    ("", "deny_purge = true", 10, H),
    ("deny_purge = true", "", 10, I),
    ("", "allow_rollup = true", 10, H),
    ("allow_rollup = true", "", 10, H),
    ("", "consumer_limits = { inactive_threshold = \"1h\", max_ack_pending = 2000 }", 10, H),
    ("consumer_limits = { max_ack_pending = 2000 }", "", 10, H),
    ("", "allow_msg_ttl = true", 11, H),
    ("allow_msg_ttl = true", "", 11, I),
    ("allow_msg_ttl = true", "allow_msg_ttl = true\nsubject_delete_marker_ttl = \"1m\"", 11, H),
    ("allow_msg_ttl = true\nsubject_delete_marker_ttl = \"1m\"", "allow_msg_ttl = true", 11, H),
    ("", "allow_atomic = true", 12, H),
    ("allow_atomic = true", "", 12, H),
    ("", "allow_msg_counter = true", 12, I),
    ("allow_msg_counter = true", "", 12, I),
    ("", "allow_msg_schedules = true", 12, H),
    ("allow_msg_schedules = true", "", 12, I),
    ("", "persist_mode = \"async\"", 12, I),
    ("persist_mode = \"async\"", "", 12, I),
    ("", "allow_batched = true", 14, H),
    ("allow_batched = true", "", 14, H),
    ("subjects = []\nmirror = { name = \"O\" }", "", 10, D),
    ("", "subjects = []\nmirror = { name = \"O\" }", 10, I),
    ("subjects = []\nmirror = { name = \"O\" }", "subjects = []\nmirror = { name = \"P\" }", 10, I),
    (
        "subjects = []\nmirror = { name = \"O\" }",
        "subjects = []\nmirror = { name = \"O\", filter_subject = \"o.x\" }",
        10,
        I,
    ),
    ("subjects = [\"a.x\", \"a.y\"]", "subjects = [\"a.x\"]", 10, D),
    ("subjects = [\"a.x\"]", "subjects = [\"a.x\", \"a.y\"]", 10, H),
    ("subjects = []\nsources = [{ name = \"O\" }]", "subjects = [\"a.x\"]\nsources = [{ name = \"O\" }]", 10, H),
];

const PUSH: &str = "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\" }";

const CONSUMERS: &[Row] = &[
    ("", "description = \"x\"", 10, H),
    ("", "metadata = { a = \"b\" }", 10, H),
    ("", "filters = [\"a.x\"]", 10, H),
    ("filters = [\"a.x\"]", "filters = [\"a.x\", \"a.y\"]", 10, H),
    ("filters = [\"a.x\", \"a.y\"]", "", 10, H),
    ("", "deliver = \"new\"", 10, I),
    ("", "deliver = \"last_per_subject\"\nfilters = [\"a.x\"]", 10, I),
    (
        "deliver = \"by_start_sequence\"\nstart_sequence = 1",
        "deliver = \"by_start_sequence\"\nstart_sequence = 2",
        10,
        I,
    ),
    (
        "deliver = \"by_start_time\"\nstart_time = \"2026-01-31T08:00:00Z\"",
        "deliver = \"by_start_time\"\nstart_time = \"2026-01-31T09:00:00Z\"",
        10,
        I,
    ),
    ("", "ack = \"all\"", 10, I),
    ("", "ack = \"none\"", 10, I),
    ("", "ack_wait = \"1m\"", 10, H),
    ("", "max_deliver = 5", 10, H),
    ("max_deliver = 5", "", 10, H),
    ("", "backoff = [\"1s\", \"2s\"]", 10, H),
    ("backoff = [\"1s\", \"2s\"]", "", 10, H),
    ("", "max_ack_pending = 5", 10, H),
    ("", "replay = \"original\"", 10, I),
    ("", "headers_only = true", 10, H),
    ("headers_only = true", "", 10, H),
    ("", "inactive_threshold = \"1h\"", 10, D),
    ("inactive_threshold = \"1h\"", "", 10, H),
    ("", "replicas = 1", 10, H),
    ("", "memory = true", 10, I),
    ("memory = true", "", 10, I),
    ("", "max_waiting = 5", 10, I),
    ("", "max_request_batch = 5", 10, H),
    ("", "max_request_expires = \"1m\"", 10, H),
    ("", "max_request_bytes = \"1KiB\"", 10, H),
    ("", "sample_percent = 5", 10, H),
    ("sample_percent = 5", "", 10, H),
    ("", "priority = { groups = [\"a\"] }", 11, H),
    ("priority = { groups = [\"a\"] }", "", 11, H),
    ("priority = { groups = [\"a\"] }", "priority = { groups = [\"b\"] }", 11, H),
    ("priority = { groups = [\"a\"] }", "priority = { policy = \"pinned_client\", groups = [\"a\"] }", 11, H),
    ("", PUSH, 10, I),
    (PUSH, "", 10, I),
    (PUSH, "push = { deliver_subject = \"e\", idle_heartbeat = \"5s\" }", 10, H),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"6s\" }", 10, I),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\", flow_control = true }", 10, I),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\", deliver_group = \"g\" }", 10, H),
    (PUSH, "push = { deliver_subject = \"d\", idle_heartbeat = \"5s\", rate_limit_bps = 100000 }", 10, H),
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
        let cost = changes.iter().map(|change| change.effect).max();
        let ours = cost == Some(I);
        let lied = changes.iter().all(|change| SAID_ONLY.contains(&change.key));
        let theirs = answer.get("error").is_some();
        if ours != theirs && !lied {
            let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
            self.0.push(format!("{told:?}: {}", answer.get("error").unwrap_or(&Value::Null)));
        }
        if !ours && cost != Some(row.3) {
            self.0.push(format!("{row:?}: {changes:?}"));
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
