//! What a spool makes of a directory in which anything may have happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use data_manager::market::trade::KIND_TRADE_V1;
use data_manager::market::{Record, TradeMsg};
use data_manager::transport::nats::spool::{Dropped, Limits, Recovered, Spool, SpoolError};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Input, folder};

type Bytes = [u8; 48];
type Files = BTreeMap<String, Vec<u8>>;

const OWNER: &str = "TRADES";
const LIMITS: Limits = Limits { bytes: 4 << 20, segment_bytes: 1 << 20 };
/// Records of the whole directory, of a segment, and of a block.
const RECORDS: u64 = 36;
const SEGMENT: u64 = 12;
const BLOCK: usize = 4;

/// Applies changes to the files of a real spool, then recovers, reads, opens again and gives up what is there.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut files = template().clone();
    let mut forged = false;
    while !input.is_empty() {
        forged |= change(&mut input, &mut files);
    }
    let directory = folder().join("spool");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a temporary directory");
    for (name, bytes) in &files {
        fs::write(directory.join(name), bytes).expect("a file in the temporary directory");
    }
    check(&directory, forged);
}

fn check(directory: &Path, forged: bool) {
    let opened = Spool::open(directory, LIMITS, OWNER);
    let (mut spool, recovered) = match opened {
        Ok(opened) => opened,
        // Only whoever writes a checksum that holds can claim to be another owner or version.
        Err(SpoolError::Owner { .. } | SpoolError::Version { .. }) if forged => return,
        Err(error) => panic!("{error}"),
    };
    let records = read_all(&mut spool, 5);
    assert_eq!(records.len() as u64, recovered.records);
    assert_eq!(last_of(&records), recovered.last);
    if !forged {
        let ids: Vec<u64> = records.iter().map(id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "out of order, or twice: {ids:?}");
        assert!(records.iter().all(|bytes| *bytes == record(id(bytes))), "a record that was never appended");
    }
    drop(spool);

    let (mut spool, again) = open(directory);
    assert_eq!((again.records, &again.last), (recovered.records, &recovered.last));
    // Those without a record are gone.
    assert!(again.segments <= recovered.segments);
    let more = [record(1_000), record(1_001)];
    let appended = spool.append(1, &more).expect("room for two records");
    assert!(appended.dropped.is_empty());
    assert_eq!(read_all(&mut spool, 1_000), [&records[..], &more[..]].concat());
    drop(spool);

    let (mut spool, again) = open(directory);
    assert_eq!(again.records, recovered.records + 2);
    let mut gone = 0;
    loop {
        let Dropped { segments, records, lost, broken } = spool.drop_oldest().expect("a file can be removed");
        assert_eq!(broken, [], "what was told at open is told once");
        assert_eq!(lost.values().map(|lost| lost.records).sum::<u64>(), records);
        gone += records;
        if segments == 0 {
            break;
        }
    }
    assert_eq!(gone, again.records);
    assert!(spool.is_empty() && spool.bytes() == 0);
    drop(spool);
    let left = names(directory).into_iter().find(|name| name.ends_with(".spool"));
    assert_eq!(left, None, "a segment is left behind");
}

fn open(directory: &Path) -> (Spool, Recovered) {
    Spool::open(directory, LIMITS, OWNER).expect("it was open a moment ago")
}

fn read_all(spool: &mut Spool, max: usize) -> Vec<Bytes> {
    let mut records = Vec::new();
    loop {
        let before = records.len();
        let reading = spool.read(max, &mut records).expect("files that can be read");
        assert_eq!(reading.broken, [], "what was told at open is told once");
        if records.len() == before {
            assert_eq!(spool.unread(), 0);
            return records;
        }
    }
}

