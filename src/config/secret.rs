//! Placeholder.
/// x
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Secret(String);
/// x
pub struct SecretError;
