//! X rows, second half: ids, rates, subscribes, times, and the lines to the venues.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_manager::sim::{AckFault, Fault, Which, WireTime};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::kit::{Setup, TWO, VENUES, long, number, pause};
use crate::oracle::{Scope, in_stream, judge};
use crate::report::Must;
use crate::support::Proxy;

const ALL: Which = Which::All;

/// Late trades, skipped ids, one id with two payloads, ids that begin again: exact gaps, the first payload, in order.
#[tokio::test]
async fn x07_ids() {
    let mut scene = Setup::new("x07_ids", &TWO, 800.0, 16.0).start();
    scene.inject_all(|exchange| Fault::Delay { exchange, symbol: None, which: ALL, by: 1, count: 10 });
    pause(1.0).await;
    scene.inject_all(|exchange| Fault::Conflict { exchange, symbol: None, which: ALL, count: 10 });
    pause(1.0).await;
    scene.inject_each(|exchange, symbol| Fault::SkipIds { exchange, symbol, count: 7 });
    let symbols: u64 = scene.sim.venues().map(|exchange| scene.sim.symbols(exchange).len() as u64).sum();
    let skipped = symbols * 7;
    scene.daemon.wait(|d| (d.metric("gap_trades_missing_total") >= skipped).then_some(()), "to miss what was skipped");
    pause(6.0).await;
    let found = judge(&scene.sim, &in_stream(&scene.broker.url()).await, Scope::ToLast);
    let exact = found.declared == skipped;
    scene.row.must(exact, format!("{skipped} ids were skipped: {found}"));
    scene.row.note(format!("{skipped} ids skipped, {} declared", found.declared));
    let since = Instant::now();
    scene.inject_all(|exchange| Fault::RestartIds { exchange, symbol: None });
    let noticed = |daemon: &mut Daemon| (daemon.metric("trade_id_restarts_total") >= symbols).then_some(());
    scene.daemon.wait(noticed, "to notice that ids began again");
    scene.row.detected(since);
    scene.end(Must::Honest).await;
}

/// A hundred times the rate on every venue at once: nothing is lost, queues keep within their bounds.
#[tokio::test]
async fn x09_burst() {
    let lasting = Duration::from_secs(number("CHAOS_BURST_SECONDS", 1, 10));
    let scene = Setup::new("x09_burst", &VENUES, 250.0, 8.0 + 100.0 * lasting.as_secs_f64()).start();
    let since = Instant::now();
    scene.inject_all(|exchange| Fault::Burst { exchange, factor: 100, lasting });
    let (mut deepest, mut resident) = (0, 0);
    while since.elapsed() < lasting + Duration::from_secs(2) {
        deepest = deepest.max(scene.daemon.metric_of("queue_depth", "outbox_bytes"));
        resident = resident.max(scene.daemon.metric("process_resident_memory_bytes"));
        pause(0.05).await;
    }
    let mut scene = scene;
    scene.recover(since + lasting).await;
    let bound = scene.daemon.metric_of("queue_capacity", "outbox_bytes");
    scene.row.must(deepest <= bound, format!("the outbox held {deepest} bytes, its bound is {bound}"));
    scene.row.note(format!("outbox at most {} KiB, {} MiB resident", deepest >> 10, resident >> 20));
    // The tape is made for the burst; what is left of it would take long at the base rate.
    while !scene.sim.finished() {
        scene.inject_all(|exchange| Fault::Burst { exchange, factor: 40, lasting: Duration::from_secs(1) });
        pause(1.0).await;
    }
    scene.end(Must::Whole).await;
}

/// Every connection of every venue is reset at once, repeatedly: back within the venues' limits, whole.
#[tokio::test]
async fn x10_all_venues_drop() {
    let mut scene = Setup::new("x10_all_venues_drop", &VENUES, 600.0, 14.0).start();
    for _ in 0..4 {
        let (since, before) = (Instant::now(), scene.accepted());
        scene.drop_all();
        scene.wait_for_dials(&before, since);
        scene.recover(since).await;
        pause(0.5).await;
    }
    let dials: u64 = scene.accepted().iter().sum();
    scene.row.note(format!("{dials} dials in all"));
    scene.row.must(dials <= 3 * 30, format!("{dials} dials"));
    scene.end(Must::Whole).await;
}

