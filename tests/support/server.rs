//! One nats-server process with JetStream, a store of its own and a port that it keeps over restarts.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use super::ports::Reserved;

mod builder;

pub use builder::Builder;

/// What the tests run against when they name no version; `NATS_SERVER` may name another binary for it.
pub const DEFAULT_VERSION: &str = "2.15.1";
/// Long enough for any machine; reached only when something is broken.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// Behind it stand the builder's lines in a server's configuration.
const MORE: &str = "# more\n";
/// How many of the last lines of a log a failure shows.
const LOG_LINES: usize = 40;

/// A running (or killed) nats-server; gone with its store when dropped.
pub struct Server {
    binary: PathBuf,
    store: PathBuf,
    dir: TempDir,
    port: Reserved,
    monitor: Reserved,
    clustered: bool,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// Where in the log the present process began.
    log_start: usize,
}

impl Server {
    /// The default version with JetStream, answering.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.get()
    }

    /// Where its monitoring pages are.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor.get())
    }

    /// Whether there is a process; a paused one is one.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// As a crash: nothing is flushed, no connection is closed in order.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As an operator stops it: SIGTERM, then waits for its end.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return Some(status);
            }
            if start.elapsed() > DEADLINE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("nats-server did not end within {DEADLINE:?} after SIGTERM:\n{}", self.log_tail());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Starts it on its port with its store (after a kill, if it still runs) and blocks until it answers.
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
        self.wait_ready();
    }

    /// As `restart`, while the other tasks of this thread go on.
    pub async fn restart_live(&mut self) {
        self.kill9();
        self.launch();
        let start = Instant::now();
        while !self.is_ready() {
            self.check(start);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Nothing answers any more, every connection stays open.
    pub fn pause(&self) {
        let pid = self.signal(Signal::STOP);
        // Its threads run on for a moment after the signal was sent.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(pid), stopped).unwrap();
        assert!(status.is_some_and(|status| status.stopped()), "nats-server ended:\n{}", self.log_tail());
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGUSR2: it takes nobody new, asks its clients to go, and ends.
    pub fn lame_duck(&self) {
        self.signal(Signal::USR2);
    }

    /// Other lines of configuration in place of the builder's, and SIGHUP.
    pub fn reload(&self, lines: &str) {
        let path = self.path("server.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.split(MORE).next().unwrap();
        std::fs::write(&path, format!("{own}{MORE}{lines}\n")).unwrap();
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) -> Pid {
        let pid = Pid::from_child(self.child.as_ref().expect("the nats-server runs"));
        kill_process(pid, signal).unwrap();
        pid
    }

    /// What the server logged, over all its restarts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.path("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Starts the process and waits for nothing.
    pub fn launch(&mut self) {
        self.kill9();
        self.log_start = self.log().len();
        let log = File::options().create(true).append(true).open(self.path("server.log")).unwrap();
        let child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.path("server.conf"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.binary.display()));
        self.child = Some(child);
    }

    /// Blocks until it answers.
    pub fn wait_ready(&mut self) {
        let start = Instant::now();
        while !self.is_ready() {
            self.check(start);
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether clients may connect and, on a single server, JetStream is up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self.clustered { self.greets() } else { self.is_healthy() }
    }

    /// Whether the server calls itself healthy; in a cluster that asks for a meta leader that it follows.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.monitor("/healthz?js-server-only=true").is_some_and(|text| text.contains("\"ok\""))
    }

    fn greets(&self) -> bool {
        let Some(mut stream) = connect(self.port()) else { return false };
        let mut start = [0; 4];
        stream.read_exact(&mut start).is_ok() && &start == b"INFO"
    }

    /// What a page of the monitoring port says; asked without blocking for long.
    #[must_use]
    pub fn monitor(&self, page: &str) -> Option<String> {
        let mut stream = connect(self.monitor.get())?;
        write!(stream, "GET {page} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
    }

    /// Panics when the server will not come up any more; starts it again when its port was not free yet.
    fn check(&mut self, start: Instant) {
        assert!(start.elapsed() < DEADLINE, "nats-server not ready within {DEADLINE:?}:\n{}", self.log_tail());
        let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) else { return };
        let log = self.log();
        if log[self.log_start..].contains("address already in use") {
            std::thread::sleep(10 * PAUSE);
            self.launch();
        } else {
            panic!("nats-server ended at its start, {status}:\n{}", self.log_tail());
        }
    }

    /// Where JetStream keeps its files.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A second panic would abort the whole test program.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the end of the nats-server's log ---\n{}", self.log_tail());
        }
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    Some(stream)
}

/// The binary of a version, from `NATS_SERVER` or from where `make tools` puts it.
fn binary(version: &str) -> PathBuf {
    if let Some(named) = std::env::var_os("NATS_SERVER").filter(|name| version == DEFAULT_VERSION && !name.is_empty()) {
        return named.into();
    }
    let path = format!("{}/.tools/nats-server-{version}/nats-server", env!("CARGO_MANIFEST_DIR"));
    match std::fs::metadata(&path) {
        Ok(_) => path.into(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("there is no nats-server {version} in .tools/: run `make tools`")
        }
        Err(error) => panic!("{path}: {error}"),
    }
}
