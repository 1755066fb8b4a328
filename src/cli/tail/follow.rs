//! Streams that `tail` reads side by side, each from when it can be read. It prints no record.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cli::Failure;
use crate::cli::settings::VenueArgs;
use crate::config::settings::Nats;
use crate::telemetry::clock;
use crate::transport::nats::consumer::{Filter, Item, Since, Tail, TailError};

/// A stream that cannot be read is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A stream that is read, or waited for.
pub(super) struct Follow {
    nats: Nats,
    filter: Filter,
    since: Since,
    tail: Option<Tail>,
    told: String,
}

/// Opens the streams; names are in the daemon's spelling. One that cannot be read ends nothing while another one can:
/// it is told, and tried again.
pub(super) async fn all(streams: Vec<Nats>, venues: &VenueArgs, since: Since) -> Result<Vec<Follow>, Failure> {
    let begun = clock::wall_ns();
    let mut follows = Vec::with_capacity(streams.len());
    let mut failed = Vec::new();
    for nats in streams {
        // Of a stream of its own only what is in it can be asked for.
        let own = nats.jetstream.exchange().map(|exchange| vec![exchange.to_owned()]);
        let exchanges = own.unwrap_or_else(|| venues.exchanges.clone());
        let filter = Filter { exchanges, symbols: venues.symbols.clone(), kind: None };
        let mut follow = Follow { nats, filter, since, tail: None, told: String::new() };
        match follow.open().await {
            Ok(()) => {}
            Err(error) => failed.push(error),
        }
        // What it has taken when it can be read at last is new since now.
        if since == Since::Now {
            follow.since = Since::Time(begun);
        }
        follows.push(follow);
    }
    if failed.len() == follows.len() {
        let texts: BTreeSet<String> = failed.iter().map(ToString::to_string).collect();
        return Err(Failure::failed(Vec::from_iter(texts).join("\n")));
    }
    follows
        .iter_mut()
        .filter(|follow| follow.tail.is_none())
        .zip(failed)
        .for_each(|(follow, error)| follow.tell(&error));
    Ok(follows)
}

impl Follow {
    async fn open(&mut self) -> Result<(), TailError> {
        self.tail = Some(Tail::open(&self.nats, self.filter.clone(), self.since).await?);
        Ok(())
    }

    /// The next record; a stream that cannot be read yet is waited for.
    pub(super) async fn next(&mut self) -> Result<Item, TailError> {
        loop {
            if let Some(tail) = &mut self.tail {
                return tail.next().await;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            match self.open().await {
                Ok(()) => eprintln!("stream {}: it is read from here on", self.nats.jetstream.stream_name),
                Err(error) => self.tell(&error),
            }
        }
    }

    fn tell(&mut self, error: &TailError) {
        let text = format!("{error}; the others are read, and it is tried again");
        if self.told != text {
            eprintln!("{text}");
            self.told = text;
        }
    }
}
