//! Connecting to NATS: servers, authentication, TLS.

use crate::config::settings::Nats;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No server answered, or it refused.
    #[error("{servers}: {source}")]
    Connect {
        /// The servers that were tried.
        servers: String,
        /// What async-nats said.
        source: async_nats::ConnectError,
    },
}

/// Dials once, on a connection that nothing else uses.
///
/// # Errors
/// [`ConnectError`] when no server can be reached or used.
pub async fn dial(settings: &Nats) -> Result<async_nats::Client, ConnectError> {
    let servers = settings.servers.join(",");
    async_nats::connect(&servers).await.map_err(|source| ConnectError::Connect { servers, source })
}
