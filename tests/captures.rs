//! Frames in each venue's own wire format, decoded and compared with expected trades, field by field.
//!
//! `tests/fixtures/<exchange>` holds frames that were written for this project. With `CAPTURES_DIR` set, recorded
//! frames are read from there too: `<venue>/<name>_trades.jsonl` beside `<name>_trades.expected.jsonl`, either of them
//! also as `.gz`. They never become part of the project.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

#[path = "captures/readers.rs"]
mod readers;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_manager::exchange::{self, DecodeError, Event, Exchange, Frame, Row, Trades};
use data_manager::feed::Sequencer;
use data_manager::market::{Decimal, Record};
use data_manager::telemetry::clock;
use readers::{read_binance, read_coinbase, read_okx};
use rust_decimal::Decimal as Peer;
use serde_json::Value;

/// Names the folder of recorded frames.
const CAPTURES_DIR: &str = "CAPTURES_DIR";

/// Folder of recordings, exchange token, and the reader that does not share a line with the decoder.
const RECORDED: [(&str, &str, Reader); 3] =
    [("binance-spot", "binance", read_binance), ("coinbase", "coinbase", read_coinbase), ("okx", "okx", read_okx)];

/// How many trades there are, for the fixtures and for recordings where it is known from elsewhere.
const COUNTS: [(&str, usize); 11] = [
    ("binance-spot/trades", 8),
    ("coinbase/trades", 4),
    ("binance-spot/hftbacktest__btcusdt_20240808_trades", 9_757),
    ("binance-spot/cryptofeed__BINANCE-1_202109_trades", 28),
    ("binance-spot/cryptofeed__BINANCE-1_20211012_trades", 2),
    ("binance-spot/crypto-msg-parser__trades", 1),
    ("coinbase/crypto-msg-parser__trades", 1),
    ("okx/trades", 9),
    ("okx/cryptofeed__OKX-1_202205_trades", 74),
    ("okx/crypto-msg-parser__trades", 6),
    ("okx/gocryptotrader__wsAllTrades", 2),
];

/// Reads the trades of a frame, if it carries any, by way of a generic JSON value.
type Reader = fn(&Value) -> Vec<Trade>;

/// A trade as text formats show it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trade {
    venue_symbol: String,
    price: String,
    size: String,
    side: String,
    trade_id: String,
    ts_event: u64,
    flags: Vec<String>,
}

#[test]
fn every_venue_has_fixtures_and_decodes_them_as_expected() {
    for venue in exchange::all() {
        let folder = fixtures(*venue);
        let frames = lines(&folder.join("trades.jsonl"));
        let expected = values(&folder.join("trades.expected.jsonl"));
        let mut out = Trades::open(*venue);
        let mut found = Vec::new();
        for (line, frame) in frames.iter().enumerate() {
            let event = decode(*venue, frame, &mut out);
            assert_eq!(event, Ok(Event::Trades), "{} line {line}", folder.display());
            found.extend(out.rows().iter().enumerate().map(|(i, row)| shown(*venue, &out, (line, i), row)));
        }
        assert!(!found.is_empty(), "{}", folder.display());
        assert_eq!(found, expected, "{}", folder.display());
    }
}

#[test]
fn fixtures_without_trades_say_what_they_are() {
    for venue in exchange::all() {
        let folder = fixtures(*venue);
        let (frames, expected) = (lines(&folder.join("control.jsonl")), values(&folder.join("control.expected.jsonl")));
        let mut out = Trades::open(*venue);
        let found: Vec<Value> = frames
            .iter()
            .enumerate()
            .map(|(line, frame)| {
                let event = decode(*venue, frame, &mut out).unwrap_or_else(|error| panic!("line {line}: {error}"));
                assert!(out.rows().is_empty(), "line {line}");
                serde_json::json!({ "line": line, "event": event_text(&event) })
            })
            .collect();
        assert!(!found.is_empty(), "{}", folder.display());
        assert_eq!(found, expected, "{}", folder.display());
    }
}

