//! Settings, where each value came from, and secrets.
//!
//! Layers, each beating the one before: defaults, files, environment (`DATA_MANAGER__SECTION__KEY`), flags.

#[cfg(feature = "daemon")]
pub mod load;
#[cfg(feature = "nats")]
pub mod secret;
#[cfg(feature = "nats")]
pub mod settings;
pub mod units;
#[cfg(feature = "daemon")]
pub mod validate;

#[cfg(feature = "daemon")]
pub use load::{ConfigError, Loaded, Origin, Override, load};
#[cfg(feature = "nats")]
pub use secret::{Secret, SecretError};
#[cfg(feature = "nats")]
pub use settings::Settings;
pub use units::{Bytes, Span};
