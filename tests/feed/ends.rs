//! Ends of a connection: RST, FIN, close frames, silence, a notice of shutdown; what is lost is declared.

use std::time::Duration;

use data_manager::feed::FeedState;
use data_manager::market::{Flags, GapReason, GapStrength, Record};

use crate::scene::{Setup, gap, on_a_thread, trade as trade_in};
use crate::venue::{FIN, TEXT, Venue, coinbase_match, frame, timeless, trade};

#[test]
fn a_reset_in_the_middle_of_a_stream_is_declared_when_ids_jump() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        conn.text(&trade(1)).await;
        conn.text(&trade(2)).await;
        scene.records(2).await;
        let half = frame(FIN | TEXT, trade(3).as_bytes());
        conn.raw(&half[..half.len() / 2]).await;
        conn.reset();
        let mut conn = venue.accept_binance().await;
        conn.text(&trade(6)).await;
        conn.text(&trade(7)).await;
        let records = scene.records(5).await;
        let gap = gap(&records[2].1);
        assert_eq!((gap.first_id, gap.last_id, gap.missing), (3, 5, 3));
        assert_eq!((gap.strength, gap.reason), (GapStrength::Proved as u8, GapReason::VenueDisconnect as u8));
        let (before, after) = (trade_in(&records[1].1), trade_in(&records[3].1));
        assert_eq!((gap.ts_start, gap.ts_end), (before.ts_event, after.ts_event));
        assert_eq!(gap.instrument_id, after.instrument_id);
        assert!(after.flag_set().has(Flags::AFTER_GAP) && !trade_in(&records[4].1).flag_set().has(Flags::AFTER_GAP));
        let status = scene.stop().await;
        assert_eq!((status.connects, status.disconnects, status.connect_failures), (2, 1, 0));
        assert_eq!((status.routes[&0].gaps, status.routes[&0].missing, status.routes[&0].trades), (1, 3, 4));
    });
}

#[test]
fn over_many_resets_every_id_is_delivered_once_or_declared() {
    const ROUNDS: u64 = 30;
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let (mut rng, mut id) = (fastrand::Rng::with_seed(11), 1);
        for round in 0..ROUNDS {
            let mut conn = venue.accept_binance().await;
            // A venue may send again what it sent before the break, and trades happen while nobody listens.
            id = (id + rng.u64(0..5)).saturating_sub(rng.u64(0..5)).max(1);
            let burst: Vec<u8> =
                (id..id + rng.u64(2..200)).flat_map(|id| frame(FIN | TEXT, trade(id).as_bytes())).collect();
            conn.raw(&burst[..rng.usize(burst.len() / 2..=burst.len())]).await;
            // The break comes before the feed has read anything, while it reads, or after.
            match round % 3 {
                0 => {}
                1 => tokio::time::sleep(Duration::from_micros(rng.u64(0..2_000))).await,
                _ => scene.until("trade", |status| status.routes.get(&0).is_some_and(|r| r.last_id >= id)).await,
            }
            conn.reset();
            id += 200;
        }
        let mut conn = venue.accept_binance().await;
        id += 200;
        conn.text(&trade(id)).await;
        scene.until("last trade", |status| status.routes.get(&0).is_some_and(|route| route.last_id == id)).await;
        let records = scene.records(1).await;
        let mut next = trade_in(&records[0].1).trade_id;
        for (_, record) in &records {
            match record {
                Record::Trade(trade) => {
                    assert_eq!(trade.trade_id, next);
                    next += 1;
                }
                Record::Gap(gap) => {
                    assert_eq!((gap.first_id, gap.missing), (next, gap.last_id + 1 - next));
                    next = gap.last_id + 1;
                }
            }
        }
        assert_eq!(next, id + 1);
        let status = scene.stop().await;
        assert_eq!((status.connects, status.disconnects), (ROUNDS + 1, ROUNDS));
        assert!(status.sequence.gaps > 0 && status.sequence.missing > 0);
    });
}

#[test]
fn a_reconnect_that_misses_nothing_declares_nothing() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::coinbase().start(venue.url());
        for id in 1..=10 {
            let mut conn = venue.accept().await;
            conn.json().await;
            // The venue repeats its latest trade at each subscribe, as history.
            let last = coinbase_match("BTC-USD", id - 1).replace("\"match\"", "\"last_match\"");
            if id > 1 {
                conn.text(&last).await;
            }
            conn.text(&coinbase_match("BTC-USD", id)).await;
            let expected = usize::try_from(id).unwrap();
            assert_eq!(scene.ids(expected).await, (1..=id).collect::<Vec<u64>>());
            drop(conn);
        }
        let status = scene.stop().await;
        assert_eq!((status.sequence.delivered, status.sequence.duplicates, status.sequence.gaps), (10, 9, 0));
    });
}

