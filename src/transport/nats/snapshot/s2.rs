//! The compression of snapshots, undone: the framing and the blocks of S2, of which Snappy is a part.
//!
//! It takes bytes as they come and gives back what they stand for, each piece checked against the checksum beside it.
//! It knows nothing of what is in them, and does not compress.

/// A block stands for so much at most, in bytes; the format says so.
const BLOCK_MAX: usize = 4 << 20;
/// The kinds of frames.
const COMPRESSED: u8 = 0x00;
const PLAIN: u8 = 0x01;
const IDENTIFIER: u8 = 0xff;
/// From here on kinds may be skipped by those who do not know them.
const SKIPPABLE: u8 = 0x80;
/// In front of the content of a frame: its kind and its length.
const FRAME_HEAD: usize = 4;
const SUM_BYTES: usize = 4;

/// What is wrong with compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum S2Error {
    #[error("it is no S2 stream")]
    Foreign,
    #[error("a frame of kind {0:#04x} is unknown")]
    Kind(u8),
    #[error("a block is damaged")]
    Block,
    #[error("a block does not match its checksum")]
    Sum,
}

/// Unpacks a stream that comes in pieces.
#[derive(Default)]
pub(crate) struct Unpacker {
    /// What has come of a frame that is not complete.
    rest: Vec<u8>,
    began: bool,
    block: Vec<u8>,
}

impl Unpacker {
    /// Takes the next bytes, and hands out what the frames that they complete stand for.
    pub(crate) fn push<E: From<S2Error>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        while let Some((kind, content, behind)) = frame(left) {
            match kind {
                IDENTIFIER if matches!(content, b"S2sTwO" | b"sNaPpY") => self.began = true,
                _ if !self.began => return Err(S2Error::Foreign.into()),
                COMPRESSED | PLAIN => {
                    let (sum, content) = content.split_first_chunk::<SUM_BYTES>().ok_or(S2Error::Block)?;
                    let plain = if kind == PLAIN { content } else { self.unpack(content)? };
                    if masked(crc32c(plain)) != u32::from_le_bytes(*sum) {
                        return Err(S2Error::Sum.into());
                    }
                    take(plain)?;
                }
                SKIPPABLE..IDENTIFIER => {}
                other => return Err(S2Error::Kind(other).into()),
            }
            left = behind;
        }
        // A stream begins with a frame of ten bytes; anything else would be waited for up to 16 MiB.
        if !self.began && left.len() > FRAME_HEAD && left.first() != Some(&IDENTIFIER) {
            return Err(S2Error::Foreign.into());
        }
        self.rest.extend_from_slice(left);
        Ok(())
    }

    /// Whether it ended behind a whole frame.
    pub(crate) const fn is_whole(&self) -> bool {
        self.began && self.rest.is_empty()
    }

    fn unpack(&mut self, block: &[u8]) -> Result<&[u8], S2Error> {
        self.block.clear();
        unpack_block(block, &mut self.block).ok_or(S2Error::Block)?;
        Ok(&self.block)
    }
}

/// The first frame: its kind, its content, and what stands behind it.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, a, b, c], rest) = bytes.split_first_chunk::<FRAME_HEAD>()?;
    let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
    let (content, behind) = rest.split_at_checked(length)?;
    Some((*kind, content, behind))
}

/// Reads little-endian numbers off the front of a block.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of up to four bytes.
    fn number(&mut self, count: usize) -> Option<usize> {
        Some(self.take(count)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, length) = uvarint(self.0)?;
        self.take(length)?;
        Some(value)
    }
}

/// A number in groups of seven bits at the front of some bytes, and how many bytes it takes.
pub(crate) fn uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Appends what a block stands for; `None` when it is damaged.
fn unpack_block(block: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut block = Cursor(block);
    let length = usize::try_from(block.varint()?).ok().filter(|length| *length <= BLOCK_MAX)?;
    out.reserve(length);
    // A copy that names no distance goes as far back as the one before it.
    let mut offset = 0;
    while let Some(tag) = block.number(1) {
        let count = tag >> 2;
        let copied = match tag & 3 {
            0 => {
                let count = if count < 60 { count } else { block.number(count - 59)? };
                let literal = block.take(count.checked_add(1)?)?;
                if out.len() + literal.len() > length {
                    return None;
                }
                out.extend_from_slice(literal);
                continue;
            }
            1 => {
                let near = (tag & 0xe0) << 3 | block.number(1)?;
                if near != 0 {
                    offset = near;
                }
                4 + match count & 7 {
                    5 if near == 0 => block.number(1)? + 4,
                    6 if near == 0 => block.number(2)? + (1 << 8),
                    7 if near == 0 => block.number(3)? + (1 << 16),
                    short => short,
                }
            }
            2 => {
                offset = block.number(2)?;
                count + 1
            }
            _ => {
                offset = block.number(4)?;
                count + 1
            }
        };
        copy(out, offset, copied, length)?;
    }
    (out.len() == length).then_some(())
}

