//! What a stream removes by its limits before it is read: known to its readers before they read on.
//!
//! A reader is told what it missed at the place where it is missing, so the stream is asked for its oldest message
//! before what has arrived is handed out: once a second while there is more to read, each time where the reader is
//! about to be overtaken, and where sequences jump farther than they have before. A limit on each subject removes the
//! oldest of a busy one from the middle of the stream; that can meet unread messages only where as many wait as the
//! limit allows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;

use super::connect::Chain;
use super::stream_manager;
use super::take::Subjects;
use crate::telemetry::clock;

/// The stream is asked this often while there is more to read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An answer is waited for so long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Where there is none, it is asked less and less often, this seldom at last.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A reader is about to be overtaken where the stream's oldest message will have come up with it in so many seconds.
const MARGIN_S: u64 = 8;
/// Messages that may be on their way to a reader that the server counts as delivered.
const ON_THE_WAY: u64 = 2_048;
/// Subjects that are asked for at the same time.
const AT_ONCE: usize = 64;
/// A reader that was away for so long may have been overtaken meanwhile.
const AWAY: Duration = Duration::from_secs(5);

/// The stream as a reader sees it.
#[derive(Debug)]
pub(super) struct Watch {
    stream: String,
    /// When it may be asked again.
    due: Option<Instant>,
    pause: Duration,
    /// Its oldest sequence, about a second ago, and when that was asked.
    mark: Option<(u64, Instant)>,
    /// Sequences by which the oldest one moves in a second; none: not known yet.
    speed: Option<u64>,
    /// Sequences between two messages, at most, of which it is known what lies in between.
    jump: u64,
    /// Unread messages may be removed at any time.
    risk: bool,
    /// When the reader was here last.
    here: Option<Instant>,
    /// When the stream was made, ns since the Unix epoch; none: not known yet.
    created: Option<i128>,
    /// There was no such stream when it was asked last.
    missing: bool,
}

/// What a stream says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// It is another one than before, of the same name.
    pub(super) is_other: bool,
    /// Its last sequence.
    pub(super) last: u64,
}

