//! `topology check`: whether a server is as declared; without a server, whether the files are sound.

use super::super::{Failure, block_on, json, say};
use super::{Files, Target, planned, print};
use crate::topology::audit;

/// What `topology check` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit code is 1 where the server differs from the files, 78 where the files are wrong in themselves. With --offline \
no server is asked: the files are checked and criticised, and the exit code is 1 where there is something to criticise. \
`data-manager check` goes further: it holds the files against what a running server does.")]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    target: Target,
    /// Ask no server.
    #[arg(long, conflicts_with = "nats")]
    offline: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let declared = args.files.load()?;
    if args.offline {
        let findings = audit::of_files(&declared);
        if args.json {
            json(&findings)?;
        } else {
            findings.iter().try_for_each(|finding| say(&format!("{finding}\n")))?;
        }
        let things = declared.topology.streams.len() + declared.topology.buckets.len() + declared.topology.users.len();
        if !findings.is_empty() {
            return Err(Failure::silent());
        }
        return if args.json { Ok(()) } else { say(&format!("sound: {}\n", print::things(things))) };
    }
    let plan = block_on(async { planned(&args.target.dial().await?, &declared).await })?;
    if args.json {
        json(&plan)?;
    } else {
        say(&print::plan(&plan))?;
    }
    if plan.is_as_declared() { Ok(()) } else { Err(Failure::silent()) }
}
