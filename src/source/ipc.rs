//! Rings in shared memory as a source: several exchanges at once, writers that come and go followed by themselves.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::config::{Begin, IpcConfig, Waiting};
use super::{Event, Gap, Lost, Place, SourceError, Trade, TradeSource};
use crate::market::Record;
use crate::market::instrument::instrument_id;
use crate::telemetry::clock;
use crate::transport::ipc::layout::State;
use crate::transport::ipc::{Gone, Next, OpenError, Reader, Reopened, Wait, segment_path, segments};

/// While nothing comes, each ring is looked at this often: whether its writer lives, and whether it is another one.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Records that are passed over at a time where they are not asked for.
const SKIPPED_MAX: usize = 1_024;
/// Records that are taken of one ring before the next one has its turn.
const BURST: u32 = 64;
/// Where there is always something to read, it is seen after so many records whether the rings are to be looked at.
const BUSY_RECORDS: u32 = 4_096;

/// Reads rings.
pub struct IpcSource {
    rings: Vec<Ring>,
    /// The ring whose turn it is, and what it has left of it.
    turn: usize,
    burst: u32,
    wait: Wait,
    silence: Duration,
    look_at: Option<Instant>,
    /// Records since it was seen whether the rings are to be looked at.
    since_look: u32,
}

struct Ring {
    exchange: String,
    path: PathBuf,
    reader: Option<Reader>,
    /// Epoch of the writer that was read last, and how far.
    last: (u64, u64),
    /// Instrument ids that are asked for; empty: all.
    wanted: HashSet<u32>,
    /// What was told of its writer.
    told: Option<Gone>,
}

/// What a look into a ring gives, without borrowing it.
pub(super) enum Found {
    Record(Record, u64),
    Unknown {
        kind: u8,
        position: u64,
    },
    Lost(u64),
    Gone(Gone),
    Changed(u64),
    /// Records that are not asked for; there may be more.
    Skipped,
    Nothing,
}

#[cfg(feature = "nats")]
impl Found {
    pub(super) const fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record, _) => Some(record),
            _ => None,
        }
    }
}

impl IpcSource {
    /// Opens the rings.
    ///
    /// # Errors
    /// [`SourceError`] when a ring is not there or cannot be read, or there is none at all.
    pub fn open(config: &IpcConfig) -> Result<Self, SourceError> {
        let refuse = |message: String| SourceError::Config { message };
        let mut exchanges = config.exchanges.clone();
        if exchanges.is_empty() {
            exchanges = segments(&config.directory, &config.shm_path_prefix)
                .map_err(|error| refuse(format!("cannot read {}: {error}", config.directory.display())))?;
        }
        if exchanges.is_empty() {
            return Err(refuse(format!(
                "no ring {}{}*; start `data-manager serve --ipc`, or look at data_source.ipc.shm_path_prefix",
                config.directory.display(),
                config.shm_path_prefix
            )));
        }
        let rings = exchanges.into_iter().map(|exchange| Ring::open(exchange, config)).collect::<Result<_, _>>()?;
        let wait = match config.wait {
            Waiting::Spin => Wait::Spin,
            Waiting::Yield => Wait::Yield,
            Waiting::Sleep(duration) => Wait::Sleep(duration),
        };
        let silence = config.silence.duration().max(Duration::from_secs(2));
        Ok(Self { rings, turn: 0, burst: BURST, wait, silence, look_at: None, since_look: 0 })
    }

    /// The readers of the rings, for their counts and places.
    pub fn readers(&self) -> impl Iterator<Item = &Reader> {
        self.rings.iter().filter_map(|ring| ring.reader.as_ref())
    }

    /// The exchanges whose rings are read.
    pub fn exchanges(&self) -> impl Iterator<Item = &str> {
        self.rings.iter().map(|ring| ring.exchange.as_str())
    }

    /// Shows what stands in the rings now, each its writer's newest, and moves behind it.
    #[cfg(feature = "nats")]
    pub(super) fn skip(&mut self, mut take: impl FnMut(&Record)) {
        let now = clock::now();
        for ring in &mut self.rings {
            ring.renew(now, self.silence);
            let Some(reader) = &mut ring.reader else { continue };
            reader.from_oldest();
            let end = reader.position() + reader.behind();
            while ring.reader.as_ref().is_some_and(|reader| reader.position() < end) {
                match ring.poll() {
                    Found::Record(record, _) => take(&record),
                    Found::Nothing => break,
                    _ => {}
                }
            }
        }
    }

    /// Whether one of the rings has another writer, or none to read of.
    #[cfg(feature = "nats")]
    pub(super) fn has_changed(&mut self) -> bool {
        let (now, silence) = (clock::now(), self.silence);
        self.rings.iter_mut().any(|ring| {
            let gone = ring.reader.as_mut().map(|reader| reader.check(now, silence));
            gone.is_none_or(|gone| matches!(gone, Some(Gone::Replaced | Gone::Truncated { .. })))
                && (ring.reader.is_some() || ring.path.exists())
        })
    }

