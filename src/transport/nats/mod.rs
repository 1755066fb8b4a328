//! NATS JetStream: connect, keep the stream, publish in order, read back.
//!
//! | file | what it knows |
//! |---|---|
//! | [`connect`] | servers, authentication, TLS |
//! | [`stream_manager`] | the stream: created, compared, never changed |
//! | [`declared`] | what the settings want a server to have |
//! | [`window`] | pure: what is in flight, what an answer means, what to send next |
//! | [`publisher`] | IO around the window |
//! | `lease` | who of several instances publishes |
//! | [`kv`] | what is told of venues and instruments, in buckets |
//! | `backlog`, [`spool`] | what does not fit into memory: a thread, and its store on disk |
//! | `link`, `read`, `past`, `wire` | one connection; what is stored; subjects and answers |
//! | [`consumer`] | reading back, for as long as records come |
//! | [`durable`] | the same, by a consumer that the server remembers |
//! | `last` | the last records of some instruments |
//! | `take`, `wanted`, `watch`, `tail_error` | what a message holds; what is to be read; removed unread; wrong |
//! | [`scan`] | reading what is stored, once |
//! | [`snapshot`] | a stream as the server itself writes it down, in a file and back |
//! | `copy`, `bucket` | a recording put back into a stream; its files in an object store |

#[cfg(feature = "daemon")]
mod backlog;
#[cfg(feature = "record")]
pub mod bucket;
pub mod connect;
pub mod consumer;
#[cfg(feature = "record")]
pub mod copy;
pub mod declared;
pub mod durable;
#[cfg(feature = "daemon")]
pub mod kv;
#[cfg(feature = "ipc")]
pub mod last;
#[cfg(feature = "daemon")]
mod lease;
#[cfg(feature = "daemon")]
mod link;
#[cfg(feature = "daemon")]
mod past;
#[cfg(feature = "daemon")]
pub mod publisher;
#[cfg(feature = "daemon")]
mod read;
#[cfg(feature = "daemon")]
pub mod scan;
#[cfg(feature = "daemon")]
pub mod snapshot;
#[cfg(feature = "daemon")]
pub mod spool;
#[cfg(feature = "daemon")]
mod status;
pub mod stream_manager;
mod tail_error;
mod take;
mod wanted;
mod watch;
#[cfg(feature = "daemon")]
pub mod window;
#[cfg(feature = "daemon")]
mod wire;

#[cfg(feature = "daemon")]
pub use backlog::{BacklogStats, LEFT_CURE, Left, Worker as SpoolWorker, left};
pub use connect::ConnectError;
#[cfg(feature = "daemon")]
pub use past::Past;
#[cfg(feature = "daemon")]
pub use publisher::{NatsTransport, Publisher};
#[cfg(feature = "daemon")]
pub use status::{DrainReport, NatsState, NatsStatus};
#[cfg(feature = "daemon")]
pub use stream_manager::{StreamError, StreamReport};
