//! Plans without a server.

use super::*;
use crate::topology::load::parse;

fn declared(text: &str) -> Declared {
    parse(std::path::Path::new("t.toml"), text).unwrap().into()
}

/// What a server would have after a plan was applied.
fn applied(plan: &Plan, mut found: Found) -> Found {
    for step in &plan.steps {
        let config = step.body.get("config").unwrap_or(&step.body).clone();
        let info = json!({"config": config, "state": {"messages": 3}}).as_object().cloned().unwrap();
        match (&step.object, step.action) {
            (Object::Stream(name), Action::Delete) => drop(found.streams.remove(name)),
            (Object::Stream(name), _) => drop(found.streams.insert(name.clone(), info)),
            (Object::Bucket(name), _) => drop(found.streams.insert(Bucket::stream_name(name), info)),
            (Object::Consumer(stream, name), Action::Delete) => {
                found.consumers.remove(&(stream.clone(), name.clone()));
            }
            (Object::Consumer(stream, name), _) => {
                found.consumers.insert((stream.clone(), name.clone()), info);
            }
        }
    }
    found
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{:?} {}", step.action, step.object)).collect()
}

const PAIR: &str = r#"
[streams.A]
subjects = []
sources = [{ name = "B" }]
[streams.A.consumers.reader]
[streams.B]
subjects = ["b.>"]
max_age = "1h"
[buckets.status]
ttl = "5m"
"#;

#[test]
fn what_is_applied_needs_nothing_more() {
    let new = Found { version: (2, 15, 1), ..Found::default() };
    let plan = Plan::of(&declared(PAIR), &new);
    assert_eq!(
        steps(&plan),
        ["Create stream B", "Create stream A", "Create bucket status", "Create consumer A/reader"]
    );
    assert_eq!(plan.effect(), Effect::Harmless);
    let found = applied(&plan, new);
    let again = Plan::of(&declared(PAIR), &found);
    assert!(again.is_done(), "{:?}", again.steps);
    assert_eq!(again.unchanged, 4);
}

#[test]
fn only_what_is_called_absent_is_deleted() {
    let new = Found { version: (2, 15, 1), ..Found::default() };
    let found = applied(&Plan::of(&declared(PAIR), &new), new);
    let rest = Plan::of(&declared("[streams.B]\nsubjects = [\"b.>\"]\nmax_age = \"1h\"\n"), &found);
    assert!(rest.is_done(), "{:?}", rest.steps);
    assert!(rest.notes.iter().any(|note| note.contains("stream A is on the server")), "{:?}", rest.notes);
    let gone = Plan::of(&declared("[streams.A]\nabsent = true\n"), &found);
    assert_eq!(steps(&gone), ["Delete stream A"]);
    assert_eq!((gone.effect(), gone.steps[0].note.as_str()), (Effect::Destructive, "3 messages are lost with it"));
    assert!(Plan::of(&declared("[streams.A]\nabsent = true\n"), &applied(&gone, found)).is_done());
}

#[test]
fn subjects_that_overlap_are_told_before_the_server_does() {
    let text = "[streams.M]\nsubjects = [\"market.>\"]\n[streams.D]\nsubjects = [\"market.data.*\"]\n";
    let plan = Plan::of(&declared(text), &Found::default());
    assert_eq!(plan.conflicts.len(), 1, "{:?}", plan.conflicts);
    assert!(plan.conflicts[0].starts_with("streams.D takes market.data.* and streams.M takes market.>: "));
    let on_server = Plan::of(&declared("[streams.M]\nsubjects = [\"market.>\"]\n"), &Found::default());
    let found = applied(&on_server, Found::default());
    let other = Plan::of(&declared("[streams.D]\nsubjects = [\"*.data.x\"]\n"), &found);
    assert!(other.conflicts[0].contains("stream M on the server takes market.> (as market.data.x)"), "{other:?}");
}

#[test]
fn what_an_old_server_does_not_know_is_left_out_and_told() {
    let text = "[streams.A]\nsubjects = [\"a\"]\nallow_batched = true\nallow_atomic = true\n";
    let plan = Plan::of(&declared(text), &Found { version: (2, 12, 8), ..Found::default() });
    assert_eq!(plan.steps[0].body.get("allow_batched"), None);
    assert_eq!(plan.steps[0].body.get("allow_atomic"), Some(&json!(true)));
    assert_eq!(plan.notes, ["stream A: allow_batched is left out: it needs nats-server 2.14, this is 2.12.8"]);
}

#[test]
fn what_means_another_behaviour_is_no_note() {
    let counts = declared("[streams.A]\nsubjects = [\"a\"]\nallow_msg_counter = true\n");
    let old = Found { version: (2, 11, 0), ..Found::default() };
    let plan = Plan::of(&counts, &old);
    assert!(plan.lacking.len() == 1 && plan.notes.is_empty(), "{plan:?}");
    // Made without it, it could never have it.
    assert_eq!((plan.effect(), plan.steps[0].changes.last().unwrap().key), (Effect::Impossible, "allow_msg_counter"));
    let again = Plan::of(&counts, &applied(&plan, old));
    assert!(again.is_done() && !again.is_as_declared(), "{again:?}");
}

#[test]
fn streams_that_copy_from_each_other_are_all_planned() {
    let text = "[streams.A]\nsources = [{ name = \"B\" }]\n[streams.B]\nsources = [{ name = \"A\" }]\n";
    assert_eq!(Plan::of(&declared(text), &Found::default()).steps.len(), 2);
}

#[test]
fn a_consumer_of_interest_goes_last_where_there_is_room() {
    let text = |bound: &str, consumers: &str| {
        format!(
            "[streams.I]\nsubjects = [\"i\"]\nretention = \"interest\"\n{bound}\n[streams.I.consumers.a]\n{consumers}"
        )
    };
    let swapped = "absent = true\n[streams.I.consumers.b]\n";
    for (bound, expected) in [
        ("", ["Create consumer I/b", "Delete consumer I/a"]),
        ("max_consumers = 2", ["Create consumer I/b", "Delete consumer I/a"]),
        ("max_consumers = 1", ["Delete consumer I/a", "Create consumer I/b"]),
    ] {
        let new = Found { version: (2, 15, 1), ..Found::default() };
        let found = applied(&Plan::of(&declared(&text(bound, "")), &new), new);
        assert_eq!(steps(&Plan::of(&declared(&text(bound, swapped)), &found)), expected, "{bound}");
    }
}
