//! The documents of record and segment, and the C header, held against the code: every offset, type, value, example.
//!
//! Each row is read as a reader in another language would read it, out of bytes that the crate itself has written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "c_client/compiler.rs"]
#[allow(dead_code, reason = "the client's own tests use all of it")]
mod compiler;
#[path = "layout/header.rs"]
mod header;
#[path = "layout/tables.rs"]
mod tables;

use std::collections::BTreeMap;
use std::fs;

use data_manager::market::instrument::instrument_id;
use data_manager::market::subject::{SubjectKind, subject};
use data_manager::market::{Flags, GapMsg, GapReason, GapStrength, Record, Side, Symbol, TradeMsg, symbol, trade};
use data_manager::transport::ipc::{Writer, WriterConfig, layout};
use tables::{Document, Field};

const RECORDS: &str = "docs/trade-msg.md";
const SEGMENT: &str = "docs/ipc-segment.md";

/// A trade with another value in each byte.
fn distinct_trade() -> TradeMsg {
    TradeMsg {
        ts_event: 0x0807_0605_0403_0201,
        ts_recv: 0x100f_0e0d_0c0b_0a09,
        trade_id: 0x1817_1615_1413_1211,
        price: -0x1f1e_1d1c_1b1a_1918,
        size: 0x2827_2625_2423_2221,
        instrument_id: 0x2c2b_2a29,
        price_scale: 0x2d,
        size_scale: 0x2e,
        flags: 0x2f,
        kind: trade::KIND_TRADE_V1,
    }
}

/// A gap with another value in each byte.
fn distinct_gap() -> GapMsg {
    GapMsg {
        ts_start: 0x0807_0605_0403_0201,
        ts_end: 0x100f_0e0d_0c0b_0a09,
        first_id: 0x1817_1615_1413_1211,
        last_id: 0x201f_1e1d_1c1b_1a19,
        missing: 0x2827_2625_2423_2221,
        instrument_id: 0x2c2b_2a29,
        strength: 0x2d,
        reason: 0x2e,
        flags: 0x2f,
        kind: trade::KIND_GAP_V1,
    }
}

/// The fields of a trade by the names that the document uses, which are the struct's own.
fn trade_fields(trade: &TradeMsg) -> BTreeMap<&'static str, Field> {
    let TradeMsg { ts_event, ts_recv, trade_id, price, size, instrument_id, price_scale, size_scale, flags, kind } =
        *trade;
    BTreeMap::from([
        ("ts_event", Field::number("u64", ts_event)),
        ("ts_recv", Field::number("u64", ts_recv)),
        ("trade_id", Field::number("u64", trade_id)),
        ("price", Field::number("i64", price)),
        ("size", Field::number("u64", size)),
        ("instrument_id", Field::number("u32", instrument_id)),
        ("price_scale", Field::number("u8", price_scale)),
        ("size_scale", Field::number("u8", size_scale)),
        ("flags", Field::number("u8", flags)),
        ("kind", Field::number("u8", kind)),
    ])
}

/// As [`trade_fields`], of a gap.
fn gap_fields(gap: &GapMsg) -> BTreeMap<&'static str, Field> {
    let GapMsg { ts_start, ts_end, first_id, last_id, missing, instrument_id, strength, reason, flags, kind } = *gap;
    BTreeMap::from([
        ("ts_start", Field::number("u64", ts_start)),
        ("ts_end", Field::number("u64", ts_end)),
        ("first_id", Field::number("u64", first_id)),
        ("last_id", Field::number("u64", last_id)),
        ("missing", Field::number("u64", missing)),
        ("instrument_id", Field::number("u32", instrument_id)),
        ("strength", Field::number("u8", strength)),
        ("reason", Field::number("u8", reason)),
        ("flags", Field::number("u8", flags)),
        ("kind", Field::number("u8", kind)),
    ])
}

/// As [`trade_fields`], of the part of a header that never changes.
fn header_fields(header: &layout::Header) -> BTreeMap<&'static str, Field> {
    let layout::Header { capacity, epoch, pid, exchange, symbol_table, symbols_max, slots } = header;
    let size = |bytes: usize| Field::number("u32", u32::try_from(bytes).unwrap());
    BTreeMap::from([
        ("magic", Field::bytes(&layout::MAGIC)),
        ("version", Field::number("u32", layout::VERSION)),
        ("header_bytes", size(layout::HEADER_BYTES)),
        ("slot_bytes", size(layout::SLOT_BYTES)),
        ("record_bytes", size(trade::RECORD_BYTES)),
        ("capacity", Field::number("u64", *capacity)),
        ("epoch", Field::number("u64", *epoch)),
        ("pid", Field::number("u32", *pid)),
        ("record_kind", Field::number("u32", layout::RECORD_KIND)),
        ("exchange", Field::text(exchange, layout::EXCHANGE_BYTES_MAX)),
        ("symbol_table", Field::number("u64", *symbol_table)),
        ("symbols_max", Field::number("u32", *symbols_max)),
        ("slots", Field::number("u64", *slots)),
    ])
}

