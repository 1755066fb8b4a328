//! One live writer a segment: an advisory lock on a file beside it, held as long as the writer lives.
//!
//! The lock stands on a file of its own, `{segment}.lock`, because the segment is replaced by every writer: a lock on
//! it would be a lock on what has just been renamed away. The kernel drops the lock when its holder dies, however
//! it dies. The file is never removed; removing it would let two writers lock two different files.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::segment::open_options;

/// A lock without a holder's pid is tried this often, this far apart.
const TRIES: u32 = 40;
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// A held lock.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// A live process holds it.
    Held {
        /// Its process id, if it wrote one.
        pid: Option<u32>,
    },
    /// The file cannot be opened or locked.
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of a segment, at once or not at all.
    pub(super) fn take(segment: &Path, pid: u32) -> Result<Self, LockError> {
        let path = lock_path(segment);
        let failed = |source| LockError::Io { path: path.clone(), source };
        // Whoever can open the file can hold the lock, so only the owner can: a reader must not shut writers out.
        let mut file = open_options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => match read_pid(&mut file) {
                    // A writer that has just closed: its lock lives on in a child of its process until that one execs.
                    None if tries > 0 => std::thread::sleep(RETRY_AFTER),
                    pid => return Err(LockError::Held { pid }),
                },
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        // The pid only helps the next one's error message: a full disk must not stop us here.
        let _ = file.set_len(0).and_then(|()| file.write_all_at(format!("{pid}\n").as_bytes(), 0));
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        // Closing the file, which follows, gives the lock back.
    }
}

/// The lock's file of a segment.
pub(super) fn lock_path(segment: &Path) -> PathBuf {
    with_ending(segment, LOCK_ENDING)
}

/// The name under which a segment is filled. It is the same for every writer: only the holder of the lock uses it,
/// so that what a dead writer left under it is found and removed.
pub(super) fn filling_path(segment: &Path) -> PathBuf {
    with_ending(segment, FILLING_ENDING)
}

/// Ends the names of lock files.
pub(super) const LOCK_ENDING: &str = ".lock";
/// Ends the names of segments that are being filled.
pub(super) const FILLING_ENDING: &str = ".new";

fn with_ending(segment: &Path, ending: &str) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn read_pid(file: &mut File) -> Option<u32> {
    file.rewind().ok()?;
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
