//! Recorded frames of a venue, read line by line: `.jsonl` or `.jsonl.gz`, with receive times beside them.
//!
//! Nothing is held in memory but the line at hand, so a capture may be of any size. It does not send.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::config::{Pace, SimError};
use super::twin::{Recorded, Twin};
use crate::exchange::profile::FRAME_BYTES_MAX;

/// A capture that is being replayed.
pub(super) struct Capture {
    frames: Lines,
    times: Option<Times>,
    pace: Pace,
    /// When the frame at hand is due, since the start.
    due: Duration,
    at_hand: Option<String>,
    played: u64,
}

/// The receive times beside a capture.
struct Times {
    lines: Lines,
    /// The first one, nanoseconds since the Unix epoch.
    first: Option<u64>,
    whole_seconds: bool,
}

/// What a look through a capture finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Canonical symbols in order of appearance.
    pub(super) symbols: Vec<String>,
    /// Frames with a trade.
    pub(super) trades: u64,
}

impl Capture {
    pub(super) fn open(path: &Path, pace: Pace) -> Result<Self, SimError> {
        let times = match pace {
            Pace::Original { .. } => Some(Times::beside(path)?),
            Pace::Rate(_) | Pace::FlatOut => None,
        };
        let mut this = Self { frames: Lines::open(path)?, times, pace, due: Duration::ZERO, at_hand: None, played: 0 };
        this.advance()?;
        Ok(this)
    }

    /// When the next frame is due, since the start, and the frame. `None` at the end.
    pub(super) fn peek(&self) -> Option<(Duration, &str)> {
        self.at_hand.as_deref().map(|frame| (self.due, frame))
    }

    /// Goes on to the frame after it.
    pub(super) fn advance(&mut self) -> Result<(), SimError> {
        // An error ends the capture.
        self.at_hand = None;
        let Some(frame) = self.frames.next()? else { return Ok(()) };
        let due = match (self.pace, &mut self.times) {
            (Pace::Original { speed }, Some(times)) => times.next()?.div_f64(speed),
            (Pace::Rate(rate), _) => seconds(self.played, rate),
            _ => Duration::ZERO,
        };
        // A recorder's clock may step back; a replay does not.
        self.due = self.due.max(due);
        self.played += 1;
        self.at_hand = Some(frame);
        Ok(())
    }
}

/// Looks through a whole capture.
pub(super) fn survey(path: &Path, twin: &dyn Twin) -> Result<Contents, SimError> {
    let mut lines = Lines::open(path)?;
    let mut contents = Contents::default();
    while let Some(frame) = lines.next()? {
        if let Recorded::Trade(symbol, _) = twin.read(&frame) {
            contents.trades += 1;
            if !contents.symbols.contains(&symbol) {
                contents.symbols.push(symbol);
            }
        }
    }
    if contents.trades == 0 {
        let message = format!("no line is a trade of {}; is it of another venue?", twin.name());
        return Err(SimError::Capture { path: path.to_owned(), message });
    }
    Ok(contents)
}

impl Times {
    fn beside(capture: &Path) -> Result<Self, SimError> {
        let text = capture.to_string_lossy();
        let stem = text.trim_end_matches(".gz").trim_end_matches(".jsonl");
        for (suffix, whole_seconds) in [("recv_ns", false), ("recv_s", true)] {
            for end in ["txt", "txt.gz"] {
                let path = PathBuf::from(format!("{stem}.{suffix}.{end}"));
                if path.exists() {
                    return Ok(Self { lines: Lines::open(&path)?, first: None, whole_seconds });
                }
            }
        }
        let message = format!("no {stem}.recv_ns.txt or .recv_s.txt beside it; give a rate, or play it flat out");
        Err(SimError::Capture { path: capture.to_owned(), message })
    }