/// A symbol is refused; acks are missing, late, or of another symbol: it is told, the other symbols flow, and whole.
#[tokio::test]
async fn x11_subscribes() {
    let mut scene = Setup::new("x11_subscribes", &VENUES, 300.0, 34.0).start();
    for (fault, times) in
        [(AckFault::Missing, 1), (AckFault::Late(Duration::from_millis(700)), 1), (AckFault::OtherSymbol, 1)]
    {
        scene.inject_all(|exchange| Fault::Ack { exchange, symbol: None, fault, times });
        let (since, before) = (Instant::now(), scene.accepted());
        scene.drop_all();
        scene.wait_for_dials(&before, since);
        scene.recover(since).await;
    }
    let refused: Vec<(String, String)> =
        scene.sim.venues().map(|name| (name.to_owned(), scene.sim.symbols(name).pop().unwrap())).collect();
    let refuse = |scene: &crate::kit::Scene, times| {
        for (exchange, symbol) in refused.clone() {
            scene.inject(Fault::RefuseSymbol { exchange, symbol, times });
        }
    };
    refuse(&scene, u64::MAX);
    let since = Instant::now();
    scene.drop_all();
    for (exchange, symbol) in &refused {
        let told = |daemon: &mut Daemon| {
            let status: serde_json::Value = serde_json::from_str(&daemon.page("/status").1).ok()?;
            let feeds = status["shards"][0]["connections"].as_array()?.clone();
            let mut symbols = feeds.iter().flat_map(|feed| feed["symbols"].as_array().cloned().unwrap_or_default());
            let names = |found: &serde_json::Value| found["symbol"] == symbol.as_str() && !found["rejected"].is_null();
            (symbols.any(|found| names(&found)) || since.elapsed() > Duration::from_secs(30)).then_some(since.elapsed())
        };
        let took = scene.daemon.wait(told, "to tell of the refused symbol");
        let fine = took < Duration::from_secs(30);
        scene.row.must(fine, format!("{exchange} {symbol} is refused, and /status does not say so"));
    }
    scene.row.detected(since);
    let before: Vec<u64> = TWO.iter().map(|name| trades_of(&scene.daemon, name)).collect();
    pause(2.0).await;
    for (name, before) in TWO.iter().zip(before) {
        let flows = trades_of(&scene.daemon, name) > before + 20;
        scene.row.must(flows, format!("{name}: the symbols that are not refused do not flow"));
    }
    refuse(&scene, 0);
    let healed = Instant::now();
    scene.drop_all();
    scene.recover(healed).await;
    scene.end(Must::Whole).await;
}

fn trades_of(daemon: &Daemon, exchange: &str) -> u64 {
    daemon.metric_of("trades_received_total", &format!("exchange=\"{exchange}\""))
}

/// A few bytes at a time, delays that change, two lines out of step: in order, whole.
#[tokio::test]
async fn x12_slow_lines() {
    let mut lines = Vec::new();
    let scene = Setup::new("x12_slow_lines", &TWO, 300.0, 14.0).start_with(|sim, mut spec| {
        for exchange in TWO {
            let proxy = Proxy::start(&sim.endpoint(exchange).unwrap().ws_url);
            let name = exchange.to_ascii_uppercase();
            spec.set(&format!("EXCHANGES__{name}__WS_URL"), &format!("ws://{}", proxy.address()));
            spec.set(&format!("EXCHANGES__{name}__REDUNDANCY"), "2");
            lines.push(proxy);
        }
        spec
    });
    lines.iter().for_each(|line| line.slice(if long() { 1 } else { 3 }, Duration::ZERO));
    pause(3.0).await;
    lines.iter().for_each(Proxy::pass);
    for _ in 0..10 {
        lines.iter().for_each(|line| line.delay(Duration::from_millis(fastrand::u64(0..300))));
        pause(0.3).await;
    }
    lines.iter().for_each(Proxy::pass);
    // One of two lines lacks trades that the other has, or has them late.
    for which in [Which::Oldest, Which::Newest] {
        scene.inject_each(|exchange, symbol| Fault::Withhold { exchange, symbol, count: 20, which });
        scene.inject_all(|exchange| Fault::Delay { exchange, symbol: None, which, by: 3, count: 10 });
        pause(1.0).await;
    }
    scene.end(Must::Whole).await;
}

/// Impossible venue times: what is stored has none of them.
#[tokio::test]
async fn x13_venue_times() {
    let mut scene = Setup::new("x13_venue_times", &VENUES, 400.0, 9.0).start();
    for time in [WireTime::Zero, WireTime::Future, WireTime::Seconds, WireTime::Micros] {
        scene.inject_all(|exchange| Fault::Retime { exchange, symbol: None, which: ALL, time, count: 5 });
        pause(0.7).await;
    }
    scene.settle().await;
    let found = judge(&scene.sim, &in_stream(&scene.broker.url()).await, Scope::All);
    scene.row.must(found.bad == 0, format!("{} records with an impossible time are stored", found.bad));
    scene.row.note(format!("{} impossible records", found.bad));
    scene.end(Must::Whole).await;
}

/// A TLS server whose certificate is of yesterday's world.
pub(crate) struct Expired {
    pub(crate) url: String,
    /// The certificate to trust.
    pub(crate) authority: PathBuf,
    _dir: TempDir,
}

pub(crate) fn expired_tls() -> Expired {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let chain = vec![CertificateDer::from(cert.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}", listener.local_addr().unwrap());
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut socket = socket;
            // The client ends it.
            let _ = rustls::Stream::new(&mut session, &mut socket).read(&mut [0; 16]);
        }
    });
    Expired { url, authority: path, _dir: dir }
}
