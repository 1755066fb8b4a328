//! No right is there for nothing: with any one of them gone, its work cannot be done whole, on one server at least.
//!
//! Each right is taken from a user of its own, who then tries; the server has to deny exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use data_manager::topology::load::parse;
use data_manager::topology::model::Topology;
use data_manager::topology::rights::{self, Rights, Work};
use futures_util::future::join_all;

use crate::kit::{Ground, VERSIONS, text};
use crate::work::{MANY, whole};

const STREAMS: &str = r#"
[streams.S]
subjects = ["s.a.*", "s.b"]
allow_direct = true

[streams.S.consumers.pull]
[streams.S.consumers.group]
push = { deliver_subject = "pushed.group", deliver_group = "members" }
[streams.S.consumers.flow]
push = { deliver_subject = "pushed.flow", flow_control = true, idle_heartbeat = "5s" }
[streams.S.consumers.silent]
ack = "none"

# Nobody has consumers here but readers.
[streams.R]
subjects = ["r.a.*", "r.b"]
allow_direct = true

[buckets.b]
history = 2

[users.everything]
password_env = "EVERYTHING"
work = ["admin"]
publish = [">"]
"#;

const WORKS: [&str; 11] = [
    "publish S",
    "resume S",
    "consume S/pull",
    "consume S/group",
    "consume S/flow",
    "consume S/silent",
    "read R",
    "kv-read b",
    "kv-write b",
    "monitor",
    "admin",
];

/// What this client does without, and why it stays.
const OTHERS: [(&str, &str, &str); 3] = [
    ("kv-read b", "$JS.API.CONSUMER.CREATE.KV_b.>", "clients in Go name their watchers"),
    ("kv-read b", "$JS.API.CONSUMER.DELETE.KV_b.*", "clients in Go remove a watcher that is stopped"),
    ("kv-read b", "$JS.API.CONSUMER.INFO.KV_b.*", "nats-py asks how much a watcher is to bring"),
];

/// Servers from 2.14 on can be told to put domain and account into the subjects of acknowledgements.
const SECOND_FORM: &str = "feature_flags { js_ack_fc_v2: true }";

/// A user that has these rights but for one.
struct Variant {
    name: String,
    work: Work,
    without: String,
    rights: Rights,
}

fn variants(topology: &Topology) -> Vec<Variant> {
    let mut all = Vec::new();
    for work in WORKS {
        let work = Work::parse(work).unwrap();
        let whole = rights::of(&work, topology).unwrap();
        let rights = whole.publish.iter().map(|right| (right, true));
        for (right, publishes) in rights.chain(whole.subscribe.iter().map(|right| (right, false))) {
            let mut less = whole.clone();
            if publishes {
                less.publish.remove(right)
            } else {
                less.subscribe.remove(right)
            };
            // Where nothing else is left it may still publish something, for its inbox to be there.
            less.publish.insert("nowhere".to_owned());
            all.push(Variant {
                name: format!("v{}", all.len()),
                work: work.clone(),
                without: right.clone(),
                rights: less,
            });
        }
    }
    all
}

fn declared(variants: &[Variant]) -> String {
    let mut text = STREAMS.to_owned();
    for Variant { name, rights: Rights { publish, subscribe, .. }, .. } in variants {
        let _ = write!(
            text,
            "[users.{name}]\npassword_env = \"V\"\npublish = {:?}\nsubscribe = {:?}\n",
            publish.iter().collect::<Vec<_>>(),
            subscribe.iter().collect::<Vec<_>>()
        );
    }
    text
}

async fn fill(ground: &Ground) {
    let js = ground.user("everything").await.js();
    for at in 0..MANY {
        for subject in [format!("r.{}", &subject(at)[2..]), subject(at), format!("$KV.b.key{at}")] {
            js.publish(subject, payload()).await.unwrap().await.unwrap();
        }
    }
}

/// Of [`MANY`] of these the server does not send all before it asks whether there is room.
fn payload() -> Bytes {
    vec![0; 8 << 10].into()
}

fn subject(at: usize) -> String {
    if at.is_multiple_of(2) { format!("s.a.{at}") } else { "s.b".to_owned() }
}

/// Brings more without end: what a consumer has brought to one of the users it does not bring to the next.
async fn flow(ground: &Ground) {
    let user = ground.user("everything").await;
    for at in 0.. {
        user.client.publish(subject(at % MANY), payload()).await.unwrap();
        if at.is_multiple_of(10) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn takes_in(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), subject.split('.').collect());
    for (at, token) in pattern.iter().enumerate() {
        match (*token, subject.get(at)) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == *other => {}
            _ => return false,
        }
    }
    pattern.len() == subject.len()
}

/// The works that failed for want of a right, by right; other failures are the test's.
async fn missed(ground: &Ground, variants: &[Variant]) -> BTreeSet<(String, String)> {
    let all = join_all(variants.iter().map(|variant| async move {
        let user = ground.user(&variant.name).await;
        (variant, user.tries(whole(&user, &variant.work, &ground.topology)).await)
    }));
    let tried = tokio::select! {
        tried = all => tried,
        () = flow(ground) => panic!("it has no end"),
    };
    let mut missed = BTreeSet::new();
    for (variant, result) in tried {
        let Err(error) = result else { continue };
        let denied = error.split('"').nth(1).unwrap_or_else(|| panic!("{}: {error}", variant.work));
        let (subject, queue) = (variant.without.split(' ').next().unwrap(), variant.without.split(' ').nth(1));
        assert!(
            takes_in(subject, denied) && queue.is_none_or(|queue| error.contains(queue)),
            "{} without {}: {error}",
            variant.work,
            variant.without
        );
        missed.insert((variant.work.to_string(), variant.without.clone()));
    }
    missed
}

#[tokio::test]
async fn each_right_is_needed() {
    let topology = parse("streams.toml".as_ref(), STREAMS).map_err(text).unwrap();
    let all = variants(&topology);
    let mut missed_at: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let last = VERSIONS[VERSIONS.len() - 1];
    for (version, config) in VERSIONS.into_iter().map(|version| (version, "")).chain([(last, SECOND_FORM)]) {
        let ground = Ground::text_with(&declared(&all), version, config, &[]);
        fill(&ground).await;
        for missed in missed(&ground, &all).await {
            missed_at.entry(missed).or_default().push(format!("{version} {config}"));
        }
    }
    let needed = |work: &str, right: &str| missed_at.contains_key(&(work.to_owned(), right.to_owned()));
    let stays = |work: &str, right: &str| OTHERS.iter().any(|(of, one, _)| work.starts_with(of) && *one == right);
    let needless: Vec<String> = all
        .iter()
        .map(|variant| (variant.work.to_string(), &variant.without))
        .filter(|(work, right)| !needed(work, right) && !stays(work, right))
        .map(|(work, right)| format!("{work}: {right}"))
        .collect();
    assert!(needless.is_empty(), "nothing was denied without these: {needless:#?}");
    for (work, right, why) in OTHERS {
        let is_needed = missed_at.keys().any(|(of, one)| of.starts_with(work) && one == right);
        assert!(!is_needed, "{work}: {right} is needed after all, not only because {why}");
    }
}
