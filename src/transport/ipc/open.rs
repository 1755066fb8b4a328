//! Opening a segment for reading, and every way in which that fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::layout::HeaderError;
use super::segment::{ReadError, Segment, open_checked};

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing there.
    #[error("no ring at {path}; is `data-manager serve --ipc` running?")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Not allowed.
    #[error("no permission to read {path}; join its group, or change transport.ipc.mode of the writer")]
    Permission {
        /// The segment.
        path: PathBuf,
    },
    /// A pipe, a directory, a device.
    #[error("{path} is not a regular file, so no ring")]
    NotAFile {
        /// What was to be opened.
        path: PathBuf,
    },
    /// A file, but no segment of this version, or not all of it.
    #[error("{path}: {source}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The system refused.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The segment.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// An open segment: the file is kept to watch its length.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) segment: Segment,
    pub(super) file: File,
    /// Device and inode.
    pub(super) identity: (u64, u64),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { path: path.to_owned(), source };
        let (file, header) = open_checked(path).map_err(|error| open_error(path, error))?;
        let metadata = file.metadata().map_err(io_error)?;
        let segment = Segment::map_read_only(&file, header).map_err(io_error)?;
        Ok(Self { segment, file, identity: (metadata.dev(), metadata.ino()) })
    }
}

fn open_error(path: &Path, error: ReadError) -> OpenError {
    let path = path.to_owned();
    match error {
        ReadError::Io(source) if source.kind() == io::ErrorKind::NotFound => OpenError::Missing { path },
        ReadError::Io(source) if source.kind() == io::ErrorKind::PermissionDenied => OpenError::Permission { path },
        ReadError::Io(source) => OpenError::Io { path, source },
        ReadError::NotAFile => OpenError::NotAFile { path },
        ReadError::Header(source) => OpenError::Header { path, source },
    }
}
