//! Who of several instances publishes: a lease in a KV bucket, renewed by its holder, taken over when it is not.
//!
//! Nobody's wall clock is asked: whoever stands by watches the entry's revision by its own monotonic clock, and takes
//! over by a write that names the revision it saw, so that one of several wins. A holder that could not renew stops
//! by itself before anybody may take over. That keeps instances from taking turns; it is not what keeps the stream
//! right: each publish names the sequence that it must follow, so the server itself refuses a displaced writer; a
//! late message of it that fits all the same is found when the stream is read, and what it came before is declared.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_nats::Event;
use async_nats::jetstream::{self, kv};
use tokio::sync::watch;

use super::connect::{self, Chain};
use super::declared;
use super::kv::cure;
use crate::config::settings::{Manage, Nats};
use crate::market::subject::key_token;
use crate::telemetry::clock;
use crate::topology::model::Bucket;

/// The part of its term after which a holder that could not renew no longer publishes.
const OWN: (u32, u32) = (2, 3);

/// A connection to the bucket, within that.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// One question of that, and its answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A server that refuses the bucket is asked again after so long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// What it may take to give a lease up: a server that hangs must not hold the end up.
const GIVE_UP: Duration = Duration::from_secs(1);

/// How often a lease is renewed, or looked at, in a term.
const LOOKS: u32 = 5;

/// What the lease's entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) revision: u64,
    /// Empty: given up by its last holder.
    pub(super) holder: String,
}

impl Entry {
    fn name(&self) -> &str {
        name_of(&self.holder)
    }
}

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Look at it.
    Read,
    /// Make it, if it is not there.
    Create,
    /// Renew it, or take it over, if it still has this revision.
    Update(u64),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It says this; `None`: there is none.
    Read(Option<Entry>),
    /// It is ours, at this revision.
    Ours(u64),
    /// Somebody else was faster.
    Conflict,
    /// Nothing is known.
    Failed(String),
}

/// The lease as one instance sees it. Pure.
#[derive(Debug)]
pub(super) struct Lease {
    term: Duration,
    /// What we write: our name, and what no other instance writes, even if it was given the same name.
    me: String,
    /// The revision of our own last write, and until when it counts.
    ours: Option<(u64, Instant)>,
    /// Another's entry, and since when it has stood unchanged.
    theirs: Option<(Entry, Instant)>,
    missing: bool,
    /// The last revision that we know of, however long ago.
    seen: Option<u64>,
    /// Whether `theirs` was written while we looked: its holder lives.
    is_renewed: bool,
    /// Another instance of our name renews it.
    has_namesake: bool,
    /// When to do something next.
    due: Instant,
}

impl Lease {
    pub(super) const fn new(me: String, term: Duration, now: Instant) -> Self {
        let (ours, theirs, seen, is_renewed, has_namesake) = (None, None, None, false, false);
        Self { term, me, ours, theirs, missing: false, seen, is_renewed, has_namesake, due: now }
    }

    /// Whether we publish.
    pub(super) fn leads(&self, now: Instant) -> bool {
        self.ours.is_some_and(|(_, until)| now < until)
    }

    /// Until when we publish, if we do.
    pub(super) fn until(&self) -> Option<Instant> {
        self.ours.map(|(_, until)| until)
    }

    /// Who publishes instead of us, as far as we know.
    pub(super) fn holder(&self) -> Option<&str> {
        self.theirs.as_ref().map(|(entry, _)| entry.name()).filter(|holder| !holder.is_empty())
    }

    /// Who publishes instead of us, where that is known to live: what the dead have left stays as it is.
    pub(super) fn leader(&self) -> Option<&str> {
        self.holder().filter(|_| self.is_renewed)
    }

    /// Whether another instance was given the same name, and lives.
    pub(super) const fn has_namesake(&self) -> bool {
        self.has_namesake
    }

    /// What to do next, and when.
    pub(super) fn next(&self, now: Instant) -> (Op, Instant) {
        match (&self.ours, &self.theirs) {
            (Some((revision, _)), _) => (Op::Update(*revision), self.due),
            (None, Some((entry, since))) if self.is_free(entry) || now >= *since + self.term => {
                (Op::Update(entry.revision), now)
            }
            (None, None) if self.missing => (Op::Create, self.due),
            _ => (Op::Read, self.due),
        }
    }

    fn is_free(&self, entry: &Entry) -> bool {
        entry.holder.is_empty() || entry.holder == self.me
    }

