//! The stream as it is recorded: what is stored, then, where it is asked for, what comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::Failure;
use super::super::recording::{Place, Row};
use super::super::signals::Stop;
use super::Wanted;
use super::recorder::Recorder;
use crate::config::settings::Nats;
use crate::market::trade::RECORD_BYTES;
use crate::market::{Record, SubjectKind, subject};
use crate::telemetry::clock;
use crate::transport::nats::consumer::{Filter, Since, Tail, TailError};
use crate::transport::nats::scan::{Scan, Stored};

/// A stream of which not all is wanted is asked so often what it still has.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// While nothing comes it is looked this often whether a file is to be completed.
const TICK: Duration = Duration::from_millis(250);
/// The stream is asked so long what it has behind the last record.
const REST: Duration = Duration::from_secs(5);

/// Records the stream until it ends, is full, or is told to stop.
pub(super) async fn run(nats: &Nats, wanted: &Wanted, recorder: &mut Recorder, stop: &mut Stop) -> Result<(), Failure> {
    let name = &nats.jetstream.stream_name;
    let filter = Filter { exchanges: wanted.exchanges.clone(), symbols: wanted.symbols.clone(), kind: None };
    let scan = tokio::select! {
        biased;
        () = stop.wait() => return Ok(()),
        scan = open(nats, wanted, &filter, recorder) => scan,
    };
    let mut scan = scan?;
    let (recorded, end) = (recorder.recorded(name, 0), recorder.end(name, 0));
    let mut course = Course::new(nats, wanted.is_all(), end);
    let last = scan.last_sequence();
    if let Some(end) = end {
        if last < end {
            return Err(course.went_back(&format!("it ends at {last}, and was recorded up to {end}")));
        }
        recorder.say(&format!("going on behind sequence {end} of stream {name}"));
        course.begins(scan.first_sequence(), recorder);
    } else {
        recorder.begins(name, 0, scan.position())?;
    }
    if let Some(recorded) = recorded {
        course.recorded = recorder.folder.last_message(name, recorded)?;
    }
    let whole = course.scan(&mut scan, wanted, recorder, stop).await?;
    course.look_again(&scan, recorder, stop).await;
    let created = scan.created_ns();
    drop(scan);
    if !whole || !wanted.follow {
        return Ok(());
    }
    Box::pin(follow(nats, filter.clone(), last, &mut course, recorder, stop)).await?;
    course.note_rest(nats, filter, created, recorder, stop).await;
    Ok(())
}

/// Begins to read where earlier runs have ended, and makes the folder one of this.
async fn open(nats: &Nats, wanted: &Wanted, filter: &Filter, recorder: &mut Recorder) -> Result<Scan, Failure> {
    let name = &nats.jetstream.stream_name;
    loop {
        let (recorded, end) = (recorder.recorded(name, 0), recorder.end(name, 0));
        // The last message that was recorded is read again, to see whether it is still the same.
        let since = recorded.or(end).map_or(wanted.since, Since::Sequence);
        let scan = Scan::open(nats, filter.clone(), since).await.map_err(Failure::failed)?;
        let last = scan.last_sequence();
        if let Since::Sequence(first) = wanted.since
            && end.is_none()
            && first > last.saturating_add(1)
        {
            let why = format!("it ends at sequence {last}, and recording is to begin at {first}");
            return Err(Failure::failed(format!("stream {name}: {why}; begin at another place")));
        }
        recorder.claim(&json!({
            "recording": 1,
            "stream": name,
            "created_ns": scan.created_ns(),
            "subject_prefix": nats.jetstream.subject_prefix,
            "exchanges": wanted.exchanges,
            "symbols": wanted.symbols,
            "format": recorder.format().ending(),
        }))?;
        // Else it was seen by a recording of something else, and this one is the first.
        if (recorder.recorded(name, 0), recorder.end(name, 0)) == (recorded, end) {
            return Ok(scan);
        }
    }
}

/// Records what comes behind a sequence.
async fn follow(
    nats: &Nats,
    filter: Filter,
    behind: u64,
    course: &mut Course,
    recorder: &mut Recorder,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let since = Since::Sequence(behind.saturating_add(1));
    let mut tail = tokio::select! {
        biased;
        () = stop.wait() => return Ok(()),
        tail = Tail::open(nats, filter, since) => tail.map_err(Failure::failed)?,
    };
    let mut rows = Vec::new();
    loop {
        while let Some(next) = tail.pop() {
            match next {
                Ok(item) => {
                    let place = Place::Stream { sequence: item.sequence, index: index(&rows) };
                    rows.push(Row { exchange: item.exchange, symbol: item.symbol, place, record: item.record });
                    if tail.front() != Some(item.sequence) {
                        course.take(item.sequence, &rows, None, recorder)?;
                        rows.clear();
                    }
                }
                Err(error @ TailError::Removed { last, .. }) => course.removed(last, &error, recorder),
                Err(error @ TailError::Anew { .. }) => {
                    return Err(Failure::failed(format!("{error}; record it into another folder")));
                }
                Err(error @ TailError::Message { sequence, .. }) => {
                    course.passes(sequence, recorder);
                    recorder.unreadable(&error.to_string());
                }
                Err(error) => return Err(Failure::failed(error)),
            }
            if recorder.is_full() && rows.is_empty() {
                return Ok(());
            }
        }
        let fill = tail.fill();
        tokio::pin!(fill);
        loop {
            // A connection that is being made is not begun anew with each tick.
            tokio::select! {
                biased;
                () = stop.wait() => return Ok(()),
                () = &mut fill => break,
                () = recorder.idle(TICK) => recorder.tick()?,
            }
        }
        recorder.tick()?;
    }
}