    /// The next time, since the first.
    fn next(&mut self) -> Result<Duration, SimError> {
        let Some(text) = self.lines.next()? else {
            return Err(self.lines.wrong("fewer times than frames"));
        };
        let ns = if self.whole_seconds { ns_of_seconds(text.trim()) } else { text.trim().parse().ok() };
        let Some(ns) = ns else {
            return Err(self.lines.wrong("not a time"));
        };
        let first = *self.first.get_or_insert(ns);
        Ok(Duration::from_nanos(ns.saturating_sub(first)))
    }
}

/// `1631234567.123456` as nanoseconds.
fn ns_of_seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.get(..fraction.len().min(9))?;
    let fraction: u64 = format!("{digits:0<9}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn seconds(count: u64, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 frames")]
    let seconds = count as f64 / rate;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The lines of a text file, maybe gzipped; empty ones are left out.
struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, SimError> {
        let file = File::open(path).map_err(|source| SimError::Read { path: path.to_owned(), source })?;
        let gzipped = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn BufRead + Send> =
            if gzipped { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(BufReader::new(file)) };
        Ok(Self { path: path.to_owned(), reader, number: 0 })
    }

    fn next(&mut self) -> Result<Option<String>, SimError> {
        loop {
            let mut line = String::new();
            let longest = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX) + 2;
            self.number += 1;
            let read = self.reader.by_ref().take(longest).read_line(&mut line).map_err(|source| self.failed(source))?;
            if read == 0 {
                return Ok(None);
            }
            let text = line.trim_end_matches(['\n', '\r']);
            if text.len() > FRAME_BYTES_MAX {
                return Err(self.wrong("a longer line than any frame"));
            }
            if !text.is_empty() {
                line.truncate(text.len());
                return Ok(Some(line));
            }
        }
    }

    fn failed(&self, source: io::Error) -> SimError {
        if source.kind() == io::ErrorKind::InvalidData {
            return self.wrong("not UTF-8");
        }
        SimError::Read { path: self.path.clone(), source }
    }

    fn wrong(&self, what: &str) -> SimError {
        SimError::Capture { path: self.path.clone(), message: format!("line {}: {what}", self.number) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        let mut file = File::create(&path).unwrap();
        if name.ends_with(".gz") {
            let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gz.write_all(text.as_bytes()).unwrap();
            gz.finish().unwrap();
        } else {
            file.write_all(text.as_bytes()).unwrap();
        }
        path
    }

    fn play(mut capture: Capture) -> Vec<(u64, String)> {
        let mut played = Vec::new();
        while let Some((due, frame)) = capture.peek() {
            played.push((u64::try_from(due.as_micros()).unwrap(), frame.to_owned()));
            capture.advance().unwrap();
        }
        played
    }

    #[test]
    fn original_pace_follows_the_times_and_never_steps_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "a.jsonl.gz", "one\n\ntwo\r\nthree\n");
        write(dir.path(), "a.recv_s.txt", "100.5\n100.4\n101.500004\n");
        let played = play(Capture::open(&path, Pace::Original { speed: 2.0 }).unwrap());
        assert_eq!(played, [(0, "one".to_owned()), (0, "two".to_owned()), (500_002, "three".to_owned())]);
    }

    #[test]
    fn a_rate_is_even_and_needs_no_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "b.jsonl", "one\ntwo\nthree");
        let played = play(Capture::open(&path, Pace::Rate(100.0)).unwrap());
        assert_eq!(played.iter().map(|(due, _)| *due).collect::<Vec<_>>(), [0, 10_000, 20_000]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "c.jsonl", "one\ntwo\n");
        let error = Capture::open(&path, Pace::Original { speed: 1.0 }).err().unwrap().to_string();
        assert!(error.contains("recv_ns.txt"), "{error}");
        write(dir.path(), "c.recv_ns.txt", "1\nx\n");
        let mut capture = Capture::open(&path, Pace::Original { speed: 1.0 }).unwrap();
        let error = capture.advance().unwrap_err().to_string();
        assert!(error.contains("line 2: not a time"), "{error}");
    }
}
