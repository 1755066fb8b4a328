//! The project's own publisher as a leg: the same records, pushed as feeds push them.

use std::time::{Duration, Instant};

use data_manager::config::settings::{Manage, Nats};
use data_manager::market::trade::KIND_TRADE_V1;
use data_manager::market::{Instrument, Record, Symbol, TradeMsg, Universe};
use data_manager::transport::Transport as _;
use data_manager::transport::nats::{NatsState, publisher};
use tokio_util::sync::CancellationToken;

use super::{INSTRUMENTS, STREAM, connect, fresh_stream};

/// Records that are pushed before the publisher gets its turn: a busy read of a venue's socket.
const BURST: u64 = 64;
/// More of them do not wait: what a feed reads at once is bounded too.
const AHEAD: u64 = 4_096;

/// Publishes through the window; `change` sets what differs from the defaults.
pub(super) async fn publish(url: String, n: u64, change: fn(&mut Nats)) -> Duration {
    fresh_stream(&connect(&url).await).await;
    let mut settings = Nats { servers: vec![url], ..Nats::default() };
    settings.jetstream.stream_name = STREAM.to_owned();
    settings.jetstream.manage = Manage::None;
    change(&mut settings);
    let mut universe = Universe::default();
    for number in 0..INSTRUMENTS {
        let symbol = Symbol::new(&format!("COIN{number}-USDT")).unwrap();
        universe.add(Instrument::new("binance", symbol, format!("COIN{number}"))).unwrap();
    }
    let local = tokio::task::LocalSet::new();
    local.run_until(run(settings, &universe, n)).await
}

async fn run(settings: Nats, universe: &Universe, n: u64) -> Duration {
    let (mut transport, publisher) = publisher::new(settings, universe, true, Box::new(|_, _| None));
    let stop = CancellationToken::new();
    let task = tokio::task::spawn_local(publisher.run(stop.clone(), Duration::from_secs(60)));
    while transport.status().state != NatsState::Publishing {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    let mut pushed = 0;
    while pushed < n {
        for k in pushed..(pushed + BURST).min(n) {
            let route = u32::try_from(k % INSTRUMENTS as u64).unwrap();
            transport.publish(route, &record(k, route));
        }
        pushed = (pushed + BURST).min(n);
        transport.flush();
        while transport.stats().waiting > AHEAD {
            tokio::task::yield_now().await;
        }
    }
    stop.cancel();
    let report = task.await.unwrap();
    let took = start.elapsed();
    assert_eq!((report.acked, report.unacked, report.dropped), (n, 0, 0));
    took
}

fn record(k: u64, route: u32) -> Record {
    Record::Trade(TradeMsg {
        ts_event: 1_700_000_000_000_000_000 + k * 1_000,
        ts_recv: 1_700_000_000_000_100_000 + k * 1_000,
        trade_id: 1_000_000_000 + k,
        price: 6_183_763,
        size: 12_345,
        instrument_id: route + 1,
        price_scale: 2,
        size_scale: 5,
        flags: 1,
        kind: KIND_TRADE_V1,
    })
}
