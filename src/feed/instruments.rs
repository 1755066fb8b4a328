//! Asks a venue's REST API which instruments it has.

use std::time::Duration;

use super::rest::{AskError, RestClient};
use crate::exchange::{Exchange, ExchangeError, InstrumentInfo, Refused};

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentsError {
    /// The venue could not be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The venue says no.
    #[error("{url}: {refused}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What it said.
        refused: Refused,
    },
    /// The answer cannot be understood.
    #[error(transparent)]
    Answer(#[from] ExchangeError),
}

/// The instruments of a venue, from its REST API at `rest_url`.
///
/// # Errors
/// [`InstrumentsError`] when the venue does not answer within `timeout`, refuses, or answers something undocumented.
pub async fn instruments(
    exchange: &dyn Exchange,
    rest_url: &str,
    timeout: Duration,
) -> Result<Vec<InstrumentInfo>, InstrumentsError> {
    let client = RestClient::new(rest_url, timeout)?;
    let mut list = Vec::new();
    for path in exchange.instruments_paths() {
        let reply = client.get(&path).await?;
        let refused = |refused| InstrumentsError::Refused { url: format!("{}{path}", client.base()), refused };
        list.extend(exchange.parse_instruments(reply.success().map_err(refused)?)?);
    }
    Ok(list)
}
