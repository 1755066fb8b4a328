//! `topology backup`: a stream into a file, through the server's own snapshot.

use std::path::PathBuf;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Target;
use crate::cli::progress::{Progress, plural, size, waiting};
use crate::cli::signals::Stop;
use crate::cli::{Failure, block_on};
use crate::config::settings::Nats;
use crate::telemetry::clock;
use crate::transport::nats::snapshot::expect::Expect;
use crate::transport::nats::snapshot::{
    Chunk, Content, ContentError, Footer, Header, Layout, Looker, Save, Session, SnapshotError, State, Writer, is_name,
};

/// Names that an error lists.
const NAMES_MAX: usize = 5;
/// Names further from what was asked for than this are no suggestion.
const NEAR: f64 = 0.75;

/// What `topology backup` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds what the server writes down of the stream: each message with its sequence, time, subject and headers, \
what is deleted, the configuration, the consumers with their places; and a checksum. It has its name once it is whole and \
on the disk. A key-value bucket B is the stream KV_B, an object store the stream OBJ_B. Streams in memory need a server \
of 2.15 or later. A stream that is being restored, or was left by a restore that was broken off, is refused. \
In a cluster of 2.15 or later a consumer that waits for acknowledgements is written down at the first of them: messages \
behind it that were acknowledged are delivered again after a restore. From 2.15 on the time at which the stream was made \
is not kept.
From 2.15 on the messages in the snapshot are counted as they come. Servers before send their own files, which are \
followed to their end and not looked into: a restore tells how many messages they hold.
It is the stream as it is at the start. What comes meanwhile is in it whole, in part or not (never with 2.15 or later). \
Servers before 2.12 delete nothing meanwhile; and what was deleted shortly before may come back with a restore if \
somebody writes meanwhile: with them, back up a stream that rests.
--check lets the server read all messages first and compare their checksums; from 2.15 on it always does, as it reads. Such a \
server answers nothing else about the stream meanwhile.

Rights: publish to $JS.API.STREAM.SNAPSHOT.STREAM, $JS.API.STREAM.INFO.STREAM, $JS.API.STREAM.NAMES and \
$JS.SNAPSHOT.ACK.STREAM.>, subscribe to _INBOX.>.

Examples:
  data-manager topology backup MARKET_DATA -o market-data.backup
  data-manager topology backup KV_positions -o positions.backup --nats nats://10.0.0.5:4222 --check")]
pub(crate) struct Args {
    /// The stream; of a key-value bucket, KV_ and its name.
    stream: String,
    /// The file that is written.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
    /// Leave out the consumers.
    #[arg(long)]
    no_consumers: bool,
    /// Let the server compare the checksums of all messages first.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if !is_name(&args.stream) {
        let text = format!("{:?} is no name of a stream: it has no blank, dot, slash, `*` or `>`", args.stream);
        return Err(Failure::usage(text));
    }
    let nats = args.target.settings()?;
    let writer = Writer::create(&args.output, args.force).map_err(Failure::failed)?;
    block_on(async {
        let mut stop = Stop::new()?;
        let saved = Box::pin(save(args, &nats, writer));
        tokio::select! {
            biased;
            () = stop.wait() => Err(Failure::failed(format!("stopped; {} was not written", args.output.display()))),
            done = saved => done,
        }
    })
}

