//! Subjects that two streams would claim, and the order in which steps can be done at all.

use futures_util::StreamExt;
use serde_json::json;

use crate::kit::{NEWEST, SECOND, Scene, VERSIONS, has, merged, shows};

#[tokio::test]
async fn two_files_that_claim_the_same_subjects_are_told_before_the_server_does() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let one = scene.file("one.toml", "[streams.ALL]\nsubjects = [\"market.>\"]\n");
        let two = scene.file("two.toml", "[streams.DATA]\nsubjects = [\"market.data.*\"]\n");
        let told = format!(
            "! conflict: {one}: streams.ALL takes market.> and {two}: streams.DATA takes market.data.*: a subject \
             belongs to one stream; narrow one of them, or give it a prefix of its own\n"
        );
        let done = scene.topology("plan", &[&one, &two]).expect_code(0);
        shows(&done, &told);
        shows(&done, "2 to create, 0 to change, 0 to delete, 0 as declared; conflicts stand in the way\n");
        scene.topology("check", &[&one, &two]).expect_code(1);
        let done = scene.topology("apply", &[&one, &two, "--allow-destructive"]).expect_code(1);
        shows(&done, &told);
        done.tells("subjects conflict; nothing was done");
        assert_eq!(scene.everything().await.len(), 0);
        // The server would have refused the second indeed.
        scene.apply(&[&one]);
        let answer = scene.ask("STREAM.CREATE.DATA", json!({"name": "DATA", "subjects": ["market.data.*"]})).await;
        assert_eq!(answer["error"]["err_code"], 10_065, "{answer}");
        // One that is on the server and in no file is named too.
        let done = scene.topology("plan", &[&two]).expect_code(0);
        shows(
            &done,
            &format!("! conflict: {two}: streams.DATA takes market.data.* and stream ALL on the server takes market.>"),
        );
        scene.topology("apply", &[&two]).expect_code(1).tells("subjects conflict; nothing was done");
        assert_eq!(scene.everything().await.len(), 1);
    }
}

#[tokio::test]
async fn subjects_that_meet_in_the_middle_are_told_with_what_is_on_both() {
    let scene = Scene::start(NEWEST).await;
    let file = scene.file("a.toml", "[streams.A]\nsubjects = [\"m.*.b\"]\n[streams.B]\nsubjects = [\"m.a.*\"]\n");
    shows(&scene.topology("plan", &[&file]), "streams.A takes m.*.b and ");
    shows(&scene.topology("plan", &[&file]), "streams.B takes m.a.* (as m.a.b): ");
    let file = scene.file("a.toml", "[streams.A]\nsubjects = [\"$KV.b.x\"]\n[buckets.b]\n");
    shows(&scene.topology("plan", &[&file]), "buckets.b takes $KV.b.>");
}

#[tokio::test]
async fn a_subject_moves_from_one_stream_to_a_new_one_in_one_go() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        // By name, B would come first, where its subject is still A's, and later A before B.
        scene.declare("[streams.M]\nsubjects = [\"x\", \"y\"]\n");
        scene.publish("y", 3, 10).await;
        for other in ["A", "Z"] {
            let text = format!("[streams.M]\nsubjects = [\"x\"]\n[streams.{other}]\nsubjects = [\"y\"]\n");
            let file = scene.file("moved.toml", &text);
            shows(&scene.apply(&[&file, "--allow-destructive"]), "2 done, 2 things as declared\n");
            has(&scene.stream(other).await, json!({"subjects": ["y"]}));
            assert_eq!(scene.messages("M").await, 3);
            let text = format!("[streams.M]\nsubjects = [\"x\", \"y\"]\n[streams.{other}]\nabsent = true\n");
            scene.apply(&[&scene.file("back.toml", &text), "--allow-destructive"]);
        }
    }
}

#[tokio::test]
async fn a_subject_moves_between_streams_that_are_there() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = |a: &str, b: &str| format!("[streams.A]\nsubjects = [{a}]\n[streams.B]\nsubjects = [{b}]\n");
        scene.declare(&text("\"a\", \"y\"", "\"b\""));
        for (a, b) in [("\"a\"", "\"b\", \"y\""), ("\"a\", \"y\"", "\"b\"")] {
            let file = scene.file("moved.toml", &text(a, b));
            shows(&scene.apply(&[&file, "--allow-destructive"]), "2 done, 2 things as declared\n");
        }
    }
}

