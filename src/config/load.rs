//! Layers: defaults, files, environment, flags; each beats the one before, and each value keeps its origin.
//!
//! Files are first read strictly, so that a fault is told with file, line, column and the nearest known key; then all
//! layers are merged by the `config` crate. No message quotes a line of a file: a secret might stand there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::settings::Settings;

/// What environment variables that are settings start with.
pub const ENV_PREFIX: &str = "DATA_MANAGER__";

/// Settings, and where each value that is not a default came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The merged settings.
    pub settings: Settings,
    /// Key path to origin; a path that is not here has its default.
    pub origins: BTreeMap<String, Origin>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file and its line.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(String),
}

/// A value given by a flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// The flag, for messages.
    pub flag: String,
    /// The key's path, such as `transport.nats.enabled`.
    pub path: String,
    /// Its value as text; lists by commas.
    pub value: String,
}

/// Why settings cannot be used. Exit code 78.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// One or more values are wrong; each line names a place and a cure.
    #[error("{}", problems.join("\n"))]
    Wrong {
        /// One line a problem.
        problems: Vec<String>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Loads settings from files (later ones beat earlier ones), the environment and flags.
///
/// # Errors
/// [`ConfigError`], with all problems that one pass finds.
pub fn load(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[Override],
) -> Result<Loaded, ConfigError> {
    let mut tables: Vec<toml::Table> = Vec::with_capacity(files.len());
    let mut origins = BTreeMap::new();
    let mut problems = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        match strict(path, &text) {
            Ok((table, lines)) => {
                lines.iter().for_each(|(key, _)| replace_secret(&mut tables, key));
                tables.push(table);
                origins.extend(lines.into_iter().map(|(key, origin)| (whole(&key).to_owned(), origin)));
            }
            Err(problem) => problems.push(problem),
        }
    }
    let from_env = environment.into_iter().filter_map(|(name, value)| {
        let path = env_path(&name)?;
        Some((path, value, Origin::Env(name)))
    });
    let from_flags = flags.iter().map(|f| (f.path.clone(), f.value.clone(), Origin::Flag(f.flag.clone())));
    let mut overrides = Vec::new();
    for (path, value, origin) in from_env.chain(from_flags) {
        match alone(&path, &value) {
            Ok(()) => overrides.push((path.clone(), value)),
            Err(problem) => problems.push(format!("{origin}: {problem}")),
        }
        replace_secret(&mut tables, &path);
        origins.insert(whole(&path).to_owned(), origin);
    }
    if !problems.is_empty() {
        return Err(ConfigError::Wrong { problems });
    }
    let mut builder = defaults()?;
    for table in &tables {
        // As text: serde would lose a table without keys, and an exchange's name alone says something.
        builder = builder.add_source(config::File::from_str(&table.to_string(), config::FileFormat::Toml));
    }
    for (path, value) in overrides {
        builder = builder.set_override(&path, typed(&path, &value)).map_err(unexpected)?;
    }
    let settings = builder.build().and_then(config::Config::try_deserialize).map_err(unexpected)?;
    Ok(Loaded { settings, origins })
}

type Builder = config::ConfigBuilder<config::builder::DefaultState>;

fn defaults() -> Result<Builder, ConfigError> {
    let defaults = config::Config::try_from(&Settings::default()).map_err(unexpected)?;
    Ok(config::Config::builder().add_source(defaults))
}

/// Whether a value would do by itself: tells which variable or flag is at fault.
fn alone(path: &str, value: &str) -> Result<(), String> {
    let wrong = |error: &config::ConfigError| format!("{path}: {}", with_hint(&error.to_string()));
    let builder = defaults().map_err(|error| error.to_string())?;
    let builder = builder.set_override(path, typed(path, value)).map_err(|error| wrong(&error))?;
    let built = builder.build().map_err(|error| wrong(&error))?;
    built.try_deserialize::<Settings>().map(drop).map_err(|error| wrong(&error))
}

/// Lists are written with commas; all else is text that the target type reads.
fn typed(path: &str, value: &str) -> config::Value {
    let is_list = path.ends_with(".symbols") || path.ends_with(".servers");
    if is_list {
        let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
        return config::Value::from(parts.map(str::to_owned).collect::<Vec<String>>());
    }
    config::Value::from(value)
}

