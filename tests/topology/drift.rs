//! What is changed behind our back is shown in a line each, put back, and nothing else is touched.

use serde_json::json;

use crate::kit::{NEWEST, SECOND, Scene, VERSIONS, has, merged, parsed, shows};

const DECLARED: &str = r#"
[streams.A]
subjects = ["a.x", "a.y"]
max_age = "1h"
[streams.A.consumers.reader]
ack_wait = "10s"
[buckets.b]
ttl = "5m"
"#;

#[tokio::test]
async fn drift_is_shown_in_a_line_each_and_put_back() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let file = scene.file("a.toml", DECLARED);
        scene.apply(&[&file]);
        scene.tamper("A", json!({"max_age": 7_200 * SECOND, "subjects": ["a.x", "a.z"], "description": "mine"})).await;
        scene.tamper("KV_b", json!({"max_age": 0, "max_msgs_per_subject": 3, "duplicate_window": SECOND / 10})).await;
        let changes = json!({"ack_wait": 60 * SECOND, "max_ack_pending": 1});
        let config = merged(scene.consumer("A", "reader").await, changes);
        let body = json!({"stream_name": "A", "config": config, "action": "update"});
        Scene::done(&scene.ask("CONSUMER.CREATE.A.reader", body).await);
        let done = scene.topology("check", &[&file]).expect_code(1);
        for line in [
            "~ stream A\n",
            "    description: mine -> none\n",
            "    subjects: a.x a.z -> a.x a.y  (destructive: what is published on the subjects that go is stored no ",
            "    max_age: 2h -> 1h  (destructive: what is beyond the lower bound is removed at once)\n",
            "~ bucket b\n",
            "    max_age: unlimited -> 5m  (destructive: what is beyond the lower bound is removed at once)\n",
            "    max_msgs_per_subject: 3 -> 1  (destructive",
            // Less than the server takes by itself is not its own either.
            "    duplicate_window: 100ms -> the server's default  (where the server's own limits allow no more, declare ",
            "~ consumer A/reader\n",
            "    max_ack_pending: 1 -> the server's default  (where the server's own limits allow no more, declare ",
            "    ack_wait: 1m -> 10s\n",
            "0 to create, 3 to change, 0 to delete, 0 as declared; needs --allow-destructive\n",
        ] {
            shows(&done, line);
        }
        // `plan` shows the same, and is no verdict.
        assert_eq!(scene.topology("plan", &[&file]).expect_code(0).out, done.out);
        shows(&scene.apply(&[&file, "--allow-destructive"]), "3 done, 3 things as declared\n");
        has(
            &scene.stream("A").await,
            json!({"max_age": 3_600 * SECOND, "subjects": ["a.x", "a.y"], "description": null}),
        );
        has(&scene.consumer("A", "reader").await, json!({"ack_wait": 10 * SECOND, "max_ack_pending": 1_000}));
        has(&scene.stream("KV_b").await, json!({"duplicate_window": 120 * SECOND}));
        scene.topology("check", &[&file]).expect_code(0);
    }
}

#[tokio::test]
async fn what_is_not_declared_is_left_alone() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let file = scene.file("a.toml", DECLARED);
        // A stream that begins late, made by somebody else, with consumers and a stream of theirs beside it.
        let stream = json!({"name": "A", "subjects": ["a.x", "a.y"], "first_seq": 1_000, "max_age": 60 * SECOND});
        Scene::done(&scene.ask("STREAM.CREATE.A", stream).await);
        Scene::done(&scene.ask("STREAM.CREATE.THEIRS", json!({"name": "THEIRS", "subjects": ["theirs.>"]})).await);
        for (stream, name) in [("A", "other"), ("THEIRS", "one")] {
            let config = json!({"durable_name": name, "ack_policy": "explicit", "max_deliver": 7});
            let body = json!({"stream_name": stream, "config": config, "action": "create"});
            Scene::done(&scene.ask(&format!("CONSUMER.CREATE.{stream}.{name}"), body).await);
        }
        scene.publish("a.x", 3, 10).await;
        scene.publish("theirs.x", 2, 10).await;
        let (other, theirs) = (scene.consumer("A", "other").await, scene.stream("THEIRS").await);
        let done = scene.topology("plan", &[&file]).expect_code(0);
        shows(&done, "note: stream THEIRS is on the server and not declared; it is left alone\n");
        shows(&done, "note: consumer A/other is on the server and not declared; it is left alone\n");
        shows(&scene.apply(&[&file]), "3 done, 3 things as declared\n");
        has(&scene.stream("A").await, json!({"first_seq": 1_000, "max_age": 3_600 * SECOND}));
        assert_eq!((scene.messages("A").await, scene.messages("THEIRS").await), (3, 2));
        assert_eq!(scene.consumer("A", "other").await, other);
        assert_eq!(scene.stream("THEIRS").await, theirs);
    }
}