#[test]
fn the_tables_of_both_records_are_the_structs() {
    let document = Document::open(RECORDS);
    let trade = distinct_trade();
    document.holds("Trade", trade.as_bytes(), &trade_fields(&trade), trade::RECORD_BYTES);
    let gap = distinct_gap();
    document.holds("Gap", gap.as_bytes(), &gap_fields(&gap), trade::RECORD_BYTES);
}

#[test]
fn names_behind_numbers_are_the_codes() {
    let document = Document::open(RECORDS);
    let sides = document.pairs("| value | side |");
    assert_eq!(sides, [Side::None, Side::Buy, Side::Sell].map(|side| (side as u64, side.as_str().to_owned())));
    let flags = document.pairs("| bit | flag | meaning |");
    assert_eq!(flags, Flags::NAMES.map(|(bit, name)| (u64::from(bit.trailing_zeros()), name.to_owned())));
    let all = |name: fn(u8) -> Option<&'static str>| -> Vec<(u64, String)> {
        (0..=u8::MAX).filter_map(|value| name(value).map(|name| (u64::from(value), name.to_owned()))).collect()
    };
    let strengths = document.section("Strength").pairs("| value | name | meaning |");
    assert_eq!(strengths, all(|value| GapStrength::from_wire(value).map(GapStrength::as_str)));
    let reasons = document.section("Reason").pairs("| value | name | meaning |");
    assert_eq!(reasons, all(|value| GapReason::from_wire(value).map(GapReason::as_str)));
}

#[test]
fn examples_of_records_decode_to_what_they_say() {
    let document = Document::open(RECORDS);
    let id = instrument_id("binance", "BTCUSDT");
    let section = document.section("Example of a trade");
    let bytes = section.hex();
    let Ok(Record::Trade(trade)) = Record::from_bytes(&bytes) else { panic!("no trade: {bytes:02x?}") };
    section.tells(&trade_fields(&trade), &["instrument_id"]);
    assert_eq!(trade.instrument_id, id, "the trade must have {:02x?}", id.to_le_bytes());
    assert!(section.text.contains(&format!("`{id:08x}-{}-{}`", trade.trade_id, trade.ts_event / 1_000_000)));
    assert_eq!((trade.side(), trade.flag_set().names().collect::<Vec<_>>()), (Side::Sell, vec!["after_gap"]));

    let section = document.section("Example of a gap");
    let bytes = section.hex();
    let Ok(Record::Gap(gap)) = Record::from_bytes(&bytes) else { panic!("no gap: {bytes:02x?}") };
    section.tells(&gap_fields(&gap), &["instrument_id"]);
    assert_eq!(gap.instrument_id, id);
    assert!(gap.is_exact());
    let (start, end) = (gap.ts_start / 1_000_000, gap.ts_end / 1_000_000);
    assert!(section.text.contains(&format!("`{id:08x}-g{start}-{end}-{}-{}-0`", gap.first_id, gap.last_id)));
}

#[test]
fn instrument_ids_and_subjects_are_the_codes() {
    let document = Document::open(RECORDS);
    let ids = document.rows("| exchange | symbol | instrument id |");
    let subjects = document.rows("| exchange | symbol | subject of its trades |");
    assert!(ids.len() >= 2 && subjects.len() >= 4);
    for row in ids {
        assert_eq!(row[2], format!("0x{:08x}", instrument_id(&row[0], &row[1])), "{row:?}");
    }
    for row in subjects {
        assert_eq!(row[2], subject("market", &row[0], &row[1], SubjectKind::Trades), "{row:?}");
    }
}

#[test]
fn the_table_of_the_header_is_what_a_writer_writes() {
    let document = Document::open(SEGMENT);
    // Not a header that any writer would write: other values in each byte.
    let header = layout::Header {
        capacity: 0x0807_0605_0403_0201,
        epoch: 0x100f_0e0d_0c0b_0a09,
        pid: 0x1413_1211,
        exchange: "an-exchange-name-of-32-bytes-len".to_owned(),
        symbol_table: 0x2827_2625_2423_2221,
        symbols_max: 0x2c2b_2a29,
        slots: 0x3837_3635_3433_3231,
    };
    let mut bytes = header.encode();
    // The words that change are the writer's; here their places are marked.
    let mut fields = header_fields(&header);
    let marks: [(&str, &str, usize, u64); 6] = [
        ("head", "u64", layout::AT_HEAD, 0x4847_4645_4443_4241),
        ("heartbeat", "u64", layout::AT_HEARTBEAT, 0x504f_4e4d_4c4b_4a49),
        ("state", "u32", layout::AT_STATE, 0x5453_5251),
        ("symbols", "u32", layout::AT_SYMBOLS, 0x5857_5655),
        ("wake", "u32", layout::AT_WAKE, 0x5c5b_5a59),
        ("waiting", "u32", layout::AT_WAITING, 0x605f_5e5d),
    ];
    for (name, kind, at, value) in marks {
        let width = if kind == "u64" { 8 } else { 4 };
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        fields.insert(name, Field::number(kind, value));
    }
    document.holds("Header", &bytes, &fields, 0);
}

