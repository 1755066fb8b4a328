//! `topology`: streams, buckets, consumers and rights as code.
//!
//! The declaration, the comparison and the rules are the room `topology`'s; here they are loaded, shown and asked for.

mod acl;
mod apply;
mod backup;
mod check;
mod plan;
mod print;
mod restore;

use std::path::PathBuf;

use async_nats::Client;

use super::Failure;
use super::settings::{self, ConfigArgs};
use crate::config::settings::Nats;
use crate::telemetry::logging;
use crate::topology::load::{self, Declared};
use crate::topology::plan::Plan;
use crate::topology::remote;
use crate::topology::validate;
use crate::transport::nats::connect;

/// What `topology` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A topology file declares streams, KV buckets, consumers, accounts and users in TOML; config/topology/ has worked \
examples. Several files are one declaration.

Examples:
  data-manager topology plan config/topology/market.toml
  data-manager topology apply config/topology/market.toml --nats nats://localhost:4222
  data-manager topology check config/topology/*.toml --offline
  data-manager topology acl config/topology/venue-platform.toml > accounts.conf
  data-manager topology backup MARKET_DATA -o market-data.backup")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how a server differs from what is declared, and what it would cost to make it so. Changes nothing.
    Plan(plan::Args),
    /// Make it so. Nothing is deleted or shrunk without --allow-destructive.
    Apply(apply::Args),
    /// Say whether a server is as declared: exit code 1 where it is not. With --offline: whether the files are sound.
    Check(check::Args),
    /// Write the account and permission blocks of a nats-server's configuration.
    Acl(acl::Args),
    /// Save a stream into a file: messages with their sequences and times, configuration, consumers.
    Backup(backup::Args),
    /// Put a stream back as it was saved, on a server that has none of its name.
    Restore(restore::Args),
}

/// The files of a declaration.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// Topology files; several are one declaration.
    #[arg(value_name = "FILE", required = true)]
    declared: Vec<PathBuf>,
}

/// The server that is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The server; default: the configured ones.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    logging::start("warn,data_manager::cli=info", logging::Format::Auto).map_err(Failure::config)?;
    match &args.command {
        Command::Plan(args) => plan::run(args),
        Command::Apply(args) => apply::run(args),
        Command::Check(args) => check::run(args),
        Command::Acl(args) => acl::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
    }
}

impl Files {
    /// Reads and checks them.
    pub(super) fn load(&self) -> Result<Declared, Failure> {
        let declared = load::load(&self.declared).map_err(Failure::config)?;
        let problems = validate::problems(&declared);
        if problems.is_empty() { Ok(declared) } else { Err(Failure::config(problems.join("\n"))) }
    }
}

impl Target {
    /// What there is to know to reach it.
    pub(super) fn settings(&self) -> Result<Nats, Failure> {
        let loaded = self.config.load(&settings::servers(self.nats.as_deref()))?;
        settings::check(&loaded)?;
        settings::check_secrets(&loaded.settings.transport.nats)?;
        Ok(loaded.settings.transport.nats)
    }

    pub(super) async fn dial(&self) -> Result<Client, Failure> {
        connect::dial(&self.settings()?).await.map_err(Failure::failed)
    }
}

/// What is to be done so that this server has what is declared.
async fn planned(client: &Client, declared: &Declared) -> Result<Plan, Failure> {
    let found = remote::look(client).await.map_err(Failure::failed)?;
    Ok(Plan::of(declared, &found))
}
