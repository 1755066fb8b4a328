//! Files in an object store of the servers: put there whole, and fetched with their digest checked.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use async_nats::jetstream::object_store::{Config, InfoErrorKind, ObjectMetadata, ObjectStore, PutErrorKind};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;

use super::connect::{self, ConnectError};
use crate::config::settings::Nats;

/// Why files do not go there, or come from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The object store does not do it.
    #[error("object store {bucket}: {what}: {reason}")]
    Store {
        /// Its name.
        bucket: String,
        /// What was tried.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// The file itself cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Where it is.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// Something else is there under the name.
    #[error(
        "object store {bucket} holds another file as {object} already, of another recording it seems; nothing was \
         overwritten: give each recording an object store of its own"
    )]
    Another {
        /// Its name.
        bucket: String,
        /// The object.
        object: String,
    },
}

/// What is read of a file at a time to make its digest.
const READ_BYTES: usize = 1 << 17;

/// An object store.
pub struct Bucket {
    name: String,
    store: ObjectStore,
}

impl Bucket {
    /// Opens an object store, and makes it where there is none.
    ///
    /// # Errors
    /// [`BucketError`]
    pub async fn create(settings: &Nats, name: &str) -> Result<Self, BucketError> {
        let context = jetstream::new(connect::dial(settings).await?);
        if let Ok(store) = context.get_object_store(name).await {
            return Ok(Self { name: name.to_owned(), store });
        }
        let config = Config {
            bucket: name.to_owned(),
            description: Some("recordings of data-manager".to_owned()),
            max_bytes: -1,
            num_replicas: settings.jetstream.replicas,
            ..Config::default()
        };
        let store = context.create_object_store(config).await;
        let store = store.map_err(|error| fail(name, "it cannot be made", &error))?;
        Ok(Self { name: name.to_owned(), store })
    }

    /// Opens an object store.
    ///
    /// # Errors
    /// [`BucketError`]
    pub async fn open(settings: &Nats, name: &str) -> Result<Self, BucketError> {
        let context = jetstream::new(connect::dial(settings).await?);
        let store = context.get_object_store(name).await;
        let store = store.map_err(|error| fail(name, "it cannot be opened; is there one of this name?", &error))?;
        Ok(Self { name: name.to_owned(), store })
    }

    /// What it holds, by name, with its size in bytes.
    ///
    /// # Errors
    /// [`BucketError`]
    pub async fn list(&self) -> Result<Vec<(String, u64)>, BucketError> {
        let list = self.store.list().await;
        let mut list = list.map_err(|error| fail(&self.name, "its list cannot be had", &error))?;
        let mut names = Vec::new();
        while let Some(object) = list.next().await {
            let object = object.map_err(|error| fail(&self.name, "its list cannot be read", &error))?;
            names.push((object.name, object.size as u64));
        }
        names.sort();
        Ok(names)
    }

    /// Puts a file there under its name; one that is there already is left as it is.
    ///
    /// # Errors
    /// [`BucketError`]
    pub async fn put(&self, path: &Path) -> Result<(), BucketError> {
        let what = format!("{} cannot be put there", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self.store.info(&name).await {
            // The names of files tell streams and sequences, and a stream may have been made anew.
            Ok(there) if !there.deleted => {
                let digest = digest(path).await.map_err(|error| unreadable(path, &error))?;
                let same = there.digest.as_deref().map(|there| there.trim_end_matches('='));
                return match same == Some(digest.trim_end_matches('=')) {
                    true => Ok(()),
                    false => Err(BucketError::Another { bucket: self.name.clone(), object: name }),
                };
            }
            Err(error) if error.kind() != InfoErrorKind::NotFound => return Err(fail(&self.name, &what, &error)),
            Ok(_) | Err(_) => {}
        }
        let mut file = tokio::fs::File::open(path).await.map_err(|error| unreadable(path, &error))?;
        let metadata = ObjectMetadata { name, ..ObjectMetadata::default() };
        let put = self.store.put(metadata, &mut file).await;
        put.map(drop).map_err(|error| match error.kind() {
            PutErrorKind::ReadChunks => unreadable(path, &error),
            _ => fail(&self.name, &what, &error),
        })
    }

    /// Fetches an object into a folder, under its name; one whose digest is wrong is an error.
    ///
    /// # Errors
    /// [`BucketError`]
    pub async fn fetch(&self, object: &str, directory: &Path) -> Result<PathBuf, BucketError> {
        let what = format!("{object} cannot be fetched");
        let plain = Path::new(object).file_name().filter(|name| *name == object);
        let path = directory.join(plain.ok_or_else(|| fail(&self.name, &what, &"its name is no file name"))?);
        let mut from = self.store.get(object).await.map_err(|error| fail(&self.name, &what, &error))?;
        let mut to = tokio::fs::File::create(&path).await.map_err(|error| fail(&self.name, &what, &error))?;
        let copied = tokio::io::copy(&mut from, &mut to).await;
        copied.map_err(|error| fail(&self.name, &what, &error))?;
        to.sync_all().await.map_err(|error| fail(&self.name, &what, &error))?;
        Ok(path)
    }
}

fn fail(bucket: &str, what: &str, error: &dyn std::fmt::Display) -> BucketError {
    BucketError::Store { bucket: bucket.to_owned(), what: what.to_owned(), reason: error.to_string() }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> BucketError {
    BucketError::File { path: path.display().to_string(), reason: error.to_string() }
}

/// The digest of a file as object stores write it.
async fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let (mut context, mut bytes) = (Context::new(&SHA256), vec![0; READ_BYTES]);
    loop {
        let count = file.read(&mut bytes).await?;
        if count == 0 {
            return Ok(format!("SHA-256={}", URL_SAFE.encode(context.finish())));
        }
        context.update(bytes.get(..count).unwrap_or_default());
    }
}
