//! No right is there for nothing: with any one of them gone its work cannot be done whole, on one server at least.
//!
//! Each right is taken from a user of its own, who then tries; the server has to deny exactly that.

use std::collections::BTreeSet;
use std::fmt::Write as _;

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

/// Consumers of `S` by their first letters, and what else is said of them. Each user that tries has one of its own.
const CONSUMERS: [(&str, &str); 4] = [
    ("pull", "max_deliver = 5"),
    ("group", "push = { deliver_subject = \"pushed.NAME\", deliver_group = \"members\" }"),
    ("flow", "push = { deliver_subject = \"pushed.NAME\", flow_control = true, idle_heartbeat = \"5s\" }"),
    ("silent", "ack = \"none\""),
];

/// As many as one kind of work has rights, and more.
const EACH: usize = 9;

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

/// A kind of work and a right of it.
type Key = (&'static str, String);

/// A user that has these rights but for one.
struct Variant {
    name: String,
    work: Work,
    /// The work and the right without the number of the consumer.
    key: Key,
    without: String,
    rights: Rights,
}

fn streams() -> String {
    let mut text = STREAMS.to_owned();
    for (letters, rest) in CONSUMERS {
        for name in (0..EACH).map(|number| format!("{letters}{number}")) {
            let _ = writeln!(text, "[streams.S.consumers.{name}]\n{}", rest.replace("NAME", &name));
        }
    }
    text
}

/// All rights of this work, and whether each is one to publish.
fn rights_of(work: &Work, topology: &Topology) -> (Rights, Vec<(String, bool)>) {
    let whole = rights::of(work, topology).unwrap();
    let publish = whole.publish.iter().map(|right| (right.clone(), true));
    let list = publish.chain(whole.subscribe.iter().map(|right| (right.clone(), false))).collect();
    (whole, list)
}

fn variants(topology: &Topology) -> Vec<Variant> {
    let mut all = Vec::new();
    for base in WORKS {
        let consumer = base.strip_prefix("consume S/");
        for number in 0.. {
            let own = consumer.map(|letters| format!("{letters}{number}"));
            let text = own.as_ref().map_or_else(|| base.to_owned(), |own| format!("consume S/{own}"));
            let work = Work::parse(&text).unwrap();
            let (mut rights, list) = rights_of(&work, topology);
            let Some((without, publishes)) = list.get(number).cloned() else { break };
            if publishes {
                rights.publish.remove(&without)
            } else {
                rights.subscribe.remove(&without)
            };
            // Where nothing else is left it may still publish something, for its inbox to be there.
            rights.publish.insert("nowhere".to_owned());
            let general = own.as_ref().map_or_else(|| without.clone(), |own| without.replace(own, consumer.unwrap()));
            all.push(Variant { name: format!("v{}", all.len()), work, key: (base, general), without, rights });
        }
    }
    all
}

fn declared(variants: &[Variant]) -> String {
    let mut text = streams();
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
async fn missed(ground: &Ground, variants: &[Variant]) -> BTreeSet<Key> {
    let tried = join_all(variants.iter().map(|variant| async move {
        let user = ground.user(&variant.name).await;
        (variant, user.tries(whole(&user, &variant.work, &ground.topology)).await)
    }));
    let mut missed = BTreeSet::new();
    for (variant, result) in tried.await {
        let Err(error) = result else { continue };
        let denied = error.split('"').nth(1).unwrap_or_else(|| panic!("{}: {error}", variant.work));
        let (subject, queue) = (variant.without.split(' ').next().unwrap(), variant.without.split(' ').nth(1));
        assert!(
            takes_in(subject, denied) && queue.is_none_or(|queue| error.contains(queue)),
            "{} without {}: {error}",
            variant.work,
            variant.without
        );
        missed.insert(variant.key.clone());
    }
    missed
}

#[tokio::test]
async fn each_right_is_needed() {
    let topology = parse("streams.toml".as_ref(), &streams()).map_err(text).unwrap();
    let all = variants(&topology);
    let mut needed = BTreeSet::new();
    let last = VERSIONS[VERSIONS.len() - 1];
    for (version, config) in VERSIONS.into_iter().map(|version| (version, "")).chain([(last, SECOND_FORM)]) {
        let ground = Ground::text_with(&declared(&all), version, config, &[]);
        fill(&ground).await;
        needed.extend(missed(&ground, &all).await);
    }
    let others: BTreeSet<Key> = OTHERS.iter().map(|(work, right, _)| (*work, (*right).to_owned())).collect();
    let needless: Vec<&Key> =
        all.iter().map(|variant| &variant.key).filter(|key| !needed.contains(*key) && !others.contains(*key)).collect();
    assert!(needless.is_empty(), "nothing was denied without these: {needless:#?}");
    let here: Vec<&Key> = others.intersection(&needed).collect();
    assert!(here.is_empty(), "these are needed here too: {here:#?}");
}
