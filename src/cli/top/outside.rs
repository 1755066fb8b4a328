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
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    signals: Vec<(Signal, Heard)>,
    /// The address and what asks; or why nobody is asked.
    daemon: Result<(String, reqwest::Client), String>,
    asking: Option<Asking>,
}

/// What came during a turn.
#[derive(Debug)]
pub(super) enum News {
    Nothing,
    Status(Box<Result<Status, String>>),
    Signal(Heard),
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// To end.
    Stop,
    /// The process goes on after it was stopped: others have had the terminal.
    Continued,
    /// The terminal has another size.
    Resized,
}

impl Outside {
    /// Listens to signals; `url` is the daemon's, or why there is none.
    pub(super) fn open(url: Result<String, String>) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::failed(format!("no runtime: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let signals = {
            let _entered = runtime.enter();
            let kinds = [
                (SignalKind::terminate(), Heard::Stop),
                (SignalKind::interrupt(), Heard::Stop),
                (SignalKind::hangup(), Heard::Stop),
                (SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()), Heard::Continued),
                (SignalKind::window_change(), Heard::Resized),
            ];
            let listen = |(kind, heard)| signal(kind).map(|signal| (signal, heard));
            kinds.into_iter().map(listen).collect::<Result<_, _>>().map_err(fail)?
        };
        // Several providers may be linked in; the first who asks settles which one is meant.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // The daemon is near: no proxy between.
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let client = client.map_err(|error| Failure::failed(format!("--status: {error}")))?;
        let daemon = url.map(|url| (format!("{}/status", url.trim_end_matches('/')), client));
        Ok(Self { runtime: Some(runtime), signals, daemon, asking: None })
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
        let Self { runtime: Some(runtime), signals, asking, .. } = self else { return News::Nothing };
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
                    heard = any(signals) => News::Signal(heard),
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

impl Drop for Outside {
    fn drop(&mut self) {
        // The system's own look-up of names cannot be broken off, and nobody waits for what it finds.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the first signal says.
async fn any(signals: &mut [(Signal, Heard)]) -> Heard {
    std::future::poll_fn(|context| {
        let got = signals.iter_mut().find_map(|(signal, heard)| signal.poll_recv(context).is_ready().then_some(*heard));
        got.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

/// An address to be shown: without a password.
fn shown(url: &str) -> String {
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return "the address that was given".to_owned() };
    if parsed.username().is_empty() && parsed.password().is_none() {
        return url.to_owned();
    }
    let hidden = parsed.set_username("").and_then(|()| parsed.set_password(None));
    hidden.map_or_else(|()| "the address that was given".to_owned(), |()| parsed.to_string())
}

async fn ask(client: reqwest::Client, address: String) -> Result<Status, String> {
    let url = shown(&address);
    let fail = |error: &reqwest::Error| format!("{}, at {url}", cause(error));
    let mut answer = client.get(&address).send().await.map_err(|error| fail(&error))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(shown("http://127.0.0.1:9464/status"), "http://127.0.0.1:9464/status");
        assert_eq!(shown("http://me:secret@host:1/status"), "http://host:1/status");
        assert!(!shown("http://me:secret@:x:y").contains("secret"));
    }

    #[test]
    fn its_end_waits_for_nobody() {
        let outside = Outside::open(Err("not asked".to_owned())).unwrap();
        let looked_up = Duration::from_secs(60);
        // As a server of names that does not answer.
        outside.runtime.as_ref().unwrap().spawn_blocking(move || std::thread::sleep(looked_up));
        let start = clock::now();
        drop(outside);
        assert!(clock::now() - start < looked_up / 2);
    }
}
