//! Dials: plain, TLS, refused by HTTP, by a certificate, by nobody at all.

use std::time::Duration;

use data_manager::feed::FeedState;
use data_manager::telemetry::clock;

use crate::scene::{Setup, on_a_thread};
use crate::venue::{Identity, Venue, trade};

#[test]
fn a_trade_arrives_over_a_plain_socket() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut conn = venue.accept_binance().await;
        scene.live().await;
        conn.text(&trade(1)).await;
        assert_eq!(scene.ids(1).await, [1]);
        let status = scene.stop().await;
        assert_eq!((status.connects, status.connect_failures, status.trades), (1, 0, 1));
        assert_eq!((status.state, status.last_error.as_str()), (FeedState::Stopped, ""));
        let bye = conn.next().await;
        assert!(bye.as_ref().is_some_and(|message| message.is_close()), "{bye:?}");
    });
}

#[test]
fn a_trade_arrives_behind_a_trusted_certificate() {
    on_a_thread(async {
        for name in ["localhost", "127.0.0.1"] {
            let (venue, identity) = (Venue::start().await, Identity::of(name));
            let trusted = vec![identity.certificate.clone()];
            let scene = Setup { trusted, ..Setup::default() }.start(format!("wss://{name}:{}", venue.port()));
            let mut conn = venue.accept_tls(&identity).await.unwrap();
            let subscribe = conn.json().await;
            conn.text(&format!(r#"{{"result":null,"id":{}}}"#, subscribe["id"])).await;
            scene.live().await;
            conn.text(&trade(1)).await;
            assert_eq!(scene.ids(1).await, [1]);
            assert_eq!(scene.stop().await.connect_failures, 0);
        }
    });
}

#[test]
fn a_certificate_that_is_not_trusted_fails_the_dial_and_says_tls() {
    on_a_thread(async {
        let stranger = Identity::of("localhost").certificate;
        let other_name = Identity::of("example.org");
        let trusted = other_name.certificate.clone();
        for (identity, trusted) in [
            (Identity::of("localhost"), vec![]),
            (Identity::of("localhost"), vec![stranger]),
            (other_name, vec![trusted]),
        ] {
            let venue = Venue::start().await;
            let scene = Setup { trusted, ..Setup::default() }.start(format!("wss://localhost:{}", venue.port()));
            assert!(venue.accept_tls(&identity).await.is_err(), "the feed took the certificate");
            scene.until("failure", |status| status.connect_failures == 1 && !status.last_error.is_empty()).await;
            let error = scene.status.borrow().last_error.clone();
            assert!(error.starts_with("TLS with localhost: "), "{error}");
            assert_eq!(scene.stop().await.connects, 0);
        }
    });
}

#[test]
fn a_server_without_tls_fails_the_dial_and_says_tls() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(format!("wss://localhost:{}", venue.port()));
        let mut stream = venue.tcp().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        scene.until("failure", |status| status.connect_failures == 1 && !status.last_error.is_empty()).await;
        let error = scene.stop().await.last_error;
        assert!(error.starts_with("TLS with localhost: "), "{error}");
    });
}

#[test]
fn retry_after_is_waited_for() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        venue.refuse("429 Too Many Requests", "Retry-After: 1\r\n").await;
        let refused = clock::now();
        let mut conn = venue.accept_binance().await;
        assert!(clock::now() - refused >= Duration::from_secs(1), "dialled before Retry-After");
        scene.live().await;
        conn.text(&trade(1)).await;
        assert_eq!(scene.ids(1).await, [1]);
        let status = scene.stop().await;
        assert_eq!((status.connects, status.connect_failures), (1, 1));
    });
}

#[test]
fn a_refusal_for_good_is_not_hammered_and_one_for_now_is_tried_again() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        for failures in 1..=3 {
            venue.refuse("503 Service Unavailable", "").await;
            scene.until("503", |status| status.connect_failures == failures).await;
        }
        venue.refuse("403 Forbidden", "").await;
        scene.until("403", |status| status.last_error.contains("HTTP 403")).await;
        // The same wait was long enough for three dials above: waits are 20 ms here, and a minute behind a 403.
        assert!(!venue.is_dialled_within(Duration::from_millis(500)).await, "dialled right after a 403");
        let status = scene.stop().await;
        assert_eq!((status.connects, status.connect_failures), (0, 4));
    });
}

#[test]
fn a_venue_that_never_answers_the_handshake_is_given_up_and_dialled_again() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let setup = Setup { connect_timeout: Duration::from_millis(200), ..Setup::default() };
        let scene = setup.start(venue.url());
        let silent = venue.tcp().await;
        scene.until("time-out", |status| status.last_error.contains("no connection within")).await;
        drop(silent);
        let _conn = venue.accept_binance().await;
        scene.live().await;
        assert!(scene.stop().await.connect_failures >= 1);
    });
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    on_a_thread(async {
        let url = Venue::start().await.url();
        let scene = Setup::default().start(url.clone());
        scene.until("failures", |status| status.connect_failures >= 3).await;
        let error = scene.stop().await.last_error;
        assert!(error.contains(url.trim_start_matches("ws://")), "{error}");
    });
}

#[test]
fn an_answer_that_is_no_http_fails_the_dial() {
    on_a_thread(async {
        let venue = Venue::start().await;
        let scene = Setup::default().start(venue.url());
        let mut stream = venue.tcp().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.unwrap();
        scene.until("failure", |status| status.connect_failures == 1).await;
        let _conn = venue.accept_binance().await;
        scene.live().await;
        assert_eq!(scene.stop().await.connect_failures, 1);
    });
}