    /// Exchange and symbol of an instrument that one of the rings has.
    #[cfg(feature = "nats")]
    pub(super) fn name(&mut self, instrument: u32) -> Option<(String, String)> {
        self.rings.iter_mut().find_map(|ring| {
            let symbol = ring.reader.as_mut()?.symbol(instrument)?;
            Some((ring.exchange.clone(), symbol.to_string()))
        })
    }

    /// Whether an instrument is one of this exchange.
    #[cfg(feature = "nats")]
    pub(super) fn has(&mut self, exchange: &str, instrument: u32) -> bool {
        let mut rings = self.rings.iter_mut().filter(|ring| ring.exchange == exchange);
        rings.any(|ring| ring.reader.as_mut().is_some_and(|reader| reader.symbol(instrument).is_some()))
    }

    /// Whether everything from where the rings are read on is still in them, with some room.
    #[cfg(feature = "nats")]
    pub(super) fn is_whole(&self) -> bool {
        self.readers().all(|reader| reader.behind() < reader.capacity() / 2)
    }

    /// Where each ring ends now: the writer's epoch, and the number of its next record.
    #[cfg(feature = "nats")]
    pub(super) fn ends(&self) -> Vec<(u64, u64)> {
        let end = |reader: &Reader| (reader.epoch(), reader.position() + reader.behind());
        self.rings.iter().map(|ring| ring.reader.as_ref().map_or((0, 0), end)).collect()
    }

    /// Whether each ring is read up to there, or has another writer.
    #[cfg(feature = "nats")]
    pub(super) fn has_passed(&self, ends: &[(u64, u64)]) -> bool {
        self.rings.iter().zip(ends).all(|(ring, (epoch, end))| {
            ring.reader.as_ref().is_none_or(|reader| reader.epoch() != *epoch || reader.position() >= *end)
        })
    }

    /// Looks into each ring once, the one whose turn it is first.
    #[inline]
    fn poll(&mut self) -> Option<(usize, Found)> {
        // Once more than there are: a ring whose turn has ended may be the only one.
        for _ in 0..=self.rings.len() {
            let at = self.turn;
            if self.burst > 0 {
                self.burst -= 1;
                match self.rings[at].poll() {
                    Found::Skipped | Found::Nothing => {}
                    found => return Some((at, found)),
                }
            }
            self.burst = BURST;
            self.turn = if at + 1 == self.rings.len() { 0 } else { at + 1 };
        }
        None
    }

    /// Looks after the writers.
    #[cold]
    fn look(&mut self, now: Instant) -> Option<(usize, Found)> {
        let mut found = None;
        for (at, ring) in self.rings.iter_mut().enumerate() {
            match ring.look(now, self.silence) {
                Found::Nothing => {}
                news => {
                    found = Some((at, news));
                    break;
                }
            }
        }
        // Where one had news, the others are looked at right behind it.
        self.look_at = Some(if found.is_some() { now } else { now + LOOK_EVERY });
        found
    }

    /// The next thing that is to be told, and which ring has it.
    pub(super) fn find(&mut self, wait: Duration) -> Option<(usize, Found)> {
        let mut until = None;
        loop {
            self.since_look += 1;
            if self.since_look < BUSY_RECORDS
                && let Some(found) = self.poll()
            {
                return Some(found);
            }
            self.since_look = 0;
            let now = clock::now();
            if self.look_at.is_none_or(|at| now >= at)
                && let Some(found) = self.look(now)
            {
                return Some(found);
            }
            if let Some(found) = self.poll() {
                return Some(found);
            }
            let until = *until.get_or_insert_with(|| now.checked_add(wait));
            match (until.map(|until| until.saturating_duration_since(now)), self.wait) {
                (Some(Duration::ZERO), _) => return None,
                // No longer than the caller waits.
                (Some(left), Wait::Sleep(sleep)) => Wait::Sleep(sleep.min(left)).wait(),
                _ => self.wait.wait(),
            }
        }
    }

    pub(super) fn event(&mut self, at: usize, found: Found) -> Result<Option<Event<'_>>, SourceError> {
        let ring = &mut self.rings[at];
        let exchange = ring.exchange.as_str();
        Ok(Some(match found {
            Found::Record(record, position) => {
                let Some(reader) = &mut ring.reader else { return Ok(None) };
                let place = Place::Ring { epoch: reader.epoch(), position };
                let symbol = reader.symbol(record.instrument_id()).map_or("", |symbol| symbol.as_str());
                match record {
                    Record::Trade(msg) => Event::Trade(Trade { msg, exchange, symbol, place }),
                    Record::Gap(msg) => Event::Gap(Gap { msg, exchange, symbol, place }),
                }
            }
            Found::Unknown { kind, position } => {
                return Err(SourceError::Kind { exchange: exchange.to_owned(), position, kind });
            }
            Found::Lost(records) => Event::Lost(Lost::Lagged { exchange, records }),
            Found::Gone(reason) => Event::WriterGone { exchange, reason },
            Found::Changed(epoch) => Event::WriterChanged { exchange, epoch },
            Found::Skipped | Found::Nothing => return Ok(None),
        }))
    }
}

