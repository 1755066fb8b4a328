//! The ring's reader over any bytes in a file.

use std::path::Path;
use std::time::Duration;

use data_manager::market::Record;
use data_manager::telemetry::clock;
use data_manager::transport::ipc::layout::{HEADER_BYTES, Header, SLOT_BYTES};
use data_manager::transport::ipc::{Next, Reader, Reopened};

use crate::{Input, folder};

/// Slots and symbols of the segment that is patched.
const CAPACITY: u64 = 64;
const SYMBOLS: u32 = 2;

/// The first byte says whether the others are the file (0), or what is changed in a file of a real writer's shape:
/// an offset in words of eight bytes, and the word. With 3 the file is cut off then, to a number of bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let bytes = match input.number::<1>() % 4 {
        1 | 2 => patched(&mut input, None),
        3 => {
            let len = input.number::<2>();
            patched(&mut input, Some(len))
        }
        _ => input.0.to_vec(),
    };
    let path = folder().join("segment");
    // A new file each time: one that is mapped must not become shorter.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, &bytes).expect("a file in the temporary directory");
    let Ok(mut reader) = Reader::open(&path) else { return };
    let start: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().expect("the reader has read a header");
    let header = Header::decode(&start, bytes.len() as u64).expect("the reader has taken it");
    let first = read(&mut reader, &header, &bytes);
    let mut again = Reader::open(&path).expect("the same file");
    assert_eq!(read(&mut again, &header, &bytes), first);
    around(&mut reader, &path);
}

/// A segment as a writer leaves it, with some words replaced.
fn patched(input: &mut Input<'_>, cut: Option<u64>) -> Vec<u8> {
    let header = Header::new("venue", CAPACITY, SYMBOLS, 1, 1).expect("a header");
    let mut bytes = header.encode().to_vec();
    bytes.resize(usize::try_from(header.segment_bytes()).expect("a small segment"), 0);
    while !input.is_empty() {
        let at = input.below(bytes.len() / 8) * 8;
        bytes[at..at + 8].copy_from_slice(&input.number::<8>().to_le_bytes());
    }
    bytes.truncate(cut.map_or(usize::MAX, |len| usize::try_from(len).expect("16 bits")));
    bytes
}

/// Polls to the end: every record is the one that stands in its slot, and what is not read is counted.
fn read(reader: &mut Reader, header: &Header, bytes: &[u8]) -> Vec<(u64, Option<Record>)> {
    let start = reader.position();
    let mut found = Vec::new();
    let (mut passed, mut polls) = (0, 0);
    loop {
        polls += 1;
        assert!(polls <= 4 * header.capacity + 4, "a file that does not change is polled for ever");
        let before = reader.position();
        match reader.poll() {
            Next::Record(record, position) => {
                assert_eq!(position, before);
                assert_eq!(&record.as_bytes()[..], slot(header, bytes, position));
                found.push((position, Some(record)));
                passed += 1;
            }
            Next::Unknown { kind, position } => {
                assert_eq!(position, before);
                assert_eq!(slot(header, bytes, position)[47], kind);
                found.push((position, None));
                passed += 1;
            }
            Next::Lagged { lost } => {
                assert!(lost > 0);
                passed += lost;
            }
            Next::Empty | Next::WriterGone(_) => break,
        }
        assert!(reader.position() > before);
        assert_eq!(reader.position(), start + passed);
    }
    assert!(found.len() as u64 <= header.capacity, "more records than slots");
    let stats = reader.stats();
    assert_eq!((stats.read, stats.read + stats.lost), (found.len() as u64, passed));
    found
}

/// The record in the slot of `position`, whose sequence must say that it is whole.
fn slot<'a>(header: &Header, bytes: &'a [u8], position: u64) -> &'a [u8] {
    let offset = header.slots + position % header.capacity * SLOT_BYTES as u64;
    let slot = &bytes[usize::try_from(offset).expect("inside of the file")..][..SLOT_BYTES];
    assert_eq!(slot[..8], (2 * position + 2).to_le_bytes(), "record {position} is not whole");
    &slot[8..56]
}

/// Everything else that a reader can be asked.
fn around(reader: &mut Reader, path: &Path) {
    let names: Vec<(u32, String)> = reader.symbols().map(|(id, symbol)| (id, symbol.to_string())).collect();
    for (id, name) in names {
        assert_eq!(reader.symbol(id).map(ToString::to_string), Some(name));
    }
    let _ = reader.symbol(0);
    let _ = (reader.state(), reader.heartbeat_ns(), reader.behind(), reader.exchange());
    let now = clock::now();
    assert_eq!(reader.check(now, Duration::from_secs(2)), None, "{}", path.display());
    reader.from_newest();
    assert_eq!(reader.behind(), 0);
    let _ = reader.poll();
    reader.from_oldest();
    let _ = reader.poll();
    assert_eq!(reader.reopen().expect("the same file"), Reopened::Same);
}