#[test]
fn the_tables_of_entries_and_slots_are_what_a_writer_writes() {
    let document = Document::open(SEGMENT);
    let directory = tempfile::tempdir().unwrap();
    let config = WriterConfig {
        directory: directory.path().to_owned(),
        exchange: "okx".to_owned(),
        capacity: 64,
        symbols_max: 3,
        ..WriterConfig::default()
    };
    let name = Symbol::new("A-SYMBOL-AS-LONG-AS-THE-TABLE-HOLDS-WHICH-IS-56-BYTES-OF").unwrap();
    assert_eq!(name.as_str().len(), symbol::SYMBOL_BYTES_MAX);
    let mut writer = Writer::create(&config, [(7, &Symbol::new("BTCUSDT").unwrap())]).unwrap();
    writer.add_symbol(0x0403_0201, &name).unwrap();
    for _ in 0..65 {
        writer.push(&Record::Trade(distinct_trade()));
    }
    let path = writer.path().to_owned();
    writer.heartbeat(99);
    writer.close();
    let bytes = fs::read(path).unwrap();

    let header: [u8; layout::HEADER_BYTES] = bytes[..layout::HEADER_BYTES].try_into().unwrap();
    let decoded = layout::Header::decode(&header, bytes.len() as u64).unwrap();
    assert_eq!(decoded.segment_bytes(), bytes.len() as u64, "slots + 64 x capacity");
    // The words that change, out of a live segment.
    let table = document.offsets("Header");
    let at = |field: &str| usize::try_from(table[field]).unwrap();
    let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((word(at("head")), word(at("heartbeat"))), (65, 99));
    assert_eq!((half(at("state")), half(at("symbols"))), (layout::State::Closed as u32, 2));

    let second = usize::try_from(decoded.symbol_table).unwrap() + layout::SYMBOL_ENTRY_BYTES;
    let entry = &bytes[second..second + layout::SYMBOL_ENTRY_BYTES];
    let fields = BTreeMap::from([
        ("instrument_id", Field::number("u32", 0x0403_0201_u32)),
        ("length", Field::number("u8", u8::try_from(name.as_str().len()).unwrap())),
        ("reserved", Field::bytes(&[0; 3])),
        ("symbol", Field::text(name.as_str(), symbol::SYMBOL_BYTES_MAX)),
    ]);
    document.holds("Symbol entry", entry, &fields, layout::SYMBOL_ENTRY_BYTES);

    // Record 64 lies in slot 0, over record 0.
    let first = usize::try_from(decoded.slots).unwrap();
    let slot = &bytes[first..first + layout::SLOT_BYTES];
    let fields = BTreeMap::from([
        ("sequence", Field::number("u64", 2 * 64 + 2_u64)),
        ("record", Field::bytes(distinct_trade().as_bytes())),
        ("spare", Field::number("u64", 0_u64)),
    ]);
    document.holds("Slot", slot, &fields, layout::SLOT_BYTES);
}

#[test]
fn the_constants_and_the_example_of_a_header_are_the_codes() {
    let document = Document::open(SEGMENT);
    let expected: BTreeMap<String, u64> = [
        ("CAPACITY_MIN", layout::CAPACITY_MIN),
        ("CAPACITY_MAX", layout::CAPACITY_MAX),
        ("SYMBOLS_MAX", u64::from(layout::SYMBOLS_MAX)),
        ("HEADER_BYTES", layout::HEADER_BYTES as u64),
        ("SLOT_BYTES", layout::SLOT_BYTES as u64),
        ("SYMBOL_ENTRY_BYTES", layout::SYMBOL_ENTRY_BYTES as u64),
        ("RECORD_BYTES", trade::RECORD_BYTES as u64),
        ("EXCHANGE_BYTES_MAX", layout::EXCHANGE_BYTES_MAX as u64),
        ("SYMBOL_BYTES_MAX", symbol::SYMBOL_BYTES_MAX as u64),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let rows = document.rows("| constant | value |");
    let found: BTreeMap<String, u64> = rows.iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect();
    assert_eq!(found, expected);

    let section = document.section("Example of a header");
    let start = section.hex();
    let mut bytes = [0; layout::HEADER_BYTES];
    bytes[..start.len()].copy_from_slice(&start);
    let header = layout::Header::decode(&bytes, u64::MAX).unwrap();
    section.tells(&header_fields(&header), &["magic"]);
    assert_eq!(header.segment_bytes(), 77_824);
    assert!(section.text.contains("77824"));
}
