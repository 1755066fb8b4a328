//! Piped: a line of JSON an interval.

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::process::{Child, ChildStdout, Stdio};

use data_manager::market::{Record, TradeMsg};
use data_manager::sim::{Sim, SimConfig, Source};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::daemon::Spec;
use crate::rings::{Ring, gap, prefix, trade};
use crate::top;

/// A `top` whose lines are read one by one; killed where it is dropped.
struct Running {
    child: Child,
    /// `None`: its pipe is closed.
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Running {
    fn start(prefix: &str, arguments: &[&str]) -> Self {
        let mut command = top(prefix, arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()).lines());
        Self { child, lines }
    }

    fn next(&mut self) -> Option<Value> {
        self.lines.as_mut()?.next().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    /// The first line of which this holds.
    fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next().expect("it ended before it said so");
            if holds(&line) {
                return line;
            }
        }
    }

    /// Its exit code and what it said on stderr.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn symbol<'a>(line: &'a Value, name: &str) -> &'a Value {
    let all = line["exchanges"].as_array().unwrap().iter().flat_map(|one| one["symbols"].as_array().unwrap());
    all.into_iter().find(|symbol| symbol["symbol"] == name).unwrap_or(&Value::Null)
}

#[test]
fn so_many_lines_and_the_end() {
    let ring = Ring::new(&["BTCUSDT"], 1_024);
    let mut running = Running::start(&ring.prefix, &["--count", "3", "--interval", "100ms", "--status", ""]);
    let lines: Vec<Value> = std::iter::from_fn(|| running.next()).collect();
    let (code, err) = running.end();
    assert_eq!((lines.len(), code, err.as_str()), (3, Some(0), ""));
    for line in &lines {
        assert_eq!((&line["source"], &line["rings"][0]["capacity"]), (&"ring".into(), &1_024.into()), "{line}");
        assert_eq!((&line["daemon"], &line["daemon_error"]), (&Value::Null, &"not asked: --status is empty".into()));
    }
}

#[test]
fn counts_rates_and_gaps_are_those_of_the_records() {
    let mut ring = Ring::new(&["BTCUSDT", "ETHUSDT", "OLD"], 1_024);
    ring.write(&[trade("OLD", 1, 1)]);
    let mut running = Running::start(&ring.prefix, &["--interval", "200ms", "--status", "", "--sort", "trades"]);
    running.next().unwrap();
    let mut records: Vec<_> = (1..=40).map(|id| trade("BTCUSDT", 6_183_763, id)).collect();
    records.push(gap("BTCUSDT", 41, 43));
    records.push(trade("BTCUSDT", 6_183_764, 44));
    records.extend((1..=5).map(|id| trade("ETHUSDT", 100, id)));
    ring.write(&records);
    // Records may come to two intervals; their rates are what each says of its own length.
    let mut counted = 0.0;
    let line = loop {
        let line = running.next().unwrap();
        counted += line["total"]["rate"].as_f64().unwrap() * line["interval_ns"].as_f64().unwrap() / 1e9;
        if line["total"]["trades"] == 46 {
            break line;
        }
    };
    assert!((counted - 46.0).abs() < 0.001, "rates count {counted} trades of 46");
    let exchange = &line["exchanges"][0];
    assert_eq!((&exchange["exchange"], &exchange["trades"]), (&"venue-a".into(), &46.into()), "{line}");
    assert_eq!((&exchange["gaps"], &exchange["missing"]), (&1.into(), &3.into()), "{line}");
    assert_eq!(exchange["symbols"][0]["symbol"], "BTCUSDT", "the most trades first: {line}");
    let btc = symbol(&line, "BTCUSDT");
    assert_eq!((&btc["trades"], &btc["gaps"], &btc["missing"]), (&41.into(), &1.into(), &3.into()));
    assert_eq!((&btc["price"], &btc["direction"]), (&"61837.64".into(), &"up".into()));
    assert_eq!((&btc["size"], &btc["side"], &btc["lag_ns"]), (&"0.0125".into(), &"sell".into(), &3_000_000.into()));
    assert_eq!((&symbol(&line, "ETHUSDT")["trades"], symbol(&line, "OLD")), (&5.into(), &Value::Null));
    assert_eq!((&line["rings"][0]["written"], &line["rings"][0]["unread"]), (&48.into(), &0.into()));
    kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
    while running.next().is_some() {}
    assert_eq!(running.end(), (Some(0), String::new()), "SIGTERM is an end like any other");
}

#[test]
fn a_view_that_was_overtaken_says_what_it_lost() {
    let mut ring = Ring::new(&["BTCUSDT"], 64);
    let mut running = Running::start(&ring.prefix, &["--interval", "100ms", "--status", ""]);
    running.next().unwrap();
    let pid = Pid::from_child(&running.child);
    kill_process(pid, Signal::STOP).unwrap();
    let records: Vec<_> = (1..=1_000).map(|id| trade("BTCUSDT", 100, id)).collect();
    records.chunks(10).for_each(|chunk| ring.write(chunk));
    kill_process(pid, Signal::CONT).unwrap();
    let whole = |line: &Value| {
        let (read, lost) = (line["total"]["trades"].as_u64().unwrap(), line["lost"]["records"].as_u64().unwrap());
        lost > 0 && read + lost == 1_000
    };
    assert!(running.until(whole)["lost"]["laps"].as_u64().unwrap() > 0);
}

