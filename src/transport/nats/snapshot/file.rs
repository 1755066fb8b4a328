//! A snapshot in a file: what it is of in front, the server's own bytes, and behind them a checksum of all of it.
//!
//! ```text
//! "DMBACKUP"  version: u32  length: u32  header, JSON    what it is of, as the server said
//! data                                                   the snapshot as it came
//! footer, JSON   length: u32   SHA-256 of all before it: 32 bytes   "DMBKPEND"
//! ```
//!
//! Numbers are little-endian. A file is written under another name and gets its own once it is whole and on the disk.
//! It knows nothing of servers.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Content, State, is_name};
use crate::transport::files::open_options;

const MAGIC: &[u8; 8] = b"DMBACKUP";
const END: &[u8; 8] = b"DMBKPEND";
const VERSION: u32 = 1;
/// In front of the header.
const HEAD_BYTES: usize = MAGIC.len() + 4 + 4;
/// Behind the footer.
const TAIL_BYTES: usize = 4 + SHA256_OUTPUT_LEN + END.len();
/// Header and footer are no longer than this, in bytes: a stream's configuration may name thousands of subjects.
const JSON_MAX: usize = 16 << 20;
/// What is read at a time.
const READ_BYTES: usize = 256 << 10;

/// Why a file is not written, or not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system does not do it.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is one.
    #[error("{0} exists already: give --force to replace it, or another name")]
    Exists(String),
    /// Somebody writes it.
    #[error("{0}: another backup into this file is under way")]
    Busy(String),
    /// It cannot be restored.
    #[error("{path}: {what}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// What a backup is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The stream.
    pub stream: String,
    /// When, as RFC 3339.
    pub time: String,
    /// The server's version.
    pub server: String,
    /// Its configuration, as the server said it.
    pub config: Value,
    /// Its state as the snapshot began.
    pub state: State,
}

impl Header {
    /// Whether it can be used as it stands: whoever writes a file can write a checksum too, and a name goes into the
    /// subjects that servers are asked by.
    fn check(&self) -> Result<(), String> {
        if !is_name(&self.stream) {
            return Err(format!("is of a stream {:?}, which no server could have", self.stream));
        }
        if self.config.get("name").and_then(Value::as_str) != Some(&self.stream) {
            return Err(format!("is of stream {}, and its configuration is another stream's", self.stream));
        }
        let texts = [&self.time, &self.server, &self.state.first_ts, &self.state.last_ts];
        match texts.iter().find(|text| text.contains(char::is_control)) {
            Some(text) => Err(format!("has {text:?} in its header, which no server says")),
            None => Ok(()),
        }
    }
}

/// What is known at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Footer {
    /// The stream's state as the snapshot ended.
    pub after: State,
    /// What is in it.
    pub content: Content,
}

/// A backup that is being written; gone when it is dropped before its end.
pub struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    sum: Context,
    bytes: u64,
    force: bool,
    done: bool,
}

impl Writer {
    /// Begins one; a file that is there is replaced at the end if `force` says so.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn create(path: &Path, force: bool) -> Result<Self, FileError> {
        let name = path.file_name().filter(|_| !path.is_dir());
        let name = name.ok_or_else(|| unusable(path, "is a directory: name a file in it"))?;
        refuse_existing(path, force)?;
        let temporary = path.with_file_name(format!(".{}.part", name.to_string_lossy()));
        let file = begin(path, &temporary)?;
        Ok(Self { path: path.to_owned(), temporary, file, sum: Context::new(&SHA256), bytes: 0, force, done: false })
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn header(&mut self, header: &Header) -> Result<(), FileError> {
        let json = self.json(header)?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.write(&[MAGIC.as_slice(), &VERSION.to_le_bytes(), &length, &json].concat())
    }

