//! Which of a shard's directories an instance takes, and what it leaves alone there. It reads no record itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::place::{INSTANCES, LEFT_CURE};
use crate::transport::nats::spool::{Limits, Recovered, Spool, SpoolError, left_in};

/// Where a shard's spools are, and what may be in one that it takes.
pub(super) struct Place {
    /// One directory an instance is in it.
    pub(super) directory: PathBuf,
    pub(super) limits: Limits,
    /// Whose records these are.
    pub(super) owner: String,
    /// Ids of the instruments that this shard publishes.
    pub(super) ours: BTreeSet<u32>,
    /// Ids of the instruments that other shards of this run publish.
    pub(super) elsewhere: BTreeSet<u32>,
}

impl Place {
    /// Opens a directory that no other instance on this host uses: the first one that an earlier run has left records
    /// in, where there is one, so that no instance's records wait for another one of its number.
    ///
    /// What another shard of this run publishes cannot be sent from here: two publishers of one symbol would break its
    /// order. Such a directory is kept as it is, and told, as is one with nothing of this shard's, one more with
    /// records, and one that cannot be read.
    pub(super) fn open(&self) -> Result<(Spool, Recovered), SpoolError> {
        let all = (0..=INSTANCES).map(|number| self.directory.join(number.to_string()));
        let (holding, free): (Vec<PathBuf>, Vec<PathBuf>) = all.partition(|path| holds_records(path));
        let mut busy = None;
        for (at, path) in holding.iter().chain(&free).enumerate() {
            match Spool::open(path, self.limits, &self.owner) {
                Err(error @ SpoolError::Busy { .. }) => busy = Some(error),
                Err(error) if at < holding.len() => tell_unread(&error),
                Ok((_, recovered)) if !recovered.instruments.is_disjoint(&self.elsewhere) => {
                    tell_kept(path, &recovered)
                }
                Ok((_, recovered)) if self.is_strange(&recovered) => tell_strange(path, &recovered),
                opened => {
                    holding.iter().skip(at + 1).filter(|path| holds_records(path)).for_each(|path| tell_further(path));
                    return opened.map(|(spool, recovered)| (spool.with_room(), recovered));
                }
            }
        }
        Err(busy.unwrap_or_else(|| self.all_taken()))
    }

