//! Where spools are on disk, whose they are, and what runs with other streams or shards have left. It reads no record.

use std::path::PathBuf;

use crate::config::settings::Nats;
use crate::transport::nats::spool::{SpoolError, left_in};

/// Instances on one host that may have a spool for one stream: shards, and daemons that stand by for each other.
pub(super) const INSTANCES: u32 = 64;
/// Shards that a daemon may have had.
const SHARDS: usize = 64;

/// Where a shard's spools are, one directory an instance: as configured, or where this system keeps the state of
/// programs. Each shard finds its own again, whoever begins first. That of an exchange's own stream goes by the stream,
/// whichever number the shard has: exchanges come and go, and their numbers change.
pub(super) fn directory(settings: &Nats, shard: usize) -> PathBuf {
    let all = all_directories(settings);
    if shard == 0 || settings.jetstream.exchange().is_some() { all } else { all.join(format!("shard-{shard}")) }
}

fn all_directories(settings: &Nats) -> PathBuf {
    let stream = &settings.jetstream;
    if !settings.outbox_dir.as_os_str().is_empty() {
        let configured = settings.outbox_dir.clone();
        return if stream.exchange().is_some() { configured.join(&stream.stream_name) } else { configured };
    }
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = of("STATE_DIRECTORY")
        .or_else(|| of("XDG_STATE_HOME").map(|home| home.join("data-manager")))
        .or_else(|| of("HOME").map(|home| home.join(".local/state/data-manager")))
        .unwrap_or_else(|| std::env::temp_dir().join("data-manager"));
    state.join("spool").join(&stream.stream_name)
}

/// Whose records a spool holds: those of a stream of these servers. No other one can be opened as it.
pub(super) fn owner(settings: &Nats) -> String {
    let servers = xxhash_rust::xxh3::xxh3_64(settings.servers.join(",").as_bytes());
    format!("{}@{servers:016x}", settings.jetstream.stream_name)
}

/// What is to be done about records that a run has left and that this one does not send.
pub const LEFT_CURE: &str = "they may be stored already; to have them sent, stop this run and start it once more as \
    it was (the same stream_per_exchange, shards, exchanges and symbols), until nothing waits; what the stream has gone \
    past by then is left out, and stands as a gap where the venue's history did not have it; remove the directory only \
    where no other data-manager uses it";

/// A spool with records that no shard of this run opens.
#[derive(Debug)]
pub struct Left {
    /// Where it is.
    pub directory: PathBuf,
    /// The stream that its records are for.
    pub stream: String,
    /// Bytes of records, or why that cannot be known.
    pub bytes: Result<u64, SpoolError>,
}

/// What runs with another number of shards, other exchanges or another `stream_per_exchange` have left on disk, and no
/// shard of this run will find. `all` are the settings of the stream of all exchanges, `shards` those of this run's
/// shards, in their order; `exchanges` are all that there can be. What another live process has open is its own.
#[must_use]
pub fn left<'a>(all: &Nats, shards: &[Nats], exchanges: impl Iterator<Item = &'a str>) -> Vec<Left> {
    let ours: Vec<PathBuf> = shards.iter().enumerate().map(|(shard, settings)| directory(settings, shard)).collect();
    let of_all = (0..SHARDS).map(|shard| (directory(all, shard), all.jetstream.stream_name.clone()));
    let of_each = exchanges.map(|exchange| {
        let each = Nats { jetstream: all.jetstream.of(exchange), ..all.clone() };
        (directory(&each, 0), each.jetstream.stream_name)
    });
    let mut found = Vec::new();
    for (place, stream) in of_all.chain(of_each).filter(|(place, _)| !ours.contains(place)) {
        for directory in (0..=INSTANCES).map(|number| place.join(number.to_string())) {
            match left_in(&directory) {
                Ok(0) | Err(SpoolError::Busy { .. }) => {}
                bytes => found.push(Left { directory, stream: stream.clone(), bytes }),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::nats::spool::{Limits, Spool};

    fn settings(root: &std::path::Path) -> Nats {
        Nats { outbox_dir: root.to_owned(), ..Nats::default() }
    }

    fn of(settings: &Nats, exchange: &str) -> Nats {
        Nats { jetstream: settings.jetstream.of(exchange), ..settings.clone() }
    }

    fn leave(settings: &Nats, shard: usize) -> PathBuf {
        let path = directory(settings, shard).join("0");
        let (mut spool, _) = Spool::open(&path, Limits::default(), &owner(settings)).unwrap();
        let _ = spool.append(1, &[[7; 48], [8; 48]]).unwrap();
        spool.close().unwrap();
        path
    }

    #[test]
    fn the_spool_of_an_exchange_stays_its_own_whatever_number_its_shard_has() {
        for root in ["", "/spools"] {
            let all = settings(root.as_ref());
            let (a, b) = (of(&all, "binance"), of(&all, "okx"));
            assert_eq!(directory(&a, 0), directory(&a, 3));
            assert!(directory(&a, 0).ends_with("MARKET_DATA_BINANCE"));
            assert_ne!(directory(&a, 0), directory(&b, 0));
            assert_ne!(directory(&a, 0), directory(&all, 0));
            assert_ne!((owner(&a), owner(&a)), (owner(&b), owner(&all)));
        }
    }

    #[test]
    fn a_spool_is_never_opened_as_that_of_another_exchange() {
        let root = tempfile::tempdir().unwrap();
        let all = settings(root.path());
        let (a, b) = (of(&all, "binance"), of(&all, "okx"));
        let path = leave(&a, 0);
        // Somebody has moved it.
        let other = directory(&b, 0).join("0");
        std::fs::create_dir_all(other.parent().unwrap()).unwrap();
        std::fs::rename(path, &other).unwrap();
        let error = Spool::open(&other, Limits::default(), &owner(&b)).unwrap_err();
        assert!(matches!(error, SpoolError::Owner { .. }), "{error}");
    }

    #[test]
    fn what_another_layout_has_left_is_found() {
        let root = tempfile::tempdir().unwrap();
        let all = settings(root.path());
        let each = [of(&all, "binance"), of(&all, "okx")];
        let exchanges = || ["binance", "coinbase", "okx"].into_iter();
        assert_eq!(left(&all, &each, exchanges()).len(), 0);
        let places = [leave(&all, 0), leave(&all, 1), leave(&each[1], 5)];
        let told = |shards: &[Nats]| -> Vec<(PathBuf, String)> {
            left(&all, shards, exchanges())
                .into_iter()
                .inspect(|left| assert!(*left.bytes.as_ref().unwrap() >= 96, "{left:?}"))
                .map(|left| (left.directory, left.stream))
                .collect()
        };
        let of_all = |place: usize| (places[place].clone(), "MARKET_DATA".to_owned());
        let of_okx = (places[2].clone(), "MARKET_DATA_OKX".to_owned());
        assert_eq!(told(&each), [of_all(0), of_all(1)], "switched on");
        assert_eq!(told(&[all.clone(), all.clone()]), std::slice::from_ref(&of_okx), "switched off");
        assert_eq!(told(std::slice::from_ref(&all)), [of_all(1), of_okx.clone()], "and with fewer shards");
        assert_eq!(told(&each[..1]), [of_all(0), of_all(1), of_okx], "an exchange that is gone");
        assert_eq!(told(&each).len(), 2, "looking takes nothing away");
        let _live = Spool::open(&places[0], Limits::default(), &owner(&all)).unwrap();
        assert_eq!(told(&each), [of_all(1)], "what a live process has open is its own");
    }
}
