//! X rows, first half: venues that fall silent, close, refuse, and send what nobody can read.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use data_manager::sim::{Damage, Fault, Which};

use crate::daemon::{Daemon, Spec};
use crate::kit::{Scene, Setup, TWO, VENUES, long, number, pause};
use crate::oracle::Scope;
use crate::report::Must;
use crate::support::{Proxy, Way};

const ALL: Which = Which::All;

/// Connections fall silent, pings are answered: they are replaced, and what was missed is fetched.
#[tokio::test]
async fn x01_silent_stall() {
    let mut scene = Setup::new("x01_silent_stall", &VENUES, 600.0, 14.0).start();
    let (since, before) = (Instant::now(), scene.accepted());
    scene.inject_all(|exchange| Fault::Stall { exchange, which: ALL });
    scene.wait_for_dials(&before, since);
    scene.recover(Instant::now()).await;
    scene.end(Must::Whole).await;
}

/// Sockets are half open, then a line is dead one way: connections are replaced, what was missed is fetched.
#[tokio::test]
async fn x02_half_open() {
    let mut line = None;
    let mut scene = Setup::new("x02_half_open", &VENUES, 300.0, 24.0).start_with(|sim, spec| {
        let url = sim.endpoint("coinbase").unwrap().ws_url;
        let proxy = line.insert(Proxy::start(&url));
        spec.with("EXCHANGES__COINBASE__WS_URL", &format!("ws://{}", proxy.address()))
    });
    let (since, before) = (Instant::now(), scene.accepted());
    scene.inject_all(|exchange| Fault::HalfOpen { exchange, which: ALL });
    scene.wait_for_dials(&before, since);
    scene.recover_from("back from half open", Instant::now()).await;
    // What the venue sends is lost on the way; what it is sent arrives.
    let (since, before) = (Instant::now(), scene.sim.sent("coinbase").accepted);
    let line = line.unwrap();
    line.black_hole(Way::ToClient);
    let disconnects = scene.daemon.metric_of("disconnects_total", "exchange=\"coinbase\"");
    let missed = |daemon: &mut Daemon| {
        (daemon.metric_of("disconnects_total", "exchange=\"coinbase\"") > disconnects).then_some(())
    };
    scene.daemon.wait(missed, "to give up a line that brings nothing");
    scene.row.detected(since);
    line.pass();
    let healed = Instant::now();
    let sim = &scene.sim;
    scene.daemon.wait(|_| (sim.sent("coinbase").accepted > before).then_some(()), "to dial again");
    scene.recover_from("back from a line that brings nothing", healed).await;
    scene.end(Must::Whole).await;
}

/// Every way to end a connection: it comes back, with a long wait where it is told that it is not welcome.
#[tokio::test]
async fn x03_closes() {
    let mut scene = Setup::new("x03_closes", &VENUES, 300.0, 22.0).set("FEED__BACKOFF_MAX", "1s").start();
    let close = |code| move |exchange| Fault::Close { exchange, which: ALL, code, reason: "by the test".to_owned() };
    for code in [1000, 1001, 1006, 1009, 1011, 1012, 1013] {
        let (since, before) = (Instant::now(), scene.accepted());
        scene.inject_all(close(code));
        scene.wait_for_dials(&before, since);
    }
    let (since, before) = (Instant::now(), scene.accepted());
    scene.drop_all();
    scene.wait_for_dials(&before, since);
    let (since, before) = (Instant::now(), scene.accepted());
    scene.inject_all(|exchange| Fault::HangUp { exchange, which: ALL });
    scene.wait_for_dials(&before, since);
    scene.recover(since).await;
    // Not welcome: a client that comes back at once would be banned. A daemon beside gets it, so that the row need not
    // wait for the end of the long wait.
    let beside = Spec::new(&scene.sim).start();
    beside_is_live(&mut scene, beside, |scene| {
        for (exchange, code) in [("binance", 1008), ("coinbase", 4000), ("okx", 4008)] {
            let (exchange, reason) = (exchange.to_owned(), "by the test".to_owned());
            scene.inject(Fault::Close { exchange, which: Which::Newest, code, reason });
        }
    })
    .await;
    scene.end(Must::Whole).await;
}