    /// Writes what comes next.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|source| io_error(&self.temporary, source))
    }

    /// Ends it and gives it its name: its size in bytes, and its checksum.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn finish(mut self, footer: &Footer) -> Result<(u64, String), FileError> {
        let json = self.json(footer)?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.write(&[json.as_slice(), &length].concat())?;
        let sum = self.sum.clone().finish();
        self.write(&[sum.as_ref(), END].concat())?;
        let Self { path, temporary, file, .. } = &self;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        file.sync_all().map_err(|source| io_error(temporary, source))?;
        give_name(temporary, path, self.force)?;
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        // From here on a file of the temporary name is somebody else's.
        self.done = true;
        synced.map_err(|source| io_error(&self.path, source))?;
        Ok((self.bytes, hex(sum.as_ref())))
    }

    fn json(&self, part: &impl Serialize) -> Result<Vec<u8>, FileError> {
        let json = serde_json::to_vec(part).map_err(|error| unusable(&self.path, &error.to_string()))?;
        if json.len() > JSON_MAX {
            return Err(unusable(&self.path, "the stream's configuration is too large for a backup"));
        }
        Ok(json)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// A backup that is to be read.
pub struct Backup {
    path: PathBuf,
    file: File,
    /// What it is of.
    pub header: Header,
    /// What was known at its end.
    pub footer: Footer,
    /// Where the snapshot lies in it: first byte, and the one behind the last.
    data: (u64, u64),
    /// Bytes of all of it.
    pub bytes: u64,
    sum: Vec<u8>,
}

impl Backup {
    /// Opens one. Nothing of it is to be believed before [`Check`] is through.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let bad = |what: &str| unusable(path, what);
        let io = |source| io_error(path, source);
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(bad("is no file"));
        }
        let bytes = metadata.len();
        let mut head = [0; HEAD_BYTES];
        let whole = file.read_exact_at(&mut head, 0);
        let (rest, length) = split(&head);
        let (magic, version) = split(rest);
        if whole.is_err() || magic != MAGIC {
            return Err(bad("is no backup of a stream"));
        }
        if version != VERSION {
            let what = format!("is a backup of version {version}, and this program reads version {VERSION}: update it");
            return Err(bad(&what));
        }
        let mut tail = [0; TAIL_BYTES];
        let start = bytes.saturating_sub(TAIL_BYTES as u64);
        let whole = file.read_exact_at(&mut tail, start);
        let (rest, end) = tail.split_at(TAIL_BYTES - END.len());
        let (footer_length, sum) = rest.split_at(4);
        if whole.is_err() || end != END {
            return Err(bad("is cut off: its end is missing; copy it again from where it was made"));
        }
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let behind = HEAD_BYTES as u64 + u64::from(length);
        let before = start.checked_sub(number(footer_length)).filter(|before| *before >= behind);
        let before = before.ok_or_else(|| bad(DAMAGED))?;
        let header: Header = part(&file, HEAD_BYTES as u64, behind).ok_or_else(|| bad(DAMAGED))?;
        header.check().map_err(|what| bad(&what))?;
        let footer = part(&file, before, start).ok_or_else(|| bad(DAMAGED))?;
        Ok(Self { path: path.to_owned(), file, header, footer, data: (behind, before), bytes, sum: sum.to_vec() })
    }

    /// Begins to compare its checksum.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn check(&mut self) -> Result<Check<'_>, FileError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|source| io_error(&self.path, source))?;
        let end = self.bytes - (SHA256_OUTPUT_LEN + END.len()) as u64;
        Ok(Check { backup: self, sum: Context::new(&SHA256), done: 0, end, buffer: vec![0; READ_BYTES] })
    }

    /// Bytes of the snapshot.
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        self.data.1 - self.data.0
    }

    /// So many bytes of the snapshot at most, from there on; none at its end.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn data(&self, from: u64, most: usize) -> Result<Vec<u8>, FileError> {
        let left = usize::try_from(self.data_bytes().saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        let read = self.file.read_exact_at(&mut bytes, self.data.0 + from);
        read.map(|()| bytes).map_err(|source| io_error(&self.path, source))
    }

    /// Its checksum.
    #[must_use]
    pub fn sum(&self) -> String {
        hex(&self.sum)
    }
}

