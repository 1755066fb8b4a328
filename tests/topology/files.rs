//! Files that are wrong, and servers that do not answer: each error names the place and the cure.

use crate::kit::{NEWEST, Scene, VERSIONS, parsed, shows, write};
use crate::process::{Done, run};
use crate::support::Server;

/// `topology COMMAND` of one file with this text, without a server.
fn offline(text: &str) -> (String, Done) {
    let dir = tempfile::TempDir::new().unwrap();
    let path = write(dir.path(), "bad.toml", text);
    let done = run(&["topology", "check", "--offline", &path]);
    (path, done)
}

#[test]
fn a_file_that_is_no_topology_is_told_with_line_column_and_cure() {
    for (text, place, words) in [
        ("[streams.A]\nmax_agee = \"1h\"\n", ":2:1: ", vec!["max_agee", "max_age"]),
        ("[stream.A]\nsubjects = [\"a\"]\n", ":1:2: ", vec!["stream", "streams"]),
        ("[streams.A]\nmax_age = \"1 parsec\"\n", ":2:11: ", vec!["parsec", "no duration"]),
        ("[streams.A]\nmax_bytes = \"1 lot\"\n", ":2:13: ", vec!["lot", "size"]),
        ("[streams.A]\nsubjects = \"a\"\n", ":2:12: ", vec!["string", "sequence"]),
        ("[streams.A]\nmax_msgs = \"many\"\n", ":2:12: ", vec!["string", "u64"]),
        ("[streams.A]\nmax_msgs = -1\n", ":2:12: ", vec!["-1", "u64"]),
        ("[streams.A]\nstorage = \"tape\"\n", ":2:11: ", vec!["tape", "file", "memory"]),
        ("[streams.A]\nsubjects = [\"a\"]\nsubjects = [\"b\"]\n", ":3:1: ", vec!["duplicate key"]),
        ("[streams.A\n", ":1:11: ", vec!["]"]),
        ("[streams.A.consumers.c]\npush = { subject = \"a\" }\n", ":2:10: ", vec!["subject", "deliver_subject"]),
    ] {
        let (path, done) = offline(text);
        let done = done.expect_code(78).tells(&format!("{path}{place}"));
        for word in words {
            assert!(done.err.contains(word), "no {word:?} of {text:?} in {}", done.err);
        }
        assert_eq!(done.out, "");
    }
}

#[test]
fn what_is_wrong_in_itself_is_told_all_at_once() {
    let text = "[streams.\"a b\"]\nsubjects = [\"a\"]\n[streams.B]\n[streams.C]\nsubjects = [\"c\"]\nreplicas = 9\n\
                [streams.C.consumers.d]\nbackoff = [\"1s\", \"2s\"]\nmax_deliver = 1\n[buckets.e]\nhistory = 0\n";
    let (path, done) = offline(text);
    let done = done.expect_code(78);
    for line in [
        "streams.a b: \"a b\" is no name: ",
        "streams.B.subjects: is empty; name what B takes in, or say where it copies from",
        "streams.C.replicas: 9 is not within 1..=5",
        "streams.C.consumers.d.max_deliver: 1 is less than the 2 waits of backoff",
        "buckets.e.history: 0 is not within 1..=64",
    ] {
        assert!(done.err.contains(&format!("{path}: {line}")), "no {line:?} in {}", done.err);
    }
    assert_eq!(done.err.lines().count(), 5, "{}", done.err);
}

#[test]
fn a_file_that_is_not_there_or_says_what_another_says_is_told() {
    let dir = tempfile::TempDir::new().unwrap();
    let gone = dir.path().join("gone.toml").to_str().unwrap().to_owned();
    for command in ["plan", "apply", "check"] {
        run(&["topology", command, &gone]).expect_code(78).tells(&format!("cannot read {gone}: No such file"));
    }
    let one = write(dir.path(), "one.toml", "[streams.A]\nsubjects = [\"a\"]\n");
    let two = write(dir.path(), "two.toml", "[streams.A]\nsubjects = [\"b\"]\n");
    let told = format!("streams.A is declared in {one} and in {two}; keep one of them");
    run(&["topology", "check", "--offline", &one, &two]).expect_code(78).tells(&told);
    run(&["topology", "plan"]).expect_code(2).tells("<FILE>");
    run(&["topology", "check", "--offline", "--nats", "nats://localhost", &one]).expect_code(2);
}

