//! One declaration that uses every key of the model: applied, found as declared, and what older servers do not know.

use std::collections::BTreeSet;

use data_manager::topology::load::parse;
use data_manager::topology::model::{Bucket, Consumer, Stream, Topology};
use serde::Serialize;
use serde_json::{Value, json};

use crate::kit::{SECOND, Scene, VERSIONS, has, shows};

/// All of it.
const WHOLE: &str = include_str!("whole.toml");
/// What a stream has from its beginning or never.
const FROM_THE_START: [&str; 2] = ["allow_msg_counter = true", "persist_mode = \"async\""];
/// What only says what is to be gone, or is about several servers.
const ELSEWHERE: [&str; 3] = ["absent", "placement", "replicas"];

#[test]
fn every_key_of_the_model_is_used() {
    let topology: Topology = parse("whole.toml".as_ref(), WHOLE).unwrap();
    used("streams", &Stream::default(), topology.streams.values());
    used("consumers", &Consumer::default(), topology.streams.values().flat_map(|stream| stream.consumers.values()));
    used("buckets", &Bucket::default(), topology.buckets.values());
    let sources: Vec<_> = topology.streams.values().flat_map(Stream::origins).collect();
    used("sources", &Default::default(), sources.iter().copied());
    let pushes =
        topology.streams.values().flat_map(|stream| stream.consumers.values()).filter_map(|one| one.push.as_ref());
    used("push", &Default::default(), pushes);
    let groups =
        topology.streams.values().flat_map(|one| one.consumers.values()).filter_map(|one| one.priority.as_ref());
    used("priority", &Default::default(), groups);
}

/// Each key has another value than its default somewhere.
fn used<'a, T: Serialize + 'a>(table: &str, default: &T, all: impl Iterator<Item = &'a T>) {
    let default = serde_json::to_value(default).unwrap();
    let all: Vec<Value> = all.map(|one| serde_json::to_value(one).unwrap()).collect();
    let mut keys = default.as_object().unwrap().keys().filter(|key| !ELSEWHERE.contains(&key.as_str()));
    let unused: Vec<_> = keys.by_ref().filter(|key| all.iter().all(|one| one[*key] == default[*key])).collect();
    assert!(unused.is_empty(), "{table}: whole.toml says nothing of {unused:?}");
}

#[tokio::test]
async fn every_key_stands_on_the_server_and_is_no_difference_the_next_time() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let is_old = version == "2.10.26";
        let mut file = scene.file("whole.toml", WHOLE);
        if is_old {
            // What can never be switched on later keeps it from being begun.
            let done = scene.topology("apply", &[&file]).expect_code(1);
            let done =
                done.tells("too old for what a stream has from its beginning or never: take a newer nats-server, ");
            for key in FROM_THE_START {
                let (name, value) = key.split_once(" = ").unwrap();
                let value = value.trim_matches('"');
                shows(
                    &done,
                    &format!("{name}: {value}  (the server is too old for it, and it is never switched on later)"),
                );
            }
            assert!(scene.everything().await.is_empty());
            file = scene
                .file("whole.toml", &FROM_THE_START.iter().fold(WHOLE.to_owned(), |all, key| all.replace(key, "")));
        }
        // An older server does not have all of the rest, which is said and is no success.
        let (code, end) =
            if is_old { (1, " done; the server is too old for the rest") } else { (0, " things as declared\n") };
        let done = scene.topology("apply", &[&file]);
        assert_eq!(done.code, Some(code), "{version}: {}{}", done.out, done.err);
        let done = scene.topology("check", &[&file]);
        assert_eq!(done.code, Some(code), "{version}: {}{}", done.out, done.err);
        let again = scene.topology("apply", &[&file]).expect_code(code);
        assert!(format!("{}{}", again.out, again.err).contains(end), "{again:?}");
        stands(&scene).await;
        newer(&scene, version, &done.out).await;
    }
}

