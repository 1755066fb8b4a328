//! `topology plan`: how a server differs from what is declared.

use super::super::{Failure, block_on, json, say};
use super::{Files, Target, planned, print};

/// What `topology plan` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`+` is created, `~` is changed, `-` is deleted. A change is marked `destructive` where it removes what is stored or \
lessens what is kept, and `not in place` where the server does not make it; it says what to do instead. What is on the \
server and not declared is left alone. The exit code is 0 whatever the plan is; `topology check` is for scripts.

Rights: $JS.API.STREAM.LIST and $JS.API.CONSUMER.LIST.*, as the work `monitor` has them.")]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    target: Target,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let declared = args.files.load()?;
    let plan = block_on(async { planned(&args.target.dial().await?, &declared).await })?;
    if args.json {
        return json(&plan);
    }
    say(&print::plan(&plan))
}