#[tokio::test]
async fn keys_that_are_nobodys_here_outlive_a_change() {
    let scene = Scene::start(NEWEST).await;
    scene.declare(DECLARED);
    // A consumer is paused by a key that no declaration has.
    let until = "2099-01-01T00:00:00Z";
    Scene::done(&scene.ask("CONSUMER.PAUSE.A.reader", json!({"pause_until": until})).await);
    scene.declare(&DECLARED.replace("10s", "20s"));
    let config = scene.consumer("A", "reader").await;
    assert_eq!((&config["ack_wait"], &config["pause_until"]), (&json!(20 * SECOND), &json!(until)), "{config}");
}

/// A consumer's `max_waiting` is never changed, and left out would be taken for a change.
#[tokio::test]
async fn what_somebody_else_chose_and_nobody_declares_is_no_hindrance() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let stream = json!({"name": "A", "subjects": ["a.x", "a.y"], "max_age": 3_600 * SECOND});
        Scene::done(&scene.ask("STREAM.CREATE.A", stream).await);
        let config = json!({"durable_name": "reader", "ack_policy": "explicit", "max_waiting": 16, "max_batch": 8});
        let body = json!({"stream_name": "A", "config": config, "action": "create"});
        Scene::done(&scene.ask("CONSUMER.CREATE.A.reader", body).await);
        shows(&scene.declare(DECLARED), "2 done, 3 things as declared\n");
        has(
            &scene.consumer("A", "reader").await,
            json!({"ack_wait": 10 * SECOND, "max_waiting": 16, "max_batch": null}),
        );
    }
}

#[tokio::test]
async fn a_plan_as_json_holds_what_its_text_says() {
    let scene = Scene::start(NEWEST).await;
    let file = scene.file("a.toml", DECLARED);
    let plan = parsed(&scene.topology("plan", &[&file, "--json"]).expect_code(0));
    assert_eq!(plan["steps"][0]["action"], "create", "{plan}");
    assert_eq!(plan["steps"][0]["object"], json!({"stream": "A"}));
    assert_eq!(plan["steps"][2]["object"], json!({"consumer": ["A", "reader"]}));
    scene.apply(&[&file]);
    scene.tamper("A", json!({"max_age": 0})).await;
    let done = scene.topology("check", &[&file, "--json"]).expect_code(1);
    let plan = parsed(&done);
    let text = scene.topology("plan", &[&file]);
    assert_eq!(plan["unchanged"], 2, "{plan}");
    assert_eq!((&plan["steps"][0]["action"], &plan["steps"][0]["effect"]), (&json!("change"), &json!("destructive")));
    let change = &plan["steps"][0]["changes"][0];
    assert_eq!(change["effect"], "destructive");
    for key in ["key", "from", "to", "note"] {
        shows(&text, change[key].as_str().unwrap());
    }
    scene.apply(&[&file, "--allow-destructive"]);
    let plan = parsed(&scene.topology("check", &[&file, "--json"]).expect_code(0));
    assert_eq!(plan, json!({"steps": [], "conflicts": [], "lacking": [], "notes": [], "unchanged": 3}));
}