#[tokio::test]
async fn origins_are_there_before_what_copies_from_them() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = "[streams.A]\nsources = [{ name = \"B\" }]\n[streams.A.consumers.c]\n\
                    [streams.B]\nmirror = { name = \"C\" }\n[streams.C]\nsubjects = [\"c.>\"]\nallow_direct = true\n";
        let done = scene.declare(text);
        let steps: Vec<&str> = done.out.lines().collect();
        assert_eq!(steps, ["+ stream C", "+ stream B", "+ stream A", "+ consumer A/c", "4 done, 4 things as declared"]);
        scene.publish("c.x", 5, 10).await;
        scene.until_messages("A", 5).await;
        // The server takes it from the origin, and it is no difference.
        has(&scene.stream("B").await, json!({"mirror_direct": true}));
        // What copies can come first and its origin later.
        let text = "[streams.D]\nsubjects = [\"d\"]\n";
        scene.declare(text);
        let text = "[streams.D]\nsubjects = [\"d\"]\nsources = [{ name = \"E\" }]\n[streams.E]\nsubjects = [\"e\"]\n";
        shows(&scene.declare(text), "2 done, 2 things as declared\n");
        scene.publish("e", 5, 10).await;
        scene.until_messages("D", 5).await;
    }
}

#[tokio::test]
async fn consumers_of_a_work_queue_share_nothing() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = |filter: &str| {
            format!(
                "[streams.Q]\nsubjects = [\"q.>\"]\nretention = \"work_queue\"\n[streams.Q.consumers.a]\n\
                 filters = [\"q.a.>\"]\n[streams.Q.consumers.b]\nfilters = [\"{filter}\"]\n"
            )
        };
        let file = scene.file("q.toml", &text("q.a.x"));
        scene
            .topology("apply", &[&file])
            .expect_code(78)
            .tells("streams.Q.consumers: a (q.a.>) and b (q.a.x) would take the same messages of a work queue");
        shows(&scene.declare(&text("q.b.>")), "3 done, 3 things as declared\n");
        // One gives a part of its share to the other.
        scene.declare(&text("q.c.>"));
        scene.publish("q.c.x", 2, 10).await;
        scene.until_consumer("Q", "b", |info| info["num_pending"] == json!(2)).await;
        // Another one in the place of the first: it goes before the new one comes.
        let text = "[streams.Q]\nsubjects = [\"q.>\"]\nretention = \"work_queue\"\n[streams.Q.consumers.a]\n\
                    absent = true\n[streams.Q.consumers.b]\nabsent = true\n[streams.Q.consumers.whole]\n";
        let file = scene.file("q.toml", text);
        shows(&scene.apply(&[&file, "--allow-destructive"]), "3 done, 4 things as declared\n");
    }
}

#[tokio::test]
async fn shares_of_a_work_queue_can_be_swapped() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = |a: &str, b: &str| {
            format!(
                "[streams.Q]\nsubjects = [\"q.>\"]\nretention = \"work_queue\"\n[streams.Q.consumers.a]\n\
                 filters = [{a}]\n[streams.Q.consumers.b]\nfilters = [{b}]\n"
            )
        };
        scene.declare(&text("\"q.a\"", "\"q.b\", \"q.x\""));
        // `a` gets what is still the share of `b`: `b` has to give it away first.
        shows(&scene.declare(&text("\"q.a\", \"q.x\"", "\"q.b\"")), "2 done, 3 things as declared\n");
    }
}