    /// What came of the last thing that was done; `sent` is when it was begun.
    pub(super) fn done(&mut self, sent: Instant, now: Instant, done: &Done) {
        self.due = now.max(sent + self.term / LOOKS);
        match done {
            Done::Ours(revision) => {
                self.ours = Some((*revision, sent + self.term * OWN.0 / OWN.1));
                self.theirs = None;
                self.missing = false;
                self.seen = Some(*revision);
            }
            Done::Conflict => {
                self.ours = None;
                self.theirs = None;
                self.missing = false;
                self.due = now;
            }
            Done::Read(Some(entry)) => {
                self.missing = false;
                let known = self.theirs.as_ref().map(|(known, _)| known.revision);
                if known != Some(entry.revision) {
                    self.is_renewed = self.seen.replace(entry.revision).is_some_and(|seen| seen != entry.revision);
                    // A former life of ours may have left an entry, and does not renew it.
                    let is_our_name = entry.holder != self.me && entry.name() == name_of(&self.me);
                    self.has_namesake |= self.is_renewed && is_our_name;
                    self.theirs = Some((entry.clone(), now));
                }
            }
            Done::Read(None) => {
                self.missing = true;
                self.theirs = None;
                self.due = now;
            }
            // What we hold counts until its time; another's silence cannot be told from our own deafness.
            Done::Failed(_) => {
                self.theirs = None;
                if !self.leads(now) {
                    self.ours = None;
                }
            }
        }
    }
}

/// Carries out what a lease wants, on a connection of its own.
pub(super) struct Keeper {
    pub(super) lease: Lease,
    settings: std::rc::Rc<Nats>,
    store: Option<kv::Store>,
    step: Option<Step>,
    /// What the server has said last of any connection.
    said: watch::Sender<String>,
    /// How long a server that refuses is left alone.
    pause: Duration,
}

type Step = Pin<Box<dyn Future<Output = Stepped>>>;

/// What came of a step.
struct Stepped {
    sent: Instant,
    store: Option<kv::Store>,
    done: Done,
    /// The server is there and does not let us have the bucket: asking again soon changes nothing.
    refused: bool,
}

impl Stepped {
    fn failed(why: impl Into<String>, refused: bool) -> Self {
        Self { sent: clock::now(), store: None, done: Done::Failed(why.into()), refused }
    }
}

impl Keeper {
    pub(super) fn new(settings: std::rc::Rc<Nats>) -> Self {
        let pair = &settings.pair;
        let me = match pair.id.as_str() {
            "" => format!("{}-{}-{:08x}", host(), std::process::id(), fastrand::u32(..)),
            id => format!("{id} {:08x}", fastrand::u32(..)),
        };
        let lease = Lease::new(me, pair.lease.duration(), clock::now());
        Self { lease, settings, store: None, step: None, said: watch::Sender::default(), pause: Duration::ZERO }
    }

    /// Waits until something was done about the lease, and takes note of it.
    pub(super) async fn next(&mut self) -> Done {
        let step = self.step.get_or_insert_with(|| {
            let now = clock::now();
            let (op, at) = self.lease.next(now);
            // What is ours is fought for.
            let at = if self.lease.leads(now) { at } else { at.max(now + self.pause) };
            let (settings, me, store) = (std::rc::Rc::clone(&self.settings), self.lease.me.clone(), self.store.take());
            let said = self.said.clone();
            Box::pin(async move {
                tokio::time::sleep_until(at.into()).await;
                let heard = said.subscribe();
                tokio::select! {
                    biased;
                    done = carry_out(&settings, store, me, op, said) => done,
                    why = denied(&settings.pair.bucket, heard) => Stepped::failed(why, true),
                }
            })
        });
        let Stepped { sent, store, done, refused } = step.as_mut().await;
        self.step = None;
        self.store = store;
        self.pause = if refused { (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX) } else { Duration::ZERO };
        self.lease.done(sent, clock::now(), &done);
        done
    }

    /// Gives the lease up, if it is ours, so that another need not wait for its end.
    pub(super) async fn give_up(mut self) {
        let within = self.lease.term.min(GIVE_UP);
        let given_up = async {
            // What is under way changes the revision that we have to name.
            if self.step.is_some() {
                self.next().await;
            }
            if let (Some(store), Some((revision, _))) = (self.store, self.lease.ours) {
                let _ = store.update(key(&self.settings), bytes::Bytes::new(), revision).await;
            }
        };
        // Whoever stands by finds out by itself, only later.
        let _ = tokio::time::timeout(within, given_up).await;
    }
}