/// `DATA_MANAGER__TRANSPORT__NATS__SERVERS` is `transport.nats.servers`; an exchange's `_` stands for its `-`.
fn env_path(name: &str) -> Option<String> {
    let mut parts: Vec<String> = name.strip_prefix(ENV_PREFIX)?.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, exchange, ..] = parts.as_mut_slice()
        && section == "exchanges"
    {
        *exchange = exchange.replace('_', "-");
    }
    Some(parts.join("."))
}

/// The key that a path belongs to: a secret's `env` and `file` are no keys of their own.
fn whole(path: &str) -> &str {
    path.strip_suffix(".env").or_else(|| path.strip_suffix(".file")).unwrap_or(path)
}

/// A secret's table is one value: where a later layer gives another place, the earlier one must not stay beside it.
fn replace_secret(earlier: &mut [toml::Table], path: &str) {
    let Some((parent, key)) = whole(path).rsplit_once('.').filter(|_| whole(path) != path) else { return };
    for table in earlier {
        let mut parts = parent.split('.');
        if let Some(table) = parts.try_fold(table, |table, part| table.get_mut(part)?.as_table_mut()) {
            table.remove(key);
        }
    }
}

/// Reads a file by itself, strictly; gives its table and the line of each key.
fn strict(path: &Path, text: &str) -> Result<(toml::Table, Vec<(String, Origin)>), String> {
    let place = |span: Option<std::ops::Range<usize>>| {
        let start = span.map_or(0, |span| span.start).min(text.len());
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    };
    toml::from_str::<Settings>(text).map_err(|error| {
        let (line, column) = place(error.span());
        format!("{}:{line}:{column}: {}", path.display(), with_hint(error.message()))
    })?;
    let spans = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let mut keys = Vec::new();
    collect(spans.get_ref(), "", &mut keys);
    let origin = |start: usize| Origin::File { path: path.to_owned(), line: place(Some(start..start)).0 };
    Ok((table, keys.into_iter().map(|(key, start)| (key, origin(start))).collect()))
}

fn collect(table: &DeTable<'_>, prefix: &str, keys: &mut Vec<(String, usize)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &path, keys),
            _ => keys.push((path, key.span().start)),
        }
    }
}

/// Adds the nearest known key to serde's list of what it expected.
fn with_hint(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut quoted = line.split('`').skip(1).step_by(2);
    let (Some(wrong), true) = (quoted.next(), line.starts_with("unknown ")) else { return line.to_owned() };
    let nearest = quoted.max_by(|a, b| strsim::jaro_winkler(a, wrong).total_cmp(&strsim::jaro_winkler(b, wrong)));
    let known = nearest.filter(|known| strsim::jaro_winkler(known, wrong) > 0.75);
    known.map_or_else(|| line.to_owned(), |known| format!("{line}; did you mean `{known}`?"))
}

