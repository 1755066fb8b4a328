//! `config`: the merged configuration with the origin of every value, and whether it is right.

use std::io::{self, Write as _};

use clap::Subcommand;
use toml::Value;

use super::Failure;
use super::settings::{self, ConfigArgs};
use crate::app::Plan;
use crate::config::{Loaded, Origin};

/// What `config` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  data-manager config show --config config/sim.toml
  DATA_MANAGER__TRANSPORT__NATS__WINDOW=200 data-manager config show | grep -v '# default'
  data-manager config check --config config/data-manager.toml && echo good")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting, its value and where it comes from; secrets are masked.
    Show(ConfigArgs),
    /// Say whether the configuration can be used, and its secrets can be had; exit code 78 if not.
    Check(ConfigArgs),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Show(config) => show(&config.load(&[])?),
        Action::Check(config) => check(&config.load(&[])?),
    }
}

fn show(loaded: &Loaded) -> Result<(), Failure> {
    let value = Value::try_from(&loaded.settings).map_err(Failure::failed)?;
    let mut lines = Vec::new();
    flatten(&value, "", &mut lines);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let width = lines.iter().map(|(path, value)| path.len() + value.len() + 3).max().unwrap_or(0).min(72);
    for (path, value) in lines {
        let origin = loaded.origins.get(&path).unwrap_or(&Origin::Default);
        let line = format!("{path} = {value}");
        // Whoever reads our output may have enough before its end.
        match writeln!(out, "{line:<width$}  # {origin}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Failure::failed)?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

fn flatten(value: &Value, path: &str, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, &path, lines);
            }
        }
        // The place of a secret as it is written in a file, without quotes around the table.
        Value::String(place) if place.starts_with("{ env = ") || place.starts_with("{ file = ") => {
            lines.push((path.to_owned(), place.clone()));
        }
        value => lines.push((path.to_owned(), without_password(path, value).to_string())),
    }
}

/// `check` refuses a password in a URL; `show` comes before it, and must not print one.
fn without_password(path: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| without_password(path, item)).collect()),
        Value::String(url) if path.ends_with("_url") || path.ends_with(".servers") => {
            let masked = url.rsplit_once('@').map(|(user, host)| {
                let scheme = user.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
                format!("{scheme}(secret)@{host}")
            });
            Value::String(masked.unwrap_or_else(|| url.clone()))
        }
        other => other.clone(),
    }
}

fn check(loaded: &Loaded) -> Result<(), Failure> {
    settings::check(loaded)?;
    let settings = &loaded.settings;
    settings::check_secrets(&settings.transport.nats)?;
    if settings.exchanges.is_empty() {
        println!("right; no exchange is configured, so `serve` needs --sim, or --exchange and --symbols");
        return Ok(());
    }
    let plan = Plan::of(settings).map_err(|problems| Failure::config(problems.join("\n")))?;
    let symbols: usize = plan.venues().map(|venue| venue.instruments.len()).sum();
    let plural = if symbols == 1 { "" } else { "s" };
    println!("right: {} with {symbols} symbol{plural}", plan.exchanges().join(", "));
    Ok(())
}
