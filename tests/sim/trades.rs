//! Faults of trades, of every venue: broken, doubled, late and wrong ones, and that each is counted exactly.

use data_manager::sim::{Damage, Fault, Sim, SimConfig, Source, Which, WireTime};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{get, one, until};
use crate::wire::{WIRES, Wire, at_start};

const ALL: Which = Which::All;

fn spoil(wire: &Wire, which: Which, damage: Damage, count: u64) -> Fault {
    Fault::Spoil { exchange: wire.exchange(), symbol: None, which, damage, count }
}

#[tokio::test]
async fn broken_frames_stand_in_place_of_their_trades() {
    let damages = [
        Damage::Truncated,
        Damage::WrongType,
        Damage::NotANumber,
        Damage::TooLarge,
        Damage::Negative,
        Damage::MissingField,
        Damage::Nested,
        Damage::Binary,
    ];
    for wire in WIRES {
        let script = at_start(damages.map(|damage| spoil(&wire, ALL, damage, 1)));
        let sim = wire.sim(40, script);
        let mut client = wire.listen(&sim).await;
        for damage in damages {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(_) => assert_eq!(damage, Damage::Binary),
                Message::Text(text) => assert_eq!(wire.read(&text), None, "{damage:?}"),
                other => panic!("{other:?}"),
            }
        }
        until("the end of the tape", || sim.finished().then_some(())).await;
        let issued = wire.issued(&sim);
        assert_eq!(wire.ids(&mut client, issued.len() - 8).await, issued[8..], "{wire:?}");
        assert_eq!((sim.sent(wire.exchange).spoiled, sim.sent(wire.exchange).faults), (8, 8));
    }
}

#[tokio::test]
async fn text_that_is_no_utf8_ends_a_connection() {
    for wire in WIRES {
        let sim = wire.sim(40, at_start([spoil(&wire, ALL, Damage::BadUtf8, 1)]));
        let mut client = wire.listen(&sim).await;
        assert!(client.next().await.unwrap().is_err());
    }
}

#[tokio::test]
async fn only_the_connection_that_is_meant_is_hit() {
    let wire = WIRES[0];
    let config = SimConfig { limit: Some(2_000), ..one(wire.exchange, wire.symbol, 2_000.0) };
    let sim = Sim::spawn(config).unwrap();
    let mut older = wire.listen(&sim).await;
    let mut newer = wire.listen(&sim).await;
    sim.inject(spoil(&wire, Which::Newest, Damage::WrongType, 5)).unwrap();
    until("the end of the tape", || sim.finished().then_some(())).await;
    let issued = wire.issued(&sim);
    assert_eq!(wire.ids(&mut older, issued.len()).await, issued);
    let mut broken = 0;
    while broken < 5 {
        broken += u64::from(wire.read(&newer.text().await).is_none());
    }
    assert_eq!(sim.sent(wire.exchange).spoiled, 5);
}

#[tokio::test]
async fn a_conflict_repeats_the_id_and_the_first_one_is_true() {
    for wire in WIRES {
        let conflict = Fault::Conflict { exchange: wire.exchange(), symbol: None, which: ALL, count: 2 };
        let sim = wire.sim(20, at_start([conflict]));
        let mut client = wire.listen(&sim).await;
        for _ in 0..2 {
            let (first, second) = (wire.trade(&mut client).await, wire.trade(&mut client).await);
            assert_eq!((first.id, &first.price), (second.id, &second.price));
            assert_ne!(first.size, second.size);
            let rows = sim.rows(wire.exchange, wire.symbol);
            let row = rows.iter().find(|row| row.id == first.id).unwrap();
            assert_eq!(row.size.parse::<f64>(), first.size.parse::<f64>());
        }
        assert_eq!(wire.trade(&mut client).await.id, wire.issued(&sim)[2]);
        assert_eq!(sim.sent(wire.exchange).conflicting, 2);
    }
}

#[tokio::test]
async fn venue_times_are_wrong_on_the_wire_and_right_in_the_oracle() {
    let times = [WireTime::Zero, WireTime::Future, WireTime::Seconds, WireTime::Micros];
    for wire in WIRES {
        let retime = |time| Fault::Retime { exchange: wire.exchange(), symbol: None, which: ALL, time, count: 1 };
        let sim = wire.sim(20, at_start(times.map(retime)));
        let mut client = wire.listen(&sim).await;
        for time in times {
            let told = wire.trade(&mut client).await;
            let rows = sim.rows(wire.exchange, wire.symbol);
            let ts = rows.iter().find(|row| row.id == told.id).unwrap().ts_event;
            let dates = wire.exchange == "coinbase";
            let expected = match time {
                WireTime::Zero if dates => "1970-01-01T00:00:00Z".to_owned(),
                WireTime::Zero => "0".to_owned(),
                WireTime::Future if dates => {
                    assert!(told.time.ends_with('Z'), "{told:?}");
                    continue;
                }
                WireTime::Future => (ts / 1_000_000 + 3_600_000).to_string(),
                WireTime::Seconds => (ts / 1_000_000_000).to_string(),
                WireTime::Micros => (ts / 1_000).to_string(),
            };
            assert_eq!(told.time, expected, "{wire:?} {time:?}");
        }
        assert_eq!(sim.sent(wire.exchange).mistimed, 4);
    }
}

