//! A recording into a stream: its messages as they were, in order.

use bytes::{Bytes, BytesMut};

use super::pace::{Due, Pace};
use super::{Instruments, Rows, Source};
use crate::cli::Failure;
use crate::cli::progress::{Progress, plural};
use crate::cli::recording::series::time;
use crate::cli::recording::{Place, Row};
use crate::cli::signals::Stop;
use crate::config::settings::Nats;
use crate::market::{Record, SubjectKind};
use crate::transport::nats::copy::{Copied, Copy};

/// Names that an error lists.
const NAMES_MAX: usize = 5;

/// Replays it.
pub(super) async fn run(
    nats: &Nats,
    append: bool,
    source: &Source,
    instruments: &Instruments,
    records: u64,
    mut pace: Pace,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let name = &nats.jetstream.stream_name;
    let mut copy = Copy::open(nats).await.map_err(Failure::failed)?;
    if !append {
        let there = copy.instruments(nats).await.map_err(Failure::failed)?;
        let same = instruments.iter().filter(|(exchange, symbol, _)| held(&there, exchange, symbol));
        let same: Vec<String> = same.map(|(exchange, symbol, _)| format!("{exchange} {symbol}")).collect();
        if !same.is_empty() {
            let names = same.get(..NAMES_MAX).unwrap_or(&same).join(", ");
            let text = format!("stream {name} holds records of {names} already; give --append, or another --stream");
            return Err(Failure::failed(text));
        }
    }
    let (mut rows, mut progress, mut sent) = (source.rows()?, Progress::new("replaying"), 0_u64);
    let mut next = rows.next(stop).await?;
    while let Some(first) = next.take() {
        let (message, behind) = message(first, &mut rows, stop).await?;
        next = behind;
        let due = pace.due(time(&message.first.record));
        if !matches!(due, Due::Now) {
            copy.flush().await.map_err(Failure::failed)?;
        }
        let waited = tokio::select! {
            biased;
            () = stop.wait() => false,
            () = pace.wait(&due) => true,
        };
        if !waited {
            break;
        }
        let Message { first: Row { exchange, symbol, record, .. }, payload, count } = message;
        let kind = kind(&record);
        copy.send(&exchange, &symbol, kind, payload).await.map_err(Failure::failed)?;
        sent += count;
        progress.tell(sent, || Some((sent, records)));
    }
    progress.end();
    let Copied { messages, without_id } = copy.finish().await.map_err(Failure::failed)?;
    let (sent_text, instruments) = (plural(sent, "record"), plural(instruments.len() as u64, "instrument"));
    eprintln!("{sent_text} of {instruments} in {} to stream {name}", plural(messages, "message"));
    if without_id > 0 {
        let what = "of them went without Nats-Msg-Id: they have that of a message shortly before them";
        eprintln!("{without_id} {what}, and the stream would have taken them for the same");
    }
    if sent == records { Ok(()) } else { Err(Failure::failed(format!("ended before {} more records", records - sent))) }
}

fn held(there: &std::collections::BTreeSet<(String, String)>, exchange: &str, symbol: &str) -> bool {
    there.contains(&(exchange.to_owned(), symbol.to_owned()))
}

const fn kind(record: &Record) -> SubjectKind {
    match record {
        Record::Trade(_) => SubjectKind::Trades,
        Record::Gap(_) => SubjectKind::Gaps,
    }
}

/// A message as it was recorded.
struct Message {
    first: Row,
    payload: Bytes,
    count: u64,
}

/// The message that begins with this record, and the record behind it. Where it is to end, that may not be whole.
async fn message(first: Row, rows: &mut Rows<'_>, stop: &mut Stop) -> Result<(Message, Option<Row>), Failure> {
    let mut payload = BytesMut::from(first.record.as_bytes().as_slice());
    let mut count = 1;
    loop {
        let next = rows.next(stop).await?;
        match &next {
            Some(row) if is_same(&first, row, count) => {
                payload.extend_from_slice(row.record.as_bytes());
                count += 1;
            }
            _ => return Ok((Message { first, payload: payload.freeze(), count }, next)),
        }
    }
}

/// Whether a record stood in the message that began with `first`, behind so many.
fn is_same(first: &Row, row: &Row, count: u64) -> bool {
    let (Place::Stream { sequence, .. }, Place::Stream { sequence: other, index }) = (first.place, row.place) else {
        return false;
    };
    let names = (&first.exchange, &first.symbol) == (&row.exchange, &row.symbol);
    names && sequence == other && u64::from(index) == count && kind(&first.record) == kind(&row.record)
}