/// Lets something happen to the connections of a daemon beside; it must not dial again at once.
async fn beside_is_live(scene: &mut Scene, mut beside: Daemon, happens: impl FnOnce(&Scene)) {
    let live = |beside: &mut Daemon| (beside.page("/readyz").0 == 200).then_some(());
    beside.wait(live, "to be ready");
    let before = scene.accepted();
    happens(scene);
    pause(3.0).await;
    let soon = scene.accepted() == before && beside.page("/readyz").0 == 503;
    scene.row.must(soon, "it was not welcome, and dialled again within 3 s");
}

/// Upgrades are refused; other venues have no DNS, an expired certificate, a TLS that never answers: the rest goes on.
#[tokio::test]
async fn x04_refused_upgrades() {
    let mut scene = Setup::new("x04_refused_upgrades", &VENUES, 300.0, 20.0).start();
    for (exchange, status, retry_after) in [("binance", 429, Some(2)), ("coinbase", 503, None), ("okx", 500, None)] {
        scene.inject(Fault::RefuseUpgrade { exchange: exchange.to_owned(), status, retry_after, times: 1 });
    }
    let (since, before) = (Instant::now(), scene.accepted());
    scene.drop_all();
    scene.wait_for_dials(&before, since);
    let waited = since.elapsed() >= Duration::from_secs(2);
    scene.row.must(waited, "a Retry-After of 2 s was not waited for");
    scene.recover(since).await;
    others_go_on(&mut scene).await;
    let beside = Spec::new(&scene.sim).start();
    beside_is_live(&mut scene, beside, |scene| {
        for (exchange, status) in [("binance", 418), ("coinbase", 403), ("okx", 451)] {
            let exchange = exchange.to_owned();
            let refusal =
                Fault::RefuseUpgrade { exchange: exchange.clone(), status, retry_after: None, times: u64::MAX };
            scene.inject(refusal);
            scene.inject(Fault::Drop { exchange, which: Which::Newest });
        }
    })
    .await;
    for exchange in VENUES {
        let exchange = exchange.to_owned();
        scene.inject(Fault::RefuseUpgrade { exchange, status: 403, retry_after: None, times: 0 });
    }
    scene.end(Must::Whole).await;
}

/// A daemon beside, one of whose venues can be reached and three cannot.
async fn others_go_on(scene: &mut Scene) {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("wss://{}", mute.local_addr().unwrap());
    let expired = crate::lines::expired_tls();
    for (name, url, told) in [
        ("no DNS", "wss://no-such-venue.invalid:443".to_owned(), vec!["lookup", "resolve", "dns", "name"]),
        ("mute TLS", mute, vec!["timed out", "timeout", "within"]),
        ("expired certificate", expired.url.clone(), vec!["expired"]),
    ] {
        let mut daemon = Spec::new(&scene.sim)
            .with("EXCHANGES__COINBASE__WS_URL", &url)
            .with("FEED__CONNECT_TIMEOUT", "2s")
            .environment("SSL_CERT_FILE", expired.authority.to_str().unwrap())
            .start();
        let flows = |daemon: &mut Daemon| {
            let (_, status) = daemon.page("/status");
            let read = daemon.metric_of("trades_delivered_total", "exchange=\"binance\"");
            let error = status.to_ascii_lowercase();
            (read > 20 && told.iter().any(|word| error.contains(word))).then_some(())
        };
        let since = Instant::now();
        daemon.wait(flows, "to tell of the venue that it cannot reach, and to read the other");
        scene.row.note(format!("{name} told after {:.1?}", since.elapsed()));
        let attempts = daemon.metric_of("connection_attempts_total", "exchange=\"coinbase\"");
        scene.row.must(attempts <= 10, format!("{name}: {attempts} attempts in {:?}", since.elapsed()));
    }
}

