//! OKX as its clients meet it: rows of several fills, acks and errors, text pings, the idle rule, REST.

use std::time::Duration;

use data_manager::market::{Decimal, Side};
use data_manager::sim::{Fault, Pace, Rules, Sim, SimConfig, SimTrade, Source, Which};
use serde_json::{Value, json};

use crate::client::{Client, get, one, told, until};

const PATH: &str = "/ws/v5/public";
const SUBSCRIBE: &str = r#"{"op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#;

async fn data(sim: &Sim, path: &str) -> Value {
    let (status, body) = get(sim, "okx", path).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["code"], &body["msg"]), (200, &json!("0"), &json!("")), "{path}");
    body["data"].clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[tokio::test]
async fn the_socket_tells_rows_and_the_oracle_has_both_rows_and_fills() {
    let sim = Sim::spawn(SimConfig { limit: Some(4_000), ..one("okx", "BTCUSDT", 20_000.0) }).unwrap();
    let mut client = Client::connect(&sim, "okx", PATH).await;
    client.send(SUBSCRIBE).await;
    let ack = client.json().await;
    assert_eq!((&ack["event"], &ack["arg"]["instId"]), (&json!("subscribe"), &json!("BTC-USDT")));
    assert_eq!(text(&ack["connId"]).len(), 8);
    let replayed = client.json().await;
    until("the end of the tape", || sim.finished().then_some(())).await;
    let (rows, fills) = (sim.rows("okx", "BTCUSDT"), sim.history("okx", "BTCUSDT"));
    let sent = sim.sent("okx");
    assert_eq!((fills.len(), rows.len()), (4_000, usize::try_from(sent.rows).unwrap()));
    assert_eq!(sent.issued, 4_000);
    assert!(rows.iter().any(|row| row.fills > 2) && rows.len() < 3_500, "{} rows", rows.len());

    let mut before: u64 = text(&replayed["data"][0]["tradeId"]).parse().unwrap();
    assert_eq!(before + 1, fills[0].id, "what is pushed first is what was traded last before the tape began");
    for row in &rows {
        let frame = client.json().await;
        assert_eq!(frame["arg"], json!({"channel": "trades", "instId": "BTC-USDT"}));
        let wire = &frame["data"][0];
        let number = |name: &str| text(&wire[name]).parse::<u64>().unwrap();
        let seen = (number("tradeId"), text(&wire["px"]).to_owned(), text(&wire["sz"]).to_owned(), number("ts"));
        assert_eq!(seen, told(row));
        assert_eq!((number("count"), wire["side"] == "buy"), (u64::from(row.fills), row.side == Side::Buy));
        assert_eq!(before + number("count"), row.id, "the row before ends where this one begins");
        before = row.id;
    }
    let lots = |trade: &SimTrade| {
        let size = Decimal::parse(&trade.size).unwrap();
        size.size().unwrap() * 10_u64.pow(8 - u32::from(size.scale()))
    };
    let sum = |trades: &[SimTrade]| trades.iter().map(lots).sum::<u64>();
    assert_eq!(sum(&rows), sum(&fills));
    assert!(fills.iter().all(|fill| rows.iter().any(|row| row.id == fill.row && row.price == fill.price)));
}

#[tokio::test]
async fn the_same_seed_makes_the_same_rows() {
    let run = async |seed| {
        let sim = Sim::spawn(SimConfig { seed, limit: Some(500), ..one("okx", "ETHUSDT", 0.0) }).unwrap();
        let mut client = Client::connect(&sim, "okx", PATH).await;
        client.send(&SUBSCRIBE.replace("BTC", "ETH")).await;
        until("the end of the tape", || sim.finished().then_some(())).await;
        let rows = sim.rows("okx", "ETHUSDT");
        rows.into_iter().map(|row| (row.id, row.price, row.size, row.fills)).collect::<Vec<_>>()
    };
    assert_eq!(run(3).await, run(3).await);
    assert_ne!(run(3).await, run(4).await);
}

#[tokio::test]
async fn errors_name_what_does_not_exist_and_ids_come_back() {
    let sim = Sim::spawn(one("okx", "BTCUSDT", 1.0)).unwrap();
    let mut client = Client::connect(&sim, "okx", PATH).await;
    client.send("ping").await;
    assert_eq!(client.text().await, "pong");
    client.send("nonsense").await;
    assert_eq!(client.json().await["code"], "60012");
    let args = json!([{"channel": "trades", "instId": "FOO-USDT"}, {"channel": "trades", "instId": "BTC-USDT"}]);
    client.send(&json!({"id": "a1", "op": "subscribe", "args": args}).to_string()).await;
    let error = client.json().await;
    let expected = json!({
        "id": "a1", "event": "error", "code": "60018", "connId": error["connId"],
        "msg": "channel:trades,instId:FOO-USDT doesn't exist",
    });
    assert_eq!(error, expected);
    let ack = client.json().await;
    assert_eq!((&ack["id"], &ack["event"]), (&json!("a1"), &json!("subscribe")));
    assert!(Client::try_connect(&sim, "okx", "/ws/v5/nowhere").await.is_err());
}

