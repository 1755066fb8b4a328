//! What is to be put into a bucket and when: what has changed at once, the rest again before it would expire. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::transport::nats::kv::{Answer, Put};

/// A key is put at most once in this time: of values that change faster the last one is told.
const SPACING: Duration = Duration::from_secs(1);

/// A key that another instance has written meanwhile is left alone for this long.
const HOLD: Duration = Duration::from_secs(10);

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
    /// What the bucket is known to hold, and since when.
    stored: Option<(Bytes, Instant)>,
    /// What was sent, and not answered.
    sent: Option<Bytes>,
    /// The revision of our last put, where its answer came.
    revision: Option<u64>,
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
        self.entries.entry(key).or_default().value = value;
    }

    /// What is to be put now, the longest untold first. With `fenced` no put overwrites what another has written.
    pub(super) fn due(&mut self, now: Instant, fenced: bool) -> Vec<Put> {
        let refresh = self.refresh;
        let mut due: Vec<(&String, &mut Entry)> =
            self.entries.iter_mut().filter(|(_, e)| e.is_due(now, refresh)).collect();
        due.sort_by_key(|(_, entry)| entry.stored.as_ref().map(|(_, at)| *at));
        due.truncate(BATCH);
        let send = |(key, entry): (&String, &mut Entry)| {
            let expected = entry.revision.take().filter(|_| fenced);
            (entry.ours, entry.stored, entry.sent) = (true, None, Some(entry.value.clone()));
            entry.not_before = Some(now + SPACING);
            Put { key: key.clone(), value: entry.value.clone(), expected }
        };
        due.into_iter().map(send).collect()
    }

    /// The server has answered a put.
    pub(super) fn answered(&mut self, key: &str, now: Instant, answer: Answer) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let sent = entry.sent.take();
        match answer {
            Answer::Stored(revision) => {
                entry.revision = Some(revision);
                entry.stored = sent.map(|value| (value, now));
            }
            Answer::Stale => {
                entry.ours = false;
                entry.not_before = Some(now + HOLD);
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

    /// Nothing is known any more of what the bucket holds: all is to be put again.
    pub(super) fn again(&mut self) {
        for entry in self.entries.values_mut() {
            (entry.stored, entry.sent, entry.revision, entry.not_before) = (None, None, None, None);
        }
    }

    /// Another instance writes these keys from now on.
    pub(super) fn leave(&mut self, is_left: impl Fn(&str) -> bool) {
        self.entries.retain(|key, _| !is_left(key));
    }

    /// The put of a last value; `None` where the key is not ours, or with `fenced` where that is not certain.
    pub(super) fn last_of(&self, key: &str, value: Bytes, fenced: bool) -> Option<Put> {
        let entry = self.entries.get(key).filter(|entry| entry.ours && (entry.revision.is_some() || !fenced))?;
        Some(Put { key: key.to_owned(), value, expected: entry.revision })
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
        assert_eq!(told, [Put { key: "k001".to_owned(), value: "b".into(), expected: None }]);
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
        store(&mut puts, now + SPACING * 2, true);
        puts.again();
        let due = puts.due(now + SPACING * 2, true);
        assert_eq!(due[0].expected, None, "a bucket that was made anew knows no revision of ours");
    }

    #[test]
    fn one_of_a_pair_overwrites_nothing_that_the_other_wrote() {
        let (mut puts, now) = puts(1);
        store(&mut puts, now, true);
        puts.want("k000".to_owned(), "b".into());
        let due = puts.due(now + SPACING, true);
        assert_eq!(due[0].expected, Some(7));
        puts.answered("k000", now + SPACING, Answer::Stale);
        assert_eq!(puts.last_of("k000", "end".into(), true), None, "it is the other's now");
        assert_eq!(puts.due(now + HOLD, true), []);
        assert_eq!(puts.due(now + SPACING + HOLD, true).len(), 1, "it was nobody's: we still publish");
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
        assert_eq!(puts.last_of("k000", "end".into(), true), None, "it may be the other's");
        puts.leave(|key| key == "k000");
        assert_eq!(puts.last_of("k000", "end".into(), false), None);
    }
}
