//! What is to be put into a bucket and when: what has changed at once, the rest again before it would expire. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::transport::nats::kv::{Answer, Put};

/// A key is put at most once in this time: of values that change faster the last one is told.
const SPACING: Duration = Duration::from_secs(1);

/// What is put only where nothing is, and found something there, is tried again after this long: that may expire.
const OCCUPIED: Duration = Duration::from_secs(600);

/// Puts that are sent before their answers are waited for.
const BATCH: usize = 64;

/// An entry is put again after this part of its life.
const REFRESHES: u32 = 3;

/// The keys of one bucket.
#[derive(Debug)]
pub(super) struct Puts {
    refresh: Duration,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    value: Bytes,
    /// It says less than what may be there, and is put only where nothing is.
    is_poor: bool,
    /// What the bucket is known to hold, and since when.
    stored: Option<(Bytes, Instant)>,
    /// What was sent and not answered, and whether we knew then what it followed.
    sent: Option<(Bytes, bool)>,
    /// The revision of our last put whose answer came.
    revision: Option<u64>,
    /// Whether nothing of ours can have followed that, and nothing that is stored can have gone.
    is_sure: bool,
    /// Whether the last value, as far as we know, is ours.
    ours: bool,
    not_before: Option<Instant>,
}

impl Puts {
    /// Of a bucket whose entries live for `ttl`.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { refresh: ttl / REFRESHES, entries: BTreeMap::new() }
    }

    /// How long what was put is left alone.
    pub(super) const fn refresh(&self) -> Duration {
        self.refresh
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// From now on the key is to have this value.
    pub(super) fn want(&mut self, key: String, value: Bytes) {
        let entry = self.entries.entry(key).or_default();
        if std::mem::take(&mut entry.is_poor) {
            entry.not_before = None;
        }
        entry.value = value;
    }

    /// From now on the key is to have this value, where nobody has put another one.
    pub(super) fn want_if_absent(&mut self, key: String, value: Bytes) {
        let entry = self.entries.entry(key).or_default();
        (entry.value, entry.is_poor) = (value, true);
    }

    /// What is to be put now, the longest untold first. With `fenced` no put overwrites what another has written since
    /// our last one; without, that is found out where we know for sure which our last one was.
    pub(super) fn due(&mut self, now: Instant, fenced: bool) -> Vec<Put> {
        let refresh = self.refresh;
        let mut due: Vec<(&String, &mut Entry)> =
            self.entries.iter_mut().filter(|(_, e)| e.is_due(now, refresh)).collect();
        due.sort_by_key(|(_, entry)| entry.stored.as_ref().map(|(_, at)| *at));
        due.truncate(BATCH);
        let send = |(key, entry): (&String, &mut Entry)| {
            let expected = match entry.is_poor {
                true => Some(entry.revision.unwrap_or(0)),
                false => entry.revision.filter(|_| fenced || entry.is_sure),
            };
            let follows = std::mem::take(&mut entry.is_sure) && !entry.is_poor;
            (entry.ours, entry.stored, entry.sent) = (true, None, Some((entry.value.clone(), follows)));
            entry.not_before = Some(now + SPACING);
            Put { key: key.clone(), value: entry.value.clone(), expected }
        };
        due.into_iter().map(send).collect()
    }

    /// The server has answered a put. Says whether somebody else has written or removed what was surely ours.
    pub(super) fn answered(&mut self, key: &str, now: Instant, answer: Answer) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let sent = entry.sent.take();
        match answer {
            Answer::Stored(revision) => {
                (entry.revision, entry.is_sure) = (Some(revision), true);
                entry.stored = sent.map(|(value, _)| (value, now));
                false
            }
            // Whoever is not to write the key any more hears of it before it is due again; if we are, ours is right.
            Answer::Stale => {
                (entry.ours, entry.revision) = (false, None);
                entry.not_before = Some(now + if entry.is_poor { OCCUPIED } else { SPACING });
                sent.is_some_and(|(_, follows)| follows)
            }
        }
    }

    /// The last puts were not answered: they are due again at once, and whoever sends them waits by his own count.
    pub(super) fn failed(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| entry.sent.is_some()) {
            (entry.sent, entry.not_before) = (None, None);
        }
    }

    /// The last revision that was given to a put of ours, of those that still count.
    pub(super) fn last(&self) -> u64 {
        self.entries.values().filter_map(|entry| entry.revision).max().unwrap_or(0)
    }

    /// It is not sure any more what the bucket holds: all is to be put again.
    pub(super) fn again(&mut self) {
        for entry in self.entries.values_mut() {
            (entry.stored, entry.sent, entry.is_sure, entry.not_before) = (None, None, false, None);
        }
    }

    /// It is another bucket, to which our revisions mean nothing: all is to be put again.
    pub(super) fn anew(&mut self) {
        self.again();
        self.entries.values_mut().for_each(|entry| entry.revision = None);
    }

    /// Another instance writes these keys from now on.
    pub(super) fn leave(&mut self, is_left: impl Fn(&str) -> bool) {
        self.entries.retain(|key, _| !is_left(key));
    }

    /// The put of a last value; `None` where the key is not ours, or with `fenced` where that is not certain.
    pub(super) fn last_of(&self, key: &str, value: Bytes, fenced: bool) -> Option<Put> {
        let entry = self.entries.get(key).filter(|entry| entry.ours && (entry.revision.is_some() || !fenced))?;
        let expected = entry.revision.filter(|_| fenced || entry.is_sure);
        Some(Put { key: key.to_owned(), value, expected })
    }
}

