//! Asks a venue's REST API: one request, one reply, both bounded.

use std::time::Duration;

use crate::exchange::Reply;

/// Longest answer that is taken: the largest venue's instruments have some 15 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A venue that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct AskError {
    /// What was asked for.
    pub url: String,
    /// What went wrong.
    pub reason: String,
}

/// A client of one venue's REST API. Its connections are kept and used again.
#[derive(Clone, Debug)]
pub struct RestClient {
    base: String,
    client: reqwest::Client,
}

impl RestClient {
    /// A client of the API at `base`; no request takes longer than `timeout`.
    ///
    /// # Errors
    /// [`AskError`] when TLS cannot be had.
    pub fn new(base: &str, timeout: Duration) -> Result<Self, AskError> {
        // Several providers may be linked in; the first who asks settles which one is meant.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .user_agent(concat!("data-manager/", env!("CARGO_PKG_VERSION")))
            .build();
        let base = base.trim_end_matches('/').to_owned();
        match client {
            Ok(client) => Ok(Self { base, client }),
            Err(error) => Err(AskError { url: base, reason: causes(&error) }),
        }
    }

    /// The reply to a request, whatever its status.
    ///
    /// # Errors
    /// [`AskError`] when there is none within the time, or it is longer than any that a venue could mean.
    pub async fn get(&self, path: &str) -> Result<Reply, AskError> {
        let url = format!("{}{path}", self.base);
        let fail = |reason: String| AskError { url: url.clone(), reason };
        let mut answer = self.client.get(&url).send().await.map_err(|error| fail(causes(&error)))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| fail(causes(&error)))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(fail(format!("more than {ANSWER_BYTES_MAX} bytes of answer")));
            }
            body.extend_from_slice(&chunk);
        }
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Reply {
            status: answer.status().as_u16(),
            headers: answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// What is asked, for messages.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
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
