//! A recording into rings: a writer for each exchange, which shows life as long as it takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::pace::{Due, Pace};
use super::{Instruments, Source};
use crate::cli::Failure;
use crate::cli::progress::{Progress, plural};
use crate::cli::recording::series::time;
use crate::cli::signals::Stop;
use crate::config::settings::Ipc;
use crate::market::Symbol;
use crate::telemetry::clock;
use crate::transport::ipc::{Writer, WriterConfig, parse_mode};

/// Each ring shows life this often.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Records that are read before heartbeat and signals have their turn.
const BURST: u64 = 4_096;

type Writers = BTreeMap<Arc<str>, Writer>;

/// Replays it.
pub(super) async fn run(
    ipc: &Ipc,
    source: &Source,
    instruments: &Instruments,
    records: u64,
    mut pace: Pace,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let mut writers = create(ipc, instruments)?;
    let (mut rows, mut progress, mut sent) = (source.rows()?, Progress::new("replaying"), 0_u64);
    while let Some(row) = rows.step()? {
        let turn = rows.read.is_multiple_of(BURST);
        let Some(row) = row else {
            // What is not wanted takes its time too.
            if turn && !wait(&mut writers, &mut pace, &Due::Now, stop).await {
                break;
            }
            continue;
        };
        let due = pace.due(time(&row.record));
        if (turn || !matches!(due, Due::Now)) && !wait(&mut writers, &mut pace, &due, stop).await {
            break;
        }
        if let Some(writer) = writers.get_mut(&row.exchange) {
            writer.push(&row.record);
            sent += 1;
        }
        progress.tell(sent, || Some((sent, records)));
    }
    progress.end();
    let names: Vec<String> = writers.values().map(|writer| writer.path().display().to_string()).collect();
    writers.into_values().for_each(Writer::close);
    let (sent_text, instruments) = (plural(sent, "record"), plural(instruments.len() as u64, "instrument"));
    eprintln!("{sent_text} of {instruments} to {}", names.join(", "));
    if sent == records { Ok(()) } else { Err(Failure::failed(format!("ended before {} more records", records - sent))) }
}

/// Creates the rings, all their symbols in their tables.
fn create(ipc: &Ipc, instruments: &Instruments) -> Result<Writers, Failure> {
    let mode = parse_mode(&ipc.mode).map_err(Failure::config)?;
    let mut tables: BTreeMap<&Arc<str>, Vec<(u32, Symbol)>> = BTreeMap::new();
    for (exchange, symbol, id) in instruments {
        let table = tables.entry(exchange).or_default();
        // A record of an instrument that the ring did not name.
        if !symbol.starts_with('#') {
            table.push((*id, Symbol::new(symbol).map_err(Failure::failed)?));
        }
    }
    let mut writers = Writers::new();
    for (exchange, symbols) in tables {
        let config = WriterConfig {
            path_prefix: ipc.shm_path_prefix.clone(),
            exchange: exchange.to_string(),
            capacity: ipc.capacity,
            symbols_max: ipc.symbols_max,
            mode,
            ..WriterConfig::default()
        };
        let writer = Writer::create(&config, symbols.iter().map(|(id, symbol)| (*id, symbol)));
        writers.insert(Arc::clone(exchange), writer.map_err(Failure::failed)?);
    }
    Ok(writers)
}

/// Waits until the next record is due, and shows life meanwhile; false where it is to end.
async fn wait(writers: &mut Writers, pace: &mut Pace, due: &Due, stop: &mut Stop) -> bool {
    let alive = |writers: &mut Writers| {
        let now = clock::wall_ns();
        for writer in writers.values_mut() {
            writer.publish();
            writer.heartbeat(now);
        }
    };
    alive(writers);
    if matches!(due, Due::Now) {
        return !stop.came().await;
    }
    let waiting = pace.wait(due);
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return false,
            () = &mut waiting => return true,
            () = tokio::time::sleep(HEARTBEAT) => alive(writers),
        }
    }
}
