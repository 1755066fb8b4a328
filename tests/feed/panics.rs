//! A decoder that panics: its connection starts anew, and nobody loses anything by it. Repairs that panic: they start
//! anew, and what is missing later is repaired.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use data_manager::app::Plan;
use data_manager::app::board::Board;
use data_manager::app::plan::ShardPlan;
use data_manager::app::shard::{self, ShardSpec};
use data_manager::config::Settings;
use data_manager::config::settings;
use data_manager::exchange::{
    self, DecodeError, Event, Exchange, ExchangeError, Frame, InstrumentInfo, Page, Profile, Refused, Reply, Request,
    Trades, Want,
};
use data_manager::market::{Flags, Record, Symbol, SymbolError};
use data_manager::sim::{Fault, Sim, SimConfig, Source, Which};
use data_manager::telemetry::clock;
use data_manager::transport::ipc::{IpcTransport, Next, Reader};
use data_manager::transport::nats::DrainReport;
use tokio_util::sync::CancellationToken;

/// A venue whose decoder panics at these frames, counted over all connections, and at these pages of its history.
#[derive(Debug)]
struct Panicking {
    venue: &'static dyn Exchange,
    frames: AtomicU64,
    at: &'static [u64],
    pages: AtomicU64,
    at_pages: &'static [u64],
}

impl Panicking {
    fn of(venue: &'static dyn Exchange, at: &'static [u64], at_pages: &'static [u64]) -> &'static Self {
        Box::leak(Box::new(Self { venue, frames: AtomicU64::new(0), at, pages: AtomicU64::new(0), at_pages }))
    }
}

impl Exchange for Panicking {
    fn profile(&self) -> &Profile {
        self.venue.profile()
    }

    fn canonical(&self, venue_symbol: &str) -> Result<Symbol, SymbolError> {
        self.venue.canonical(venue_symbol)
    }

    fn venue_symbol(&self, symbol: &str) -> Result<String, ExchangeError> {
        self.venue.venue_symbol(symbol)
    }

    fn connect_url(&self, base: &str, venue_symbols: &[&str]) -> String {
        self.venue.connect_url(base, venue_symbols)
    }

    fn subscribe(&self, venue_symbols: &[&str], first_id: u64) -> Vec<Request> {
        self.venue.subscribe(venue_symbols, first_id)
    }

    fn decode(&self, frame: Frame<'_>, out: &mut Trades) -> Result<Event, DecodeError> {
        let event = self.venue.decode(frame, out);
        // The trades of this frame are lost with it.
        assert!(!self.at.contains(&self.frames.fetch_add(1, Relaxed)), "a planted panic");
        event
    }

    fn instruments_paths(&self) -> Vec<String> {
        self.venue.instruments_paths()
    }

    fn parse_instruments(&self, body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
        self.venue.parse_instruments(body)
    }

    fn history_path(&self, venue_symbol: &str, want: Want) -> Option<String> {
        self.venue.history_path(venue_symbol, want)
    }

