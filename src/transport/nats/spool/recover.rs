//! What a directory holds when it is opened: every block of every segment is read once and held against its checksum.
//!
//! Nothing is repaired. What does not hold is remembered as a hole, so that the reader passes over it without telling
//! it a second time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::{Broken, Damage, SpoolError};
use super::files::{LOCK_NAME, open_segment, remove, set_aside};
use super::layout::{
    HEADER_BYTES, HEADER_BYTES_MAX, HeaderFault, SegmentHeader, filling_number, owner_hash, segment_number,
};
use super::walk::{Hole, Step, Walk};
use crate::market::trade::RECORD_BYTES;
use crate::market::{Flags, Record, TradeMsg};

/// What [`Spool::open`](super::Spool::open) found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Segments that are there to be read.
    pub segments: usize,
    /// Records in them whose checksums hold.
    pub records: u64,
    /// Places that do not hold. The reader does not tell them again; another [`Spool::open`](super::Spool::open) does.
    pub broken: Vec<Broken>,
    /// Files that are none of the spool's, or were set aside before; they are left alone.
    pub foreign: Vec<PathBuf>,
    /// When the oldest segment was begun, nanoseconds since the Unix epoch.
    pub oldest_ns: Option<u64>,
    /// The trade that was appended last of each instrument, by instrument id; those that came late count where no
    /// younger one stands before them.
    pub last: BTreeMap<u32, TradeMsg>,
    /// The instruments of all records, by id.
    pub instruments: BTreeSet<u32>,
}

/// A segment as the spool knows it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Number of its first record, and the number behind its last one.
    pub(super) first: u64,
    pub(super) end: u64,
    /// Bytes of its file; blocks and holes fill it to here.
    pub(super) len: u64,
    /// What was found broken at open, in order.
    pub(super) holes: Vec<Hole>,
    /// What was appended right before its first record may not be here: it was lost, or was never appended, since
    /// another life of the daemon began there.
    pub(super) torn: bool,
    /// Which life of the daemon wrote it, where its header tells.
    pub(super) life: Option<u64>,
}

/// A segment's file before its blocks are looked at.
struct Candidate {
    number: u64,
    path: PathBuf,
    /// `None`: no regular file.
    file_len: Option<u64>,
    /// `None`: damaged.
    header: Option<SegmentHeader>,
}

/// Everything in a directory, oldest first. Refuses before it changes anything.
pub(super) fn recover(directory: &Path, owner: &str) -> Result<(VecDeque<Segment>, Recovered), SpoolError> {
    let mut recovered = Recovered::default();
    let names = list(directory, owner, &mut recovered.foreign)?;
    let mut candidates = Vec::with_capacity(names.len());
    for (number, path) in names {
        candidates.push(look(number, path, owner)?);
    }
    let mut segments: VecDeque<Segment> = VecDeque::new();
    // Which life the last segment is of, where its header tells.
    let (mut torn, mut life) = (false, None);
    for candidate in candidates {
        let expected = segments.back().map(|segment| segment.end);
        let scanned = scan(&candidate, owner_hash(owner), expected, &mut recovered)?;
        torn |= scanned.is_none();
        if let Some(mut segment) = scanned {
            let of = segment.life;
            // What another life took first need not follow on what this one took last.
            let ended = |last: &Segment| last.end < segment.first || of.is_none() || of != life;
            segment.torn = torn || segments.back().is_some_and(ended);
            life = of;
            // Nothing in front of the next segment is read that could tell it.
            let empty = segment.first == segment.end;
            let unended = |hole: &Hole| hole.next.is_none() && hole.tears(segment.end);
            torn = segment.torn && empty || segment.holes.last().is_some_and(unended);
            let created_ns = candidate.header.map(|header| header.created_ns);
            recovered.oldest_ns = recovered.oldest_ns.or(created_ns);
            segments.push_back(segment);
        }
    }
    recovered.segments = segments.len();
    Ok((segments, recovered))
}

/// The segments' numbers and paths in order; what has another name goes to `foreign`.
fn list(directory: &Path, owner: &str, foreign: &mut Vec<PathBuf>) -> Result<Vec<(u64, PathBuf)>, SpoolError> {
    let failed = |source| SpoolError::of("read", directory.to_owned(), source);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_str().unwrap_or_default();
        if let Some(number) = segment_number(name) {
            found.push((number, path));
        } else if filling_number(name).is_some() && is_unfilled(&path, owner) {
            // A kill came before all of it stood: no other file was touched for it.
            remove(&path)?;
        } else if name != LOCK_NAME {
            foreign.push(path);
        }
    }
    found.sort();
    foreign.sort();
    Ok(found)
}

fn is_unfilled(path: &Path, owner: &str) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let is_ours = |file: File| SegmentHeader::decode(&start(&file)).is_ok_and(|it| it.owner_hash == owner_hash(owner));
    metadata.is_file() && (metadata.len() <= HEADER_BYTES as u64 || open_segment(path).is_ok_and(is_ours))
}

