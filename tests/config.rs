//! config/data-manager.toml, held against the settings: every key, each with its default.

#![allow(clippy::unwrap_used, reason = "a test that cannot run must stop")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use data_manager::config::{Settings, load, validate};
use toml::{Table, Value};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/data-manager.toml")
}

fn text() -> String {
    std::fs::read_to_string(path()).unwrap()
}

fn table(settings: &Settings) -> Table {
    Table::try_from(settings).unwrap()
}

/// The paths of all values.
fn keys(table: &Table, prefix: &str) -> BTreeSet<String> {
    let of = |(key, value): (&String, &Value)| match value {
        Value::Table(inner) if !inner.is_empty() => keys(inner, &format!("{prefix}{key}.")),
        _ => BTreeSet::from([format!("{prefix}{key}")]),
    };
    table.iter().flat_map(of).collect()
}

/// The file with its commented examples made real: a comment that reads `key = value`.
fn with_examples() -> Table {
    let uncommented = |line: &str| {
        let example = line.strip_prefix("# ").filter(|rest| {
            rest.split_once('=').is_some_and(|(key, _)| key.trim().chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        });
        format!("{}\n", example.unwrap_or(line))
    };
    text().lines().map(uncommented).collect::<String>().parse().unwrap()
}

#[test]
fn it_loads_and_is_right() {
    let loaded = load(&[path()], [], &[]).unwrap();
    assert_eq!(validate::problems(&loaded.settings, &loaded.origins), Vec::<String>::new());
    let symbols: Vec<usize> = loaded.settings.exchanges.values().map(|exchange| exchange.symbols.len()).collect();
    assert_eq!(symbols, [2, 2, 2]);
}

#[test]
fn apart_from_the_exchanges_it_is_the_defaults() {
    let mut settings = load(&[path()], [], &[]).unwrap().settings;
    for exchange in settings.exchanges.values_mut() {
        exchange.symbols.clear();
        assert_eq!(format!("{exchange:?}"), format!("{:?}", data_manager::config::settings::Exchange::default()));
    }
    settings.exchanges.clear();
    assert_eq!(table(&settings), table(&Settings::default()));
}

#[test]
fn every_key_stands_in_it() {
    let there = keys(&text().parse().unwrap(), "");
    let shown = keys(&table(&load(&[path()], [], &[]).unwrap().settings), "");
    // The other venues are there to show that there can be several; one table with every key is enough.
    let again = |key: &&String| ["coinbase", "okx"].iter().any(|name| key.starts_with(&format!("exchanges.{name}.")));
    let missing: Vec<_> = shown.difference(&there).filter(|key| !again(key)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// What has no default shows nowhere until it is set: its example must be there, and be understood. The list of known
/// keys comes from the loader itself, which names them all when it meets an unknown one.
#[test]
fn every_key_without_a_default_has_an_example() {
    let there = keys(&with_examples(), "");
    for section in ["", "feed", "transport", "transport.ipc", "transport.nats", "transport.nats.tls", "http", "log"]
        .into_iter()
        .chain(["transport.nats.jetstream", "exchanges.binance"])
    {
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let error = toml::from_str::<Settings>(&format!("{header}no_such_key = 1\n")).unwrap_err();
        let known: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
        // With one or two known keys serde words it in another way, quoted alike.
        assert!(!known.is_empty(), "{section}: {error}");
        for key in known {
            let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let found = there.iter().any(|path| *path == key || path.starts_with(&format!("{key}.")));
            assert!(found, "{key} is in config/data-manager.toml neither with its default nor as an example");
        }
    }
}

#[test]
fn its_examples_are_understood() {
    let examples = with_examples();
    let settings: Settings = examples.try_into().unwrap();
    let nats = &settings.transport.nats;
    assert!(nats.token.is_some() && nats.credentials.is_some() && nats.tls.ca.is_some(), "{nats:?}");
    assert_eq!(nats.token.as_ref().unwrap().to_string(), "{ env = \"NATS_TOKEN\" }");
}
