//! From flags to settings: files, environment, flags; and what can be said of them without starting anything.

use std::path::PathBuf;

use super::Failure;
use crate::app::plan::unknown_exchange;
use crate::config::settings::{LogFormat, Nats, Settings};
use crate::config::{self, Loaded, Override, validate};
use crate::exchange;
use crate::telemetry::logging;
use crate::transport::nats::connect;

/// Where settings come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A configuration file; given several times, later ones beat earlier ones.
    #[arg(long = "config", value_name = "FILE", env = "DATA_MANAGER_CONFIG")]
    pub(crate) files: Vec<PathBuf>,
}

/// Which exchanges and symbols.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct VenueArgs {
    /// An exchange, such as `binance`; may be given several times. Default: the configured ones, or all that are there
    /// where records are read back.
    #[arg(long = "exchange", value_name = "NAME")]
    pub(crate) exchanges: Vec<String>,
    /// Canonical symbols, such as `BTCUSDT,ETHUSDT`. Default: the configured ones, or all that are there where records
    /// are read back.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub(crate) symbols: Vec<String>,
}

impl ConfigArgs {
    /// Loads settings with these flags on top.
    pub(crate) fn load(&self, flags: &[Override]) -> Result<Loaded, Failure> {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        config::load(&self.files, environment, flags).map_err(Failure::config)
    }
}

impl VenueArgs {
    /// As the daemon spells them, each once.
    pub(crate) fn spelled(&self) -> Self {
        let each_once = |names: &mut dyn Iterator<Item = String>| {
            let mut seen: Vec<String> = Vec::new();
            for name in names {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            }
            seen
        };
        Self {
            exchanges: each_once(&mut self.exchanges.iter().map(|name| name.trim().to_ascii_lowercase())),
            symbols: each_once(&mut self.symbols.iter().map(|name| name.trim().to_ascii_uppercase())),
        }
    }

    /// Refuses an exchange that is none.
    ///
    /// # Errors
    /// The name, and those that there are.
    pub(crate) fn known(&self) -> Result<(), Failure> {
        match self.exchanges.iter().find(|name| exchange::by_name(name).is_none()) {
            Some(unknown) => Err(Failure::usage(format!("--exchange: {}", unknown_exchange(unknown)))),
            None => Ok(()),
        }
    }

    /// Lets `--exchange` choose among the configured exchanges, or add one, and `--symbols` replace their symbols.
    ///
    /// # Errors
    /// An exchange that is none.
    pub(crate) fn apply(&self, loaded: &mut Loaded) -> Result<(), Failure> {
        self.known()?;
        let exchanges = &mut loaded.settings.exchanges;
        if !self.exchanges.is_empty() {
            exchanges.retain(|name, _| self.exchanges.contains(name));
            for name in &self.exchanges {
                exchanges.entry(name.clone()).or_default();
            }
        }
        if !self.symbols.is_empty() {
            for (name, table) in exchanges {
                table.symbols = self.symbols.iter().map(|symbol| symbol.trim().to_owned()).collect();
                let origin = config::Origin::Flag("--symbols".to_owned());
                loaded.origins.insert(format!("exchanges.{name}.symbols"), origin);
            }
        }
        Ok(())
    }
}

/// A flag that sets a key.
pub(crate) fn flag(flag: &str, path: &str, value: &str) -> Override {
    Override { flag: flag.to_owned(), path: path.to_owned(), value: value.to_owned() }
}

/// What `--nats URL` sets; nothing without a URL.
pub(crate) fn servers(url: Option<&str>) -> Vec<Override> {
    url.filter(|url| !url.is_empty()).map(|url| flag("--nats", "transport.nats.servers", url)).into_iter().collect()
}

/// What is to be read: the stream, or that of each exchange that is asked for, or configured.
///
/// # Errors
/// Each exchange has a stream of its own, and there is none.
pub(crate) fn streams(settings: &Settings, exchanges: &[String]) -> Result<Vec<Nats>, Failure> {
    let nats = &settings.transport.nats;
    if !nats.jetstream.stream_per_exchange {
        return Ok(vec![nats.clone()]);
    }
    let asked: Vec<&String> =
        if exchanges.is_empty() { settings.exchanges.keys().collect() } else { exchanges.iter().collect() };
    let mut streams: Vec<Nats> = Vec::new();
    for stream in asked.into_iter().map(|exchange| nats.jetstream.of(exchange)) {
        if !streams.iter().any(|known| known.jetstream.stream_name == stream.stream_name) {
            streams.push(Nats { jetstream: stream, ..nats.clone() });
        }
    }
    if streams.is_empty() {
        let text = "each exchange has a stream of its own (transport.nats.jetstream.stream_per_exchange), and none is \
                    configured: name it by --exchange";
        return Err(Failure::usage(text));
    }
    Ok(streams)
}