impl Watch {
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            due: None,
            pause: LOOK_EVERY,
            mark: None,
            speed: None,
            jump: 1,
            risk: false,
            here: None,
            created: None,
            missing: false,
        }
    }

    /// A connection begins: how the stream stands, where the server says.
    pub(super) async fn begin(&mut self, client: &Client, subjects: &mut Subjects) -> Option<Seen> {
        (self.due, self.pause, self.mark, self.risk) = (None, LOOK_EVERY, None, false);
        let info = self.ask(client).await?;
        subjects.note_oldest(info.state.first_sequence);
        let created = info.created.unix_timestamp_nanos();
        let is_other = self.created.replace(created).is_some_and(|before| before != created);
        Some(Seen { is_other, last: info.state.last_sequence })
    }

    /// Whether the server has said that there is no such stream.
    pub(super) const fn is_missing(&self) -> bool {
        self.missing
    }

    /// Whether it is known to be another stream than the one that is read.
    pub(super) async fn is_other(&mut self, client: &Client) -> bool {
        if self.is_paused(clock::now()) {
            return false;
        }
        let created = self.ask(client).await.map(|info| info.created.unix_timestamp_nanos());
        self.created.is_some_and(|before| created.is_some_and(|created| created != before))
    }

    /// The reader waits for more from now on, or has got some.
    pub(super) fn is_here(&mut self) {
        let now = clock::now();
        if self.here.replace(now).is_some_and(|here| now.saturating_duration_since(here) > AWAY) {
            (self.due, self.mark) = (None, None);
        }
    }

    /// Before messages with these sequences and subjects are handed out: what is missing in front of them is noted in
    /// `subjects`. `behind` are the messages that wait, these among them. `false`: they are another stream's.
    pub(super) async fn look<'a>(
        &mut self,
        client: Option<&Client>,
        arrived: impl Iterator<Item = (u64, &'a str)> + Clone,
        behind: u64,
        subjects: &mut Subjects,
    ) -> bool {
        let now = clock::now();
        let mut reached = subjects.reached();
        let jump =
            arrived.clone().map(|(sequence, _)| sequence.saturating_sub(std::mem::replace(&mut reached, sequence)));
        let jump = jump.max().unwrap_or(0);
        // A reader that has everything misses nothing, but after a break.
        let due = match self.mark {
            None => self.due.is_none_or(|at| now >= at),
            Some(_) => behind > 1 && (self.risk || jump > self.jump || self.due.is_none_or(|at| now >= at)),
        };
        let Some(client) = client.filter(|_| due) else { return true };
        let Some(info) = self.oldest(client).await else { return true };
        let created = info.created.unix_timestamp_nanos();
        if self.created.is_some_and(|before| before != created) {
            return false;
        }
        let oldest = info.state.first_sequence;
        subjects.note_oldest(oldest);
        self.jump = self.jump.max(jump);
        let limit = u64::try_from(info.config.max_messages_per_subject).unwrap_or(0);
        let full = limit > 0 && behind.saturating_add(ON_THE_WAY) >= limit;
        // How fast it moves is known a second later.
        let near = self.speed.is_none_or(|speed| {
            speed > 0 && subjects.reached() < oldest.saturating_add(speed.saturating_mul(MARGIN_S))
        });
        self.risk = full || near;
        if full {
            let names: BTreeSet<String> = arrived.map(|(_, subject)| subject.to_owned()).collect();
            self.look_into(client, names, limit, subjects).await;
        }
        true
    }

    /// The stream's oldest sequence, where the server says.
    pub(super) async fn first(&mut self, client: &Client) -> Option<u64> {
        self.oldest(client).await.map(|info| info.state.first_sequence)
    }

    async fn oldest(&mut self, client: &Client) -> Option<stream::Info> {
        let now = clock::now();
        if self.is_paused(now) {
            return None;
        }
        let info = self.ask(client).await?;
        let oldest = info.state.first_sequence;
        match self.mark {
            Some((before, at)) if now.saturating_duration_since(at) >= LOOK_EVERY => {
                let ms = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX).max(1);
                self.speed = Some(oldest.saturating_sub(before).saturating_mul(1_000) / ms);
                self.mark = Some((oldest, now));
            }
            Some(_) => {}
            None => (self.mark, self.speed) = (Some((oldest, now)), None),
        }
        self.due = Some(now + LOOK_EVERY);
        Some(info)
    }

    /// The oldest message of each of these subjects. One of which nothing was read yet counts only where it is full:
    /// what it has may be all that it ever had.
    async fn look_into(&self, client: &Client, names: BTreeSet<String>, limit: u64, subjects: &mut Subjects) {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(TIMEOUT);
        let Ok(stream) = context.get_stream_no_info(&self.stream).await else { return };
        let stream = &stream;
        let names: Vec<_> = names.into_iter().map(|name| (subjects.is_new(&name), name)).collect();
        let ask = |(is_new, name): (bool, String)| async move {
            if is_new && count(stream, &name).await.is_none_or(|count| count < limit) {
                return None;
            }
            // None is left, or it is not said: what came can still be handed out.
            let found = stream.get_first_raw_message_by_subject(&name, 1).await.ok()?;
            Some((name, found.sequence))
        };
        let mut answers = futures_util::stream::iter(names).map(ask).buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            if let Some((name, oldest)) = answer {
                subjects.note_oldest_of(&name, oldest);
            }
        }
    }

    /// Whether it did not answer, and is not to be asked again yet.
    fn is_paused(&self, now: Instant) -> bool {
        self.pause > LOOK_EVERY && self.due.is_some_and(|at| now < at)
    }

    async fn ask(&mut self, client: &Client) -> Option<stream::Info> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(TIMEOUT);
        self.missing = false;
        let reason = match context.get_stream(&self.stream).await {
            Ok(stream) if stream_manager::is_leaders(stream.cached_info()) => {
                self.pause = LOOK_EVERY;
                return Some(stream.cached_info().clone());
            }
            // It looks for one; soon there is.
            Ok(_) => "the stream has no leader".to_owned(),
            Err(error) => {
                self.missing = stream_manager::is_missing(&error);
                Chain(&error).to_string()
            }
        };
        // Who reads it tells that.
        if self.pause == LOOK_EVERY && !self.missing {
            tracing::warn!(
                stream = self.stream,
                err = reason,
                "the stream does not say what it still has: what it removes unread may go untold"
            );
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.due = Some(clock::now() + self.pause);
        None
    }
}

/// Messages that a subject has.
async fn count(stream: &stream::Stream<()>, subject: &str) -> Option<u64> {
    let mut subjects = stream.info_with_subjects(subject).await.ok()?;
    subjects.next().await?.ok().map(|(_, count)| count as u64)
}
