//! The part of `topology restore` that needs a server: it asks what is there, sends, compares, and takes back what it
//! has begun where it does not come to its end.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::super::backup::told;
use super::{Args, expiry, is_before_2_15, is_set, overridden, plain, refuse_expired};
use crate::cli::Failure;
use crate::cli::progress::{Progress, waiting};
use crate::cli::signals::Stop;
use crate::config::settings::Nats;
use crate::transport::nats::snapshot::expect::{Expect, Expiry};
use crate::transport::nats::snapshot::{
    About, Backup, Layout, Left, Load, Session, SnapshotError, State, discard, forgotten, is_marked,
};

/// It is restored, and not as it was, or nobody knows.
const DIFFERS: u8 = 3;
/// Subjects of a stream that are looked up at most.
const SUBJECTS_MAX: usize = 64;
/// In a cluster consumers appear one after the other.
const SETTLE_TRIES: u32 = 10;
const SETTLE_PAUSE: Duration = Duration::from_millis(500);
/// How often a cluster is asked for a stream that it does not seem to have.
const SEEN_TRIES: usize = 3;

/// Restores a stream, or leaves nothing of it.
pub(super) async fn restore(args: &Args, nats: &Nats, backup: &Backup, stop: &mut Stop) -> Result<(), Failure> {
    let config = overridden(&backup.header.config, args);
    refuse_expired(&config, &backup.header.state, args)?;
    let mut work = Work { args, backup, config, session: None, load: None, restored: false };
    let done = tokio::select! {
        biased;
        () = stop.wait() => Err(None),
        done = work.run(nats) => done.map_err(Some),
    };
    match done {
        Ok(()) => Ok(()),
        Err(failure) => Err(work.undo(failure, stop).await),
    }
}

/// What is under way, so that it can be taken back from wherever it is.
struct Work<'a> {
    args: &'a Args,
    backup: &'a Backup,
    config: Value,
    session: Option<Session>,
    load: Option<Load>,
    restored: bool,
}

impl Work<'_> {
    async fn run(&mut self, nats: &Nats) -> Result<(), Failure> {
        let session = self.session.insert(Session::open(nats).await.map_err(Failure::failed)?);
        ready(session, self.args, self.backup, &self.config).await?;
        let (header, layout) = (&self.backup.header, self.backup.footer.content.layout);
        let load = Load::new(session, &header.stream, &self.config, layout).await.map_err(Failure::failed)?;
        let load = self.load.insert(load);
        waiting("waiting for the server", load.begin(session, &header.state)).await.map_err(Failure::failed)?;
        let state = send(session, load, self.backup).await.map_err(Failure::failed)?;
        self.restored = true;
        self.compare(state).await
    }

    /// Compares what the server reports with what the backup holds.
    async fn compare(&mut self, mut state: State) -> Result<(), Failure> {
        let Backup { header, footer, .. } = self.backup;
        let (stream, content) = (&header.stream, &footer.content);
        let mut expect = Expect::new(&header.state, &footer.after, content, Expiry::None);
        for _ in 0..SETTLE_TRIES {
            expect.expiry = expiry(&self.config, &header.state);
            if expect.differences(&state).is_empty() {
                break;
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
            if let Some(session) = &mut self.session
                && let Ok(Some(about)) = session.about(stream).await
            {
                state = about.state;
            }
        }
        let (differences, restored) = (expect.differences(&state), told(stream, &state, content));
        if !differences.is_empty() {
            let moved = header.state != footer.after && content.layout == Layout::Files;
            let hint = if moved { "; the stream was written to while it was saved" } else { "" };
            let message = format!("{restored}\nit is restored, and not as it was: {}{hint}", differences.join("; "));
            return Err(Failure { code: DIFFERS, message });
        }
        eprintln!("restored {restored}");
        let gone = header.state.messages.saturating_sub(state.messages);
        if expect.expiry != Expiry::None && gone > 0 {
            eprintln!("{gone} of its messages have expired since it was saved");
        }
        if is_set(&self.config, "allow_msg_ttl") {
            eprintln!("its messages may have times to live of their own: how many must be left was not compared");
        }
        Ok(())
    }

    /// Takes back what has not come to its end, after a failure or because we were told to stop; what is said of it.
    async fn undo(self, failure: Option<Failure>, stop: &mut Stop) -> Failure {
        let stream = &self.backup.header.stream;
        if self.restored {
            let text = || format!("stopped; stream {stream} is restored, and was not compared with the backup");
            return failure.unwrap_or_else(|| Failure { code: DIFFERS, message: text() });
        }
        let (Some(mut session), Some(load)) = (self.session, self.load) else {
            return failure.unwrap_or_else(|| Failure::failed("stopped; nothing was restored"));
        };
        let (failed, all_sent) = (failure.is_some(), load.is_all_sent());
        let message = failure.map_or_else(|| "stopped".to_owned(), |failure| failure.message);
        let left = tokio::select! {
            biased;
            () = stop.again() => match all_sent {
                true => Left::There(format!(
                    "stopped before it was taken back: the server has all of stream {stream}, and may have put it \
                     together, or still do so: look at it before you restore it again"
                )),
                false => Left::Part(format!(
                    "stopped before it was taken back: part of stream {stream}, or its name, may be left: restore it \
                     again with --discard-unfinished"
                )),
            },
            left = waiting("taking back what there is of it", load.abandon(&mut session, failed)) => left,
        };
        let (code, left) = match left {
            Left::Nothing => (1, format!("stream {stream} was not restored")),
            Left::Part(text) => (1, text),
            Left::There(text) => (DIFFERS, text),
        };
        Failure { code, message: format!("{message}\n{left}") }
    }
}

