//! Rights against subjects, both ways: what may be published is stored somewhere, and what is stored may be published
//! by somebody.

use super::{Finding, Severity};
use crate::topology::load::Declared;
use crate::topology::{rights, subject};

/// What stands at the head of subjects that no stream is meant to take in.
const OWN: [char; 2] = ['$', '_'];

pub(super) fn judge(declared: &Declared) -> Vec<Finding> {
    if declared.topology.users.is_empty() {
        return Vec::new();
    }
    let mut findings = published(declared);
    findings.extend(stored(declared));
    findings
}

/// Subjects that a user may publish on, and no stream takes in.
fn published(declared: &Declared) -> Vec<Finding> {
    let topology = &declared.topology;
    let taken: Vec<&String> = topology
        .streams
        .values()
        .filter(|stream| !stream.absent)
        .flat_map(|stream| {
            let republished = stream.republish.iter().map(|republish| &republish.dest);
            stream.subjects.iter().chain(republished)
        })
        .collect();
    let mut findings = Vec::new();
    for (name, user) in &topology.users {
        let place = declared.place(&format!("users.{name}.publish"));
        for wanted in user.publish.iter().filter(|subject| !subject.starts_with(OWN)) {
            if taken.iter().any(|taken| subject::covers(taken, wanted)) {
                continue;
            }
            let partly: Vec<&str> =
                taken.iter().filter(|taken| subject::overlaps(taken, wanted)).map(|taken| taken.as_str()).collect();
            let (severity, message) = if partly.is_empty() {
                (Severity::Critical, format!("{wanted} is taken in by no stream: what is published there is lost"))
            } else {
                let text = format!("of {wanted} only {} is taken in by a stream", partly.join(" and "));
                (Severity::Warning, text)
            };
            let cure = "narrow the right, or give a stream the subject";
            findings.push(Finding::new(severity, "rights", place.clone(), message, cure));
        }
    }
    findings
}

/// Subjects that a stream takes in, and nobody may publish on.
fn stored(declared: &Declared) -> Vec<Finding> {
    let topology = &declared.topology;
    let all: Vec<(&String, rights::Rights)> =
        topology.users.iter().map(|(name, user)| (name, rights::of_user(name, user, topology))).collect();
    let republished: Vec<&str> =
        topology.streams.values().filter_map(|stream| Some(stream.republish.as_ref()?.dest.as_str())).collect();
    let may = |subject: &str| {
        republished.iter().any(|dest| subject::overlaps(dest, subject))
            || all.iter().any(|(name, rights)| {
                let denied = topology.users.get(*name).map(|user| &user.deny_publish);
                let is_denied = denied.into_iter().flatten().any(|denied| subject::covers(denied, subject));
                !is_denied && rights.publish.iter().any(|right| subject::overlaps(right, subject))
            })
    };
    let mut findings = Vec::new();
    let mut judge = |place: String, subject: &str| {
        if !may(subject) {
            let message =
                format!("nobody has the right to publish on {subject}: nothing will ever be stored from there");
            let cure = "give a user the work that publishes it, or take the subject away";
            findings.push(Finding::new(Severity::Critical, "rights", place, message, cure));
        }
    };
    for (name, stream) in topology.streams.iter().filter(|(_, stream)| !stream.absent) {
        let place = declared.place(&format!("streams.{name}.subjects"));
        stream.subjects.iter().for_each(|subject| judge(place.clone(), subject));
    }
    for name in topology.buckets.iter().filter(|(_, bucket)| !bucket.absent).map(|(name, _)| name) {
        judge(declared.place(&format!("buckets.{name}")), &format!("$KV.{name}.>"));
    }
    findings
}
