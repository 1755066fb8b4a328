//! Puts a simulation together: checks the settings, binds the ports, starts the thread.
//!
//! The list of simulated venues is here; nothing else outside a venue's own file names one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::binance::Binance;
use super::capture::{self, Capture};
use super::coinbase::Coinbase;
use super::config::{Endpoint, Rules, SimConfig, SimError, Source, VenueConfig};
use super::faults::{Fault, Scripted};
use super::generator::{Schedule, Stream};
use super::history::Book;
use super::okx::Okx;
use super::plan::agenda::Agenda;
use super::tape::{Generated, Orders, Tape};
use super::twin::{Listing, Twin};
use super::venue::{Counters, Due, Manners, Numbers, Public, Venue};
use super::{Sim, connection, server, tape};
use crate::telemetry::clock;

/// Faults that may wait.
const FAULTS_MAX: usize = 256;

/// Every venue that can be simulated.
pub(super) fn twins(rules: Rules) -> Vec<Box<dyn Twin>> {
    vec![Box::new(Binance::new(rules)), Box::new(Coinbase::new(rules)), Box::new(Okx::new(rules))]
}

/// A venue that is ready to run.
struct Ready {
    public: Arc<Public>,
    twin: Box<dyn Twin>,
    tape: Tape,
    listener: TcpListener,
}

/// What the thread runs on.
struct Engine {
    venues: Vec<Ready>,
    faults: mpsc::Receiver<Fault>,
    script: Vec<Due>,
    agenda: Agenda,
    manners: Manners,
    orders: Orders,
    stop: CancellationToken,
}

pub(super) fn start(config: SimConfig) -> Result<Sim, SimError> {
    config.check()?;
    let listings = list_all(&config)?;
    let symbols = listings.iter().map(|(_, listings)| listings.len()).sum();
    let mut venues = Vec::with_capacity(listings.len());
    for (place, (twin, listings)) in listings.into_iter().enumerate() {
        venues.push(ready(&config, place, symbols, twin, listings)?);
    }
    let (faults, coming) = mpsc::channel(FAULTS_MAX);
    let (running, ended) = oneshot::channel();
    let stop = CancellationToken::new();
    let mut sim = Sim {
        venues: venues.iter().map(|venue| Arc::clone(&venue.public)).collect(),
        faults,
        flat_out: config.flat_out(),
        replays: matches!(config.source, Source::Capture { .. }),
        stop: stop.clone(),
        ended,
        thread: None,
    };
    config.script.iter().try_for_each(|scripted| sim.check(&scripted.fault))?;
    let half_open_for = config.rules.half_open_for;
    let manners = Manners { queue_frames: config.queue_frames, flat_out: config.flat_out(), half_open_for };
    let orders = Orders {
        flat_out: config.flat_out(),
        wait_for_subscriber: config.wait_for_subscriber,
        limit: config.limit.unwrap_or(u64::MAX),
    };
    let once = |scripted: Scripted| Due { after: scripted.after, every: 0, fault: scripted.fault };
    let listed: Vec<_> = sim.venues().map(|name| (name.to_owned(), sim.symbols(name))).collect();
    let (planned, agenda) = config.plan.resolve(&listed, |fault| sim.check(fault))?;
    let script = config.script.into_iter().map(once).chain(planned).collect();
    let engine = Engine { venues, faults: coming, script, agenda, manners, orders, stop };
    let thread_error = |source| SimError::Thread { source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread_error)?;
    let thread = std::thread::Builder::new().name("sim".to_owned()).spawn(move || {
        run(&runtime, engine);
        drop(running);
    });
    sim.thread = Some(thread.map_err(thread_error)?);
    Ok(sim)
}

fn run(runtime: &Runtime, engine: Engine) {
    // What is still open when this ends is dropped with it.
    LocalSet::new().block_on(runtime, async move {
        if let Err(err) = drive(engine).await {
            tracing::error!(%err, "the simulation ends");
        }
    });
}

async fn drive(mut engine: Engine) -> std::io::Result<()> {
    let mut tasks = JoinSet::new();
    let mut venues = Vec::new();
    let numbers = Numbers::default();
    for ready in engine.venues {
        let listener = tokio::net::TcpListener::from_std(ready.listener)?;
        let venue =
            Rc::new(Venue::new(ready.public, ready.twin, engine.manners, engine.script.clone(), numbers.clone()));
        tasks.spawn_local(server::serve(Rc::clone(&venue), listener));
        tasks.spawn_local(tape::run(Rc::clone(&venue), ready.tape, engine.orders));
        venues.push(venue);
    }
    let apply = |fault: Fault| {
        if let Some(venue) = venues.iter().find(|venue| venue.public.exchange == fault.exchange()) {
            venue.apply(fault);
        }
    };
    let start = clock::now();
    let mut planned = engine.agenda.next();
    loop {
        let next = planned.as_ref().map(|(due, _)| start + *due);
        tokio::select! {
            () = engine.stop.cancelled() => return Ok(()),
            Some(fault) = engine.faults.recv() => apply(fault),
            () = connection::at(next) => {
                let faults = std::mem::replace(&mut planned, engine.agenda.next()).map(|(_, faults)| faults);
                faults.into_iter().flatten().for_each(apply);
            }
            Some(Err(err)) = tasks.join_next(), if !tasks.is_empty() => {
                tracing::error!(%err, "a part of the simulation failed");
            }
        }
    }
}

/// A venue, and what it lists.
type Listed = (Box<dyn Twin>, Vec<Listing>);

