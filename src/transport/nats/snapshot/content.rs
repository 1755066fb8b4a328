//! What is in a snapshot, looked through as it passes: whether it is whole, and how much it holds.
//!
//! A server may say at the end of a snapshot that all is well when it is not: before 2.12 it writes what went wrong
//! into the snapshot itself. Servers before 2.15 send the stream's own files as a tar archive, later ones its messages
//! in an archive of their own. Nothing of it is kept.

use serde::{Deserialize, Serialize};

use super::s2::{S2Error, Unpacker, uvarint};

/// How a server of 2.15 or later begins.
const MAGIC: &[u8; 8] = b"NATSARC1";
/// Names and errors are read so far, in bytes.
const TEXT_MAX: usize = 1 << 20;
/// A tar archive is made of blocks of so many bytes.
const BLOCK: usize = 512;
/// What a server could not read, in words.
const ERRORS: &str = "errors.txt";

/// Why a snapshot is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// It cannot be unpacked.
    #[error("{0}")]
    Packed(String),
    /// It is unpacked, and nothing that we know.
    #[error("what is in it is damaged: {0}")]
    Damaged(&'static str),
    /// It ends before its end.
    #[error("it ends early")]
    Short,
    /// The server could not read its own stream.
    #[error("the server could not read all of the stream: {0}")]
    Server(String),
}

impl From<S2Error> for ContentError {
    fn from(error: S2Error) -> Self {
        Self::Packed(error.to_string())
    }
}

/// How a snapshot is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The stream's files, of servers before 2.15.
    Files,
    /// Its messages, of servers from 2.15 on.
    Messages,
}

/// What was in a whole snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// How it is laid out.
    pub layout: Layout,
    /// Bytes, unpacked.
    pub bytes: u64,
    /// Consumers.
    pub consumers: u64,
    /// Messages; 0 where they are in files, which are not looked into.
    pub messages: u64,
    /// Sequence of the first of these.
    pub first_seq: u64,
    /// Sequence of the last of these.
    pub last_seq: u64,
}

/// Looks through a snapshot that comes in pieces.
pub struct Looker {
    unpacker: Unpacker,
    inner: Inner,
}

/// What comes next, unpacked.
enum Next {
    /// The beginning.
    Magic,
    /// A block of a tar archive: a header, or one of the two that end it.
    Tar { zeros: u8 },
    /// A file in a tar archive, that is kept for its text: names too long for their header, and errors.
    Text { kind: u8, size: usize, padding: u64 },
    /// An entry.
    Entry,
    /// Nothing.
    End,
}

struct Inner {
    next: Next,
    /// What is not complete.
    rest: Vec<u8>,
    /// Bytes to be passed over.
    skip: u64,
    /// The name of the next file, where it stands in front of its header.
    name: Option<String>,
    content: Content,
}

impl Default for Looker {
    fn default() -> Self {
        let content = Content { layout: Layout::Files, bytes: 0, consumers: 0, messages: 0, first_seq: 0, last_seq: 0 };
        let inner = Inner { next: Next::Magic, rest: Vec::new(), skip: 0, name: None, content };
        Self { unpacker: Unpacker::default(), inner }
    }
}

impl Looker {
    /// Takes the next bytes of a snapshot.
    ///
    /// # Errors
    /// [`ContentError`]; then nothing more may be given.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        let Self { unpacker, inner } = self;
        unpacker.push(bytes, |plain| inner.push(plain))
    }

    /// Bytes so far, unpacked.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.inner.content.bytes
    }

    /// What was in it, at its end.
    ///
    /// # Errors
    /// [`ContentError::Short`]
    pub fn finish(self) -> Result<Content, ContentError> {
        match self.inner.next {
            Next::End if self.unpacker.is_whole() => Ok(self.inner.content),
            _ => Err(ContentError::Short),
        }
    }
}

impl Inner {
    fn push(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.content.bytes += bytes.len() as u64;
        let passed = self.pass(bytes);
        // What is passed over is never copied.
        let bytes = bytes.get(passed..).unwrap_or_default();
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(used) = self.step(rest.get(at..).unwrap_or_default())? {
            at += used;
            at += self.pass(rest.get(at..).unwrap_or_default());
        }
        rest.drain(..at);
        self.rest = rest;
        Ok(())
    }

