//! The runtime of a source: it runs while the caller waits, and ends without waiting for anything.

use std::future::Future;

use tokio::runtime::{Builder, Handle, Runtime};
#[cfg(feature = "ipc")]
use tokio::task::JoinHandle;

use super::SourceError;

/// A runtime on the caller's own thread.
pub(super) struct Own(Option<Runtime>);

impl Own {
    /// Makes one.
    pub(super) fn new() -> Result<Self, SourceError> {
        not_inside_another()?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(SourceError::Runtime)?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a future to its end, and tasks beside it.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> Result<T, SourceError> {
        not_inside_another()?;
        match &self.0 {
            Some(runtime) => Ok(runtime.block_on(future)),
            None => Err(refused("the source is being dropped")),
        }
    }

    /// Begins a task that runs while something else is waited for.
    #[cfg(feature = "ipc")]
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        self.0.as_ref().map(|runtime| runtime.spawn(future))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Neither waits for a name that is being looked up, nor minds where it is dropped.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A runtime cannot run inside another one: that would be a panic, deep inside.
fn not_inside_another() -> Result<(), SourceError> {
    match Handle::try_current() {
        Ok(_) => Err(refused(
            "the stream's source has a runtime of its own, which cannot run inside another one: open it and read it on \
             a thread of its own (std::thread::spawn; spawn_blocking stays inside)",
        )),
        Err(_) => Ok(()),
    }
}

fn refused(message: &str) -> SourceError {
    SourceError::Config { message: message.to_owned() }
}