/// One change; whether a checksum was made to hold afterwards.
fn change(input: &mut Input<'_>, files: &mut Files) -> bool {
    let what = input.number::<1>() % 11;
    let number = 1 + input.number::<1>() % 8;
    let name = segment_name(number);
    if what == 5 {
        let to = segment_name(1 + input.number::<1>() % 8);
        let copied = files.get(&name).cloned();
        files.extend(copied.map(|bytes| (to, bytes)));
        return false;
    }
    if what >= 9 {
        let length = input.below(300);
        let name = if what == 9 { name } else { format!("{number}.foreign") };
        files.insert(name, input.bytes(length).to_vec());
        return false;
    }
    if what == 4 {
        files.remove(&name);
        return false;
    }
    let Some(bytes) = files.get_mut(&name) else { return false };
    let at = input.below(bytes.len() + 1);
    match what {
        0 => {
            let mask = input.number::<1>().to_le_bytes()[0];
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
        }
        1 => {
            let new = input.bytes(4);
            bytes.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
        }
        2 => bytes.truncate(at),
        3 => {
            let length = input.below(64);
            bytes.splice(at..at, std::iter::repeat_n(0x55, length));
        }
        6 => {
            let from = input.below(bytes.len() + 1);
            let part: Vec<u8> = bytes.iter().skip(from).take(300).copied().collect();
            bytes.splice(at..at, part);
        }
        7 => return sign_segment(bytes),
        _ => return sign_block(bytes, at / 16 * 16),
    }
    false
}

/// Makes the checksum of a segment's header hold.
fn sign_segment(bytes: &mut [u8]) -> bool {
    let Some(length) = bytes.get(12..16).and_then(|length| length.first_chunk()).copied() else { return false };
    let length = usize::try_from(u32::from_le_bytes(length)).expect("32 bits");
    let Some(header) = bytes.get_mut(..length).filter(|header| header.len() >= 16) else { return false };
    let (covered, checksum) = header.split_at_mut(length - 8);
    checksum.copy_from_slice(&xxh3_64(covered).to_le_bytes());
    true
}

/// Makes check and checksum of a block hold, as far as the file has its records.
fn sign_block(bytes: &mut [u8], at: usize) -> bool {
    let Some(block) = bytes.get_mut(at..).filter(|block| block.len() >= 32) else { return false };
    let (header, payload) = block.split_at_mut(32);
    header[..4].copy_from_slice(b"DMBK");
    let check = xxh3_64_with_seed(&header[..16], xxh3_64(OWNER.as_bytes()));
    header[16..24].copy_from_slice(&check.to_le_bytes());
    let count = usize::from(header[4]) + (usize::from(header[5]) << 8);
    let payload = payload.get(..count * 48).unwrap_or_default();
    header[24..32].copy_from_slice(&xxh3_64_with_seed(payload, check).to_le_bytes());
    true
}

/// The files of a spool of three segments, three blocks each.
fn template() -> &'static Files {
    static TEMPLATE: OnceLock<Files> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let directory: PathBuf = folder().join("template");
        for start in (0..RECORDS).step_by(usize::try_from(SEGMENT).expect("small")) {
            let (mut spool, _) = open(&directory);
            let records: Vec<Bytes> = (start..start + SEGMENT).map(record).collect();
            for block in records.chunks(BLOCK) {
                assert!(spool.append(1, block).expect("room").dropped.is_empty());
            }
        }
        let read = |name: String| (name.clone(), fs::read(directory.join(name)).expect("a segment"));
        names(&directory).into_iter().filter(|name| name.ends_with(".spool")).map(read).collect()
    })
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn segment_name(number: u64) -> String {
    format!("{number:020}.spool")
}

fn record(n: u64) -> Bytes {
    let trade = TradeMsg {
        ts_event: n,
        ts_recv: n,
        trade_id: n,
        price: 1,
        size: 1,
        instrument_id: 1 + u32::try_from(n % 3).expect("small"),
        price_scale: 0,
        size_scale: 0,
        flags: 1,
        kind: KIND_TRADE_V1,
    };
    *trade.as_bytes()
}

fn id(record: &Bytes) -> u64 {
    u64::from_le_bytes(*record[16..].first_chunk().expect("eight bytes"))
}

fn last_of(records: &[Bytes]) -> BTreeMap<u32, TradeMsg> {
    let trade = |bytes: &Bytes| match Record::from_bytes(bytes) {
        Ok(Record::Trade(trade)) => Some((trade.instrument_id, trade)),
        _ => None,
    };
    records.iter().filter_map(trade).collect()
}