    /// How many of these bytes are passed over.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let now = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
        self.skip -= now as u64;
        now
    }

    /// Reads what comes next, if it is all there: how many bytes it took.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, ContentError> {
        if self.skip > 0 || bytes.is_empty() {
            return Ok(None);
        }
        match self.next {
            Next::Magic => Ok(bytes.first_chunk::<8>().map(|first| {
                let (next, layout, used) = match first == MAGIC {
                    true => (Next::Entry, Layout::Messages, MAGIC.len()),
                    false => (Next::Tar { zeros: 0 }, Layout::Files, 0),
                };
                (self.next, self.content.layout) = (next, layout);
                used
            })),
            Next::Tar { zeros } => bytes.first_chunk().map(|block| self.header(block, zeros)).transpose(),
            Next::Text { kind, size, padding } => {
                bytes.get(..size).map(|text| self.text(kind, text, padding)).transpose()
            }
            Next::Entry => self.entry(bytes),
            Next::End => Err(ContentError::Damaged("something stands behind its end")),
        }
    }

    /// A block of a tar archive that is no file's content.
    fn header(&mut self, block: &[u8; BLOCK], zeros: u8) -> Result<usize, ContentError> {
        if block.iter().all(|byte| *byte == 0) {
            self.next = if zeros == 0 { Next::Tar { zeros: 1 } } else { Next::End };
            return Ok(BLOCK);
        }
        let field = |from: usize, to: usize| block.get(from..to).unwrap_or_default();
        // The sum is of the header with spaces in place of the sum.
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = field(148, 156).iter().map(|byte| u64::from(*byte)).sum();
        if zeros > 0 || octal(field(148, 156)) != Some(sum - own + 8 * u64::from(b' ')) {
            return Err(ContentError::Damaged("a header of its tar archive"));
        }
        let size = octal(field(124, 136)).ok_or(ContentError::Damaged("a size in its tar archive"))?;
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        let kind = field(156, 157).first().copied().unwrap_or_default();
        let name = self.name.take().unwrap_or_else(|| text(field(0, 100)));
        if kind == b'x' || name == ERRORS {
            let size = usize::try_from(size).ok().filter(|size| *size <= TEXT_MAX);
            let size = size.ok_or(ContentError::Damaged("a text in its tar archive"))?;
            self.next = Next::Text { kind, size, padding };
            return Ok(BLOCK);
        }
        self.content.consumers += u64::from(name.starts_with("obs/") && name.ends_with("/meta.inf"));
        (self.next, self.skip) = (Next::Tar { zeros: 0 }, size + padding);
        Ok(BLOCK)
    }

    /// A file that is read: records in front of a header, `30 path=..`, or what the server could not read.
    fn text(&mut self, kind: u8, bytes: &[u8], padding: u64) -> Result<usize, ContentError> {
        let said = text(bytes);
        if kind != b'x' {
            return Err(ContentError::Server(said));
        }
        let path = said.lines().find_map(|line| Some(line.split_once(" path=")?.1.to_owned()));
        (self.name, self.next, self.skip) = (path, Next::Tar { zeros: 0 }, padding);
        Ok(bytes.len())
    }

    /// A message, a consumer, the stream's state or the end, in an archive of 2.15 or later.
    fn entry(&mut self, bytes: &[u8]) -> Result<Option<usize>, ContentError> {
        const DAMAGED: ContentError = ContentError::Damaged("an entry of its archive");
        let (mut numbers, mut at) = ([0_u64; 5], 0);
        for number in &mut numbers {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some((value, length)) = uvarint(rest) else {
                return if rest.len() < 10 { Ok(None) } else { Err(DAMAGED) };
            };
            (*number, at) = (value, at + length);
        }
        let [name, time, sequence, headers, payload] = numbers;
        let name = usize::try_from(name).ok().filter(|length| *length <= TEXT_MAX).ok_or(DAMAGED)?;
        let Some(name) = bytes.get(at..at + name) else { return Ok(None) };
        at += name.len();
        self.skip = headers.checked_add(payload).ok_or(DAMAGED)?;
        let content = &mut self.content;
        if sequence > 0 {
            if sequence <= content.last_seq {
                return Err(ContentError::Damaged("its messages are out of order"));
            }
            if content.messages == 0 {
                content.first_seq = sequence;
            }
            (content.messages, content.last_seq) = (content.messages + 1, sequence);
        } else if name.starts_with(b"consumers/") {
            content.consumers += 1;
        } else if name.is_empty() && time == 0 && self.skip == 0 {
            self.next = Next::End;
        }
        Ok(Some(at))
    }
}

