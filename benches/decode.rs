//! Decoding of each venue's trade frames, beside a generic JSON value and floats, in one run on one machine.
//!
//! `cargo bench --bench decode` measures; `-- --quick` only shows that everything works.
//!
//! Both sides read the same frames, held in memory, and take out the same fields: symbol, id, time, price, size, side.
//! The decoder keeps every digit and knows the instrument; the peer parses a `serde_json::Value` and takes `f64`.
//! The runs of the two alternate, so that a slow second of the machine meets both.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench that cannot run must stop")]

use std::hint::black_box;
use std::time::Instant;

use data_manager::exchange::{self, Exchange, Frame, Trades};
use data_manager::market::{Decimal, Instrument};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Symbols among which the frames are spread, as on one connection.
const SYMBOLS: usize = 20;

#[derive(Clone, Copy)]
struct Size {
    /// Different frames of a venue.
    frames: usize,
    /// How often a run goes through them.
    rounds: usize,
    /// Runs of each side; the median counts.
    runs: usize,
}

/// What the peer takes out of a frame.
struct Plain {
    symbol: String,
    trade_id: u64,
    time_ns: i128,
    price: f64,
    size: f64,
    buy: bool,
}

type Peer = fn(&str) -> Option<Plain>;

/// A venue's frames and how the peer reads them.
struct Subject {
    venue: &'static dyn Exchange,
    frames: Vec<String>,
    peer: Peer,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let size =
        if quick { Size { frames: 1_000, rounds: 1, runs: 1 } } else { Size { frames: 10_000, rounds: 50, runs: 9 } };
    println!("one thread, {} frames x {} a run, median of {} runs\n", size.frames, size.rounds, size.runs);
    println!(
        "{:<16} {:>6} {:>12} {:>9} {:>9} {:>14} {:>14} {:>16}",
        "venue", "bytes", "M frames/s", "ns/trade", "MB/s", "peer M fr./s", "peer ns/trade", "peer is slower"
    );
    for venue in exchange::all() {
        measure(&subject(*venue, size.frames), size);
    }
    println!(
        "\nthe peer: serde_json::Value, then f64 for price and size, u64 for the id, text times by the time crate"
    );
}