#[test]
fn broken_fixtures_are_refused_and_leave_no_trade() {
    for venue in exchange::all() {
        let folder = fixtures(*venue);
        let (frames, expected) = (lines(&folder.join("refused.jsonl")), values(&folder.join("refused.expected.jsonl")));
        let mut out = Trades::open(*venue);
        let found: Vec<Value> = frames
            .iter()
            .enumerate()
            .map(|(line, frame)| {
                let error = decode(*venue, frame, &mut out).map(|event| panic!("line {line}: {event:?}"));
                assert!(out.rows().is_empty(), "line {line}");
                serde_json::json!({ "line": line, "error": error.map_err(|error| error.kind()).unwrap_err() })
            })
            .collect();
        assert!(!found.is_empty(), "{}", folder.display());
        assert_eq!(found, expected, "{}", folder.display());
    }
}

#[test]
fn every_cut_of_a_frame_is_refused_or_harmless() {
    for venue in exchange::all() {
        let mut out = Trades::open(*venue);
        for frame in lines(&fixtures(*venue).join("trades.jsonl")) {
            for end in (0..frame.trim_end().len()).filter(|end| frame.is_char_boundary(*end)) {
                assert!(decode(*venue, &frame[..end], &mut out).is_err(), "{}", &frame[..end]);
                assert!(out.rows().is_empty(), "{}", &frame[..end]);
            }
        }
    }
}

#[test]
fn recorded_trades_are_what_other_programs_made_of_them() {
    let mut counts = BTreeMap::new();
    for (folder, token, reader) in RECORDED {
        for path in sources(folder, token) {
            let Some(expected) = expected_of(&path) else { continue };
            let venue = exchange::by_name(token).unwrap();
            let trades = compare(venue, &path, &values(&expected), reader);
            counts.insert(format!("{folder}/{}", stem(&path)), trades);
        }
    }
    for (name, trades) in &counts {
        println!("{name}: {trades} trades, all equal");
    }
    let known = COUNTS.iter().filter(|(name, _)| captures_dir().is_some() || name.contains("/trades"));
    for (name, trades) in known {
        assert_eq!(counts.get(*name), Some(trades), "{name}");
    }
}

#[test]
fn recorded_noise_carries_no_trade_and_recorded_trades_are_all_seen() {
    let mut frames = 0;
    for (folder, token, reader) in RECORDED {
        let venue = exchange::by_name(token).unwrap();
        for path in sources(folder, token) {
            let mut out = Trades::open(venue);
            for (line, frame) in lines(&path).iter().enumerate() {
                let event = decode(venue, frame, &mut out);
                let found: Vec<Trade> = out.rows().iter().map(|row| trade_of(&out, row)).collect();
                // A text pong is no JSON.
                let value: Value = serde_json::from_str(frame).unwrap_or_default();
                // Some recordings of the others hold REST answers, and frames that were made wrong on purpose.
                assert!(event.is_ok() || folder != "okx", "{} line {line}: {event:?}", path.display());
                let wanted = reader(&value);
                assert_eq!(found, wanted, "{} line {line}: {event:?}", path.display());
                frames += 1;
            }
        }
    }
    println!("{frames} frames of all kinds");
    assert!(frames >= if captures_dir().is_some() { 11_000 } else { 20 }, "{frames}");
}

#[test]
fn the_ids_of_a_recorded_stream_leave_no_hole() {
    let Some(dir) = captures_dir() else { return fixtures_have_a_hole() };
    let path = dir.join("binance-spot/hftbacktest__btcusdt_20240808_trades.jsonl.gz");
    let records = sequenced(&lines(&path));
    assert_eq!(records.len(), 9_757);
    assert!(records.iter().all(|record| matches!(record, Record::Trade(_))), "a gap in a stream without one");
}

