//! What there is to be tried on a server, and which kind of work is meant to be able to do it: said in operations,
//! beside and independent of the subjects in which the rights are written.

use data_manager::topology::model::{Bucket, Consumer, Stream, Topology};
use data_manager::topology::rights::Work;

use crate::raw::Try;

/// Something that can be done to a stream, to a consumer, or to the whole account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Store,
    Hear,
    Info,
    Get,
    Direct,
    Change,
    Own,
    OwnInfo,
    Unnamed,
    OwnNext,
    OwnFlow,
    List,
    Look,
    Touch,
    Next,
    Ack,
    Flow,
    Delivered,
    Ungrouped,
    All,
    Advisories,
    System,
}

/// One operation, and what a client says to do it.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) tries: Vec<Try>,
}

/// A subject that a pattern takes in.
pub(crate) fn concrete(pattern: &str) -> String {
    pattern.split('.').map(|token| if matches!(token, "*" | ">") { "any" } else { token }).collect::<Vec<_>>().join(".")
}

/// The streams of a topology, those of its buckets among them.
pub(crate) fn streams(topology: &Topology) -> Vec<(String, Stream)> {
    let buckets = topology.buckets.iter().map(|(name, bucket)| (Bucket::stream_name(name), bucket.as_stream(name)));
    topology.streams.iter().map(|(name, stream)| (name.clone(), stream.clone())).chain(buckets).collect()
}

/// Everything that a client might try here.
pub(crate) fn all(topology: &Topology) -> Vec<Op> {
    let mut ops = account();
    for (name, stream) in streams(topology) {
        ops.extend(of_stream(&name, &stream));
        for (consumer, declared) in &stream.consumers {
            ops.extend(of_consumer(&name, consumer, declared));
        }
    }
    ops
}

fn api(calls: &[String]) -> Vec<Try> {
    calls.iter().map(|call| Try::Publish(format!("$JS.API.{call}"))).collect()
}

fn subscribe(subjects: &[&str]) -> Vec<Try> {
    subjects.iter().map(|subject| Try::Subscribe((*subject).to_owned())).collect()
}

fn account() -> Vec<Op> {
    let op = |kind, tries| Op { kind, stream: String::new(), consumer: String::new(), tries };
    let lists = ["INFO", "STREAM.NAMES", "STREAM.LIST"].map(str::to_owned);
    let wide = [">", "*", "*.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>", "_INBOX.>", "_INBOX.any"];
    let system = ["$SYS.>", "$SYS.ACCOUNT.*.CONNECT", "_R_.>", "$JS.SNAPSHOT.>", "$JS.EVENT.>"];
    let mut all = subscribe(&wide);
    all.extend(subscribe(&system));
    all.extend(["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "_INBOX.any.1"].map(|subject| {
        // Not even asking the server itself.
        Try::Publish(subject.to_owned())
    }));
    vec![
        op(Kind::All, api(&lists)),
        op(Kind::System, all),
        op(Kind::Change, api(&["STREAM.CREATE.NEW".to_owned(), "ACCOUNT.PURGE.DATA".to_owned()])),
        op(Kind::Advisories, subscribe(&["$JS.EVENT.ADVISORY.>"])),
    ]
}

fn of_stream(name: &str, stream: &Stream) -> Vec<Op> {
    let op = |kind, tries| Op { kind, stream: name.to_owned(), consumer: String::new(), tries };
    let subjects: Vec<String> = stream.subjects.iter().map(|subject| concrete(subject)).collect();
    let store = subjects.iter().cloned().map(Try::Publish).collect();
    let heard = stream.subjects.iter().chain(&subjects).cloned().map(Try::Subscribe).collect();
    let changes = ["CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN"];
    let mut changes: Vec<String> = changes.iter().map(|verb| format!("STREAM.{verb}.{name}")).collect();
    changes.push(format!("CONSUMER.DURABLE.CREATE.{name}.probe"));
    let mut direct = vec![format!("DIRECT.GET.{name}")];
    direct.extend(subjects.iter().map(|subject| format!("DIRECT.GET.{name}.{subject}")));
    let of = |verb: &str| format!("CONSUMER.{verb}.{name}.probe");
    let mut own = vec![of("CREATE"), of("DELETE")];
    own.extend(subjects.iter().map(|subject| format!("{}.{subject}", of("CREATE"))));
    let mut ops = vec![
        op(Kind::Hear, heard),
        op(Kind::Info, api(&[format!("STREAM.INFO.{name}")])),
        op(Kind::Get, api(&[format!("STREAM.MSG.GET.{name}")])),
        op(Kind::Direct, api(&direct)),
        op(Kind::Change, api(&changes)),
        op(Kind::Own, api(&own)),
        op(Kind::OwnInfo, api(&[of("INFO")])),
        op(Kind::Unnamed, api(&[format!("CONSUMER.CREATE.{name}")])),
        op(Kind::OwnNext, api(&[of("MSG.NEXT")])),
        op(Kind::OwnFlow, vec![Try::Publish(format!("$JS.FC.{name}.probe.any"))]),
        op(Kind::List, api(&["NAMES", "LIST"].map(|verb| format!("CONSUMER.{verb}.{name}")))),
    ];
    if !subjects.is_empty() {
        ops.push(op(Kind::Store, store));
    }
    ops
}

