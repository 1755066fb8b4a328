//! What is made of any bytes as a stream's snapshot: the same in pieces of any size, and the same however they are
//! packed.

use data_manager::transport::nats::snapshot::{Content, ContentError, Looker};

use crate::Input;

/// How a stream of S2 begins.
const BEGIN: &[u8] = b"\xff\x06\0\0S2sTwO";
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
/// What a block may stand for is less here, so that an input takes little time.
const BLOCK_MAX: usize = 1 << 20;

/// Looks through the input as it is, as what is packed, or as a block that is packed.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let what = input.number::<1>() % 3;
    let piece = 1 + input.below(1_000);
    let bytes = input.0;
    match what {
        0 => check(bytes, piece),
        1 => {
            let frames: Vec<u8> = bytes.chunks(piece).flat_map(|part| frame(PLAIN, part, part)).collect();
            check(&[BEGIN, &frames].concat(), piece);
            assert_eq!(look(&[BEGIN, &frames].concat(), piece), look(&packed(PLAIN, bytes, bytes), usize::MAX));
        }
        _ => {
            let Some(length) = length(bytes).filter(|length| *length <= BLOCK_MAX) else { return };
            match unpacked(bytes, length) {
                Some(plain) => {
                    let stream = packed(COMPRESSED, bytes, &plain);
                    check(&stream, piece);
                    assert_eq!(look(&stream, usize::MAX), look(&packed(PLAIN, &plain, &plain), usize::MAX));
                }
                None => {
                    let told = look(&packed(COMPRESSED, bytes, &[]), usize::MAX);
                    assert_eq!(told, Err(ContentError::Packed("a block is damaged".to_owned())));
                }
            }
        }
    }
}

fn check(stream: &[u8], piece: usize) {
    let whole = look(stream, usize::MAX);
    assert_eq!(look(stream, piece), whole, "in pieces of {piece}");
    if let Ok(content) = whole {
        assert!(content.messages == 0 || content.first_seq <= content.last_seq);
        assert!(content.messages <= content.bytes && content.consumers <= content.bytes);
        let cut = &stream[..stream.len() - 1];
        assert!(look(cut, piece).is_err(), "cut off, it is no less whole");
    }
}

fn look(stream: &[u8], piece: usize) -> Result<Content, ContentError> {
    let mut looker = Looker::default();
    stream.chunks(piece).try_for_each(|piece| looker.push(piece))?;
    looker.finish()
}

/// A stream of one frame.
fn packed(kind: u8, content: &[u8], plain: &[u8]) -> Vec<u8> {
    [BEGIN, &frame(kind, content, plain)].concat()
}

fn frame(kind: u8, content: &[u8], plain: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).expect("an input is short").to_le_bytes();
    let sum = crc32c(plain).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [&[kind], &length[..3], &sum, content].concat()
}

/// The checksum, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}

/// What a block says that it stands for, in bytes.
fn length(block: &[u8]) -> Option<usize> {
    let end = block.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let value = block[..=end].iter().rev().fold(0_u128, |value, byte| value << 7 | u128::from(byte & 0x7f));
    usize::try_from(value).ok()
}

/// What a block stands for, byte by byte.
fn unpacked(block: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut at = 1 + block.iter().position(|byte| byte & 0x80 == 0)?;
    let (mut out, mut offset) = (Vec::new(), 0);
    let number = |at: &mut usize, count: usize| {
        let bytes = block.get(*at..*at + count)?;
        *at += count;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    while at < block.len() {
        let tag = number(&mut at, 1)?;
        let mut count = (tag >> 2) + 1;
        match tag & 3 {
            0 => {
                if count > 60 {
                    count = number(&mut at, count - 60)? + 1;
                }
                out.extend_from_slice(block.get(at..at.checked_add(count)?)?);
                at += count;
                count = 0;
            }
            1 => {
                let near = (tag & 0xe0) << 3 | number(&mut at, 1)?;
                let short = tag >> 2 & 7;
                count = 4 + match (near, short) {
                    (0, 5) => number(&mut at, 1)? + 4,
                    (0, 6) => number(&mut at, 2)? + 256,
                    (0, 7) => number(&mut at, 3)? + 65_536,
                    _ => short,
                };
                offset = if near == 0 { offset } else { near };
            }
            2 => offset = number(&mut at, 2)?,
            _ => offset = number(&mut at, 4)?,
        }
        if out.len() + count > length || count > 0 && (offset == 0 || offset > out.len()) {
            return None;
        }
        (0..count).for_each(|_| out.push(out[out.len() - offset]));
    }
    (out.len() == length).then_some(out)
}