/// As [`streams`], for a command that reads one.
///
/// # Errors
/// There are several, or none.
pub(crate) fn stream(settings: &Settings, exchanges: &[String], command: &str) -> Result<Nats, Failure> {
    let mut streams = streams(settings, exchanges)?;
    match (streams.len(), streams.pop()) {
        (1, Some(stream)) => Ok(stream),
        (_, last) => {
            let names = streams.iter().chain(&last).map(|nats| nats.jetstream.stream_name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!(
                "each exchange has a stream of its own (transport.nats.jetstream.stream_per_exchange), and `{command}` \
                 takes one of {names}: choose it by one --exchange"
            )))
        }
    }
}

/// Everything that is wrong with settings beyond their types.
pub(crate) fn check(loaded: &Loaded) -> Result<(), Failure> {
    let mut problems = validate::problems(&loaded.settings, &loaded.origins);
    if let Err(error) = connect::check(&loaded.settings.transport.nats) {
        problems.push(error.to_string());
    }
    if let Err(error) = logging::filter(&loaded.settings.log.level) {
        problems.push(format!("log.level: {error}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::config(problems.join("\n"))) }
}

/// Everything that authentication and TLS need and that cannot be had. A secret that is missing at start is a mistake
/// to be told at once; one that goes missing later is tried again.
pub(crate) fn check_secrets(nats: &Nats) -> Result<(), Failure> {
    let secrets = [
        ("token", &nats.token),
        ("password", &nats.password),
        ("nkey", &nats.nkey),
        ("jwt", &nats.jwt),
        ("seed", &nats.seed),
    ];
    let files = [
        ("credentials", &nats.credentials),
        ("tls.ca", &nats.tls.ca),
        ("tls.cert", &nats.tls.cert),
        ("tls.key", &nats.tls.key),
    ];
    let mut problems = Vec::new();
    for (key, secret) in secrets.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?))) {
        if let Err(error) = secret.reveal() {
            problems.push(format!("transport.nats.{key}: {error}"));
        }
    }
    for (key, path) in files.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
        if let Err(error) = std::fs::File::open(path) {
            problems.push(format!("transport.nats.{key}: cannot read {}: {error}", path.display()));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::config(problems.join("\n"))) }
}

/// Starts logging as settings say.
pub(crate) fn start_logging(loaded: &Loaded) -> Result<(), Failure> {
    let format = match loaded.settings.log.format {
        LogFormat::Auto => logging::Format::Auto,
        LogFormat::Pretty => logging::Format::Pretty,
        LogFormat::Json => logging::Format::Json,
    };
    logging::start(&loaded.settings.log.level, format).map_err(Failure::config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_daemon_spells_them_and_taken_once() {
        let of = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let args = VenueArgs { exchanges: of(&["Binance", " binance", "okx"]), symbols: of(&["btcusdt", "BTCUSDT "]) };
        let spelled = args.spelled();
        assert_eq!((spelled.exchanges, spelled.symbols), (of(&["binance", "okx"]), of(&["BTCUSDT"])));
        assert!(args.spelled().known().is_ok());
        let typo = VenueArgs { exchanges: of(&["binanse"]), symbols: Vec::new() };
        assert!(typo.known().unwrap_err().message.contains("did you mean binance?"));
    }

    #[test]
    fn what_is_read_is_the_stream_of_all_or_that_of_each_exchange() {
        let names = |settings: &Settings, exchanges: &[&str]| -> Result<Vec<String>, String> {
            let exchanges: Vec<String> = exchanges.iter().map(ToString::to_string).collect();
            let streams = streams(settings, &exchanges).map_err(|failure| failure.message)?;
            Ok(streams.into_iter().map(|nats| nats.jetstream.stream_name).collect())
        };
        let mut settings = Settings::default();
        assert_eq!(names(&settings, &["okx"]).unwrap(), ["MARKET_DATA"]);
        settings.transport.nats.jetstream.stream_per_exchange = true;
        assert!(names(&settings, &[]).unwrap_err().contains("--exchange"));
        assert_eq!(names(&settings, &["okx", "OKX"]).unwrap(), ["MARKET_DATA_OKX"]);
        for name in ["okx", "binance"] {
            settings.exchanges.entry(name.to_owned()).or_default();
        }
        assert_eq!(names(&settings, &[]).unwrap(), ["MARKET_DATA_BINANCE", "MARKET_DATA_OKX"]);
        let told = stream(&settings, &[], "record").unwrap_err().message;
        assert!(told.contains("MARKET_DATA_BINANCE, MARKET_DATA_OKX: choose it by one --exchange"), "{told}");
        assert_eq!(stream(&settings, &["okx".to_owned()], "record").unwrap().jetstream.stream_name, "MARKET_DATA_OKX");
    }
}