fn index(rows: &[Row]) -> u32 {
    u32::try_from(rows.len()).unwrap_or(u32::MAX)
}

/// How far the stream is read.
struct Course {
    name: String,
    prefix: String,
    /// Whether each sequence is to be there: nothing is left out.
    all: bool,
    /// The last sequence that was seen.
    last: Option<u64>,
    /// The message that was recorded last; empty once it was seen again.
    recorded: Vec<Row>,
    /// Why it could not be looked what the stream still has.
    blind: Option<String>,
    /// What subjects are, where they are ours.
    names: HashMap<String, Option<Names>>,
}

type Names = (Arc<str>, Arc<str>, SubjectKind);

impl Course {
    fn new(nats: &Nats, all: bool, last: Option<u64>) -> Self {
        let stream = &nats.jetstream;
        Self {
            name: stream.stream_name.clone(),
            prefix: stream.subject_prefix.clone(),
            all,
            last,
            recorded: Vec::new(),
            blind: None,
            names: HashMap::new(),
        }
    }

    /// Records what is stored; whether all of it was read.
    async fn scan(
        &mut self,
        scan: &mut Scan,
        wanted: &Wanted,
        recorder: &mut Recorder,
        stop: &mut Stop,
    ) -> Result<bool, Failure> {
        let last = scan.last_sequence();
        let bound = match wanted.until {
            Some(Since::Sequence(sequence)) => last.min(sequence),
            _ => last,
        };
        let (behind, mut looked) = (self.last.unwrap_or(0), clock::now());
        loop {
            let stored = tokio::select! {
                biased;
                () = stop.wait() => return Ok(false),
                stored = scan.next() => stored.map_err(Failure::failed)?,
            };
            let late = stored.as_ref().filter(|stored| {
                matches!(wanted.until, Some(Since::Time(until)) if stored.stored_ns > until) || stored.sequence > bound
            });
            let seen = late.map_or(bound, |late| late.sequence.saturating_sub(1).min(bound));
            let is_end = stored.is_none();
            let Some(stored) = stored.filter(|stored| stored.sequence <= seen) else {
                if is_end {
                    self.passes(bound.saturating_add(1), recorder);
                    self.last = Some(bound.max(behind));
                }
                recorder.sees(&self.name, 0, seen.max(behind));
                return Ok(true);
            };
            if clock::now().saturating_duration_since(looked) >= LOOK_EVERY {
                tokio::select! {
                    biased;
                    () = stop.wait() => return Ok(false),
                    () = self.look(scan, recorder) => {}
                }
                looked = clock::now();
            }
            if stored.sequence <= behind {
                self.compare(&stored)?;
                continue;
            }
            self.stored(&stored, bound, recorder)?;
            recorder.tick()?;
            if recorder.is_full() {
                return Ok(false);
            }
        }
    }

    /// Looks whether the stream has removed what lies in front. Where nothing is left out, the holes tell.
    /// A look that fails ends nothing: the next one tells what it would have told.
    async fn look(&mut self, scan: &Scan, recorder: &mut Recorder) {
        let Some(last) = self.last.filter(|_| !self.all) else { return };
        let first = match scan.first_now().await {
            Ok(first) => first,
            Err(error) => {
                self.blind = Some(error.to_string());
                return;
            }
        };
        self.blind = None;
        if first > last.saturating_add(1) {
            let what = format!("sequences {} to {} were removed before they were read", last + 1, first - 1);
            recorder.doubt(&format!("{what}; what was asked for may be among them"));
        }
    }

