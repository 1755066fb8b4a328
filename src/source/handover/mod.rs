//! What is stored, then the rings: each trade once over the seam.

mod seam;

use std::time::{Duration, Instant};

use self::seam::Seam;
use super::config::{Begin, IpcConfig, NatsConfig};
use super::{Event, IpcSource, NatsSource, SourceError, TradeSource};
use crate::market::Record;
use crate::telemetry::clock;

/// What is written to a ring so long after the seam cannot be what the stream had brought.
const OVERLAP: Duration = Duration::from_secs(20);
/// The rings are looked at anew this often while the seam is open.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A stream that does not come up with the rings is told this often at first.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// What is in vain is done this seldom at last.
const TELL_MAX: Duration = Duration::from_secs(600);
/// Once in so many records of the stream it is looked at what their times say.
const LOOK_RECORDS: u64 = 64;
/// A wait without an end.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Instruments that are asked for at a time.
const ASK_MAX: usize = 256;
/// The stream is asked this often at first for the last records of instruments that it has not brought.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Reads what is stored, from `start` on, and goes over to the rings when it has come up with them.
///
/// After the seam it is an [`IpcSource`]: a reader that is too slow is told what it lost.
pub struct HandoverSource {
    ring: IpcSource,
    /// Until the seam.
    stream: Option<NatsSource>,
    seam: Seam,
    overlap: Overlap,
    look_at: Instant,
    tell_at: Instant,
    tell_every: Duration,
    ask_at: Instant,
    ask_every: Duration,
    /// The instrument that is asked for next, and how many there were at the last time.
    ask_from: u32,
    asked_open: usize,
    /// Records that the stream has brought.
    brought: u64,
}

/// How long what the stream has brought is remembered.
enum Overlap {
    /// Not any more, or the seam is still open.
    Over,
    /// Until then in any case.
    Until(Instant),
    /// Until each ring is read up to here: its epoch, and a record's number.
    Behind(Vec<(u64, u64)>),
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
        let mut source = Self {
            ring,
            stream: Some(stream),
            seam: Seam::default(),
            overlap: Overlap::Over,
            look_at: now,
            tell_at: now + TELL_EVERY,
            tell_every: TELL_EVERY,
            ask_at: now,
            ask_every: ASK_EVERY,
            ask_from: 0,
            asked_open: usize::MAX,
            brought: 0,
        };
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
        self.look_at = clock::now() + LOOK_EVERY;
        self.seam.begin(clock::wall_ns());
        let seam = &mut self.seam;
        self.ring.skip(|record| seam.stands(record));
    }

    /// Goes over to the rings where the stream has brought what stood in them.
    fn hand_over(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        // Asked each time: while the stream is waited for, it cannot say.
        let caught_up = stream.is_caught_up();
        for record in stream.last_records() {
            self.seam.was_stored(&record);
        }
        // A writer that has begun meanwhile has a ring of its own, which was not looked into.
        if caught_up && self.seam.is_closed() && self.ring.is_whole() && !self.ring.has_changed() {
            self.stream = None;
            self.overlap = Overlap::Until(clock::now() + OVERLAP);
            return;
        }
        let now = clock::now();
        // The writer may have come round meanwhile, so that the stream has more than the ring; and what is remembered
        // of the stream must not grow for ever.
        if caught_up && self.seam.is_closed() || now >= self.look_at {
            self.look();
        }
        if caught_up && now >= self.ask_at {
            self.ask(now);
        }
        if now >= self.tell_at {
            self.tell_every = (self.tell_every * 2).min(TELL_MAX);
            self.tell_at = now + self.tell_every;
            let instruments = self.seam.instruments();
            let first = instruments.first().and_then(|instrument| self.ring.name(*instrument));
            tracing::info!(
                instruments = instruments.len(),
                ?first,
                caught_up,
                "the stream has not come up with the rings yet; where nothing writes to a ring any more, remove it or \
                 leave its exchange out"
            );
        }
    }

    /// What was stored before reading began is never brought: the stream is asked for it.
    fn ask(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else { return };
        let open = self.seam.instruments();
        // Those that were not asked for at the last time have their turn.
        let next = open.range(self.ask_from..).chain(open.range(..self.ask_from)).copied();
        let asked: Vec<u32> = next.take(ASK_MAX).collect();
        self.ask_from = asked.last().map_or(0, |last| last.wrapping_add(1));
        stream.ask_last(asked.into_iter().filter_map(|instrument| self.ring.name(instrument)).collect());
        // Asked in vain, it is asked less often.
        self.ask_every = if open.len() < self.asked_open { ASK_EVERY } else { (self.ask_every * 2).min(TELL_MAX) };
        self.asked_open = open.len();
        self.ask_at = now + self.ask_every;
    }

    /// Whether a ring may still bring what the stream has brought: by its place, since a caller may take its time.
    fn overlaps(&mut self) -> bool {
        match &self.overlap {
            Overlap::Until(until) if clock::now() >= *until => self.overlap = Overlap::Behind(self.ring.ends()),
            Overlap::Behind(ends) if self.ring.has_passed(ends) => {
                self.overlap = Overlap::Over;
                self.seam.forget();
            }
            _ => {}
        }
        !matches!(self.overlap, Overlap::Over)
    }
}

impl TradeSource for HandoverSource {
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        self.hand_over();
        if self.stream.is_some() {
            return self.next_stored(wait);
        }
        let overlaps = self.overlaps();
        let now = clock::now();
        let until = now.checked_add(wait).unwrap_or(now + FOR_EVER);
        loop {
            let Some((at, found)) = self.ring.find(until.saturating_duration_since(clock::now())) else {
                return Ok(None);
            };
            if overlaps && found.record().is_some_and(|record| self.seam.was_brought(record)) {
                continue;
            }
            return self.ring.event(at, found);
        }
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.stream.as_ref().and_then(TradeSource::trouble)
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
            Err(error) => stream.told(error).map(Some),
        }
    }
}
