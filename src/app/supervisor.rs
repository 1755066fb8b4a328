//! Starts what the plan says, watches it, drains it at the first signal and leaves at the second.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::http::{self, Pages};
use super::left;
use super::listed::{self, Listed};
use super::plan::{Plan, VenuePlan, has_stream_each};
use super::registry::{self, Registry};
use super::report::Scribe;
use super::shard::{self, ShardSpec};
use crate::config::Settings;
use crate::telemetry::{build, clock};
use crate::transport::ipc::IpcTransport;
use crate::transport::nats::DrainReport;

/// The wall clock is compared with the monotonic one this often.
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// A difference that grew by more than this between two looks is a step.
const CLOCK_STEP: Duration = Duration::from_millis(500);

/// What shards get to end beyond their own drain.
const JOIN_GRACE: Duration = Duration::from_secs(4);

/// What they get for what they leave on disk: to look at what an earlier run left there, and for each MiB of memory.
const DISK_GRACE: Duration = Duration::from_secs(30);
const DISK_GRACE_PER_MIB: Duration = Duration::from_millis(50);

/// Why the daemon does not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It could not start.
    #[error("{0}")]
    Start(String),
    /// A part that it cannot do without ended by itself.
    #[error("{0}")]
    Failed(String),
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was taken is stored, or declared.
    Drained,
    /// The drain's time was over; this many records were not acknowledged.
    Unacknowledged(u64),
    /// A second signal came.
    AtOnce,
}

/// Runs the daemon until a signal, inside of a `LocalSet`.
///
/// # Errors
/// [`ServeError`] when it cannot start, or a part of it ended by itself.
pub async fn serve(settings: Settings, plan: Plan) -> Result<Ended, ServeError> {
    let signals = Signals::new().map_err(|error| ServeError::Start(format!("cannot listen to signals: {error}")))?;
    raise_file_limit();
    let settings = Arc::new(settings);
    let board = Arc::new(Board::new(plan.shards.len()));
    let exchanges = plan.exchanges();
    let nats = settings.transport.nats.clone();
    let pages = Pages {
        board: Arc::clone(&board),
        scribe: Mutex::new(Scribe::new(&exchanges, nats, settings.feed.repair_hold_bytes.get())),
    };
    let http_stop = CancellationToken::new();
    let http = match settings.http.listen.as_str() {
        "" => None,
        listen => {
            let (listener, address) = http::bind(listen).await.map_err(ServeError::Start)?;
            Some((address, tokio::task::spawn_local(http::answer(listener, Arc::new(pages), http_stop.clone()))))
        }
    };
    let symbols: usize = plan.venues().map(|venue| venue.instruments.len()).sum();
    let stop = CancellationToken::new();
    let (venues, shard_count) = (plan.venues().cloned().collect::<Vec<_>>(), plan.shards.len());
    let shards = Shards::start(&settings, plan, &board, &stop)?;
    tracing::info!(
        version = build::LONG,
        exchanges = exchanges.join(","),
        symbols,
        shards = shard_count,
        http = http.as_ref().map(|(address, _)| address.to_string()),
        "started"
    );
    let telling = Telling::start(&settings, venues, &board, &stop);
    let ended = watch(shards, signals, &board, &stop, time_to_end(&settings, shard_count)).await;
    telling.end(&ended).await;
    http_stop.cancel();
    ended
}

/// The time that shards have to end in: a disk that hangs must not hold the end up for ever.
fn time_to_end(settings: &Settings, shards: usize) -> Duration {
    let (drain, nats) = (settings.shutdown_timeout.duration() + JOIN_GRACE, &settings.transport.nats);
    if !nats.enabled || nats.outbox_disk.get() == 0 {
        return drain;
    }
    let memory = (nats.outbox_memory.get() >> 20).saturating_mul(shards as u64);
    let disk = DISK_GRACE_PER_MIB.saturating_mul(u32::try_from(memory).unwrap_or(u32::MAX));
    drain.saturating_add(DISK_GRACE).saturating_add(disk)
}

/// What is asked and told of venues and instruments, beside the trades.
struct Telling {
    looking: JoinHandle<()>,
    registry: Option<JoinHandle<()>>,
}

impl Telling {
    fn start(settings: &Settings, venues: Vec<VenuePlan>, board: &Arc<Board>, stop: &CancellationToken) -> Self {
        let listed = Rc::new(Listed::default());
        let registry = Registry::of(&settings.transport.nats, &venues, board, &listed);
        let registry = registry.map(|registry| tokio::task::spawn_local(registry.run(stop.clone())));
        let (board, every) = (Arc::clone(board), registry.is_some().then(registry::list_every));
        let looking = tokio::task::spawn_local(async move { listed::look_up(venues, &board, &listed, every).await });
        Self { looking, registry }
    }

    /// The last words were under way while the shards drained, and have had their time mostly.
    async fn end(self, ended: &Result<Ended, ServeError>) {
        self.looking.abort();
        if let Some(mut registry) = self.registry {
            if !matches!(ended, Ok(Ended::AtOnce)) {
                let _ = tokio::time::timeout(registry::END, &mut registry).await;
            }
            registry.abort();
        }
    }
}

/// The threads.
struct Shards {
    left: usize,
    ended: mpsc::Receiver<Result<DrainReport, String>>,
}