/// A number in the field of a header.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// A text up to its end, or to its first zero.
fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole entry of an archive of messages.
    fn entry(name: &str, time: u8, sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let mut bytes = vec![u8::try_from(name.len()).unwrap(), time, sequence, 0, length];
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn archive() -> Vec<u8> {
        let entries = [
            entry("state.json", 2, 0, b"{}"),
            entry("consumers/c", 2, 0, b"{}"),
            entry("a.b", 2, 3, b"hello"),
            entry("a.c", 2, 9, b""),
            entry("", 0, 0, b""),
        ];
        [MAGIC.to_vec(), entries.concat()].concat()
    }

    fn file(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = kind;
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header.extend_from_slice(content);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
        header
    }

    fn tar(files: &[Vec<u8>]) -> Vec<u8> {
        [files.concat(), vec![0; 2 * BLOCK]].concat()
    }

    fn looked(bytes: &[u8], piece: usize) -> Result<Content, ContentError> {
        let mut looker = Looker::default();
        bytes.chunks(piece).try_for_each(|piece| looker.inner.push(piece))?;
        match looker.inner.next {
            Next::End => Ok(looker.inner.content),
            _ => Err(ContentError::Short),
        }
    }

    #[test]
    fn an_archive_of_messages_is_counted_in_pieces_of_any_size() {
        let bytes = archive();
        for piece in 1..=bytes.len() {
            let content = looked(&bytes, piece).unwrap();
            let told = (content.layout, content.messages, content.first_seq, content.last_seq, content.consumers);
            assert_eq!(told, (Layout::Messages, 2, 3, 9, 1), "in pieces of {piece}");
        }
        for length in 0..bytes.len() {
            assert_eq!(looked(&bytes[..length], 7), Err(ContentError::Short), "cut off at {length}");
        }
        let more = [archive(), vec![1]].concat();
        assert!(matches!(looked(&more, 7), Err(ContentError::Damaged(_))));
    }

    #[test]
    fn an_archive_of_files_is_followed_to_its_end() {
        let name = format!("obs/{}/meta.inf", "c".repeat(120));
        let long = format!("{} path={name}\n", name.len() + 10);
        let files = [
            file("meta.inf", b'0', b"{}"),
            file("msgs/1.blk", b'0', &[7; 1_000]),
            file("obs/c/meta.inf", b'0', b"{}"),
            file("PaxHeaders.0/meta.inf", b'x', long.as_bytes()),
            file(&name[..100], b'0', b"{}"),
        ];
        let bytes = tar(&files);
        for piece in [1, 511, 512, 513, 100_000] {
            let content = looked(&bytes, piece).unwrap();
            assert_eq!((content.layout, content.consumers), (Layout::Files, 2), "in pieces of {piece}");
        }
        assert_eq!(looked(&bytes[..bytes.len() - BLOCK], 512), Err(ContentError::Short));
        let failed = tar(&[file("meta.inf", b'0', b"{}"), file(ERRORS, b'0', b"Could not read message block [3]")]);
        assert_eq!(looked(&failed, 512), Err(ContentError::Server("Could not read message block [3]".to_owned())));
        let mut damaged = bytes;
        damaged[BLOCK * 2 + 3] ^= 1;
        assert!(matches!(looked(&damaged, 512), Err(ContentError::Damaged(_))));
    }
}
