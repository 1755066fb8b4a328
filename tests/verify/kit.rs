//! What these tests share: a server with a stream, records to put there, and the binary run on it.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use data_manager::config::settings::Nats;
use data_manager::market::instrument::instrument_id;
use data_manager::market::subject::subject;
use data_manager::market::trade::{KIND_GAP_V1, KIND_TRADE_V1};
use data_manager::market::{Flags, GapMsg, GapReason, GapStrength, Record, SubjectKind, TradeMsg};
use data_manager::transport::nats::stream_manager;

use crate::process::{Done, run};
use crate::support::{Server, client};

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);
/// The stream of the settings.
pub(crate) const STREAM: &str = "MARKET_DATA";
/// An exchange whose ids are contiguous.
pub(crate) const EXCHANGE: &str = "binance";
pub(crate) const SYMBOL: &str = "BTCUSDT";

/// A trade of the usual instrument; everything else follows from its id.
pub(crate) fn trade(id: u64) -> TradeMsg {
    trade_of(SYMBOL, id)
}

pub(crate) fn trade_of(symbol: &str, id: u64) -> TradeMsg {
    TradeMsg {
        ts_event: 1_700_000_000_000_000_000 + id * 1_000_000,
        ts_recv: 1_700_000_000_000_100_000 + id * 1_000_000,
        trade_id: id,
        price: 6_183_763 + id as i64,
        size: 12_345,
        instrument_id: instrument_id(EXCHANGE, symbol),
        price_scale: 2,
        size_scale: 5,
        flags: 1,
        kind: KIND_TRADE_V1,
    }
}

/// Trades of these ids, in this order.
pub(crate) fn trades(ids: impl IntoIterator<Item = u64>) -> Vec<Record> {
    ids.into_iter().map(|id| Record::Trade(trade(id))).collect()
}

pub(crate) fn gap(first_id: u64, last_id: u64, filled: bool) -> Record {
    Record::Gap(GapMsg {
        ts_start: trade(first_id).ts_event,
        ts_end: trade(last_id).ts_event,
        first_id,
        last_id,
        missing: last_id - first_id + 1,
        instrument_id: trade(first_id).instrument_id,
        strength: GapStrength::Proved as u8,
        reason: GapReason::Stall as u8,
        flags: if filled { Flags::BACKFILLED } else { 0 },
        kind: KIND_GAP_V1,
    })
}

pub(crate) fn backfilled(id: u64) -> Record {
    Record::Trade(TradeMsg { flags: 1 | Flags::BACKFILLED, ..trade(id) })
}

/// A server with an empty stream.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) context: Context,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::on(Server::start()).await
    }

    /// A server of one's own with an empty stream.
    pub(crate) async fn on(server: Server) -> Self {
        let context = jetstream::new(client(&server.url()).await);
        let scene = Self { server, context };
        scene.make().await;
        scene
    }

    /// Makes the stream.
    pub(crate) async fn make(&self) {
        let mut settings = Nats { servers: vec![self.server.url()], ..Nats::default() };
        settings.jetstream.max_bytes = (1 << 30).into();
        stream_manager::ensure(&self.context.client(), &settings).await.unwrap();
    }

    /// A stream with these records of the usual instrument, the first with sequence 1.
    pub(crate) async fn of(records: &[Record]) -> Self {
        let scene = Self::start().await;
        scene.store(records).await;
        scene
    }

    pub(crate) async fn store(&self, records: &[Record]) {
        let messages = records.iter().map(|record| {
            let kind = if matches!(record, Record::Gap(_)) { SubjectKind::Gaps } else { SubjectKind::Trades };
            (subject("market", EXCHANGE, SYMBOL, kind), record.as_bytes().to_vec())
        });
        self.publish(messages).await;
    }

    /// Stores messages in their order; returns when all are there.
    pub(crate) async fn publish(&self, messages: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let (client, mut expected) = (self.context.client(), self.count().await);
        for (subject, payload) in messages {
            client.publish(subject, payload.into()).await.unwrap();
            expected += 1;
            // A server drops what comes faster than it stores.
            if expected.is_multiple_of(5_000) {
                self.until_stored(expected).await;
            }
        }
        self.until_stored(expected).await;
    }

    async fn until_stored(&self, count: u64) {
        self.context.client().flush().await.unwrap();
        let start = Instant::now();
        while self.count().await < count {
            assert!(start.elapsed() < DEADLINE, "{count} messages were not stored within {DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn count(&self) -> u64 {
        self.context.get_stream(STREAM).await.unwrap().cached_info().state.messages
    }

    pub(crate) async fn delete(&self, sequence: u64) {
        assert!(self.context.get_stream(STREAM).await.unwrap().delete_message(sequence).await.unwrap());
    }

    /// Audits the stream.
    #[track_caller]
    pub(crate) fn verify(&self, arguments: &[&str]) -> Done {
        let url = self.server.url();
        run(&[&["verify", "--nats", &url], arguments].concat())
    }
}

/// The cells of an instrument's row.
#[track_caller]
pub(crate) fn row(done: &Done, symbol: &str) -> Vec<String> {
    let row = done.out.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    row.into_iter().find(|cells| cells.get(1).is_some_and(|cell| cell == symbol)).unwrap_or_else(|| panic!("{done:#?}"))
}

/// Lines of a text, about findings.
pub(crate) fn findings(done: &Done) -> Vec<&str> {
    let prefix = format!("{EXCHANGE} {SYMBOL}: ");
    done.out.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
}
