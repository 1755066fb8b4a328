//! Asks a venue's REST API which instruments it has.

use std::time::Duration;

use crate::exchange::{Exchange, ExchangeError, InstrumentInfo};

/// Longest answer that is taken: the largest venue's list has some 15 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentsError {
    /// The venue could not be asked.
    #[error("{url}: {reason}")]
    Ask {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
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
    let url = format!("{}{}", rest_url.trim_end_matches('/'), exchange.instruments_path());
    let fail = |reason: String| InstrumentsError::Ask { url: url.clone(), reason };
    // Several providers may be linked in; the first who asks settles which one is meant.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(timeout)
        .user_agent(concat!("data-manager/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| fail(causes(&error)))?;
    let mut answer = client.get(&url).send().await.map_err(|error| fail(causes(&error)))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| fail(causes(&error)))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(fail(format!("more than {ANSWER_BYTES_MAX} bytes of answer")));
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body);
    if !status.is_success() {
        let words: String = body.chars().take(200).collect();
        return Err(fail(format!("the venue answers {status}: {words}")));
    }
    Ok(exchange.parse_instruments(&body)?)
}

fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
