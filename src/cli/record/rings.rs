//! The rings as they are recorded: a row of files for each, named by its writer's beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::Failure;
use super::super::recording::series::time;
use super::super::recording::{Place, Row};
use super::super::signals::Stop;
use super::super::tail::is_older;
use super::Wanted;
use super::recorder::Recorder;
use crate::config::Settings;
use crate::market::Record;
use crate::source::{self, Begin, Event, IpcConfig, IpcSource, Lost, TradeSource as _, Waiting};
use crate::transport::ipc::{Gone, Reader};
use crate::transport::nats::consumer::Since;

/// A ring without anything new is looked at again after this.
const NAP: Duration = Duration::from_millis(1);
/// Records that are taken before signals and files are looked at.
const BURST: usize = 1_024;

/// Records the rings until they end, enough is recorded, or it is told to stop.
pub(super) async fn run(
    settings: &Settings,
    wanted: &Wanted,
    recorder: &mut Recorder,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let ipc = &settings.transport.ipc;
    recorder.claim(&json!({
        "recording": 1,
        "rings": ipc.shm_path_prefix,
        "exchanges": wanted.exchanges,
        "symbols": wanted.symbols,
        "format": recorder.format().ending(),
    }))?;
    let first = recorder.is_first();
    let begin = if wanted.since == Since::Now && first { Begin::Newest } else { Begin::Oldest };
    let config = IpcConfig {
        exchanges: wanted.exchanges.clone(),
        symbols: wanted.symbols.clone(),
        shm_path_prefix: ipc.shm_path_prefix.clone(),
        begin,
        wait: Waiting::Sleep(NAP),
        ..IpcConfig::default()
    };
    let mut source = IpcSource::open(&config).map_err(Failure::failed)?;
    let mut course = Course::new(&source, wanted, recorder);
    loop {
        for _ in 0..BURST {
            if recorder.is_full() {
                return course.seen(&source, recorder);
            }
            match next(&mut source, recorder)? {
                Some(Some(row)) => course.take(row, recorder)?,
                Some(None) => {}
                None if wanted.follow => break,
                None => return course.seen(&source, recorder),
            }
        }
        course.seen(&source, recorder)?;
        recorder.tick()?;
        if stop.came().await {
            return Ok(());
        }
        if source.readers().all(|reader| reader.behind() == 0) {
            recorder.idle(NAP).await;
        }
    }
}

/// What is taken of the rings.
struct Course<'a> {
    wanted: &'a Wanted,
    /// Rings that no run before has recorded: --since is for these.
    first: BTreeSet<String>,
    /// Those of them of which it is not on the disk yet where the first wanted record is.
    unbegun: BTreeSet<String>,
    /// Where other runs have ended: the ring's epoch, and the last record that is not wanted again.
    known: BTreeMap<String, (u64, u64)>,
    /// Where the first record behind --until stands in a ring: it, and all behind it, is left to a later run.
    late: BTreeMap<(String, u64), u64>,
}

impl<'a> Course<'a> {
    /// Tells where rings are recorded on, and what they have overwritten since the last run.
    fn new(source: &IpcSource, wanted: &'a Wanted, recorder: &mut Recorder) -> Self {
        let first = source.exchanges().filter(|exchange| !recorder.knows(exchange)).map(str::to_owned);
        let first: BTreeSet<String> = first.collect();
        let mut known = BTreeMap::new();
        for reader in source.readers() {
            let (exchange, position) = (reader.exchange(), reader.position());
            let Some(last) = recorder.end(exchange, reader.epoch()) else {
                if recorder.has_begun(exchange, reader.epoch()) {
                    overwritten(exchange, 0, position, recorder);
                } else if recorder.knows(exchange) {
                    let what = "another writer since the last run; what its ring held at the end is not known";
                    recorder.doubt(&format!("{exchange}: {what}"));
                    overwritten(exchange, 0, position, recorder);
                }
                continue;
            };
            recorder.say(&format!("going on behind record {last} of {exchange}"));
            known.insert(exchange.to_owned(), (reader.epoch(), last));
            overwritten(exchange, last.saturating_add(1), position, recorder);
        }
        Self { wanted, unbegun: first.clone(), first, known, late: BTreeMap::new() }
    }

