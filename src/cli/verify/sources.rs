//! What can be audited: the stream, the rings, a recording.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use super::super::Failure;
use super::super::progress::Progress;
#[cfg(feature = "record")]
use super::super::recording::parquet;
use super::book::{Book, Findings, Wanted};
use super::recording::{self, Found, Kind};
use crate::config::Settings;
use crate::config::settings::Nats;
use crate::exchange::registry;
use crate::feed::audit::Class;
use crate::market::instrument::instrument_id;
use crate::market::trade::RECORD_BYTES;
use crate::market::{Record, SubjectKind, subject};
use crate::transport::ipc::{DIRECTORY, Next, Reader, segment_path, segments};
use crate::transport::nats::consumer::{Filter, Since};
use crate::transport::nats::scan::{Scan, Stored};

/// A ring that overtakes its reader so often is written faster than it is read.
const RING_ATTEMPTS: u32 = 4;
/// Names that an error lists.
const NAMES_MAX: usize = 12;

/// Exchanges and symbols that there are, for errors.
pub(super) type Names = BTreeSet<(String, String)>;

/// What was read: the findings, and what else is there.
pub(super) struct Audited {
    pub(super) findings: Findings,
    pub(super) names: Names,
}

/// Audits a stream, up to what was its last message at the start.
pub(super) async fn stream(nats: &Nats, wanted: &Wanted, since: Since, until: Option<u64>) -> Result<Audited, Failure> {
    let prefix = &nats.jetstream.subject_prefix;
    let filter = Filter { exchanges: wanted.exchanges.clone(), symbols: wanted.symbols.clone(), kind: None };
    let mut scan = Scan::open(nats, filter, since).await.map_err(Failure::failed)?;
    let last = scan.last_sequence().min(until.unwrap_or(u64::MAX));
    let (mut book, mut subjects, mut progress) = (Book::default(), Subjects::default(), Progress::new("auditing"));
    while let Some(stored) = scan.next().await.map_err(Failure::failed)? {
        // Times of storage never go back within a stream.
        if stored.sequence > last || wanted.until_ns.is_some_and(|until| stored.stored_ns > until) {
            break;
        }
        subjects.take(prefix, &stored, &mut book);
        progress.tell(book.records, || Some((stored.sequence, last)));
    }
    progress.end();
    let mut findings = book.finish();
    for entry in findings.entries.iter_mut().filter(|entry| entry.report.count(Class::Silent) > 0) {
        // The limits of a stream remove its oldest messages while they are read.
        let subject = subject::subject(prefix, &entry.exchange, &entry.symbol, SubjectKind::Trades);
        if let Some(first) = scan.first_of(&subject).await {
            entry.report.excuse_until(first);
        }
    }
    let names = match findings.entries.is_empty() || !findings.missing(wanted).is_empty() {
        true => scan.instruments().await.map_err(Failure::failed)?,
        false => Names::new(),
    };
    Ok(Audited { findings, names })
}

/// The audits behind subjects.
#[derive(Default)]
struct Subjects {
    known: HashMap<String, Option<(usize, SubjectKind)>>,
}

impl Subjects {
    fn take(&mut self, prefix: &str, stored: &Stored, book: &mut Book) {
        let at = stored.sequence;
        if !self.known.contains_key(&stored.subject) {
            let parts = subject::parse(prefix, &stored.subject);
            let found = parts.map(|parts| (book.open(&parts.exchange, &parts.symbol, None), parts.kind));
            self.known.insert(stored.subject.clone(), found);
        }
        let Some((place, kind)) = self.known.get(&stored.subject).copied().flatten() else {
            return book.stray(at, format!("a message on {}, which is no subject of ours", stored.subject));
        };
        let length = stored.payload.len();
        if length == 0 || !length.is_multiple_of(RECORD_BYTES) {
            return book.bad(place, at, &format!("{length} bytes are no records of {RECORD_BYTES}"));
        }
        for bytes in stored.payload.chunks_exact(RECORD_BYTES) {
            match (kind, Record::from_bytes(bytes)) {
                (SubjectKind::Trades, Ok(record @ Record::Trade(_)))
                | (SubjectKind::Gaps, Ok(record @ Record::Gap(_))) => book.take(place, at, &record),
                (_, Ok(_)) => book.bad(place, at, &format!("a record of the other kind on .{}", kind.as_str())),
                (_, Err(error)) => book.bad(place, at, &error.to_string()),
            }
        }
    }
}