impl Shards {
    fn start(
        settings: &Arc<Settings>,
        plan: Plan,
        board: &Arc<Board>,
        stop: &CancellationToken,
    ) -> Result<Self, ServeError> {
        let count = plan.shards.len();
        let sole = count == 1 || has_stream_each(settings);
        let own: Vec<Arc<Settings>> = plan.shards.iter().map(|plan| plan.settings(settings)).collect();
        left::tell(settings, &own);
        let elsewhere: Vec<_> = (0..count).map(|number| plan.elsewhere(number)).collect();
        let (tell, ended) = mpsc::channel(count.max(1));
        let mut specs = Vec::with_capacity(count);
        for (number, ((plan, own), elsewhere)) in plan.shards.into_iter().zip(own).zip(elsewhere).enumerate() {
            let ipc = &settings.transport.ipc;
            let ring = ipc.enabled.then(|| IpcTransport::create(ipc, &plan.universe)).transpose();
            let ring = ring.map_err(|error| ServeError::Start(error.to_string()))?;
            for (exchange, path) in ring.iter().flat_map(IpcTransport::rings) {
                tracing::info!(exchange, segment = %path.display(), capacity = ipc.capacity, "ring created");
            }
            let (board, stop) = (Arc::clone(board), stop.clone());
            specs.push(ShardSpec { number, plan, settings: own, board, stop, elsewhere, sole, ring });
        }
        for spec in specs {
            let tell = tell.clone();
            let number = spec.number;
            let body = move || {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shard::run(spec)));
                let result = result.unwrap_or_else(|_| Err(format!("shard {number} panicked; the log has the place")));
                // Nobody hears it any more only when the daemon is leaving at once.
                let _ = tell.try_send(result);
            };
            std::thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(body)
                .map_err(|error| ServeError::Start(format!("no thread for shard {number}: {error}")))?;
        }
        Ok(Self { left: count, ended })
    }
}

async fn watch(
    mut shards: Shards,
    mut signals: Signals,
    board: &Board,
    stop: &CancellationToken,
    within: Duration,
) -> Result<Ended, ServeError> {
    let failed = run_until_asked(&mut shards, &mut signals, board).await;
    // First of all /readyz says no: whoever routes by it has the whole drain to notice.
    board.drain();
    stop.cancel();
    let ended = drain_all(&mut shards, &mut signals, within).await;
    match failed {
        Some(why) => Err(ServeError::Failed(why)),
        None => ended,
    }
}

/// Waits for a signal, or for a shard that ends by itself: then the reason is given, and the others are to be drained.
async fn run_until_asked(shards: &mut Shards, signals: &mut Signals, board: &Board) -> Option<String> {
    let mut clock_look = ClockLook::new();
    let mut tick = tokio::time::interval(CLOCK_LOOK);
    loop {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "draining");
                return None;
            }
            ended = shards.ended.recv() => {
                shards.left -= 1;
                let why = match ended {
                    Some(Err(why)) => why,
                    _ => "a shard ended by itself".to_owned(),
                };
                tracing::error!(why, "stopping: a part that the daemon cannot do without has ended");
                return Some(why);
            }
            _ = tick.tick() => if clock_look.stepped() {
                tracing::warn!("the wall clock stepped");
                board.count_clock_step();
            },
        }
    }
}

async fn drain_all(shards: &mut Shards, signals: &mut Signals, within: Duration) -> Result<Ended, ServeError> {
    let deadline = clock::now() + within;
    let mut total = DrainReport::default();
    let mut failed = None;
    while shards.left > 0 {
        tokio::select! {
            ended = shards.ended.recv() => {
                shards.left -= 1;
                match ended {
                    Some(Ok(report)) => {
                        total.acked += report.acked;
                        total.unacked += report.unacked;
                        total.dropped += report.dropped;
                    }
                    Some(Err(why)) => failed = Some(why),
                    None => failed = Some("a shard was lost".to_owned()),
                }
            }
            name = signals.next() => {
                tracing::warn!(signal = name, "a second signal: leaving at once");
                return Ok(Ended::AtOnce);
            }
            () = tokio::time::sleep_until(deadline.into()) => {
                return Err(ServeError::Failed(format!("{} shards did not end within the drain's time", shards.left)));
            }
        }
    }
    let ended = report(total);
    failed.map_or(Ok(ended), |why| Err(ServeError::Failed(why)))
}

fn report(total: DrainReport) -> Ended {
    if total.unacked > 0 {
        tracing::error!(
            unacked = total.unacked,
            acked = total.acked,
            "the drain's time was over before the broker had all"
        );
        return Ended::Unacknowledged(total.unacked);
    }
    tracing::info!(acked = total.acked, dropped = total.dropped, "drained");
    Ended::Drained
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Compares the wall clock with the monotonic one.
struct ClockLook {
    wall_ns: u64,
    at: std::time::Instant,
}

impl ClockLook {
    fn new() -> Self {
        Self { wall_ns: clock::wall_ns(), at: clock::now() }
    }

    fn stepped(&mut self) -> bool {
        let (wall_ns, at) = (clock::wall_ns(), clock::now());
        let wall = i128::from(wall_ns) - i128::from(self.wall_ns);
        let monotonic = i128::try_from(at.saturating_duration_since(self.at).as_nanos()).unwrap_or(i128::MAX);
        (self.wall_ns, self.at) = (wall_ns, at);
        wall.abs_diff(monotonic) > CLOCK_STEP.as_nanos()
    }
}

/// As many sockets as the system allows: the default of 1,024 is for other programs.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        tracing::debug!(ok = raised.is_ok(), limit = limit.maximum, "open files");
    }
}
