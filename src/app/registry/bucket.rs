//! One KV bucket: looked at and put to, with what is told of its trouble.

use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use super::puts::Puts;
use crate::feed::backoff::Backoff;
use crate::telemetry::clock;
use crate::transport::nats::kv::{Answer, Found, KvError, Looked, Role, Store};

/// Between two attempts after a failure, shortest and longest: somebody may have mended it.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Between two looks while the streams are not there.
const EARLY: Duration = Duration::from_secs(1);

/// So often somebody else must have written our entries before the log tells: entries may be removed by hand.
const SHARED: u32 = 2;

/// One bucket.
pub(super) struct Bucket {
    pub(super) role: Role,
    pub(super) puts: Puts,
    /// Whether it is there and takes what is put, as far as we know.
    pub(super) open: bool,
    /// When it was last looked at, on this connection.
    looked: Option<Instant>,
    /// What it was when it was last found.
    found: Option<Found>,
    pub(super) due: Instant,
    backoff: Backoff,
    /// What the log was told of its trouble.
    told: Option<Discriminant<KvError>>,
    /// How often somebody else had written our entries.
    shared: u32,
    pub(super) done: u64,
    pub(super) failures: u64,
    pub(super) last_error: String,
}

impl Bucket {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            puts: Puts::new(role.ttl()),
            open: false,
            looked: None,
            found: None,
            due: clock::now(),
            backoff: Backoff::new(AGAIN.0, AGAIN.1, clock::wall_ns()),
            told: None,
            shared: 0,
            done: 0,
            failures: 0,
            last_error: String::new(),
        }
    }

    /// A new connection: the server may be another one, and what was in memory gone.
    pub(super) fn begin(&mut self) {
        (self.open, self.looked) = (false, None);
        self.puts.again();
    }

    /// Looks at it where that is due, creates it where `may_create`, and puts what is due.
    pub(super) async fn write(&mut self, store: &mut Store, fenced: bool, may_create: bool) -> Result<(), KvError> {
        // Somebody may remove a bucket, or a server that keeps it in memory may start anew behind another one.
        let every = Puts::new(Role::Status.ttl()).refresh();
        let now = clock::now();
        let mut seen = false;
        if self.looked.is_none_or(|at| now >= at + every) {
            match store.look(self.role, may_create).await? {
                Looked::Found(found) => {
                    self.found(found);
                    seen = true;
                }
                Looked::Early => {
                    self.early();
                    return Ok(());
                }
                Looked::Unasked => {}
            }
            self.looked = Some(now);
        }
        let puts = self.puts.due(now, fenced);
        if !puts.is_empty() {
            let mut is_others = false;
            for (key, answer) in store.put(self.role, puts).await? {
                is_others |= self.puts.answered(&key, clock::now(), answer);
                self.done += u64::from(answer != Answer::Stale);
            }
            if is_others && !fenced {
                self.share();
            }
            seen = true;
        }
        if seen {
            self.well();
        }
        Ok(())
    }

    /// It is there, and has taken what was due: whatever was refused before is due until it is taken.
    fn well(&mut self) {
        self.open = true;
        self.last_error.clear();
        self.backoff.reset();
        if self.told.take().is_some() {
            tracing::info!(bucket = self.role.as_str(), "the KV bucket is written again");
        }
    }

    /// It is not there, and not to be created yet.
    fn early(&mut self) {
        self.open = false;
        self.due = clock::now() + EARLY;
        "it does not exist, and is created once every publisher has its stream".clone_into(&mut self.last_error);
    }

    /// Somebody else has written entries that are ours.
    fn share(&mut self) {
        self.shared = self.shared.saturating_add(1);
        if self.shared == SHARED {
            let bucket = self.role.as_str();
            tracing::warn!(
                bucket,
                "somebody else writes the same entries of the KV bucket: give each daemon with the same exchanges buckets \
                 of its own (transport.nats.kv.{bucket}_bucket)"
            );
        }
    }

    /// Takes note of how the bucket was found.
    fn found(&mut self, found: Found) {
        let role = self.role.as_str();
        if found.created_now {
            tracing::info!(bucket = role, "KV bucket created");
        }
        let before = self.found.as_ref();
        if before.is_some_and(|before| before.created_ns != found.created_ns) || found.last_seq < self.puts.last() {
            self.puts.anew();
        }
        if before.is_none_or(|before| before.differences != found.differences) {
            for difference in &found.differences {
                tracing::warn!(bucket = role, "the KV bucket is used as it is: {}", difference.as_found());
            }
        }
        self.found = Some(found);
    }

    pub(super) fn fail(&mut self, error: &KvError) {
        self.open = false;
        self.looked = None;
        self.puts.failed();
        self.due = clock::now() + self.backoff.wait();
        self.failures += 1;
        self.last_error = error.to_string();
        // A connection that breaks and cannot be had again is one trouble.
        let kind = discriminant(if matches!(error, KvError::Connect(_)) { &KvError::Lost } else { error });
        if self.told.replace(kind) != Some(kind) {
            tracing::warn!(bucket = self.role.as_str(), err = %error, "cannot write the KV bucket, trying again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> KvError {
        KvError::Failed { bucket: "b".to_owned(), what: "it cannot be looked at", reason: "timed out".to_owned() }
    }

    #[test]
    fn after_a_look_that_failed_a_good_one_is_enough() {
        let mut bucket = Bucket::new(Role::Instruments);
        let now = clock::now();
        bucket.puts.want("k".to_owned(), "a".into());
        assert_eq!(bucket.puts.due(now, false).len(), 1);
        bucket.puts.answered("k", now, Answer::Stored(1));
        bucket.well();
        bucket.fail(&refused());
        assert!(!bucket.open && !bucket.last_error.is_empty() && bucket.told.is_some() && bucket.looked.is_none());
        assert_eq!(bucket.puts.due(now + Duration::from_secs(2), false), [], "all of it was taken");
        bucket.well();
        assert!(bucket.open && bucket.last_error.is_empty() && bucket.told.is_none());
        assert_eq!(bucket.failures, 1);
    }

    #[test]
    fn what_was_not_taken_is_due_at_the_next_attempt() {
        let mut bucket = Bucket::new(Role::Status);
        let now = clock::now();
        bucket.puts.want("k".to_owned(), "a".into());
        assert_eq!(bucket.puts.due(now, true).len(), 1);
        bucket.fail(&refused());
        assert!(bucket.due > now && bucket.due <= clock::now() + AGAIN.0);
        assert_eq!(bucket.puts.due(now, true).len(), 1, "so nobody takes a good look for a good put");
        for _ in 0..20 {
            bucket.fail(&refused());
        }
        assert!(bucket.due <= clock::now() + AGAIN.1);
    }
}
