//! Reads the recent past: the gaps first, which are few, and then everything from the first of them on that matters. At
//! some thousand trades a second the rest of a quarter of an hour would take longer than a start may.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Declared, From, Past, Unclear};
use crate::config::settings::Nats;
use crate::market::{Record, SubjectKind, Universe};
use crate::transport::nats::consumer::{Filter, Item, Since, Tail as Reader, TailError};

/// The next record comes within this, or reading has failed.
const SILENCE: Duration = Duration::from_secs(10);

/// Why the past cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::transport::nats) enum PastError {
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("nothing came within {SILENCE:?}")]
    Silence,
}

/// Reads the recent past of these instruments; those of which nothing more has to be known are left out.
pub(in crate::transport::nats) async fn read(
    settings: &Nats,
    universe: &Universe,
    unclear: &Unclear,
) -> Result<BTreeMap<u32, Past>, PastError> {
    let mut declared: BTreeMap<u32, Declared> = BTreeMap::new();
    let all = unclear.routes.keys().map(|route| (*route, From::Horizon)).collect();
    let kind = Some(SubjectKind::Gaps);
    walk(settings, universe, unclear, kind, &all, |route, sequence, record| {
        if let Record::Gap(gap) = record {
            declared.entry(route).or_default().take(sequence, gap);
        }
    })
    .await?;
    let from = |(route, late): (&u32, &Option<u64>)| {
        let declared = declared.remove(route).unwrap_or_default();
        declared.from(*late).map(|from| (*route, from))
    };
    let wanted: BTreeMap<u32, From> = unclear.routes.iter().filter_map(from).collect();
    let mut pasts: BTreeMap<u32, Past> = BTreeMap::new();
    walk(settings, universe, unclear, None, &wanted, |route, _, record| {
        pasts.entry(route).or_default().take(record);
    })
    .await?;
    for (route, from) in wanted {
        // What is younger lies further back than was read, if there is anything.
        let past = pasts.entry(route).or_default();
        past.unread = from == From::Horizon && !past.timely;
    }
    Ok(pasts)
}

/// Gives `take` what the stream holds of these routes from the earliest of their places on.
async fn walk(
    settings: &Nats,
    universe: &Universe,
    unclear: &Unclear,
    kind: Option<SubjectKind>,
    routes: &BTreeMap<u32, From>,
    mut take: impl FnMut(u32, u64, &Record),
) -> Result<(), PastError> {
    let Some(until) = unclear.until(kind, routes) else { return Ok(()) };
    let mut filter = Filter { kind, ..Filter::default() };
    let mut names = BTreeMap::new();
    for route in routes.keys() {
        let Some(instrument) = universe.get(*route as usize) else { continue };
        names.insert((instrument.exchange.to_owned(), instrument.symbol.to_string()), *route);
        filter.exchanges.push(instrument.exchange.to_owned());
        filter.symbols.push(instrument.symbol.to_string());
    }
    for list in [&mut filter.exchanges, &mut filter.symbols] {
        list.sort_unstable();
        list.dedup();
    }
    let mut since = Since::Sequence(u64::MAX);
    for from in routes.values() {
        since = match (since, *from) {
            (Since::Sequence(first), From::Sequence(sequence)) => Since::Sequence(first.min(sequence)),
            _ => Since::Time(unclear.since),
        };
    }
    let late = |_| PastError::Silence;
    let mut reader = tokio::time::timeout(SILENCE, Reader::open(settings, filter, since)).await.map_err(late)??;
    loop {
        let sequence = match tokio::time::timeout(SILENCE, reader.next()).await.map_err(late)? {
            Ok(Item { exchange, symbol, sequence, record }) => {
                if let Some(route) = names.get(&(exchange.to_string(), symbol.to_string())) {
                    take(*route, sequence, &record);
                }
                sequence
            }
            // Somebody else's: it says nothing of our trades.
            Err(TailError::Message { sequence, .. }) => sequence,
            Err(error) => return Err(error.into()),
        };
        if sequence >= until && !reader.is_within_message() {
            return Ok(());
        }
    }
}
