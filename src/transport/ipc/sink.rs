//! The transport that fills rings: one writer an exchange, records routed by instrument.
//!
//! It makes no choice about records: each one that has a route goes into its ring, gaps in line among trades.

use std::path::Path;

use super::create::CreateError;
use super::segment::DIRECTORY;
use super::symbols::SymbolTableError;
use super::writer::{Writer, WriterConfig};
use crate::config::settings::Ipc;
use crate::market::{Instrument, Record, Universe};
use crate::transport::{Transport, TransportStats};

/// Rings of all exchanges of a universe.
#[derive(Debug, Default)]
pub struct IpcTransport {
    rings: Vec<Ring>,
    /// Which ring an instrument's records go to, by the instrument's index in the universe.
    routes: Vec<usize>,
    /// Records that came with a route that no instrument has.
    dropped: u64,
}

#[derive(Debug)]
struct Ring {
    exchange: &'static str,
    writer: Writer,
    /// Whether records were stored since `head` was last brought up to date.
    dirty: bool,
}

/// Why there are no rings to write to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpcError {
    /// The mode is no file mode.
    #[error(
        "transport.ipc.mode {mode:?} is no file mode; write three octal digits that let the owner read and write, as in \"0640\""
    )]
    Mode {
        /// The setting.
        mode: String,
    },
    /// A segment cannot be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A symbol cannot join a table.
    #[error(transparent)]
    Symbol(#[from] SymbolTableError),
}

impl IpcTransport {
    /// Creates one segment for each exchange of the universe, in shared memory.
    ///
    /// # Errors
    /// [`IpcError`]; segments created before the failing one are closed again.
    pub fn create(settings: &Ipc, universe: &Universe) -> Result<Self, IpcError> {
        Self::create_in(DIRECTORY.as_ref(), settings, universe)
    }

    /// As [`Self::create`], in another directory than `/dev/shm`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_in(directory: &Path, settings: &Ipc, universe: &Universe) -> Result<Self, IpcError> {
        let mode = parse_mode(&settings.mode)?;
        let mut this = Self::default();
        for instrument in universe.instruments() {
            let exchange = instrument.exchange;
            let at = match this.rings.iter().position(|ring| ring.exchange == exchange) {
                Some(at) => at,
                None => {
                    let config = WriterConfig {
                        directory: directory.to_owned(),
                        path_prefix: settings.shm_path_prefix.clone(),
                        exchange: exchange.to_owned(),
                        capacity: settings.capacity,
                        symbols_max: settings.symbols_max,
                        mode,
                    };
                    // All symbols of the exchange at once: a reader never meets a ring with half of them.
                    let symbols = universe.of_exchange(exchange).map(|(_, other)| (other.id, &other.symbol));
                    let writer = Writer::create(&config, symbols)?;
                    this.rings.push(Ring { exchange, writer, dirty: false });
                    this.rings.len() - 1
                }
            };
            this.routes.push(at);
        }
        Ok(this)
    }

    /// Adds an instrument that joined the universe later, on an exchange that has a ring. Returns its route, which is
    /// its index in the universe as long as both grow in step; `None` when the exchange has no ring.
    ///
    /// # Errors
    /// [`IpcError::Symbol`] when the symbol table is full or the id is taken.
    pub fn add(&mut self, instrument: &Instrument) -> Result<Option<u32>, IpcError> {
        let Some(at) = self.rings.iter().position(|ring| ring.exchange == instrument.exchange) else { return Ok(None) };
        self.rings[at].writer.add_symbol(instrument.id, &instrument.symbol)?;
        self.routes.push(at);
        Ok(u32::try_from(self.routes.len() - 1).ok())
    }

    /// Shows life on every ring; to be called at least once a second.
    pub fn heartbeat(&self, now_wall_ns: u64) {
        for ring in &self.rings {
            ring.writer.heartbeat(now_wall_ns);
        }
    }

    /// Exchange and path of every ring, for logs and status.
    pub fn rings(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.rings.iter().map(|ring| (ring.exchange, ring.writer.path()))
    }

    /// Closes every ring: readers drain it and then see the end. Dropping does the same.
    pub fn close(self) {
        drop(self);
    }
}

impl Transport for IpcTransport {
    fn name(&self) -> &'static str {
        "ipc"
    }

    #[inline]
    fn publish(&mut self, route: u32, record: &Record) {
        let ring = self.routes.get(route as usize).and_then(|at| self.rings.get_mut(*at));
        match ring {
            Some(ring) => {
                ring.writer.push(record);
                ring.dirty = true;
            }
            None => self.dropped += 1,
        }
    }

    fn flush(&mut self) {
        for ring in self.rings.iter_mut().filter(|ring| ring.dirty) {
            ring.writer.publish();
            ring.dirty = false;
        }
    }

    fn stats(&self) -> TransportStats {
        let mut stats = TransportStats { dropped: self.dropped, taken: self.dropped, ..TransportStats::default() };
        for ring in &self.rings {
            let writer = ring.writer.stats();
            stats.taken += writer.written;
            stats.done += writer.published;
            stats.waiting += writer.written - writer.published;
        }
        stats
    }
}

/// A file mode as settings write it.
///
/// # Errors
/// [`IpcError::Mode`] where it is none.
pub fn parse_mode(text: &str) -> Result<u32, IpcError> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600)
        .ok_or_else(|| IpcError::Mode { mode: text.to_owned() })
}
