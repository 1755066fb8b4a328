//! One KV bucket: looked at and put to, with what is told of its trouble.

use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use super::puts::Puts;
use crate::feed::backoff::Backoff;
use crate::telemetry::clock;
use crate::transport::nats::kv::{Answer, Answered, Found, KvError, Looked, Role, Store};

/// Between two attempts after a failure, shortest and longest: somebody may have mended it.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Between two looks while the streams are not there.
const EARLY: Duration = Duration::from_secs(1);

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
    /// The log was told that somebody else writes our entries.
    told_shared: bool,
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
            told_shared: false,
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

    /// Looks at it where that is due, and creates it where `may_create`. Says whether it was found just now; `None`:
    /// nothing is to be put yet.
    pub(super) async fn look(&mut self, store: &mut Store, may_create: bool) -> Result<Option<bool>, KvError> {
        // Somebody may remove a bucket, or a server that keeps it in memory may start anew behind another one.
        let every = Puts::new(Role::Status.ttl()).refresh();
        let now = clock::now();
        if self.looked.is_some_and(|at| now < at + every) {
            return Ok(Some(false));
        }
        let is_found = match store.look(self.role, may_create).await? {
            Looked::Found(found) => {
                self.found(found);
                true
            }
            Looked::Early => {
                self.early();
                return Ok(None);
            }
            Looked::Unasked => false,
        };
        self.looked = Some(now);
        Ok(Some(is_found))
    }

    /// Puts what is due; `is_found` says that it was found just now.
    pub(super) async fn put(&mut self, store: &mut Store, fenced: bool, is_found: bool) -> Result<(), KvError> {
        let puts = self.puts.due(clock::now(), fenced);
        let answers = if puts.is_empty() { Vec::new() } else { store.put(self.role, puts).await? };
        self.settle(is_found, answers)
    }

    /// What some puts came to. One entry that is refused is no trouble of the others; the bucket fails where none is
    /// taken.
    fn settle(&mut self, is_found: bool, answers: Vec<Answered>) -> Result<(), KvError> {
        let now = clock::now();
        let (mut is_taken, mut is_shared, mut refused) = (false, false, None);
        for (key, answer) in answers {
            match answer {
                Ok(answer) => {
                    is_taken = true;
                    is_shared |= self.puts.answered(&key, now, answer);
                    self.done += u64::from(answer != Answer::Stale);
                }
                Err(error) => {
                    self.puts.refused(&key, now);
                    refused = refused.or(Some(error));
                }
            }
        }
        if is_shared {
            self.share();
        }
        match refused {
            Some(error) if !error.is_of_entry() || self.puts.stored(now) == 0 => return Err(error),
            Some(error) => {
                self.open = true;
                self.trouble(&error);
            }
            None if (is_found || is_taken) && !self.puts.has_refused() => self.well(),
            None => self.open |= is_taken,
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

    /// Somebody else writes entries that are ours. Of a pair, whoever no longer publishes puts nothing again: it is
    /// none of the pair.
    fn share(&mut self) {
        if !std::mem::replace(&mut self.told_shared, true) {
            let bucket = self.role.as_str();
            tracing::warn!(
                bucket,
                "somebody else writes the same entries of the KV bucket: give each daemon, or pair, with the same \
                 exchanges buckets of its own (transport.nats.kv.{bucket}_bucket)"
            );
        }
    }

    /// Takes note of how the bucket was found.
    fn found(&mut self, found: Found) {
        let role = self.role.as_str();
        if found.created_now {
            tracing::info!(bucket = role, "KV bucket created");
        }
        // Where entries live longer than we ask for they are put again as often all the same: somebody watches.
        let life = Some(found.max_age).filter(|age| !age.is_zero());
        self.puts.live_for(life.unwrap_or(Duration::MAX).min(self.role.ttl()));
        let before = self.found.as_ref();
        if before.is_some_and(|before| before.created_ns != found.created_ns) || found.last_seq < self.puts.last() {
            self.puts.anew();
        } else if found.messages < u64::try_from(self.puts.stored(clock::now())).unwrap_or(u64::MAX) {
            tracing::info!(bucket = role, "entries of the KV bucket are gone, and are put again");
            self.puts.again();
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
        self.trouble(error);
    }

    /// Tells what is wrong.
    fn trouble(&mut self, error: &KvError) {
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
    fn an_entry_that_is_refused_is_told_and_keeps_no_other_one_waiting() {
        let mut bucket = Bucket::new(Role::Status);
        let now = clock::now();
        ["a", "b"].into_iter().for_each(|key| bucket.puts.want(key.to_owned(), "1".into()));
        let refused = || {
            let (bucket, key) = ("b".to_owned(), "a".to_owned());
            Err(KvError::Refused { bucket, key, reason: "message size exceeds maximum allowed".to_owned() })
        };
        assert_eq!(bucket.puts.due(now, false).len(), 2);
        let answers = vec![("a".to_owned(), refused()), ("b".to_owned(), Ok(Answer::Stored(1)))];
        bucket.settle(true, answers).unwrap();
        assert!(bucket.open && bucket.due <= clock::now(), "the other one was taken");
        assert!(bucket.last_error.contains("entry a:"), "{}", bucket.last_error);
        bucket.settle(false, vec![("a".to_owned(), refused())]).unwrap();
        bucket.settle(true, Vec::new()).unwrap();
        assert!(bucket.open && bucket.told.is_some() && bucket.failures == 2, "it is told until it is taken");
        bucket.settle(false, vec![("a".to_owned(), Ok(Answer::Stored(2)))]).unwrap();
        assert!(bucket.last_error.is_empty() && bucket.told.is_none());
        let mut alone = Bucket::new(Role::Status);
        alone.puts.want("a".to_owned(), "1".into());
        assert_eq!(alone.puts.due(now, false).len(), 1);
        assert!(alone.settle(true, vec![("a".to_owned(), refused())]).is_err(), "nothing is taken");
        alone.settle(true, Vec::new()).unwrap();
        assert!(!alone.open);
    }

    #[test]
    fn a_bucket_is_kept_as_it_was_found() {
        let mut bucket = Bucket::new(Role::Status);
        let now = clock::now();
        bucket.puts.want("k".to_owned(), "a".into());
        bucket.puts.due(now, false);
        bucket.puts.answered("k", now, Answer::Stored(1));
        let max_age = Duration::from_secs(60);
        let (created_ns, differences) = (1, Vec::new());
        let found = Found { created_now: false, created_ns, last_seq: 1, messages: 1, max_age, differences };
        bucket.found(found.clone());
        assert_eq!(bucket.puts.refresh(), max_age / 3, "entries live shorter than they are to");
        assert_eq!(bucket.puts.due(now + Duration::from_secs(2), false), []);
        bucket.found(Found { messages: 0, max_age: Duration::ZERO, ..found });
        assert_eq!(bucket.puts.refresh(), Role::Status.ttl() / 3, "they live for ever");
        assert_eq!(bucket.puts.due(now + Duration::from_secs(2), false).len(), 1, "somebody has removed it");
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
