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

/// A put that is refused is tried again after this long, and each time twice that, up to the second one.
const REFUSED: (Duration, Duration) = (SPACING, Duration::from_secs(10));

/// So often in a row somebody else must have written an entry of ours to be told of: it may be removed by hand.
const SHARED: u32 = 2;

/// The keys of one bucket.
#[derive(Debug)]
pub(super) struct Puts {
    /// How long an entry lives.
    life: Duration,
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
    /// How often it was refused since it was taken last.
    refusals: u32,
    /// How often somebody else has written or removed what was surely ours, since it last stood until its refresh.
    lost: u32,
    /// Whether what was sent follows what stood until its refresh.
    has_stood: bool,
    not_before: Option<Instant>,
}

impl Puts {
    /// Of a bucket whose entries live for `ttl`.
    pub(super) const fn new(ttl: Duration) -> Self {
        Self { life: ttl, entries: BTreeMap::new() }
    }

    /// How long what was put is left alone.
    pub(super) fn refresh(&self) -> Duration {
        self.life / REFRESHES
    }

    /// Entries of the bucket live this long, which is not for us to say.
    pub(super) const fn live_for(&mut self, life: Duration) {
        self.life = life;
    }

    /// How many entries are known to be there.
    pub(super) fn stored(&self, now: Instant) -> usize {
        let lives = |entry: &&Entry| entry.stored.as_ref().is_some_and(|(_, at)| now < *at + self.life);
        self.entries.values().filter(lives).count()
    }

    /// Whether any entry was refused when it was put last.
    pub(super) fn has_refused(&self) -> bool {
        self.entries.values().any(|entry| entry.refusals > 0)
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

    /// What is to be put now: the longest untold first, what was refused last. With `fenced` no put overwrites what
    /// another has written since our last one; without, that is found out where we know which our last one was.
    pub(super) fn due(&mut self, now: Instant, fenced: bool) -> Vec<Put> {
        let (refresh, life) = (self.refresh(), self.life);
        let mut due: Vec<(&String, &mut Entry)> =
            self.entries.iter_mut().filter(|(_, e)| e.is_due(now, refresh)).collect();
        due.sort_by_key(|(_, entry)| (entry.refusals, entry.stored.as_ref().map(|(_, at)| *at)));
        due.truncate(BATCH);
        let send = |(key, entry): (&String, &mut Entry)| {
            // What has expired is nobody's doing.
            entry.is_sure &= entry.stored.as_ref().is_some_and(|(_, at)| now < *at + life);
            let expected = match entry.is_poor {
                true => Some(entry.revision.unwrap_or(0)),
                false => entry.revision.filter(|_| fenced || entry.is_sure),
            };
            entry.has_stood = entry.stored.as_ref().is_some_and(|(_, at)| now >= *at + refresh);
            let follows = std::mem::take(&mut entry.is_sure) && !entry.is_poor;
            (entry.ours, entry.stored, entry.sent) = (true, None, Some((entry.value.clone(), follows)));
            entry.not_before = Some(now + SPACING);
            Put { key: key.clone(), value: entry.value.clone(), expected }
        };
        due.into_iter().map(send).collect()
    }

    /// The server has answered a put. Says whether somebody else keeps writing or removing what was surely ours.
    pub(super) fn answered(&mut self, key: &str, now: Instant, answer: Answer) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let sent = entry.sent.take();
        let follows = sent.as_ref().is_some_and(|(_, follows)| *follows);
        entry.refusals = 0;
        match answer {
            Answer::Stored(revision) => {
                // Whoever takes turns with another is last now and then.
                if follows && entry.has_stood {
                    entry.lost = 0;
                }
                (entry.revision, entry.is_sure) = (Some(revision), true);
                entry.stored = sent.map(|(value, _)| (value, now));
                false
            }
            // Whoever is not to write the key any more hears of it before it is due again; if we are, ours is right.
            Answer::Stale => {
                (entry.ours, entry.revision) = (false, None);
                entry.not_before = Some(now + if entry.is_poor { OCCUPIED } else { SPACING });
                entry.lost = entry.lost.saturating_add(u32::from(follows));
                follows && entry.lost >= SHARED
            }
        }
    }

    /// The server will not have this put, as it is: it waits, and the others do not wait for it.
    pub(super) fn refused(&mut self, key: &str, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let wait = REFUSED.0.saturating_mul(1 << entry.refusals.min(16)).min(REFUSED.1);
        entry.refusals = entry.refusals.saturating_add(1);
        (entry.sent, entry.not_before) = (None, Some(now + wait));
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
        assert!(!puts.answered("k000", later, Answer::Stale), "it may have been removed by hand");
        assert_eq!(store(&mut puts, later + SPACING, false)[0].expected, None, "ours is not lost");
        let mut later = later + TTL / 2;
        assert_eq!(store(&mut puts, later, false)[0].expected, Some(7), "it stayed");
        for is_told in [false, true, true] {
            later += TTL / 3;
            assert_eq!(puts.due(later, false)[0].expected, Some(7));
            assert_eq!(puts.answered("k000", later, Answer::Stale), is_told);
            later += SPACING;
            assert_eq!(store(&mut puts, later, false)[0].expected, None);
        }
        puts.want("k000".to_owned(), "b".into());
        puts.due(later + SPACING * 2, false);
        puts.failed();
        assert_eq!(store(&mut puts, later + SPACING * 2, false)[0].expected, None, "it may have been our own");
    }

    #[test]
    fn another_that_takes_turns_is_noticed_though_ours_is_the_last_now_and_then() {
        let (mut puts, mut now) = puts(1);
        store(&mut puts, now, false);
        for (value, is_told) in [("b", false), ("c", true)] {
            now += SPACING;
            puts.want("k000".to_owned(), value.into());
            puts.due(now, false);
            assert_eq!(puts.answered("k000", now, Answer::Stale), is_told);
            now += SPACING;
            assert_eq!(store(&mut puts, now, false)[0].expected, None);
            now += SPACING;
            puts.want("k000".to_owned(), "ours".into());
            assert_eq!(store(&mut puts, now, false)[0].expected, Some(7), "ours was the last");
        }
    }

    #[test]
    fn what_expires_before_it_was_expected_to_is_nobodys_doing() {
        let (mut puts, now) = puts(1);
        puts.live_for(TTL / 10);
        store(&mut puts, now, false);
        assert_eq!(store(&mut puts, now + TTL / 30, false)[0].expected, Some(7), "it is refreshed within its life");
        let late = now + TTL / 30 + TTL / 10;
        assert_eq!(puts.due(late, false)[0].expected, None, "whoever is late follows nothing");
        assert!(!puts.answered("k000", late, Answer::Stale));
    }

    #[test]
    fn what_is_refused_silences_nobody() {
        let (mut puts, mut now) = puts(150);
        for _ in 0..40 {
            for put in puts.due(now, false) {
                if put.key.as_str() < "k100" {
                    puts.refused(&put.key, now);
                } else {
                    puts.answered(&put.key, now, Answer::Stored(7));
                }
            }
            now += SPACING / 4;
        }
        assert_eq!((puts.stored(now), puts.has_refused()), (50, true));
        assert!(puts.entries["k000"].not_before <= Some(now + REFUSED.1));
        now += REFUSED.1;
        while !store(&mut puts, now, false).is_empty() {}
        assert_eq!((puts.stored(now), puts.has_refused()), (150, false));
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
