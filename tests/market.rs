//! The nouns of the house as properties: exact decimals, the bytes of records, subjects, symbols, instrument ids.

use std::collections::HashMap;

use data_manager::exchange;
use data_manager::market::instrument::instrument_id;
use data_manager::market::record::RecordError;
use data_manager::market::subject::{self, SubjectKind, subject, token, untoken};
use data_manager::market::symbol::{SYMBOL_BYTES_MAX, canonical_asset, split_pair};
use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1, RECORD_BYTES};
use data_manager::market::{
    Decimal, DecimalError, Flags, GapMsg, Instrument, InstrumentError, Record, Side, Symbol, SymbolError, TradeMsg,
    Universe,
};
use proptest::prelude::*;
use rust_decimal::Decimal as Peer;

/// Ids that another implementation of xxh3-64 gives: the first four bytes of the hash, little-endian.
const GOLDEN_IDS: [(&str, &str, u32); 10] = [
    ("binance", "BTCUSDT", 0x83b1_477a),
    ("binance", "ETHUSDT", 0x7ad2_40ba),
    ("binance", "币安人生USDT", 0xcfa4_1778),
    ("binance-usdm", "BTCUSDT", 0x6a8e_5f28),
    ("coinbase", "BTCUSD", 0x0438_1535),
    ("coinbase", "ETHUSD", 0x47c2_6ab9),
    ("kraken", "BTCUSD", 0xb493_e968),
    ("okx", "BTCUSDT-SWAP", 0x89bd_2180),
    ("bitmex", "XBTUSD", 0xdf82_70c0),
    ("hyperliquid", "@107", 0xb405_e1f0),
];

/// Number text within what the peer holds exactly: sign, leading zeros, fraction, trailing zeros, exponent.
fn number_text() -> impl Strategy<Value = String> {
    let exponent = prop_oneof![
        3 => Just(String::new()),
        2 => (prop::sample::select(vec!["e", "E"]), prop::sample::select(vec!["-", "-0", "-00"]), 0..=13_u32)
            .prop_map(|(e, sign, value)| format!("{e}{sign}{value}")),
        2 => (prop::sample::select(vec!["e", "E"]), prop::sample::select(vec!["", "+", "+0"]), 0..=9_u32)
            .prop_map(|(e, sign, value)| format!("{e}{sign}{value}")),
    ];
    let parts = ("-?", "0{0,4}", "[0-9]{1,12}", prop::option::of("[0-9]{1,10}0{0,5}"), exponent);
    parts.prop_map(|(sign, zeros, whole, fraction, exponent)| {
        let fraction = fraction.map(|digits| format!(".{digits}")).unwrap_or_default();
        format!("{sign}{zeros}{whole}{fraction}{exponent}")
    })
}

/// The same number, as a crate that nobody here wrote reads it.
fn peer(text: &str) -> Peer {
    let read = if text.contains(['e', 'E']) { Peer::from_scientific(text) } else { Peer::from_str_exact(text) };
    read.unwrap_or_else(|error| panic!("{text}: {error}")).normalize()
}

/// What a record can hold of the peer's number.
fn expected(peer: &Peer) -> Result<(bool, u64, u8), DecimalError> {
    let scale = u8::try_from(peer.scale()).ok().filter(|scale| *scale <= 18).ok_or(DecimalError::TooManyDecimals);
    let magnitude = u64::try_from(peer.mantissa().unsigned_abs()).map_err(|_| DecimalError::TooLarge);
    Ok((peer.mantissa() < 0, magnitude?, scale?))
}

/// Sign, magnitude and scale, by way of what a record stores.
fn parts(decimal: Decimal) -> (bool, u64, u8) {
    match decimal.size() {
        Ok(magnitude) => (false, magnitude, decimal.scale()),
        Err(error) => {
            assert_eq!(error, DecimalError::Negative);
            let text = decimal.to_string();
            let positive = Decimal::parse(text.trim_start_matches('-')).and_then(Decimal::size);
            (true, positive.unwrap_or_else(|error| panic!("{text}: {error}")), decimal.scale())
        }
    }
}

