//! `topology`: whole streams, to a file and back.

mod backup;
mod restore;

use super::Failure;

/// What `topology` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Save a stream into a file: messages with their sequences and times, configuration, consumers.
    Backup(backup::Args),
    /// Put a stream back as it was saved, on a server that has none of its name.
    Restore(restore::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
    }
}
