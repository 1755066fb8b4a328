//! Subscribes: answered in full, in parts, refused for one symbol or for all.

use data_manager::feed::{FeedState, FeedStatus};
use serde_json::Value;

use crate::scene::{Setup, on_a_thread};
use crate::venue::{Venue, coinbase_match, trade};

fn ack(products: &[&str]) -> String {
    let channels = ["heartbeat", "matches"].map(|name| serde_json::json!({ "name": name, "product_ids": products }));
    serde_json::json!({ "type": "subscriptions", "channels": channels }).to_string()
}

fn products(subscribe: &Value) -> Vec<&str> {
    assert_eq!(subscribe["type"], "subscribe");
    subscribe["product_ids"].as_array().unwrap().iter().map(|product| product.as_str().unwrap()).collect()
}

#[test]
fn a_feed_is_live_only_when_every_symbol_is_acknowledged() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::coinbase().start(venue.url());
        let mut conn = venue.accept().await;
        assert_eq!(products(&conn.json().await), ["BTC-USD", "FOO-USD"]);
        conn.text(&coinbase_match("BTC-USD", 1)).await;
        conn.text(&ack(&["BTC-USD"])).await;
        conn.text(&coinbase_match("BTC-USD", 2)).await;
        assert_eq!(scene.ids(2).await, [1, 2], "what flows already is delivered");
        assert_eq!(scene.status.borrow().state, FeedState::Subscribing);
        conn.text(&ack(&["BTC-USD", "FOO-USD"])).await;
        scene.live().await;
        conn.text(&coinbase_match("FOO-USD", 70)).await;
        assert_eq!(scene.records(3).await[2].0, 1, "the route of the second symbol");
        scene.stop().await;
    });
}

#[test]
fn a_refused_symbol_is_shown_and_the_others_are_asked_for_again() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::coinbase().start(venue.url());
        let mut conn = venue.accept().await;
        assert_eq!(products(&conn.json().await), ["BTC-USD", "FOO-USD"]);
        conn.text(r#"{"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}"#)
            .await;
        assert_eq!(products(&conn.json().await), ["BTC-USD"]);
        conn.text(&ack(&["BTC-USD"])).await;
        scene.live().await;
        conn.text(&coinbase_match("BTC-USD", 1)).await;
        assert_eq!(scene.ids(1).await, [1]);
        let said = |route| scene.status.borrow().routes.get(&route).map(|status| status.rejected.clone());
        assert_eq!(said(0).as_deref(), Some(""));
        assert_eq!(said(1).as_deref(), Some("Failed to subscribe FOO-USD is not a valid product"));
        // The refusal outlives the connection: the next one does not ask again.
        conn.reset();
        let mut conn = venue.accept().await;
        assert_eq!(products(&conn.json().await), ["BTC-USD"]);
        scene.stop().await;
    });
}

#[test]
fn a_refusal_without_a_symbol_is_halved_until_the_symbol_is_found_and_the_connection_stays() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let symbols = &["BTCUSDT", "ETHUSDT", "BADUSDT", "SOLUSDT", "XRPUSDT"];
        let scene = Setup { symbols, ..Setup::default() }.start(venue.url());
        let mut conn = venue.accept().await;
        let mut asked = 0;
        while scene.status.borrow().state != FeedState::Live {
            let subscribe = conn.json().await;
            asked += 1;
            let bad = subscribe["params"].as_array().unwrap().iter().any(|name| name == "badusdt@trade");
            let answer = if bad {
                format!(r#"{{"error":{{"code":2,"msg":"Invalid request"}},"id":{}}}"#, subscribe["id"])
            } else {
                format!(r#"{{"result":null,"id":{}}}"#, subscribe["id"])
            };
            conn.text(&answer).await;
            // All of five, two and three, one and two, two and none.
            if asked == 5 {
                scene.live().await;
            }
        }
        assert_eq!(asked, 5);
        conn.text(&trade(1)).await;
        assert_eq!(scene.ids(1).await, [1]);
        let rejected = |status: &FeedStatus, route| status.routes.get(&route).map(|of| of.rejected.clone());
        assert_eq!(rejected(&scene.status.borrow(), 2).as_deref(), Some("Invalid request (code 2)"));
        let others = [0, 1, 3, 4].into_iter().filter_map(|route| rejected(&scene.status.borrow(), route));
        assert!(others.into_iter().all(|text| text.is_empty()));
        // A while later it is asked for again, on the same connection, and it flows.
        let subscribe = conn.json().await;
        assert_eq!(subscribe["params"], serde_json::json!(["badusdt@trade"]));
        conn.text(&format!(r#"{{"result":null,"id":{}}}"#, subscribe["id"])).await;
        scene.until("acceptance", |status| rejected(status, 2).as_deref() == Some("")).await;
        let status = scene.stop().await;
        assert_eq!((status.connects, status.disconnects), (1, 0), "{status:?}");
    });
}

#[test]
fn an_ack_of_another_request_is_no_ack() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept().await;
        let id = conn.json().await["id"].as_u64().unwrap();
        conn.text(&format!(r#"{{"result":null,"id":{}}}"#, id + 1)).await;
        conn.text(&trade(1)).await;
        assert_eq!(scene.ids(1).await, [1]);
        assert_eq!(scene.status.borrow().state, FeedState::Subscribing);
        conn.text(&format!(r#"{{"result":null,"id":{id}}}"#)).await;
        scene.live().await;
        scene.stop().await;
    });
}
