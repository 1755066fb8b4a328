//! What can go wrong with a spool: errors, which stop a call, and damage, which is passed over and told.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::layout::{BLOCK_RECORDS_MAX, VERSION};

/// Why a call on a spool failed. Nothing of what it was to append was then stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Limits that cannot be kept.
    #[error("spool limits of {bytes} bytes in segments of {segment_bytes}: {why}")]
    Limits {
        /// [`Limits::bytes`](super::Limits::bytes).
        bytes: u64,
        /// [`Limits::segment_bytes`](super::Limits::segment_bytes).
        segment_bytes: u64,
        /// What would be right.
        why: &'static str,
    },
    /// Another process, or another spool of this one, has the directory.
    #[error(
        "{path}: a live process{} uses this spool; stop it, or give this one another directory",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
        /// The holder's process id, if it can be known.
        pid: Option<u32>,
    },
    /// The directory holds records of another stream.
    #[error(
        "{path} holds records of stream {found:?}, not of {expected:?}; give each stream a spool directory of its own"
    )]
    Owner {
        /// The segment that says so.
        path: PathBuf,
        /// The owner that it names, cut to 56 bytes.
        found: String,
        /// The owner that was to open it.
        expected: String,
    },
    /// A segment of another release.
    #[error(
        "{path} has spool version {found}, this build reads version {VERSION}; let the release that wrote it send its \
         records, or move the file away"
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// More records than a block takes.
    #[error("{count} records at once; a block takes at most {BLOCK_RECORDS_MAX}")]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// The file system, a quota or a limit on the size of files leaves no room.
    #[error("no room to spool records in {path}: {source}")]
    Full {
        /// The segment.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system refused a step.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The step.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A place in a segment that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The segment; where it was set aside, its new name.
    pub path: PathBuf,
    /// Where the damage begins, bytes from the start of the file.
    pub offset: u64,
    /// Records that are lost by it; `None` where nothing tells.
    pub records: Option<u64>,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a place in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The segment's header is damaged; blocks behind it that hold are used.
    Header,
    /// No segment, or one in which no block holds. The file was renamed and is left alone.
    SetAside,
    /// The file ends inside of a block: the writer was killed there, or the file was cut off.
    Cut,
    /// The header of a block does not hold its check.
    BlockHeader,
    /// The records of a block do not hold their checksum.
    Checksum,
    /// Records that were there already.
    Repeated,
    /// Records that were there are gone without a trace.
    Missing,
    /// The system cannot read it.
    Unreadable(String),
}

impl SpoolError {
    /// The error for a failed step: a lack of room is told apart.
    pub(super) fn of(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { path, source },
            _ => Self::Io { action, path, source },
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.path.display(), self.offset, self.damage)?;
        match self.records {
            None => Ok(()),
            Some(records) => write!(f, " ({records} records lost)"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the segment's header is damaged"),
            Self::SetAside => f.write_str("nothing in it holds; set aside under this name"),
            Self::Cut => f.write_str("cut off inside of a block"),
            Self::BlockHeader => f.write_str("the header of a block is damaged"),
            Self::Checksum => f.write_str("the records of a block do not hold their checksum"),
            Self::Repeated => f.write_str("records that stood before already"),
            Self::Missing => f.write_str("records before this place are missing"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
        }
    }
}
