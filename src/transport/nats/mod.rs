//! NATS JetStream: connect, keep the stream, publish in order, read back.
//!
//! | file | what it knows |
//! |---|---|
//! | [`connect`] | servers, authentication, TLS |
//! | [`stream_manager`] | the stream: created, compared, never changed |
//! | [`window`] | pure: what is in flight, what an answer means, what to send next |
//! | [`publisher`] | IO around the window |
//! | `link`, `read`, `wire` | one connection; what is stored; subjects and answers |
//! | [`consumer`] | reading back, for as long as records come |
//! | [`scan`] | reading what is stored, once |

pub mod connect;
pub mod consumer;
mod link;
pub mod publisher;
mod read;
pub mod scan;
mod status;
pub mod stream_manager;
pub mod window;
mod wire;

pub use connect::ConnectError;
pub use publisher::{NatsTransport, Publisher};
pub use status::{DrainReport, NatsState, NatsStatus};
pub use stream_manager::{Difference, StreamError, StreamReport};
