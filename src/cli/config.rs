//! `config`: the merged configuration with the origin of every value, and whether it is right.

use clap::Subcommand;
use toml::Value;

use super::Failure;
use super::settings::{self, ConfigArgs};
use crate::app::Plan;
use crate::config::{Loaded, Origin};

/// What `config` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting, its value and where it comes from; secrets are masked.
    Show(ConfigArgs),
    /// Say whether the configuration can be used; exit code 78 if not.
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
    let width = lines.iter().map(|(path, value)| path.len() + value.len() + 3).max().unwrap_or(0).min(72);
    for (path, value) in lines {
        let origin = loaded.origins.get(&path).unwrap_or(&Origin::Default);
        println!("{:<width$}  # {origin}", format!("{path} = {value}"));
    }
    Ok(())
}

fn flatten(value: &Value, path: &str, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, &path, lines);
            }
        }
        value => lines.push((path.to_owned(), value.to_string())),
    }
}

fn check(loaded: &Loaded) -> Result<(), Failure> {
    settings::check(loaded)?;
    let settings = &loaded.settings;
    if settings.exchanges.is_empty() {
        println!("right; no exchange is configured, so `serve` needs --sim, or --exchange and --symbols");
        return Ok(());
    }
    let plan = Plan::of(settings).map_err(|problems| Failure::config(problems.join("\n")))?;
    let symbols: usize = plan.venues().map(|venue| venue.instruments.len()).sum();
    println!("right: {} with {symbols} symbols", plan.exchanges().join(", "));
    Ok(())
}