#[tokio::test]
async fn what_is_kept_for_consumers_is_kept_for_those_that_are_to_come() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = |retention: &str, consumers: &str| {
            format!("[streams.I]\nsubjects = [\"i\"]\n{retention}\n[streams.I.consumers.a]\nack = \"all\"\n{consumers}")
        };
        let found = async |name| scene.until_consumer("I", name, |info| info["num_pending"] == json!(3)).await;
        scene.declare(&text("", ""));
        scene.publish("i", 3, 10).await;
        let brought = scene.client.subscribe("brought").await.unwrap();
        scene.client.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.I.a", "brought", "3".into()).await.unwrap();
        let last = brought.skip(2).next().await.unwrap();
        scene.client.request(last.reply.unwrap(), "".into()).await.unwrap();
        // All that there is has been acknowledged by all that there are.
        let interest = "description = \"x\"\nretention = \"interest\"";
        let file = scene.file("i.toml", &text(interest, "[streams.I.consumers.b]\n"));
        let done = scene.apply(&[&file, "--allow-destructive"]);
        shows(&done, "~ stream I\n+ consumer I/b\n~ stream I\n3 done, 3 things as declared\n");
        found("b").await;
        // Another one in the place of all that there are.
        let gone = "absent = true\n[streams.I.consumers.b]\nabsent = true\n[streams.I.consumers.c]\n";
        let file = scene.file("i.toml", &text(interest, gone));
        let note = "its place in the stream is lost with it, and messages that nobody else is still to read)";
        shows(&scene.topology("plan", &[&file]), &format!("- consumer I/b  (destructive: {note}\n"));
        scene.apply(&[&file, "--allow-destructive"]);
        found("c").await;
        // And where the old one is beyond what the stream is to allow.
        let limits = format!("{interest}\nconsumer_limits = {{ max_ack_pending = 100 }}");
        let gone = "absent = true\n[streams.I.consumers.c]\nabsent = true\n[streams.I.consumers.d]\n";
        let file = scene.file("i.toml", &text(&limits, gone));
        let done = scene.apply(&[&file, "--allow-destructive"]);
        shows(&done, "+ consumer I/d\n- consumer I/c\n~ stream I\n");
        found("d").await;
    }
}

#[tokio::test]
async fn consumers_are_within_new_limits_before_the_stream_has_them() {
    for version in VERSIONS {
        let scene = Scene::start(version).await;
        let text = |limit: u32| {
            let limits = format!("consumer_limits = {{ max_ack_pending = {limit}, inactive_threshold = \"1h\" }}\n");
            format!(
                "[streams.A]\nsubjects = [\"a\"]\n{}[streams.A.consumers.c]\ninactive_threshold = \"{}\"\n",
                if limit > 0 { limits } else { String::new() },
                if limit > 0 { "30m" } else { "2h" },
            )
        };
        scene.declare(&text(0));
        let file = scene.file("a.toml", &text(100));
        shows(&scene.apply(&[&file, "--allow-destructive"]), "~ consumer A/c\n~ stream A\n2 done, 2 things");
        has(&scene.consumer("A", "c").await, json!({"max_ack_pending": 100, "inactive_threshold": 1_800 * SECOND}));
        // One that nobody declares stays what it is.
        let config = json!({"durable_name": "theirs", "ack_policy": "explicit", "max_ack_pending": 50});
        let body = json!({"stream_name": "A", "config": config, "action": "create"});
        Scene::done(&scene.ask("CONSUMER.CREATE.A.theirs", body).await);
        let file = scene.file("a.toml", &text(20));
        let done = scene.topology("apply", &[&file, "--allow-destructive"]).expect_code(1);
        shows(&done, "  (not in place: theirs asks for more: declare it with less, or as absent)\n");
        let limits = json!({"max_ack_pending": 20, "inactive_threshold": 3_600 * SECOND});
        let config = merged(scene.stream("A").await, json!({"consumer_limits": limits}));
        let answer = scene.ask("STREAM.UPDATE.A", config).await;
        assert!(answer["error"]["description"].as_str().unwrap().contains("violates consumers"), "{answer}");
        let gone = format!("{}[streams.A.consumers.theirs]\nabsent = true\n", text(20));
        let file = scene.file("a.toml", &gone);
        shows(&scene.apply(&[&file, "--allow-destructive"]), "3 done, 3 things as declared\n");
    }
}

#[tokio::test]
async fn subjects_that_are_swapped_are_told_before_anything_is_done() {
    let scene = Scene::start(NEWEST).await;
    let text = |a: &str, b: &str| {
        format!(
            "[streams.A]\nsubjects = [\"{a}\"]\n[streams.B]\nsubjects = [\"{b}\"]\n[streams.C]\nsubjects = [\"c\"]\n"
        )
    };
    scene.declare(&text("a", "b").replace("[streams.C]\nsubjects = [\"c\"]\n", ""));
    let file = scene.file("a.toml", &text("b", "a"));
    let done = scene.topology("apply", &[&file, "--allow-destructive"]).expect_code(1);
    shows(&done, "! conflict: stream A takes b from stream B, and neither can be first: give stream A another one in ");
    done.tells("subjects conflict; nothing was done");
    assert_eq!(scene.everything().await.len(), 2);
    // As it is said.
    for (a, b) in [("other", "a"), ("b", "a")] {
        scene.apply(&[&scene.file("a.toml", &text(a, b)), "--allow-destructive"]);
    }
}
