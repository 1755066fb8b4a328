//! Damaged files: cut off anywhere, bits turned anywhere, blocks and segments gone. No wrong record, and no panic.

use std::fs::OpenOptions;

use proptest::prelude::*;

use super::*;

/// Where block `index` begins, all blocks before it of `count` records.
pub(super) fn block_at(index: u64, count: u64) -> u64 {
    128 + index * (32 + count * 48)
}

pub(super) fn flip(path: &Path, at: u64, mask: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= mask;
    fs::write(path, bytes).unwrap();
}

/// A closed spool of six blocks of ten records.
pub(super) fn six_blocks() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..60, 10);
    drop(spool);
    dir
}

#[test]
fn cut_off_at_every_byte_of_the_last_block_the_others_come_back() {
    let dir = six_blocks();
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let last = usize::try_from(block_at(5, 10)).unwrap();
    for len in last..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (mut spool, recovered) = open(dir.path(), SMALL);
        assert_eq!(recovered.records, 50, "{len}");
        let told = match len > last {
            true => vec![Broken { path: path.clone(), offset: last as u64, records: None, damage: Damage::Cut }],
            false => vec![],
        };
        assert_eq!(recovered.broken, told, "{len}");
        assert_eq!(read_all(&mut spool, 7), (trades(0..50), vec![]));
        // What is appended then stands right behind.
        fill(&mut spool, 50..52, 2);
        drop(spool);
        let (mut spool, recovered) = open(dir.path(), SMALL);
        assert_eq!((recovered.records, recovered.broken), (52, told));
        assert_eq!(read_all(&mut spool, 7), (trades(0..52), vec![]));
        let end = spool.end;
        spool.release(Position(end)).unwrap();
        assert_eq!(files(dir.path()), ["lock"]);
    }
}

#[test]
fn a_damaged_payload_costs_its_block_and_is_counted() {
    let dir = six_blocks();
    let at = block_at(2, 10);
    flip(&segment(dir.path(), 1), at + 100, 1);
    let (mut spool, recovered) = open(dir.path(), SMALL);
    let told = Broken { path: segment(dir.path(), 1), offset: at, records: Some(10), damage: Damage::Checksum };
    assert_eq!((recovered.records, recovered.broken), (50, vec![told]));
    let expected = [trades(0..20), trades(30..60)].concat();
    assert_eq!(read_all(&mut spool, 1_000), (expected, vec![]));
}

#[test]
fn a_damaged_block_header_costs_its_block_and_is_counted() {
    for byte in 0..24 {
        let dir = six_blocks();
        let at = block_at(2, 10);
        flip(&segment(dir.path(), 1), at + byte, 0x10);
        let (mut spool, recovered) = open(dir.path(), SMALL);
        let told = Broken { path: segment(dir.path(), 1), offset: at, records: Some(10), damage: Damage::BlockHeader };
        assert_eq!((recovered.records, recovered.broken), (50, vec![told]));
        assert_eq!(read_all(&mut spool, 3).0, [trades(0..20), trades(30..60)].concat());
    }
}

#[test]
fn damage_that_comes_after_the_open_is_told_before_what_stands_behind_it() {
    let dir = six_blocks();
    let path = segment(dir.path(), 1);
    let (mut spool, _) = open(dir.path(), SMALL);
    flip(&path, block_at(1, 10) + 40, 0x80);
    flip(&path, block_at(4, 10) + 3, 0x80);
    flip(&path, block_at(5, 10) + 3, 0x80);
    let broken = |block, records, damage| Broken {
        path: path.clone(),
        offset: block_at(block, 10),
        records: Some(records),
        damage,
    };
    let mut records = Vec::new();
    assert_eq!(spool.read(100, &mut records).unwrap(), Reading { position: Position(10), ..Reading::default() });
    assert_eq!(records, trades(0..10));
    let reading = spool.read(100, &mut records).unwrap();
    assert_eq!(reading, Reading { position: Position(40), broken: vec![broken(1, 10, Damage::Checksum)], torn: true });
    assert_eq!(records[10..], trades(20..40));
    assert_eq!(spool.unread(), 20);
    let reading = spool.read(100, &mut records).unwrap();
    assert_eq!(
        reading,
        Reading { position: Position(60), broken: vec![broken(4, 20, Damage::BlockHeader)], torn: true }
    );
    assert_eq!((records.len(), spool.unread()), (30, 0));
    assert_eq!(spool.read(100, &mut records).unwrap().broken, []);
}

#[test]
fn a_damaged_segment_header_costs_nothing_but_its_mention() {
    for byte in 0..128 {
        let dir = six_blocks();
        flip(&segment(dir.path(), 1), byte, 1);
        let (mut spool, recovered) = open(dir.path(), SMALL);
        let told = Broken { path: segment(dir.path(), 1), offset: 0, records: Some(0), damage: Damage::Header };
        assert_eq!((recovered.records, recovered.broken), (60, vec![told]), "{byte}");
        assert_eq!(read_all(&mut spool, 11), (trades(0..60), vec![]));
    }
}

