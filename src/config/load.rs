//! Placeholder.
/// x
pub struct ConfigError;
/// x
pub struct Loaded;
/// x
pub struct Origin;
/// x
pub fn load() {}
