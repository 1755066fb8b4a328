//! SIGINT and SIGTERM for commands that have something to complete before they end.

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Whether we are told to end.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    came: bool,
}

impl Stop {
    /// From here on the signals no longer end the process by themselves.
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("no signals: {error}")));
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, came: false })
    }

    /// Returns when one has come.
    pub(super) async fn wait(&mut self) {
        if self.came {
            return;
        }
        self.again().await;
    }

    /// Returns when one comes, whether or not one has come before.
    pub(super) async fn again(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.came = true;
    }

    /// Whether one has come; what else waits has its turn.
    pub(super) async fn came(&mut self) -> bool {
        tokio::task::yield_now().await;
        self.wait().now_or_never().is_some()
    }
}
