//! What nobody may do but those whose work it is, tried as each user of each example on each server.

use std::collections::BTreeSet;

use data_manager::topology::rights::Work;
use serde_json::json;

use crate::kit::{EXAMPLES, Ground, VERSIONS, example, password};
use crate::raw::{Raw, Try};
use crate::spec;

/// What this user is meant to be denied. What its file allows beside its work is no part of it.
fn forbidden(ground: &Ground, name: &str) -> BTreeSet<Try> {
    let (topology, user) = (&ground.topology, ground.declared(name));
    let works: Vec<Work> = user.work.iter().map(|text| Work::parse(text).unwrap()).collect();
    let (mut may, mut may_not) = (BTreeSet::new(), BTreeSet::new());
    for op in spec::all(topology) {
        let list = if works.iter().any(|work| spec::may(work, &op, topology)) { &mut may } else { &mut may_not };
        list.extend(op.tries);
    }
    for other in topology.users.keys().filter(|other| *other != name) {
        let inbox = topology.users[other].inbox(other);
        may_not.insert(Try::Subscribe(format!("{inbox}.>")));
        may_not.insert(Try::Subscribe(format!("{inbox}.any")));
        may_not.insert(Try::Publish(format!("{inbox}.any.1")));
    }
    // Two streams, or a stream and an explicit right, may share a subject.
    may_not.retain(|one| !may.contains(one) && !is_explicit(user, one));
    may_not
}

fn is_explicit(user: &data_manager::topology::model::User, one: &Try) -> bool {
    match one {
        Try::Publish(subject) => user.publish.contains(subject),
        Try::Subscribe(subject) => user.subscribe.contains(subject),
        Try::Queue(..) => false,
    }
}

fn nobody_does_more_than_its_work(version: &str) {
    for file in EXAMPLES {
        let ground = Ground::of(&example(file), version, "", &[]);
        let mut expected = Vec::new();
        for (name, user) in &ground.topology.users {
            let tries: Vec<Try> = forbidden(&ground, name).into_iter().collect();
            assert!(tries.len() > 30, "{file}, {name}: {} tries", tries.len());
            let credentials = json!({"user": name, "pass": password(&user.password_env)});
            let denied = Raw::open(&ground.server, &credentials).unwrap().denied(&tries);
            let done: Vec<&Try> = tries.iter().filter(|one| !denied.contains(one)).collect();
            assert!(done.is_empty(), "nats-server {version}, {file}: {name} may do {done:?}");
            expected.extend(tries.into_iter().map(|one| (name, one)));
        }
        let log = ground.server.log();
        let unsaid: Vec<_> = expected.iter().filter(|(name, one)| !one.is_logged(&log, name)).collect();
        assert!(unsaid.is_empty(), "nats-server {version}, {file}: its log does not say {unsaid:?}");
    }
}

#[test]
fn nobody_does_more_than_its_work_on_2_10() {
    nobody_does_more_than_its_work(VERSIONS[0]);
}

#[test]
fn nobody_does_more_than_its_work_on_2_12() {
    nobody_does_more_than_its_work(VERSIONS[1]);
}

#[test]
fn nobody_does_more_than_its_work_on_2_15() {
    nobody_does_more_than_its_work(VERSIONS[2]);
}
