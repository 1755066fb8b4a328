//! NATS JetStream: connect, keep the stream, publish in order, read back.

pub mod connect;
pub mod consumer;
pub mod publisher;
pub mod stream_manager;
pub mod window;