/// Appends `count` bytes that stand `offset` bytes back, which may run into what it appends.
fn copy(out: &mut Vec<u8>, offset: usize, count: usize, length: usize) -> Option<()> {
    let mut start = out.len().checked_sub(offset).filter(|_| offset > 0)?;
    if out.len() + count > length {
        return None;
    }
    let mut left = count;
    while left > 0 {
        let now = left.min(out.len() - start);
        out.extend_from_within(start..start + now);
        (start, left) = (start + now, left - now);
    }
    Some(())
}

/// Eight tables: the checksum of a byte with 0 to 7 bytes behind it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0_u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[table - 1][byte];
            tables[table][byte] = sum >> 8 ^ tables[0][(sum & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// CRC-32C (Castagnoli).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let [a, b, c, d, high @ ..] = *word;
        let low = (u32::from_le_bytes([a, b, c, d]) ^ sum).to_le_bytes();
        sum = 0;
        for (byte, table) in low.into_iter().chain(high).zip(TABLES.iter().rev()) {
            sum ^= table[usize::from(byte)];
        }
    }
    for byte in rest {
        sum = sum >> 8 ^ TABLES[0][usize::from(sum.to_le_bytes()[0] ^ byte)];
    }
    !sum
}

/// As it stands in a frame: so that a checksum of bytes that hold checksums is none of theirs.
const fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each way to write a block, and what it stands for.
    #[test]
    fn blocks_give_back_what_they_stand_for() {
        let unpacked = |block: &[u8]| {
            let mut out = Vec::new();
            unpack_block(block, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(unpacked(&[3, 2 << 2, b'a', b'b', b'c']), text("abc"));
        // Two bytes back, seven bytes: it runs into itself.
        assert_eq!(unpacked(&[9, 1 << 2, b'a', b'b', 3 << 2 | 1, 2]), text("ababababa"));
        assert_eq!(unpacked(&[5, 1 << 2, b'a', b'b', 2 << 2 | 2, 2, 0]), text("ababa"));
        assert_eq!(unpacked(&[5, 1 << 2, b'a', b'b', 2 << 2 | 3, 2, 0, 0, 0]), text("ababa"));
        // As far back as before: 4 bytes, and 9 with their count in a byte of its own.
        assert_eq!(unpacked(&[9, 1 << 2, b'a', b'b', 2 << 2 | 2, 2, 0, 1, 0]), text("ababababa"));
        assert_eq!(unpacked(&[14, 1 << 2, b'a', b'b', 2 << 2 | 2, 2, 0, 5 << 2 | 1, 0, 1]), text("ababababababab"));
        // Too long, too short, back behind the beginning, cut off.
        let damaged: [&[u8]; 6] =
            [&[2, 2 << 2, b'a', b'b', b'c'], &[4, 0, b'a'], &[5, 0, b'a', 1, 2], &[5, 1, 0], &[3, 2 << 2, b'a'], &[]];
        for block in damaged {
            assert_eq!(unpacked(block), None, "{block:?}");
        }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_stream_comes_in_pieces_of_any_size() {
        let mut stream = b"\xff\x06\0\0S2sTwO".to_vec();
        for text in ["one", "two"] {
            stream.extend([PLAIN, 7, 0, 0]);
            stream.extend(masked(crc32c(text.as_bytes())).to_le_bytes());
            stream.extend(text.as_bytes());
            stream.extend([0xfe, 2, 0, 0, 0, 0]);
        }
        for size in 1..stream.len() {
            let (mut unpacker, mut out) = (Unpacker::default(), Vec::new());
            for piece in stream.chunks(size) {
                let took = unpacker.push::<S2Error>(piece, |bytes| {
                    out.extend_from_slice(bytes);
                    Ok(())
                });
                assert_eq!(took, Ok(()));
            }
            assert!(unpacker.is_whole());
            assert_eq!(out, b"onetwo");
        }
        let push = |bytes: &[u8]| Unpacker::default().push::<S2Error>(bytes, |_| Ok(()));
        *stream.last_mut().unwrap() = 1;
        stream[20] ^= 1;
        assert_eq!(push(&stream), Err(S2Error::Sum));
        assert_eq!(push(b"PK\x03\x04 a foreign file"), Err(S2Error::Foreign));
        assert_eq!(push(b"\xff\x06\0\0S2sTwO\x02\0\0\0"), Err(S2Error::Kind(2)));
    }
}
