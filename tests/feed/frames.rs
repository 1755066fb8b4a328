//! Frames of every shape: broken, binary, fragmented, of a symbol that nobody asked for.

use data_manager::market::{GapReason, GapStrength};

use crate::scene::{FRAME_BYTES_MAX, Setup, gap, on_a_thread, trade as trade_in};
use crate::venue::{CONTINUATION, FIN, PING, TEXT, Venue, frame, trade, trade_of};

#[test]
fn what_cannot_be_decoded_is_counted_by_kind_and_the_next_trade_passes() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        conn.text(&trade(1)).await;
        conn.text(&trade(2)[..60]).await;
        conn.text("").await;
        conn.text(&trade(2).replace("70123.40", "NaN")).await;
        conn.text(&trade_of("ETHUSDT", 2)).await;
        conn.binary(trade(2).as_bytes()).await;
        conn.binary(&[0xff, 0x00]).await;
        conn.text(&trade(2)).await;
        assert_eq!(scene.ids(2).await, [1, 2]);
        assert_eq!(*scene.tapped.borrow().last().unwrap(), trade(2));
        let status = scene.stop().await;
        let errors: Vec<(&str, u64)> = status.decode_errors.into_iter().collect();
        assert_eq!(errors, [("frame_type", 2), ("json", 2), ("number", 1), ("unknown_symbol", 1)]);
        assert_eq!((status.connects, status.disconnects, status.frames), (1, 0, 9));
    });
}

#[test]
fn a_fragmented_message_with_a_ping_inside_is_one_trade_and_the_ping_is_answered() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        scene.live().await;
        let text = trade(1);
        let (first, rest) = text.as_bytes().split_at(11);
        let (second, third) = rest.split_at(70);
        conn.raw(&frame(TEXT, first)).await;
        conn.raw(&frame(FIN | PING, b"are you there")).await;
        let pong = conn.next().await.unwrap();
        assert!(pong.is_pong() && pong.into_data() == b"are you there".as_slice());
        conn.raw(&frame(CONTINUATION, second)).await;
        conn.raw(&[frame(FIN | PING, b""), frame(FIN | CONTINUATION, third)].concat()).await;
        assert_eq!(scene.ids(1).await, [1]);
        let status = scene.stop().await;
        assert_eq!((status.trades, status.connects, status.disconnects), (1, 1, 0));
        assert!(status.decode_errors.is_empty());
    });
}

#[test]
fn a_frame_that_arrives_byte_by_byte_is_one_trade() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        for byte in frame(FIN | TEXT, trade(1).as_bytes()) {
            conn.raw(&[byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.ids(1).await, [1]);
        assert_eq!(scene.stop().await.frames, 2);
    });
}

#[test]
fn many_frames_in_one_segment_are_all_delivered_in_order() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        let burst: Vec<u8> = (1..=5_000).flat_map(|id| frame(FIN | TEXT, trade(id).as_bytes())).collect();
        conn.raw(&burst).await;
        assert_eq!(scene.ids(5_000).await, (1..=5_000).collect::<Vec<u64>>());
        let status = scene.stop().await;
        assert_eq!((status.sequence.delivered, status.sequence.duplicates, status.sequence.gaps), (5_000, 0, 0));
    });
}

/// What a connection must not survive, each with a part of what is said about it.
fn deadly() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(FRAME_BYTES_MAX + 1);
    let half = "x".repeat(FRAME_BYTES_MAX / 2 + 1);
    let parts = [frame(TEXT, half.as_bytes()), frame(FIN | CONTINUATION, half.as_bytes())];
    let announced = u16::try_from(long.len()).unwrap().to_be_bytes();
    let mut huge = vec![FIN | TEXT, 127];
    huge.extend((1_u64 << 40).to_be_bytes());
    vec![
        ("too long", frame(FIN | TEXT, long.as_bytes())),
        ("too long", parts.concat()),
        ("too long", huge),
        // The announcement alone is enough: nobody waits for the payload.
        ("too long", [[FIN | TEXT, 126], announced].concat()),
        ("UTF-8", frame(FIN | TEXT, b"\xff\xfe")),
        ("Continue frame but nothing to continue", frame(FIN | CONTINUATION, b"{}")),
        ("Reserved bits are non-zero", frame(FIN | TEXT | 0x40, b"{}")),
        ("invalid opcode", frame(FIN | 0x3, b"{}")),
    ]
}

#[test]
fn a_frame_that_breaks_the_rules_ends_the_connection_and_the_loss_is_declared() {
    on_a_thread(async {
        let deadly = deadly();
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let (mut records, mut id) = (0, 1);
        for (number, (why, bytes)) in (1..).zip(&deadly) {
            let mut conn = venue.accept_binance().await;
            conn.text(&trade(id)).await;
            records += if number == 1 { 1 } else { 2 };
            scene.records(records).await;
            conn.raw(bytes).await;
            scene.until(why, |status| status.disconnects == number).await;
            let said = scene.status.borrow().last_error.clone();
            assert!(said.to_lowercase().contains(&why.to_lowercase()), "{why}: {said}");
            // Three trades happen while nobody listens.
            id += 4;
        }
        let mut conn = venue.accept_binance().await;
        conn.text(&trade(id)).await;
        let all = scene.records(records + 2).await;
        for (place, pair) in all[1..].chunks(2).enumerate() {
            let (gap, after) = (gap(&pair[0].1), trade_in(&pair[1].1));
            let first = place as u64 * 4 + 2;
            assert_eq!((gap.first_id, gap.last_id, gap.missing, after.trade_id), (first, first + 2, 3, first + 3));
            assert_eq!((gap.strength, gap.reason), (GapStrength::Proved as u8, GapReason::VenueDisconnect as u8));
        }
        let status = scene.stop().await;
        let lost = deadly.len() as u64;
        assert_eq!((status.connects, status.disconnects, status.sequence.missing), (lost + 1, lost, lost * 3));
        assert!(status.decode_errors.is_empty(), "{:?}", status.decode_errors);
    });
}

#[test]
fn the_longest_frame_that_is_allowed_passes() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        let text = trade(1);
        let padded = format!("{text}{}", " ".repeat(FRAME_BYTES_MAX - text.len()));
        conn.text(&padded).await;
        assert_eq!(scene.ids(1).await, [1]);
        assert_eq!(scene.stop().await.disconnects, 0);
    });
}