#[test]
fn a_close_by_the_venue_is_told_with_its_code() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        venue.accept_binance().await.close(1001).await;
        scene.until("close", |status| status.disconnects == 1).await;
        assert_eq!(scene.status.borrow().last_error, "closed by the venue: 1001 the venue closes");
        let conn = venue.accept_binance().await;
        scene.live().await;
        assert_eq!(scene.status.borrow().last_error, "");
        // A close for breach of policy: the venue does not want us back soon.
        conn.close(1008).await;
        scene.until("close", |status| status.disconnects == 2).await;
        assert!(!venue.is_dialled_within(Duration::from_millis(500)).await, "dialled right after a 1008");
        scene.stop().await;
    });
}

#[test]
fn silence_is_a_stall_and_the_loss_says_so() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup { stall: Some(Duration::from_millis(700)), ..Setup::default() }.start(venue.url());
        let mut conn = venue.accept_binance().await;
        conn.text(&trade(1)).await;
        scene.records(1).await;
        let mut next = venue.accept_binance().await;
        let bye = conn.next().await;
        assert!(bye.is_none_or(|message| message.is_close()), "the silent connection is closed");
        next.text(&trade(9)).await;
        let records = scene.records(3).await;
        let gap = gap(&records[1].1);
        assert_eq!((gap.first_id, gap.last_id, gap.reason), (2, 8, GapReason::Stall as u8));
        scene.stop().await;
    });
}

#[test]
fn a_pause_of_the_process_is_no_stall_while_data_waits() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup { stall: Some(Duration::from_millis(700)), ..Setup::default() }.start(venue.url());
        let mut conn = venue.accept_binance().await;
        scene.live().await;
        conn.text(&trade(1)).await;
        // Nothing runs on this thread now, the feed included.
        std::thread::sleep(Duration::from_millis(1_000));
        assert_eq!(scene.ids(1).await, [1]);
        assert_eq!(scene.stop().await.disconnects, 0);
    });
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        for payload in [b"1731000000000".as_slice(), b""] {
            conn.ping(payload).await;
            let pong = conn.next().await.unwrap();
            assert!(pong.is_pong() && pong.into_data() == payload);
        }
        assert_eq!(scene.stop().await.disconnects, 0);
    });
}

#[test]
fn a_notice_of_shutdown_brings_a_successor_and_nothing_is_lost_or_doubled() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut old = venue.accept_binance().await;
        old.text(&trade(1)).await;
        old.text(r#"{"e":"serverShutdown","E":1731000000000}"#).await;
        let mut new = venue.accept_binance().await;
        // Both carry the same trades, each in its own time; 4 comes over the new one first, 3 only over the old one.
        new.text(&trade(2)).await;
        scene.records(2).await;
        new.text(&trade(4)).await;
        scene.until("frame", |status| status.frames == 6).await;
        assert_eq!(scene.ids(2).await, [1, 2], "4 waits for 3");
        old.text(&trade(2)).await;
        old.text(&trade(3)).await;
        old.text(&trade(4)).await;
        assert_eq!(scene.ids(4).await, [1, 2, 3, 4]);
        scene.until("rotation", |status| status.rotations == 1).await;
        let bye = old.next().await;
        assert!(bye.as_ref().is_some_and(|message| message.is_close()), "{bye:?}");
        new.text(&trade(5)).await;
        assert_eq!(scene.ids(5).await, [1, 2, 3, 4, 5]);
        assert_eq!(scene.status.borrow().state, FeedState::Live);
        let status = scene.stop().await;
        assert_eq!((status.connects, status.disconnects), (2, 0));
        assert_eq!((status.sequence.gaps, status.sequence.duplicates), (0, 2));
    });
}

#[test]
fn a_successors_copies_of_trades_without_a_possible_time_are_doubles() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut old = venue.accept_binance().await;
        old.text(r#"{"e":"serverShutdown","E":1731000000000}"#).await;
        let mut new = venue.accept_binance().await;
        let told = |id: u64| if id <= 40 { timeless(id) } else { trade(id) };
        for id in 1..=100 {
            old.text(&told(id)).await;
        }
        assert_eq!(scene.ids(100).await, (1..=100).collect::<Vec<u64>>());
        // Their receive times stand in, and are later than those of the first copies.
        for id in 1..=101 {
            new.text(&told(id)).await;
        }
        scene.until("the last copy", |status| status.trades == 201).await;
        assert_eq!(scene.ids(101).await, (1..=101).collect::<Vec<u64>>());
        let status = scene.stop().await;
        let sequence = status.sequence;
        assert_eq!((sequence.delivered, sequence.duplicates, sequence.restarts, sequence.gaps), (101, 100, 0, 0));
        assert_eq!(status.bad_times, 80);
    });
}

#[test]
fn a_quiet_symbol_that_the_heartbeat_shows_to_be_behind_is_declared() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::coinbase().start(venue.url());
        let mut conn = venue.accept().await;
        conn.text(&coinbase_match("BTC-USD", 1)).await;
        let beat = serde_json::json!({
            "type": "heartbeat", "sequence": 9, "last_trade_id": 3, "product_id": "BTC-USD",
            "time": "2024-11-07T17:20:01Z",
        });
        conn.text(&beat.to_string()).await;
        let records = scene.records(2).await;
        let gap = gap(&records[1].1);
        assert_eq!((gap.first_id, gap.last_id, gap.missing), (2, 3, 2));
        scene.stop().await;
    });
}
