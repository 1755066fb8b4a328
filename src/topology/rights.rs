//! Which work needs which rights, as subjects: what each kind of work does on the wire, and nothing else.
//!
//! Rights of a user are those of its work and what it names beside it. It does no IO.

use std::collections::BTreeSet;
use std::fmt;

use super::model::{Bucket, Stream, Topology, User};

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
    for work in user.work.iter().filter_map(|text| Work::parse(text).ok()) {
        if let Ok(more) = of(&work, topology) {
            rights.publish.extend(more.publish);
            rights.subscribe.extend(more.subscribe);
        }
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
            rights.api(&[format!("STREAM.INFO.{name}")]);
        }
        Work::Resume(name) => {
            stream(name)?;
            rights.api(&[format!("STREAM.INFO.{name}"), format!("STREAM.MSG.GET.{name}")]);
        }
        Work::Consume(name, consumer) => rights.consume(name, consumer, stream(name)?)?,
        Work::Read(name) => {
            stream(name)?;
            rights.read(name);
        }
        Work::KvRead(name) => rights.read(&bucket(name)?),
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
            for subject in ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$JS.SNAPSHOT.>", "$KV.>"] {
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

    fn read(&mut self, stream: &str) {
        self.api(&[
            // Single messages, from any copy.
            format!("DIRECT.GET.{stream}"),
            format!("DIRECT.GET.{stream}.>"),
            format!("STREAM.INFO.{stream}"),
            format!("STREAM.MSG.GET.{stream}"),
            // With several filters a consumer without a name is made on a subject that ends here.
            format!("CONSUMER.CREATE.{stream}"),
            format!("CONSUMER.CREATE.{stream}.>"),
            format!("CONSUMER.INFO.{stream}.*"),
            format!("CONSUMER.DELETE.{stream}.*"),
            format!("CONSUMER.MSG.NEXT.{stream}.*"),
        ]);
        self.publish.insert(format!("$JS.FC.{stream}.>"));
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
                self.publish.insert(format!("$JS.FC.{name}.{consumer}.>"));
            }
            None => self.api(&[format!("CONSUMER.MSG.NEXT.{name}.{consumer}")]),
        }
        // The second form has domain and account in front, as newer servers may be told to send.
        self.publish.insert(format!("$JS.ACK.{name}.{consumer}.>"));
        self.publish.insert(format!("$JS.ACK.*.*.{name}.{consumer}.>"));
        Ok(())
    }
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
        assert_eq!(rights.publish.into_iter().collect::<Vec<_>>(), ["$JS.API.STREAM.INFO.S", "s.>"]);
        assert_eq!(rights.subscribe.into_iter().collect::<Vec<_>>(), ["_INBOX_p.>"]);
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