/// What all servers know.
async fn stands(scene: &Scene) {
    let plain = scene.stream("PLAIN").await;
    has(
        &plain,
        json!({"description": "bounds and switches", "max_age": 3_600 * SECOND, "max_bytes": 1 << 20, "max_msgs": 1_000,
            "max_msgs_per_subject": 100, "max_msg_size": 4_096, "max_consumers": 10, "duplicate_window": 60 * SECOND,
            "compression": "s2", "subject_transform": {"src": "plain.>", "dest": "kept.>"}, "allow_direct": true,
            "republish": {"src": "kept.>", "dest": "again.>", "headers_only": true}, "deny_delete": true}),
    );
    has(&plain["consumer_limits"], json!({"inactive_threshold": 3_600 * SECOND, "max_ack_pending": 500}));
    has(&plain["metadata"], json!({"owner": "desk"}));
    let refusing = scene.stream("REFUSING").await;
    has(&refusing, json!({"discard": "new", "discard_new_per_subject": true, "deny_purge": true, "no_ack": true}));
    let sources = scene.stream("COPY").await["sources"].take();
    assert_eq!(sources[0], json!({"name": "PLAIN", "filter_subject": "kept.a", "opt_start_seq": 5}));
    assert_eq!(sources[1]["opt_start_time"], json!("2026-01-31T08:00:00Z"), "{sources}");
    assert_eq!(sources[1]["subject_transforms"], json!([{"src": "plain.x.>", "dest": "copy.x.>"}]));
    assert_eq!(sources[2]["external"], json!({"api": "$JS.hub.API", "deliver": "deliver.hub"}));
    has(&scene.stream("MIRROR").await, json!({"mirror": {"name": "PLAIN"}, "mirror_direct": true}));
    has(
        &scene.consumer("PLAIN", "slow").await,
        json!({"filter_subjects": ["kept.b.>", "kept.a"], "deliver_policy": "by_start_sequence", "opt_start_seq": 7,
            "ack_wait": SECOND, "backoff": [SECOND, 5 * SECOND, 60 * SECOND], "max_deliver": 4, "max_ack_pending": 50,
            "replay_policy": "original", "headers_only": true, "inactive_threshold": 1_800 * SECOND, "num_replicas": 1,
            "mem_storage": true, "max_waiting": 16, "max_batch": 100, "max_expires": 60 * SECOND, "max_bytes": 1 << 16,
            "sample_freq": "50%", "description": "each key of one that pulls"}),
    );
    // Nothing is said of it: the stream's bounds are its own.
    has(
        &scene.consumer("PLAIN", "plain").await,
        json!({"inactive_threshold": 3_600 * SECOND, "max_ack_pending": 500, "ack_wait": 30 * SECOND}),
    );
    has(
        &scene.consumer("REFUSING", "pushing").await,
        json!({"deliver_subject": "out.refusing", "flow_control": true, "idle_heartbeat": 5 * SECOND,
            "rate_limit_bps": 1_000_000, "deliver_policy": "last_per_subject"}),
    );
    has(&scene.consumer("REFUSING", "group").await, json!({"deliver_group": "workers", "ack_policy": "all"}));
    has(
        &scene.stream("KV_all").await,
        json!({"description": "each key", "storage": "memory", "max_age": 600 * SECOND, "max_msgs_per_subject": 5,
            "max_bytes": 1 << 20, "max_msg_size": 1 << 10, "compression": "s2"}),
    );
}

/// What only newer servers know: it stands there, or is told.
async fn newer(scene: &Scene, version: &str, told: &str) {
    let all = [
        ("stream PLAIN", "allow_msg_ttl", "2.11", json!(true)),
        ("stream PLAIN", "subject_delete_marker_ttl", "2.11", json!(60 * SECOND)),
        ("stream PLAIN", "allow_atomic", "2.12", json!(true)),
        ("stream PLAIN", "allow_batched", "2.14", json!(true)),
        ("stream COUNTER", "allow_msg_counter", "2.12", json!(true)),
        ("stream SCHEDULED", "allow_msg_schedules", "2.12", json!(true)),
        ("stream FAST", "persist_mode", "2.12", json!("async")),
        ("bucket all", "allow_msg_ttl", "2.11", json!(true)),
        ("bucket all", "subject_delete_marker_ttl", "2.11", json!(120 * SECOND)),
        ("consumer QUEUE/pinned", "priority_policy", "2.11", json!("pinned_client")),
        ("consumer QUEUE/pinned", "priority_groups", "2.11", json!(["main"])),
        ("consumer QUEUE/pinned", "priority_timeout", "2.11", json!(30 * SECOND)),
        ("consumer QUEUE/overflow", "priority_policy", "2.11", json!("overflow")),
        ("consumer QUEUE/overflow", "priority_groups", "2.11", json!(["b", "a"])),
        ("consumer QUEUE/prioritized", "priority_policy", "2.11", json!("prioritized")),
        ("consumer QUEUE/prioritized", "priority_groups", "2.11", json!(["main"])),
    ];
    let mut expected = BTreeSet::new();
    for (object, key, since, value) in all {
        let (kind, name) = object.split_once(' ').unwrap();
        let config = match (kind, name.split_once('/')) {
            (_, Some((stream, name))) => scene.consumer(stream, name).await,
            ("bucket", _) => scene.stream(&format!("KV_{name}")).await,
            _ => scene.stream(name).await,
        };
        let number = |text: &str| text.split('.').nth(1).unwrap().parse::<u32>().unwrap();
        if number(version) >= number(since) {
            has(&config, json!({key: value}));
        } else {
            has(&config, json!({key: null}));
            if FROM_THE_START.iter().any(|one| one.starts_with(key)) {
                continue;
            }
            let word = if ["allow_batched", "allow_atomic"].contains(&key) { "note" } else { "! too old" };
            expected.insert(format!(
                "{word}: {object}: {key} is left out: it needs nats-server {since}, this is {version}"
            ));
        }
    }
    let notes = told.lines().filter(|line| line.contains(" is left out: ")).map(str::to_owned).collect();
    assert_eq!(expected, notes);
}