/// What the servers refuse, or change behind our back, is refused before one is asked.
#[tokio::test]
async fn what_no_server_takes_is_told_without_one() {
    for text in [
        "deny_purge = true\nallow_msg_schedules = true",
        "deny_purge = true\nallow_msg_ttl = true\nsubject_delete_marker_ttl = \"5s\"",
        "allow_msg_counter = true\nretention = \"interest\"",
        "allow_msg_counter = true\ndiscard = \"new\"",
        "allow_msg_counter = true\nallow_msg_ttl = true",
        "allow_msg_schedules = true\nsources = [{ name = \"O\" }]",
        "persist_mode = \"async\"\nstorage = \"memory\"",
        "max_msg_size = \"2GiB\"",
        "consumer_limits = { max_ack_pending = 5 }\n[streams.A.consumers.c]\nmax_ack_pending = 6",
        "consumer_limits = { inactive_threshold = \"1m\" }\n[streams.A.consumers.c]\ninactive_threshold = \"2m\"",
    ] {
        offline(&format!("[streams.A]\nsubjects = [\"a\"]\n{text}\n")).1.expect_code(78).tells("streams.A.");
    }
    let direct = "mirror_direct = true\n[streams.O]\nsubjects = [\"o\"]";
    offline(&format!("[streams.A]\nmirror = {{ name = \"O\" }}\n{direct}\n"))
        .1
        .expect_code(78)
        .tells("set allow_direct");
    for text in
        ["allow_atomic = true", "allow_batched = true", "allow_msg_counter = true", "allow_msg_schedules = true"]
    {
        offline(&format!("[streams.A]\nmirror = {{ name = \"O\" }}\n{text}\n"))
            .1
            .expect_code(78)
            .tells("streams.A.allow_");
    }
}

/// What looks like it, and is taken: one consumer in the place of the other, and what the server tells of itself.
#[tokio::test]
async fn what_servers_take_is_taken() {
    let text = "[streams.A]\nsubjects = [\"$JS.EVENT.ADVISORY.>\", \"$SYS.ACCOUNT.*.CONNECT\"]\nmax_consumers = 1\n\
                [streams.A.consumers.old]\nabsent = true\n[streams.A.consumers.new]\n";
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        scene.declare("[streams.A]\nsubjects = [\"a\"]\nmax_consumers = 1\n[streams.A.consumers.old]\n");
        let file = scene.file("a.toml", text);
        shows(&scene.apply(&[&file, "--allow-destructive"]), "3 done, 3 things as declared\n");
    }
}

#[test]
fn an_offline_check_as_json_holds_what_its_text_says() {
    let path = format!("{}/config/topology/venue-platform.toml", env!("CARGO_MANIFEST_DIR"));
    let text = run(&["topology", "check", "--offline", &path]).expect_code(1);
    let findings = parsed(&run(&["topology", "check", "--offline", "--json", &path]).expect_code(1));
    assert_eq!(findings.as_array().unwrap().len(), 1, "{findings}");
    assert_eq!((findings[0]["severity"].as_str(), findings[0]["check"].as_str()), (Some("warning"), Some("retention")));
    for key in ["place", "message", "cure"] {
        assert!(text.out.contains(findings[0][key].as_str().unwrap()), "{findings} {}", text.out);
    }
    let sound = format!("{}/config/topology/market.toml", env!("CARGO_MANIFEST_DIR"));
    let findings = parsed(&run(&["topology", "check", "--offline", "--json", &sound]).expect_code(0));
    assert_eq!(findings, serde_json::json!([]));
}

#[tokio::test]
async fn a_server_that_is_away_or_has_no_jetstream_is_told_with_the_cure() {
    let mut scene = Scene::start(NEWEST).await;
    let file = scene.file("a.toml", "[streams.A]\nsubjects = [\"a\"]\n");
    scene.server.kill9();
    for command in ["plan", "apply", "check"] {
        let done = scene.topology(command, &[&file]).expect_code(1);
        done.tells(&scene.server.url()).tells("does a nats-server listen there?");
    }
    for version in VERSIONS {
        let scene = Scene::on(Server::builder().version(version).without_jetstream()).await;
        let file = scene.file("a.toml", "[streams.A]\nsubjects = [\"a\"]\n");
        for command in ["plan", "apply", "check"] {
            scene.topology(command, &[&file]).expect_code(1).tells("STREAM.LIST: ").tells("is JetStream on (-js)");
        }
    }
}

#[tokio::test]
async fn a_user_that_may_not_list_is_told_which_right_is_missing() {
    let users = "authorization { users: [ { user: weak, password: pw, permissions: { publish: [\"other.>\"] } } ] }";
    let server = Server::builder().config(users).start();
    let dir = tempfile::TempDir::new().unwrap();
    let file = write(dir.path(), "a.toml", "[streams.A]\nsubjects = [\"a\"]\n");
    let env = [("DATA_MANAGER__TRANSPORT__NATS__USER", "weak"), ("DATA_MANAGER__TRANSPORT__NATS__PASSWORD", "pw")];
    let url = server.url();
    let done = crate::process::run_with(&["topology", "plan", &file, "--nats", &url], &env, "");
    done.expect_code(1).tells("may this user publish on $JS.API.STREAM.LIST?");
    // Nothing is known, so that nothing is well.
    let done = crate::process::run_with(&["check", "--sample", "0s", "--nats", &url], &env, "").expect_code(3);
    shows(&done, "UNKNOWN  jetstream: ");
    shows(&done, "may this user publish on $JS.API.INFO?");
}
