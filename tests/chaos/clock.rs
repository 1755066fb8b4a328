//! A wall clock that a row can step, for one process: `clock/preload.c`, compiled and loaded in front of the C library.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/clock/preload.c");

/// The clock of the processes that are started with its environment.
pub(crate) struct SteppedClock {
    library: PathBuf,
    step: PathBuf,
    _directory: TempDir,
}

impl SteppedClock {
    /// One that goes right.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libstepped_clock.so");
        // The compiler that links Rust programs, so it is there.
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let output = compile.arg(&library).args([SOURCE, "-ldl"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let clock = Self { library, step: directory.path().join("step"), _directory: directory };
        clock.stand_off(0);
        clock
    }

    /// What a process needs in its environment to have this clock.
    pub(crate) fn environment(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [("LD_PRELOAD".to_owned(), text(&self.library)), ("STEPPED_CLOCK".to_owned(), text(&self.step))]
    }

    /// Sets it so many milliseconds off the host's, from now on.
    pub(crate) fn stand_off(&self, millis: i64) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.step).unwrap();
        file.write_all_at(&(millis * 1_000_000).to_ne_bytes(), 0).unwrap();
    }
}
