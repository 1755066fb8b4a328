//! `topology restore`: a stream from a file, as it was. Here is what needs no server; `work` is the rest.

mod work;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Target;
use super::backup::told;
use crate::cli::progress::{Progress, size};
use crate::cli::signals::Stop;
use crate::cli::{Failure, block_on};
use crate::telemetry::clock;
use crate::transport::nats::snapshot::expect::Expiry;
use crate::transport::nats::snapshot::{Backup, State, is_marked};

/// Clocks differ by so much, and a message may expire so late, in nanoseconds.
const SLACK_NS: i128 = 10_000_000_000;

/// What `topology restore` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file's checksum is compared before anything is sent, and what the server reports at the end with what the backup \
holds. Exit codes: 0 restored as it was, 1 nothing is restored, 3 it is restored, and not as it was or not compared, or \
it may be: the server had all of it. \
A stream has the name that it was saved under: servers take no other. One \
that exists is left alone: delete it first, or restore into another server or account.
A backup made by a server of 2.15 or later is for servers of 2.15 or later; older ones go both ways. \
Servers of 2.15 or later, and clusters, keep the part of a stream whose restore is broken off. So it has a mark and a \
subject of its own until it is whole; --discard-unfinished deletes what has that mark, and in a cluster also a name \
that is taken though no stream is to be seen. See that no other restore of it is under way, and that no server of the \
cluster is down or could not load the stream (its log says so): its messages would be deleted too.
Messages older than the stream's max_age would be gone at once: such a backup is refused until --max-age says what is \
meant, 0s for none.

Rights: publish to $JS.API.STREAM.RESTORE.STREAM, $JS.API.STREAM.INFO.STREAM, $JS.API.STREAM.NAMES and \
$JS.SNAPSHOT.RESTORE.STREAM.>, for 2.15 and later and in a cluster $JS.API.STREAM.UPDATE.STREAM and \
$JS.API.STREAM.DELETE.STREAM too; subscribe to _INBOX.>.

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
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut backup = Backup::open(&args.file).map_err(Failure::failed)?;
    if is_marked(&backup.header.config) {
        let (file, stream) = (args.file.display(), &backup.header.stream);
        let text = format!("{file}: holds a part of stream {stream}: it was made while a restore was under way");
        return Err(Failure::failed(text));
    }
    block_on(async {
        let mut stop = Stop::new()?;
        check(&mut backup, &mut stop).await?;
        if args.dry_run {
            print(args, &backup);
            return Ok(());
        }
        let nats = args.target.settings()?;
        Box::pin(work::restore(args, &nats, &backup, &mut stop)).await
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
        "{}\nsaved {} by nats-server {}\nsubjects {}; storage {}, replicas {}, max_age {age}\n{}: {}, sha256 {}",
        told(&header.stream, &header.state, content),
        header.time,
        header.server,
        plain(&list.join(", ")),
        plain(&storage),
        config("num_replicas"),
        args.file.display(),
        size(backup.bytes),
        backup.sum(),
    );
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

/// A text of a file that may say anything, for a terminal that does what it is told.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
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
    if state.messages == 0 || is_younger(&state.first_ts, age, 0) {
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

/// Which messages of a backup may have expired by now.
fn expiry(config: &Value, state: &State) -> Expiry {
    if is_set(config, "allow_msg_ttl") {
        return Expiry::Any;
    }
    match max_age(config) {
        None => Expiry::None,
        Some(age) if is_younger(&state.first_ts, age, SLACK_NS) => Expiry::None,
        Some(age) if is_younger(&state.last_ts, age, SLACK_NS) => Expiry::Oldest,
        Some(_) => Expiry::Any,
    }
}

/// Whether a message of that time is younger than `age`, and will be for some time.
fn is_younger(time: &str, age: Duration, slack_ns: i128) -> bool {
    let time = OffsetDateTime::parse(time, &Rfc3339).map(OffsetDateTime::unix_timestamp_nanos);
    let oldest = i128::from(clock::wall_ns()) - i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
    time.is_ok_and(|time| time > oldest.saturating_add(slack_ns))
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
    fn only_what_is_older_than_the_age_may_have_expired() {
        let text = |seconds: u64| {
            let time = i128::from(clock::wall_ns()) - i128::from(seconds) * 1_000_000_000;
            OffsetDateTime::from_unix_timestamp_nanos(time).unwrap().format(&Rfc3339).unwrap()
        };
        let state = |first, last| State { first_ts: text(first), last_ts: text(last), ..State::default() };
        let config = json!({ "max_age": 3_600_000_000_000_u64 });
        assert_eq!(expiry(&json!({}), &state(9_000, 9_000)), Expiry::None);
        assert_eq!(expiry(&config, &state(1_000, 10)), Expiry::None);
        assert_eq!(expiry(&config, &state(3_595, 10)), Expiry::Oldest);
        assert_eq!(expiry(&config, &state(9_000, 9_000)), Expiry::Any);
        assert_eq!(expiry(&json!({ "allow_msg_ttl": true }), &state(10, 10)), Expiry::Any);
        let unknown = State::default();
        assert_eq!(expiry(&config, &unknown), Expiry::Any);
    }

    #[test]
    fn only_servers_that_are_known_to_be_older_are_older() {
        assert!(["2.10.26", "2.14.6", "1.4.1"].iter().all(|version| is_before_2_15(version)));
        assert!(["2.15.0", "2.15.1", "3.0.0", "dev", ""].iter().all(|version| !is_before_2_15(version)));
    }
}