#[tokio::test]
async fn a_delayed_trade_is_overtaken_by_exactly_so_many() {
    for wire in WIRES {
        let delay = |by, count| Fault::Delay { exchange: wire.exchange(), symbol: None, which: ALL, by, count };
        let sim = wire.sim(200, at_start([delay(1, 2), delay(3, 1)]));
        let mut client = wire.listen(&sim).await;
        until("the end of the tape", || sim.finished().then_some(())).await;
        let issued = wire.issued(&sim);
        // Two swaps of neighbours, then one trade behind three others.
        let order = [1, 0, 3, 2, 5, 6, 7, 4, 8, 9];
        assert_eq!(wire.ids(&mut client, 10).await, order.map(|place: usize| issued[place]), "{wire:?}");
        assert_eq!(sim.sent(wire.exchange).delayed, 3);
    }
}

#[tokio::test]
async fn what_nothing_overtakes_goes_at_the_end_of_the_tape() {
    let wire = WIRES[1];
    let delay = Fault::Delay { exchange: wire.exchange(), symbol: None, which: ALL, by: 100, count: 1 };
    let sim = wire.sim(10, at_start([delay]));
    let mut client = wire.listen(&sim).await;
    let ids = wire.ids(&mut client, 10).await;
    let mut issued = wire.issued(&sim);
    issued.rotate_left(1);
    assert_eq!(ids, issued);
}

#[tokio::test]
async fn the_last_trades_are_replayed_as_they_were() {
    for wire in WIRES {
        let sim = wire.sim(300, Vec::new());
        let mut client = wire.listen(&sim).await;
        until("the end of the tape", || sim.finished().then_some(())).await;
        let issued = wire.issued(&sim);
        assert_eq!(wire.ids(&mut client, issued.len()).await, issued);
        let symbol = Some(wire.symbol.to_owned());
        sim.inject(Fault::Replay { exchange: wire.exchange(), symbol, which: ALL, count: 50 }).unwrap();
        assert_eq!(wire.ids(&mut client, 50).await, issued[issued.len() - 50..]);
        assert_eq!((sim.sent(wire.exchange).replayed, sim.sent(wire.exchange).issued), (50, 300));
    }
}

#[tokio::test]
async fn duplicated_and_withheld_trades_are_counted_as_they_are() {
    for wire in WIRES {
        let (exchange, symbol) = (wire.exchange(), wire.symbol.to_owned());
        let withhold = Fault::Withhold { exchange: exchange.clone(), symbol: symbol.clone(), count: 3, which: ALL };
        let sim = wire.sim(60, at_start([withhold, Fault::Duplicate { exchange, symbol, count: 2 }]));
        let mut client = wire.listen(&sim).await;
        until("the end of the tape", || sim.finished().then_some(())).await;
        let issued = wire.issued(&sim);
        assert_eq!(wire.ids(&mut client, 5).await, [3, 3, 4, 4, 5].map(|place: usize| issued[place]));
        let rows = sim.rows(wire.exchange, wire.symbol);
        let withheld = rows[..3].iter().map(|row| u64::from(row.fills)).sum();
        assert_eq!((sim.sent(wire.exchange).withheld, sim.sent(wire.exchange).duplicated), (withheld, 2));
    }
}

#[tokio::test]
async fn ids_begin_again_at_1_and_rest_forgets_what_was_before() {
    for wire in WIRES {
        let restart = Fault::RestartIds { exchange: wire.exchange(), symbol: None };
        let sim = wire.sim(100, vec![data_manager::sim::Scripted { after: 60, fault: restart }]);
        let mut client = wire.listen(&sim).await;
        until("the end of the tape", || sim.finished().then_some(())).await;
        let fills: Vec<u64> = sim.history(wire.exchange, wire.symbol).iter().map(|fill| fill.id).collect();
        let restart = fills.iter().position(|id| *id == 1).unwrap();
        assert!(restart >= 60 && fills[restart..].iter().copied().eq((1..).take(100 - restart)), "{fills:?}");
        let issued = wire.issued(&sim);
        assert_eq!(wire.ids(&mut client, issued.len()).await, issued);
        let (_, page) = get(&sim, wire.exchange, wire.page).await;
        let name = ["\"id\":", "\"trade_id\":", "\"tradeId\":"].into_iter().find(|name| page.contains(name)).unwrap();
        assert_eq!(page.matches(name).count(), 100 - restart, "{page}");
    }
}

#[tokio::test]
async fn a_burst_hurries_the_tape_and_its_clock_stays_right() {
    for wire in WIRES {
        // At its own pace the tape would take more than an hour.
        let config = SimConfig {
            source: Source::Generate { rate: 1.0 },
            limit: Some(4_000),
            wait_for_subscriber: false,
            ..one(wire.exchange, wire.symbol, 1.0)
        };
        let sim = Sim::spawn(config).unwrap();
        let lasting = std::time::Duration::from_secs(60);
        sim.inject(Fault::Burst { exchange: wire.exchange(), factor: 10_000, lasting }).unwrap();
        until("the end of the tape", || sim.finished().then_some(())).await;
        let last = sim.history(wire.exchange, wire.symbol).last().unwrap().ts_event;
        assert!(last <= data_manager::telemetry::clock::wall_ns(), "trades do not come from the future");
    }
}