async fn carry_out(
    settings: &Nats,
    store: Option<kv::Store>,
    me: String,
    op: Op,
    said: watch::Sender<String>,
) -> Stepped {
    // A connection takes its time, which is none of the lease's.
    let store = match store {
        Some(store) => store,
        None => match tokio::time::timeout(OPEN_TIMEOUT, open(settings, said)).await {
            Ok(Ok(store)) => store,
            Ok(Err((why, refused))) => return Stepped::failed(why, refused),
            Err(_) => return Stepped::failed("the lease cannot be had: no connection", false),
        },
    };
    let sent = clock::now();
    // A connection that does not answer is not worth a second question.
    match tokio::time::timeout(settings.pair.lease.duration() / 2, ask(&store, &key(settings), me, op)).await {
        Ok(Ok(done)) => Stepped { sent, store: Some(store), done, refused: false },
        Ok(Err(why)) => Stepped { sent, ..Stepped::failed(why, false) },
        Err(_) => Stepped { sent, ..Stepped::failed("the lease cannot be had: no answer", false) },
    }
}

/// What the server says of rights that are missing: what is not permitted gets no other answer.
async fn denied(bucket: &str, mut heard: watch::Receiver<String>) -> String {
    while heard.changed().await.is_ok() {
        let words = heard.borrow_and_update().clone();
        if let Some(cure) = cure(bucket, &words) {
            return format!("bucket {bucket} of the lease: the server says: {words}; {cure}");
        }
    }
    std::future::pending().await
}

async fn ask(store: &kv::Store, key: &str, me: String, op: Op) -> Result<Done, String> {
    match op {
        Op::Read => {
            let entry = store.entry(key).await.map_err(|error| Chain(&error).to_string())?;
            let of = |entry: kv::Entry| match entry.operation {
                kv::Operation::Put => {
                    Some(Entry { revision: entry.revision, holder: String::from_utf8_lossy(&entry.value).into_owned() })
                }
                kv::Operation::Delete | kv::Operation::Purge => None,
            };
            Ok(Done::Read(entry.and_then(of)))
        }
        Op::Create => match store.create(key, me.into()).await {
            Ok(revision) => Ok(Done::Ours(revision)),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(Done::Conflict),
            Err(error) => Err(Chain(&error).to_string()),
        },
        Op::Update(revision) => match store.update(key, me.into(), revision).await {
            Ok(revision) => Ok(Done::Ours(revision)),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(Done::Conflict),
            Err(error) => Err(Chain(&error).to_string()),
        },
    }
}

/// The bucket; else why not, and whether it was the server that refused.
async fn open(settings: &Nats, said: watch::Sender<String>) -> Result<kv::Store, (String, bool)> {
    let tell = move |event| {
        if let Event::ServerError(error) = event {
            said.send_replace(error.to_string());
        }
    };
    let client = connect::dial_with(settings, tell).await.map_err(|error| (error.to_string(), false))?;
    let mut context = jetstream::new(client);
    context.set_timeout(TIMEOUT);
    let bucket = &settings.pair.bucket;
    let store = context.get_key_value(bucket).await;
    match store {
        Ok(store) => Ok(store),
        Err(error) if settings.jetstream.manage != Manage::Create => {
            Err((format!("bucket {bucket} of the lease: {}", Chain(&error)), true))
        }
        Err(_) => {
            let wanted = self::bucket(settings).as_stream(bucket);
            let made = context.create_stream(declared::config(&Bucket::stream_name(bucket), &wanted)).await;
            let cannot = |error| (format!("bucket {bucket} of the lease cannot be made: {error}"), true);
            made.map_err(|error| cannot(Chain(&error).to_string()))?;
            let store = context.get_key_value(bucket).await;
            store.map_err(|error| (format!("bucket {bucket} of the lease: {}", Chain(&error)), true))
        }
    }
}

/// The bucket of the lease.
pub(super) fn bucket(settings: &Nats) -> Bucket {
    Bucket {
        description: "who of several data-managers publishes".to_owned(),
        storage: declared::storage(settings.jetstream.storage),
        replicas: declared::copies(settings),
        ..Bucket::default()
    }
}

/// The name of whoever has written this: what stands before its last space, which no name of our own making has.
fn name_of(holder: &str) -> &str {
    holder.rsplit_once(' ').map_or(holder, |(name, _)| name)
}

/// One lease a stream. A stream's name may have characters that a key may not.
fn key(settings: &Nats) -> String {
    format!("leader.{}", key_token(&settings.jetstream.stream_name))
}

/// This machine's name, of letters, digits and dashes.
pub(super) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}