#[test]
fn segments_that_are_gone_are_missed() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..80_000, 1_000);
    let per_segment = spool.segments[0].end;
    drop(spool);
    fs::remove_file(segment(dir.path(), 2)).unwrap();
    let (mut spool, recovered) = open(dir.path(), SMALL);
    let missing =
        |number, damage| Broken { path: segment(dir.path(), number), offset: 0, records: Some(per_segment), damage };
    assert_eq!(recovered.broken, [missing(3, Damage::Missing)]);
    // And one that goes while the spool is open.
    fs::remove_file(segment(dir.path(), 3)).unwrap();
    let (records, told) = read_all(&mut spool, 1_000);
    assert_eq!(records, [trades(0..per_segment), trades(3 * per_segment..80_000)].concat());
    assert_eq!(told, [missing(3, Damage::Unreadable("the file is gone".to_owned()))]);
    // Giving up what is gone tells it too.
    drop(spool);
    let (mut spool, _) = open(dir.path(), SMALL);
    fs::remove_file(segment(dir.path(), 1)).unwrap();
    let dropped = spool.drop_oldest().unwrap();
    assert_eq!((dropped.records, dropped.lost.len(), dropped.broken.len()), (per_segment, 0, 1));
}

#[test]
fn a_segment_that_cannot_be_opened_stops_reading_and_costs_nothing() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(dir.path(), SMALL);
    fill(&mut spool, 0..50_000, 1_000);
    let per_segment = spool.segments[0].end;
    let (path, away) = (segment(dir.path(), 2), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    let mut records = Vec::new();
    assert_eq!(spool.read(usize::MAX, &mut records).unwrap().position, Position(per_segment));
    for _ in 0..2 {
        assert!(matches!(spool.read(usize::MAX, &mut records), Err(SpoolError::Io { .. })));
    }
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert_eq!(spool.read(usize::MAX, &mut records).unwrap().broken, []);
    assert_eq!(records, trades(0..50_000));
}

#[test]
fn numbers_at_their_end_are_refused() {
    let dir = six_blocks();
    let last = segment(dir.path(), layout::NUMBER_MAX);
    fs::rename(segment(dir.path(), 1), &last).unwrap();
    let (mut spool, recovered) = open(dir.path(), SMALL);
    assert_eq!((recovered.records, recovered.broken.len()), (60, 1));
    let error = spool.append(CREATED, &trades(60..61)).unwrap_err();
    assert!(error.to_string().contains("no number is left"), "{error}");
    let mut block = Vec::new();
    for first in [layout::NUMBER_MAX, u64::MAX] {
        layout::encode_block(&mut block, &trades(0..1), first, 7);
        assert_eq!(layout::BlockHeader::decode(&block, 7), None);
        let header = SegmentHeader::new(OWNER, CREATED, 1, first, 0);
        assert_eq!(SegmentHeader::decode(&header.encode()).is_ok(), first == layout::NUMBER_MAX);
    }
}

#[test]
fn a_segment_cut_off_while_it_is_open_is_told_to_the_last_record() {
    let dir = six_blocks();
    let (mut spool, _) = open(dir.path(), SMALL);
    let file = OpenOptions::new().write(true).open(segment(dir.path(), 1)).unwrap();
    file.set_len(block_at(3, 10) + 5).unwrap();
    let (records, told) = read_all(&mut spool, 30);
    assert_eq!(records, trades(0..30));
    assert!(matches!(&told[..], [Broken { records: Some(30), .. }]), "{told:?}");
}

#[test]
fn the_same_blocks_twice_are_read_once() {
    let dir = six_blocks();
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], &bytes[128..]].concat()).unwrap();
    let (mut spool, recovered) = open(dir.path(), SMALL);
    assert_eq!((recovered.records, recovered.broken.len()), (60, 6));
    assert!(recovered.broken.iter().all(|broken| broken.damage == Damage::Repeated && broken.records == Some(0)));
    assert_eq!(read_all(&mut spool, 50).0, trades(0..60));
}

#[test]
fn a_segment_without_a_whole_block_is_kept_for_people_unless_a_kill_explains_it() {
    let dir = TempDir::new().unwrap();
    for start in [0, 10, 20] {
        fill(&mut open(dir.path(), SMALL).0, start..start + 10, 10);
    }
    flip(&segment(dir.path(), 2), 200, 1);
    OpenOptions::new().write(true).open(segment(dir.path(), 3)).unwrap().set_len(300).unwrap();
    let (mut spool, recovered) = open(dir.path(), SMALL);
    let told: Vec<(Option<u64>, &Damage)> = recovered.broken.iter().map(|it| (it.records, &it.damage)).collect();
    assert_eq!(told, [(Some(10), &Damage::SetAside), (None, &Damage::Cut)]);
    assert_eq!(read_all(&mut spool, 100), (trades(0..10), vec![]));
    spool.release(Position(u64::MAX)).unwrap();
    assert_eq!(files(dir.path()), [format!("{}.aside", layout::segment_name(2)), "lock".to_owned()]);
}

