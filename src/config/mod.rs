//! Settings, where each value came from, and secrets.
//!
//! Layers, each beating the one before: defaults, files, environment (`DATA_MANAGER__SECTION__KEY`), flags.

pub mod load;
pub mod secret;
pub mod settings;
pub mod units;
pub mod validate;

pub use load::{ConfigError, Loaded, Origin, Override, load};
pub use secret::{Secret, SecretError};
pub use settings::Settings;
pub use units::{Bytes, Span};
