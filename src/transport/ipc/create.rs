//! How a segment comes into being: filled under a temporary name with every byte allocated, then renamed.
//!
//! It knows nothing of records. Whoever calls it holds the segment's lock.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use super::layout::{Header, HeaderError, MAGIC};
use super::names::filling_path;
use super::segment::{NameError, Segment, open_checked};
use super::symbols::SymbolTableError;
use crate::transport::files::open_options;

/// Why there is no segment to write to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Prefix and exchange make no file name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Capacity, symbols or the exchange's name are out of range.
    #[error("transport.ipc: {0}")]
    Size(#[source] HeaderError),
    /// Another process writes this segment.
    #[error(
        "{path}: a live writer{} owns this ring; stop it, or give this one another transport.ipc.shm_path_prefix",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Busy {
        /// The segment.
        path: PathBuf,
        /// The live writer's process id, if it can be known.
        pid: Option<u32>,
    },
    /// The file system cannot hold the segment.
    #[error(
        "{path}: the ring takes {} and {directory} has {} free; lower transport.ipc.capacity, or enlarge {directory} \
         (docker: --shm-size, compose: shm_size, Kubernetes: sizeLimit of the emptyDir in memory)",
        mebibytes(*needed), mebibytes(*free)
    )]
    NoSpace {
        /// The segment.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// Bytes that the segment takes.
        needed: u64,
        /// Bytes that are free there, as far as the system tells.
        free: u64,
    },
    /// Something else lies under the segment's name.
    #[error("{path} is no ring of data-manager and is left alone; remove it, or change transport.ipc.shm_path_prefix")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The symbols do not fit.
    #[error("{path}: {source}")]
    Symbol {
        /// The segment.
        path: PathBuf,
        /// Which symbol, and why.
        source: SymbolTableError,
    },
    /// The system refused a step.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The step.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A segment under its temporary name; what is not published is removed again.
pub(super) struct Filling<'a> {
    path: &'a Path,
    temporary: PathBuf,
    file: File,
}

impl<'a> Filling<'a> {
    /// A new file with all its bytes allocated: on a full file system a hole in it would kill the writer with SIGBUS
    /// at the first record that falls into it.
    pub(super) fn create(path: &'a Path, len: u64) -> Result<Self, CreateError> {
        let temporary = filling_path(path);
        let failed = |action| {
            let path = temporary.clone();
            move |source| CreateError::Io { action, path, source }
        };
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
            _ => {}
        }
        let file = open_options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed("create"))?;
        let this = Self { path, temporary: temporary.clone(), file };
        match allocate(&this.file, len) {
            // The old segment may be all that is in the way, and its writer is gone: we hold the lock.
            Err(error) if is_full(&error) && fs::remove_file(path).is_ok() => allocate(&this.file, len),
            other => other,
        }
        .map_err(|error| if is_full(&error) { this.no_space(len) } else { failed("allocate")(error) })?;
        Ok(this)
    }

    /// Everything that a reader may rely on, before it can see any of it.
    pub(super) fn fill(&self, header: Header, mode: u32) -> Result<Segment, CreateError> {
        let failed = |action| move |source| CreateError::Io { action, path: self.temporary.clone(), source };
        self.file.write_all_at(&header.encode(), 0).map_err(failed("write"))?;
        self.file.set_permissions(Permissions::from_mode(mode & 0o777)).map_err(failed("set the mode of"))?;
        Segment::map_writable(&self.file, header).map_err(failed("map"))
    }

    /// Puts the segment under its name, in place of what was there, in one step.
    pub(super) fn publish(self) -> Result<(), CreateError> {
        fs::rename(&self.temporary, self.path).map_err(|source| CreateError::Io {
            action: "put the new segment in place of",
            path: self.path.to_owned(),
            source,
        })
    }

    fn no_space(&self, needed: u64) -> CreateError {
        // What our own half-made file holds is free again as soon as it is removed.
        let _ = self.file.set_len(0);
        let free = fstatvfs(&self.file).map_or(0, |vfs| vfs.f_bavail.saturating_mul(vfs.f_frsize));
        let directory = self.path.parent().unwrap_or(self.path).to_owned();
        CreateError::NoSpace { path: self.path.to_owned(), directory, needed, free }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        // After the rename there is nothing under this name, and the answer does not matter.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Allocates all bytes of a file, or fails.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) => return write_zeros(file, len),
            Err(error) => return Err(error.into()),
        }
    }
}

/// For file systems that cannot allocate ahead; shared memory can.
fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    let zeros = [0; 1 << 16];
    let mut at = 0;
    while at < len {
        let rest = usize::try_from(len - at).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all_at(&zeros[..rest], at)?;
        at += rest as u64;
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The epoch of the segment that lies under our name, `None` if there is none or it is beyond reading.
pub(super) fn previous_epoch(path: &Path) -> Result<Option<u64>, CreateError> {
    if let Ok((_, header)) = open_checked(path) {
        return Ok(Some(header.epoch));
    }
    let file = match open_options().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CreateError::Io { action: "read", path: path.to_owned(), source }),
    };
    // Damaged, cut off or of another version, a ring gives way; anything else is not ours to replace.
    let mut start = [0; 6];
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let ours = is_file && (empty || file.read_exact_at(&mut start, 0).is_ok() && start == MAGIC[..6]);
    if ours { Ok(None) } else { Err(CreateError::Foreign { path: path.to_owned() }) }
}

/// Bytes as people read them.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
