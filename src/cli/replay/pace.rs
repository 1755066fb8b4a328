//! When the next record is due: as it was received, faster, at once, or when somebody presses Enter.

use std::str::FromStr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader, Stdin};

use crate::telemetry::clock;

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// So many times as fast as it was received.
    Times(f64),
    /// As fast as it goes.
    Max,
    /// One at a time.
    Step,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "original" => return Ok(Self::Times(1.0)),
            "max" => return Ok(Self::Max),
            "step" => return Ok(Self::Step),
            _ => {}
        }
        let times = text.strip_suffix(['x', 'X']).and_then(|times| times.parse::<f64>().ok());
        let times = times.filter(|times| (0.001..=1e12).contains(times));
        times
            .map(Self::Times)
            .ok_or_else(|| "write original, max, step, or how many times faster, such as 10x".to_owned())
    }
}

/// A step between two times of receipt that is longer is no wait: the recording pauses, or one of the times is none.
const STEP_MAX: Duration = Duration::from_secs(86_400);
/// Such steps that are said one by one.
const TOLD_MAX: u32 = 5;

/// Keeps the pace.
pub(super) struct Pace {
    speed: Speed,
    /// When the last record was due, and the latest time of receipt so far.
    last: Option<(Instant, u64)>,
    /// Steps that were passed over.
    passed: u32,
    enter: Option<BufReader<Stdin>>,
}

/// What the next record waits for.
pub(super) enum Due {
    /// Nothing.
    Now,
    /// A moment.
    At(Instant),
    /// Enter.
    Enter,
}

impl Pace {
    pub(super) fn new(speed: Speed) -> Self {
        let enter = (speed == Speed::Step).then(|| BufReader::new(tokio::io::stdin()));
        Self { speed, last: None, passed: 0, enter }
    }

    /// What a record of this time of receipt waits for.
    pub(super) fn due(&mut self, time: u64) -> Due {
        match self.speed {
            Speed::Max => Due::Now,
            Speed::Step => Due::Enter,
            Speed::Times(times) => {
                let now = clock::now();
                let at = self.at(now, time, times);
                if at > now { Due::At(at) } else { Due::Now }
            }
        }
    }

    /// When a record of this time of receipt is due: behind the last one by the step between their times.
    fn at(&mut self, now: Instant, time: u64, times: f64) -> Instant {
        let (due, before) = *self.last.get_or_insert((now, time));
        let step = Duration::from_nanos(time.abs_diff(before));
        if step > STEP_MAX {
            self.pass_over(step, before, time);
            let due = due.max(now);
            self.last = Some((due, time));
            return due;
        }
        if time <= before {
            return due;
        }
        let wait = Duration::try_from_secs_f64(step.as_secs_f64() / times).unwrap_or_default();
        let due = due.checked_add(wait).unwrap_or(due);
        self.last = Some((due, time));
        due
    }

    fn pass_over(&mut self, step: Duration, before: u64, time: u64) {
        self.passed += 1;
        let way = if time > before { "later" } else { "earlier" };
        let more = if self.passed == TOLD_MAX { "; what else there is of this kind is not told" } else { "" };
        if self.passed <= TOLD_MAX {
            let days = step.as_secs() / 86_400;
            eprintln!("a record is {days} days {way} than the one before it: it is not waited for{more}");
        }
    }

    /// Waits for it.
    pub(super) async fn wait(&mut self, due: &Due) {
        match due {
            Due::Now => {}
            Due::At(at) => tokio::time::sleep_until((*at).into()).await,
            Due::Enter => {
                let Some(enter) = &mut self.enter else { return };
                let mut line = Vec::new();
                // Behind the end of the input there is nobody to wait for.
                if !matches!(enter.read_until(b'\n', &mut line).await, Ok(count) if count > 0) {
                    self.speed = Speed::Max;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_however_odd_is_waited_for_longer_than_a_day() {
        let now = clock::now();
        let mut pace = Pace::new(Speed::Times(1.0));
        let second = 1_000_000_000;
        let start = 1_700_000_000 * second;
        // The time of a record, and when it is due, in seconds behind the first one.
        for (time, due) in [
            (0, 0),
            (start, 0),
            (start + second, 1),
            (u64::MAX, 1),
            (start + 2 * second, 1),
            (start + 3 * second, 2),
            // One that is late by a second does not make the others wait.
            (start + 2 * second, 2),
            (start + 4 * second, 3),
            (0, 3),
            (start, 3),
            (start + 3_600 * second, 3_603),
        ] {
            assert_eq!(pace.at(now, time, 1.0), now + Duration::from_secs(due), "{time}");
        }
        assert_eq!(pace.passed, 5);
        let mut pace = Pace::new(Speed::Times(10.0));
        assert_eq!(pace.at(now, start, 10.0), now);
        assert_eq!(pace.at(now, start + second, 10.0), now + Duration::from_millis(100));
    }

    #[test]
    fn speeds_are_read() {
        assert_eq!("original".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("2.5x".parse(), Ok(Speed::Times(2.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for wrong in ["", "x", "0x", "-1x", "fast", "NaNx"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
