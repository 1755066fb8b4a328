//! Signals, and `/status` asked over HTTP, on a runtime that runs only while it is given its turn.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::status::Status;
use crate::cli::Failure;

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A status is a few hundred kilobytes at most; the answer of another program may be anything.
const ANSWER_BYTES_MAX: usize = 16 << 20;

type Asking = Pin<Box<dyn Future<Output = Result<Status, String>>>>;

/// What comes from outside.
pub(super) struct Outside {
    runtime: Runtime,
    signals: Vec<Signal>,
    /// The address and what asks; or why nobody is asked.
    daemon: Result<(String, reqwest::Client), String>,
    asking: Option<Asking>,
}

/// What came during a turn.
#[derive(Debug)]
pub(super) enum News {
    Nothing,
    Status(Box<Result<Status, String>>),
    Stop,
}

impl Outside {
    /// Listens to signals; `url` is the daemon's, or why there is none.
    pub(super) fn open(url: Result<String, String>) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::failed(format!("no runtime: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let signals = {
            let _entered = runtime.enter();
            let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
            kinds.into_iter().map(signal).collect::<Result<_, _>>().map_err(fail)?
        };
        // Several providers may be linked in; the first who asks settles which one is meant.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // The daemon is near: no proxy between.
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let client = client.map_err(|error| Failure::failed(format!("--status: {error}")))?;
        let daemon = url.map(|url| (format!("{}/status", url.trim_end_matches('/')), client));
        Ok(Self { runtime, signals, daemon, asking: None })
    }

    /// Asks the daemon, unless it is being asked. Whoever is not to be asked gives its reason at once.
    pub(super) fn ask(&mut self) -> Option<String> {
        match &self.daemon {
            Err(reason) => Some(reason.clone()),
            Ok((url, client)) => {
                let (url, client) = (url.clone(), client.clone());
                self.asking.get_or_insert_with(|| Box::pin(ask(client, url)));
                None
            }
        }
    }

    /// Waits so long at most.
    pub(super) fn turn(&mut self, wait: Duration) -> News {
        let Self { runtime, signals, asking, .. } = self;
        let news = runtime.block_on(async {
            // Sockets and signals have their turn first, so that a wait of zero sees what has arrived.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let answer = async {
                match asking {
                    Some(asking) => asking.await,
                    None => pending().await,
                }
            };
            let news = async {
                tokio::select! {
                    biased;
                    () = any(signals) => News::Stop,
                    answer = answer => News::Status(Box::new(answer)),
                }
            };
            tokio::time::timeout(wait, news).await.unwrap_or(News::Nothing)
        });
        if let News::Status(_) = news {
            self.asking = None;
        }
        news
    }
}

/// Ends with the first signal.
async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        let got = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if got { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

async fn ask(client: reqwest::Client, url: String) -> Result<Status, String> {
    let fail = |error: &reqwest::Error| format!("{}, at {url}", cause(error));
    let mut answer = client.get(&url).send().await.map_err(|error| fail(&error))?;
    if !answer.status().is_success() {
        return Err(format!("{}, at {url}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| fail(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("more than {ANSWER_BYTES_MAX} bytes of answer, at {url}"));
        }
        body.extend_from_slice(&chunk);
    }
    Status::parse(&String::from_utf8_lossy(&body)).map_err(|error| format!("{error}, at {url}"))
}

/// The innermost cause, which is what a line has room for.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {}s", TIMEOUT.as_secs());
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