fn unexpected(error: config::ConfigError) -> ConfigError {
    ConfigError::Wrong { problems: vec![with_hint(&error.to_string())] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dm.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn from_text(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
        let (_dir, path) = file(text);
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<Override> = flags
            .iter()
            .map(|(path, value)| Override { flag: "--set".into(), path: (*path).into(), value: (*value).into() })
            .collect();
        load(&[path], env, &flags).map_err(|error| error.to_string())
    }

    #[test]
    fn each_layer_beats_the_one_before_and_origins_are_kept() {
        let text =
            "shutdown_timeout = '3s'\n[transport.nats]\nwindow = 7\npack = 8\n[exchanges.binance]\nsymbols = ['A']\n";
        let env = [("DATA_MANAGER__TRANSPORT__NATS__PACK", "9"), ("DATA_MANAGER__EXCHANGES__BINANCE__SYMBOLS", "B, C")];
        let loaded = from_text(text, &env, &[("shutdown_timeout", "5s")]).unwrap();
        let nats = &loaded.settings.transport.nats;
        assert_eq!((nats.window, nats.pack, loaded.settings.shutdown_timeout.to_string().as_str()), (7, 9, "5s"));
        assert_eq!(loaded.settings.exchanges["binance"].symbols, ["B", "C"]);
        let line = |key: &str| loaded.origins[key].to_string();
        assert!(line("transport.nats.window").ends_with("dm.toml:3"));
        assert_eq!(line("transport.nats.pack"), "$DATA_MANAGER__TRANSPORT__NATS__PACK");
        assert_eq!(line("shutdown_timeout"), "--set");
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_its_neighbour() {
        let error = from_text("[transport.nats]\nack_timeot = '5s'\n", &[], &[]).unwrap_err();
        assert!(error.contains("dm.toml:2:1: unknown field `ack_timeot`"), "{error}");
        assert!(error.ends_with("did you mean `ack_timeout`?"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_told_with_its_place_and_nothing_of_the_line() {
        let error = from_text("[transport.nats]\npassword = 'hunter2'\nack_timeout = 5\n", &[], &[]).unwrap_err();
        assert!(error.contains("dm.toml:3:"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let error = from_text("shutdown_timeout = 'soon'\n", &[], &[]).unwrap_err();
        assert!(error.contains("dm.toml:1:") && error.contains("is no duration"), "{error}");
        // Added to any time it is still one.
        let error = from_text("[feed]\nrepair_hold = '500000000000 years'\n", &[], &[]).unwrap_err();
        assert!(error.contains("dm.toml:2:") && error.contains("longer than a hundred years"), "{error}");
    }

    #[test]
    fn a_wrong_variable_or_flag_is_named() {
        let error = from_text("", &[("DATA_MANAGER__TRANSPORT__NATS__WINDOW", "many")], &[]).unwrap_err();
        assert!(error.contains("$DATA_MANAGER__TRANSPORT__NATS__WINDOW"), "{error}");
        let error = from_text("", &[("DATA_MANAGER__TRANSPORT__NATZ__WINDOW", "1")], &[]).unwrap_err();
        assert!(error.contains("NATZ") && error.contains("did you mean `nats`?"), "{error}");
        let error = from_text("", &[], &[("transport.nats.storage.x", "1")]).unwrap_err();
        assert!(error.contains("--set"), "{error}");
    }

    #[test]
    fn several_problems_are_told_at_once() {
        let error = from_text("oops = 1\n", &[("DATA_MANAGER__SHARDS", "x")], &[]).unwrap_err();
        assert_eq!(error.lines().count(), 2, "{error}");
    }

    #[test]
    fn a_later_place_of_a_secret_replaces_the_earlier_one() {
        let (_one, first) = file("[transport.nats]\ntoken = { file = '/first' }\n");
        let (_two, second) = file("[transport.nats]\ntoken = { env = 'SECOND' }\n");
        let shown = |loaded: &Loaded| loaded.settings.transport.nats.token.as_ref().map(ToString::to_string);
        let loaded = load(&[first.clone(), second], [], &[]).unwrap();
        assert_eq!(shown(&loaded).as_deref(), Some("{ env = \"SECOND\" }"));
        assert!(loaded.origins["transport.nats.token"].to_string().ends_with("dm.toml:2"));
        let env = [("DATA_MANAGER__TRANSPORT__NATS__TOKEN__ENV".to_owned(), "THIRD".to_owned())];
        let loaded = load(&[first], env, &[]).unwrap();
        assert_eq!(shown(&loaded).as_deref(), Some("{ env = \"THIRD\" }"));
        assert_eq!(loaded.origins["transport.nats.token"].to_string(), "$DATA_MANAGER__TRANSPORT__NATS__TOKEN__ENV");
    }

    #[test]
    fn secrets_by_variable_pass_through_the_layers() {
        let text = "[transport.nats]\nuser = 'u'\npassword = { env = 'DATA_MANAGER_TEST_PW' }\n";
        let loaded = from_text(text, &[("DATA_MANAGER__TRANSPORT__NATS__TOKEN", "hunter2")], &[]).unwrap();
        let shown = format!("{:?}", loaded.settings);
        assert!(shown.contains("DATA_MANAGER_TEST_PW") && !shown.contains("hunter2"), "{shown}");
    }
}
