//! Every offset, size and value of the C header, as a C compiler sees it, against the code.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::process::Command;

use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1, RECORD_BYTES};
use data_manager::market::{Flags, GapMsg, GapReason, GapStrength, Side, TradeMsg, decimal, symbol};
use data_manager::transport::ipc::{DIRECTORY, WriterConfig, layout};

use crate::compiler;
use crate::tables::Document;

/// What a compiled program says of the header, by name.
fn printed() -> BTreeMap<String, String> {
    let program = compiler::build(&compiler::GCC, "tests/layout/print.c");
    let done = Command::new(program).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// What the code says of the same names.
fn expected() -> BTreeMap<String, String> {
    macro_rules! fields {
        ($kind:ty, $name:literal, $($field:ident),*) => {
            vec![
                (concat!("sizeof ", $name), size_of::<$kind>() as u64),
                $((concat!($name, ".", stringify!($field)), offset_of!($kind, $field) as u64)),*
            ]
        };
    }
    let mut all = fields!(
        TradeMsg,
        "dm_trade",
        ts_event,
        ts_recv,
        trade_id,
        price,
        size,
        instrument_id,
        price_scale,
        size_scale,
        flags,
        kind
    );
    all.extend(fields!(
        GapMsg,
        "dm_gap",
        ts_start,
        ts_end,
        first_id,
        last_id,
        missing,
        instrument_id,
        strength,
        reason,
        flags,
        kind
    ));
    all.extend([
        ("sizeof dm_record", RECORD_BYTES as u64),
        ("dm_record.instrument_id", offset_of!(TradeMsg, instrument_id) as u64),
        ("dm_record.kind", offset_of!(TradeMsg, kind) as u64),
        ("DM_RECORD_BYTES", RECORD_BYTES as u64),
        ("DM_KIND_TRADE_V1", u64::from(KIND_TRADE_V1)),
        ("DM_KIND_GAP_V1", u64::from(KIND_GAP_V1)),
        ("DM_SIDE_NONE", Side::None as u64),
        ("DM_SIDE_BUY", Side::Buy as u64),
        ("DM_SIDE_SELL", Side::Sell as u64),
        ("DM_SCALE_MAX", u64::from(decimal::SCALE_MAX)),
        ("DM_RING_VERSION", u64::from(layout::VERSION)),
        ("DM_HEADER_BYTES", layout::HEADER_BYTES as u64),
        ("DM_SLOT_BYTES", layout::SLOT_BYTES as u64),
        ("DM_SYMBOL_ENTRY_BYTES", layout::SYMBOL_ENTRY_BYTES as u64),
        ("DM_RING_RECORD_KIND", u64::from(layout::RECORD_KIND)),
        ("DM_EXCHANGE_BYTES_MAX", layout::EXCHANGE_BYTES_MAX as u64),
        ("DM_SYMBOL_BYTES_MAX", symbol::SYMBOL_BYTES_MAX as u64),
        ("DM_CAPACITY_MIN", layout::CAPACITY_MIN),
        ("DM_CAPACITY_MAX", layout::CAPACITY_MAX),
        ("DM_SYMBOLS_MAX", u64::from(layout::SYMBOLS_MAX)),
        ("DM_STATE_FILLING", layout::State::Filling as u64),
        ("DM_STATE_LIVE", layout::State::Live as u64),
        ("DM_STATE_CLOSED", layout::State::Closed as u64),
    ]);
    let config = WriterConfig::default();
    let mut all: BTreeMap<String, String> =
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
    all.insert("DM_DIRECTORY".to_owned(), DIRECTORY.to_owned());
    all.insert("DM_PREFIX".to_owned(), config.path_prefix);
    for (field, at) in Document::open("docs/ipc-segment.md").offsets("Header") {
        // The document itself is held against the code.
        all.insert(format!("DM_AT_{}", field.to_uppercase()), at.to_string());
    }
    all
}

/// The names that text formats use, by the names of the header.
fn named() -> BTreeMap<String, String> {
    let flags = Flags::NAMES.map(|(bit, name)| ("DM_FLAG", name, bit)).into_iter();
    let strengths =
        (0..=u8::MAX).filter_map(|value| Some(("DM_STRENGTH", GapStrength::from_wire(value)?.as_str(), value)));
    let reasons = (0..=u8::MAX).filter_map(|value| Some(("DM_REASON", GapReason::from_wire(value)?.as_str(), value)));
    let of = |(start, name, value): (&str, &str, u8)| {
        (format!("{start}_{}", name.to_uppercase()), format!("{value} {name}"))
    };
    flags.chain(strengths).chain(reasons).map(of).collect()
}

#[test]
fn the_c_header_has_the_codes_offsets_and_values() {
    let mut expected = expected();
    expected.extend(named());
    assert_eq!(printed(), expected);
}