/// A backup whose checksum is being compared.
pub struct Check<'a> {
    backup: &'a mut Backup,
    sum: Context,
    done: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl Check<'_> {
    /// Reads on: how many bytes are done, and of how many; `None` once all of it is as it was written.
    ///
    /// # Errors
    /// [`FileError`]; also when it is not.
    pub fn step(&mut self) -> Result<Option<(u64, u64)>, FileError> {
        let left = usize::try_from(self.end - self.done).unwrap_or(usize::MAX).min(self.buffer.len());
        if left == 0 {
            let same = self.sum.clone().finish().as_ref() == self.backup.sum;
            return if same { Ok(None) } else { Err(unusable(&self.backup.path, DAMAGED)) };
        }
        let buffer = self.buffer.get_mut(..left).unwrap_or_default();
        let read = self.backup.file.read(buffer).map_err(|source| io_error(&self.backup.path, source))?;
        if read == 0 {
            return Err(unusable(&self.backup.path, "became shorter while it was read"));
        }
        self.sum.update(buffer.get(..read).unwrap_or_default());
        self.done += read as u64;
        Ok(Some((self.done, self.end)))
    }
}

/// A new file under the temporary name, and locked. What a killed one has left is removed, and one that lives is left
/// alone.
fn begin(path: &Path, temporary: &Path) -> Result<File, FileError> {
    let io = |source| io_error(temporary, source);
    let busy = || FileError::Busy(path.display().to_string());
    // Only its owner reads it: a bucket may hold secrets.
    let new = || open_options().read(true).write(true).create_new(true).mode(0o600).open(temporary);
    let file = match new() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let old = open_options().read(true).write(true).open(temporary).map_err(io)?;
            lock(&old, temporary)?.then_some(()).ok_or_else(busy)?;
            fs::remove_file(temporary).map_err(io)?;
            new().map_err(|error| if error.kind() == io::ErrorKind::AlreadyExists { busy() } else { io(error) })?
        }
        file => file.map_err(io)?,
    };
    if lock(&file, temporary)? { Ok(file) } else { Err(busy()) }
}

/// Locks a file, unless somebody else has done so, or has given it another name since it was opened.
fn lock(file: &File, path: &Path) -> Result<bool, FileError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(source)) => return Err(io_error(path, source)),
    }
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let mine = file.metadata().map(of).map_err(|source| io_error(path, source))?;
    Ok(fs::symlink_metadata(path).map(of).ok() == Some(mine))
}

/// Gives a file its name. Without `force` it takes the place of no other, however late that one has come.
fn give_name(temporary: &Path, path: &Path, force: bool) -> Result<(), FileError> {
    let io = |source| io_error(path, source);
    let exists = || FileError::Exists(path.display().to_string());
    if force {
        return fs::rename(temporary, path).map_err(io);
    }
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists()),
        // Some file systems do not know it, and some of them do know links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::hard_link(temporary, path) {
            Ok(()) => fs::remove_file(temporary).map_err(io),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
            Err(_) => refuse_existing(path, false).and_then(|()| fs::rename(temporary, path).map_err(io)),
        },
        Err(error) => Err(io(error.into())),
    }
}

fn refuse_existing(path: &Path, force: bool) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(_) if !force => Err(FileError::Exists(path.display().to_string())),
        // What takes a file's place at the end would take a device's too.
        Ok(_) if path.exists() && !path.is_file() => Err(unusable(path, "is no file")),
        _ => Ok(()),
    }
}

const DAMAGED: &str = "is damaged: its bytes are not those that were written; copy it again from where it was made";

/// The bytes in front of the last number, and that number.
fn split(bytes: &[u8]) -> (&[u8], u32) {
    bytes.split_last_chunk::<4>().map_or((bytes, 0), |(before, number)| (before, u32::from_le_bytes(*number)))
}

/// What stands as JSON between two places.
fn part<T: for<'de> Deserialize<'de>>(file: &File, from: u64, to: u64) -> Option<T> {
    let length = usize::try_from(to.checked_sub(from)?).ok().filter(|length| *length <= JSON_MAX)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_error(path: &Path, source: io::Error) -> FileError {
    FileError::Io { path: path.display().to_string(), source }
}

fn unusable(path: &Path, what: &str) -> FileError {
    FileError::Unusable { path: path.display().to_string(), what: what.to_owned() }
}
