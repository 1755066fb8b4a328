//! What is wrong with a declaration, found without a server: names, subjects, ranges, keys that exclude each other.
//!
//! Everything at once, each with its place and the cure. Whether a server has room for it is for the audit.

mod consumers;
mod streams;
mod users;

use std::fmt;

use super::load::Declared;
use super::model::{Bucket, Stream};
use super::subject;

/// Copies that a server allows.
const REPLICAS_MAX: u8 = 5;

/// Every problem of a declaration, one line each: where it is, what is wrong, what would do.
#[must_use]
pub fn problems(declared: &Declared) -> Vec<String> {
    let mut check = Check { declared, place: String::new(), problems: Vec::new() };
    for (name, stream) in &declared.topology.streams {
        check.at(format!("streams.{name}"));
        check.name(name);
        if !stream.absent {
            streams::check(&mut check, name, stream);
        }
    }
    for (name, bucket) in &declared.topology.buckets {
        check.at(format!("buckets.{name}"));
        check.twin(name);
        if !bucket.absent {
            check.bucket(name, bucket);
        }
    }
    users::check(&mut check);
    check.problems
}

/// Collects problems of one thing after the other.
struct Check<'a> {
    declared: &'a Declared,
    place: String,
    problems: Vec<String>,
}

impl Check<'_> {
    fn at(&mut self, place: String) {
        self.place = self.declared.place(&place);
    }

    /// `key` may be empty where the thing itself is wrong.
    fn refuse(&mut self, key: &str, message: impl fmt::Display) {
        let dot = if key.is_empty() { "" } else { "." };
        self.problems.push(format!("{}{dot}{key}: {message}", self.place));
    }

    fn range<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        if value < least || value > most {
            self.refuse(key, format!("{value} is not within {least}..={most}"));
        }
    }

    fn subject(&mut self, key: &str, subject: &str) {
        if let Err(error) = subject::check(subject) {
            self.refuse(key, error);
        }
    }

    /// A subject without wildcards.
    fn literal(&mut self, key: &str, subject: &str) {
        self.subject(key, subject);
        if subject.split('.').any(|token| token == "*" || token == ">") {
            self.refuse(key, format!("{subject:?} has a wildcard; name one subject"));
        }
    }

    /// Subjects of which none may be on another one's.
    fn disjoint(&mut self, key: &str, subjects: &[String], why: &str) {
        for (index, one) in subjects.iter().enumerate() {
            self.subject(key, one);
            for other in subjects.iter().skip(index + 1) {
                if subject::overlaps(one, other) {
                    self.refuse(key, format!("{one} and {other} overlap; {why}"));
                }
            }
        }
    }

    /// A stream's or consumer's name: it is a token of the API's subjects, and a directory.
    fn name(&mut self, name: &str) {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
        if name.is_empty() || name.len() > 255 || name.contains(is_bad) {
            let text = "a name has 1 to 255 characters, and no white space, dots, slashes, `*` or `>`";
            self.refuse("", format!("{name:?} is no name: {text}"));
        }
    }

    /// A bucket is a stream too; one of the two may be there and the other one absent.
    fn twin(&mut self, name: &str) {
        if self.declared.topology.streams.contains_key(&Bucket::stream_name(name)) {
            self.refuse("", format!("streams.KV_{name} is the same thing; declare it as a bucket only"));
        }
    }

    fn bucket(&mut self, name: &str, bucket: &Bucket) {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_good) {
            self.refuse("", format!("{name:?} is no bucket: letters, digits, `_` and `-` make its name"));
        }
        self.range("history", bucket.history, 1, 64);
        self.range("replicas", bucket.replicas, 1, REPLICAS_MAX);
        streams::ages(self, &bucket.as_stream(name));
    }

    /// Whether a stream, or the stream of a bucket, is declared.
    fn stream(&self, name: &str) -> Option<&Stream> {
        self.declared.topology.streams.get(name).filter(|stream| !stream.absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::load::parse;

    fn told(text: &str) -> Vec<String> {
        problems(&parse(std::path::Path::new("t.toml"), text).unwrap().into())
    }

    /// The text has this one problem, at this place.
    fn refused(text: &str, expected: &str) {
        let told = told(text);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{text}\n{told:#?}\nexpected: {expected}");
    }

    #[test]
    fn a_sound_declaration_has_no_problem() {
        let text = r#"
[accounts.A]
[users.p]
password_env = "P"
work = ["publish S", "kv-write b", "resume S"]
[users.c]
password_env = "C"
work = ["consume S/c", "kv-read b", "read S", "monitor"]
[streams.S]
subjects = ["s.*.trades", "s.*.gaps"]
max_age = "1h"
max_bytes_per_subject = "1MiB"
message_bytes = "160B"
[streams.S.consumers.c]
filters = ["s.*.trades"]
backoff = ["1s", "5s"]
max_deliver = 3
[buckets.b]
history = 5
"#;
        assert_eq!(told(text), [""; 0]);
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        for (text, expected) in [
            ("[streams.\"a b\"]\nsubjects = [\"a\"]", "streams.a b: \"a b\" is no name"),
            ("[streams.A]", "streams.A.subjects: is empty"),
            ("[streams.A]\nsubjects = [\"a..b\"]", "streams.A.subjects: \"a..b\" has an empty token"),
            ("[streams.A]\nsubjects = [\"a.*\", \"a.b\"]", "streams.A.subjects: a.* and a.b overlap"),
            ("[streams.A]\nsubjects = [\"a\"]\nreplicas = 6", "streams.A.replicas: 6 is not within 1..=5"),
            (
                "[streams.A]\nsubjects = [\"a\"]\nmax_age = \"1m\"\nduplicate_window = \"2m\"",
                "streams.A.duplicate_window: 2m is longer than max_age = 1m",
            ),
            (
                "[streams.A]\nsubjects = [\"a\"]\nmax_bytes_per_subject = \"1MiB\"",
                "streams.A.max_bytes_per_subject: needs message_bytes",
            ),
            ("[streams.A]\nmirror = { name = \"A\" }", "streams.A.mirror: a stream is no copy of itself"),
            ("[streams.A]\nsubjects = [\"a\"]\nmirror = { name = \"B\" }", "streams.A.subjects: a mirror has none"),
            (
                "[streams.A]\nsubjects = [\"a.>\"]\nrepublish = { src = \"a.>\", dest = \"a.b.>\" }",
                "streams.A.republish: a.b.> comes back into the stream",
            ),
            (
                "[streams.A]\nsubjects = [\"a\"]\nsubject_delete_marker_ttl = \"5s\"\nallow_msg_ttl = true\ndeny_purge = true",
                "streams.A.deny_purge: the server takes it away again",
            ),
            (
                "[streams.KV_b]\nsubjects = [\"$KV.b.>\"]\n[buckets.b]\nabsent = true",
                "buckets.b: streams.KV_b is the same thing",
            ),
            ("[streams.A]\nsubjects = [\"$JS.EVENT.>\", \"$JS.API.x\"]", "streams.A.subjects: $JS.API.x takes in what"),
            ("[streams.A]\nsubjects = [\"$SYS.*.x\"]", "streams.A.subjects: $SYS.*.x takes in what the server says"),
            ("[users.user]\npassword_env = \"user\"", "users.user.password_env: \"user\" is a key of the block"),
            ("[accounts.A]\n[users.u]\npassword_env = \"A\"", "users.u.password_env: \"A\" is a key of the block"),
            (
                "[server]\nstore_dir = \"/d\"\nsync_interval = \"500us\"",
                "server.sync_interval: 500us is shorter than 1ms",
            ),
            ("[streams.A]\nsubjects = [\">\"]", "streams.A.subjects: > takes in what the server says to itself"),
            (
                "[streams.A]\nsubjects = [\"a\"]\npersist_mode = \"async\"\nstorage = \"memory\"",
                "streams.A.persist_mode: \"async\" is for a stream on disk",
            ),
            ("[server]\nmax_file_store = \"1GiB\"", "server.store_dir: is needed with limits of the store"),
            (
                "[users.a]\npassword_env = \"A\"\n[users.\"a.b\"]\npassword_env = \"B\"",
                "users.a.b.inbox_prefix: a has _INBOX_a, and one of them is part of the other",
            ),
            ("[users.u]\npassword_env = \"P\"\npublish = [\"a q\"]", "users.u.publish: \"a q\" has white space"),
            ("[buckets.\"a.b\"]", "buckets.a.b: \"a.b\" is no bucket"),
            ("[buckets.a]\nhistory = 65", "buckets.a.history: 65 is not within 1..=64"),
            ("[users.u]", "users.u: has neither password_env nor nkey"),
            (
                "[users.u]\npassword_env = \"p w\"",
                "users.u.password_env: \"p w\" is no name of an environment variable",
            ),
            ("[users.u]\npassword_env = \"P\"\nwork = [\"fly\"]", "users.u.work: \"fly\" is no work"),
            ("[users.u]\npassword_env = \"P\"\nwork = [\"publish X\"]", "users.u.work: \"publish X\": no stream X"),
            ("[users.u]\npassword_env = \"P\"\naccount = \"X\"", "users.u.account: no account X is declared"),
        ] {
            refused(text, expected);
        }
    }

    #[test]
    fn consumers_are_held_against_their_stream() {
        let head = "[streams.A]\nsubjects = [\"a.>\"]\n";
        for (text, expected) in [
            ("filters = [\"b\"]", "streams.A.consumers.c.filters: nothing that A takes in is on b"),
            ("filters = [\"a.b\", \"a.*\"]", "streams.A.consumers.c.filters: a.b and a.* overlap"),
            ("start_sequence = 5", "streams.A.consumers.c.start_sequence: needs deliver = \"by_start_sequence\""),
            ("deliver = \"by_start_time\"", "streams.A.consumers.c.start_time: deliver = \"by_start_time\" needs it"),
            (
                "backoff = [\"1s\", \"2s\", \"3s\"]\nmax_deliver = 2",
                "streams.A.consumers.c.max_deliver: 2 is less than the 3",
            ),
            (
                "ack = \"none\"\nmax_deliver = 2",
                "streams.A.consumers.c.max_deliver: ack = \"none\" acknowledges nothing",
            ),
            ("push = { deliver_subject = \"a.x\" }", "streams.A.consumers.c.push.deliver_subject: a.x comes back"),
            ("push = { deliver_subject = \"d\", flow_control = true }", "streams.A.consumers.c.push.idle_heartbeat"),
            (
                "push = { deliver_subject = \"d\" }\nmax_waiting = 5",
                "streams.A.consumers.c.max_waiting: is for a consumer",
            ),
        ] {
            refused(&format!("{head}[streams.A.consumers.c]\n{text}"), expected);
        }
        let queue = "[streams.Q]\nsubjects = [\"q.>\"]\nretention = \"work_queue\"\n";
        refused(
            &format!(
                "{queue}[streams.Q.consumers.a]\nfilters = [\"q.*\"]\n[streams.Q.consumers.b]\nfilters = [\"q.x\"]"
            ),
            "streams.Q.consumers: a (q.*) and b (q.x) would take the same messages of a work queue",
        );
        refused(
            &format!("{queue}[streams.Q.consumers.a]\nack = \"none\""),
            "streams.Q.consumers.a.ack: a work queue needs",
        );
    }
}
