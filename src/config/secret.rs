//! Secrets: a value that is never shown, given as text, by `{ env = "NAME" }` or by `{ file = "PATH" }`.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in a secret's place wherever settings are shown.
const MASK: &str = "(secret)";

/// A secret, or where it is to be had. `Debug`, `Display` and serialization never show it.
#[derive(Clone)]
pub struct Secret(Place);

#[derive(Clone)]
enum Place {
    Here(SecretString),
    Env(String),
    File(PathBuf),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The environment does not have it.
    #[error("the environment variable {name} is not set; export it, or name another with {{ env = \"NAME\" }}")]
    Env {
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the secret in {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the secret in {place} is empty")]
    Empty {
        /// Where it was looked for.
        place: String,
    },
}

impl Secret {
    /// The secret itself. Read anew each time, so that a rotated file is noticed at the next connect.
    ///
    /// # Errors
    /// [`SecretError`], naming the variable or the file.
    pub fn reveal(&self) -> Result<SecretString, SecretError> {
        let text = match &self.0 {
            Place::Here(secret) => secret.expose_secret().to_owned(),
            Place::Env(name) => std::env::var(name).map_err(|_| SecretError::Env { name: name.clone() })?,
            Place::File(path) => {
                std::fs::read_to_string(path).map_err(|source| SecretError::File { path: path.clone(), source })?
            }
        };
        // Editors and `echo` end a file with a line break that is no part of the secret.
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(SecretError::Empty { place: self.to_string() });
        }
        Ok(SecretString::from(trimmed))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Here(_) => f.write_str(MASK),
            Place::Env(name) => write!(f, "{{ env = {name:?} }}"),
            Place::File(path) => write!(f, "{{ file = {path:?} }}"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// What is no text is refused without serde's own message, which would quote the value: it may well be the secret.
fn not_text<E: serde::de::Error>() -> E {
    E::custom("a secret is text: put it in quotes, or write { env = \"NAME\" } or { file = \"PATH\" }")
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: { env = \"NAME\" }, { file = \"PATH\" }, or its text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(Place::Here(SecretString::from(text))))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::custom("a secret's table names env or file"));
        };
        let value = map.next_value::<String>().map_err(|_| A::Error::custom(format!("{key} is a name in quotes")))?;
        let place = match key.as_str() {
            "env" => Place::Env(value),
            "file" => Place::File(PathBuf::from(value)),
            _ => return Err(A::Error::unknown_field(&key, &["env", "file"])),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("a secret's table names either env or file, once"));
        }
        Ok(Secret(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        secret: Secret,
    }

    fn read(text: &str) -> Result<Secret, String> {
        toml::from_str::<Holder>(text).map(|holder| holder.secret).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = read("secret = 'hunter2'").unwrap();
        for shown in [format!("{secret}"), format!("{secret:?}"), serde_json::to_string(&secret).unwrap()] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(secret.reveal().unwrap().expose_secret(), "hunter2");
    }

    #[test]
    fn a_secret_of_another_type_is_refused_without_it() {
        for text in ["8675309", "-8675309", "8675309.5", "{ env = 8675309 }", "{ file = 8675309 }", "[8675309]"] {
            let error = read(&format!("secret = {text}")).unwrap_err();
            assert!(!error.contains("8675309"), "{error}");
        }
        assert!(read("secret = true").unwrap_err().contains("in quotes"));
    }

    #[test]
    fn a_file_may_end_with_a_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        let secret = read(&format!("secret = {{ file = {path:?} }}")).unwrap();
        assert_eq!(secret.reveal().unwrap().expose_secret(), "hunter2");
        std::fs::write(&path, "\n").unwrap();
        assert!(secret.reveal().unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let secret = read("secret = { env = 'DATA_MANAGER_TEST_NOT_SET' }").unwrap();
        assert!(secret.reveal().unwrap_err().to_string().contains("DATA_MANAGER_TEST_NOT_SET"));
        assert!(read("secret = { envv = 'X' }").unwrap_err().contains("unknown field `envv`"));
        assert!(read("secret = { env = 'X', file = 'Y' }").unwrap_err().contains("either env or file"));
    }
}