/// Without recordings: the first two trades of the fixtures follow each other, and the id of the last of that symbol is
/// too far away to be right by itself.
fn fixtures_have_a_hole() {
    let frames = lines(&fixtures(exchange::by_name("binance").unwrap()).join("trades.jsonl"));
    let of_one: Vec<String> = [0, 1, 7].into_iter().map(|line: usize| frames[line].clone()).collect();
    let records = sequenced(&of_one);
    let is_gap: Vec<bool> = records.iter().map(|record| matches!(record, Record::Gap(_))).collect();
    assert_eq!(is_gap, [false, false, true]);
}

fn sequenced(frames: &[String]) -> Vec<Record> {
    let venue = exchange::by_name("binance").unwrap();
    let mut sequencer = Sequencer::new(venue.profile().ids, Duration::ZERO);
    let (mut out, mut records) = (Trades::open(venue), Vec::new());
    for frame in frames {
        decode(venue, frame, &mut out).unwrap();
        out.rows().iter().for_each(|row| sequencer.row(clock::now(), row.route, row.msg, row.span, &mut records));
    }
    sequencer.finish(&mut records);
    records.into_iter().map(|(_, record)| record).collect()
}

/// Compares every trade of a recording with its expected line; returns how many there are.
fn compare(venue: &'static dyn Exchange, path: &Path, expected: &[Value], reader: Reader) -> usize {
    let mut out = Trades::open(venue);
    let mut wanted = expected.iter();
    for (line, frame) in lines(path).iter().enumerate() {
        let event = decode(venue, frame, &mut out);
        assert_eq!(event, Ok(Event::Trades), "{} line {line}", path.display());
        for (i, row) in out.rows().iter().enumerate() {
            let place = format!("{} line {line} trade {i}", path.display());
            let wanted = wanted.next().unwrap_or_else(|| panic!("{place} is one too many"));
            assert_eq!((wanted["line"].as_u64(), wanted["i"].as_u64()), (Some(line as u64), Some(i as u64)), "{place}");
            let read = reader(&serde_json::from_str(frame).unwrap()).remove(i);
            assert_eq!(trade_of(&out, row), foreign(wanted, read, &place), "{place}");
        }
    }
    assert_eq!(wanted.next(), None, "{}: a trade is missing", path.display());
    expected.len()
}

/// The trade as another program saw it. Those programs keep milliseconds and no flags: both come from the frame.
fn foreign(line: &Value, read: Trade, place: &str) -> Trade {
    let units = [("ts_ms", 1_000_000), ("ts_us", 1_000), ("ts_event", 1)];
    let known = units.iter().filter_map(|(field, ns)| line[field].as_u64().map(|time| (time, read.ts_event / ns)));
    let times: Vec<(u64, u64)> = known.collect();
    assert!(!times.is_empty() && times.iter().all(|(theirs, ours)| theirs == ours), "{place}: {times:?}");
    Trade {
        venue_symbol: text(line, if line["venue_symbol"].is_null() { "symbol" } else { "venue_symbol" }),
        price: plain(&text(line, "price")),
        size: plain(&text(line, "size")),
        side: text(line, "side"),
        trade_id: text(line, "trade_id"),
        ..read
    }
}

fn decode(venue: &dyn Exchange, frame: &str, out: &mut Trades) -> Result<Event, DecodeError> {
    out.clear();
    venue.decode(Frame::Text(frame), out)
}

fn trade_of(out: &Trades, row: &Row) -> Trade {
    let msg = &row.msg;
    let (_, venue_symbol) = out.symbols(row.route).unwrap_or_else(|| panic!("route {} is unknown", row.route));
    Trade {
        venue_symbol: venue_symbol.to_owned(),
        price: Decimal::from_price(msg.price, msg.price_scale).to_string(),
        size: Decimal::from_size(msg.size, msg.size_scale).to_string(),
        side: msg.side().as_str().to_owned(),
        trade_id: msg.trade_id.to_string(),
        ts_event: msg.ts_event,
        flags: msg.flag_set().names().map(str::to_owned).collect(),
    }
}