/// Whether the server can take it: no stream of this name, none on its subjects, a layout that it knows.
async fn ready(session: &mut Session, args: &Args, backup: &Backup, config: &Value) -> Result<(), Failure> {
    let stream = &backup.header.stream;
    let version = session.version();
    if backup.footer.content.layout == Layout::Messages && is_before_2_15(&version) {
        let text = format!(
            "{}: made by nats-server {}, and for servers of 2.15 or later; this one is {version}: update it",
            args.file.display(),
            backup.header.server
        );
        return Err(Failure::failed(text));
    }
    match seen(session, stream).await? {
        // In a cluster a name may be taken though there is no stream.
        None if args.discard_unfinished && session.is_clustered() => discarded(session, stream).await?,
        None => {}
        Some(about) if is_marked(&about.config) && args.discard_unfinished => discarded(session, stream).await?,
        Some(about) if is_marked(&about.config) => {
            let text = format!(
                "stream {stream} is there in part: a restore of it is under way, or was broken off; if none is under \
                 way, give --discard-unfinished"
            );
            return Err(Failure::failed(text));
        }
        Some(about) => {
            let text = format!(
                "stream {stream} exists already, with {} messages: delete it first (`nats stream rm {stream}`), or \
                 restore into another server or account; servers restore a stream under its own name only",
                about.state.messages
            );
            return Err(Failure::failed(text));
        }
    }
    free(session, args, stream, config).await
}

/// What is to be seen of a stream. A server of a cluster that has just started says that there is none, even if there
/// is.
async fn seen(session: &mut Session, stream: &str) -> Result<Option<About>, Failure> {
    let mut seen = session.about_patiently(stream).await.map_err(Failure::failed)?;
    let tries = if session.is_clustered() { SEEN_TRIES } else { 1 };
    for _ in 1..tries {
        if seen.is_some() {
            break;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
        seen = session.about_patiently(stream).await.map_err(Failure::failed)?;
    }
    Ok(seen)
}

/// Deletes what a restore has left that was broken off.
async fn discarded(session: &mut Session, stream: &str) -> Result<(), Failure> {
    discard(session, stream).await.map_err(Failure::failed)?;
    if session.is_clustered() {
        waiting("the cluster forgets what was broken off", forgotten()).await;
    }
    Ok(())
}

/// Whether no stream has its subjects.
async fn free(session: &mut Session, args: &Args, stream: &str, config: &Value) -> Result<(), Failure> {
    let subjects = config.get("subjects").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for subject in subjects.take(SUBJECTS_MAX) {
        // A user who may not ask is told less.
        let Ok(names) = session.names(Some(subject)).await else { break };
        if names.iter().any(|name| name == stream) && !args.discard_unfinished {
            // In a cluster the name and the subjects may be taken though no server has the stream.
            let text = format!(
                "stream {stream} has its name and subjects here, and no messages that a server knows of: a restore of \
                 it is under way, or was broken off; if none is under way, give --discard-unfinished"
            );
            return Err(Failure::failed(text));
        }
        if let Some(name) = names.iter().find(|name| *name != stream) {
            let subject = plain(subject);
            let text =
                format!("stream {name} takes messages on {subject} already, a subject of {stream}: delete one of them");
            return Err(Failure::failed(text));
        }
    }
    Ok(())
}

async fn send(session: &mut Session, load: &mut Load, backup: &Backup) -> Result<State, SnapshotError> {
    let (mut progress, mut at) = (Progress::new("restoring"), 0);
    loop {
        let bytes = backup.data(at, load.chunk()).map_err(|error| SnapshotError::Broken(error.to_string()))?;
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
        load.send(session, Bytes::from(bytes)).await?;
        progress.tell_bytes(at, backup.data_bytes());
    }
    progress.end();
    waiting("the server puts it together", load.finish(session)).await
}
