//! A declaration held against itself.

use super::retention::{self, Load};
use super::{Finding, Severity, rights};
use crate::config::Bytes;
use crate::topology::load::Declared;
use crate::topology::model::{Storage, Stream};

/// Everything that can be criticised without a server.
#[must_use]
pub fn of_files(declared: &Declared) -> Vec<Finding> {
    let mut findings = rights::judge(declared);
    for (name, stream) in declared.topology.streams.iter().filter(|(_, stream)| !stream.absent) {
        let place = declared.place(&format!("streams.{name}"));
        let load = Load { rate: stream.expected_rate, message_bytes: stream.message_bytes.get() as f64, subjects: 0 };
        findings.extend(retention::judge(&place, stream, load, "expected"));
    }
    findings.extend(rooms(declared));
    findings
}

/// The declared bounds against the server's store, and against what the account may take.
fn rooms(declared: &Declared) -> Vec<Finding> {
    let topology = &declared.topology;
    let server = &topology.server;
    let mut findings = Vec::new();
    let mut judge = |place: &str, key: &str, storage: Storage, room: Bytes| {
        // The copies of a stream are on several servers, and all of them count for the account.
        let with_copies = place != "server";
        findings.extend(room_for(declared, &format!("{}.{key}", declared.place(place)), storage, room, with_copies));
    };
    judge("server", "max_file_store", Storage::File, server.max_file_store);
    judge("server", "max_memory_store", Storage::Memory, server.max_memory_store);
    // Where there are several accounts, the files do not say which one their streams are in.
    let mut plain = topology.accounts.iter().filter(|(_, account)| !account.system);
    if let (Some((name, account)), None) = (plain.next(), plain.next()) {
        judge(&format!("accounts.{name}"), "limits.max_file", Storage::File, account.limits.max_file);
        judge(&format!("accounts.{name}"), "limits.max_memory", Storage::Memory, account.limits.max_memory);
    }
    findings
}

/// Whether what is declared of a kind fits into this room; zero: the room is not known.
fn room_for(declared: &Declared, place: &str, storage: Storage, room: Bytes, with_copies: bool) -> Vec<Finding> {
    if room.get() == 0 {
        return Vec::new();
    }
    let word = match storage {
        Storage::File => "on disk",
        Storage::Memory => "in memory",
    };
    let topology = &declared.topology;
    let buckets = topology.buckets.iter().map(|(name, bucket)| (format!("bucket {name}"), bucket.as_stream(name)));
    let streams = topology.streams.iter().map(|(name, stream)| (format!("stream {name}"), stream.clone()));
    let all: Vec<(String, Stream)> =
        streams.chain(buckets).filter(|(_, one)| !one.absent && one.storage == storage).collect();
    let copies = |stream: &Stream| if with_copies { u64::from(stream.replicas.max(1)) } else { 1 };
    let bounds = all.iter().map(|(_, stream)| stream.max_bytes.get().saturating_mul(copies(stream)));
    let sum = bounds.fold(0_u64, u64::saturating_add);
    let and = if all.iter().any(|(_, stream)| copies(stream) > 1) { " with their copies" } else { "" };
    let mut findings = Vec::new();
    if sum > room.get() {
        let message = format!(
            "the streams {word} may take {} together{and}, and there is room for {room}: a full store refuses everybody",
            Bytes::from(sum),
        );
        let cure = "lower max_bytes, or make more room";
        findings.push(Finding::new(Severity::Critical, "store", place, message, cure));
    }
    let open: Vec<&str> =
        all.iter().filter(|(_, stream)| stream.max_bytes.get() == 0).map(|(name, _)| name.as_str()).collect();
    if !open.is_empty() {
        let has = if open.len() == 1 { "has" } else { "have" };
        let message = format!("{} {has} no max_bytes: it can fill the {room} {word} alone", open.join(", "));
        findings.push(Finding::new(Severity::Warning, "store", place, message, "set max_bytes"));
    }
    findings
}