/// A trade as `decode` shows it.
fn shown(venue: &dyn Exchange, out: &Trades, (line, i): (usize, usize), row: &Row) -> Value {
    let trade = trade_of(out, row);
    serde_json::json!({
        "line": line, "i": i, "exchange": venue.profile().name, "symbol": out.symbols(row.route).map(|(name, _)| name),
        "venue_symbol": trade.venue_symbol, "price": trade.price, "size": trade.size, "side": trade.side,
        "ts_event": trade.ts_event, "trade_id": trade.trade_id, "flags": trade.flags,
    })
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Trades => "trades".to_owned(),
        Event::AckedRequest(id) => format!("acked_request {id}"),
        Event::AckedSymbols(symbols) => format!("acked_symbols {}", symbols.join(" ")).trim_end().to_owned(),
        Event::Rejected { id, symbol, reason } => {
            let named = id.map(|id| format!(" {id}")).or_else(|| symbol.as_ref().map(|symbol| format!(" {symbol}")));
            format!("rejected{}: {reason}", named.unwrap_or_default())
        }
        Event::LastTrade { trade_id, ts, .. } => format!("last_trade {trade_id} {ts}"),
        Event::Ping { reply } => format!("ping {reply}"),
        Event::Pong => "pong".to_owned(),
        Event::Closing { reason } => format!("closing: {reason}"),
        Event::Ignored => "ignored".to_owned(),
    }
}

/// A number without trailing zeros and without an exponent, by a crate that nobody here wrote.
fn plain(number: &str) -> String {
    let read = if number.contains(['e', 'E']) { Peer::from_scientific(number) } else { Peer::from_str_exact(number) };
    read.unwrap_or_else(|error| panic!("{number:?}: {error}")).normalize().to_string()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field:?} in {value}")).to_owned()
}

fn fixtures(venue: &dyn Exchange) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(venue.profile().name)
}

fn captures_dir() -> Option<PathBuf> {
    let dir = std::env::var_os(CAPTURES_DIR).map(PathBuf::from);
    if dir.is_none() {
        println!("{CAPTURES_DIR} is not set: only the project's own fixtures are decoded");
    }
    dir
}

/// Files of raw frames: the project's own, and one venue's recordings where there are some.
fn sources(folder: &str, token: &str) -> Vec<PathBuf> {
    let own = exchange::by_name(token).map(fixtures).unwrap_or_default();
    let mut files = vec![own.join("trades.jsonl"), own.join("control.jsonl")];
    if let Some(folder) = captures_dir().map(|dir| dir.join(folder)) {
        let listed = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.extend(listed.map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path()));
    }
    files.retain(|path| is_raw(path));
    files.sort();
    files
}

/// The expected trades beside a recording.
fn expected_of(path: &Path) -> Option<PathBuf> {
    let candidates = ["jsonl", "jsonl.gz"].map(|end| path.with_file_name(format!("{}.expected.{end}", stem(path))));
    candidates.into_iter().find(|candidate| candidate.exists() && !stem(path).ends_with("control"))
}

/// Recordings of raw frames, whatever they carry; assertions, REST answers and protocol samples have another shape.
fn is_raw(path: &Path) -> bool {
    let name = name(path);
    let other = [".expected.", ".asserts.", "rest.", "_sent."];
    name.contains(".jsonl") && !other.iter().any(|part| name.contains(part))
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn stem(path: &Path) -> String {
    name(path).split('.').next().unwrap_or_default().to_owned()
}

fn lines(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    let read = if path.extension().is_some_and(|end| end == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
    } else {
        bytes.as_slice().read_to_string(&mut text)
    };
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

fn values(path: &Path) -> Vec<Value> {
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    lines(path).iter().map(parse).collect()
}