/// What was done to a file.
#[derive(Clone, Debug)]
enum Harm {
    Flip { segment: usize, at: usize, mask: u8 },
    Zero { segment: usize, at: usize, len: usize },
    Cut { segment: usize, len: usize },
    Insert { segment: usize, at: usize, bytes: Vec<u8> },
}

fn harm() -> impl Strategy<Value = Harm> {
    let place = || (0..4_usize, any::<usize>());
    prop_oneof![
        4 => (place(), 1..=255_u8).prop_map(|((segment, at), mask)| Harm::Flip { segment, at, mask }),
        1 => (place(), 1..600_usize).prop_map(|((segment, at), len)| Harm::Zero { segment, at, len }),
        1 => place().prop_map(|(segment, len)| Harm::Cut { segment, len }),
        1 => (place(), prop::collection::vec(any::<u8>(), 1..200))
            .prop_map(|((segment, at), bytes)| Harm::Insert { segment, at, bytes }),
    ]
}

fn apply(directory: &Path, harm: &Harm) {
    let (Harm::Flip { segment: index, .. }
    | Harm::Zero { segment: index, .. }
    | Harm::Cut { segment: index, .. }
    | Harm::Insert { segment: index, .. }) = harm;
    let path = segment(directory, *index as u64 + 1);
    let Ok(mut bytes) = fs::read(&path) else { return };
    let place = |at: usize| at % (bytes.len() + 1);
    match harm {
        Harm::Flip { at, mask, .. } => {
            let at = place(*at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Harm::Zero { at, len, .. } => {
            let at = place(*at);
            bytes.iter_mut().skip(at).take(*len).for_each(|byte| *byte = 0);
        }
        Harm::Cut { len, .. } => bytes.truncate(place(*len)),
        Harm::Insert { at, bytes: more, .. } => {
            let at = place(*at);
            bytes.splice(at..at, more.iter().copied());
        }
    }
    fs::write(path, bytes).unwrap();
}

/// All that was read was appended, in that order, each once; all the rest is in the count where one can be given.
fn assert_faithful(records: &[Bytes], told: &[Broken], appended: u64) {
    let ids: Vec<u64> = records.iter().map(|record| u64::from_le_bytes(record[16..24].try_into().unwrap())).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert!(records.iter().zip(&ids).all(|(record, id)| *id < appended && record == trade(*id).as_bytes()));
    let lost = appended - ids.len() as u64;
    let counted: u64 = told.iter().filter_map(|broken| broken.records).sum();
    let unknown = told.iter().any(|broken| broken.records.is_none());
    assert!(counted <= lost && (unknown || counted == lost || told.is_empty()), "{lost} lost, {counted} counted");
}

/// Four short segments: a fresh one at each open.
fn four_segments(directory: &Path) {
    for start in [0, 40, 80, 120] {
        let (mut spool, _) = open(directory, SMALL);
        fill(&mut spool, start..start + 40, 7);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn harmed_files_never_give_a_wrong_record(harms in prop::collection::vec(harm(), 1..6)) {
        let dir = TempDir::new().unwrap();
        four_segments(dir.path());
        harms.iter().for_each(|harm| apply(dir.path(), harm));
        let (mut spool, recovered) = open(dir.path(), SMALL);
        let (records, told) = read_all(&mut spool, 25);
        prop_assert_eq!(records.len() as u64, recovered.records);
        prop_assert_eq!(told, vec![]);
        // A file that ends where a block ends has lost its tail without a trace.
        let mut told = recovered.broken.clone();
        let cut = harms.iter().any(|harm| matches!(harm, Harm::Cut { .. }));
        if cut {
            told.push(Broken { path: PathBuf::new(), offset: 0, records: None, damage: Damage::Cut });
        }
        assert_faithful(&records, &told, 160);
        // Opened again it is the same, but for what was set aside.
        drop(spool);
        let (mut spool, again) = open(dir.path(), SMALL);
        prop_assert_eq!(&again.last, &recovered.last);
        prop_assert_eq!(read_all(&mut spool, 1_000).0, records);
    }

    #[test]
    fn files_harmed_while_they_are_read_give_no_wrong_record(
        harms in prop::collection::vec(harm(), 1..6),
        before in 0..160_usize,
    ) {
        let dir = TempDir::new().unwrap();
        four_segments(dir.path());
        let (mut spool, _) = open(dir.path(), SMALL);
        let mut records = Vec::new();
        let _ = spool.read(before, &mut records).unwrap();
        harms.iter().for_each(|harm| apply(dir.path(), harm));
        let (more, told) = read_all(&mut spool, 25);
        records.extend(more);
        let counted: u64 = told.iter().filter_map(|broken| broken.records).sum();
        assert_faithful(&records, &told, 160);
        // While it is open, every number is known.
        prop_assert_eq!(records.len() as u64 + counted, 160);
    }
}