/// Audits the rings, from the oldest to the newest record that is there.
pub(super) fn rings(settings: &Settings, wanted: &Wanted) -> Result<Audited, Failure> {
    let (directory, prefix) = (Path::new(DIRECTORY), &settings.transport.ipc.shm_path_prefix);
    let mut exchanges = wanted.exchanges.clone();
    if exchanges.is_empty() {
        exchanges = segments(directory, prefix).map_err(Failure::failed)?;
    }
    if exchanges.is_empty() {
        let hint = "start `data-manager serve --ipc`";
        return Err(Failure::failed(format!("no segment {DIRECTORY}{prefix}* in shared memory; {hint}")));
    }
    let (mut book, mut names) = (Book::default(), Names::new());
    for exchange in exchanges {
        let path = segment_path(directory, prefix, &exchange).map_err(Failure::usage)?;
        let mut reader = Reader::open(&path).map_err(Failure::failed)?;
        book.append(ring(&mut reader, &exchange, wanted)?);
        names.extend(reader.symbols().map(|(_, symbol)| (exchange.clone(), symbol.to_string())));
    }
    Ok(Audited { findings: book.finish(), names })
}

fn ring(reader: &mut Reader, exchange: &str, wanted: &Wanted) -> Result<Book, Failure> {
    let mut book = Book::default();
    for _ in 0..RING_ATTEMPTS {
        book.clear();
        reader.from_oldest();
        let end = reader.position() + reader.behind();
        if ring_until(reader, end, exchange, wanted, &mut book) {
            return Ok(book);
        }
    }
    let hint = "it is written faster than it is read here; give it more transport.ipc.capacity";
    Err(Failure::failed(format!("{}: overtaken {RING_ATTEMPTS} times; {hint}", reader.path().display())))
}

/// Reads up to a position; false where the writer has overtaken.
fn ring_until(reader: &mut Reader, end: u64, exchange: &str, wanted: &Wanted, book: &mut Book) -> bool {
    let mut progress = Progress::new("auditing");
    let start = reader.position();
    while reader.position() < end {
        match reader.poll() {
            Next::Record(record, position) => {
                let id = record.instrument_id();
                match reader.symbol(id) {
                    Some(symbol) if wanted.names(exchange, symbol.as_str()) && wanted.time(&record) => {
                        let place = book.open(exchange, symbol.as_str(), None);
                        book.take(place, position, &record);
                    }
                    Some(_) => {}
                    None => book.stray(position, format!("a record of instrument {id}, which the ring does not name")),
                }
                progress.tell(book.records, || Some((position - start, end - start)));
            }
            Next::Unknown { kind, position } => book.stray(position, format!("a record of unknown kind {kind}")),
            Next::Lagged { .. } => return false,
            Next::Empty | Next::WriterGone(_) => break,
        }
    }
    progress.end();
    true
}

/// Audits a recording; `-` is stdin.
pub(super) fn recording(path: &Path, settings: &Settings, wanted: &Wanted) -> Result<Audited, Failure> {
    let name = path.display().to_string();
    let input: Box<dyn io::Read> = if name == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?)
    };
    let mut input = BufReader::with_capacity(1 << 16, input);
    let beginning = input.fill_buf().map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    if beginning.is_empty() {
        return Err(Failure::failed(format!("{name} is empty: there is nothing to audit")));
    }
    if beginning.starts_with(b"PAR1") {
        return columns(path, wanted);
    }
    let kind = recording::kind(&name, beginning)?;
    let unnamed = if kind == Kind::Raw { Some(Ids::new(settings, wanted)) } else { None };
    let (mut book, mut names, mut progress) = (Book::default(), Names::new(), Progress::new("auditing"));
    recording::read(&name, kind, input, |found: Found<'_>| {
        let at = found.at;
        let record = match found.record {
            Ok(record) => record,
            Err(why) => {
                book.stray(at, why);
                return Ok(());
            }
        };
        let id = record.instrument_id();
        let (exchange, symbol) = match (found.names, &unnamed) {
            (Some((exchange, symbol)), _) => (exchange.to_owned(), symbol.to_owned()),
            (None, Some(ids)) => match ids.name(id) {
                Some(names) => names,
                None if !wanted.symbols.is_empty() => return Ok(()),
                None => return Err(Failure::failed(format!("{name}, record {at}: {}", Ids::unknown(id)))),
            },
            (None, None) => return Ok(()),
        };
        if wanted.names(&exchange, &symbol) {
            if wanted.time(&record) {
                let place = book.open(&exchange, &symbol, Some(id));
                book.take(place, at, &record);
            }
        } else if names.len() < 1_000 {
            names.insert((exchange, symbol));
        }
        progress.tell(book.records, || None);
        Ok(())
    })?;
    progress.end();
    Ok(Audited { findings: book.finish(), names })
}