async fn save(args: &Args, nats: &Nats, mut writer: Writer) -> Result<(), Failure> {
    let stream = &args.stream;
    let mut session = Session::open(nats).await.map_err(Failure::failed)?;
    let doing = if args.check { "the server checks the stream first" } else { "waiting for the server" };
    let begun = Save::begin(&mut session, stream, !args.no_consumers, args.check);
    let (about, mut save) = match waiting(doing, begun).await {
        Ok(begun) => begun,
        Err(SnapshotError::NoStream(_)) => return Err(Failure::failed(absent(&mut session, stream).await)),
        Err(error) => return Err(Failure::failed(error)),
    };
    let header = Header {
        stream: stream.clone(),
        time: now(),
        server: session.version(),
        config: about.config,
        state: about.state,
    };
    writer.header(&header).map_err(Failure::failed)?;
    let (mut looker, mut progress) = (Looker::default(), Progress::new("saving"));
    while let Chunk::Bytes(bytes) = save.next(&mut session).await.map_err(Failure::failed)? {
        // A file that cannot be restored is worth nothing: the sooner it is known, the better.
        looker.push(&bytes).map_err(broken)?;
        writer.write(&bytes).map_err(Failure::failed)?;
        progress.tell_bytes(looker.bytes(), header.state.bytes);
    }
    progress.end();
    let content = looker.finish().map_err(broken)?;
    let after = session.about_patiently(stream).await.map_err(Failure::failed)?;
    let Some(after) = after.map(|about| about.state) else {
        return Err(Failure::failed(format!("stream {stream} was deleted while it was saved")));
    };
    if let Some(lack) = Expect::lacks(&header.state, &after, &content) {
        return Err(Failure::failed(format!("the snapshot of stream {stream} is not whole: {lack}; try again")));
    }
    let (bytes, sum) = writer.finish(&Footer { after: after.clone(), content }).map_err(Failure::failed)?;
    let file = args.output.display();
    eprintln!("{} to {file}: {}, sha256 {sum}", told(stream, &header.state, &content), size(bytes));
    if content.layout == Layout::Files {
        eprintln!("the messages in it are not counted before a restore: this server sends its own files");
    } else if content.consumers > 0 && session.is_clustered() {
        eprintln!(
            "a consumer that waited for acknowledgements is saved at the first of them, as servers do in a cluster: it \
             delivers again from there after a restore"
        );
    }
    let moved = after.last_seq.saturating_sub(header.state.last_seq);
    if moved > 0 {
        eprintln!(
            "{} came while it was saved: what is told here is the stream as it was before",
            plural(moved, "message")
        );
    }
    Ok(())
}

/// A stream in a few words.
pub(super) fn told(stream: &str, state: &State, content: &Content) -> String {
    let State { messages, bytes, first_seq, last_seq, .. } = state;
    let (messages, consumers) = (plural(*messages, "message"), plural(content.consumers, "consumer"));
    format!("stream {stream}: {messages} in {}, sequences {first_seq}..{last_seq}, {consumers}", size(*bytes))
}

fn broken(error: ContentError) -> Failure {
    Failure::failed(SnapshotError::from(error))
}

fn now() -> String {
    let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(clock::wall_ns()));
    now.ok().and_then(|now| now.format(&Rfc3339).ok()).unwrap_or_default()
}

/// That there is no such stream, and what there is.
async fn absent(session: &mut Session, stream: &str) -> String {
    let names = session.names(None).await.unwrap_or_default();
    format!("stream {stream} does not exist{}", instead(&names, stream))
}

fn instead(names: &[String], asked: &str) -> String {
    if names.is_empty() {
        return "; there is none that this user may see: look at --nats and at the account".to_owned();
    }
    for (prefix, what) in [("KV_", "a key-value bucket"), ("OBJ_", "an object store")] {
        let stream = format!("{prefix}{asked}");
        if names.contains(&stream) {
            return format!("; {asked} is {what}, whose stream is {stream}");
        }
    }
    let like = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &asked.to_lowercase());
    let near = names.iter().max_by(|a, b| like(a).total_cmp(&like(b))).filter(|near| like(near) > NEAR);
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let more = names.len().saturating_sub(NAMES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("; there is {}{more}{hint}", names.get(..NAMES_MAX).unwrap_or(names).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_near_is_suggested_and_a_bucket_by_its_stream() {
        let names = ["MARKET_DATA", "KV_positions", "OTHER"].map(str::to_owned);
        let told = "; there is MARKET_DATA, KV_positions, OTHER";
        assert_eq!(instead(&names, "market-data"), format!("{told}; did you mean MARKET_DATA?"));
        assert_eq!(instead(&names, "positions"), "; positions is a key-value bucket, whose stream is KV_positions");
        assert_eq!(instead(&names, "zzz"), told);
        assert!(instead(&[], "zzz").contains("none that this user may see"));
    }
}