fn of_consumer(stream: &str, consumer: &str, declared: &Consumer) -> Vec<Op> {
    let op = |kind, tries| Op { kind, stream: stream.to_owned(), consumer: consumer.to_owned(), tries };
    let of = |verb: &str| format!("CONSUMER.{verb}.{stream}.{consumer}");
    let verbs = ["CREATE", "DURABLE.CREATE", "DELETE", "PAUSE", "RESET", "UNPIN", "LEADER.STEPDOWN"];
    let mut touch: Vec<String> = verbs.iter().map(|verb| of(verb)).collect();
    touch.extend(declared.filters.iter().map(|filter| format!("{}.{}", of("CREATE"), concrete(filter))));
    touch.push(format!("{}.any", of("CREATE")));
    let acks = [
        format!("$JS.ACK.{stream}.{consumer}.1.1.1.1700000000000000000.0"),
        format!("$JS.ACK.domain.hash.{stream}.{consumer}.1.1.1.1700000000000000000.0.token"),
    ];
    let flows = [format!("$JS.FC.{stream}.{consumer}.any"), format!("$JS.FC.domain.hash.{stream}.{consumer}.any")];
    let mut ops = vec![
        op(Kind::Look, api(&[of("INFO")])),
        op(Kind::Touch, api(&touch)),
        op(Kind::Next, api(&[of("MSG.NEXT")])),
        op(Kind::Ack, acks.map(Try::Publish).to_vec()),
        op(Kind::Flow, flows.map(Try::Publish).to_vec()),
        // What a client with a right in the one form of an acknowledgement could say in the other: the tail of this
        // one is read as the numbers of a message, and `+NXT` in it asks for the next.
        op(Kind::System, vec![Try::Publish(format!("$JS.ACK.any.any.{stream}.{consumer}.1.1.1"))]),
    ];
    if let Some(push) = &declared.push {
        let (subject, group) = (push.deliver_subject.clone(), push.deliver_group.clone());
        if group.is_empty() {
            ops.push(op(Kind::Delivered, vec![Try::Subscribe(subject)]));
        } else {
            ops.push(op(Kind::Delivered, vec![Try::Queue(subject.clone(), group)]));
            ops.push(op(Kind::Ungrouped, vec![Try::Subscribe(subject.clone())]));
            ops.push(op(Kind::Ungrouped, vec![Try::Queue(subject, "others".to_owned())]));
        }
    }
    ops
}

/// Whether this work is meant to be able to do it.
pub(crate) fn may(work: &Work, op: &Op, topology: &Topology) -> bool {
    let bucket = |name: &str| op.stream == Bucket::stream_name(name);
    match work {
        Work::Publish(stream) => op.stream == *stream && op.kind == Kind::Store,
        Work::Resume(stream) => op.stream == *stream && matches!(op.kind, Kind::Info | Kind::Get),
        Work::Consume(stream, consumer) => {
            let push = topology.streams[stream].consumers[consumer].push.as_ref();
            let brings = match op.kind {
                Kind::Next => push.is_none(),
                Kind::Flow => push.is_some_and(|push| push.flow_control),
                Kind::Delivered => push.is_some(),
                kind => matches!(kind, Kind::Look | Kind::Ack),
            };
            op.stream == *stream && op.consumer == *consumer && brings
        }
        Work::Read(stream) => {
            let direct = topology.streams[stream].allow_direct;
            let reads = match op.kind {
                Kind::Direct => direct,
                Kind::Unnamed => topology.streams[stream].consumers.is_empty(),
                kind => matches!(
                    kind,
                    Kind::Info | Kind::Get | Kind::Own | Kind::OwnInfo | Kind::OwnNext | Kind::OwnFlow | Kind::Look
                ),
            };
            op.stream == *stream && reads
        }
        Work::KvRead(name) => {
            bucket(name)
                && matches!(
                    op.kind,
                    Kind::Info | Kind::Direct | Kind::Own | Kind::Unnamed | Kind::OwnInfo | Kind::OwnFlow
                )
        }
        Work::KvWrite(name) => bucket(name) && matches!(op.kind, Kind::Store | Kind::Info),
        Work::Monitor => {
            matches!(op.kind, Kind::All | Kind::Info | Kind::OwnInfo | Kind::List | Kind::Look | Kind::Advisories)
        }
        Work::Admin => {
            !matches!(op.kind, Kind::Store | Kind::Hear | Kind::Ack | Kind::Delivered | Kind::Ungrouped | Kind::System)
        }
    }
}