/// Frames that nobody can read: counted, the next good one is read, what they told is fetched.
#[tokio::test]
async fn x05_malformed() {
    let scene = Setup::new("x05_malformed", &VENUES, 500.0, 16.0).start();
    let damages = [
        Damage::Truncated,
        Damage::WrongType,
        Damage::NotANumber,
        Damage::TooLarge,
        Damage::Negative,
        Damage::MissingField,
        Damage::Nested,
        Damage::Binary,
        Damage::BadUtf8,
    ];
    for damage in damages {
        scene.inject_all(|exchange| Fault::Spoil { exchange, symbol: None, which: ALL, damage, count: 2 });
        pause(0.5).await;
    }
    let garbage = ["", "{", "[]", "null", "{\"type\":\"unheard-of\"}", "{\"stream\":\"x\",\"data\":{}}", "\u{0}"];
    for text in garbage {
        scene.inject_all(|exchange| Fault::Send { exchange, which: ALL, text: text.to_owned() });
    }
    let most = if long() { 64 << 20 } else { 8 << 20 };
    for bytes in [512 << 10, most] {
        scene.inject_all(|exchange| Fault::Huge { exchange, which: ALL, bytes });
        pause(0.7).await;
    }
    let resident = scene.daemon.metric("process_resident_memory_bytes");
    let spoiled: u64 = scene.sim.venues().map(|exchange| scene.sim.sent(exchange).spoiled).sum();
    let counted = scene.daemon.metric("parse_errors_total");
    let mut row = scene.judge(Must::Whole, Scope::All).await;
    row.must(resident < 300 << 20, format!("{resident} bytes resident"));
    row.note(format!("{spoiled} frames broken, {counted} counted as parse errors, {} MiB resident", resident >> 20));
    row.must(counted > 0, "no frame was counted as broken");
    row.end();
}

/// Doubles in a session and a replay of the last 1,000 trades: each id is stored once, doubles are counted.
#[tokio::test]
async fn x06_doubles() {
    let scene = Setup::new("x06_doubles", &TWO, 1_000.0, 10.0).start();
    scene.inject_each(|exchange, symbol| Fault::Duplicate { exchange, symbol, count: 50 });
    pause(2.0).await;
    scene.inject_all(|exchange| Fault::Replay { exchange, symbol: None, which: ALL, count: 1_000 });
    pause(1.0).await;
    let sent: u64 =
        scene.sim.venues().map(|exchange| scene.sim.sent(exchange)).map(|s| s.duplicated + s.replayed).sum();
    let mut daemon_says = 0;
    for _ in 0..100 {
        daemon_says = scene.daemon.metric("trades_duplicate_total");
        if daemon_says >= sent {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut scene = scene;
    scene.row.must(daemon_says == sent, format!("{sent} doubles sent, {daemon_says} counted"));
    scene.row.note(format!("{sent} doubles"));
    scene.drop_all();
    pause(1.0).await;
    scene.inject_all(|exchange| Fault::Replay { exchange, symbol: None, which: ALL, count: 1_000 });
    scene.recover(Instant::now()).await;
    scene.end(Must::Whole).await;
}

/// The venue tells that it will close, and closes, again and again: no gap, nothing lost.
#[tokio::test]
async fn x08_rotations() {
    let rounds = number("CHAOS_CYCLES", 4, 100);
    let mut scene = Setup::new("x08_rotations", &["binance"], 500.0, 3.0 + 3.0 * rounds as f64).start();
    for _ in 0..rounds {
        let (since, before) = (Instant::now(), scene.accepted());
        let grace = Duration::from_secs(2);
        scene.inject_all(|exchange| Fault::Shutdown { exchange, which: ALL, grace });
        scene.daemon.wait(|_| (scene.sim.sent("binance").accepted > before[0]).then_some(()), "to dial beside");
        scene.row.detected(since);
        let left = Duration::from_millis(2_600).saturating_sub(since.elapsed());
        tokio::time::sleep(left).await;
    }
    scene.row.runs(rounds);
    let gaps = scene.daemon.metric("gaps_total");
    scene.row.must(gaps == 0, format!("{gaps} gaps"));
    scene.end(Must::Whole).await;
}