impl TradeSource for IpcSource {
    fn next(&mut self, wait: Duration) -> Result<Option<Event<'_>>, SourceError> {
        match self.find(wait) {
            Some((at, found)) => self.event(at, found),
            None => Ok(None),
        }
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Ring {
    fn open(exchange: String, config: &IpcConfig) -> Result<Self, SourceError> {
        let path = segment_path(&config.directory, &config.shm_path_prefix, &exchange)
            .map_err(|error| SourceError::Config { message: format!("data_source.ipc: {error}") })?;
        let mut reader = Reader::open(&path)?;
        if config.begin == Begin::Newest {
            reader.from_newest();
        }
        let last = (reader.epoch(), 0);
        let symbols = config.symbols.iter().map(|symbol| symbol.trim().to_ascii_uppercase());
        let wanted = symbols.map(|symbol| instrument_id(&exchange, &symbol)).collect();
        Ok(Self { exchange, path, reader: Some(reader), last, wanted, told: None })
    }

    #[inline]
    fn poll(&mut self) -> Found {
        let Some(reader) = &mut self.reader else { return Found::Nothing };
        for _ in 0..SKIPPED_MAX {
            match reader.poll() {
                Next::Record(record, position) => {
                    if self.wanted.is_empty() || self.wanted.contains(&record.instrument_id()) {
                        return Found::Record(record, position);
                    }
                }
                Next::Unknown { kind, position } => return Found::Unknown { kind, position },
                Next::Lagged { lost } => return Found::Lost(lost),
                Next::Empty | Next::WriterGone(_) => return Found::Nothing,
            }
        }
        Found::Skipped
    }

    /// Whether the writer lives, or there is another one. All that was written before has been read.
    fn look(&mut self, now: Instant, silence: Duration) -> Found {
        let Some(reader) = &mut self.reader else { return self.come_back() };
        let gone = reader.check(now, silence);
        let gone = gone.or_else(|| (reader.state() == Some(State::Closed)).then_some(Gone::Closed));
        let Some(gone) = gone else {
            self.told = None;
            return Found::Nothing;
        };
        // The last record may have come between the two looks; one that is cut off must not be looked into again.
        if !matches!(gone, Gone::Truncated { .. }) {
            match self.poll() {
                Found::Nothing => {}
                // Read on first: only what is read to its end is given up.
                Found::Skipped => return Found::Nothing,
                found => return found,
            }
        }
        let Some(reader) = &mut self.reader else { return Found::Nothing };
        match reader.reopen() {
            Ok(Reopened::New { epoch }) => {
                // From its first record on: what the ring has lost of them already is counted.
                reader.go_to(0);
                self.told = None;
                return Found::Changed(epoch);
            }
            // Cut off, it must not be read again.
            Ok(Reopened::Same) | Err(_) if matches!(gone, Gone::Truncated { .. }) => self.let_go(),
            // Removed, there is nothing more in it.
            Err(OpenError::Missing { .. }) => self.let_go(),
            // Anything else may pass.
            Ok(Reopened::Same) | Err(_) => {}
        }
        self.tell(gone)
    }

    /// Goes over to what stands under the name now, whatever was not read of the ring before.
    #[cfg(feature = "nats")]
    fn renew(&mut self, now: Instant, silence: Duration) {
        let Some(reader) = &mut self.reader else {
            self.reader = Reader::open(&self.path).ok();
            return;
        };
        match reader.check(now, silence) {
            Some(Gone::Truncated { .. }) => {
                self.let_go();
                self.reader = Reader::open(&self.path).ok();
            }
            // One that cannot be opened is read on as it is, and looked at again.
            Some(Gone::Replaced | Gone::Removed) => drop(reader.reopen()),
            _ => {}
        }
    }

    fn let_go(&mut self) {
        self.last = self.reader.take().map_or(self.last, |reader| (reader.epoch(), reader.position()));
    }

    /// Opens the ring by its name again.
    fn come_back(&mut self) -> Found {
        match Reader::open(&self.path) {
            Ok(mut reader) => {
                let (epoch, (last, position)) = (reader.epoch(), self.last);
                reader.go_to(if epoch == last { position } else { 0 });
                self.reader = Some(reader);
                self.told = None;
                if epoch == last { Found::Skipped } else { Found::Changed(epoch) }
            }
            Err(OpenError::Missing { .. }) => self.tell(Gone::Removed),
            // It is waited for; that its writer is gone was told.
            Err(_) => Found::Nothing,
        }
    }

    /// Tells once what has become of the writer.
    fn tell(&mut self, gone: Gone) -> Found {
        let same = self.told.is_some_and(|told| std::mem::discriminant(&told) == std::mem::discriminant(&gone));
        self.told = Some(gone);
        if same { Found::Nothing } else { Found::Gone(gone) }
    }
}
