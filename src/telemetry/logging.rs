//! Logs: transitions, pretty on a terminal and JSON otherwise, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Why logging does not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "log level {filter:?}: {reason}; write a level such as \"info\", or a filter such as \"info,data_manager::feed=debug\""
)]
pub struct LogError {
    /// The filter.
    pub filter: String,
    /// What is wrong.
    pub reason: String,
}

/// Checks a filter.
///
/// # Errors
/// [`LogError`] when it is no filter.
pub fn filter(text: &str) -> Result<EnvFilter, LogError> {
    // async-nats tells each failed dial at a level of its own: the publisher says the same in its own words.
    let quiet = if text.contains("async_nats") { text.to_owned() } else { format!("async_nats=off,{text}") };
    EnvFilter::try_new(quiet).map_err(|error| LogError { filter: text.to_owned(), reason: error.to_string() })
}

/// Starts logging to stderr. `RUST_LOG` beats `level`. A second call changes nothing.
///
/// # Errors
/// [`LogError`] when the filter cannot be used.
pub fn start(level: &str, format: Format) -> Result<(), LogError> {
    let from_env = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter(from_env.as_deref().unwrap_or(level))?;
    let terminal = std::io::stderr().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let json = match format {
        Format::Auto => !terminal,
        Format::Pretty => false,
        Format::Json => true,
    };
    install(filter, json, colours, std::io::stderr);
    report_panics();
    Ok(())
}

fn install<W>(filter: EnvFilter, json: bool, colours: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // Logging that runs already stays as it is.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(colours).with_target(false).try_init()
    };
}

/// A panic is one line in the log, with its place.
fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_with_an_example() {
        assert!(filter("info,data_manager::feed=debug").is_ok());
        let error = filter("info,data_manager=loud").unwrap_err().to_string();
        assert!(error.contains("loud") || error.contains("invalid"), "{error}");
        assert!(error.contains("data_manager::feed=debug"), "{error}");
    }
}
