//! What a row stands on: venues, broker, proxy and daemon, and how they are brought up and to their end.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use data_manager::market::Record;
use data_manager::sim::{Fault, Rules, Sim, SimConfig, Source, Which};

use crate::daemon::{DEADLINE, Daemon, Spec};
use crate::oracle::{Scope, in_stream, judge};
use crate::report::{Must, Running};
use crate::support::{Builder, Cluster, Proxy, Server, client};
use crate::truth::STREAM;

pub(crate) const VENUES: [&str; 3] = ["binance", "coinbase", "okx"];
/// Those that tell single trades.
pub(crate) const TWO: [&str; 2] = ["binance", "coinbase"];

/// Whether the long form is asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("CHAOS_LONG").is_some_and(|value| value != "0" && !value.is_empty())
}

/// A number from the environment, by default that of the short or the long form.
pub(crate) fn number(name: &str, short: u64, in_long: u64) -> u64 {
    let given = std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")));
    let usual = if long() { in_long } else { short };
    given.unwrap_or(usual)
}

pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(crate) async fn pause(seconds: f64) {
    tokio::time::sleep(secs(seconds)).await;
}

/// Venues whose tapes end after about so many seconds.
pub(crate) fn venues(exchanges: &[&str], rate: f64, seconds: f64) -> Sim {
    let limit = format!("{:.0}", rate * seconds / exchanges.len() as f64).parse().unwrap();
    let rules = Rules { messages_per_second: Some(1_000), ..Rules::default() };
    let source = Source::Generate { rate };
    let history = usize::try_from(limit).unwrap().max(100_000);
    Sim::spawn(SimConfig { source, limit: Some(limit), rules, history, ..SimConfig::of(exchanges) }).unwrap()
}

pub(crate) enum Broker {
    One(Server),
    Several(Cluster),
}

impl Broker {
    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Several(cluster) => cluster.url(),
        }
    }

    pub(crate) fn one(&mut self) -> &mut Server {
        match self {
            Self::One(server) => server,
            Self::Several(_) => panic!("it is a cluster"),
        }
    }

    pub(crate) fn several(&mut self) -> &mut Cluster {
        match self {
            Self::Several(cluster) => cluster,
            Self::One(_) => panic!("it is one server"),
        }
    }
}

/// What a row is to stand on.
pub(crate) struct Setup {
    test: &'static str,
    exchanges: Vec<&'static str>,
    rate: f64,
    seconds: f64,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    broker: Option<Broker>,
    proxied: bool,
}

impl Setup {
    /// Venues that issue about so many trades a second for about so long.
    pub(crate) fn new(test: &'static str, exchanges: &[&'static str], rate: f64, seconds: f64) -> Self {
        let exchanges = exchanges.to_vec();
        let (settings, environment) = (Vec::new(), Vec::new());
        Self { test, exchanges, rate, seconds, settings, environment, broker: None, proxied: false }
    }

    /// Variables of the daemon's environment that are no settings.
    pub(crate) fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With a proxy between daemon and broker.
    pub(crate) const fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    pub(crate) fn server(mut self, change: impl Fn(Builder) -> Builder) -> Self {
        self.broker = Some(Broker::One(change(Server::builder().max_file_store("64GB")).start()));
        self
    }

    /// So many nodes, three of which keep the stream.
    pub(crate) fn cluster(mut self, nodes: usize) -> Self {
        self.broker = Some(Broker::Several(Cluster::start_with(nodes, |node| node.max_file_store("64GB"))));
        self.set("TRANSPORT__NATS__JETSTREAM__REPLICAS", "3")
    }

    /// Starts all of it and waits until trades are stored.
    pub(crate) fn start(self) -> Scene {
        self.start_with(|_, spec| spec)
    }

    /// As `start`, with what `change` does to the daemon's settings.
    pub(crate) fn start_with(self, change: impl FnOnce(&Sim, Spec) -> Spec) -> Scene {
        let row = Running::new(self.test);
        let broker = self.broker.unwrap_or_else(|| Broker::One(Server::builder().max_file_store("64GB").start()));
        let sim = venues(&self.exchanges, self.rate, self.seconds);
        let proxy = self.proxied.then(|| Proxy::start(&broker.url()));
        let url = proxy.as_ref().map_or_else(|| broker.url(), Proxy::url);
        let mut settings = self.settings;
        for (key, value) in [("MAX_BYTES", "32GiB"), ("MAX_BYTES_PER_SUBJECT", "8GiB"), ("MAX_AGE", "1d")] {
            settings.insert(0, (format!("TRANSPORT__NATS__JETSTREAM__{key}"), value.to_owned()));
        }
        let mut spec = Spec::new(&sim).nats(&url);
        settings.iter().for_each(|(key, value)| spec.set(key, value));
        let environment = self.environment;
        spec = environment.iter().fold(spec, |spec, (name, value)| spec.environment(name, value));
        let mut daemon = change(&sim, spec).start();
        daemon.wait(|daemon| (daemon.metric("published_trades_total") > 100).then_some(()), "to publish");
        Scene { row, sim, broker, proxy, daemon, url, settings, environment, seconds: self.seconds }
    }
}