/// The venues with what each lists.
fn list_all(config: &SimConfig) -> Result<Vec<Listed>, SimError> {
    let mut left = twins(config.rules);
    let known: Vec<_> = left.iter().map(|twin| twin.name()).collect();
    let mut listed = Vec::new();
    for venue in &config.venues {
        let Some(place) = left.iter().position(|twin| twin.name() == venue.exchange) else {
            if known.contains(&venue.exchange.as_str()) {
                let message = format!("{} is there twice", venue.exchange);
                return Err(SimError::Setting { setting: "venues", message });
            }
            return Err(SimError::Exchange { exchange: venue.exchange.clone(), known: known.join(", ") });
        };
        let twin = left.swap_remove(place);
        let listings = list(config, venue, &*twin)?;
        listed.push((twin, listings));
    }
    Ok(listed)
}

fn list(config: &SimConfig, venue: &VenueConfig, twin: &dyn Twin) -> Result<Vec<Listing>, SimError> {
    let in_capture = match &config.source {
        Source::Capture { path, .. } => Some(capture::survey(path, twin)?.symbols),
        Source::Generate { .. } => None,
    };
    let symbols = match (&in_capture, venue.symbols.is_empty()) {
        (_, false) => venue.symbols.clone(),
        (Some(symbols), true) => symbols.clone(),
        (None, true) => twin.usual_symbols().iter().map(|symbol| (*symbol).to_owned()).collect(),
    };
    if let (Some(there), Source::Capture { path, .. }) = (&in_capture, &config.source)
        && let Some(missing) = symbols.iter().find(|symbol| !there.contains(symbol))
    {
        let message = format!("it has no trade of {missing}; it has {}", there.join(", "));
        return Err(SimError::Capture { path: path.clone(), message });
    }
    let mut listings: Vec<Listing> = Vec::with_capacity(symbols.len());
    for symbol in &symbols {
        if listings.iter().any(|listing| listing.symbol == *symbol) {
            let message = format!("{} has {symbol} twice", venue.exchange);
            return Err(SimError::Setting { setting: "symbols", message });
        }
        listings.push(twin.list(symbol)?);
    }
    Ok(listings)
}

fn ready(
    config: &SimConfig,
    place: usize,
    symbols_of_all: usize,
    twin: Box<dyn Twin>,
    listings: Vec<Listing>,
) -> Result<Ready, SimError> {
    let exchange = twin.name();
    let (listener, endpoint) = listen(exchange, config.listen, place)?;
    let listings: Arc<[Listing]> = listings.into();
    let mut book = Book::new(Arc::clone(&listings), config.history);
    let tape = match &config.source {
        Source::Capture { path, pace } => Tape::Captured(Box::new(captured(path, *pace)?)),
        Source::Generate { rate } => {
            // Flat out only the order of the symbols matters, not the times.
            let rate = if *rate == 0.0 { 1.0 } else { share(*rate, listings.len(), symbols_of_all) };
            let schedule = Schedule::new(config.seed, exchange, listings.len(), rate);
            let mut streams: Vec<_> =
                listings.iter().map(|listing| Stream::new(config.seed, exchange, listing)).collect();
            let time_step = twin.time_step();
            let latest = backlog(&mut book, &mut streams, config.backlog, time_step);
            let fills_max = twin.fills_max();
            Tape::Generated(Box::new(Generated { streams, schedule, time_step, fills_max, fills: Vec::new(), latest }))
        }
    };
    let public = Arc::new(Public {
        exchange,
        endpoint,
        counters: Counters::default(),
        finished: AtomicBool::new(false),
        book: Mutex::new(book),
    });
    Ok(Ready { public, twin, tape, listener })
}

fn captured(path: &Path, pace: super::Pace) -> Result<Capture, SimError> {
    Capture::open(path, pace)
}

#[expect(clippy::cast_precision_loss, reason = "symbol counts are far below 2^53")]
fn share(rate: f64, symbols: usize, of_all: usize) -> f64 {
    rate * symbols as f64 / of_all.max(1) as f64
}

/// What has traded before the start: one trade a second until a second ago. Returns the latest time.
fn backlog(book: &mut Book, streams: &mut [Stream], count: u64, time_step: u64) -> u64 {
    let end = clock::wall_ns() / time_step * time_step;
    for (symbol, stream) in streams.iter_mut().enumerate() {
        for before in (1..=count).rev() {
            book.push_backlog(symbol, stream.next(end.saturating_sub(before.saturating_mul(1_000_000_000))));
        }
    }
    end.saturating_sub(1_000_000_000)
}

fn listen(exchange: &'static str, first: SocketAddr, place: usize) -> Result<(TcpListener, Endpoint), SimError> {
    let wrong = || SimError::Setting { setting: "listen", message: format!("there is no port {place} above {first}") };
    let mut addr = first;
    if first.port() != 0 {
        let place = u16::try_from(place).map_err(|_| wrong())?;
        addr.set_port(first.port().checked_add(place).ok_or_else(wrong)?);
    }
    let failed = |source| SimError::Listen { exchange, addr, source };
    let listener = TcpListener::bind(addr).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let mut reached = listener.local_addr().map_err(failed)?;
    if reached.ip().is_unspecified() {
        let loopback = if reached.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        reached.set_ip(loopback);
    }
    let endpoint = Endpoint { ws_url: format!("ws://{reached}"), rest_url: format!("http://{reached}") };
    Ok((listener, endpoint))
}