fn measure(subject: &Subject, size: Size) {
    let mut trades = trades_of(subject);
    let per_pass = check(subject, &mut trades);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..size.runs {
        ours.push(seconds(|| (0..size.rounds).map(|_| decode(subject, &mut trades)).sum(), per_pass * size.rounds));
        theirs.push(seconds(|| (0..size.rounds).map(|_| read_plain(subject)).sum(), per_pass * size.rounds));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let frames = (subject.frames.len() * size.rounds) as f64;
    let count = (per_pass * size.rounds) as f64;
    let bytes: usize = subject.frames.iter().map(String::len).sum();
    println!(
        "{:<16} {:>6} {:>12.2} {:>9.0} {:>9.0} {:>14.2} {:>14.0} {:>15.2}x",
        subject.venue.profile().name,
        bytes / subject.frames.len(),
        frames / ours / 1e6,
        ours * 1e9 / count,
        (bytes * size.rounds) as f64 / ours / 1e6,
        frames / theirs / 1e6,
        theirs * 1e9 / count,
        theirs / ours,
    );
}

/// One pass of the decoder over all frames; how many trades came out.
fn decode(subject: &Subject, trades: &mut Trades) -> usize {
    let mut count = 0;
    for frame in &subject.frames {
        trades.clear();
        let event = subject.venue.decode(Frame::Text(black_box(frame)), trades);
        black_box(event.is_ok());
        count += black_box(trades.rows()).len();
    }
    count
}

/// One pass of the peer.
fn read_plain(subject: &Subject) -> usize {
    subject.frames.iter().filter(|frame| black_box((subject.peer)(black_box(frame))).is_some()).count()
}

/// That both sides see the same trades, before any of it is timed; how many there are.
fn check(subject: &Subject, trades: &mut Trades) -> usize {
    let mut count = 0;
    for frame in &subject.frames {
        trades.clear();
        subject.venue.decode(Frame::Text(frame), trades).unwrap_or_else(|error| panic!("{frame}: {error}"));
        let [row] = trades.rows() else { panic!("{frame}: not one trade") };
        let plain = (subject.peer)(frame).unwrap_or_else(|| panic!("{frame}: nothing for the peer"));
        let price: f64 = Decimal::from_price(row.msg.price, row.msg.price_scale).to_string().parse().unwrap();
        let size: f64 = Decimal::from_size(row.msg.size, row.msg.size_scale).to_string().parse().unwrap();
        assert_eq!((price, size), (plain.price, plain.size), "{frame}");
        assert_eq!((row.msg.trade_id, i128::from(row.msg.ts_event)), (plain.trade_id, plain.time_ns), "{frame}");
        assert_eq!(row.msg.side() == data_manager::market::Side::Buy, plain.buy, "{frame}");
        let known = trades.symbols(row.route).map(|(_, venue_symbol)| venue_symbol);
        assert_eq!(known, Some(plain.symbol.as_str()), "{frame}");
        count += 1;
    }
    count
}

fn seconds(run: impl FnOnce() -> usize, expected: usize) -> f64 {
    let begin = Instant::now();
    let count = run();
    let elapsed = begin.elapsed().as_secs_f64();
    assert_eq!(count, expected);
    elapsed
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A batch that takes just the subject's symbols, as on a connection.
fn trades_of(subject: &Subject) -> Trades {
    let mut names: Vec<String> = subject.frames.iter().filter_map(|f| (subject.peer)(f)).map(|p| p.symbol).collect();
    names.sort();
    names.dedup();
    let instruments: Vec<Instrument> = names
        .into_iter()
        .map(|name| Instrument::new(subject.venue.profile().name, subject.venue.canonical(&name).unwrap(), name))
        .collect();
    Trades::of((0..).zip(&instruments))
}

/// Generated frames of a venue.
fn subject(venue: &'static dyn Exchange, count: usize) -> Subject {
    let (make, peer): (fn(&mut fastrand::Rng, usize) -> String, Peer) = match venue.profile().name {
        "binance" => (binance_frame, binance_plain),
        "coinbase" => (coinbase_frame, coinbase_plain),
        "okx" => (okx_frame, okx_plain),
        other => panic!("{other} has no frames here: add a generator and the peer's reader"),
    };
    let mut rng = fastrand::Rng::with_seed(7);
    Subject { venue, frames: (0..count).map(|number| make(&mut rng, number)).collect(), peer }
}

/// Trades of one symbol come in runs of a few.
fn asset(rng: &mut fastrand::Rng, number: usize) -> String {
    let place = if rng.u8(0..3) == 0 { rng.usize(0..SYMBOLS) } else { number / 8 % SYMBOLS };
    format!("C{place}")
}

fn binance_frame(rng: &mut fastrand::Rng, number: usize) -> String {
    let (symbol, time) = (format!("{}USDT", asset(rng, number)), 1_731_000_000_000 + number);
    let price = format!("{}.{:02}000000", rng.u32(100..100_000), rng.u8(0..100));
    let size = format!("{}.{:05}000", rng.u32(0..50), rng.u32(1..100_000));
    format!(
        "{{\"stream\":\"{}@trade\",\"data\":{{\"e\":\"trade\",\"E\":{},\"s\":\"{symbol}\",\"t\":{},\"p\":\"{price}\",\
         \"q\":\"{size}\",\"T\":{time},\"m\":{},\"M\":true}}}}",
        symbol.to_lowercase(),
        time + 1,
        3_700_000_000 + number,
        rng.bool(),
    )
}

fn binance_plain(frame: &str) -> Option<Plain> {
    let value: Value = serde_json::from_str(frame).ok()?;
    let data = value.get("data")?;
    Some(Plain {
        symbol: data.get("s")?.as_str()?.to_owned(),
        trade_id: data.get("t")?.as_u64()?,
        time_ns: i128::from(data.get("T")?.as_u64()?) * 1_000_000,
        price: data.get("p")?.as_str()?.parse().ok()?,
        size: data.get("q")?.as_str()?.parse().ok()?,
        buy: !data.get("m")?.as_bool()?,
    })
}

fn coinbase_frame(rng: &mut fastrand::Rng, number: usize) -> String {
    let (product, micros) = (format!("{}-USD", asset(rng, number)), rng.u32(0..1_000_000));
    let price = format!("{}.{:02}", rng.u32(100..100_000), rng.u8(1..100));
    let size = format!("0.{:08}", rng.u32(1..100_000_000));
    let side = if rng.bool() { "buy" } else { "sell" };
    format!(
        "{{\"type\":\"match\",\"trade_id\":{},\"maker_order_id\":\"ac928c66-ca53-498f-9c13-{:012x}\",\
         \"taker_order_id\":\"132fb6ae-456b-4654-b4e0-{:012x}\",\"side\":\"{side}\",\"size\":\"{size}\",\
         \"price\":\"{price}\",\"product_id\":\"{product}\",\"sequence\":{},\
         \"time\":\"2024-11-07T17:{:02}:{:02}.{micros:06}Z\"}}",
        147_000_000 + number,
        rng.u64(0..1 << 48),
        rng.u64(0..1 << 48),
        22_962_000_000_u64 + rng.u64(0..1_000_000),
        number / 60 % 60,
        number % 60,
    )
}

fn coinbase_plain(frame: &str) -> Option<Plain> {
    let value: Value = serde_json::from_str(frame).ok()?;
    (value.get("type")? == "match").then_some(())?;
    Some(Plain {
        symbol: value.get("product_id")?.as_str()?.to_owned(),
        trade_id: value.get("trade_id")?.as_u64()?,
        time_ns: OffsetDateTime::parse(value.get("time")?.as_str()?, &Rfc3339).ok()?.unix_timestamp_nanos(),
        price: value.get("price")?.as_str()?.parse().ok()?,
        size: value.get("size")?.as_str()?.parse().ok()?,
        // The wire names the maker's side.
        buy: value.get("side")? == "sell",
    })
}

fn okx_frame(rng: &mut fastrand::Rng, number: usize) -> String {
    let instrument = format!("{}-USDT", asset(rng, number));
    let price = format!("{}.{}", rng.u32(100..100_000), rng.u8(1..10));
    let size = format!("0.{:08}", rng.u32(1..100_000_000));
    let side = if rng.bool() { "buy" } else { "sell" };
    format!(
        "{{\"arg\":{{\"channel\":\"trades\",\"instId\":\"{instrument}\"}},\"data\":[{{\"instId\":\"{instrument}\",\
         \"tradeId\":\"{}\",\"px\":\"{price}\",\"sz\":\"{size}\",\"side\":\"{side}\",\"ts\":\"{}\",\"count\":\"{}\",\
         \"seqId\":{}}}]}}",
        130_639_474 + number * 4,
        1_731_000_000_000 + number,
        rng.u8(1..4),
        1_234 + number,
    )
}

fn okx_plain(frame: &str) -> Option<Plain> {
    let value: Value = serde_json::from_str(frame).ok()?;
    let row = value.get("data")?.get(0)?;
    Some(Plain {
        symbol: row.get("instId")?.as_str()?.to_owned(),
        trade_id: row.get("tradeId")?.as_str()?.parse().ok()?,
        time_ns: i128::from(row.get("ts")?.as_str()?.parse::<u64>().ok()?) * 1_000_000,
        price: row.get("px")?.as_str()?.parse().ok()?,
        size: row.get("sz")?.as_str()?.parse().ok()?,
        buy: row.get("side")? == "buy",
    })
}
