//! Which work needs which rights, as subjects: what each kind of work does on the wire, and nothing else.
//!
//! Rights of a user are those of its work and what it names beside it. It does no IO.

use std::collections::BTreeSet;
use std::fmt;

use super::model::{AckPolicy, Bucket, Stream, Topology, User};
use super::subject::overlaps;

/// Something that a user does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Publishes what the stream takes in.
    Publish(String),
    /// Reads the ends of what is stored, to go on behind them: a publisher of data-manager does.
    Resume(String),
    /// Reads a stream by a durable consumer that is there already, and acknowledges.
    Consume(String, String),
    /// Reads a stream by consumers of its own that nothing remembers, and single messages.
    Read(String),
    /// Reads and watches a bucket.
    KvRead(String),
    /// Puts and deletes keys of a bucket.
    KvWrite(String),
    /// Looks at everything and changes nothing.
    Monitor,
    /// Makes, changes and deletes streams, buckets and consumers; reads all of them.
    Admin,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Subjects that it may publish on.
    pub publish: BTreeSet<String>,
    /// Of these, subjects that it may not: what they would let it do to the consumers of others.
    pub deny_publish: BTreeSet<String>,
    /// Subjects that it may subscribe to.
    pub subscribe: BTreeSet<String>,
}

impl Work {
    /// As it is written in a file.
    ///
    /// # Errors
    /// What is wrong with it, and what would do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (verb, object, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
        let all = "publish STREAM, resume STREAM, consume STREAM/CONSUMER, read STREAM, kv-read BUCKET, kv-write BUCKET, \
                   monitor and admin are";
        let unknown = || format!("{text:?} is no work; {all}");
        if rest.is_some() {
            return Err(unknown());
        }
        let object = object.map(str::to_owned);
        Ok(match (verb, object) {
            ("monitor", None) => Self::Monitor,
            ("admin", None) => Self::Admin,
            ("publish", Some(stream)) => Self::Publish(stream),
            ("resume", Some(stream)) => Self::Resume(stream),
            ("read", Some(stream)) => Self::Read(stream),
            ("kv-read", Some(bucket)) => Self::KvRead(bucket),
            ("kv-write", Some(bucket)) => Self::KvWrite(bucket),
            ("consume", Some(both)) => match both.split_once('/') {
                Some((stream, consumer)) => Self::Consume(stream.to_owned(), consumer.to_owned()),
                None => return Err(format!("{text:?} names no consumer; write consume {both}/CONSUMER")),
            },
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(stream) => write!(f, "publish {stream}"),
            Self::Resume(stream) => write!(f, "resume {stream}"),
            Self::Consume(stream, consumer) => write!(f, "consume {stream}/{consumer}"),
            Self::Read(stream) => write!(f, "read {stream}"),
            Self::KvRead(bucket) => write!(f, "kv-read {bucket}"),
            Self::KvWrite(bucket) => write!(f, "kv-write {bucket}"),
            Self::Monitor => f.write_str("monitor"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

/// The rights of a user, whole; work that names what is not declared gives none.
#[must_use]
pub fn of_user(name: &str, user: &User, topology: &Topology) -> Rights {
    let mut rights = Rights::default();
    let all: Vec<Work> = user.work.iter().filter_map(|text| Work::parse(text).ok()).collect();
    for work in &all {
        if let Ok(more) = of(work, topology) {
            rights.publish.extend(more.publish);
            rights.subscribe.extend(more.subscribe);
        }
    }
    // A denial is stronger than any right.
    if !all.contains(&Work::Admin) {
        rights.deny_publish = foreign(&all, topology);
        rights.deny_publish.retain(|denied| !user.publish.iter().any(|right| overlaps(right, denied)));
    }
    if !user.work.is_empty() || !user.publish.is_empty() {
        // Replies, and nobody else's.
        rights.subscribe.insert(format!("{}.>", user.inbox(name)));
    }
    rights.publish.extend(user.publish.iter().cloned());
    rights.subscribe.extend(user.subscribe.iter().cloned());
    rights
}

/// What one kind of work needs, beside a reply inbox.
///
/// # Errors
/// The stream, consumer or bucket is not declared.
pub fn of(work: &Work, topology: &Topology) -> Result<Rights, String> {
    let stream = |name: &str| {
        let there = topology.streams.get(name).filter(|stream| !stream.absent);
        there.ok_or_else(|| format!("no stream {name} is declared{}", known(topology.streams.keys())))
    };
    let bucket = |name: &str| match topology.buckets.get(name) {
        Some(bucket) if !bucket.absent => Ok(Bucket::stream_name(name)),
        _ => Err(format!("no bucket {name} is declared{}", known(topology.buckets.keys()))),
    };
    let mut rights = Rights::default();
    match work {
        Work::Publish(name) => {
            rights.publish.extend(stream(name)?.subjects.iter().cloned());
        }
        Work::Resume(name) => {
            stream(name)?;
            rights.api(&[format!("STREAM.INFO.{name}"), format!("STREAM.MSG.GET.{name}")]);
        }
        Work::Consume(name, consumer) => rights.consume(name, consumer, stream(name)?)?,
        Work::Read(name) => {
            rights.read(name, stream(name)?.allow_direct);
            rights.api(&[format!("STREAM.MSG.GET.{name}"), format!("CONSUMER.MSG.NEXT.{name}.*")]);
        }
        Work::KvRead(name) => rights.read(&bucket(name)?, true),
        Work::KvWrite(name) => {
            let of = bucket(name)?;
            rights.publish.insert(format!("$KV.{name}.>"));
            rights.api(&[format!("STREAM.INFO.{of}")]);
        }
        Work::Monitor => {
            let looks = ["INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.*", "CONSUMER.NAMES.*", "CONSUMER.LIST.*"];
            rights.api(&looks.map(str::to_owned));
            rights.api(&["CONSUMER.INFO.*.*".to_owned()]);
            rights.subscribe.extend(["$JS.EVENT.ADVISORY.>".to_owned(), "$JS.EVENT.METRIC.>".to_owned()]);
        }
        Work::Admin => {
            // What is stored is not its own to add to or to acknowledge: that is the work of others.
            for subject in ["$JS.API.>", "$JS.FC.>", "$JS.SNAPSHOT.>"] {
                rights.publish.insert(subject.to_owned());
            }
            rights.subscribe.insert("$JS.EVENT.ADVISORY.>".to_owned());
        }
    }
    Ok(rights)
}

impl Rights {
    fn api(&mut self, calls: &[String]) {
        self.publish.extend(calls.iter().map(|call| format!("$JS.API.{call}")));
    }

    fn read(&mut self, stream: &str, is_direct: bool) {
        if is_direct {
            // Single messages, from any copy: by sequence, and the last of a subject.
            self.api(&[format!("DIRECT.GET.{stream}"), format!("DIRECT.GET.{stream}.>")]);
        }
        self.api(&[
            format!("STREAM.INFO.{stream}"),
            // The server names what is made here, some clients what is made below.
            format!("CONSUMER.CREATE.{stream}"),
            format!("CONSUMER.CREATE.{stream}.>"),
            format!("CONSUMER.INFO.{stream}.*"),
            format!("CONSUMER.DELETE.{stream}.*"),
        ]);
        self.publish.extend(flow(stream, "*"));
    }

    fn consume(&mut self, name: &str, consumer: &str, stream: &Stream) -> Result<(), String> {
        let declared = stream.consumers.get(consumer).filter(|consumer| !consumer.absent).ok_or_else(|| {
            format!("stream {name} declares no consumer {consumer}{}", known(stream.consumers.keys()))
        })?;
        self.api(&[format!("CONSUMER.INFO.{name}.{consumer}")]);
        match &declared.push {
            Some(push) => {
                let group = &push.deliver_group;
                let queue = if group.is_empty() { String::new() } else { format!(" {group}") };
                self.subscribe.insert(format!("{}{queue}", push.deliver_subject));
                if push.flow_control {
                    self.publish.extend(flow(name, consumer));
                }
            }
            None => self.api(&[format!("CONSUMER.MSG.NEXT.{name}.{consumer}")]),
        }
        if declared.ack != AckPolicy::None {
            // The second form has domain and account in front, as newer servers may send it. Its tail is counted
            // out: with a shorter one it would be the first form for the consumers of everybody.
            self.publish.insert(format!("$JS.ACK.{name}.{consumer}.>"));
            self.publish.insert(format!("$JS.ACK.*.*.{name}.{consumer}.*.*.*.*.>"));
        }
        Ok(())
    }
}

/// Where a client says that it has room again, in both forms.
fn flow(stream: &str, consumer: &str) -> [String; 2] {
    [format!("$JS.FC.{stream}.{consumer}.*"), format!("$JS.FC.*.*.{stream}.{consumer}.*")]
}

/// What a user that makes consumers of its own on a stream could do to those that are declared there: to ask for one by
/// the name of another in the body changes that one, so it has to stand in the subject.
fn foreign(all: &[Work], topology: &Topology) -> BTreeSet<String> {
    let mut denied = BTreeSet::new();
    let read = all.iter().filter_map(|work| match work {
        Work::Read(name) => topology.streams.get(name).map(|stream| (name, stream)),
        _ => None,
    });
    for (name, stream) in read {
        for (consumer, _) in stream.consumers.iter().filter(|(_, declared)| !declared.absent) {
            let call = |verb: &str, rest: &str| format!("$JS.API.CONSUMER.{verb}.{name}.{consumer}{rest}");
            denied.insert(format!("$JS.API.CONSUMER.CREATE.{name}"));
            denied.extend([call("CREATE", ""), call("CREATE", ".>"), call("DELETE", "")]);
            if !all.contains(&Work::Consume(name.clone(), consumer.clone())) {
                denied.insert(call("MSG.NEXT", ""));
                denied.extend(flow(name, consumer));
            }
        }
    }
    denied
}

fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::load::parse;

    #[test]
    fn work_is_read_as_it_is_written() {
        for text in ["publish S", "resume S", "consume S/c", "read S", "kv-read b", "kv-write b", "monitor", "admin"] {
            assert_eq!(Work::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "publish", "monitor all", "consume S", "publish S T", "Publish S"] {
            assert!(Work::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_publisher_may_publish_and_read_its_own_replies() {
        let text = "[streams.S]\nsubjects = [\"s.>\"]\n[users.p]\npassword_env = \"P\"\nwork = [\"publish S\"]\n";
        let topology = parse(std::path::Path::new("t"), text).unwrap();
        let rights = of_user("p", &topology.users["p"], &topology);
        assert_eq!(rights.publish.into_iter().collect::<Vec<_>>(), ["s.>"]);
        assert_eq!(rights.subscribe.into_iter().collect::<Vec<_>>(), ["_INBOX_p.>"]);
    }

    #[test]
    fn who_reads_leaves_declared_consumers_to_those_who_consume() {
        let text = "[streams.S]\nsubjects = [\"s.>\"]\n[streams.S.consumers.c]\n[streams.S.consumers.d]\n\
                    [users.r]\npassword_env = \"R\"\nwork = [\"read S\"]\n\
                    [users.b]\npassword_env = \"B\"\nwork = [\"read S\", \"consume S/c\"]\n\
                    [users.a]\npassword_env = \"A\"\nwork = [\"read S\", \"admin\"]\n";
        let topology = parse(std::path::Path::new("t"), text).unwrap();
        let denied = |name: &str| of_user(name, &topology.users[name], &topology).deny_publish;
        let next = |consumer: &str| format!("$JS.API.CONSUMER.MSG.NEXT.S.{consumer}");
        assert!(denied("r").contains("$JS.API.CONSUMER.CREATE.S"), "the body could name c");
        assert!(denied("r").contains(&next("c")) && denied("r").contains("$JS.API.CONSUMER.DELETE.S.c"));
        assert!(!denied("b").contains(&next("c")) && denied("b").contains(&next("d")));
        assert!(denied("b").contains("$JS.API.CONSUMER.CREATE.S.c.>"));
        assert!(denied("a").is_empty());
    }

    #[test]
    fn what_is_not_declared_is_told_with_what_is() {
        let topology = parse(std::path::Path::new("t"), "[streams.S]\nsubjects = [\"s\"]\n").unwrap();
        let told = of(&Work::parse("read T").unwrap(), &topology).unwrap_err();
        assert_eq!(told, "no stream T is declared; there are S");
        let told = of(&Work::parse("consume S/c").unwrap(), &topology).unwrap_err();
        assert_eq!(told, "stream S declares no consumer c");
    }
}
