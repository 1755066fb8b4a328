//! NATS JetStream: connect, keep the stream, publish in order, read back.
//!
//! | file | what it knows |
//! |---|---|
//! | [`connect`] | servers, authentication, TLS |
//! | [`stream_manager`] | the stream: created, compared, never changed |
//! | [`window`] | pure: what is in flight, what an answer means, what to send next |
//! | [`publisher`] | IO around the window |
//! | `lease` | who of several instances publishes |
//! | `backlog`, [`spool`] | what does not fit into memory: a thread, and its store on disk |
//! | `link`, `read`, `past`, `wire` | one connection; what is stored; subjects and answers |
//! | [`consumer`] | reading back, for as long as records come |
//! | [`scan`] | reading what is stored, once |

mod backlog;
pub mod connect;
pub mod consumer;
mod lease;
mod link;
mod past;
pub mod publisher;
mod read;
pub mod scan;
pub mod spool;
mod status;
pub mod stream_manager;
pub mod window;
mod wire;

pub use backlog::{BacklogStats, Worker as SpoolWorker};
pub use connect::ConnectError;
pub use past::Past;
pub use publisher::{NatsTransport, Publisher};
pub use status::{DrainReport, NatsState, NatsStatus};
pub use stream_manager::{Difference, StreamError, StreamReport};
