//! `sim`: simulated venues on their own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, block_on, faults};
use crate::sim::{Pace, Sim, SimConfig, Source, VenueConfig};

/// Progress is told this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What `sim` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The first venue listens on --listen, the others on the next ports. Point a daemon at them:
  data-manager sim --exchange binance &
  DATA_MANAGER__EXCHANGES__BINANCE__WS_URL=ws://127.0.0.1:9480 \\
    data-manager serve --exchange binance --symbols BTCUSDT --ipc
Generated trades flow at once; a capture, and anything flat out, starts once all symbols are subscribed.

More examples:
  data-manager sim --exchange binance --capture btcusdt.jsonl             at its own pace
  data-manager sim --exchange binance --capture btcusdt.jsonl --rate 0    flat out
  data-manager sim --rate 5000 --seed 7                                   generated, 5,000 a second
  data-manager sim --fault \"drop exchange=binance at=5s every=30s\"        resets, again and again
  data-manager sim --fault \"spoil how=nan after=1000\" --faults config/faults.toml

A fault is a kind and keys:
  when          at=TIME since the start (default: at once), or after=N trades of the venue;
                every=TIME or every=N repeats it, jitter=TIME lets it be up to so much later
  where         exchange=, symbol=, which=all|oldest|newest connections; without: all
  connections   drop, hang_up, close, shutdown, stall, half_open, resume, huge, send
  trades        duplicate, replay, withhold, delay, skip_ids, restart_ids, conflict, retime,
                spoil, burst
  answers       ack, refuse_symbol, refuse_upgrade, refuse_rest, rest
config/faults.toml shows each kind with its keys. Every fault is logged with its number, as \
--fault takes it.")]
pub(crate) struct Args {
    /// A venue to simulate; may be given several times. Default: all that can be.
    #[arg(long = "exchange", value_name = "NAME")]
    exchanges: Vec<String>,
    /// Canonical symbols. Default: the usual ones, or those of the capture.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    symbols: Vec<String>,
    /// Where the first venue listens; port 0 takes a free one for each.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9480")]
    listen: SocketAddr,
    /// Replay these recorded frames (.jsonl or .jsonl.gz) of one venue.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Trades a second over all venues, or frames of a capture; 0 is flat out. Default: 1000, or the capture's own
    /// pace.
    #[arg(long, value_name = "N", conflicts_with = "speed")]
    rate: Option<f64>,
    /// Replay a capture this many times as fast as it was recorded.
    #[arg(long, value_name = "X", requires = "capture")]
    speed: Option<f64>,
    /// Decides every generated trade.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Let the venues fail by this plan.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Let them fail once more, such as "drop exchange=binance at=5s"; may be given several times.
    #[arg(long = "fault", value_name = "FAULT")]
    fault: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = faults::plan(args.faults.as_deref(), &args.fault)?;
    // Faults are logged as they happen.
    super::log(if plan.is_empty() { "warn" } else { "warn,data_manager::sim=info" })?;
    let exchanges = match (&args.exchanges, &args.capture) {
        (named, _) if !named.is_empty() => named.clone(),
        (_, Some(_)) => return Err(Failure::usage("a capture is of one venue; name it with --exchange")),
        _ => Sim::exchanges().into_iter().map(str::to_owned).collect(),
    };
    let venues =
        exchanges.into_iter().map(|exchange| VenueConfig { exchange, symbols: args.symbols.clone() }).collect();
    let source = match (args.capture, args.rate) {
        (Some(path), Some(0.0)) => Source::Capture { path, pace: Pace::FlatOut },
        (Some(path), Some(rate)) => Source::Capture { path, pace: Pace::Rate(rate) },
        (Some(path), None) => Source::Capture { path, pace: Pace::Original { speed: args.speed.unwrap_or(1.0) } },
        (None, rate) => Source::Generate { rate: rate.unwrap_or(1_000.0) },
    };
    // A real venue waits for nobody. A capture is to be had whole, and flat out there is nothing else to wait for.
    let wait_for_subscriber = match &source {
        Source::Generate { rate } => *rate == 0.0,
        Source::Capture { .. } => true,
    };
    let listen = args.listen;
    let config =
        SimConfig { venues, listen, source, seed: args.seed, wait_for_subscriber, plan, ..SimConfig::default() };
    let sim = Sim::spawn(config).map_err(faults::failure)?;
    for exchange in sim.venues() {
        if let Some(endpoint) = sim.endpoint(exchange) {
            let symbols = sim.symbols(exchange);
            let (ws_url, rest_url) = (endpoint.ws_url, endpoint.rest_url);
            let text = format!(
                "{exchange}  ws_url = {ws_url:?}  rest_url = {rest_url:?}\n{exchange}  symbols = {symbols:?}\n"
            );
            // Whoever started us may not read it: the venues are up all the same.
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
    }
    if wait_for_subscriber {
        eprintln!("a venue's tape starts once all of its symbols are subscribed");
    }
    block_on(async {
        let mut term =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Failure::failed)?;
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.tick().await;
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => break,
                _ = term.recv() => break,
                _ = tick.tick() => progress(&sim),
            }
        }
        sim.shutdown().await;
        Ok(())
    })
}

fn progress(sim: &Sim) {
    let lines: Vec<String> = sim.venues().map(|name| format!("{name} {:?}", sim.sent(name))).collect();
    let over = if sim.finished() { "; all tapes have ended" } else { "" };
    eprintln!("{}{over}", lines.join("; "));
}
