//! What is stored, then the rings: each trade once over the seam.

mod seam;

use std::time::{Duration, Instant};

use self::seam::Seam;
use super::config::{Begin, IpcConfig, NatsConfig};
use super::{Event, IpcSource, NatsSource, SourceError, TradeSource, nats};
use crate::market::Record;
use crate::telemetry::clock;

/// How long after the seam a ring may still bring what the stream had brought.
const OVERLAP: Duration = Duration::from_secs(20);
/// A stream that does not come up with the rings is told this often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Once in so many records of the stream it is looked at what their times say.
const LOOK_RECORDS: u64 = 64;
/// A wait without an end.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Instruments that are asked for at a time.
const ASK_MAX: usize = 256;
/// The stream is asked this often for the last records of instruments that it has not brought.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Reads what is stored, from `start` on, and goes over to the rings when it has come up with them.
///
/// After the seam it is an [`IpcSource`]: a reader that is too slow is told what it lost.
pub struct HandoverSource {
    ring: IpcSource,
    /// Until the seam.
    stream: Option<NatsSource>,
    seam: Seam,
    /// Until when the seam is remembered.
    overlap_until: Option<Instant>,
    tell_at: Instant,
    ask_at: Instant,
    /// Records that the stream has brought.
    brought: u64,
}

impl HandoverSource {
    /// Opens both. They must ask for the same, and the place is the caller's own to keep: a durable consumer would not
    /// hear of what the rings bring.
    ///
    /// # Errors
    /// [`SourceError`], as either gives it.
    pub fn open(ipc: &IpcConfig, nats: &NatsConfig) -> Result<Self, SourceError> {
        let refuse = |message: &str| Err(SourceError::Config { message: message.to_owned() });
        if !nats.durable.is_empty() {
            return refuse(
                "data_source.nats.durable: with data_source.ipc beside it no place is kept on the server; leave it out",
            );
        }
        if (&ipc.exchanges, &ipc.symbols) != (&nats.exchanges, &nats.symbols) {
            return refuse("data_source.ipc and data_source.nats must name the same exchanges and symbols");
        }
        let ring = IpcSource::open(&IpcConfig { begin: Begin::Oldest, ..ipc.clone() })?;
        // All of the rings is there before the stream is asked: what is stored from now on stands in both.
        let nats = NatsConfig { exchanges: ring.exchanges().map(str::to_owned).collect(), ..nats.clone() };
        let stream = NatsSource::open(&nats)?;
        let now = clock::now();
        let (tell_at, ask_at) = (now + TELL_EVERY, now + ASK_EVERY);
        let seam = Seam::default();
        let mut source = Self { ring, stream: Some(stream), seam, overlap_until: None, tell_at, ask_at, brought: 0 };
        source.look();
        Ok(source)
    }

    /// Whether the seam is behind: everything comes from the rings.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.stream.is_none()
    }

    /// Sees what stands in the rings, and moves behind it.
    fn look(&mut self) {
        self.seam.begin(clock::wall_ns());
        let seam = &mut self.seam;
        self.ring.skip(|record| seam.stands(record));
    }

    /// Goes over to the rings where the stream has brought what stood in them.
    fn hand_over(&mut self) {
        // Asked each time: while the stream is waited for, it cannot say.
        let caught_up = self.stream.as_mut().is_some_and(NatsSource::is_caught_up);
        while caught_up && self.seam.is_closed() && self.stream.is_some() {
            if self.ring.is_whole() {
                self.stream = None;
                self.overlap_until = Some(clock::now() + OVERLAP);
            } else {
                // The writer has come round meanwhile: the stream has more than the ring.
                self.look();
            }
        }
        let now = clock::now();
        if now >= self.ask_at {
            self.ask_at = now + ASK_EVERY;
            self.ask();
        }
        if self.stream.is_some() && now >= self.tell_at {
            self.tell_at = now + TELL_EVERY;
            tracing::info!(instruments = self.seam.open(), "the stream has not come up with the rings yet");
        }
    }
}

impl HandoverSource {
    /// What was stored before reading began is never brought: the stream is asked for it.
    fn ask(&mut self) {
        let Some(stream) = &self.stream else { return };
        let wanted: Vec<(String, String)> =
            self.seam.instruments().filter_map(|instrument| self.ring.name(instrument)).take(ASK_MAX).collect();
        for record in stream.stored_before_start(&wanted) {
            self.seam.was_stored(&record);
        }
    }
}

impl TradeSource for HandoverSource {
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        self.hand_over();
        if self.stream.is_some() {
            return self.next_stored(wait);
        }
        if self.overlap_until.is_some_and(|until| clock::now() >= until) {
            self.overlap_until = None;
            self.seam.forget();
        }
        let now = clock::now();
        let until = now.checked_add(wait).unwrap_or(now + FOR_EVER);
        loop {
            let Some((at, found)) = self.ring.find(until.saturating_duration_since(clock::now())) else {
                return Ok(None);
            };
            if self.overlap_until.is_some() && found.record().is_some_and(|record| self.seam.was_brought(record)) {
                continue;
            }
            return self.ring.event(at, found);
        }
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

impl HandoverSource {
    fn next_stored(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.advance(wait) {
            Ok(None) => Ok(None),
            Ok(Some(item)) => {
                self.seam.bring(&item.record);
                self.brought += 1;
                if let Record::Trade(trade) = &item.record
                    && self.brought.is_multiple_of(LOOK_RECORDS)
                {
                    let exchange = &item.exchange;
                    self.seam.passed(trade.ts_recv, |instrument| self.ring.has(exchange, instrument));
                }
                Ok(stream.current())
            }
            Err(error) => nats::removed(error).map(Some),
        }
    }
}