    /// Looks once more where the last look has failed.
    async fn look_again(&mut self, scan: &Scan, recorder: &mut Recorder, stop: &mut Stop) {
        if self.blind.is_some() {
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = self.look(scan, recorder) => {}
            }
        }
        if let Some(why) = self.blind.take() {
            recorder.doubt(&format!("it is not known what was removed before it was read: {why}"));
        }
    }

    /// Notes up to where the stream has nothing more that is wanted: what is removed of that is no loss to the next
    /// run. Without an answer it is not noted.
    async fn note_rest(&self, nats: &Nats, filter: Filter, created: u64, recorder: &mut Recorder, stop: &mut Stop) {
        let Some(last) = self.last.filter(|_| !self.all) else { return };
        let open = Scan::open(nats, filter, Since::Sequence(last.saturating_add(1)));
        let rest = tokio::select! {
            biased;
            () = stop.again() => return,
            rest = tokio::time::timeout(REST, open) => rest,
        };
        if let Ok(Ok(rest)) = rest
            && rest.is_done()
            && rest.created_ns() == created
        {
            recorder.sees(&self.name, 0, last.max(rest.last_sequence()));
        }
    }

    /// Takes note of what a reader says was removed.
    fn removed(&mut self, last: u64, error: &TailError, recorder: &mut Recorder) {
        match error {
            _ if !self.all => recorder.doubt(&format!("{error}; what was asked for may be among them")),
            // Others may lie in between: what is missing in front of each message is counted there.
            TailError::Removed { instrument: Some(_), .. } => return,
            _ => self.passes(last.saturating_add(1), recorder),
        }
        self.last = self.last.max(Some(last));
    }

    /// Sees whether the message that was recorded last is still the same.
    fn compare(&mut self, stored: &Stored) -> Result<(), Failure> {
        let recorded = std::mem::take(&mut self.recorded);
        let is_it = |row: &Row| row.place == Place::Stream { sequence: stored.sequence, index: 0 };
        let bytes = || recorded.iter().flat_map(|row| *row.record.as_bytes()).collect::<Vec<u8>>();
        // Of one that cannot be read, what stands in front of the fault is taken as it comes.
        let is_same = self.rows(stored).map_or_else(|_| stored.payload.starts_with(&bytes()), |rows| rows == recorded);
        if is_same || !recorded.first().is_some_and(is_it) {
            return Ok(());
        }
        Err(self.went_back(&format!("sequence {} is not the message that was recorded", stored.sequence)))
    }

    /// A stream that has lost its end and grown again counts the same sequences anew.
    fn went_back(&self, what: &str) -> Failure {
        let name = &self.name;
        Failure::failed(format!(
            "stream {name}: {what}: it went back, as behind a crash or out of a backup; record into another folder"
        ))
    }

    /// Tells what the stream has removed since the last run.
    fn begins(&mut self, first: u64, recorder: &mut Recorder) {
        let Some(last) = self.last.filter(|last| first > last.saturating_add(1)) else { return };
        let what = format!("sequences {} to {} were removed before they were recorded", last + 1, first - 1);
        match self.all {
            true => recorder.lost(first - 1 - last, &what),
            false => recorder.doubt(&format!("{what}; what was asked for may be among them")),
        }
        self.last = Some(first - 1);
    }

    /// Moves on to a sequence: what is missing in front of it is lost. Whether one that is not there was asked for
    /// cannot be known where some are left out.
    fn passes(&mut self, sequence: u64, recorder: &mut Recorder) {
        if let Some(last) = self.last.filter(|last| self.all && sequence > last.saturating_add(1)) {
            let what = format!(
                "sequences {} to {} were removed from the stream before they were read",
                last + 1,
                sequence - 1
            );
            recorder.lost(sequence - 1 - last, &what);
        }
        self.last = self.last.max(Some(sequence));
    }

    fn take(
        &mut self,
        sequence: u64,
        rows: &[Row],
        part: Option<(u64, u64)>,
        recorder: &mut Recorder,
    ) -> Result<(), Failure> {
        self.passes(sequence, recorder);
        recorder.take(&self.name, rows, part)
    }

    /// Takes a message that was stored.
    fn stored(&mut self, stored: &Stored, end: u64, recorder: &mut Recorder) -> Result<(), Failure> {
        match self.rows(stored) {
            Ok(rows) => self.take(stored.sequence, &rows, Some((stored.sequence, end)), recorder),
            Err(why) => {
                self.passes(stored.sequence, recorder);
                recorder.unreadable(&format!("sequence {} on {}: {why}", stored.sequence, stored.subject));
                Ok(())
            }
        }
    }

    fn rows(&mut self, stored: &Stored) -> Result<Vec<Row>, String> {
        if !self.names.contains_key(&stored.subject) {
            let parts = subject::parse(&self.prefix, &stored.subject);
            let names = parts.map(|parts| (parts.exchange.into(), parts.symbol.into(), parts.kind));
            self.names.insert(stored.subject.clone(), names);
        }
        let Some(Some((exchange, symbol, kind))) = self.names.get(&stored.subject) else {
            return Err("no subject of ours".to_owned());
        };
        let length = stored.payload.len();
        if length == 0 || !length.is_multiple_of(RECORD_BYTES) {
            return Err(format!("{length} bytes are no records of {RECORD_BYTES}"));
        }
        let row = |(index, bytes): (usize, &[u8])| {
            let record = Record::from_bytes(bytes).map_err(|error| error.to_string())?;
            if matches!(record, Record::Trade(_)) != (*kind == SubjectKind::Trades) {
                return Err(format!("a record of the other kind on .{}", kind.as_str()));
            }
            let index = u32::try_from(index).map_err(|error| error.to_string())?;
            let place = Place::Stream { sequence: stored.sequence, index };
            Ok(Row { exchange: Arc::clone(exchange), symbol: Arc::clone(symbol), place, record })
        };
        stored.payload.chunks_exact(RECORD_BYTES).enumerate().map(row).collect()
    }
}
