//! Frames, symbols and REST answers of OKX, each trap by name.

use super::*;

fn decode(text: &str) -> (Result<Event, DecodeError>, Vec<(TradeMsg, u32)>) {
    let mut out = Trades::open(&Okx);
    let event = Okx.decode(Frame::Text(text), &mut out);
    (event, out.rows().iter().map(|row| (row.msg, row.span)).collect())
}

const TRADE: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"}]}"#;

#[test]
fn a_row_stands_for_as_many_fills_as_it_counts() {
    let (event, rows) = decode(TRADE);
    assert_eq!(event, Ok(Event::Trades));
    let (msg, span) = rows[0];
    assert_eq!((msg.trade_id, span), (130_639_474, 3));
    assert!(msg.flag_set().has(Flags::AGGREGATED));
    assert_eq!((msg.price, msg.price_scale, msg.size, msg.size_scale), (422_199, 1, 12_060_306, 8));
    assert_eq!((msg.side(), msg.ts_event), (Side::Buy, 1_630_048_897_897_000_000));
    for single in [TRADE.replace("\"3\"", "\"1\""), TRADE.replace(",\"count\":\"3\"", "")] {
        let (_, rows) = decode(&single);
        assert!(rows[0].1 == 1 && !rows[0].0.flag_set().has(Flags::AGGREGATED));
    }
}

#[test]
fn a_frame_without_rows_brings_no_trades() {
    let empty = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[]}"#;
    assert_eq!(decode(empty), (Ok(Event::Ignored), Vec::new()));
}

#[test]
fn the_pong_is_a_bare_word() {
    assert_eq!(decode("pong").0, Ok(Event::Pong));
    assert!(decode("ping").0.is_err());
}

#[test]
fn acks_errors_and_notices_are_told_apart() {
    let ack = r#"{"event":"subscribe","arg":{"channel":"trades","instId":"ETH-USDT"},"connId":"a4d3ae55"}"#;
    assert_eq!(decode(ack).0, Ok(Event::AckedSymbols(vec!["ETH-USDT".to_owned()])));
    let error = r#"{"event":"error","code":"60018","msg":"Wrong URL or channel:trades,instId:FOO-USDT doesn't exist. Please use the correct URL.","connId":"x"}"#;
    let Ok(Event::Rejected { symbol, .. }) = decode(error).0 else { panic!("not rejected") };
    assert_eq!(symbol.as_deref(), Some("FOO-USDT"));
    let malformed = r#"{"event":"error","code":"60012","msg":"Illegal request: {}","connId":"x"}"#;
    assert!(matches!(decode(malformed).0, Ok(Event::Rejected { symbol: None, .. })));
    let notice = r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed","connId":"x"}"#;
    assert!(matches!(decode(notice).0, Ok(Event::Closing { .. })));
    let other = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"last":"1"}]}"#;
    assert_eq!(decode(other).0, Ok(Event::Ignored));
    assert_eq!(decode(r#"{"event":"channel-conn-count","channel":"trades","connCount":"1"}"#).0, Ok(Event::Ignored));
}

#[test]
fn what_would_be_a_wrong_trade_is_refused_and_leaves_nothing() {
    for (from, to, kind) in [
        ("\"px\":\"42219.9\"", "\"px\":\"NaN\"", "number"),
        ("\"px\":\"42219.9\"", "\"px\":42219.9", "json"),
        ("\"sz\":\"0.12060306\"", "\"sz\":\"-1\"", "number"),
        ("\"side\":\"buy\"", "\"side\":\"none\"", "value"),
        ("\"tradeId\":\"130639474\"", "\"tradeId\":\"x\"", "value"),
        ("\"ts\":\"1630048897897\"", "\"ts\":\"18446744073709551615\"", "time"),
        ("\"count\":\"3\"", "\"count\":\"-3\"", "value"),
    ] {
        let (event, rows) = decode(&TRADE.replace(from, to));
        assert_eq!(event.map_err(|error| error.kind()), Err(kind), "{to}");
        assert!(rows.is_empty());
    }
    let arrays = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[["BTC-USDT","1","2","3","buy","5"]]}"#;
    assert!(decode(arrays).0.is_err());
}

#[test]
fn symbols_keep_the_suffix_of_a_derivative() {
    for (venue, canonical) in [
        ("BTC-USDT", "BTCUSDT"),
        ("BTC-USDT-SWAP", "BTCUSDT-SWAP"),
        ("BTC-USD-220527", "BTCUSD-220527"),
        ("BTC-USD-210924-66000-C", "BTCUSD-210924-66000-C"),
    ] {
        assert_eq!(Okx.canonical(venue).unwrap().as_str(), canonical);
        assert_eq!(Okx.venue_symbol(canonical).unwrap(), venue);
        assert_eq!(Okx.venue_symbol(venue).unwrap(), venue);
    }
    assert!(Okx.venue_symbol("BTC").is_err());
    assert!(Okx.venue_symbol("BTC-").is_err());
}

#[test]
fn the_history_is_asked_for_below_an_id_and_told_fill_by_fill() {
    let path = Okx.history_path("BTC-USDT", Want::Range { first: 5, last: 9 });
    assert_eq!(path.as_deref(), Some("/api/v5/market/history-trades?instId=BTC-USDT&type=1&after=10&limit=5"));
    let body = r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","side":"sell","sz":"0.00013669","px":"102537.9","tradeId":"734864333","ts":"1747087163557"}]}"#;
    let mut out = Trades::open(&Okx);
    let reply = |status, body: &str| Reply { status, body: body.to_owned(), headers: Vec::new() };
    let page = Okx.parse_history("BTC-USDT", Want::Latest, &reply(200, body), &mut out);
    assert_eq!(page, Ok(Page::default()));
    assert_eq!(
        (out.rows()[0].msg.trade_id, out.rows()[0].span, out.rows()[0].msg.side()),
        (734_864_333, 1, Side::Sell)
    );
    let mut ask = |status, body: &str| Okx.parse_history("BTC-USDT", Want::Latest, &reply(status, body), &mut out);
    let limited = r#"{"code":"50011","msg":"Rate limit reached.","data":[]}"#;
    assert!(matches!(ask(429, limited), Err(Refused::Limited(_))));
    assert!(matches!(ask(200, limited), Err(Refused::Limited(_))));
    assert!(matches!(ask(429, ""), Err(Refused::Limited(_))));
    let unknown = r#"{"code":"51001","msg":"Instrument ID doesn't exist.","data":[]}"#;
    assert!(matches!(ask(200, unknown), Err(Refused::Words(words)) if words.contains("51001")));
    assert!(matches!(ask(200, "{"), Err(Refused::Broken(_))));
}

#[test]
fn instruments_come_with_tick_and_lot() {
    let body = r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","tickSz":"0.1","lotSz":"0.00000001","state":"live"},{"instId":"OLD-USDT","tickSz":"","lotSz":"","state":"suspend"}]}"#;
    let list = Okx.parse_instruments(body).unwrap();
    assert_eq!((list[0].tick_size.as_deref(), list[0].lot_size.as_deref()), (Some("0.1"), Some("0.00000001")));
    assert!(list[0].trading && !list[1].trading);
}
