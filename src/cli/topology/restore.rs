//! `topology restore`: a stream from a file, as it was.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::backup::told;
use crate::cli::progress::{Progress, size};
use crate::cli::settings::{self, ConfigArgs};
use crate::cli::signals::Stop;
use crate::cli::{Failure, block_on};
use crate::config::settings::Nats;
use crate::telemetry::{clock, logging};
use crate::transport::nats::snapshot::expect::Expect;
use crate::transport::nats::snapshot::{Backup, Layout, Load, Session, SnapshotError, State, discard, is_unfinished};

/// Subjects of a stream that are looked up at most.
const SUBJECTS_MAX: usize = 64;
/// In a cluster consumers appear one after the other.
const SETTLE_TRIES: u32 = 10;
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// What `topology restore` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file's checksum is compared before anything is sent, and what the server reports at the end with what the backup
holds; the exit code is 1 where they differ. A stream has the name that it was saved under: servers take no other. One
that exists is left alone: delete it first, or restore into another server or account.
A backup made by a server of 2.15 or later is for servers of 2.15 or later; older ones go both ways.
Servers of 2.15 or later keep the part of a stream whose restore is broken off. So it has a mark and a subject of its
own until it is whole; --discard-unfinished deletes what has that mark. See that no other restore of it is under way.
Messages older than the stream's max_age would be gone at once: such a backup is refused until --max-age says what is
meant, 0s for none.

Rights: publish to $JS.API.STREAM.RESTORE.STREAM, $JS.API.STREAM.INFO.STREAM, $JS.API.STREAM.NAMES and
$JS.SNAPSHOT.RESTORE.STREAM.>, for 2.15 and later $JS.API.STREAM.UPDATE.STREAM and $JS.API.STREAM.DELETE.STREAM too;
subscribe to _INBOX.>.

Examples:
  data-manager topology restore market-data.backup --dry-run
  data-manager topology restore market-data.backup --nats nats://10.0.0.6:4222 --replicas 1")]
pub(crate) struct Args {
    /// What `topology backup` has written.
    file: PathBuf,
    /// Compare the checksum and tell what is in it, without a server.
    #[arg(long)]
    dry_run: bool,
    /// Copies that the stream has, instead of as many as it had.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// How long the stream keeps messages, such as `30days`, instead of as long as it did; 0s for ever.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,
    /// Delete first what a restore of it has left that was broken off.
    #[arg(long)]
    discard_unfinished: bool,
    /// The servers, instead of the configured ones.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    logging::start("warn,data_manager::cli=info", logging::Format::Auto).map_err(Failure::config)?;
    let mut backup = Backup::open(&args.file).map_err(Failure::failed)?;
    block_on(async {
        let mut stop = Stop::new()?;
        check(&mut backup, &mut stop).await?;
        if args.dry_run {
            print(args, &backup);
            return Ok(());
        }
        let loaded = args.config.load(&settings::servers(args.nats.as_deref()))?;
        settings::check(&loaded)?;
        settings::check_secrets(&loaded.settings.transport.nats)?;
        Box::pin(restore(args, &loaded.settings.transport.nats, &backup, &mut stop)).await
    })
}

/// Compares the checksum of the file.
async fn check(backup: &mut Backup, stop: &mut Stop) -> Result<(), Failure> {
    let mut progress = Progress::new("comparing the checksum");
    let mut check = backup.check().map_err(Failure::failed)?;
    while let Some((done, all)) = check.step().map_err(Failure::failed)? {
        progress.tell_bytes(done, all);
        if stop.came().await {
            return Err(Failure::failed("stopped; nothing was restored"));
        }
    }
    progress.end();
    Ok(())
}

/// Tells what is in a backup. Whoever reads no further has enough.
fn print(args: &Args, backup: &Backup) {
    let (header, content) = (&backup.header, &backup.footer.content);
    let config = |key: &str| header.config.get(key).cloned().unwrap_or_default();
    let subjects = config("subjects");
    let list: Vec<&str> = subjects.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let age = match max_age(&header.config) {
        None => "none".to_owned(),
        Some(age) => humantime::format_duration(age).to_string(),
    };
    let storage = config("storage").as_str().unwrap_or_default().to_owned();
    let _ = writeln!(
        std::io::stdout().lock(),
        "{}\nsaved {} by nats-server {}\nsubjects {}; storage {storage}, replicas {}, max_age {age}\n{}: {}, sha256 {}",
        told(&header.stream, &header.state, content),
        header.time,
        header.server,
        list.join(", "),
        config("num_replicas"),
        args.file.display(),
        size(backup.bytes),
        backup.sum(),
    );
}

