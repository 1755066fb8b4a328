//! How long a stream really keeps what it is given: the first of its bounds that is reached, at a rate.

use std::time::Duration;

use super::{Finding, Severity};
use crate::config::{Bytes, Span};
use crate::topology::model::{Discard, Stream};

/// A stream that keeps less than this part of its `max_age` is criticised.
const ENOUGH: f64 = 0.9;

/// What is known of a stream's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// Messages a second; 0: not known.
    pub(super) rate: f64,
    /// Bytes of a message in the store; 0: not known.
    pub(super) message_bytes: f64,
    /// Subjects that messages are on; 0: not known.
    pub(super) subjects: u64,
}

/// Which bound is reached before `max_age`, and when.
pub(super) fn judge(place: &str, stream: &Stream, load: Load, word: &str) -> Option<Finding> {
    if stream.max_age.is_zero() || load.rate <= 0.0 {
        return None;
    }
    let by_count = (stream.max_msgs > 0).then(|| {
        let count = stream.max_msgs;
        (count as f64 / load.rate, format!("max_msgs = {count}"))
    });
    let by_bytes = (stream.max_bytes.get() > 0 && load.message_bytes > 0.0).then(|| {
        let bytes = stream.max_bytes;
        let seconds = bytes.get() as f64 / (load.rate * load.message_bytes);
        (seconds, format!("max_bytes = {bytes} at {:.0} B a message", load.message_bytes))
    });
    let by_subject = (stream.messages_per_subject() > 0 && load.subjects > 0).then(|| {
        let (count, subjects) = (stream.messages_per_subject(), load.subjects);
        // As if all subjects had the same share; the busiest one keeps less.
        let seconds = count as f64 * subjects as f64 / load.rate;
        (seconds, format!("max_msgs_per_subject = {count} for each of {subjects} subjects"))
    });
    let bounds = by_count.into_iter().chain(by_bytes).chain(by_subject);
    let (seconds, bound) = bounds.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let age = stream.max_age.duration().as_secs_f64();
    if seconds >= age * ENOUGH {
        return None;
    }
    let refuses = stream.discard == Discard::New;
    let what = if refuses { "is full after" } else { "keeps" };
    let message = format!(
        "{bound} {what} {} at the {word} {} messages a second, not the {} of max_age",
        about(seconds),
        short(load.rate),
        stream.max_age,
    );
    Some(Finding::new(Severity::Warning, "retention", place, message, cure(stream, load)))
}

/// The bounds that the age would need.
fn cure(stream: &Stream, load: Load) -> String {
    let age = stream.max_age.duration().as_secs_f64();
    let mut needs = Vec::new();
    if stream.max_msgs > 0 {
        needs.push(format!("max_msgs = {}", whole(load.rate * age)));
    }
    if stream.max_bytes.get() > 0 && load.message_bytes > 0.0 {
        let gib = whole(load.rate * age * load.message_bytes / (1_u64 << 30) as f64).max(1);
        needs.push(format!("max_bytes = {}", Bytes::gib(gib)));
    }
    if stream.messages_per_subject() > 0 && load.subjects > 0 {
        let count = whole(load.rate * age / load.subjects as f64);
        let bytes = stream.message_bytes.get().saturating_mul(count).div_ceil(1 << 20);
        needs.push(if stream.max_bytes_per_subject.get() > 0 {
            format!("max_bytes_per_subject = {}", Bytes::mib(bytes))
        } else {
            format!("max_msgs_per_subject = {count}")
        });
    }
    format!("{} would keep {}", needs.join(" and "), stream.max_age)
}

/// Rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that is far below 2^53")]
fn whole(value: f64) -> u64 {
    value.ceil() as u64
}

/// A time in at most two units.
pub(super) fn about(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9);
    let grain = if seconds < 60.0 {
        0.001
    } else if seconds < 86_400.0 {
        1.0
    } else {
        3_600.0
    };
    Span::from(Duration::from_secs_f64((seconds / grain).round() * grain)).to_string()
}

/// A rate without a tail of digits.
fn short(rate: f64) -> String {
    if rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.2}") }
}
