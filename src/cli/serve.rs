//! `serve`: the daemon.

use std::path::PathBuf;

use super::settings::{self, ConfigArgs, VenueArgs};
use super::{Failure, block_on, faults};
use crate::app::{self, Ended, Plan};
use crate::config::Loaded;
use crate::exchange;
use crate::sim::{Sim, SimConfig, SimError, Source, VenueConfig};

/// Trades a second over all simulated venues, unless told otherwise.
const SIM_RATE: f64 = 1_000.0;

/// Newest trades kept a symbol for the simulated REST history: it is full within the first minute, so that the memory
/// of a long run tells about the daemon and not about its venues.
const SIM_HISTORY: usize = 2_000;

/// What `serve` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  data-manager serve --sim --nats --ipc
  data-manager serve --live --exchange binance --symbols BTCUSDT,ETHUSDT --nats nats://localhost:4222 --ipc
  data-manager serve --config config/data-manager.toml --nats --ipc
  data-manager serve --sim --ipc --fault \"drop at=5s every=30s\"        simulated venues that fail; see sim --help

SIGTERM and SIGINT drain: stop reading, publish and await what is in flight for at most shutdown_timeout; exit 0, or 1 \
where something was not acknowledged. A second signal exits at once, with 1.
/metrics, /status, /readyz and /healthz are on http.listen (127.0.0.1:9464).")]
pub(crate) struct Args {
    /// Publish to NATS JetStream; a URL beats the configured servers.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    nats: Option<String>,
    /// Publish to shared memory, one segment an exchange.
    #[arg(long)]
    ipc: bool,
    /// Talk to the venues' own endpoints (the default).
    #[arg(long, conflicts_with = "sim")]
    live: bool,
    /// Start simulated venues on loopback and talk to them.
    #[arg(long)]
    sim: bool,
    /// With --sim: trades a second over all venues [default: 1000].
    #[arg(long, value_name = "N", requires = "sim")]
    rate: Option<f64>,
    /// With --sim: decides every generated trade [default: 1].
    #[arg(long, value_name = "N", requires = "sim")]
    seed: Option<u64>,
    /// With --sim: let the venues fail by this plan, such as config/faults.toml.
    #[arg(long, value_name = "FILE", requires = "sim")]
    faults: Option<PathBuf>,
    /// With --sim: let them fail once more, such as "drop exchange=binance at=5s"; may be given several times.
    #[arg(long = "fault", value_name = "FAULT", requires = "sim")]
    fault: Vec<String>,
    #[command(flatten)]
    venues: VenueArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let mut loaded = args.config.load(&args.flags())?;
    args.venues.apply(&mut loaded)?;
    settings::check(&loaded)?;
    let transport = &loaded.settings.transport;
    if !transport.ipc.enabled && !transport.nats.enabled {
        return Err(Failure::usage(
            "nowhere to publish to: give --nats, --ipc or both, or set transport.nats.enabled or transport.ipc.enabled",
        ));
    }
    if transport.nats.enabled {
        settings::check_secrets(&transport.nats)?;
    }
    settings::start_logging(&loaded)?;
    let sim = if args.sim { Some(args.simulate(&mut loaded)?) } else { None };
    let plan = Plan::of(&loaded.settings).map_err(|problems| Failure::config(problems.join("\n")))?;
    let ended = block_on(async {
        let ended = app::serve(loaded.settings, plan).await.map_err(Failure::failed);
        if let (Some(sim), Ok(Ended::Drained | Ended::Unacknowledged(_))) = (sim, &ended) {
            sim.shutdown().await;
        }
        ended
    })?;
    match ended {
        Ended::Drained => Ok(()),
        Ended::Unacknowledged(count) => Err(Failure::failed(format!(
            "{count} records were not acknowledged within shutdown_timeout; the stream shows where to go on"
        ))),
        Ended::AtOnce => Err(Failure::failed("left at once, without draining")),
    }
}

impl Args {
    fn flags(&self) -> Vec<crate::config::Override> {
        let mut flags = Vec::new();
        if let Some(url) = &self.nats {
            flags.push(settings::flag("--nats", "transport.nats.enabled", "true"));
            flags.extend(settings::servers(Some(url)));
        }
        if self.ipc {
            flags.push(settings::flag("--ipc", "transport.ipc.enabled", "true"));
        }
        flags
    }

    /// Starts simulated venues and points the settings at them.
    fn simulate(&self, loaded: &mut Loaded) -> Result<Sim, Failure> {
        let exchanges = &mut loaded.settings.exchanges;
        if exchanges.is_empty() {
            // Those that this daemon can also talk to.
            let known = Sim::exchanges().into_iter().filter(|name| exchange::by_name(name).is_some());
            exchanges.extend(known.map(|name| (name.to_owned(), Default::default())));
        }
        let venues = exchanges
            .iter()
            .map(|(name, table)| VenueConfig { exchange: name.clone(), symbols: table.symbols.clone() })
            .collect();
        let source = Source::Generate { rate: self.rate.unwrap_or(SIM_RATE) };
        let seed = self.seed.unwrap_or(1);
        let plan = faults::plan(self.faults.as_deref(), &self.fault)?;
        let config = SimConfig { venues, source, seed, history: SIM_HISTORY, plan, ..SimConfig::default() };
        let sim = Sim::spawn(config).map_err(|error| match error {
            error @ SimError::Plan { .. } => faults::failure(error),
            error => Failure::config(error),
        })?;
        for (name, table) in exchanges.iter_mut() {
            if let Some(endpoint) = sim.endpoint(name) {
                tracing::info!(
                    exchange = name,
                    ws_url = endpoint.ws_url,
                    rest_url = endpoint.rest_url,
                    "simulated venue"
                );
                (table.ws_url, table.rest_url) = (endpoint.ws_url, endpoint.rest_url);
            }
            if table.symbols.is_empty() {
                table.symbols = sim.symbols(name);
            }
        }
        Ok(sim)
    }
}
