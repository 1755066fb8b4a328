//! Faults of connections and of answers, of every venue: ends of all kinds, silence, huge frames, acks, REST.

use std::time::Duration;

use data_manager::sim::{AckFault, Fault, RestFault, Rules, Sim, SimConfig, Which};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{get, one, until};
use crate::wire::{WIRES, Wire, at_start};

const ALL: Which = Which::All;

/// A venue that is nearly silent by itself.
fn quiet(wire: &Wire) -> Sim {
    Sim::spawn(one(wire.exchange, wire.symbol, 0.000_1)).unwrap()
}

#[tokio::test]
async fn any_close_code_is_sent() {
    let wire = WIRES[0];
    let sim = quiet(&wire);
    for code in [1000, 1001, 1003, 1008, 1009, 1011, 1012, 1013, 4000, 4999] {
        let mut client = wire.listen(&sim).await;
        let (exchange, reason) = (wire.exchange(), "so".to_owned());
        sim.inject(Fault::Close { exchange, which: ALL, code, reason }).unwrap();
        assert_eq!(client.close_code().await, Some(code));
        until("end", || (sim.sent(wire.exchange).connections == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_drop_resets_and_a_hang_up_ends_without_a_close_frame() {
    for wire in WIRES {
        let sim = quiet(&wire);
        let mut client = wire.listen(&sim).await;
        sim.inject(Fault::Drop { exchange: wire.exchange(), which: ALL }).unwrap();
        let end = client.next().await.unwrap().unwrap_err();
        let kind = |error: &Error| match error {
            Error::Io(error) => Some(error.kind()),
            _ => None,
        };
        assert_eq!(kind(&end), Some(std::io::ErrorKind::ConnectionReset), "{end:?}");
        let mut client = wire.listen(&sim).await;
        sim.inject(Fault::HangUp { exchange: wire.exchange(), which: ALL }).unwrap();
        let end = client.next().await.unwrap().unwrap_err();
        assert!(matches!(end, Error::Protocol(_)), "{end:?}");
    }
}

#[tokio::test]
async fn a_half_open_connection_neither_reads_nor_writes_until_it_is_resumed() {
    for wire in WIRES {
        let config = SimConfig { limit: Some(100_000), ..one(wire.exchange, wire.symbol, 2_000.0) };
        let sim = Sim::spawn(config).unwrap();
        let mut client = wire.listen(&sim).await;
        wire.trade(&mut client).await;
        sim.inject(Fault::HalfOpen { exchange: wire.exchange(), which: ALL }).unwrap();
        until("fault", || (sim.sent(wire.exchange).faults == 1).then_some(())).await;
        // What was under way still comes.
        while !client.is_silent_for(Duration::from_millis(100)).await {}
        client.ping().await;
        assert!(client.is_silent_for(Duration::from_millis(100)).await, "the ping was answered");
        assert_eq!(sim.sent(wire.exchange).connections, 1, "the venue has it open");
        sim.inject(Fault::Resume { exchange: wire.exchange() }).unwrap();
        let mut ponged = false;
        while !ponged {
            ponged = matches!(client.next().await.unwrap().unwrap(), Message::Pong(_));
        }
        wire.trade(&mut client).await;
    }
}

#[tokio::test]
async fn a_half_open_connection_is_reset_in_the_end() {
    let wire = WIRES[2];
    let rules = Rules { half_open_for: Duration::from_millis(50), ..Rules::default() };
    let sim = Sim::spawn(SimConfig { rules, ..one(wire.exchange, wire.symbol, 0.000_1) }).unwrap();
    let mut client = wire.listen(&sim).await;
    sim.inject(Fault::HalfOpen { exchange: wire.exchange(), which: ALL }).unwrap();
    assert!(client.next().await.unwrap().is_err());
    until("end", || (sim.sent(wire.exchange).connections == 0).then_some(())).await;
}

#[tokio::test]
async fn what_silence_swallows_is_counted() {
    for wire in WIRES {
        let silences: [fn(String) -> Fault; 2] =
            [|exchange| Fault::Stall { exchange, which: ALL }, |exchange| Fault::HalfOpen { exchange, which: ALL }];
        for silence in silences {
            let config = SimConfig { limit: Some(1_000), ..one(wire.exchange, wire.symbol, 2_000.0) };
            let sim = Sim::spawn(config).unwrap();
            let mut client = wire.listen(&sim).await;
            wire.trade(&mut client).await;
            sim.inject(silence(wire.exchange())).unwrap();
            until("the end of the tape", || sim.finished().then_some(())).await;
            let mut told = 1;
            while !client.is_silent_for(Duration::from_millis(50)).await {
                told += 1;
            }
            let sent = sim.sent(wire.exchange);
            assert_eq!(sent.rows, told + sent.silenced, "{wire:?} {sent:?}");
        }
    }
}

#[tokio::test]
async fn a_stalled_connection_answers_pings_and_says_nothing_else() {
    for wire in WIRES {
        let sim = Sim::spawn(one(wire.exchange, wire.symbol, 2_000.0)).unwrap();
        let mut client = wire.listen(&sim).await;
        sim.inject(Fault::Stall { exchange: wire.exchange(), which: ALL }).unwrap();
        until("fault", || (sim.sent(wire.exchange).faults == 1).then_some(())).await;
        while !client.is_silent_for(Duration::from_millis(100)).await {}
        client.ping().await;
        assert!(matches!(client.next().await, Some(Ok(Message::Pong(_)))));
        sim.inject(Fault::Resume { exchange: wire.exchange() }).unwrap();
        wire.trade(&mut client).await;
    }
}

#[tokio::test]
async fn a_huge_frame_has_its_size_and_trades_go_on() {
    for (wire, bytes) in WIRES.into_iter().zip([1_u64 << 10, 2 << 20, 64 << 20]) {
        let sim = Sim::spawn(one(wire.exchange, wire.symbol, 100.0)).unwrap();
        let mut client = wire.listen(&sim).await;
        sim.inject(Fault::Huge { exchange: wire.exchange(), which: ALL, bytes }).unwrap();
        let size = loop {
            let text = client.text().await;
            if wire.read(&text).is_none() {
                break text.len() as u64;
            }
        };
        assert_eq!(size, bytes);
        wire.trade(&mut client).await;
        assert_eq!(sim.sent(wire.exchange).foreign, 1);
    }
    let sim = quiet(&WIRES[0]);
    let error = sim.inject(Fault::Huge { exchange: "binance".to_owned(), which: ALL, bytes: 1 << 40 }).unwrap_err();
    assert!(error.to_string().contains("256 MiB"), "{error}");
}

#[tokio::test]
async fn acks_are_missing_late_wrong_or_of_another_symbol() {
    for wire in WIRES {
        let sim = quiet(&wire);
        let ack = |symbol, fault| Fault::Ack { exchange: wire.exchange(), symbol, fault, times: 1 };
        let good = wire.subscribe(&sim).await.text().await;

        // Back when the fault waits for the next ack.
        let inject = async |fault| {
            let before = sim.sent(wire.exchange).faults;
            sim.inject(fault).unwrap();
            until("fault", || (sim.sent(wire.exchange).faults > before).then_some(())).await;
        };
        for fault in [AckFault::Wrong, AckFault::OtherSymbol] {
            inject(ack(None, fault)).await;
            let bad = wire.subscribe(&sim).await.text().await;
            assert!(bad != good && serde_json::from_str::<Value>(&bad).is_ok(), "{fault:?}: {bad}");
        }
        inject(ack(Some(wire.symbol.to_owned()), AckFault::Late(Duration::from_millis(150)))).await;
        let mut client = wire.subscribe(&sim).await;
        for _ in 1..wire.said_first() {
            assert!(wire.read(&client.text().await).is_some(), "the trade from before comes ahead of the ack");
        }
        assert!(wire.read(&client.text().await).is_none(), "the ack comes late");

        inject(ack(None, AckFault::Missing)).await;
        let mut client = wire.subscribe(&sim).await;
        for _ in 1..wire.said_first() {
            assert!(wire.read(&client.text().await).is_some());
        }
        assert!(client.is_silent_for(Duration::from_millis(50)).await);
        assert_eq!(sim.sent(wire.exchange).bad_acks, 4);
    }
}

#[tokio::test]
async fn rest_answers_are_slow_empty_short_or_broken() {
    for wire in WIRES {
        let rest = |fault| {
            let symbol = Some(wire.symbol.to_owned());
            Fault::Rest { exchange: wire.exchange(), symbol, fault, times: 1 }
        };
        let delay = Duration::from_millis(120);
        let faults = [RestFault::Empty, RestFault::Short(3), RestFault::Broken, RestFault::Slow(delay)];
        let sim = wire.sim(10, at_start(faults.map(rest)));
        let rows = |body: &str| {
            let body: Value = serde_json::from_str(body).ok()?;
            body.get("data").unwrap_or(&body).as_array().map(Vec::len)
        };
        let empty = get(&sim, wire.exchange, wire.page).await;
        assert_eq!((empty.0, rows(&empty.1)), (200, Some(0)), "{wire:?}");
        assert_eq!(rows(&get(&sim, wire.exchange, wire.page).await.1), Some(3));
        let broken = get(&sim, wire.exchange, wire.page).await;
        assert_eq!((broken.0, rows(&broken.1)), (200, None), "{}", broken.1);
        let start = data_manager::telemetry::clock::now();
        let whole = get(&sim, wire.exchange, wire.page).await;
        assert!(start.elapsed() >= delay && rows(&whole.1) >= Some(100), "{}", whole.1);
        assert_eq!((sim.sent(wire.exchange).bad_answers, sim.sent(wire.exchange).rest_requests), (4, 4));
    }
}