/// Any text at all, control characters included.
fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![3 => any::<char>(), 1 => prop::char::range('\0', '~')], 0..40)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decimal_is_what_another_crate_reads(text in number_text()) {
        let peer = peer(&text);
        match (Decimal::parse(&text), expected(&peer)) {
            (Ok(decimal), Ok(expected)) => {
                prop_assert_eq!(parts(decimal), expected, "{}", text);
                prop_assert_eq!(decimal.to_string(), peer.to_string());
                prop_assert_eq!(Decimal::parse(&decimal.to_string()), Ok(decimal));
            }
            (Err(_), Err(_)) => {}
            (found, expected) => prop_assert!(false, "{}: {:?}, expected {:?}", text, found, expected),
        }
    }

    #[test]
    fn every_mantissa_and_scale_comes_back(magnitude in any::<u64>(), scale in 0..=18_u8) {
        let written = Decimal::from_size(magnitude, scale);
        let read = Decimal::parse(&written.to_string()).unwrap();
        let same = u128::from(read.size().unwrap()) * 10_u128.pow(u32::from(scale - read.scale()));
        prop_assert_eq!(same, u128::from(magnitude));
        prop_assert!(read.scale() == 0 || !read.size().unwrap().is_multiple_of(10), "a trailing zero stays in {read}");
        let price = magnitude.cast_signed();
        let read = Decimal::parse(&Decimal::from_price(price, scale).to_string()).unwrap();
        let same = i128::from(read.price().unwrap()) * 10_i128.pow(u32::from(scale - read.scale()));
        prop_assert_eq!(same, i128::from(price));
    }

    #[test]
    fn beyond_64_bits_is_an_error_never_a_rounded_number(
        above in 1..=u128::from(u64::MAX), scale in 0..=18_u32, negative in any::<bool>(),
    ) {
        let magnitude = u128::from(u64::MAX) + above;
        // A trailing zero would carry no value behind the point, and might let the rest fit.
        let magnitude = magnitude + u128::from(magnitude.is_multiple_of(10));
        let text = format!("{}{magnitude}e-{scale}", if negative { "-" } else { "" });
        prop_assert_eq!(Decimal::parse(&text), Err(DecimalError::TooLarge));
    }

    #[test]
    fn beyond_18_decimals_is_an_error_never_a_rounded_number(digit in 1..=9_u8, more in 19..=40_u32) {
        let zeros = "0".repeat(more as usize - 1);
        prop_assert_eq!(Decimal::parse(&format!("0.{zeros}{digit}")), Err(DecimalError::TooManyDecimals));
        prop_assert_eq!(Decimal::parse(&format!("{digit}e-{more}")), Err(DecimalError::TooManyDecimals));
        let shifted = format!("1.{}{digit}e-1", "0".repeat(17));
        prop_assert_eq!(Decimal::parse(&shifted), Err(DecimalError::TooManyDecimals));
    }

    #[test]
    fn any_text_is_read_like_json_or_refused(text in "[-+.eE0-9 _a]{0,12}") {
        let json: Result<serde_json::Value, _> = serde_json::from_str(&text);
        let is_json = json.is_ok_and(|value| value.is_number()) && text.trim() == text;
        if is_json && Decimal::parse(&text) == Err(DecimalError::Syntax) {
            prop_assert!(false, "{text:?} is a JSON number");
        }
        if let Ok(decimal) = Decimal::parse(&text) {
            // Leading zeros are all that is taken beyond JSON.
            let sign = if text.starts_with('-') { "-" } else { "" };
            let digits = text.trim_start_matches('-').trim_start_matches('0');
            let zero = if digits.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
            let plain = format!("{sign}{zero}{digits}");
            prop_assert!(serde_json::from_str::<serde_json::Number>(&plain).is_ok(), "{text:?} read as {decimal}");
        }
    }

    #[test]
    fn a_trade_lies_in_memory_as_the_contract_says(
        (ts_event, ts_recv, trade_id, price, size) in any::<(u64, u64, u64, i64, u64)>(),
        (instrument_id, price_scale, size_scale, flags) in any::<(u32, u8, u8, u8)>(),
    ) {
        let kind = KIND_TRADE_V1;
        let trade = TradeMsg {
            ts_event, ts_recv, trade_id, price, size, instrument_id, price_scale, size_scale, flags, kind,
        };
        let words = [ts_event, ts_recv, trade_id, price.cast_unsigned(), size];
        let bytes = by_hand(words, instrument_id, [price_scale, size_scale, flags, 1]);
        prop_assert_eq!(trade.as_bytes(), &bytes);
        prop_assert_eq!(*Record::Trade(trade).as_bytes(), bytes);
        prop_assert_eq!(unaligned(&bytes), Ok(Record::Trade(trade)));
        prop_assert_eq!(Record::Trade(trade).instrument_id(), instrument_id);
    }

    #[test]
    fn a_gap_lies_in_memory_as_the_contract_says(
        (ts_start, ts_end, first_id, last_id, missing) in any::<(u64, u64, u64, u64, u64)>(),
        (instrument_id, strength, reason, flags) in any::<(u32, u8, u8, u8)>(),
    ) {
        let kind = KIND_GAP_V1;
        let gap = GapMsg {
            ts_start, ts_end, first_id, last_id, missing, instrument_id, strength, reason, flags, kind,
        };
        let words = [ts_start, ts_end, first_id, last_id, missing];
        let bytes = by_hand(words, instrument_id, [strength, reason, flags, 2]);
        prop_assert_eq!(gap.as_bytes(), &bytes);
        prop_assert_eq!(*Record::Gap(gap).as_bytes(), bytes);
        prop_assert_eq!(unaligned(&bytes), Ok(Record::Gap(gap)));
        prop_assert_eq!(Record::Gap(gap).instrument_id(), instrument_id);
    }

    #[test]
    fn what_is_no_record_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        match (bytes.len(), bytes.get(RECORD_BYTES - 1)) {
            (RECORD_BYTES, Some(1 | 2)) => prop_assert!(Record::from_bytes(&bytes).is_ok()),
            (RECORD_BYTES, Some(kind)) => {
                prop_assert_eq!(Record::from_bytes(&bytes), Err(RecordError::Kind { kind: *kind }));
            }
            (len, _) => prop_assert_eq!(Record::from_bytes(&bytes), Err(RecordError::Length { len })),
        }
    }

    #[test]
    fn flags_keep_the_side_apart_from_the_bits(bits in any::<u8>()) {
        let flags = Flags::from_bits(bits);
        let names: Vec<&str> = flags.names().collect();
        let all = ["hashed_id", "backfilled", "snapshot", "aggregated", "after_gap", "special"];
        let set = all.iter().zip(2..).filter(|(_, bit)| bits & (1_u8 << bit) != 0).map(|(name, _)| *name);
        prop_assert_eq!(names, set.collect::<Vec<_>>());
        let side = [Side::None, Side::Buy, Side::Sell, Side::None][usize::from(bits & 3)];
        prop_assert_eq!(flags.side(), side);
    }

    #[test]
    fn any_text_makes_one_token_and_comes_back(text in any_text()) {
        let made = token(&text);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-%".contains(&byte);
        prop_assert!(made.bytes().all(allowed), "{made:?}");
        prop_assert_eq!(untoken(&made), Some(text));
    }

    #[test]
    fn a_subject_is_taken_apart_as_it_was_made(
        prefix in "[a-z]{1,8}(\\.[a-z]{1,8})?", exchange in any_text(), symbol in any_text(), gaps in any::<bool>(),
    ) {
        let kind = if gaps { SubjectKind::Gaps } else { SubjectKind::Trades };
        let made = subject(&prefix, &exchange, &symbol, kind);
        let parts = subject::parse(&prefix, &made).unwrap();
        prop_assert_eq!((parts.exchange, parts.symbol, parts.kind), (exchange, symbol, kind));
        prop_assert_eq!(subject::parse(&format!("{prefix}x"), &made), None);
        prop_assert_eq!(subject::parse(&prefix, &format!("{made}.more")), None);
        prop_assert_eq!(subject::parse(&prefix, made.trim_end_matches(kind.as_str())), None);
    }

    #[test]
    fn a_canonical_symbol_stays_itself(text in any_text()) {
        match Symbol::new(&text) {
            Ok(symbol) => {
                prop_assert_eq!(Symbol::new(symbol.as_str()), Ok(symbol.clone()));
                prop_assert!(symbol.as_str().len() <= SYMBOL_BYTES_MAX);
                let forbidden = |c: char| c.is_ascii_lowercase() || c.is_whitespace() || c.is_control();
                prop_assert!(!symbol.as_str().contains(forbidden), "{symbol:?}");
            }
            Err(SymbolError::Empty) => prop_assert!(text.is_empty()),
            Err(SymbolError::TooLong { .. }) => prop_assert!(text.len() > SYMBOL_BYTES_MAX),
            Err(SymbolError::Character { .. }) => {
                prop_assert!(text.contains(|c: char| c.is_whitespace() || c.is_control()));
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
        prop_assert_eq!(canonical_asset(&canonical_asset(&text)), canonical_asset(&text));
    }

    #[test]
    fn every_venue_canonicalises_once(base in "[A-Za-z0-9]{1,10}", quote in "USDT|USDC|USD|EUR|BTC|usd") {
        for venue in exchange::all() {
            let separator = if venue.profile().example.1.contains('-') { "-" } else { "" };
            let spelt = format!("{base}{separator}{quote}");
            let symbol = venue.canonical(&spelt).unwrap();
            prop_assert_eq!(venue.canonical(symbol.as_str()), Ok(symbol.clone()));
            let back = venue.venue_symbol(&spelt).unwrap();
            prop_assert_eq!(venue.canonical(&back), Ok(symbol));
        }
    }
}

/// The contract's table, written out: five words, the instrument, four single bytes.
fn by_hand(words: [u64; 5], instrument_id: u32, last: [u8; 4]) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    for (offset, word) in [0, 8, 16, 24, 32].into_iter().zip(words) {
        bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes[40..44].copy_from_slice(&instrument_id.to_le_bytes());
    bytes[44..48].copy_from_slice(&last);
    bytes
}

/// Reads a record from an odd address, as it may lie in a network buffer.
fn unaligned(bytes: &[u8; RECORD_BYTES]) -> Result<Record, RecordError> {
    let mut buffer = [0; RECORD_BYTES + 8];
    let odd = buffer.as_ptr().align_offset(8) + 1;
    buffer[odd..odd + RECORD_BYTES].copy_from_slice(bytes);
    Record::from_bytes(&buffer[odd..odd + RECORD_BYTES])
}

#[test]
fn decimals_at_the_edges_of_a_record() {
    let ok = |text: &str| parts(Decimal::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")));
    assert_eq!(ok("18446744073709551615"), (false, u64::MAX, 0));
    assert_eq!(ok("18.446744073709551615"), (false, u64::MAX, 18));
    assert_eq!(ok("0.000000000000000001"), (false, 1, 18));
    assert_eq!(ok("0.00000000000000000100000"), (false, 1, 18));
    assert_eq!(ok("10e-19"), (false, 1, 18));
    assert_eq!(ok("1e3"), (false, 1_000, 0));
    assert_eq!(ok("1E-7"), (false, 1, 7));
    assert_eq!(ok("9.2e-05"), (false, 92, 6));
    assert_eq!(ok("-0.00"), (false, 0, 0));
    assert_eq!(ok("0e999999999999"), (false, 0, 0));
    assert_eq!(ok("1844674407370955161500e-2"), (false, u64::MAX, 0));
    let price = |text: &str| Decimal::parse(text).and_then(Decimal::price);
    assert_eq!(price("9223372036854775807"), Ok(i64::MAX));
    assert_eq!(price("-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(price("9223372036854775808"), Err(DecimalError::TooLarge));
    assert_eq!(price("-9223372036854775809"), Err(DecimalError::TooLarge));
    assert_eq!(Decimal::parse("-1").and_then(Decimal::size), Err(DecimalError::Negative));
    for (text, error) in [
        ("18446744073709551616", DecimalError::TooLarge),
        ("1e20", DecimalError::TooLarge),
        ("1e99999999999999999999", DecimalError::TooLarge),
        ("1e-19", DecimalError::TooManyDecimals),
        ("1e-99999999999999999999", DecimalError::TooManyDecimals),
        ("0.0000000000000000001", DecimalError::TooManyDecimals),
    ] {
        assert_eq!(Decimal::parse(text), Err(error), "{text}");
    }
    assert_eq!(Decimal::parse(&"0".repeat(64)).map(parts), Ok((false, 0, 0)));
    assert_eq!(Decimal::parse(&"0".repeat(65)), Err(DecimalError::TooLong));
    for text in
        ["", "-", "+1", ".5", "5.", "1.2.3", "1e", "1e-", "1e+", "1e1.0", "--1", "NaN", "1_0", "1 ", "0x1", "１"]
    {
        assert_eq!(Decimal::parse(text), Err(DecimalError::Syntax), "{text:?}");
    }
}

#[test]
fn broken_escapes_are_no_tokens() {
    for text in ["%", "%4", "a%", "%G0", "%0g", "%FF", "%C3", "%c3%28"] {
        assert_eq!(untoken(text), None, "{text}");
    }
    assert_eq!(untoken("A%2EB%2f").as_deref(), Some("A.B/"));
    assert_eq!(token("币"), "%E5%B8%81");
    assert_eq!(token("a b\tc*>"), "a%20b%09c%2A%3E");
}

#[test]
fn assets_have_one_name() {
    assert_eq!(Symbol::from_pair("xbt", "usd").unwrap().as_str(), "BTCUSD");
    assert_eq!(Symbol::from_pair("XDG", "EUR").unwrap().as_str(), "DOGEEUR");
    assert_eq!(Symbol::from_pair_and_suffix("btc", "usdt", "SWAP").unwrap().as_str(), "BTCUSDT-SWAP");
    assert_eq!(split_pair("BTCFDUSD"), Some(("BTC", "FDUSD")));
    assert_eq!(split_pair("币安人生USDT"), Some(("币安人生", "USDT")));
    assert_eq!(split_pair("USDT"), None);
}

#[test]
fn instrument_ids_are_the_same_on_every_machine() {
    for (exchange, symbol, id) in GOLDEN_IDS {
        assert_eq!(instrument_id(exchange, symbol), id, "{exchange}:{symbol}");
    }
}

#[test]
fn instruments_that_share_an_id_cannot_stand_beside_each_other() {
    let instrument = |number: u32| {
        let name = format!("C{number}USDT");
        Instrument::new("binance", Symbol::new(&name).unwrap(), name)
    };
    let mut seen = HashMap::new();
    let pair =
        (0..1_000_000).find_map(|number| seen.insert(instrument(number).id, number).map(|other| (other, number)));
    let (first, second) = pair.map(|(first, second)| (instrument(first), instrument(second))).unwrap();
    let mut universe = Universe::default();
    assert_eq!(universe.add(first.clone()), Ok(0));
    let refusal = universe.add(second.clone()).unwrap_err();
    let named = InstrumentError::Collision { first: first.name(), second: second.name(), id: first.id };
    assert_eq!(refusal, named);
    assert!(refusal.to_string().contains(&first.name()) && refusal.to_string().contains(&second.name()));
    assert_eq!(universe.add(first.clone()), Err(InstrumentError::Twice { name: first.name() }));
    assert_eq!(universe.instruments(), [first]);
    let elsewhere = Instrument::new("coinbase", second.symbol.clone(), second.venue_symbol);
    assert_eq!(universe.add(elsewhere), Ok(1));
    assert_eq!(universe.of_exchange("binance").map(|(index, _)| index).collect::<Vec<_>>(), [0]);
}