async fn restore(args: &Args, nats: &Nats, backup: &Backup, stop: &mut Stop) -> Result<(), Failure> {
    let (header, footer) = (&backup.header, &backup.footer);
    let stream = &header.stream;
    let config = overridden(&header.config, args);
    refuse_expired(&config, &header.state, args)?;
    let mut session = Session::open(nats).await.map_err(Failure::failed)?;
    ready(&mut session, args, backup, &config).await?;
    let layout = footer.content.layout;
    let begun = Load::begin(&mut session, stream, &config, &header.state, layout).await;
    let mut load = begun.map_err(Failure::failed)?;
    let sent = tokio::select! {
        biased;
        () = stop.wait() => Err(Failure::failed("stopped")),
        sent = send(&mut session, &mut load, backup) => sent.map_err(Failure::failed),
    };
    let state = match sent {
        Ok(state) => state,
        Err(failure) => {
            let left = load.abandon(&mut session).await;
            let left = left.unwrap_or_else(|| format!("stream {stream} was not restored"));
            return Err(Failure::failed(format!("{}\n{left}", failure.message)));
        }
    };
    let expires = max_age(&config).is_some() && args.max_age.is_some() || is_set(&config, "allow_msg_ttl");
    let expect = Expect::new(&header.state, &footer.after, &footer.content, expires);
    let state = settled(&mut session, stream, &expect, state).await;
    let differences = expect.differences(&state);
    let restored = told(stream, &state, &footer.content);
    if !differences.is_empty() {
        let moved = header.state != footer.after && layout == Layout::Files;
        let hint = if moved { "; the stream was written to while it was saved" } else { "" };
        let text = format!("{restored}\nit is restored, and not as it was: {}{hint}", differences.join("; "));
        return Err(Failure::failed(text));
    }
    eprintln!("restored {restored}");
    let gone = header.state.messages.saturating_sub(state.messages);
    if expires && gone > 0 {
        eprintln!("{gone} of its messages have expired since it was saved");
    }
    Ok(())
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
    match session.about(stream).await.map_err(Failure::failed)? {
        None => {}
        Some(about) if is_unfinished(&about) && args.discard_unfinished => {
            discard(session, stream).await.map_err(Failure::failed)?;
        }
        Some(about) if is_unfinished(&about) => {
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
    let subjects = config.get("subjects").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for subject in subjects.take(SUBJECTS_MAX) {
        // A user who may not ask is told less.
        let Ok(names) = session.names(Some(subject)).await else { break };
        if let Some(name) = names.first() {
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
    load.finish(session).await
}

/// What the server reports once it is as it must be, or in the end.
async fn settled(session: &mut Session, stream: &str, expect: &Expect, mut state: State) -> State {
    for _ in 0..SETTLE_TRIES {
        if expect.differences(&state).is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
        if let Ok(Some(about)) = session.about(stream).await {
            state = about.state;
        }
    }
    state
}

/// The configuration with what the arguments change.
fn overridden(config: &Value, args: &Args) -> Value {
    let mut config = config.clone();
    if let Some(fields) = config.as_object_mut() {
        if let Some(replicas) = args.replicas {
            fields.insert("num_replicas".to_owned(), json!(replicas));
        }
        if let Some(age) = args.max_age {
            let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            // Servers refuse to remember ids for longer than messages.
            let window = fields.get("duplicate_window").and_then(Value::as_u64).unwrap_or_default();
            if nanos > 0 && window > nanos {
                fields.insert("duplicate_window".to_owned(), json!(nanos));
            }
            fields.insert("max_age".to_owned(), json!(nanos));
        }
    }
    config
}

/// How long a stream keeps messages; `None` for ever.
fn max_age(config: &Value) -> Option<Duration> {
    let nanos = config.get("max_age").and_then(Value::as_u64).filter(|nanos| *nanos > 0)?;
    Some(Duration::from_nanos(nanos))
}

fn is_set(config: &Value, key: &str) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// Messages that would be gone as soon as they are there.
fn refuse_expired(config: &Value, state: &State, args: &Args) -> Result<(), Failure> {
    let (Some(age), None) = (max_age(config), args.max_age) else { return Ok(()) };
    let first = OffsetDateTime::parse(&state.first_ts, &Rfc3339).map(OffsetDateTime::unix_timestamp_nanos);
    let oldest = i128::from(clock::wall_ns()) - i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
    if state.messages == 0 || first.is_ok_and(|first| first > oldest) {
        return Ok(());
    }
    let text = format!(
        "the first messages of this backup, of {}, are older than the stream's max_age, {}: restored, they would be gone \
         at once; give --max-age 0s to keep all, or --max-age {} to let them go",
        state.first_ts,
        humantime::format_duration(age),
        humantime::format_duration(age).to_string().replace(' ', ""),
    );
    Err(Failure::failed(text))
}

/// Whether a server is known to be too old for messages in an archive.
fn is_before_2_15(version: &str) -> bool {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    matches!((parts.next(), parts.next()), (Some(major), Some(minor)) if (major, minor) < (2, 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_are_known_to_be_older_are_older() {
        assert!(["2.10.26", "2.14.6", "1.4.1"].iter().all(|version| is_before_2_15(version)));
        assert!(["2.15.0", "2.15.1", "3.0.0", "dev", ""].iter().all(|version| !is_before_2_15(version)));
    }
}