    /// Takes a record, if it is wanted and was not taken before.
    fn take(&mut self, row: Row, recorder: &mut Recorder) -> Result<(), Failure> {
        let exchange = Arc::clone(&row.exchange);
        let (epoch, at) = row.place.numbers();
        let ring = (exchange.to_string(), epoch);
        // Times need not grow. What the next run begins with must not be taken twice, nor anything in front of it.
        let is_behind = self.late.contains_key(&ring);
        if is_behind || matches!(self.wanted.until, Some(Since::Time(until)) if time(&row.record) > until) {
            self.late.entry(ring).or_insert(at);
            return Ok(());
        }
        let known = self.known.get(&*exchange).is_some_and(|(of, end)| *of == epoch && at <= *end);
        let older = is_older(&row.record, self.wanted.since) && self.first.contains(&*exchange);
        if known || older {
            return Ok(());
        }
        if self.unbegun.remove(&*exchange) {
            recorder.begins(&exchange, epoch, at)?;
        }
        recorder.take(&exchange, &[row], None)
    }

    /// Notes how far the rings are read.
    fn seen(&mut self, source: &IpcSource, recorder: &mut Recorder) -> Result<(), Failure> {
        for reader in source.readers() {
            let late = self.late.get(&(reader.exchange().to_owned(), reader.epoch())).copied();
            let next = late.unwrap_or(u64::MAX).min(reader.position());
            // What lies in front of the end is not wanted; what comes behind it is.
            if reader.behind() == 0 && self.unbegun.remove(reader.exchange()) {
                recorder.begins(reader.exchange(), reader.epoch(), next)?;
            }
            if let Some(last) = next.checked_sub(1) {
                recorder.sees(reader.exchange(), reader.epoch(), last);
            }
        }
        Ok(())
    }
}

/// Tells that a ring no longer has its records from `from` on, up to where its reader stands.
fn overwritten(exchange: &str, from: u64, position: u64, recorder: &mut Recorder) {
    if position > from {
        let what = format!("{exchange}: records {from} to {} were overwritten", position - 1);
        recorder.lost(position - from, &format!("{what} before they were recorded"));
    }
}

/// The next record; nothing in place of a word about a writer, and `None` where there is no more now.
fn next(source: &mut IpcSource, recorder: &mut Recorder) -> Result<Option<Option<Row>>, Failure> {
    let (exchange, symbol, place, record) = match source.next(Duration::ZERO) {
        Ok(None) => return Ok(None),
        Ok(Some(Event::Trade(trade))) => (trade.exchange, trade.symbol, trade.place, Record::Trade(trade.msg)),
        Ok(Some(Event::Gap(gap))) => (gap.exchange, gap.symbol, gap.place, Record::Gap(gap.msg)),
        Ok(Some(Event::Lost(Lost::Lagged { exchange, records }))) => {
            recorder.lost(records, &format!("{exchange}: too slow, {records} records lost"));
            return Ok(Some(None));
        }
        Ok(Some(Event::WriterGone { exchange, reason })) => {
            match reason {
                Gone::Closed => recorder.say(&format!("{exchange}: the writer has closed the ring")),
                // What it held behind its last record that was read is gone with it.
                Gone::Truncated { .. } => recorder.doubt(&format!("{exchange}: {reason}")),
                reason => recorder.say(&format!("{exchange}: {reason}")),
            }
            return Ok(Some(None));
        }
        Ok(Some(Event::WriterChanged { exchange, epoch })) => {
            recorder.say(&format!("{exchange}: a new writer has taken over"));
            let exchange = exchange.to_owned();
            let mut readers =
                source.readers().filter(|reader| reader.exchange() == exchange && reader.epoch() == epoch);
            let position = readers.next().map_or(0, Reader::position);
            overwritten(&exchange, 0, position, recorder);
            return Ok(Some(None));
        }
        Ok(Some(_)) => return Ok(Some(None)),
        Err(error @ source::SourceError::Kind { .. }) => {
            recorder.unreadable(&error.to_string());
            return Ok(Some(None));
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    let source::Place::Ring { epoch, position } = place else { return Ok(Some(None)) };
    let symbol = if symbol.is_empty() { format!("#{}", record.instrument_id()).into() } else { symbol.into() };
    let place = Place::Ring { epoch, position };
    Ok(Some(Some(Row { exchange: exchange.into(), symbol, place, record })))
}