impl Entry {
    fn is_due(&self, now: Instant, refresh: Duration) -> bool {
        if self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        self.stored.as_ref().is_none_or(|(value, at)| *value != self.value || now >= *at + refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn puts(keys: usize) -> (Puts, Instant) {
        let mut puts = Puts::new(TTL);
        (0..keys).for_each(|key| puts.want(format!("k{key:03}"), "a".into()));
        (puts, crate::telemetry::clock::now())
    }

    fn store(puts: &mut Puts, now: Instant, fenced: bool) -> Vec<Put> {
        let due = puts.due(now, fenced);
        for (at, put) in (7..).zip(&due) {
            puts.answered(&put.key, now, Answer::Stored(at));
        }
        due
    }

    #[test]
    fn what_changes_is_told_at_once_and_the_rest_at_a_third_of_its_life() {
        let (mut puts, start) = puts(2);
        assert_eq!(store(&mut puts, start, false).len(), 2);
        let later = start + SPACING;
        assert_eq!(store(&mut puts, later, false), []);
        puts.want("k001".to_owned(), "b".into());
        let told = store(&mut puts, later, false);
        assert_eq!(told, [Put { key: "k001".to_owned(), value: "b".into(), expected: Some(8) }]);
        assert_eq!(store(&mut puts, start + TTL / 3 - SPACING, false), []);
        assert_eq!(store(&mut puts, start + TTL / 3, false).len(), 1, "the one that did not change");
        assert_eq!(store(&mut puts, later + TTL / 3, false).len(), 1);
    }

    #[test]
    fn a_value_that_flaps_is_put_once_a_second_and_the_last_one_wins() {
        let (mut puts, start) = puts(1);
        let mut told = Vec::new();
        for tick in 0_u32..101 {
            puts.want("k000".to_owned(), format!("{tick}").into());
            told.extend(store(&mut puts, start + tick * SPACING / 10, false));
        }
        assert_eq!(told.len(), 11, "{told:?}");
        assert_eq!(told.last().unwrap().value, "100");
    }

    #[test]
    fn many_keys_go_in_bounded_batches_and_each_once() {
        let (mut puts, now) = puts(150);
        let sizes: Vec<usize> = (0..4).map(|_| store(&mut puts, now, false).len()).collect();
        assert_eq!(sizes, [64, 64, 22, 0]);
        assert_eq!(puts.len(), 150);
    }

    #[test]
    fn what_was_not_answered_is_put_again() {
        let (mut puts, now) = puts(1);
        assert_eq!(puts.due(now, true).len(), 1);
        assert_eq!(puts.due(now + SPACING / 2, true), []);
        puts.failed();
        assert_eq!(puts.due(now + SPACING / 2, true).len(), 1);
        assert_eq!(puts.due(now + SPACING * 3 / 2, true).len(), 1);
        store(&mut puts, now + SPACING * 3, true);
        puts.again();
        assert_eq!(puts.due(now + SPACING * 3, true)[0].expected, Some(7), "it may be the other's by now");
        puts.again();
        assert_eq!(puts.due(now + SPACING * 3, false)[0].expected, None, "it may have been our own");
        puts.anew();
        let due = puts.due(now + SPACING * 3, true);
        assert_eq!(due[0].expected, None, "a bucket that was made anew knows no revision of ours");
    }

    #[test]
    fn one_of_a_pair_overwrites_nothing_that_the_other_wrote() {
        let (mut puts, now) = puts(1);
        store(&mut puts, now, true);
        puts.want("k000".to_owned(), "b".into());
        assert_eq!(puts.due(now + SPACING, true)[0].expected, Some(7));
        puts.failed();
        assert_eq!(puts.due(now + SPACING, true)[0].expected, Some(7), "whatever went wrong meanwhile");
        assert!(!puts.answered("k000", now + SPACING, Answer::Stale), "what was not answered may be there");
        assert_eq!(puts.last_of("k000", "end".into(), true), None, "it is the other's now");
        assert_eq!(puts.due(now + SPACING * 3 / 2, true), []);
        let due = puts.due(now + SPACING * 2, true);
        assert_eq!(due[0].expected, None, "it was nobody's: we still publish");
    }

    #[test]
    fn another_that_writes_the_same_key_is_noticed() {
        let (mut puts, now) = puts(1);
        store(&mut puts, now, false);
        let later = now + TTL / 3;
        assert_eq!(puts.due(later, false)[0].expected, Some(7));
        assert!(puts.answered("k000", later, Answer::Stale));
        assert_eq!(store(&mut puts, later + SPACING, false)[0].expected, None, "ours is not lost");
        puts.want("k000".to_owned(), "b".into());
        puts.due(later + SPACING * 2, false);
        puts.failed();
        assert_eq!(store(&mut puts, later + SPACING * 2, false)[0].expected, None, "it may have been our own");
    }

    #[test]
    fn what_says_less_is_put_only_where_nothing_is() {
        let (mut puts, now) = (Puts::new(TTL), crate::telemetry::clock::now());
        puts.want_if_absent("k".to_owned(), "null".into());
        assert_eq!(puts.due(now, false)[0].expected, Some(0));
        assert!(!puts.answered("k", now, Answer::Stale));
        assert_eq!(puts.due(now + OCCUPIED / 2, false), []);
        assert_eq!(puts.due(now + OCCUPIED, false)[0].expected, Some(0), "it may have expired");
        puts.answered("k", now + OCCUPIED, Answer::Stored(9));
        let later = now + OCCUPIED + TTL;
        assert_eq!(puts.due(later, true)[0].expected, Some(9));
        puts.answered("k", later, Answer::Stale);
        puts.want("k".to_owned(), "1".into());
        let due = puts.due(later, true);
        assert_eq!((due[0].expected, &due[0].value[..]), (None, &b"1"[..]), "more is known now");
    }

    #[test]
    fn the_last_word_is_said_where_the_entry_is_ours() {
        let (mut puts, now) = puts(1);
        assert_eq!(puts.last_of("k000", "end".into(), false), None, "nothing was ever put");
        store(&mut puts, now, false);
        assert_eq!(puts.last(), 7);
        assert_eq!(puts.last_of("k000", "end".into(), false).unwrap().expected, Some(7));
        puts.due(now + TTL, false);
        assert_eq!(puts.last_of("k000", "end".into(), false).unwrap().expected, None, "a put is under way");
        assert_eq!(puts.last_of("k000", "end".into(), true).unwrap().expected, Some(7), "it may be the other's");
        puts.leave(|key| key == "k000");
        assert_eq!(puts.last_of("k000", "end".into(), false), None);
    }
}
