//! The rings as they are recorded: a row of files for each, named by its writer's beginning.

use std::collections::BTreeMap;
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
use crate::transport::ipc::Gone;
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
    let ends = recorder.folder.ends()?;
    recorder.folder.claim(&json!({
        "recording": 1,
        "rings": ipc.shm_path_prefix,
        "exchanges": wanted.exchanges,
        "symbols": wanted.symbols,
        "format": recorder.format().ending(),
    }))?;
    let begin = if wanted.since == Since::Now && ends.is_empty() { Begin::Newest } else { Begin::Oldest };
    let config = IpcConfig {
        exchanges: wanted.exchanges.clone(),
        symbols: wanted.symbols.clone(),
        shm_path_prefix: ipc.shm_path_prefix.clone(),
        begin,
        wait: Waiting::Sleep(NAP),
        ..IpcConfig::default()
    };
    let mut source = IpcSource::open(&config).map_err(Failure::failed)?;
    begins(&source, &ends, recorder);
    loop {
        for _ in 0..BURST {
            if recorder.is_full() {
                return Ok(());
            }
            match next(&mut source, recorder)? {
                Some(Some(row)) => {
                    let end = ends.get(&*row.exchange).copied();
                    let known = end.is_some_and(|(epoch, last)| {
                        let (of, at) = row.place.numbers();
                        of == epoch && at <= last
                    });
                    let late = matches!(wanted.until, Some(Since::Time(until)) if time(&row.record) > until);
                    if !known && !late && !is_older(&row.record, wanted.since) {
                        let exchange = Arc::clone(&row.exchange);
                        recorder.take(&exchange, &[row], None).await?;
                    }
                }
                Some(None) => {}
                None if wanted.follow => break,
                None => return Ok(()),
            }
        }
        recorder.tick().await?;
        if stop.came().await {
            return Ok(());
        }
        if source.readers().all(|reader| reader.behind() == 0) {
            tokio::time::sleep(NAP).await;
        }
    }
}

/// Tells where rings are recorded on, and what they have overwritten since the last run.
fn begins(source: &IpcSource, ends: &BTreeMap<String, (u64, u64)>, recorder: &mut Recorder) {
    for reader in source.readers() {
        let Some((epoch, last)) = ends.get(reader.exchange()).copied() else { continue };
        let exchange = reader.exchange();
        if reader.epoch() != epoch {
            recorder.say(&format!("{exchange}: another writer since the last run; what its ring held before is gone"));
            continue;
        }
        recorder.say(&format!("going on behind record {last} of {exchange}"));
        if reader.position() > last.saturating_add(1) {
            let what = format!("{exchange}: records {} to {} were overwritten", last + 1, reader.position() - 1);
            recorder.lost(reader.position() - 1 - last, &format!("{what} before they were recorded"));
        }
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
            let what = match reason {
                Gone::Closed => "the writer has closed the ring".to_owned(),
                reason => reason.to_string(),
            };
            recorder.say(&format!("{exchange}: {what}"));
            return Ok(Some(None));
        }
        Ok(Some(Event::WriterChanged { exchange, .. })) => {
            recorder.say(&format!("{exchange}: a new writer has taken over"));
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