    fn parse_history(&self, venue_symbol: &str, want: Want, reply: &Reply, out: &mut Trades) -> Result<Page, Refused> {
        let page = self.venue.parse_history(venue_symbol, want, reply, out);
        assert!(!self.at_pages.contains(&self.pages.fetch_add(1, Relaxed)), "a planted panic");
        page
    }
}

/// Tests of this process run beside each other.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Settings for the venues of a simulation, with rings of their own.
fn settings_of(sim: &Sim) -> Settings {
    let mut settings = Settings::default();
    settings.exchanges.clear();
    for name in sim.venues() {
        let endpoint = sim.endpoint(name).unwrap();
        let (ws_url, rest_url) = (endpoint.ws_url, endpoint.rest_url);
        let venue =
            settings::Exchange { symbols: sim.symbols(name), ws_url, rest_url, ..settings::Exchange::default() };
        settings.exchanges.insert(name.to_owned(), venue);
    }
    settings.transport.ipc.shm_path_prefix =
        format!("/dm_panics_{}_{}_", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    settings.transport.ipc.capacity = 1 << 16;
    settings
}

/// A shard of these venues, on a thread of its own.
struct Running {
    readers: Vec<Reader>,
    board: Arc<Board>,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<DrainReport>,
    _swept: Swept,
}

/// Rings that go with their test.
struct Swept(Vec<PathBuf>);

impl Drop for Swept {
    fn drop(&mut self) {
        for segment in &self.0 {
            for path in [segment.clone(), PathBuf::from(format!("{}.lock", segment.display()))] {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn run(names: &[&str], plan: ShardPlan, settings: Arc<Settings>) -> Running {
    let ring = IpcTransport::create(&settings.transport.ipc, &plan.universe).unwrap();
    let readers = names.iter().map(|name| {
        let (_, path) = ring.rings().find(|(exchange, _)| exchange == name).unwrap();
        Reader::open(path).unwrap()
    });
    let readers: Vec<Reader> = readers.collect();
    let swept = Swept(readers.iter().map(|reader| reader.path().to_owned()).collect());
    let (stop, board) = (CancellationToken::new(), Arc::new(Board::new(1)));
    let spec = ShardSpec {
        number: 0,
        plan,
        settings,
        board: Arc::clone(&board),
        stop: stop.clone(),
        elsewhere: std::collections::BTreeSet::new(),
        sole: true,
        ring: Some(ring),
    };
    let thread = std::thread::spawn(move || shard::run(spec).unwrap());
    Running { readers, board, stop, thread, _swept: swept }
}

/// Trades of a ring by instrument, in their order, and how many gaps it declares.
fn take(reader: &mut Reader, ids: &mut BTreeMap<u32, Vec<u64>>, gaps: &mut u64) {
    loop {
        match reader.poll() {
            Next::Record(Record::Trade(trade), _) => ids.entry(trade.instrument_id).or_default().push(trade.trade_id),
            Next::Record(Record::Gap(gap), _) => *gaps += u64::from(gap.flags & Flags::BACKFILLED == 0),
            Next::Empty => return,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_decoder_that_panics_costs_neither_its_own_trades_nor_those_of_others() {
    let source = Source::Generate { rate: 1_000.0 };
    let names = ["binance", "coinbase"];
    let sim = Sim::spawn(SimConfig { source, limit: Some(2_500), ..SimConfig::of(&names) }).unwrap();
    let settings = Arc::new(settings_of(&sim));
    let mut plan = Plan::of(&settings).unwrap().shards.remove(0);
    for venue in plan.venues.iter_mut().filter(|venue| venue.exchange.profile().name == names[0]) {
        venue.exchange = Panicking::of(venue.exchange, &[300, 301, 900], &[]);
    }
    let Running { mut readers, board, stop, thread, _swept } = run(&names, plan, settings);
    let (mut ids, mut gaps) = (BTreeMap::new(), [0, 0]);
    let count = |ids: &BTreeMap<u32, Vec<u64>>| ids.values().map(Vec::len).sum::<usize>();
    let begin = clock::now();
    let missing = |ids: &BTreeMap<u32, Vec<u64>>| expected(&sim, &names, ids);
    while !sim.finished() || !missing(&ids).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} read, missing: {:?}", count(&ids), missing(&ids));
        for (reader, gaps) in readers.iter_mut().zip(&mut gaps) {
            take(reader, &mut ids, gaps);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.cancel();
    thread.join().unwrap();
    for (id, mut list) in ids {
        let read = list.len();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), read, "instrument {id:x}: something came twice");
    }
    assert!(gaps[0] > 0, "a gap shows what the panic cost, until it is filled");
    let panics = board.views().into_iter().flatten().flat_map(|view| view.venues.clone()).flat_map(|venue| venue.feeds);
    let connects: Vec<u64> = panics.map(|feed| feed.status.connects).collect();
    assert_eq!(connects.iter().sum::<u64>(), 2 + 3, "each panic took its own connection and no other: {connects:?}");
}

/// How many gaps of a ring have been declared as filled since the last look.
fn filled(reader: &mut Reader) -> usize {
    let mut filled = 0;
    loop {
        match reader.poll() {
            Next::Record(Record::Gap(gap), _) => filled += usize::from(gap.flags & Flags::BACKFILLED != 0),
            Next::Record(Record::Trade(_), _) => {}
            Next::Empty => return filled,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn repairs_that_panic_start_anew_and_fill_what_is_missing_later() {
    let names = ["binance"];
    let sim = Sim::spawn(SimConfig { source: Source::Generate { rate: 500.0 }, ..SimConfig::of(&names) }).unwrap();
    let settings = Arc::new(settings_of(&sim));
    let mut plan = Plan::of(&settings).unwrap().shards.remove(0);
    let venue = Panicking::of(plan.venues[0].exchange, &[], &[0, 1]);
    plan.venues[0].exchange = venue;
    let Running { mut readers, board, stop, thread, _swept } = run(&names, plan, settings);
    let symbol = sim.symbols(names[0]).remove(0);
    let begin = clock::now();
    while filled(&mut readers[0]) == 0 {
        let pages = venue.pages.load(Relaxed);
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing is filled; {pages} pages were read");
        let (exchange, symbol) = (names[0].to_owned(), symbol.clone());
        sim.inject(Fault::Withhold { exchange, symbol, count: 20, which: Which::All }).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(venue.pages.load(Relaxed) > 2, "each of the first two took a life of the repairs");
    stop.cancel();
    thread.join().unwrap();
    let venues = board.views().into_iter().flatten().flat_map(|view| view.venues.clone());
    let open: u64 = venues.filter_map(|venue| venue.repair).map(|repair| repair.open).sum();
    assert_eq!(open, 0, "what was being repaired in a life that ended is not open any more");
}

/// What the venues issued since the first trade that was read of an instrument, and what is not there.
fn expected(sim: &Sim, names: &[&str], ids: &BTreeMap<u32, Vec<u64>>) -> Vec<u64> {
    let mut missing = Vec::new();
    for name in names {
        let venue = exchange::by_name(name).unwrap();
        for venue_symbol in sim.symbols(name) {
            let symbol = venue.canonical(&venue_symbol).unwrap();
            let id = data_manager::market::instrument::instrument_id(name, symbol.as_str());
            let read: std::collections::BTreeSet<u64> = ids.get(&id).into_iter().flatten().copied().collect();
            let issued = sim.history(name, &venue_symbol).into_iter().map(|trade| trade.id);
            let first = read.first().copied().unwrap_or_default();
            missing.extend(issued.filter(|id| *id >= first && !read.contains(id)));
        }
    }
    missing
}
