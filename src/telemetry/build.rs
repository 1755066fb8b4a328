//! Which build this is.

/// The version, as in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, `unknown` where git was not there.
pub const GIT_SHA: &str = env!("DATA_MANAGER_GIT_SHA");

/// Both, for `--version`.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("DATA_MANAGER_GIT_SHA"), ")");
