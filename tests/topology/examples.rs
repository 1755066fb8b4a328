//! Each file of `config/topology`: sound or criticised, applied to an empty server, and what then stands there.

use serde_json::{Value, json};

use crate::kit::{DAY, GIB, SECOND, Scene, VERSIONS, has, shows};
use crate::process::run;

const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const MIB: u64 = 1 << 20;

fn path(name: &str) -> String {
    format!("{}/config/topology/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Applies an example to an empty server of each version, twice, and says what the server has then.
async fn applied(name: &str, things: usize, look: impl AsyncFn(&Scene, &str)) {
    let path = path(name);
    for version in VERSIONS {
        let scene = Scene::roomy(version).await;
        let file = path.as_str();
        scene.topology("check", &[file]).expect_code(1);
        let done = scene.apply(&[file]);
        shows(&done, &format!("{things} done, {things} things as declared\n"));
        let done = scene.topology("check", &[file]).expect_code(0);
        shows(&done, &format!("as declared: nothing to do for {things} things\n"));
        shows(&scene.apply(&[file]), &format!("0 done, {things} things as declared\n"));
        look(&scene, version).await;
    }
}

/// The server has these streams with these values, and no others.
async fn streams(scene: &Scene, expected: &[(&str, Value)]) {
    for (name, values) in expected {
        let config = scene.stream(name).await;
        assert!(config.is_object(), "no stream {name}");
        has(&config, values.clone());
    }
    let all = scene.ask("STREAM.NAMES", Value::Null).await;
    assert_eq!(all["total"], json!(expected.len()), "{all}");
}

#[test]
fn one_example_is_criticised_and_the_others_are_sound() {
    for (name, things) in [("market", 7), ("event-platform", 13), ("prediction-pipeline", 10), ("trade-and-record", 6)]
    {
        let done = run(&["topology", "check", "--offline", &path(name)]).expect_code(0);
        assert_eq!(done.out, format!("sound: {things} things\n"), "{name}");
    }
    let done = run(&["topology", "check", "--offline", &path("venue-platform")]).expect_code(1);
    assert_eq!(done.out.lines().count(), 1, "{done:#?}");
    for text in [
        "WARNING  retention: ",
        "venue-platform.toml: streams.TRADES: max_msgs = 1000000 keeps 8m 20s at the expected 2000 messages a second",
        "max_msgs = 1209600000",
    ] {
        shows(&done, text);
    }
}

#[tokio::test]
async fn market_is_what_the_daemon_publishes_to() {
    applied("market", 3, async |scene, version| {
        let batched = if version.starts_with("2.15") { json!(true) } else { Value::Null };
        streams(
            scene,
            &[
                (
                    "MARKET_DATA",
                    json!({"subjects": ["market.*.*.trades", "market.*.*.gaps"], "storage": "file", "max_age": HOUR,
                        "max_bytes": 10 * GIB, "max_msgs_per_subject": 100 * MIB / 160, "allow_direct": true,
                        "duplicate_window": 2 * MINUTE, "retention": "limits", "allow_batched": batched}),
                ),
                ("KV_venue-status", json!({"storage": "memory", "max_age": 5 * MINUTE, "max_bytes": 16 * MIB})),
                ("KV_instruments", json!({"storage": "file", "max_age": DAY, "max_bytes": 64 * MIB})),
            ],
        )
        .await;
        // The daemon finds its own stream as it wants it.
        let done = run(&["check", "--sample", "0s", "--nats", &scene.server.url()]);
        assert_eq!(done.code, Some(0), "{done:#?}");
    })
    .await;
}

#[tokio::test]
async fn the_venue_platform_has_its_streams_buckets_and_consumer() {
    applied("venue-platform", 8, async |scene, _| {
        let bucket = json!({"discard": "new", "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true});
        let bucket = |more| crate::kit::merged(bucket.clone(), more);
        streams(
            scene,
            &[
                (
                    "VENUE_STATUS",
                    json!({"subjects": ["venue.status.>"], "storage": "memory", "max_msgs": 1_000, "max_age": DAY}),
                ),
                (
                    "TRADES",
                    json!({"subjects": ["venue.trades.>"], "storage": "file", "max_age": 7 * DAY,
                        "max_bytes": 10 * GIB, "max_msgs": 1_000_000}),
                ),
                (
                    "ORDER_BOOKS",
                    json!({"subjects": ["venue.books.>"], "storage": "file", "max_age": DAY, "max_bytes": 10 * GIB}),
                ),
                (
                    "EXECUTION_EVENTS",
                    json!({"subjects": ["execution.events.>"], "storage": "file", "max_age": 30 * DAY,
                        "max_msgs": 100_000, "deny_delete": true}),
                ),
                (
                    "KV_venue-status",
                    bucket(json!({"subjects": ["$KV.venue-status.>"], "storage": "memory", "max_age": 5 * MINUTE,
                        "max_msgs_per_subject": 1, "duplicate_window": 2 * MINUTE})),
                ),
                ("KV_config", bucket(json!({"storage": "file", "max_age": null, "max_msgs_per_subject": 10}))),
                ("KV_instruments", bucket(json!({"storage": "file", "max_age": DAY, "max_msgs_per_subject": 1}))),
            ],
        )
        .await;
        has(
            &scene.consumer("EXECUTION_EVENTS", "brain").await,
            json!({"durable_name": "brain", "ack_policy": "explicit", "ack_wait": 10 * SECOND, "max_deliver": 5}),
        );
    })
    .await;
}

#[tokio::test]
async fn trades_are_live_and_recorded_under_subjects_of_their_own() {
    applied("trade-and-record", 4, async |scene, _| {
        let transforms = json!([{"src": "TRADE.trade.>", "dest": "record.trade.>"},
            {"src": "TRADE.depth.>", "dest": "record.depth.>"}]);
        streams(
            scene,
            &[
                (
                    "TRADE",
                    json!({"subjects": ["TRADE.trade.>", "TRADE.depth.>"], "storage": "memory",
                        "max_age": 5 * SECOND, "max_bytes": GIB, "no_ack": true, "duplicate_window": 5 * SECOND}),
                ),
                (
                    "RECORD",
                    json!({"subjects": null, "storage": "file", "max_age": HOUR, "max_bytes": GIB,
                        "sources": [{"name": "TRADE", "subject_transforms": transforms}]}),
                ),
            ],
        )
        .await;
        has(
            &scene.consumer("TRADE", "live").await,
            json!({"deliver_subject": "live.trade", "ack_policy": "none", "deliver_policy": "new",
                "filter_subject": "TRADE.trade.>"}),
        );
        has(
            &scene.consumer("RECORD", "workers").await,
            json!({"ack_wait": 30 * SECOND, "max_deliver": 5, "max_ack_pending": 1_000,
                "filter_subject": "record.trade.>", "deliver_subject": null}),
        );
    })
    .await;
}

#[tokio::test]
async fn business_events_are_kept_as_long_as_each_domain_wants() {
    applied("event-platform", 10, async |scene, _| {
        let kept = |domain: &str, days: u64| {
            let subject = format!("events.{}.>", domain.to_lowercase());
            json!({"subjects": [subject], "storage": "file", "max_age": days * DAY})
        };
        let expected: Vec<(&str, Value)> = [
            ("TRANSACTIONS", 7),
            ("COMPLIANCE", 30),
            ("SETTLEMENT", 90),
            ("CLEARING", 30),
            ("NOTIFICATIONS", 7),
            ("REPORTING", 90),
            ("RISK", 30),
            ("AUDIT", 180),
        ]
        .map(|(domain, days)| (domain, kept(domain, days)))
        .into();
        streams(scene, &expected).await;
        has(&scene.stream("AUDIT").await, json!({"deny_delete": true, "deny_purge": true}));
        has(
            &scene.consumer("NOTIFICATIONS", "notifications").await,
            json!({"max_deliver": 3, "ack_wait": 30 * SECOND, "ack_policy": "explicit"}),
        );
        has(&scene.consumer("REPORTING", "reporting").await, json!({"ack_wait": 5 * MINUTE, "max_deliver": -1}));
    })
    .await;
}

#[tokio::test]
async fn predictions_are_kept_by_what_they_are() {
    applied("prediction-pipeline", 7, async |scene, _| {
        let kept = |days: u64, bytes: u64| json!({"storage": "file", "max_age": days * DAY, "max_bytes": bytes});
        let subjects = json!(["market.data.ohlcv", "market.data.news", "market.data.economic"]);
        streams(
            scene,
            &[
                ("MARKET_DATA", crate::kit::merged(kept(7, 10 * GIB), json!({"subjects": subjects}))),
                ("PREDICTIONS", kept(30, 5 * GIB)),
                ("EXPLANATIONS", kept(30, 2 * GIB)),
                ("MODEL_METRICS", kept(90, GIB)),
                ("ROUTING", kept(7, 512 * MIB)),
            ],
        )
        .await;
        has(&scene.consumer("MARKET_DATA", "predictor").await, json!({"ack_policy": "all", "max_ack_pending": 100}));
        has(&scene.consumer("PREDICTIONS", "router").await, json!({"ack_wait": 10 * SECOND}));
    })
    .await;
}
