//! Round trips of every record through every format, and what is said of a recording that is broken.

use proptest::prelude::*;

use super::*;
use crate::cli::format::{self, Format, Place};

const PLACE: Place<'_> = Place { exchange: "x", symbol: "BTC-USDT", frame: None };

fn read_all(name: &str, bytes: &[u8]) -> Result<Vec<(u64, Record)>, Failure> {
    let mut all = Vec::new();
    read(name, kind(name, bytes)?, bytes, |found| {
        assert!(found.names.is_none_or(|names| names == ("x", "BTC-USDT")));
        all.push((found.at, found.record.map_err(Failure::failed)?));
        Ok(())
    })?;
    Ok(all)
}

fn written(format: Format, records: &[Record]) -> Vec<u8> {
    let header = (format == Format::Csv).then(|| format::csv_header(false).to_owned());
    let lines = records.iter().map(|record| format::line(format, PLACE, record));
    header.into_iter().chain(lines).map(|line| line + "\n").collect::<String>().into_bytes()
}

fn any_record() -> impl Strategy<Value = Record> {
    let trade = (any::<[u64; 3]>(), any::<i64>(), any::<u64>(), 0_u8..=18, 0_u8..=18, any::<u8>());
    let trade = trade.prop_map(|([ts_event, ts_recv, trade_id], price, size, price_scale, size_scale, flags)| {
        // One value has one form: trailing zeros are dropped, as every decoder drops them.
        let price = Decimal::parse(&Decimal::from_price(price, price_scale).to_string()).unwrap();
        let size = Decimal::parse(&Decimal::from_size(size, size_scale).to_string()).unwrap();
        let flags = if flags & 3 == 3 { flags & !3 } else { flags };
        Record::Trade(TradeMsg {
            ts_event,
            ts_recv,
            trade_id,
            price: price.price().unwrap(),
            size: size.size().unwrap(),
            instrument_id: instrument_id("x", "BTC-USDT"),
            price_scale: price.scale(),
            size_scale: size.scale(),
            flags,
            kind: KIND_TRADE_V1,
        })
    });
    let gap = (any::<[u64; 5]>(), 1_u8..=3, 1_u8..=5, any::<bool>());
    let gap = gap.prop_map(|([ts_start, ts_end, first_id, last_id, missing], strength, reason, filled)| {
        let (flags, instrument_id) = (if filled { Flags::BACKFILLED } else { 0 }, instrument_id("x", "BTC-USDT"));
        let (kind, strength) = (KIND_GAP_V1, strength);
        let gap = GapMsg { ts_start, ts_end, first_id, last_id, missing, instrument_id, strength, reason, flags, kind };
        Record::Gap(gap)
    });
    prop_oneof![trade, gap]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_tail_writes_is_read_back_whole(records in proptest::collection::vec(any_record(), 1..20)) {
        for (format, first) in [(Format::Json, 1), (Format::Csv, 2)] {
            let read = read_all("trades", &written(format, &records)).unwrap();
            let expected: Vec<(u64, Record)> = (first..).zip(records.iter().copied()).collect();
            prop_assert_eq!(read, expected);
        }
        let raw: Vec<u8> = records.iter().flat_map(|record| record.as_bytes().to_vec()).collect();
        let expected: Vec<(u64, Record)> = (1..).zip(records.iter().copied()).collect();
        prop_assert_eq!(read_all("trades.bin", &raw).unwrap(), expected);
    }
}

const TRADE: &str = r#"{"exchange":"x","symbol":"BTC-USDT","price":"1","size":"2","side":"buy","ts_event":5,"ts_recv":6,"trade_id":"7","flags":[]}"#;

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_cure() {
    let row = "exchange,symbol,price,size,side,ts_event,trade_id,flags,ts_recv";
    let long = format!("{TRADE}\n{}", &TRADE[..40]);
    let cases: [(&str, String, [&str; 2]); 12] = [
        ("a", "2026-01-01T00:00:00Z  x  BTC".to_owned(), ["a, line 1: neither JSON", "tail --format json"]),
        ("a", format!("{TRADE}\n\n{{}}\n"), ["a, line 3: not the JSON of a trade", "tail --format json"]),
        ("a", long, ["a, line 2", "cut off here: remove its last line"]),
        ("a", TRADE.replace("\"7\"", "\"x7\"") + "\n", ["a, line 1: trade_id \"x7\"", "no number"]),
        ("a", TRADE.replace("\"1\"", "\"1,5\"") + "\n", ["a, line 1: price \"1,5\"", "not a decimal"]),
        ("a", TRADE.replace("buy", "both") + "\n", ["line 1: side \"both\"", "neither none, buy, sell"]),
        ("a", TRADE.replace("[]", "[\"odd\"]") + "\n", ["line 1: no flag \"odd\"", "tail"]),
        ("a", TRADE.replace("\"price\":\"1\",", "") + "\n", ["line 1: price is missing", "tail"]),
        ("a", format!("{row}\nx,BTC-USDT,1,2\n"), ["line 2: 4 columns, and the header has 9", "tail"]),
        ("a", "exchange,trade_id\nx,1\n".to_owned(), ["line 1: no column symbol", "tail"]),
        ("a", format!("{row}\nx,BTC-USDT,,3,gap,5,10,stall,0\n"), ["line 2: a gap without its strength", "JSON"]),
        ("a.bin", "x".repeat(100), ["a.bin, record 3: 4 bytes", "head -c 96"]),
    ];
    for (name, text, told) in cases {
        let error = read_all(name, text.as_bytes().chunks(48).flat_map(replace_kind).collect::<Vec<_>>().as_slice());
        let message = error.map(|all| all.len()).unwrap_err().message;
        assert!(told.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
}

/// Raw records of these tests are trades, whatever their bytes; text stays as it is.
fn replace_kind(chunk: &[u8]) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    if chunk.len() == RECORD_BYTES && chunk.iter().all(|byte| *byte == b'x') {
        chunk[RECORD_BYTES - 1] = KIND_TRADE_V1;
    }
    chunk
}

#[test]
fn what_decode_writes_is_read_too() {
    let record = read_all("a", format!("{TRADE}\n").as_bytes()).unwrap()[0].1;
    let place = Place { frame: Some((4, 0, "BTCUSDT")), ..PLACE };
    let line = format::line(Format::Json, place, &record) + "\n";
    let Record::Trade(trade) = record else { panic!("{record:?}") };
    let expected = Record::Trade(TradeMsg { ts_recv: 0, ..trade });
    assert_eq!(read_all("a", line.as_bytes()).unwrap(), [(1, expected)]);
    let rows = format!("{}\n{}\n", format::csv_header(true), format::line(Format::Csv, place, &record));
    assert_eq!(read_all("a", rows.as_bytes()).unwrap(), [(2, expected)]);
}

#[test]
fn an_unknown_kind_is_told_and_reading_goes_on() {
    let mut bytes = [0_u8; 2 * RECORD_BYTES];
    bytes[RECORD_BYTES - 1] = 99;
    bytes[2 * RECORD_BYTES - 1] = KIND_TRADE_V1;
    let mut told = Vec::new();
    let take = |found: Found<'_>| {
        told.push((found.at, found.record.is_ok()));
        Ok(())
    };
    read("a.raw", Kind::Raw, bytes.as_slice(), take).unwrap();
    assert_eq!(told, [(1, false), (2, true)]);
}
