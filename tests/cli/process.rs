//! One process of the binary: its two outputs as they grow, its exit code, and no trace of the tester's environment.

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// The binary, with nothing of the tester's own configuration.
pub(crate) fn binary(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DATA_MANAGER")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").args(arguments);
    command
}

/// What an ended process has left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts that a text stands on stderr.
    #[track_caller]
    pub(crate) fn tells(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        self
    }
}

/// A process that runs; killed where it is dropped.
pub(crate) struct Running {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Done {
    run_with(arguments, &[], "")
}

/// Runs the binary to its end, with variables and input.
pub(crate) fn run_with(arguments: &[&str], env: &[(&str, &str)], input: &str) -> Done {
    let mut command = binary(arguments);
    command.envs(env.iter().copied()).stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child.stdin.take().unwrap();
    // A command that reads no input may have closed it already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    running.end()
}

impl Running {
    /// Starts the binary with variables and no input.
    pub(crate) fn with(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = binary(arguments);
        command.envs(env.iter().copied()).stdin(Stdio::null());
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            keep(child.stdout.take().unwrap(), Arc::clone(&out)),
            keep(child.stderr.take().unwrap(), Arc::clone(&err)),
        ];
        Self { child, out, err, readers }
    }

    /// Waits until the outputs so far hold what is looked for.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, look: impl Fn(&str, &str) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // Looked at before the outputs are, so that nothing it wrote at its end is missed.
            let ended = self.child.try_wait().unwrap().is_some();
            if ended {
                self.readers.drain(..).for_each(|reader| reader.join().unwrap());
            }
            let (out, err) = (self.out.lock().unwrap().clone(), self.err.lock().unwrap().clone());
            if let Some(found) = look(&out, &err) {
                return found;
            }
            assert!(!ended, "it has ended: {out}\n{err}");
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {out}\n{err}");
            std::thread::sleep(PAUSE);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Done {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let err = self.err.lock().unwrap().clone();
            assert!(Instant::now() < deadline, "it has not ended within {DEADLINE:?}: {err}");
            std::thread::sleep(PAUSE);
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Done { code: status.code(), out: self.out.lock().unwrap().clone(), err: self.err.lock().unwrap().clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep(mut pipe: impl Read + Send + 'static, text: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = pipe.by_ref().read(&mut bytes) {
            // All that the binary writes to people is UTF-8; `decode --format raw` is read in another way.
            text.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    })
}