    /// Opens a directory that nobody uses and that holds nothing.
    pub(super) fn open_free(&self) -> Result<Spool, SpoolError> {
        let all = (0..=INSTANCES).map(|number| self.directory.join(number.to_string()));
        for path in all.filter(|path| !holds_records(path)) {
            match Spool::open(&path, self.limits, &self.owner) {
                Ok((spool, recovered)) if recovered.records == 0 => return Ok(spool.with_room()),
                Ok(_) | Err(SpoolError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.all_taken())
    }

    /// Whether all symbols of an earlier run are gone from the configuration.
    fn is_strange(&self, recovered: &Recovered) -> bool {
        !recovered.instruments.is_empty() && recovered.instruments.is_disjoint(&self.ours)
    }

    fn all_taken(&self) -> SpoolError {
        SpoolError::Busy { path: self.directory.clone(), pid: None }
    }
}

/// Whether nobody uses it, and records are in it.
fn holds_records(path: &Path) -> bool {
    left_in(path).is_ok_and(|bytes| bytes > 0)
}

fn tell_kept(path: &Path, recovered: &Recovered) {
    tracing::error!(
        records = recovered.records,
        directory = %path.display(),
        "an earlier run left records of symbols that another shard publishes now, since shards, exchanges or symbols \
         have changed: none of them are sent, and all are kept: {LEFT_CURE}"
    );
}

fn tell_strange(path: &Path, recovered: &Recovered) {
    tracing::error!(
        records = recovered.records,
        symbols = recovered.instruments.len(),
        directory = %path.display(),
        "an earlier run left records of symbols that are not configured now: none of them are sent, and all are kept: \
         {LEFT_CURE}"
    );
}

fn tell_further(path: &Path) {
    tracing::error!(
        directory = %path.display(),
        "a further instance left records on disk: it takes them when it starts again, or else the first start that \
         finds none in the directories before this one: {LEFT_CURE}"
    );
}

fn tell_unread(error: &SpoolError) {
    tracing::error!(err = %error, "records that an earlier run left on disk cannot be taken, and are kept");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::trade::RECORD_BYTES;
    use crate::market::{Record, TradeMsg};

    fn place(root: &Path, elsewhere: &[u32]) -> Place {
        Place {
            directory: root.to_owned(),
            limits: Limits::default(),
            owner: "TRADES".to_owned(),
            ours: (1..=9).filter(|id| !elsewhere.contains(id)).collect(),
            elsewhere: elsewhere.iter().copied().collect(),
        }
    }

    fn trade(instrument_id: u32) -> [u8; RECORD_BYTES] {
        *Record::Trade(TradeMsg { instrument_id, kind: 1, ..bytemuck::Zeroable::zeroed() }).as_bytes()
    }

    /// Leaves records of these instruments in a directory.
    fn leave(root: &Path, number: u32, instruments: &[u32]) {
        let (mut spool, _) = Spool::open(&root.join(number.to_string()), Limits::default(), "TRADES").unwrap();
        let records: Vec<_> = instruments.iter().map(|id| trade(*id)).collect();
        let _ = spool.append(1, &records).unwrap();
        spool.close().unwrap();
    }

    /// The directory that is taken, and the records in it.
    fn taken(place: &Place) -> (String, u64) {
        let (spool, recovered) = place.open().unwrap();
        (spool.directory().file_name().unwrap().to_str().unwrap().to_owned(), recovered.records)
    }

    #[test]
    fn what_a_further_instance_left_is_taken_and_what_two_left_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path(), &[]);
        assert_eq!(taken(&place), ("0".to_owned(), 0));
        leave(root.path(), 3, &[1]);
        assert_eq!(taken(&place), ("3".to_owned(), 1));
        leave(root.path(), 5, &[1, 1]);
        assert_eq!(taken(&place), ("3".to_owned(), 1));
        let _live = place.open().unwrap();
        assert_eq!(taken(&place), ("5".to_owned(), 2), "another instance has the first one");
        let _other = place.open().unwrap();
        assert_eq!(taken(&place), ("0".to_owned(), 0));
    }

    #[test]
    fn what_another_shard_publishes_is_kept() {
        let root = tempfile::tempdir().unwrap();
        leave(root.path(), 0, &[1, 2]);
        assert_eq!(taken(&place(root.path(), &[2])), ("1".to_owned(), 0));
        leave(root.path(), 1, &[1]);
        assert_eq!(taken(&place(root.path(), &[2])), ("1".to_owned(), 1));
        assert_eq!(taken(&place(root.path(), &[7])), ("0".to_owned(), 2), "as it was before");
    }

    #[test]
    fn what_is_not_configured_any_more_is_kept() {
        let root = tempfile::tempdir().unwrap();
        leave(root.path(), 0, &[11, 12]);
        assert_eq!(taken(&place(root.path(), &[])), ("1".to_owned(), 0));
        leave(root.path(), 1, &[12, 1]);
        assert_eq!(taken(&place(root.path(), &[])), ("1".to_owned(), 2), "some of it can be sent");
        let place = Place { ours: [11].into(), ..place(root.path(), &[]) };
        assert_eq!(taken(&place), ("0".to_owned(), 2), "configured again");
    }

    #[test]
    fn what_cannot_be_taken_keeps_nobody_from_a_disk() {
        let root = tempfile::tempdir().unwrap();
        leave(root.path(), 0, &[1]);
        let other = Place { owner: "OTHERS".to_owned(), ..place(root.path(), &[]) };
        assert_eq!(taken(&other), ("1".to_owned(), 0));
        assert_eq!(taken(&place(root.path(), &[])), ("0".to_owned(), 1));
    }
}
