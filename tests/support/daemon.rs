//! The daemon as a child process: started with settings by environment, watched by its log and its HTTP pages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_manager::sim::Sim;
use data_manager::transport::ipc::{DIRECTORY, segment_path};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for any machine; reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running daemon. Killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    http: String,
    prefix: String,
    exchanges: Vec<String>,
    /// Its rings and its spool stay behind: they are its successor's.
    keep: bool,
}

/// A daemon that is about to be started.
pub(crate) struct Spec {
    command: Command,
    prefix: String,
    exchanges: Vec<String>,
}

impl Spec {
    /// A daemon that reads the venues of `sim`, all their symbols, with rings of its own.
    pub(crate) fn new(sim: &Sim) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::named(sim, format!("/dm_e2e_{}_{number}_", std::process::id()))
    }

    /// As [`Self::new`], in the place of one that has ended: with its rings and its spool.
    pub(crate) fn instead_of(sim: &Sim, ended: &mut Daemon) -> Self {
        ended.keep = true;
        Self::named(sim, ended.prefix.clone())
    }

    fn named(sim: &Sim, prefix: String) -> Self {
        let mut this =
            Self { command: Command::new(env!("CARGO_BIN_EXE_data-manager")), prefix, exchanges: Vec::new() };
        this.command.args(["serve", "--ipc"]).env_remove("DATA_MANAGER_CONFIG").env_remove("RUST_LOG");
        this.set("TRANSPORT__IPC__SHM_PATH_PREFIX", &this.prefix.clone());
        this.set("TRANSPORT__IPC__CAPACITY", "131072");
        this.set("HTTP__LISTEN", "127.0.0.1:0");
        this.set("LOG__FORMAT", "json");
        this.set("TRANSPORT__NATS__OUTBOX_DIR", spool_of(&this.prefix).to_str().unwrap());
        // Less than the store of the test server.
        this.set("TRANSPORT__NATS__JETSTREAM__MAX_BYTES", "1GiB");
        this.venues(sim)
    }

    /// Points it at the venues of another simulation.
    pub(crate) fn venues(mut self, sim: &Sim) -> Self {
        self.exchanges.clear();
        for exchange in sim.venues() {
            let endpoint = sim.endpoint(exchange).unwrap();
            let name = exchange.to_ascii_uppercase().replace('-', "_");
            self.set(&format!("EXCHANGES__{name}__WS_URL"), &endpoint.ws_url);
            self.set(&format!("EXCHANGES__{name}__REST_URL"), &endpoint.rest_url);
            self.set(&format!("EXCHANGES__{name}__SYMBOLS"), &sim.symbols(exchange).join(","));
            self.exchanges.push(exchange.to_owned());
        }
        self
    }

    /// Leaves an exchange out.
    pub(crate) fn without(mut self, exchange: &str) -> Self {
        let name = exchange.to_ascii_uppercase().replace('-', "_");
        for key in ["WS_URL", "REST_URL", "SYMBOLS"] {
            self.command.env_remove(format!("DATA_MANAGER__EXCHANGES__{name}__{key}"));
        }
        self
    }

    /// Publishes to this server, or to these, separated by commas.
    pub(crate) fn nats(mut self, url: &str) -> Self {
        self.command.args(["--nats", url]);
        self
    }

    /// Sets a key, as in `TRANSPORT__NATS__WINDOW`.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.command.env(format!("DATA_MANAGER__{key}"), value);
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a variable of its environment that is no setting.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until it has started.
    pub(crate) fn start(mut self) -> Daemon {
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let heard = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let mut daemon =
            Daemon { child, log, http: String::new(), prefix: self.prefix, exchanges: self.exchanges, keep: false };
        daemon.http = daemon.wait(|daemon| daemon.field("started", "http"), "to start");
        daemon
    }

    /// The process, started by this shell script, in which `"$@"` is the command.
    pub(crate) fn within(mut self, script: &str) -> Self {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", script, "sh"]).arg(self.command.get_program());
        shell.args(self.command.get_args());
        for (key, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        self.command = shell;
        self
    }

    /// Starts it and waits for its end: its exit code, `None` by a signal, and all that it said.
    pub(crate) fn run_to_end(mut self) -> (Option<i32>, String) {
        let child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// Where a daemon keeps what does not fit into memory, unless a test says otherwise.
fn spool_of(prefix: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{}spool", prefix.trim_start_matches('/')))
}

impl Daemon {
    /// Waits until `ready` says something; fails with the log when that takes too long or the daemon has ended.
    pub(crate) fn wait<T>(&mut self, mut ready: impl FnMut(&mut Self) -> Option<T>, what: &str) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = ready(self) {
                return value;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "waiting for it {what}, the daemon ended with {ended:?}:\n{}", self.log());
            assert!(
                start.elapsed() < DEADLINE,
                "waited in vain for it {what}; /status says {}",
                self.page("/status").1
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A field of the first log line with this message.
    pub(crate) fn field(&self, message: &str, field: &str) -> Option<String> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let line = lines.find(|line| line["message"] == message)?;
        line[field].as_str().map(str::to_owned)
    }

    /// Status code and body of one of its pages; 0 when nobody answers.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let get = || {
            let mut stream = TcpStream::connect(&self.http).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        };
        get().unwrap_or_default()
    }

    /// A metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.page("/metrics");
        let of = |line: &str| {
            let rest = line.strip_prefix("data_manager_")?.strip_prefix(name)?;
            (rest.starts_with(['{', ' '])).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        };
        // Totals are whole; a scrape that failed counts as nothing.
        format!("{:.0}", text.lines().filter_map(of).sum::<f64>()).parse().unwrap()
    }

    /// A metric, summed over those of its labels that name this, such as `exchange="binance"`.
    pub(crate) fn metric_of(&self, name: &str, label: &str) -> u64 {
        let (_, text) = self.page("/metrics");
        let of = |line: &str| {
            let rest = line.strip_prefix("data_manager_")?.strip_prefix(name)?.strip_prefix('{')?;
            let (labels, value) = rest.split_once('}')?;
            labels.contains(label).then(|| value.trim().parse::<f64>().ok()).flatten()
        };
        format!("{:.0}", text.lines().filter_map(of).sum::<f64>()).parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// Where the ring of an exchange is.
    pub(crate) fn segment(&self, exchange: &str) -> PathBuf {
        segment_path(DIRECTORY.as_ref(), &self.prefix, exchange).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it said last is read by another thread.
                std::thread::sleep(Duration::from_millis(50));
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn drain(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "it did not drain cleanly:\n{}", self.log());
        self.log()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.keep {
            return;
        }
        let _ = std::fs::remove_dir_all(spool_of(&self.prefix));
        for exchange in &self.exchanges {
            let segment = self.segment(exchange);
            for path in [segment.clone(), PathBuf::from(format!("{}.lock", segment.display()))] {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
