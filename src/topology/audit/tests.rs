//! Audits without a server.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;
use crate::topology::load::{Declared, parse};
use crate::topology::plan::{Found, Plan};

fn declared(text: &str) -> Declared {
    parse(Path::new("t.toml"), text).unwrap().into()
}

fn told(text: &str) -> Vec<String> {
    of_files(&declared(text)).iter().map(ToString::to_string).collect()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[test]
fn a_million_messages_are_no_week() {
    let told = told(
        "[streams.T]\nsubjects = [\"t.>\"]\nmax_age = \"7days\"\nmax_msgs = 1000000\nmax_bytes = \"10GiB\"\n\
         expected_rate = 2000.0\nmessage_bytes = \"160B\"\n",
    );
    assert_eq!(
        told,
        ["WARNING  retention: streams.T: max_msgs = 1000000 keeps 8m 20s at the expected 2000 messages a second, not \
          the 7days of max_age; max_msgs = 1209600000 and max_bytes = 181GiB would keep 7days"]
    );
}

#[test]
fn rights_are_held_against_subjects_both_ways() {
    let told = told(
        "[streams.T]\nsubjects = [\"titan.data.venues.trades.v1.>\"]\n\
         [users.p]\npassword_env = \"P\"\npublish = [\"titan.data.market.>\"]\n",
    );
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with("CRITICAL rights: users.p.publish: titan.data.market.> is taken in by no stream"));
    assert!(told[1].starts_with("CRITICAL rights: streams.T.subjects: nobody has the right to publish on titan.data"));
}

#[test]
fn a_right_that_is_stored_in_part_is_told() {
    let told = told("[streams.T]\nsubjects = [\"a.b.>\"]\n[users.p]\npassword_env = \"P\"\npublish = [\"a.>\"]\n");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("WARNING  rights: users.p.publish: of a.> only a.b.> is taken in"), "{told:?}");
}

#[test]
fn what_is_declared_has_to_fit_into_the_store() {
    let told = told(
        "[server]\nmax_file_store = \"10GiB\"\n[streams.A]\nsubjects = [\"a\"]\nmax_bytes = \"8GiB\"\n\
         [streams.B]\nsubjects = [\"b\"]\nmax_bytes = \"4GiB\"\n[buckets.c]\n",
    );
    assert!(told[0].starts_with(
        "CRITICAL store: server.max_file_store: the streams on disk may take 12GiB together, and there is room for 10GiB"
    ));
    assert!(told[1].starts_with("WARNING  store: server.max_file_store: bucket c has no max_bytes"), "{told:#?}");
}

#[test]
fn copies_count_for_the_account_and_not_for_one_server() {
    let told = told(
        "[server]\nmax_file_store = \"10GiB\"\n[accounts.A.limits]\nmax_file = \"10GiB\"\n\
         [streams.A]\nsubjects = [\"a\"]\nmax_bytes = \"4GiB\"\nreplicas = 3\n",
    );
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with(
        "CRITICAL store: accounts.A.limits.max_file: the streams on disk may take 12GiB together with their copies, and \
         there is room for 10GiB"
    ));
}

#[test]
fn critical_is_worse_than_unknown() {
    let of = |severity| Finding::new(severity, "x", "y", "z", "");
    assert_eq!(worst(&[]), Severity::Ok);
    assert_eq!(worst(&[of(Severity::Warning), of(Severity::Unknown)]), Severity::Unknown);
    assert_eq!(worst(&[of(Severity::Unknown), of(Severity::Critical), of(Severity::Ok)]), Severity::Critical);
}

const LIMITS: Limits = Limits { lag_warning: 10, lag_critical: 100, silence: Duration::ZERO };

/// A server that has one stream with 2,000 messages of a second, and one consumer.
fn running(text: &str, config: Value, consumer: Value) -> Vec<Finding> {
    let declared = declared(text);
    let mut found = Found { version: (2, 15, 1), ..Found::default() };
    let state = json!({"messages": 2_000, "bytes": 400_000, "first_seq": 1, "last_seq": 2_000,
        "first_ts": "2026-01-31T08:00:00Z", "last_ts": "2026-01-31T08:00:01Z"});
    found.streams.insert("T".to_owned(), map(json!({"config": config, "state": state})));
    found.consumers.insert(("T".to_owned(), "c".to_owned()), map(consumer));
    let stood = std::iter::once(("T".to_owned(), "c".to_owned())).collect();
    let observed = Observed { now_ns: 1_769_846_402_000_000_000, stood, ..Observed::default() };
    let plan = Plan::default();
    of_server(&declared, &found, &plan, &observed, &LIMITS)
}

