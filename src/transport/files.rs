//! Files with one live owner: how they are opened, and the advisory lock that its owner holds as long as it lives.
//!
//! The kernel drops the lock when its holder dies, however it dies. The file is never removed; removing it would let
//! two processes lock two different files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

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
    Io(io::Error),
}

impl Lock {
    /// Takes the lock on the file `path`, at once or not at all.
    ///
    /// # Errors
    /// [`LockError`] when somebody else holds it, or the file cannot be had.
    pub(super) fn take(path: &Path, pid: u32) -> Result<Self, LockError> {
        // Whoever can open the file can hold the lock, so only the owner can: a reader must not shut writers out.
        let mut file = open_options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(LockError::Io)?;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => match read_pid(&mut file) {
                    // One that has just closed: its lock lives on in a child of its process until that one execs. Or
                    // somebody only looks, and has not cleared yet what a killed holder wrote.
                    pid if tries > 0 && pid.is_none_or(is_dead) => std::thread::sleep(RETRY_AFTER),
                    pid => return Err(LockError::Held { pid }),
                },
                Err(TryLockError::Error(source)) => return Err(LockError::Io(source)),
            }
        }
        // The pid only helps the next one's error message: a full disk must not stop us here.
        let _ = file.set_len(0).and_then(|()| file.write_all_at(format!("{pid}\n").as_bytes(), 0));
        Ok(Self { file })
    }
}

/// Whether a live process holds the lock on the file `path`; nobody does where there is none. Whoever wants to take it
/// at this moment finds no pid there, or that of a dead process, and tries again; others may look at the same time.
///
/// # Errors
/// The file cannot be opened or locked.
#[cfg(feature = "daemon")]
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    let file = match open_options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => {
            // Of a holder that was killed.
            let _ = file.set_len(0);
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        // Closing the file, which follows, gives the lock back.
    }
}

/// How a file of ours is opened: never through a symbolic link, since others may write to the directory.
pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(i32::from_ne_bytes(OFlags::NOFOLLOW.bits().to_ne_bytes()));
    options
}

/// Whether there is surely no such process here. One of another container may seem so: then a lock takes a moment more.
fn is_dead(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

fn read_pid(file: &mut File) -> Option<u32> {
    file.rewind().ok()?;
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_who_only_looks_keeps_nobody_from_the_lock_of_a_killed_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        std::fs::write(&path, format!("{dead}\n")).unwrap();
        let looking = File::open(&path).unwrap();
        looking.lock_shared().unwrap();
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| Lock::take(&path, 1));
            drop(looking);
            let lock = taking.join().unwrap().unwrap();
            assert!(matches!(Lock::take(&path, 2), Err(LockError::Held { pid: Some(1) })));
            drop(lock);
        });
    }
}
