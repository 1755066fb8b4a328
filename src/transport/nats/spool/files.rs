//! The spool's directory: its lock, how files are opened, begun and set aside. It knows nothing of blocks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::SpoolError;
use super::layout::{HEADER_BYTES, NUMBER_MAX, SegmentHeader, filling_name, segment_name, segment_number};
use crate::transport::files::{Lock, LockError, is_held, open_options};

/// The lock's file. It is never removed; removing it would let two processes lock two different files.
pub(super) const LOCK_NAME: &str = "lock";

/// Takes the lock of a directory, at once or not at all.
pub(super) fn take_lock(directory: &Path) -> Result<Lock, SpoolError> {
    let path = directory.join(LOCK_NAME);
    Lock::take(&path, std::process::id()).map_err(|error| match error {
        LockError::Held { pid } => SpoolError::Busy { path: directory.to_owned(), pid },
        LockError::Io(source) => SpoolError::of("lock", path, source),
    })
}

/// Bytes of records in a directory that nobody has open, without taking it: the blocks of its segments, whole or not.
/// Nothing is there where it is missing. Records that were acknowledged may be among them.
///
/// # Errors
/// [`SpoolError::Busy`] while a live process has it open; [`SpoolError::Io`].
pub fn left_in(directory: &Path) -> Result<u64, SpoolError> {
    let failed = |source| SpoolError::of("read", directory.to_owned(), source);
    if is_held(&directory.join(LOCK_NAME)).map_err(failed)? {
        return Err(SpoolError::Busy { path: directory.to_owned(), pid: None });
    }
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(failed)?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().and_then(segment_number).is_some() {
            bytes += entry.metadata().map_err(failed)?.len().saturating_sub(HEADER_BYTES as u64);
        }
    }
    Ok(bytes)
}

/// Makes the directory where it is missing, for its owner alone.
pub(super) fn ensure_directory(directory: &Path) -> Result<(), SpoolError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| SpoolError::of("make the directory", directory.to_owned(), source))
}

/// Opens a segment for reading. Neither a symbolic link nor a named pipe of its name can lead us astray.
pub(super) fn open_segment(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes())).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Begins a segment: under another name until its header stands, and what `fill` puts behind it, so that a kill leaves
/// no file without them.
pub(super) fn begin_segment(
    directory: &Path,
    header: &SegmentHeader,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(File, PathBuf), SpoolError> {
    let filling = directory.join(filling_name(header.number));
    let path = directory.join(segment_name(header.number));
    if header.number > NUMBER_MAX {
        // Only a file that somebody named so leads here; what stood in the next one would not be found again.
        return Err(SpoolError::of("begin", path, io::Error::other("no number is left")));
    }
    let failed = |action| {
        let filling = filling.clone();
        move |source| SpoolError::of(action, filling, source)
    };
    // What a failed attempt left: it never held a record.
    match fs::remove_file(&filling) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
        _ => {}
    }
    let file =
        open_options().read(true).write(true).create_new(true).mode(0o600).open(&filling).map_err(failed("create"))?;
    let begun = file
        .write_all_at(&header.encode(), 0)
        .and_then(|()| fill(&file))
        .map_err(failed("write"))
        .and_then(|()| fs::rename(&filling, &path).map_err(failed("rename")));
    match begun {
        Ok(()) => Ok((file, path)),
        Err(error) => {
            let _ = fs::remove_file(&filling);
            Err(error)
        }
    }
}

/// Gives a file that is no segment a name that says so.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, SpoolError> {
    let mut attempt = 1_u32;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(".aside");
        if attempt > 1 {
            name.push(format!("-{attempt}"));
        }
        let target = PathBuf::from(name);
        // Only holders of the lock rename here, so nothing comes between the look and the step.
        if fs::symlink_metadata(&target).is_err() {
            return match fs::rename(path, &target) {
                Ok(()) => Ok(target),
                Err(source) => Err(SpoolError::of("set aside", path.to_owned(), source)),
            };
        }
        attempt += 1;
    }
}

/// Removes a segment's file; one that is gone already is as good as removed.
pub(super) fn remove(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::of("remove", path.to_owned(), source))
        }
        _ => Ok(()),
    }
}

/// Makes names and removals last through a loss of power, as far as the file system can.
pub(super) fn sync_directory(directory: &Path) -> Result<(), SpoolError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| SpoolError::of("sync", directory.to_owned(), source))
}
