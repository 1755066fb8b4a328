//! A feed over real sockets: dial, TLS, subscribe, frames of every shape, and every way in which a connection ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

#[path = "feed/dial.rs"]
mod dial;
#[path = "feed/ends.rs"]
mod ends;
#[path = "feed/frames.rs"]
mod frames;
#[path = "feed/panics.rs"]
mod panics;
#[path = "feed/scene.rs"]
mod scene;
#[path = "feed/subscribe.rs"]
mod subscribe;
#[path = "feed/venue.rs"]
mod venue;
