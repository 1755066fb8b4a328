//! How far a command is, for people who wait for it.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::telemetry::clock;

/// How often progress is told, on a terminal and in the log.
const TELL_TERMINAL: Duration = Duration::from_millis(200);
const TELL_LOG: Duration = Duration::from_secs(5);
/// The clock is looked at once in so many records.
const TELL_RECORDS: u64 = 1_024;

/// So many of something.
pub(super) fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// So many bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).to_string()
}

/// Waits, and tells now and then that it still does.
pub(super) async fn waiting<T>(doing: &'static str, wanted: impl Future<Output = T>) -> T {
    let mut progress = Progress::new(doing);
    let (start, mut wanted) = (clock::now(), std::pin::pin!(wanted));
    loop {
        match tokio::time::timeout(TELL_TERMINAL, &mut wanted).await {
            Ok(done) => return done,
            Err(_) => progress.tell_time(clock::now().duration_since(start)),
        }
    }
}

/// Tells how far reading is: in place on a terminal, now and then in the log otherwise.
pub(super) struct Progress {
    /// What is done, for the log.
    doing: &'static str,
    terminal: bool,
    next: Instant,
    shown: bool,
}

impl Progress {
    pub(super) fn new(doing: &'static str) -> Self {
        let terminal = io::stderr().is_terminal();
        let wait = if terminal { TELL_TERMINAL } else { TELL_LOG };
        Self { doing, terminal, next: clock::now() + wait, shown: false }
    }

    /// Tells, now and then; `part` is how much of how much is done.
    pub(super) fn tell(&mut self, records: u64, part: impl FnOnce() -> Option<(u64, u64)>) {
        if !records.is_multiple_of(TELL_RECORDS) || clock::now() < self.next {
            return;
        }
        let percent = part().map(|(done, all)| done.saturating_mul(100) / all.max(1));
        if self.terminal {
            let percent = percent.map(|percent| format!(", {percent} %")).unwrap_or_default();
            eprint!("\r{records} records{percent}");
            let _ = io::stderr().flush();
            self.shown = true;
        } else {
            tracing::info!(records, percent, "{}", self.doing);
        }
        self.next = clock::now() + if self.terminal { TELL_TERMINAL } else { TELL_LOG };
    }

    /// Tells, now and then, how many bytes of about how many are done.
    pub(super) fn tell_bytes(&mut self, done: u64, all: u64) {
        if clock::now() < self.next {
            return;
        }
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100).min(100);
        if self.terminal {
            eprint!("\r{}: {}, {percent} %\x1b[K", self.doing, size(done));
            let _ = io::stderr().flush();
            self.shown = true;
        } else {
            tracing::info!(bytes = done, percent, "{}", self.doing);
        }
        self.next = clock::now() + if self.terminal { TELL_TERMINAL } else { TELL_LOG };
    }

    /// Tells, now and then, for how long something was waited for of which nothing more is known.
    fn tell_time(&mut self, time: Duration) {
        if clock::now() < self.next {
            return;
        }
        let seconds = time.as_secs();
        if self.terminal {
            eprint!("\r{}: {seconds} s\x1b[K", self.doing);
            let _ = io::stderr().flush();
            self.shown = true;
        } else {
            tracing::info!(seconds, "{}", self.doing);
        }
        self.next = clock::now() + if self.terminal { TELL_TERMINAL } else { TELL_LOG };
    }

    /// Clears the line.
    pub(super) fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// What went wrong is told on a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
