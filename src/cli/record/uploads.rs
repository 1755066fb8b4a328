//! Complete files on their way into an object store, beside the recording: neither waits for the other.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::super::signals::Stop;
use crate::config::settings::Nats;
use crate::telemetry::clock;
use crate::transport::nats::bucket::{Bucket, BucketError};

/// First wait behind a file that could not be put there; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts of each file once the recording has ended, with about six seconds between them in all.
const LAST_TRIES: u32 = 5;

type Putting = Pin<Box<dyn Future<Output = Result<Rc<Bucket>, BucketError>>>>;

/// The files that an object store is to have.
pub(super) struct Uploads {
    settings: Nats,
    name: String,
    /// Connected, until something goes wrong.
    bucket: Option<Rc<Bucket>>,
    waiting: VecDeque<PathBuf>,
    /// The first of those that wait, as it is put there.
    putting: Option<Putting>,
    retry: Duration,
    retry_at: Option<Instant>,
    /// What was said already of files that wait.
    told: BTreeSet<String>,
    /// Those under whose names others are there.
    collided: u64,
    /// Those that could not be read.
    unreadable: u64,
}

impl Uploads {
    /// Opens the object store, and makes it where there is none.
    ///
    /// # Errors
    /// [`BucketError`]
    pub(super) async fn open(settings: &Nats, name: &str) -> Result<Self, BucketError> {
        let bucket = Bucket::create(settings, name).await?;
        Ok(Self {
            settings: settings.clone(),
            name: name.to_owned(),
            bucket: Some(Rc::new(bucket)),
            waiting: VecDeque::new(),
            putting: None,
            retry: RETRY_MIN,
            retry_at: None,
            told: BTreeSet::new(),
            collided: 0,
            unreadable: 0,
        })
    }

    /// Has a file put there in its turn.
    pub(super) fn add(&mut self, path: PathBuf) {
        self.waiting.push_back(path);
    }

    /// How many files are not there yet, and how many cannot be.
    pub(super) fn missing(&self) -> (u64, u64) {
        (self.waiting.len() as u64 + self.unreadable, self.collided)
    }

    /// Goes on as far as that is possible without waiting; gives what is to be said.
    pub(super) fn work(&mut self) -> Option<String> {
        if self.waiting.is_empty() { None } else { self.wait().now_or_never() }
    }

    /// Goes on until there is something to be said. Nothing is lost where this is given up on the way.
    pub(super) async fn wait(&mut self) -> String {
        loop {
            if self.waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            if let Some(at) = self.retry_at.filter(|at| clock::now() < *at) {
                tokio::time::sleep_until(at.into()).await;
            }
            if let Some(said) = self.next().await {
                return said;
            }
        }
    }

    /// Puts the next file there; gives what is to be said of it.
    async fn next(&mut self) -> Option<String> {
        let path = self.waiting.front()?.clone();
        let putting = match &mut self.putting {
            Some(putting) => putting,
            none => none.insert(put(self.bucket.take(), self.settings.clone(), self.name.clone(), path.clone())),
        };
        let done = putting.await;
        self.putting = None;
        match done {
            Ok(bucket) => {
                self.bucket = Some(bucket);
                self.waiting.pop_front();
                (self.retry, self.retry_at) = (RETRY_MIN, None);
                self.told.clear();
                None
            }
            Err(error @ BucketError::Another { .. }) => {
                self.waiting.pop_front();
                self.collided += 1;
                Some(error.to_string())
            }
            // Trying again would not help it, and would keep all the others waiting.
            Err(error @ BucketError::File { .. }) => {
                self.waiting.pop_front();
                self.unreadable += 1;
                Some(format!("{error}; it is left out"))
            }
            Err(error) => {
                self.retry_at = clock::now().checked_add(self.retry);
                self.retry = (self.retry * 2).min(RETRY_MAX);
                let told = !self.told.insert(error.to_string());
                (!told).then(|| format!("{error}; it stays in the folder, and is tried again"))
            }
        }
    }

    /// Puts there what waits, unless it cannot be, or another signal comes.
    pub(super) async fn finish(&mut self, stop: &mut Stop, say: impl Fn(&str)) {
        let mut tries = 0;
        self.retry = self.retry.min(RETRY_MIN);
        while !self.waiting.is_empty() {
            let before = self.waiting.len();
            let said = tokio::select! {
                biased;
                () = stop.again() => return,
                said = self.next() => said,
            };
            said.iter().for_each(|said| say(said));
            if self.waiting.len() < before {
                tries = 0;
                continue;
            }
            tries += 1;
            if tries == LAST_TRIES {
                return;
            }
            tokio::select! {
                biased;
                () = stop.again() => return,
                () = tokio::time::sleep(self.retry) => {}
            }
        }
    }
}

/// Puts a file there, on a connection that is made where there is none: none of them outlives its server.
fn put(bucket: Option<Rc<Bucket>>, settings: Nats, name: String, path: PathBuf) -> Putting {
    let put = async move |path: &Path| {
        let bucket = match bucket {
            Some(bucket) => bucket,
            None => Rc::new(Bucket::open(&settings, &name).await?),
        };
        bucket.put(path).await?;
        Ok(bucket)
    };
    Box::pin(async move { put(&path).await })
}
