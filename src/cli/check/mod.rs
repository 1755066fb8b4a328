//! `check`: the audit of a running server, in the words and codes of monitoring plugins.
//!
//! What is asked is gathered here; what it means is for `topology::audit`.

mod ask;
mod print;
mod textfile;

use std::path::PathBuf;
use std::time::Duration;

use self::ask::Answer;
use super::settings::{self, ConfigArgs};
use super::{Failure, block_on};
use crate::config::settings::Manage;
use crate::config::{Loaded, Span};
use crate::telemetry::logging;
use crate::topology::audit::{self, Finding, Limits, Severity};
use crate::topology::load::{self, Declared};
use crate::topology::plan::Plan;
use crate::topology::validate;
use crate::transport::nats::declared;

/// What `check` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at a running nats-server: can it be reached and how fast does it answer, is JetStream on, is each stream, bucket \
and consumer as declared, do rights and subjects fit together, is what is stored kept as long as is meant at the rate \
that is observed, is there room for it, is a single copy or a rare sync a risk, is the way there encrypted and asked \
for a password, do consumers keep up, has a stream gone silent. It changes nothing.

Without FILE the configured stream and buckets are what is declared, in what the configuration decides of them.

Exit codes, as monitoring plugins have them: 0 all is well, 1 warning, 2 critical, 3 it could not be found out, or \
not be said; wrong usage is 3 too.

Rights: those of the work `monitor` (see `data-manager topology acl --help`).

Examples:
  data-manager check
  data-manager check config/topology/market.toml --monitor http://localhost:8222
  data-manager check --json | jq '.findings[]'
  data-manager check --textfile /var/lib/node_exporter/data_manager.prom")]
pub(crate) struct Args {
    /// Topology files that say what is declared; default: what the configuration says.
    #[arg(value_name = "FILE")]
    declared: Vec<PathBuf>,
    /// The server; default: the configured ones.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// The server's monitoring page, which tells its store and how often it syncs.
    #[arg(long, value_name = "URL")]
    monitor: Option<String>,
    /// How long the server is watched, to see at which rate messages come; `0s`: not at all.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    sample: Span,
    /// Messages that may wait for a consumer before it is a warning.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    lag_warning: u64,
    /// Messages that may wait for a consumer before it is critical.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    lag_critical: u64,
    /// A stream silent for this long is a warning; default: only those with an `expected_rate` are looked at.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span, hide_default_value = true)]
    silence: Span,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// Also write the findings here, for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What was found, whole.
struct Audit {
    answer: Answer,
    findings: Vec<Finding>,
}

impl Audit {
    fn worst(&self) -> Severity {
        audit::worst(&self.findings)
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    logging::start("error", logging::Format::Auto).map_err(Failure::config)?;
    let (loaded, declared) = load(args).map_err(Failure::unknown)?;
    let limits =
        Limits { lag_warning: args.lag_warning, lag_critical: args.lag_critical, silence: args.silence.duration() };
    let audited = block_on(async {
        let nats = &loaded.settings.transport.nats;
        let mut answer = ask::ask(nats, args.monitor.as_deref(), args.sample.duration()).await;
        let mut findings = std::mem::take(&mut answer.findings);
        if let Some((found, observed)) = &answer.seen {
            let mut plan = Plan::of(&declared, found);
            if args.declared.is_empty() {
                // The rest is the operator's, here as for `serve`.
                plan.keep(declared::is_decided);
            }
            findings.extend(audit::of_server(&declared, found, &plan, observed, &limits));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity.rank()));
        Ok(Audit { answer, findings })
    });
    let audit = audited.map_err(|failure| Failure::unknown(failure.message))?;
    let said = if args.json { super::json(&print::object(&audit)) } else { super::say(&print::text(&audit)) };
    // What was found is said even where the file cannot be written, and written even where it cannot be said.
    let written = args.textfile.as_ref().map_or(Ok(()), |path| {
        let failed = |error| Failure::unknown(format!("cannot write {}: {error}", path.display()));
        textfile::write(path, &audit).map_err(failed)
    });
    match (said.and(written), audit.worst()) {
        (Ok(()), Severity::Ok) => Ok(()),
        (Ok(()), severity) => Err(Failure::coded(severity.code())),
        // What is critical stays the worst.
        (Err(failure), worst) => {
            let code = if worst.rank() > Severity::Unknown.rank() { worst } else { Severity::Unknown }.code();
            Err(Failure { code, ..failure })
        }
    }
}

fn load(args: &Args) -> Result<(Loaded, Declared), String> {
    let text = |failure: Failure| failure.message;
    let loaded = args.config.load(&settings::servers(args.nats.as_deref())).map_err(text)?;
    settings::check(&loaded).map_err(text)?;
    settings::check_secrets(&loaded.settings.transport.nats).map_err(text)?;
    let settings = &loaded.settings;
    let declared = if args.declared.is_empty() && settings.transport.nats.jetstream.manage == Manage::None {
        // Nobody is to compare them.
        Declared::default()
    } else if args.declared.is_empty() {
        declared::topology(&settings.transport.nats, settings.exchanges.keys().map(String::as_str)).into()
    } else {
        load::load(&args.declared).map_err(|error| error.to_string())?
    };
    let problems = validate::problems(&declared);
    if problems.is_empty() { Ok((loaded, declared)) } else { Err(problems.join("\n")) }
}

fn span(text: &str) -> Result<Span, String> {
    humantime::parse_duration(text)
        .map(|duration: Duration| Span::from(duration))
        .map_err(|error| format!("{error}; write a number and a unit, as in 2s or 5m"))
}
