//! Rings in shared memory: one segment an exchange, one writer, any number of readers, and nobody waits for anybody.
//!
//! | file | what it knows |
//! |---|---|
//! | [`layout`] | the segment byte by byte |
//! | `ring` | the algorithm, on whatever atomics it is given |
//! | `segment` | names, files, mappings; the only `unsafe` |
//! | `create`, `open` | how a segment comes into being, and how it is opened |
//! | `symbols` | the symbol table |
//! | [`writer`], [`reader`] | the two ends |
//! | [`sink`] | the transport: one writer an exchange |
//!
//! # What a reader can rely on
//!
//! - Every record that it gets is whole, in the writer's order, each once. A declared gap stands in line among trades.
//! - A reader that is overtaken is told how many records it lost, exactly: read + lost = where it stands.
//! - The writer does not know its readers. None of them can slow it down or harm it: they map the segment read-only.
//! - The end is told: closed cleanly, silent (killed, stopped), replaced by another writer, or cut off.
//!
//! # What it cannot
//!
//! - A ring remembers its last `capacity` records and nothing longer. The stream in JetStream is the memory.
//! - Someone who may write to the file can cut it off under a live mapping; the next access beyond its end then ends in
//!   SIGBUS. The file's length is held against the header at open and at each [`Reader::check`], and no writer of
//!   ours ever shortens a segment. Keep group and others from writing (`transport.ipc.mode`).

mod create;
pub mod layout;
mod names;
mod open;
pub mod reader;
mod ring;
mod segment;
#[cfg(feature = "daemon")]
pub mod sink;
mod symbols;
pub mod writer;

#[cfg(test)]
mod tests;

pub use create::CreateError;
pub use open::OpenError;
pub use reader::{Gone, Next, Reader, ReaderStats, Reopened, Wait};
pub use segment::{DIRECTORY, NameError, segment_path, segments};
#[cfg(feature = "daemon")]
pub use sink::{IpcError, IpcTransport, parse_mode};
pub use symbols::SymbolTableError;
pub use writer::{Writer, WriterConfig, WriterStats};
