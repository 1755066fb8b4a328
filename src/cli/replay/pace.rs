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

/// Keeps the pace.
pub(super) struct Pace {
    speed: Speed,
    /// When the first record went out, and its time of receipt.
    began: Option<(Instant, u64)>,
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
        Self { speed, began: None, enter }
    }

    /// What a record of this time of receipt waits for.
    pub(super) fn due(&mut self, time: u64) -> Due {
        match self.speed {
            Speed::Max => Due::Now,
            Speed::Step => Due::Enter,
            Speed::Times(times) => {
                let now = clock::now();
                let (start, first) = *self.began.get_or_insert((now, time));
                let wait = Duration::from_nanos(time.saturating_sub(first));
                // A time that is beyond all waiting is one of the other end of time: it is not waited for.
                let wait = Duration::try_from_secs_f64(wait.as_secs_f64() / times).unwrap_or_default();
                start.checked_add(wait).filter(|at| *at > now).map_or(Due::Now, Due::At)
            }
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
    fn speeds_are_read() {
        assert_eq!("original".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("2.5x".parse(), Ok(Speed::Times(2.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for wrong in ["", "x", "0x", "-1x", "fast", "NaNx"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
