//! What removes, and what the server never changes: refused whole, with nothing done, and done where it is meant.

use serde_json::json;

use crate::kit::{NEWEST, Scene, VERSIONS, shows};
use crate::process::Done;
use crate::support::{Cluster, client};

const REFUSED: &str = "--allow-destructive says that it is meant; nothing was done";
const NOT_IN_PLACE: &str = "the server does not make these changes in place; nothing was done";
/// A harmless step beside each that is not: it is not done either.
const HARMLESS: &str = "[streams.NEW]\nsubjects = [\"new.>\"]\n";

/// Declares `before`, stores ten messages on `a.x` and ten on `a.y`, and applies `after`, which is refused with all of
/// this in the words and nothing done.
async fn refused(scene: &Scene, before: &str, after: &str, flags: &[&str], words: &[&str]) -> Done {
    scene.declare(before);
    scene.publish("a.x", 10, 100).await;
    scene.publish("a.y", 10, 100).await;
    let was = scene.everything().await;
    let file = scene.file("after.toml", &format!("{HARMLESS}{after}"));
    let done = scene.topology("apply", &[&[file.as_str()], flags].concat()).expect_code(1);
    for word in words {
        assert!(done.out.contains(word) || done.err.contains(word), "no {word:?} in {done:#?}");
    }
    assert_eq!(scene.everything().await, was, "{after}");
    done
}

async fn empty(scene: &Scene) {
    for info in scene.everything().await {
        let name = info["stream"]["name"].as_str().unwrap().to_owned();
        Scene::done(&scene.ask(&format!("STREAM.DELETE.{name}"), serde_json::Value::Null).await);
    }
}

#[tokio::test]
async fn what_removes_is_refused_unless_it_is_meant() {
    let before = "[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\n[streams.A.consumers.c]\n[buckets.b]\n";
    // What is declared then, what is said of it, and what is left.
    let cases = [
        (
            "[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\nmax_msgs = 5\n",
            "max_msgs: unlimited -> 5  (destructive",
            Some(5),
        ),
        (
            "[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\nmax_msgs_per_subject = 2\n",
            "max_msgs_per_subject: unlimited -> 2  (destructive",
            // Older servers look at a subject with its next message only.
            Some(4),
        ),
        ("[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\nmax_bytes = \"1KiB\"\n", "max_bytes: unlimited -> 1KiB", Some(7)),
        ("[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\nmax_age = \"200ms\"\n", "max_age: unlimited -> 200ms", Some(0)),
        ("[streams.A]\nsubjects = [\"a.x\"]\n", "subjects: a.x a.y -> a.x  (destructive", Some(20)),
        ("[streams.A]\nabsent = true\n", "- stream A  (destructive: 20 messages are lost with it)", None),
        ("[buckets.b]\nabsent = true\n", "- bucket b  (destructive: 0 messages are lost with it)", Some(20)),
        (
            "[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\n[streams.A.consumers.c]\nabsent = true\n",
            "- consumer A/c  (destructive: its place in the stream is lost with it)",
            Some(20),
        ),
    ];
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        for (after, word, left) in cases {
            refused(&scene, before, after, &[], &[word, REFUSED]).await;
            let file = scene.file("after.toml", &format!("{HARMLESS}{after}"));
            shows(&scene.apply(&[&file, "--allow-destructive"]), "2 done, ");
            if after.contains("max_msgs_per_subject") {
                scene.publish("a.x", 1, 100).await;
                scene.publish("a.y", 1, 100).await;
            }
            match left {
                Some(left) => scene.until_messages("A", left).await,
                None => assert!(scene.stream("A").await.is_null()),
            }
            assert_eq!(scene.stream("KV_b").await.is_null(), after.contains("[buckets.b]"));
            assert_eq!(
                scene.consumer("A", "c").await.is_null(),
                after.contains("absent") && after.contains("streams.A")
            );
            // What is gone stays gone, and that is as declared.
            shows(&scene.apply(&[&file]), "\n0 done, ");
            empty(&scene).await;
        }
    }
}