/// Reads a segment's header; another owner's or another version's is an error.
fn look(number: u64, path: PathBuf, owner: &str) -> Result<Candidate, SpoolError> {
    let failed = |source| SpoolError::of("read", path.clone(), source);
    let file = match open_segment(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(failed(error)),
        Err(error) => {
            let is_file = fs::symlink_metadata(&path).map_err(failed)?.is_file();
            return match is_file {
                true => Err(failed(error)),
                false => Ok(Candidate { number, path, file_len: None, header: None }),
            };
        }
    };
    let file_len = file.metadata().map_err(failed)?.len();
    let header = match SegmentHeader::decode(&start(&file)) {
        Err(HeaderFault::Version(found)) => return Err(SpoolError::Version { path, found }),
        Err(HeaderFault::Damaged) => None,
        Ok(header) if header.owner_hash != owner_hash(owner) => {
            return Err(SpoolError::Owner { path, found: header.owner, expected: owner.to_owned() });
        }
        // A file that was given another's name would break the order.
        Ok(header) => Some(header).filter(|header| header.number == number),
    };
    Ok(Candidate { number, path, file_len: Some(file_len), header })
}

/// The first bytes of a file, as many as it has and a header may have. What cannot be read counts as damaged.
fn start(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    bytes.truncate(filled);
    bytes
}

/// Reads all blocks of a segment. `None`: it holds nothing of ours and was set aside.
fn scan(
    candidate: &Candidate,
    seed: u64,
    expected: Option<u64>,
    recovered: &mut Recovered,
) -> Result<Option<Segment>, SpoolError> {
    let Candidate { number, path, header, .. } = candidate;
    let Some(len) = candidate.file_len else { return aside(candidate, recovered) };
    let file = open_segment(path).map_err(|source| SpoolError::of("read", path.clone(), source))?;
    let declared = header.as_ref().map(|header| header.first);
    let mut walk = Walk::new(file, seed, declared.max(expected));
    let mut found = Recovered::default();
    let (mut holes, mut first) = (Vec::new(), declared.max(expected));
    loop {
        match walk.step(len) {
            Step::End => break,
            Step::Hole(hole) => add(&mut holes, hole),
            Step::Block { first: number, .. } => {
                first.get_or_insert(number);
                take(walk.payload(), &recovered.last, &mut found);
            }
        }
    }
    // What a segment in front holds too was given back to it, and is no damage.
    let given_back = declared < expected && declared.is_some();
    let is_damage = |hole: &&Hole| !(given_back && hole.from == HEADER_BYTES as u64 && hole.damage == Damage::Repeated);
    // A kill leaves a segment with nothing but a cut block; whatever else is wrong with all of it is for people to see.
    let is_cut = |hole: &Hole| hole.damage == Damage::Cut;
    if found.records == 0 && (header.is_none() || !holes.iter().filter(is_damage).all(is_cut)) {
        return aside(candidate, recovered);
    }
    if let (Some(declared), Some(expected)) = (declared, expected) {
        tell_missing(path, declared.saturating_sub(expected), &mut recovered.broken);
    }
    if header.is_none() {
        recovered.broken.push(Broken { path: path.clone(), offset: 0, records: Some(0), damage: Damage::Header });
    }
    recovered.broken.extend(holes.iter().filter(is_damage).map(|hole| broken(path, hole)));
    recovered.records += found.records;
    recovered.last.extend(found.last);
    recovered.instruments.extend(found.instruments);
    let first = first.unwrap_or(0);
    let end = walk.expected.unwrap_or(first);
    let life = header.as_ref().map(|header| header.life);
    Ok(Some(Segment { number: *number, path: path.clone(), first, end, len, holes, torn: false, life }))
}

/// Adds a hole; those at the front that only repeat what stands before are one, however many blocks they are.
fn add(holes: &mut Vec<Hole>, hole: Hole) {
    match holes.last_mut() {
        Some(last)
            if last.from == HEADER_BYTES as u64
                && last.to == hole.from
                && [&last.damage, &hole.damage].iter().all(|damage| **damage == Damage::Repeated) =>
        {
            last.to = hole.to;
        }
        _ => holes.push(hole),
    }
}

/// Counts the records of a block and notes the last trade of each instrument; `before` are those of other segments.
fn take(payload: &[u8], before: &BTreeMap<u32, TradeMsg>, found: &mut Recovered) {
    for bytes in payload.chunks_exact(RECORD_BYTES) {
        found.records += 1;
        let Ok(record) = Record::from_bytes(bytes) else { continue };
        let id = record.instrument_id();
        found.instruments.insert(id);
        let Record::Trade(trade) = record else { continue };
        let goes_on = |last: &TradeMsg| last.trade_id < trade.trade_id && last.ts_event <= trade.ts_event;
        if !trade.flag_set().has(Flags::BACKFILLED)
            || found.last.get(&id).or_else(|| before.get(&id)).is_some_and(goes_on)
        {
            found.last.insert(id, trade);
        }
    }
}

/// Tells records that are missing between two segments: what an end that does not hold has lost is then known.
fn tell_missing(path: &Path, missing: u64, told: &mut Vec<Broken>) {
    if missing == 0 {
        return;
    }
    match told.last_mut() {
        Some(Broken { records: records @ None, .. }) => *records = Some(missing),
        _ => {
            told.push(Broken { path: path.to_owned(), offset: 0, records: Some(missing), damage: Damage::Missing });
        }
    }
}

fn aside(candidate: &Candidate, recovered: &mut Recovered) -> Result<Option<Segment>, SpoolError> {
    let path = set_aside(&candidate.path)?;
    recovered.broken.push(Broken { path, offset: 0, records: None, damage: Damage::SetAside });
    Ok(None)
}

/// A hole as it is told.
pub(super) fn broken(path: &Path, hole: &Hole) -> Broken {
    Broken { path: path.to_owned(), offset: hole.from, records: hole.records, damage: hole.damage.clone() }
}
