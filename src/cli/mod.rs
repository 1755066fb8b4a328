//! The command line: one file a subcommand. Here are the tree of arguments, and what becomes of an error.

mod capture;
mod check;
mod config;
mod decode;
mod faults;
mod format;
mod progress;
#[cfg(feature = "record")]
mod record;
#[cfg(feature = "record")]
mod recording;
#[cfg(feature = "record")]
mod replay;
mod serve;
mod settings;
mod signals;
mod sim;
mod symbols;
mod tail;
#[cfg(feature = "tui")]
mod top;
mod topology;
mod verify;

use std::fmt;
use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::{build, logging};

/// Wrong usage.
const USAGE: u8 = 2;
/// Wrong configuration, as in sysexits.
const CONFIG: u8 = 78;
/// Nothing could be found out, as monitoring plugins have it; in their words wrong usage would be critical.
const UNKNOWN: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  data-manager serve --sim --nats --ipc            try it; wants a nats-server
  data-manager serve --exchange binance --symbols BTCUSDT,ETHUSDT --ipc
  data-manager tail --ipc --format pretty          see what it writes
  data-manager top                                 watch it, live
  data-manager verify --nats                       whether the stream is whole
  data-manager config show                         every setting, and its origin

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration; those of `check` are a monitoring plugin's.
Settings come from flags, then DATA_MANAGER__SECTION__KEY, then --config files, then defaults.";

/// Every trade of a venue, once, in order, exact, to NATS JetStream and to shared memory.
#[derive(Debug, Parser)]
#[command(name = "data-manager", version = build::LONG, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: read venues, publish to NATS JetStream and to shared memory.
    Serve(serve::Args),
    /// Run simulated venues: real WebSocket and REST, generated trades or a capture.
    Sim(sim::Args),
    /// Turn raw frames on stdin into normalized trades on stdout.
    Decode(decode::Args),
    /// Record the raw frames of a live connection.
    Capture(capture::Args),
    /// Read trades back from shared memory or from the stream.
    Tail(tail::Args),
    /// Watch it live: rates, lags, gaps, sinks.
    #[cfg(feature = "tui")]
    Top(top::Args),
    /// Audit a stream, a ring or a recording: gaps, doubles, order, by the venue's own ids.
    Verify(verify::Args),
    /// Record the stream, or the rings, into files that give every byte back.
    #[cfg(feature = "record")]
    Record(record::Args),
    /// Put a recording back into a stream, or into rings, bit for bit.
    #[cfg(feature = "record")]
    Replay(replay::Args),
    /// Show or check the configuration.
    Config(config::Args),
    /// Audit a running server: reach, streams, retention, rights, consumers; exit codes of monitoring plugins.
    Check(check::Args),
    /// Streams, buckets, consumers and rights as code: plan, apply, check, acl; backup and restore.
    Topology(topology::Args),
    /// List a venue's instruments.
    Symbols(symbols::Args),
}

/// Why a command failed, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It did not work: exit code 1.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The arguments make no sense together: exit code 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    /// The configuration is wrong: exit code 78.
    pub(crate) fn config(message: impl fmt::Display) -> Self {
        Self { code: CONFIG, message: message.to_string() }
    }

    /// Says it, to people.
    pub(crate) fn tell(&self) {
        for line in self.message.lines() {
            eprintln!("error: {line}");
        }
    }

    /// Nothing could be found out: exit code 3, as monitoring plugins have it.
    pub(crate) fn unknown(message: impl fmt::Display) -> Self {
        Self { code: UNKNOWN, message: message.to_string() }
    }

    /// As [`Self::silent`], with another exit code.
    pub(crate) const fn coded(code: u8) -> Self {
        Self { code, message: String::new() }
    }

    /// It did not work, and all there is to say was said.
    pub(crate) const fn silent() -> Self {
        Self { code: 1, message: String::new() }
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = match error.exit_code() {
                usage if usage == i32::from(USAGE) && is_plugin() => i32::from(UNKNOWN),
                code => code,
            };
            // Help that cannot be printed has nobody to read it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(code).unwrap_or(USAGE));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.code)
        }
    }
}

/// Whether the command is one whose exit codes are a monitoring plugin's.
fn is_plugin() -> bool {
    std::env::args_os().nth(1).is_some_and(|command| command == "check")
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Decode(args) => decode::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Tail(args) => tail::run(&args),
        #[cfg(feature = "tui")]
        Command::Top(args) => top::run(&args),
        Command::Verify(args) => verify::run(&args),
        #[cfg(feature = "record")]
        Command::Record(args) => record::run(&args),
        #[cfg(feature = "record")]
        Command::Replay(args) => replay::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Topology(args) => topology::run(&args),
        Command::Symbols(args) => symbols::run(&args),
    }
}

/// Runs a future on this thread, tasks and all.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::task::LocalSet::new().block_on(&runtime()?, future)
}

/// As [`block_on`], without waiting at the end for what a thread of the runtime still reads: a terminal gives nothing
/// until somebody presses Enter.
#[cfg(feature = "record")]
fn block_on_and_leave<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, future);
    runtime.shutdown_background();
    done
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))
}

/// Starts logging for commands that have no settings of their own for it: warnings, for people.
fn log_warnings() -> Result<(), Failure> {
    log("warn")
}

/// As [`log_warnings`], with another filter.
fn log(filter: &str) -> Result<(), Failure> {
    logging::start(filter, logging::Format::Auto).map_err(Failure::config)
}

/// Prints a text; who has stopped reading has enough.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    say(&format!("{text}\n"))
}
