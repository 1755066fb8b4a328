//! Which ids of a symbol are there: rows that stand for several fills and single fills from a venue's history, held
//! against what the venue issued.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use data_manager::market::{Flags, Record, TradeMsg};
use data_manager::sim::{Sim, SimConfig, SimTrade, Source};

use crate::daemon::Daemon;
use crate::truth::{Found, Trade, issued};

/// All simulated venues, whose tapes end after so many fills of each; `rate` is of all together.
pub(crate) fn all_venues(rate: f64, limit: u64) -> SimConfig {
    SimConfig { source: Source::Generate { rate }, limit: Some(limit), ..SimConfig::of(&Sim::exchanges()) }
}

/// The ids of a symbol that are there, and those that gaps declare, as far as they were issued.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    pub(crate) missing: BTreeSet<u64>,
    pub(crate) declared: BTreeSet<u64>,
    /// Trades that came from the venue's history.
    pub(crate) backfilled: usize,
    /// Gaps that are not the news that one is filled.
    pub(crate) gaps: usize,
}

impl Cover {
    /// Compares each record with what the venue issued. Fails where one is not of the venue, or an id is there twice.
    pub(crate) fn of(records: &[Record], sim: &Sim, (exchange, symbol): &(String, String)) -> Self {
        let by_id = |trades: Vec<SimTrade>| trades.into_iter().map(|trade| (trade.id, trade)).collect();
        let fills: BTreeMap<u64, SimTrade> = by_id(sim.history(exchange, symbol));
        let rows: BTreeMap<u64, SimTrade> = by_id(sim.rows(exchange, symbol));
        let first = fills.keys().next().copied().unwrap_or_default();
        let (mut this, mut seen) = (Self::default(), BTreeSet::new());
        for record in records {
            match record {
                // From before the tape began: what the venue pushes once more at a subscribe.
                Record::Trade(msg) if msg.trade_id < first => {}
                Record::Trade(msg) => {
                    let place = || format!("{exchange} {symbol} {}", msg.trade_id);
                    let flags = msg.flag_set();
                    this.backfilled += usize::from(flags.has(Flags::BACKFILLED));
                    let known = if flags.has(Flags::AGGREGATED) { &rows } else { &fills };
                    let known = known.get(&msg.trade_id).unwrap_or_else(|| panic!("{}: nobody issued it", place()));
                    assert_eq!(Trade::from(msg), Trade::from(known), "{}", place());
                    for id in msg.trade_id + 1 - u64::from(known.fills)..=msg.trade_id {
                        assert!(seen.insert(id), "{}: {id} is there twice", place());
                    }
                }
                Record::Gap(gap) => {
                    this.gaps += usize::from(gap.flags == 0);
                    this.declared.extend(fills.range(gap.first_id..=gap.last_id.max(gap.first_id)).map(|(id, _)| *id));
                }
            }
        }
        this.missing = fills.keys().filter(|id| !seen.contains(id)).copied().collect();
        this
    }
}

/// The audit of the stream finds no fault, declared losses aside where they are allowed.
pub(crate) fn verify(url: &str, allow_declared: bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    command.args(["verify", "--nats", url]).args(allow_declared.then_some("--allow-declared"));
    let done = command.env_remove("DATA_MANAGER_CONFIG").env_remove("RUST_LOG").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
}

/// Everything is there once and in order, and nothing is declared.
pub(crate) fn assert_whole(found: &Found, sim: &Sim, place: &str) -> usize {
    let mut backfilled = 0;
    for key in issued(sim).keys() {
        let records = found.records.get(key).unwrap_or_else(|| panic!("{place}: nothing of {key:?}"));
        let cover = Cover::of(records, sim, key);
        assert_eq!((cover.missing.len(), cover.gaps), (0, 0), "{place} {key:?}: {cover:?}");
        let trades: Vec<&TradeMsg> = records.iter().filter_map(trade).collect();
        let disorder = trades.windows(2).position(|pair| pair[0].trade_id >= pair[1].trade_id);
        assert_eq!(disorder, None, "{place} {key:?}: {:?}", disorder.map(|at| &trades[at..at + 2]));
        backfilled += cover.backfilled;
    }
    backfilled
}

/// What is not there is declared.
pub(crate) fn assert_honest(found: &Found, sim: &Sim, place: &str) -> usize {
    let mut missing = 0;
    for key in issued(sim).keys() {
        let cover = Cover::of(found.records.get(key).map_or(&[], Vec::as_slice), sim, key);
        let silent: Vec<&u64> = cover.missing.difference(&cover.declared).collect();
        assert!(silent.is_empty(), "{place} {key:?}: missing and not declared: {silent:?}");
        missing += cover.missing.len();
    }
    missing
}

pub(crate) fn trade(record: &Record) -> Option<&TradeMsg> {
    match record {
        Record::Trade(msg) => Some(msg),
        Record::Gap(_) => None,
    }
}

/// Waits until the tapes have ended, their last trades are delivered, and nothing is on its way or being repaired.
pub(crate) fn wait_for_all(daemon: &mut Daemon, sim: &Sim) {
    daemon.wait(|_| sim.finished().then_some(()), "to see the tapes end");
    let last: Vec<String> =
        issued(sim).values().filter_map(|trades| trades.last()).map(|trade| trade.id.to_string()).collect();
    let there = |daemon: &mut Daemon| {
        let (_, status) = daemon.page("/status");
        last.iter().all(|id| status.contains(id)).then_some(())
    };
    daemon.wait(there, "to read the last trades");
    // What the last trades have shown to be missing is asked for by now.
    std::thread::sleep(Duration::from_millis(600));
    let settled = |daemon: &mut Daemon| {
        let waits = ["repairs_open", "repair_waiting_records", "publish_waiting_records"];
        waits.iter().all(|name| daemon.metric(name) == 0).then_some(())
    };
    daemon.wait(settled, "to end its repairs");
}