#[test]
fn records_that_are_unreadable_are_counted_and_passed_over() {
    let mut ring = Ring::new(&["BTCUSDT"], 1_024);
    let mut running = Running::start(&ring.prefix, &["--interval", "100ms", "--status", ""]);
    running.next().unwrap();
    let Record::Trade(known) = trade("BTCUSDT", 100, 1) else { panic!("a trade is one") };
    let mut records = vec![Record::Trade(TradeMsg { kind: 200, ..known }); 500];
    records.push(Record::Trade(known));
    ring.write(&records);
    let line = running.until(|line| line["total"]["trades"] == 1);
    assert_eq!(line["lost"]["unreadable"], 500, "{line}");
    assert!(line["note"].as_str().is_some_and(|note| note.starts_with("500 records unreadable, last: ")), "{line}");
}

#[test]
fn a_writer_that_has_ended_is_told_and_its_successor_followed() {
    let mut ring = Ring::new(&["BTCUSDT"], 64);
    let mut running = Running::start(&ring.prefix, &["--interval", "100ms", "--status", ""]);
    running.next().unwrap();
    ring.writer.take().unwrap().close();
    running.until(|line| line["exchanges"][0]["writer"].as_str().is_some_and(|text| text.contains("closed")));
    let mut next = Ring::at(&ring.prefix, &["BTCUSDT"], 64);
    next.write(&[trade("BTCUSDT", 100, 1)]);
    running.until(|line| line["exchanges"][0]["writer"] == "" && line["total"]["trades"] == 1);
}

#[test]
fn a_writer_that_was_silent_and_is_back_is_well_again() {
    let mut ring = Ring::new(&["BTCUSDT"], 64);
    let mut running = Running::start(&ring.prefix, &["--interval", "100ms", "--status", ""]);
    running.until(|line| line["exchanges"][0]["writer"].as_str().is_some_and(|text| text.contains("sign of life")));
    ring.write(&[]);
    running.until(|line| line["exchanges"][0]["writer"] == "");
}

#[test]
fn a_pipe_that_is_closed_ends_it_quietly() {
    let ring = Ring::new(&["BTCUSDT"], 64);
    let mut running = Running::start(&ring.prefix, &["--interval", "100ms", "--status", ""]);
    running.next().unwrap();
    running.lines = None;
    assert_eq!(running.end(), (Some(0), String::new()));
}

#[test]
fn without_a_ring_it_says_what_would_help() {
    let mut running = Running::start("/dm_top_no_such_ring_", &[]);
    assert!(running.next().is_none());
    let (code, err) = running.end();
    assert!(code == Some(1) && err.contains("serve --ipc"), "{code:?} {err}");
    let mut running = Running::start("/dm_top_no_such_ring_", &["--interval", "1ms"]);
    assert!(running.next().is_none());
    let (code, err) = running.end();
    assert!(code == Some(2) && err.contains("shorter than 100ms"), "{code:?} {err}");
}

#[test]
fn an_exchange_that_was_named_is_waited_for() {
    let prefix = prefix();
    let mut running = Running::start(&prefix, &["--exchange", "venue-a", "--interval", "100ms", "--status", ""]);
    let line = running.next().unwrap();
    assert_eq!(line["exchanges"][0]["writer"], "no ring yet", "{line}");
    let mut ring = Ring::at(&prefix, &["BTCUSDT"], 64);
    ring.write(&[trade("BTCUSDT", 100, 1)]);
    let line = running.until(|line| line["total"]["trades"] == 1);
    assert_eq!(line["exchanges"][0]["writer"], "", "what is in a ring that appears is new: {line}");
}

#[tokio::test]
async fn a_daemon_is_shown_with_what_it_says_of_itself() {
    let config = SimConfig {
        source: Source::Generate { rate: 200.0 },
        limit: Some(1_000_000),
        ..SimConfig::of(&["binance", "coinbase"])
    };
    let sim = Sim::spawn(config).unwrap();
    let mut daemon = Spec::new(&sim).start();
    daemon.wait(|daemon| (daemon.page("/readyz").0 == 200).then_some(()), "to become ready");
    let path = daemon.segment("binance").display().to_string();
    let prefix = path.trim_start_matches("/dev/shm").trim_end_matches("binance").to_owned();
    let http = daemon.field("started", "http").unwrap();
    // The address comes from the settings, as the daemon's own did.
    let mut command = top(&prefix, &["--interval", "200ms", "--exchange", "binance"]);
    command.env("DATA_MANAGER__HTTP__LISTEN", &http).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = Some(BufReader::new(child.stdout.take().unwrap()).lines());
    let mut running = Running { child, lines };
    let whole = |line: &Value| {
        let symbols = line["exchanges"][0]["symbols"].as_array().map_or(0, Vec::len);
        line["daemon"]["ready"] == true && line["total"]["rate"].as_f64() > Some(0.0) && symbols > 0
    };
    let line = running.until(whole);
    assert_eq!(line["exchanges"].as_array().unwrap().len(), 1, "the other exchange was not asked for: {line}");
    assert_eq!(line["exchanges"][0]["state"], "1/1 live", "{line}");
    assert_eq!((&line["daemon"]["publisher"], &line["daemon_error"]), (&Value::Null, &Value::Null), "{line}");
    assert_eq!(line["daemon"]["version"], env!("CARGO_PKG_VERSION"));
    for name in sim.symbols("binance") {
        assert!(symbol(&line, &name).is_object(), "{name} has a row before its first trade: {line}");
    }
    daemon.drain();
    running.until(|line| line["daemon_error"].as_str().is_some_and(|text| text.contains(&http)));
}