#[test]
fn the_observed_rate_decides_what_is_kept() {
    let text = "[streams.T]\nsubjects = [\"t.>\"]\nmax_age = \"7days\"\nmax_msgs = 1000000\n";
    let findings = running(text, json!({"num_replicas": 3}), json!({}));
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].message.starts_with("max_msgs = 1000000 keeps 8m 20s at the observed 2000 messages a second"));
}

#[test]
fn a_bound_of_each_subject_bounds_the_time_too() {
    let text = "[streams.T]\nsubjects = [\"t.>\"]\nmax_age = \"1h\"\nmax_msgs_per_subject = 100000\n";
    let judged = |subjects| {
        let declared = declared(text);
        let load = retention::Load { rate: 1_000.0, message_bytes: 0.0, subjects };
        retention::judge("T", &declared.topology.streams["T"], load, "observed").map(|finding| finding.message)
    };
    let told = judged(2).unwrap();
    assert!(told.starts_with("max_msgs_per_subject = 100000 for each of 2 subjects keeps 3m 20s at the observed 1000"));
    assert_eq!(judged(36), None);
}

#[test]
fn consumers_that_lag_or_stand_are_told() {
    let text = "[streams.T]\nsubjects = [\"t.>\"]\n";
    let of = |consumer| {
        let findings = running(text, json!({"num_replicas": 3}), consumer);
        findings.iter().map(|finding| (finding.severity, finding.check)).collect::<Vec<_>>()
    };
    assert_eq!(of(json!({"num_pending": 9})), []);
    assert_eq!(of(json!({"num_pending": 10})), [(Severity::Warning, "lag")]);
    assert_eq!(of(json!({"num_pending": 100})), [(Severity::Critical, "lag")]);
    let full = json!({"config": {"max_ack_pending": 5, "ack_policy": "explicit"}, "num_ack_pending": 5});
    assert_eq!(of(full), [(Severity::Critical, "stalled")]);
}

#[test]
fn a_bound_in_bytes_is_held_against_real_messages() {
    let text = "[streams.T]\nsubjects = [\"t.>\"]\nmax_bytes_per_subject = \"1MB\"\nmessage_bytes = \"50B\"\n";
    let findings = running(text, json!({"num_replicas": 3, "max_msgs_per_subject": 20_000}), json!({}));
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].message.contains("became 20000 messages, which are 3.8MiB at the 200 B"), "{findings:?}");
}

#[test]
fn one_copy_on_one_disk_is_worth_its_syncs() {
    let declared = declared("[streams.T]\nsubjects = [\"t.>\"]\n");
    let mut found = Found::default();
    found.streams.insert("T".to_owned(), map(json!({"config": {"num_replicas": 1, "storage": "file"}})));
    let of = |server: Option<Value>, cluster: Option<&str>| {
        let reach = Reach { cluster: cluster.map(str::to_owned), ..Reach::default() };
        let observed = Observed { server: server.map(map), reach, ..Observed::default() };
        let findings = of_server(&declared, &found, &Plan::default(), &observed, &LIMITS);
        findings.iter().map(|finding| (finding.severity, finding.check)).collect::<Vec<_>>()
    };
    assert_eq!(of(None, None), [(Severity::Ok, "sync")]);
    let minutes = json!({"config": {"sync_interval": 120_000_000_000_u64}});
    assert_eq!(of(Some(minutes.clone()), None), [(Severity::Warning, "sync")]);
    assert_eq!(of(Some(minutes), Some("c")), [(Severity::Warning, "replicas"), (Severity::Warning, "sync")]);
    assert_eq!(of(Some(json!({"config": {"sync_always": true}})), None), []);
}

#[test]
fn open_doors_off_loopback_are_told() {
    let observed = Observed {
        reach: Reach { remote: vec!["nats://10.0.0.1:4222".to_owned()], ..Reach::default() },
        ..Observed::default()
    };
    let findings = of_server(&Declared::default(), &Found::default(), &Plan::default(), &observed, &LIMITS);
    assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), ["tls", "auth"]);
}
