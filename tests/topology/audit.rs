//! `check` on servers that are well, away, or unlike their declaration: findings, words and exit codes.

use serde_json::{Value, json};

use crate::kit::{NEWEST, SECOND, Scene, VERSIONS, shows};
use crate::process::run;
use crate::support::Server;

/// A declaration in which everybody may do what is needed, so that nothing but the server is criticised.
pub(crate) const SOUND: &str = r#"
[streams.A]
subjects = ["a.>"]
max_bytes = "10MiB"
[streams.A.consumers.reader]
max_ack_pending = 5
[buckets.b]
storage = "memory"
max_bytes = "1MiB"
[users.writer]
password_env = "W"
work = ["publish A", "kv-write b"]
[users.reader]
password_env = "R"
work = ["consume A/reader", "kv-read b"]
"#;

#[tokio::test]
async fn a_server_with_everything_right_is_well() {
    for version in VERSIONS {
        // A sync that costs nothing: said once where it is known, asked for where it is not.
        let dir = tempfile::TempDir::new().unwrap();
        let store = dir.path().join("store");
        let block = format!("jetstream {{ store_dir: {store:?}, max_file_store: 1GB, sync_interval: 10s }}");
        let builder = Server::builder().version(version).store_in(&store).without_jetstream().config(&block);
        let scene = Scene::on(builder).await;
        scene.declare(SOUND);
        scene.publish("a.x", 3, 10).await;
        let file = scene.file("a.toml", SOUND);
        let done = scene.check(&[&file, "--monitor", &scene.server.monitor_url()]);
        let done = done.expect_code(0);
        let first = done.out.lines().next().unwrap();
        assert!(first.starts_with(&format!("OK: all is well; nats-server {version} at nats://127.0.0.1:")), "{first}");
        for text in ["2 streams, 1 consumers | round_trip=0.", "'A messages'=3 ", "'A bytes'=", "'A/reader lag'=3"] {
            assert!(first.contains(text), "no {text:?} in {first}");
        }
        assert_eq!(done.out.lines().count(), 1, "{done:#?}");
        // Without the page it is said what could not be known; that is no fault.
        let done = scene.check(&[&file]).expect_code(0);
        shows(
            &done,
            "OK       sync: server: how often the server syncs its files can be known from its monitoring page only",
        );
    }
}

#[tokio::test]
async fn what_a_server_lacks_or_has_otherwise_is_found() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let file = scene.file("a.toml", SOUND);
        let done = scene.check(&[&file]).expect_code(2);
        for line in [
            "CRITICAL: 3 critical",
            "CRITICAL declared: stream A: is declared and not there; ",
            "CRITICAL declared: bucket b: is declared and not there; ",
            "CRITICAL declared: consumer A/reader: is declared and not there; ",
        ] {
            shows(&done, line);
        }
        scene.declare(SOUND);
        scene.tamper("A", json!({"max_age": 60 * SECOND, "duplicate_window": 60 * SECOND})).await;
        let done = scene.check(&[&file]).expect_code(1);
        shows(&done, "WARNING: 1 warning; ");
        shows(&done, "WARNING  declared: stream A: is not as declared: max_age: 1m -> unlimited; ");
        let absent = scene.file("gone.toml", "[streams.A]\nabsent = true\n");
        shows(&scene.check(&[&absent]).expect_code(1), "WARNING  declared: stream A: is there, and declared absent; ");
        let clash = scene.file("clash.toml", "[streams.C]\nsubjects = [\"a.x\"]\n");
        shows(&scene.check(&[&clash]).expect_code(2), "CRITICAL declared: subjects: ");
    }
}

#[tokio::test]
async fn without_files_the_configured_stream_is_what_is_declared() {
    let scene = Scene::roomy(NEWEST).await;
    let done = scene.check(&[]).expect_code(2);
    for thing in ["stream MARKET_DATA", "bucket venue-status", "bucket instruments"] {
        shows(&done, &format!("CRITICAL declared: {thing}: is declared and not there; "));
    }
    scene.apply(&[concat!(env!("CARGO_MANIFEST_DIR"), "/config/topology/market.toml")]);
    // The rest is the operator's: what `serve` says nothing of is no fault here either.
    scene.tamper("MARKET_DATA", json!({"description": "ours", "max_msgs": 1_000_000, "allow_direct": false})).await;
    scene.tamper("KV_instruments", json!({"metadata": {"owner": "desk"}, "max_bytes": -1})).await;
    assert!(!scene.check(&[]).out.contains(" declared: "), "{:?}", scene.check(&[]));
    scene.tamper("MARKET_DATA", json!({"max_age": 86_400 * SECOND})).await;
    let done = scene.check(&[]).expect_code(1);
    shows(&done, "WARNING  declared: stream MARKET_DATA: is not as declared: max_age: ");
    shows(&done, "; let transport.nats say what the server has; or declare it in a topology file, ");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_critical() {
    let mut scene = Scene::start(NEWEST).await;
    let url = scene.server.url();
    scene.server.kill9();
    let done = scene.check(&[]).expect_code(2);
    assert!(done.out.starts_with("CRITICAL: 1 critical\n"), "{done:#?}");
    shows(
        &done,
        &format!("CRITICAL connection: {url}: IO error: Connection refused (os error 111); does a nats-server"),
    );
    let object = crate::kit::parsed(&scene.check(&["--json"]).expect_code(2));
    assert_eq!((&object["code"], &object["round_trip_seconds"]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn a_server_without_jetstream_is_critical() {
    for version in VERSIONS {
        let scene = Scene::on(Server::builder().version(version).without_jetstream()).await;
        let done = scene.check(&[]).expect_code(2);
        shows(&done, "CRITICAL jetstream: ");
        shows(&done, "is JetStream on (-js)");
    }
    // It is on, and not for this account.
    let accounts = "accounts { OFF { users: [ { user: u, password: pw } ] } }\nno_auth_user: u";
    for version in VERSIONS {
        let scene = Scene::on(Server::builder().version(version).config(accounts)).await;
        let done = scene.check(&[]).expect_code(2);
        shows(&done, "CRITICAL jetstream: ");
        shows(&done, "switch it on for this account");
    }
}

#[tokio::test]
async fn what_cannot_be_found_out_is_unknown() {
    let scene = Scene::start(NEWEST).await;
    scene.declare(SOUND);
    let file = scene.file("a.toml", SOUND);
    let bad = scene.file("bad.toml", "[streams.A]\nmax_agee = \"1h\"\n");
    scene.check(&[&bad]).expect_code(3).tells("bad.toml:2:1: ");
    scene.check(&["gone.toml"]).expect_code(3).tells("cannot read gone.toml");
    // The monitoring page is not where it is said to be; the rest is told all the same.
    let done = scene.check(&[&file, "--monitor", &scene.server.url().replace("nats:", "http:")]).expect_code(3);
    shows(&done, "UNKNOWN: 1 not found out");
    shows(&done, "UNKNOWN  monitor: http://127.0.0.1:");
    shows(&done, "2 streams, 1 consumers");
    // What is critical is worse than what is not known.
    scene.ask("STREAM.DELETE.A", Value::Null).await;
    scene.check(&[&file, "--monitor", "http://127.0.0.1:1"]).expect_code(2);
    // What is no argument too: 2, as everywhere else, would say that the server is in a bad way.
    run(&["check", "--sample", "soon"]).expect_code(3).tells("write a number and a unit");
}
