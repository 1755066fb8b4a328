//! The list of all metrics: name, kind, labels and the one sentence that documentation and scrapes show.

use super::{BUCKETS, GAP_REASONS, Kind, Labels, PARSE_ERRORS, QUEUES, STATES};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal, $kind:ident, $labels:expr;)+) => {
        /// Every metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $($(#[doc = $help])+ $variant,)+
        }

        impl Metric {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name without [`PREFIX`](super::PREFIX).
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+),)+ }
            }

            /// Whether it only grows.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }

            /// Its labels.
            #[must_use]
            pub const fn labels(self) -> Labels {
                match self { $(Self::$variant => $labels,)+ }
            }
        }
    };
}

metrics! {
    /// Always 1; the labels tell version and git_sha.
    BuildInfo = "build_info", Gauge, Labels::None;
    /// When the daemon started, seconds since 1970.
    StartTime = "start_time_seconds", Gauge, Labels::None;
    /// Whether /readyz says yes.
    Ready = "ready", Gauge, Labels::None;
    /// Venue connections by state.
    Connections = "connections", Gauge, Labels::ExchangeAnd("state", &STATES);
    /// Dials by result.
    ConnectionAttempts = "connection_attempts_total", Counter, Labels::ExchangeAnd("result", &["ok", "failed"]);
    /// Connections that were lost.
    Disconnects = "disconnects_total", Counter, Labels::Exchange;
    /// Connections replaced with overlap before the venue closed them.
    Rotations = "rotations_total", Counter, Labels::Exchange;
    /// Data messages read from venues.
    FramesReceived = "frames_received_total", Counter, Labels::Exchange;
    /// Bytes of these messages.
    ReceivedBytes = "received_bytes_total", Counter, Labels::Exchange;
    /// Trades decoded, doubles included.
    TradesReceived = "trades_received_total", Counter, Labels::Exchange;
    /// Trades that had been delivered before and were left out.
    TradesDuplicate = "trades_duplicate_total", Counter, Labels::Exchange;
    /// Trades that came after the gap that they lie in was declared.
    TradesLate = "trades_late_total", Counter, Labels::Exchange;
    /// Trades whose venue time cannot be right (zero, of another unit, a day ahead): the receive time stands in.
    BadTimes = "trades_bad_time_total", Counter, Labels::Exchange;
    /// Trades whose id is absurdly far ahead of all others: declared, not delivered.
    TradesAbsurd = "trades_absurd_id_total", Counter, Labels::Exchange;
    /// Trades delivered to the transports, each once, in order.
    TradesDelivered = "trades_delivered_total", Counter, Labels::Exchange;
    /// Gaps declared.
    Gaps = "gaps_total", Counter, Labels::ExchangeAnd("reason", &GAP_REASONS);
    /// Holes filled from a venue's REST history, wholly or in part, or not at all.
    Repairs = "repairs_total", Counter, Labels::ExchangeAnd("result", &["whole", "partial"]);
    /// Holes being filled from the history now.
    RepairsOpen = "repairs_open", Gauge, Labels::Exchange;
    /// Trades that the history brought.
    RepairedTrades = "repaired_trades_total", Counter, Labels::Exchange;
    /// Requests to the REST history.
    RepairRequests = "repair_requests_total", Counter, Labels::Exchange;
    /// Requests that the venue's limits refused.
    RepairLimited = "repair_limited_total", Counter, Labels::Exchange;
    /// Requests that failed otherwise.
    RepairFailed = "repair_failed_total", Counter, Labels::Exchange;
    /// Looks at the latest trade of a symbol that was silent for too long.
    RepairLooks = "repair_looks_total", Counter, Labels::Exchange;
    /// Connections replaced because they did not bring what the venue traded.
    FeedMute = "feed_mute_total", Counter, Labels::Exchange;
    /// Trades inside declared gaps, as far as the count is known.
    GapTradesMissing = "gap_trades_missing_total", Counter, Labels::Exchange;
    /// Declared gaps that were filled since.
    GapsFilled = "gaps_filled_total", Counter, Labels::Exchange;
    /// Times that a venue began to count its trade ids anew.
    IdRestarts = "trade_id_restarts_total", Counter, Labels::Exchange;
    /// Frames that could not be decoded.
    ParseErrors = "parse_errors_total", Counter, Labels::ExchangeAnd("kind", &PARSE_ERRORS);
    /// When the last trade was read, seconds since 1970; absent until there was one.
    LastTrade = "last_trade_timestamp_seconds", Gauge, Labels::Exchange;
    /// Receive time minus venue time, mean since the last scrape; clocks may disagree.
    IngestDelay = "ingest_delay_seconds", Gauge, Labels::Exchange;
    /// What waits, by queue, in the unit of its name.
    QueueDepth = "queue_depth", Gauge, Labels::One("queue", &QUEUES);
    /// The bound of the queue.
    QueueCapacity = "queue_capacity", Gauge, Labels::One("queue", &QUEUES);
    /// Records that wait on their way to the broker while a hole in front of them is filled.
    RepairWaiting = "repair_waiting_records", Gauge, Labels::None;
    /// Holes that were filled before anything behind them went to the broker.
    RepairMended = "repair_mended_total", Counter, Labels::None;
    /// Holes that were declared to the broker because waiting for them took too long, or too many bytes.
    RepairOverdue = "repair_overdue_total", Counter, Labels::None;
    /// Whether the publisher knows what is stored and sends, 1 a shard.
    PublisherLive = "publisher_live", Gauge, Labels::None;
    /// Records acknowledged by JetStream: trades and declared gaps.
    PublishedTrades = "published_trades_total", Counter, Labels::None;
    /// Records that wait for the broker: in memory, on disk, and in flight.
    PublishWaiting = "publish_waiting_records", Gauge, Labels::None;
    /// Records that wait on disk for the broker.
    SpoolWaiting = "spool_waiting_records", Gauge, Labels::None;
    /// Records that were put on disk because memory was full.
    Spooled = "spooled_records_total", Counter, Labels::None;
    /// Records that an earlier run had left on disk.
    SpoolRecovered = "spool_recovered_records_total", Counter, Labels::None;
    /// Records dropped because the disk was full, too slow, or refused them; each is inside a declared gap.
    SpoolDropped = "spool_dropped_records_total", Counter, Labels::None;
    /// Places on disk that did not hold what their checksums say.
    SpoolBroken = "spool_broken_total", Counter, Labels::None;
    /// Messages sent more than once.
    PublishResent = "publish_resent_total", Counter, Labels::None;
    /// Records that were stored already when they came, and were left out.
    PublishDuplicates = "publish_duplicates_total", Counter, Labels::None;
    /// Records dropped because the outbox was full or refused for ever; each is inside a declared gap.
    PublishDropped = "publish_dropped_total", Counter, Labels::None;
    /// Gap records that the publisher itself declared.
    PublishGaps = "publish_gaps_total", Counter, Labels::None;
    /// Acknowledged records that the broker lost; sent again or declared.
    BrokerLost = "broker_lost_total", Counter, Labels::None;
    /// Messages of other writers found in the stream.
    ForeignWriters = "foreign_messages_total", Counter, Labels::None;
    /// Times that the publisher was in doubt and read what is stored.
    WindowRewinds = "publish_window_rewinds_total", Counter, Labels::None;
    /// From send to acknowledgement.
    AckDuration = "publish_ack_duration_seconds", Histogram, Labels::None;
    /// Whether the KV bucket is written, by this instance.
    KvWritten = "kv_written", Gauge, Labels::One("bucket", &BUCKETS);
    /// Values put into the KV bucket.
    KvPuts = "kv_puts_total", Counter, Labels::One("bucket", &BUCKETS);
    /// Times that the KV bucket could not be reached, or did not take what was put; it is tried again.
    KvFailures = "kv_failures_total", Counter, Labels::One("bucket", &BUCKETS);
    /// Records written to rings.
    ShmPublishedTrades = "shm_published_trades_total", Counter, Labels::None;
    /// Times that the wall clock moved against the monotonic one by more than half a second.
    ClockSteps = "clock_steps_total", Counter, Labels::None;
    /// Resident memory of the process.
    ResidentBytes = "process_resident_memory_bytes", Gauge, Labels::None;
}