/// Audits a recording in columns.
#[cfg(feature = "record")]
fn columns(path: &Path, wanted: &Wanted) -> Result<Audited, Failure> {
    let fail = |why: &dyn std::fmt::Display| Failure::failed(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| fail(&error))?;
    let mut rows = parquet::Reader::new(file).map_err(|why| fail(&why))?;
    let (mut book, mut names, mut progress) = (Book::default(), Names::new(), Progress::new("auditing"));
    for at in 1.. {
        let Some(row) = rows.next().map_err(|why| fail(&why))? else { break };
        if !wanted.names(&row.exchange, &row.symbol) {
            names.insert((row.exchange.to_string(), row.symbol.to_string()));
        } else if wanted.time(&row.record) {
            let place = book.open(&row.exchange, &row.symbol, Some(row.record.instrument_id()));
            book.take(place, at, &row.record);
        }
        progress.tell(book.records, || None);
    }
    progress.end();
    Ok(Audited { findings: book.finish(), names })
}

#[cfg(not(feature = "record"))]
fn columns(path: &Path, _: &Wanted) -> Result<Audited, Failure> {
    let text = "Parquet, which this build does not read: build it with the feature `record`, or record as CSV";
    Err(Failure::failed(format!("{}: {text}", path.display())))
}

/// Names of instrument ids: raw records carry none.
struct Ids {
    by_id: HashMap<u32, (String, String)>,
    /// The only exchange that there can be.
    exchange: Option<String>,
}

impl Ids {
    fn new(settings: &Settings, wanted: &Wanted) -> Self {
        let asked = |name: &&str| wanted.exchanges.is_empty() || wanted.exchanges.iter().any(|other| other == name);
        let mut by_id = HashMap::new();
        for exchange in registry::names().filter(asked) {
            let configured = settings.exchanges.get(exchange).map(|table| table.symbols.as_slice()).unwrap_or_default();
            for symbol in wanted.symbols.iter().chain(configured) {
                let symbol = symbol.trim().to_ascii_uppercase();
                by_id.insert(instrument_id(exchange, &symbol), (exchange.to_owned(), symbol));
            }
        }
        let exchange = match wanted.exchanges.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        Self { by_id, exchange }
    }

    fn name(&self, id: u32) -> Option<(String, String)> {
        let unnamed = || self.exchange.clone().map(|exchange| (exchange, format!("#{id}")));
        self.by_id.get(&id).cloned().or_else(unnamed)
    }

    fn unknown(id: u32) -> String {
        format!(
            "instrument {id} is none of the configured ones, and raw records carry no names; give --exchange, and \
             --symbols for their names (`data-manager symbols` lists ids)"
        )
    }
}

/// What there is instead of what was asked for.
pub(super) fn instead(names: &Names, asked: &str) -> String {
    if names.is_empty() {
        return String::new();
    }
    let list: Vec<String> =
        names.iter().take(NAMES_MAX).map(|(exchange, symbol)| format!("{exchange} {symbol}")).collect();
    let more = if names.len() > NAMES_MAX { format!(" and {} more", names.len() - NAMES_MAX) } else { String::new() };
    let like = |name: &str| strsim::jaro_winkler(name, asked);
    let all = names.iter().flat_map(|(exchange, symbol)| [exchange.as_str(), symbol.as_str()]);
    let near = all.max_by(|a, b| like(a).total_cmp(&like(b))).filter(|near| like(near) > 0.75 && *near != asked);
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("; there is {}{more}{hint}", list.join(", "))
}
