//! The files beside a segment: its lock, and the name under which it is filled.
//!
//! The lock stands on a file of its own, `{segment}.lock`, because the segment is replaced by every writer: a lock on
//! it would be a lock on what has just been renamed away.

use std::path::{Path, PathBuf};

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