#[tokio::test]
async fn a_notice_comes_before_the_end() {
    let sim = Sim::spawn(one("okx", "BTCUSDT", 0.1)).unwrap();
    let mut client = Client::connect(&sim, "okx", PATH).await;
    until("connection", || (sim.sent("okx").connections == 1).then_some(())).await;
    let grace = Duration::from_millis(20);
    sim.inject(Fault::Shutdown { exchange: "okx".to_owned(), which: Which::All, grace }).unwrap();
    let notice = client.json().await;
    assert_eq!((&notice["event"], &notice["code"]), (&json!("notice"), &json!("64008")));
    assert_eq!(client.close_code().await, Some(1001));
}

#[tokio::test]
async fn who_is_silent_and_hears_nothing_is_closed_and_a_ping_keeps_it_open() {
    let rules = Rules { idle_within: Duration::from_secs(1), ..Rules::default() };
    let sim = Sim::spawn(SimConfig { rules, ..one("okx", "BTCUSDT", 0.001) }).unwrap();
    let mut idle = Client::connect(&sim, "okx", PATH).await;
    let mut lively = Client::connect(&sim, "okx", PATH).await;
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lively.send("ping").await;
        assert_eq!(lively.text().await, "pong");
    }
    assert_eq!(idle.close_code().await, Some(4004));
    assert_eq!(sim.sent("okx").connections, 1);
}

#[tokio::test]
async fn rest_pages_single_fills_newest_first() {
    let sim = Sim::spawn(SimConfig { limit: Some(1_000), ..one("okx", "BTCUSDT", 0.0) }).unwrap();
    let mut client = Client::connect(&sim, "okx", PATH).await;
    client.send(SUBSCRIBE).await;
    until("the end of the tape", || sim.finished().then_some(())).await;
    let fills = sim.history("okx", "BTCUSDT");
    let (mut after, mut seen) = (fills[999].id + 1, Vec::new());
    while after > fills[800].id {
        let path = format!("/api/v5/market/history-trades?instId=BTC-USDT&type=1&after={after}&limit=100");
        for row in data(&sim, &path).await.as_array().unwrap() {
            let number = |name: &str| text(&row[name]).parse::<u64>().unwrap();
            seen.push((number("tradeId"), text(&row["px"]).to_owned(), text(&row["sz"]).to_owned(), number("ts")));
        }
        after = seen.last().unwrap().0;
    }
    let expected: Vec<_> = fills.iter().rev().take(200).map(told).collect();
    assert_eq!(seen, expected);
    let newer = format!("/api/v5/market/history-trades?instId=BTC-USDT&before={}", fills[996].id);
    assert_eq!(data(&sim, &newer).await.as_array().unwrap().len(), 3);
    let latest = data(&sim, "/api/v5/market/trades?instId=BTC-USDT&limit=500").await;
    assert_eq!((latest.as_array().unwrap().len(), text(&latest[0]["tradeId"])), (500, &*fills[999].id.to_string()));
    let listed = data(&sim, "/api/v5/public/instruments?instType=SPOT").await;
    assert_eq!((&listed[0]["instId"], &listed[0]["state"]), (&json!("BTC-USDT"), &json!("live")));
    assert_eq!((&listed[0]["baseCcy"], &listed[0]["quoteCcy"]), (&json!("BTC"), &json!("USDT")));
    assert_eq!((&listed[0]["tickSz"], &listed[0]["lotSz"]), (&json!("0.01"), &json!("0.00000001")));
    assert!(text(&data(&sim, "/api/v5/public/time").await[0]["ts"]).parse::<u64>().is_ok());
}

#[tokio::test]
async fn rest_says_what_it_does_not_have_and_when_it_is_asked_too_often() {
    let sim = Sim::spawn(one("okx", "BTCUSDT", 1.0)).unwrap();
    let (status, body) = get(&sim, "okx", "/api/v5/market/trades?instId=FOO-USDT").await;
    assert!(status == 200 && body.contains("51001"), "{status} {body}");
    let mut refused = (0, String::new());
    for _ in 0..20 {
        refused = get(&sim, "okx", "/api/v5/public/time").await;
    }
    assert!(refused.0 == 429 && refused.1.contains("50011"), "{refused:?}");
}

#[tokio::test]
async fn a_recording_is_replayed_row_by_row_and_its_answers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.jsonl");
    let row = |id: u64, count: u64| {
        let data = json!([{"instId": "BTC-USDT", "tradeId": id.to_string(), "px": "95634.9", "sz": "0.00011186",
            "side": "sell", "ts": "1740394561685", "count": count.to_string()}]);
        json!({"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": data}).to_string()
    };
    let ack = r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#;
    std::fs::write(&path, [ack, &row(7, 1), "pong", &row(9, 2)].join("\n")).unwrap();
    let source = Source::Capture { path, pace: Pace::FlatOut };
    let sim = Sim::spawn(SimConfig { source, ..one("okx", "BTCUSDT", 0.0) }).unwrap();
    let mut client = Client::connect(&sim, "okx", PATH).await;
    client.send(SUBSCRIBE).await;
    assert_eq!(client.json().await["event"], "subscribe");
    assert_eq!([client.text().await, client.text().await], [row(7, 1), row(9, 2)]);
    let issued = sim.history("okx", "BTCUSDT");
    assert_eq!(
        issued.iter().map(|trade| (trade.id, trade.side)).collect::<Vec<_>>(),
        [(7, Side::Sell), (9, Side::Sell)]
    );
}
