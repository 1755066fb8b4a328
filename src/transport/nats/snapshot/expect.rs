//! What a stream must hold once it is restored, from what is known of its backup.
//!
//! Of a stream that nobody wrote to it is known exactly. Of one that changed meanwhile it lies between what the stream
//! held before and after.

use std::ops::RangeInclusive;

use super::{Content, Layout, State};

/// Bounds of what a restored stream reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Messages.
    pub messages: RangeInclusive<u64>,
    /// Sequence of the first.
    pub first_seq: RangeInclusive<u64>,
    /// Sequence of the last.
    pub last_seq: RangeInclusive<u64>,
    /// Consumers.
    pub consumers: u64,
    /// Which messages may have expired since.
    pub expiry: Expiry,
}

/// Which messages of a backup may have expired since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// None.
    #[default]
    None,
    /// Some of the oldest, and not the newest.
    Oldest,
    /// Any.
    Any,
}

impl Expect {
    /// From the state before, the state after, and what was in the snapshot.
    #[must_use]
    pub fn new(before: &State, after: &State, content: &Content, expiry: Expiry) -> Self {
        let came = after.last_seq.saturating_sub(before.last_seq);
        // What was there before and still is there after must be in it.
        let least = after.messages.saturating_sub(came).min(before.messages);
        let first = before.first_seq..=after.first_seq.max(before.first_seq);
        let (messages, first_seq, last_seq) = match content.layout {
            // The server writes down what came up to its begin, and skips to its last sequence.
            Layout::Messages => {
                let last = *first.end().max(&content.first_seq);
                (content.messages..=content.messages, before.first_seq..=last, before.last_seq..=before.last_seq)
            }
            Layout::Files => (
                least..=before.messages.saturating_add(came),
                first,
                before.last_seq..=after.last_seq.max(before.last_seq),
            ),
        };
        Self { messages, first_seq, last_seq, consumers: content.consumers, expiry }
    }

    /// Why a snapshot with this in it cannot be all of the stream.
    #[must_use]
    pub fn lacks(before: &State, after: &State, content: &Content) -> Option<String> {
        let came = after.last_seq.saturating_sub(before.last_seq);
        let least = after.messages.saturating_sub(came).min(before.messages);
        let (held, most) = (content.messages, before.messages);
        (content.layout == Layout::Messages && !(least..=most).contains(&held))
            .then(|| format!("it holds {held} messages, and the stream held {}", range(&(least..=most))))
    }

    /// What a restored stream has otherwise than it must.
    #[must_use]
    pub fn differences(&self, state: &State) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, is: u64, must: RangeInclusive<u64>| {
            if !must.contains(&is) {
                found.push(format!("{what} {is}, of the backup {}", range(&must)));
            }
        };
        // What came since it is there is none of the backup's.
        let since = state.last_seq.saturating_sub(*self.last_seq.end());
        let least = match self.expiry {
            Expiry::None => *self.messages.start(),
            Expiry::Oldest => 1.min(*self.messages.start()),
            Expiry::Any => 0,
        };
        compare("messages", state.messages, least..=self.messages.end().saturating_add(since));
        compare("last sequence", state.last_seq, *self.last_seq.start()..=self.last_seq.end().saturating_add(since));
        // An empty stream may say 0, 1 or what comes next.
        if state.messages > 0 {
            let (start, end) = self.first_seq.clone().into_inner();
            let end = if self.expiry == Expiry::None { end.max(1) } else { u64::MAX };
            compare("first sequence", state.first_seq, start.max(1)..=end);
        }
        compare("consumers", state.consumer_count, self.consumers..=self.consumers);
        found
    }
}

fn range(range: &RangeInclusive<u64>) -> String {
    let (start, end) = (range.start(), range.end());
    match *end {
        u64::MAX => format!("{start} or later"),
        end if *start == end => end.to_string(),
        end => format!("{start} to {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(messages: u64, first_seq: u64, last_seq: u64) -> State {
        State { messages, first_seq, last_seq, ..State::default() }
    }

    fn content(layout: Layout, messages: u64, first_seq: u64, last_seq: u64) -> Content {
        Content { layout, bytes: 0, consumers: 0, messages, first_seq, last_seq }
    }

    #[test]
    fn a_stream_that_rested_comes_back_exactly() {
        let rested = state(90, 5, 100);
        for layout in [Layout::Files, Layout::Messages] {
            let expect = Expect::new(&rested, &rested, &content(layout, 90, 5, 100), Expiry::None);
            assert_eq!(expect.differences(&rested), Vec::<String>::new());
            let told = expect.differences(&state(91, 4, 100));
            assert_eq!(told, ["messages 91, of the backup 90", "first sequence 4, of the backup 5"]);
            assert_eq!(expect.differences(&state(89, 5, 99)).len(), 2);
            // Somebody published since.
            assert_eq!(expect.differences(&state(92, 5, 102)), Vec::<String>::new());
            assert_eq!(expect.differences(&state(93, 5, 102)).len(), 1);
        }
    }

    #[test]
    fn of_a_stream_that_moved_what_stayed_must_be_there() {
        let (before, after) = (state(90, 5, 100), state(95, 10, 110));
        assert_eq!(Expect::lacks(&before, &after, &content(Layout::Messages, 85, 10, 100)), None);
        assert!(Expect::lacks(&before, &after, &content(Layout::Messages, 84, 10, 100)).is_some());
        assert_eq!(Expect::lacks(&before, &after, &content(Layout::Files, 0, 0, 0)), None);
        let expect = Expect::new(&before, &after, &content(Layout::Files, 0, 0, 0), Expiry::None);
        assert_eq!(expect.differences(&state(90, 5, 100)), Vec::<String>::new());
        assert_eq!(expect.differences(&state(95, 10, 110)), Vec::<String>::new());
        assert_eq!(expect.differences(&state(84, 10, 100)).len(), 1);
        assert_eq!(expect.differences(&state(101, 1, 100)).len(), 2, "what was removed has come back");
    }

    #[test]
    fn what_has_expired_is_not_missed_and_an_empty_stream_is_empty() {
        let rested = state(90, 5, 100);
        let expect = |expiry| Expect::new(&rested, &rested, &content(Layout::Files, 0, 0, 0), expiry);
        assert_eq!(expect(Expiry::Any).differences(&state(0, 101, 100)), Vec::<String>::new());
        assert_eq!(expect(Expiry::Any).differences(&state(0, 1, 0)).len(), 1);
        assert_eq!(expect(Expiry::Oldest).differences(&state(40, 51, 100)), Vec::<String>::new());
        assert_eq!(expect(Expiry::Oldest).differences(&state(0, 101, 100)).len(), 1, "the newest is missed");
        assert_eq!(expect(Expiry::None).differences(&state(40, 51, 100)).len(), 2);
        let empty = state(0, 0, 0);
        let expect = Expect::new(&empty, &empty, &content(Layout::Messages, 0, 0, 0), Expiry::Oldest);
        assert_eq!(expect.differences(&state(0, 1, 0)), Vec::<String>::new());
    }
}
