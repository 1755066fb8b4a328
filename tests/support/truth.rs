//! What the venues issued, against what the stream and the rings hold.

use std::collections::BTreeMap;
use std::time::Instant;

use data_manager::market::subject::{self, SubjectKind};
use data_manager::market::{Decimal, Flags, Record, Side, TradeMsg};
use data_manager::sim::{Sim, SimTrade};
use data_manager::transport::ipc::{Next, Reader};

use crate::daemon::{DEADLINE, Daemon};
use crate::support::{client, read_all_within};

pub(crate) const STREAM: &str = "MARKET_DATA";

/// A trade as far as it is the venue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trade {
    pub(crate) id: u64,
    pub(crate) price: String,
    pub(crate) size: String,
    pub(crate) side: Side,
    pub(crate) ts_event: u64,
}

/// Trades by exchange and symbol, in order.
pub(crate) type Trades = BTreeMap<(String, String), Vec<Trade>>;

impl From<&TradeMsg> for Trade {
    fn from(msg: &TradeMsg) -> Self {
        Self {
            id: msg.trade_id,
            price: Decimal::from_price(msg.price, msg.price_scale).to_string(),
            size: Decimal::from_size(msg.size, msg.size_scale).to_string(),
            side: msg.side(),
            ts_event: msg.ts_event,
        }
    }
}

impl From<&SimTrade> for Trade {
    fn from(trade: &SimTrade) -> Self {
        let text = |text: &str| Decimal::parse(text).unwrap().to_string();
        Self {
            id: trade.id,
            price: text(&trade.price),
            size: text(&trade.size),
            side: trade.side,
            ts_event: trade.ts_event,
        }
    }
}

/// What the venues' tapes have issued.
pub(crate) fn issued(sim: &Sim) -> Trades {
    let mut all = Trades::new();
    for exchange in sim.venues() {
        for symbol in sim.symbols(exchange) {
            let trades = sim.history(exchange, &symbol).iter().map(Trade::from).collect();
            all.insert((exchange.to_owned(), symbol), trades);
        }
    }
    all
}

/// What was read: trades, history that a venue sent at subscribe, and gaps.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) trades: Trades,
    /// Trades from before a generated tape began; in a recording they are part of it.
    pub(crate) history: Trades,
    pub(crate) gaps: u64,
    /// All of it, in the order in which it stands there.
    pub(crate) records: BTreeMap<(String, String), Vec<Record>>,
}

impl Found {
    fn take(&mut self, exchange: &str, symbol: &str, record: &Record) {
        self.records.entry((exchange.to_owned(), symbol.to_owned())).or_default().push(*record);
        match record {
            Record::Trade(msg) => {
                assert!(msg.ts_recv >= 1_600_000_000_000_000_000, "no receive time: {msg:?}");
                let history = msg.flag_set().has(Flags::SNAPSHOT);
                let trades = if history { &mut self.history } else { &mut self.trades };
                trades.entry((exchange.to_owned(), symbol.to_owned())).or_default().push(Trade::from(msg));
            }
            Record::Gap(_) => self.gaps += 1,
        }
    }

    /// Fails with the first difference.
    pub(crate) fn assert_is(&self, expected: &Trades, place: &str) {
        for (key, expected) in expected {
            let found = self.trades.get(key).map(Vec::as_slice).unwrap_or_default();
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert_eq!(found, expected, "{place}: trade {at} of {key:?} differs");
            }
            assert_eq!(found.len(), expected.len(), "{place}: {key:?} has another number of trades");
        }
        let strangers: Vec<_> = self.trades.keys().filter(|key| !expected.contains_key(*key)).collect();
        assert!(strangers.is_empty(), "{place}: nobody issued {strangers:?}");
    }

    /// As [`Self::assert_is`], where nothing was missing that a gap could tell of.
    pub(crate) fn assert_whole(&self, expected: &Trades, place: &str) {
        self.assert_is(expected, place);
        assert_eq!(self.gaps, 0, "{place}: gaps were declared though nothing is missing");
    }
}

/// Everything in the stream. Each message is one record, and `.trades` carries trades only.
pub(crate) async fn stored(url: &str) -> Found {
    stored_in(url, STREAM).await
}

/// Everything in a stream of this name.
pub(crate) async fn stored_in(url: &str, stream: &str) -> Found {
    all_of(&client(url).await, stream).await
}

/// As [`stored`], as whoever is connected.
pub(crate) async fn stored_by(client: &async_nats::Client) -> Found {
    all_of(client, STREAM).await
}

async fn all_of(client: &async_nats::Client, stream: &str) -> Found {
    let mut found = Found::default();
    for (sequence, subject, payload) in read_all_within(client, stream, DEADLINE).await {
        let parts = subject::parse("market", &subject).unwrap_or_else(|| panic!("{sequence}: subject {subject}"));
        let record = Record::from_bytes(&payload).unwrap_or_else(|error| panic!("{sequence}: {error}"));
        let fits = matches!(
            (&record, parts.kind),
            (Record::Trade(_), SubjectKind::Trades) | (Record::Gap(_), SubjectKind::Gaps)
        );
        assert!(fits, "{sequence}: {record:?} stands on {subject}");
        found.take(&parts.exchange, &parts.symbol, &record);
    }
    found
}

/// Everything of a kind of place, whatever its flags, by id: what a venue's history brought stands among the live
/// trades. Trades from before a tape began are left out.
pub(crate) fn by_id(found: Found, expected: &Trades) -> Trades {
    let mut all = found.trades;
    for (key, trades) in found.history {
        all.entry(key).or_default().extend(trades);
    }
    for (key, trades) in &mut all {
        let first = expected.get(key).and_then(|trades| trades.first()).map_or(0, |trade| trade.id);
        trades.retain(|trade| trade.id >= first);
        trades.sort_by_key(|trade| trade.id);
    }
    all
}

/// Everything in the rings of a daemon.
pub(crate) fn in_rings(daemon: &Daemon, sim: &Sim) -> Found {
    let mut found = Found::default();
    for exchange in sim.venues() {
        let mut reader = Reader::open(&daemon.segment(exchange)).unwrap();
        reader.from_oldest();
        loop {
            match reader.poll() {
                Next::Record(record, _) => {
                    let symbol = reader.symbol(record.instrument_id()).unwrap().to_string();
                    found.take(exchange, &symbol, &record);
                }
                Next::Empty | Next::WriterGone(_) => break,
                other => panic!("{exchange}: {other:?}"),
            }
        }
    }
    found
}

/// Waits until the tapes have ended and everything issued is acknowledged.
pub(crate) fn wait_for_end(daemon: &mut Daemon, sim: &Sim) {
    daemon.wait(|_| sim.finished().then_some(()), "to see the tapes end");
    let issued: u64 = sim.venues().map(|exchange| sim.sent(exchange).issued).sum();
    let start = Instant::now();
    daemon.wait(
        |daemon| {
            let acked = daemon.metric("published_trades_total") + daemon.metric("publish_duplicates_total");
            // Too few after all that time is for the comparison to tell.
            (acked >= issued || start.elapsed() > DEADLINE / 2).then_some(())
        },
        "to have everything acknowledged",
    );
}
