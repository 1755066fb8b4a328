//! What changes cost, without a server.

use serde_json::json;

use super::*;
use crate::topology::model::{Discard, Storage, Stream};
use crate::topology::wire::stream;

fn changes(from: &Stream, to: &Stream) -> Vec<String> {
    of_stream(&stream("A", to), &stream("A", from), (2, 15, 1)).iter().map(ToString::to_string).collect()
}

#[test]
fn lower_bounds_are_destructive_and_higher_ones_are_not() {
    let hour = Stream { max_age: Span::secs(3_600), max_msgs: 10, ..Stream::default() };
    let day = Stream { max_age: Span::secs(86_400), ..Stream::default() };
    assert_eq!(changes(&hour, &day), ["max_age: 1h -> 1day", "max_msgs: 10 -> unlimited"]);
    let told = changes(&day, &hour);
    assert_eq!(told[0], "max_age: 1day -> 1h  (destructive: what is beyond the lower bound is removed at once)");
    assert!(told[1].starts_with("max_msgs: unlimited -> 10  (destructive"), "{told:?}");
}

#[test]
fn what_the_server_never_changes_has_a_way_round() {
    let memory = Stream { storage: Storage::Memory, ..Stream::default() };
    let told = changes(&Stream::default(), &memory);
    assert!(told[0].starts_with("storage: file -> memory  (not in place: back it up"), "{told:?}");
    let denied = Stream { deny_delete: true, ..Stream::default() };
    assert_eq!(changes(&Stream::default(), &denied), ["deny_delete: false -> true  (for ever)"]);
    assert!(changes(&denied, &Stream::default())[0].contains("not in place"));
}

#[test]
fn what_newer_servers_change_in_place_older_ones_do_not() {
    let (few, many) = (Stream { max_consumers: 5, ..Stream::default() }, Stream::default());
    let effect = |from: &Stream, to: &Stream, version| {
        let told = of_stream(&stream("A", to), &stream("A", from), version);
        told.into_iter().map(|change| change.effect).max().unwrap()
    };
    assert_eq!(effect(&few, &many, (2, 12, 4)), Effect::Impossible);
    assert_eq!(effect(&few, &many, (2, 12, 5)), Effect::Harmless);
    let mirror = Some(crate::topology::model::Source { name: "O".to_owned(), ..Default::default() });
    let mirror = Stream { mirror, ..Stream::default() };
    assert_eq!(effect(&mirror, &many, (2, 11, 17)), Effect::Impossible);
    assert_eq!(effect(&mirror, &many, (2, 12, 0)), Effect::Destructive);
    assert_eq!(effect(&many, &mirror, (2, 15, 1)), Effect::Impossible);
    let ttl = Stream { allow_msg_ttl: true, ..Stream::default() };
    assert_eq!(effect(&many, &ttl, (2, 11, 1)), Effect::Impossible);
    assert_eq!(effect(&many, &ttl, (2, 11, 2)), Effect::Harmless);
}

#[test]
fn subjects_that_come_are_harmless_and_those_that_go_are_not() {
    let of = |list: &[&str]| Stream {
        subjects: list.iter().map(|subject| (*subject).to_owned()).collect(),
        ..Stream::default()
    };
    assert_eq!(changes(&of(&["a"]), &of(&["b", "a"])), ["subjects: a -> a b"]);
    assert!(changes(&of(&["a", "b"]), &of(&["a"]))[0].contains("destructive"));
    assert_eq!(changes(&of(&["a.x"]), &of(&["a.>"])), ["subjects: a.x -> a.>"]);
}

#[test]
fn what_makes_a_full_stream_or_an_idle_consumer_lose_is_destructive() {
    let new = Stream { discard: Discard::New, ..Stream::default() };
    assert!(changes(&new, &Stream::default())[0].contains("destructive: a full stream removes"));
    let map = |mut value: Value| {
        value["durable_name"] = "c".into();
        value.as_object().cloned().unwrap()
    };
    let of = |from: Value, to: Value, retention| of_consumer(&map(to), &map(from), retention)[0].effect;
    let (none, minute) = (json!({}), json!({"inactive_threshold": 60_000_000_000_u64}));
    assert_eq!(of(none.clone(), minute.clone(), Retention::Limits), Effect::Destructive);
    assert_eq!(of(minute, none.clone(), Retention::Limits), Effect::Harmless);
    let (wide, narrow) = (json!({"filter_subject": "a.>"}), json!({"filter_subject": "a.x"}));
    assert_eq!(of(wide.clone(), narrow.clone(), Retention::Limits), Effect::Harmless);
    assert_eq!(of(wide.clone(), narrow.clone(), Retention::Interest), Effect::Destructive);
    assert_eq!(of(none, narrow.clone(), Retention::Interest), Effect::Destructive);
    assert_eq!(of(narrow, wide, Retention::Interest), Effect::Harmless);
}

#[test]
fn a_consumer_keeps_what_the_server_does_not_change() {
    let map = |value: Value| value.as_object().cloned().unwrap();
    let found = map(json!({"ack_policy": "explicit", "ack_wait": 30_000_000_000_u64, "deliver_policy": "all"}));
    let wanted = map(json!({"ack_policy": "all", "ack_wait": 60_000_000_000_u64, "deliver_policy": "all"}));
    let told = of_consumer(&wanted, &found, Retention::Limits);
    assert_eq!((told[0].key, told[0].effect), ("ack_policy", Effect::Impossible));
    assert_eq!((told[1].to_string().as_str(), told[1].effect), ("ack_wait: 30s -> 1m", Effect::Harmless));
    let push = map(json!({"deliver_subject": "d"}));
    assert_eq!(of_consumer(&push, &map(json!({})), Retention::Limits)[0].effect, Effect::Impossible);
}
