//! `topology acl`: a nats-server's account block.

use std::path::PathBuf;

use super::super::{Failure, say};
use super::Files;
use crate::topology::acl;

/// What `topology acl` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each user gets the rights that its work needs and nothing else:

  publish STREAM            what the stream takes in
  resume STREAM             reading the ends of what is stored (a publisher of data-manager does, to go on behind it)
  consume STREAM/CONSUMER   reading by that durable consumer, acknowledging
  read STREAM               reading by consumers that nothing remembers
  kv-read BUCKET            reading and watching; also to create a key that was deleted, which is read first
  kv-write BUCKET           putting, deleting, purging, creating
  monitor                   looking at everything, changing nothing
  admin                     making and changing streams, buckets and consumers

Nobody but `admin` touches the consumers that are declared, and only the work `consume` reads by them. For that, who \
reads a stream that has some must name its own consumers, as data-manager does; on others the server may name them. \
What no rights can hold is where answers go: who may ask for messages can have them sent to any subject of the account. \
Those who must not do that to each other belong into accounts of their own.

Passwords are never in a file: `password_env` names the variable that the server takes one (or its bcrypt hash) from. \
The server reads the variable as a value of its configuration: put it in double quotes within, as in NAME='\"12 34\"'. \
A user's client has to use the inbox prefix _INBOX_<user> (transport.nats.inbox_prefix), so that nobody else can read \
its replies. The server reads the block by `include accounts.conf`.

Examples:
  data-manager topology acl config/topology/venue-platform.toml -o /etc/nats/accounts.conf")]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    /// Write it here instead of to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let declared = args.files.load()?;
    let text = acl::render(&declared.topology);
    let Some(path) = &args.output else { return say(&text) };
    std::fs::write(path, text).map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    let names = acl::environment(&declared.topology);
    let needs = if names.is_empty() { String::new() } else { format!("; the server needs {}", names.join(", ")) };
    say(&format!("wrote {}{needs}\n", path.display()))
}