/// A row with all that it stands on.
pub(crate) struct Scene {
    pub(crate) row: Running,
    pub(crate) sim: Sim,
    pub(crate) broker: Broker,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) daemon: Daemon,
    /// Where the daemon publishes to.
    pub(crate) url: String,
    pub(crate) settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    /// How long the tapes are made for.
    seconds: f64,
}

impl Scene {
    pub(crate) fn inject(&self, fault: Fault) {
        self.sim.inject(fault).unwrap();
    }

    /// A fault of every venue.
    pub(crate) fn inject_all(&self, fault: impl Fn(String) -> Fault) {
        self.sim.venues().for_each(|exchange| self.inject(fault(exchange.to_owned())));
    }

    /// A fault of every symbol.
    pub(crate) fn inject_each(&self, fault: impl Fn(String, String) -> Fault) {
        for exchange in self.sim.venues() {
            for symbol in self.sim.symbols(exchange) {
                self.inject(fault(exchange.to_owned(), symbol));
            }
        }
    }

    pub(crate) fn drop_all(&self) {
        self.inject_all(|exchange| Fault::Drop { exchange, which: Which::All });
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    /// Connections that the venues have taken so far.
    pub(crate) fn accepted(&self) -> Vec<u64> {
        self.sim.venues().map(|exchange| self.sim.sent(exchange).accepted).collect()
    }

    /// Waits until every venue has taken a new connection since then, and takes the time as that of detection.
    pub(crate) fn wait_for_dials(&mut self, before: &[u64], since: Instant) {
        let sim = &self.sim;
        let mut times: Vec<Option<Duration>> = vec![None; before.len()];
        let dialled = |_: &mut Daemon| {
            for ((exchange, before), time) in sim.venues().zip(before).zip(&mut times) {
                if time.is_none() && sim.sent(exchange).accepted > *before {
                    *time = Some(since.elapsed());
                }
            }
            times.iter().all(Option::is_some).then_some(())
        };
        self.daemon.wait(dialled, "to dial every venue anew");
        self.row.detected(since);
        let each: Vec<String> =
            self.sim.venues().zip(&times).map(|(name, time)| format!("{name} {:.1?}", time.unwrap())).collect();
        self.row.note(format!("new connections after {}", each.join(", ")));
    }

    /// Waits until the daemon says that it cannot publish.
    pub(crate) fn wait_to_miss(&mut self, since: Instant) {
        let missed = |daemon: &mut Daemon| {
            let publishes = daemon.page("/status").1.contains("\"state\":\"publishing\"");
            (!publishes || daemon.page("/readyz").0 == 503).then_some(())
        };
        self.daemon.wait(missed, "to miss its broker");
        self.row.detected(since);
    }

    /// As `recover`, and the row tells how long this one took.
    pub(crate) async fn recover_from(&mut self, what: &str, healed: Instant) {
        self.recover(healed).await;
        self.row.note(format!("{what}: {:.1?}", healed.elapsed()));
    }

    /// Waits until trades issued from now on are stored; the time from `healed` counts.
    pub(crate) async fn recover(&mut self, healed: Instant) {
        let marks = self.newest();
        let context = jetstream::new(client(&self.broker.url()).await);
        let start = Instant::now();
        for (subject, id) in marks {
            loop {
                let stored = last_stored(&context, &subject).await;
                // A tape that has ended brings nothing newer, and what came late may be the last that is stored of it.
                let ended = || self.newest().contains(&(subject.clone(), id));
                if stored > id || (stored == id && ended()) || (start.elapsed() > secs(5.0) && ended()) {
                    break;
                }
                let status = || self.daemon.page("/status").1;
                assert!(start.elapsed() < DEADLINE, "nothing new is stored on {subject}: {}", status());
                pause(0.02).await;
            }
        }
        self.row.recovered(healed);
    }

    /// The newest id of each instrument that was issued, by subject.
    fn newest(&self) -> Vec<(String, u64)> {
        let mut newest = Vec::new();
        for exchange in self.sim.venues() {
            for symbol in self.sim.symbols(exchange) {
                let last = self.sim.history(exchange, &symbol).last().map_or(0, |trade| trade.id);
                newest.push((format!("market.{exchange}.{symbol}.trades"), last));
            }
        }
        newest
    }

    /// A daemon as the first one, in the place of one that has ended.
    pub(crate) fn next_daemon(&mut self) {
        let mut spec = Spec::instead_of(&self.sim, &mut self.daemon).nats(&self.url);
        self.settings.iter().for_each(|(key, value)| spec.set(key, value));
        spec = self.environment.iter().fold(spec, |spec, (name, value)| spec.environment(name, value));
        self.daemon = spec.start();
    }

    /// Waits until the tapes have ended, everything is read and nothing waits any more; not for ever, since what is
    /// missing then is for the comparison to tell.
    pub(crate) async fn settle(&mut self) {
        let limit = DEADLINE + secs(2.0 * self.seconds);
        let start = Instant::now();
        while !self.sim.finished() {
            assert!(start.elapsed() < limit, "the tapes do not end");
            pause(0.05).await;
        }
        let (newest, context) = (self.newest(), jetstream::new(client(&self.broker.url()).await));
        let (end, mut quiet) = (Instant::now(), 0);
        while quiet < 8 && end.elapsed() < DEADLINE * 2 / 3 {
            let status = self.daemon.page("/status").1;
            let waits = ["repairs_open", "repair_waiting_records", "publish_waiting_records"];
            let mut settled = waits.iter().all(|name| self.daemon.metric(name) == 0);
            for (subject, id) in &newest {
                // A daemon that was started behind the end of a tape reads nothing of it.
                settled = settled && (status.contains(&id.to_string()) || last_stored(&context, subject).await == *id);
            }
            quiet = if settled { quiet + 1 } else { 0 };
            pause(0.02).await;
        }
        if end.elapsed() > DEADLINE / 3 {
            self.row.note(format!("settled {:.0?} after the tapes' end", end.elapsed()));
        }
    }

    /// Settles, drains, compares the stream, and ends the row.
    pub(crate) async fn end(self, must: Must) {
        self.end_with(must, Scope::All).await;
    }

    pub(crate) async fn end_with(self, must: Must, scope: Scope) {
        self.judge(must, scope).await.end();
    }

    /// As `end`, for a row that has more to say.
    pub(crate) async fn judge(mut self, must: Must, scope: Scope) -> Running {
        self.settle().await;
        let panicked = self.daemon.log().contains("panicked");
        self.row.must(!panicked, "something panicked");
        let log = self.daemon.log();
        let status = self.daemon.page("/status").1;
        self.daemon.signal(rustix::process::Signal::TERM);
        let ended = self.daemon.ended();
        self.row.must(ended.code() == Some(0), format!("the drain ended with {ended:?}"));
        let verdict = judge(&self.sim, &in_stream(&self.broker.url()).await, scope);
        let mut row = self.row;
        row.judged(&verdict, must);
        if row.fails() || std::env::var_os("CHAOS_LOG").is_some() {
            println!("--- the daemon's log ---\n{log}\n--- its status ---\n{status}");
        }
        row
    }
}

/// The id of the last trade on a subject of the stream; 0: none. What came late may stand behind younger ones.
async fn last_stored(context: &jetstream::Context, subject: &str) -> u64 {
    let Ok(stream) = context.get_stream(STREAM).await else { return 0 };
    let last = stream.get_last_raw_message_by_subject(subject).await.ok();
    match last.and_then(|last| Record::from_bytes(last.payload.get(..48)?).ok()) {
        Some(Record::Trade(trade)) => trade.trade_id,
        _ => 0,
    }
}