#[tokio::test]
async fn what_the_server_never_changes_is_refused_with_the_way_round() {
    let stream = "[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\n";
    let consumer = "[streams.A]\nsubjects = [\"a.x\", \"a.y\"]\n[streams.A.consumers.c]\n";
    let anew = "back it up, delete it, apply again";
    let again = "declare it under another name, or set `absent = true`, apply, and declare it again";
    let cases = [
        (stream, "", "storage = \"memory\"", vec!["storage: file -> memory  (not in place: ", anew]),
        (stream, "", "retention = \"work_queue\"", vec!["retention: limits -> workqueue  (not in place: ", anew]),
        (stream, "retention = \"work_queue\"", "", vec!["retention: workqueue -> limits  (not in place: ", anew]),
        (
            stream,
            "deny_delete = true",
            "",
            vec!["deny_delete: true -> false  (not in place: a denial is for ever; ", "source it"],
        ),
        (consumer, "", "deliver = \"new\"", vec!["deliver_policy: all -> new  (not in place: ", again]),
        (consumer, "", "ack = \"all\"", vec!["ack_policy: explicit -> all  (not in place: ", again]),
        (
            consumer,
            "",
            "push = { deliver_subject = \"out\" }",
            vec!["deliver_subject: none -> out  (not in place: ", "under another name"],
        ),
        (
            consumer,
            "push = { deliver_subject = \"out\" }",
            "",
            vec!["deliver_subject: out -> none  (not in place: ", "under another name"],
        ),
    ];
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        for (head, before, after, mut words) in cases.clone() {
            words.push(NOT_IN_PLACE);
            let (before, after) = (format!("{head}{before}\n"), format!("{head}{after}\n"));
            refused(&scene, &before, &after, &["--allow-destructive"], &words).await;
            empty(&scene).await;
        }
    }
}

#[tokio::test]
async fn copies_are_taken_away_only_where_it_is_meant() {
    let cluster = Cluster::start(3);
    let url = cluster.url();
    let client = client(&url).await;
    let dir = tempfile::TempDir::new().unwrap();
    let file = |replicas: u8| {
        let text = format!("[streams.A]\nsubjects = [\"a.>\"]\nreplicas = {replicas}\n[streams.A.consumers.c]\n");
        crate::kit::write(dir.path(), "a.toml", &text)
    };
    let run = |command: &str, file: &str, flags: &[&str]| {
        crate::process::run(&[&["topology", command, file, "--nats", &url], flags].concat())
    };
    shows(&run("apply", &file(3), &[]).expect_code(0), "2 done, 2 things as declared\n");
    run("check", &file(3), &[]).expect_code(0);
    let done = run("apply", &file(1), &[]).expect_code(1);
    shows(&done, "num_replicas: 3 -> 1  (destructive: copies are removed)");
    done.tells(REFUSED);
    let copies = async || crate::kit::ask(&client, "STREAM.INFO.A", json!(null)).await["config"]["num_replicas"].take();
    assert_eq!(copies().await, json!(3));
    shows(&run("apply", &file(1), &["--allow-destructive"]).expect_code(0), "1 done, 2 things as declared\n");
    assert_eq!(copies().await, json!(1));
    // The audit finds a single copy where there could be three, and more copies are no loss.
    let single = run_check(&url);
    shows(&single, "replicas: stream A: has one copy in cluster test");
    shows(&run("apply", &file(3), &[]).expect_code(0), "1 done, 2 things as declared\n");
    assert!(!run_check(&url).out.contains("replicas:"));
    // More than there are servers.
    let done = run("apply", &file(5), &[]).expect_code(1);
    done.tells("lower replicas, or start more servers");
}

fn run_check(url: &str) -> Done {
    crate::process::run(&["check", "--sample", "0s", "--nats", url])
}

#[tokio::test]
async fn a_step_that_the_server_refuses_ends_it_and_says_what_is_left() {
    let scene = Scene::start(NEWEST).await;
    // More than the server has room for.
    let text = "[streams.A]\nsubjects = [\"a\"]\n[streams.B]\nsubjects = [\"b\"]\nmax_bytes = \"100GiB\"\n\
                [streams.C]\nsubjects = [\"c\"]\n";
    let file = scene.file("a.toml", text);
    let done = scene.topology("apply", &[&file]).expect_code(1);
    done.tells("stream B: STREAM.CREATE.B: the server says: ")
        .tells("lower one of them")
        .tells("1 of 3 steps were done, 2 are left: apply again once this is mended");
    let file = scene.file("a.toml", &text.replace("100GiB", "1GiB"));
    shows(&scene.apply(&[&file]), "2 done, 3 things as declared\n");
    // Where a consumer delivers is not changed while somebody listens there.
    let text = "[streams.A]\nsubjects = [\"a\"]\n[streams.A.consumers.c]\npush = { deliver_subject = \"out\" }\n";
    scene.declare(text);
    let listener = scene.client.subscribe("out").await.unwrap();
    scene.client.flush().await.unwrap();
    let file = scene.file("a.toml", &text.replace("out", "other"));
    shows(&scene.topology("plan", &[&file]), "(the server does it only while nobody listens on the old subject)");
    scene.topology("apply", &[&file]).expect_code(1).tells("(10013); somebody still listens on the subject that it ");
    drop(listener);
    scene.client.flush().await.unwrap();
    shows(&scene.apply(&[&file]), "1 done, 2 things as declared\n");
}
