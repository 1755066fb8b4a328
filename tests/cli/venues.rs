//! `symbols`, `sim` and `capture`: a venue's list, simulated venues, and frames recorded and replayed.

use data_manager::sim::{Sim, SimConfig};
use rustix::process::Signal;
use serde_json::Value;

use super::process::{Running, run, run_with};

const REST: &str = "DATA_MANAGER__EXCHANGES__BINANCE__REST_URL";
const WS: &str = "DATA_MANAGER__EXCHANGES__BINANCE__WS_URL";

/// `sim` with these flags, on a free port; the process and its ws_url.
fn sim(flags: &[&str]) -> (Running, String) {
    let mut running =
        Running::with(&[&["sim", "--exchange", "binance", "--listen", "127.0.0.1:0"], flags].concat(), &[]);
    let url = running.until(|out, _| {
        out.contains("symbols = ").then(|| out.split("ws_url = \"").nth(1)?.split('"').next().map(str::to_owned))?
    });
    (running, url)
}

/// The lines of a recording that carry trades.
fn trades(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| line.contains("\"e\":\"trade\"")).map(str::to_owned).collect()
}

#[test]
fn symbols_lists_a_venue_in_every_format() {
    let sim = Sim::spawn(SimConfig::of(&["binance", "coinbase"])).unwrap();
    for (exchange, symbol, venue_symbol) in [("binance", "BTCUSDT", "BTCUSDT"), ("coinbase", "BTCUSD", "BTC-USD")] {
        let key = format!("DATA_MANAGER__EXCHANGES__{}__REST_URL", exchange.to_uppercase());
        let url = sim.endpoint(exchange).unwrap().rest_url;
        let list = |format: &str| {
            let done = run_with(&["symbols", "--exchange", exchange, "--format", format], &[(&key, &url)], "");
            done.expect_code(0).out
        };
        let count = sim.symbols(exchange).len();
        let json: Vec<Value> = list("json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json.len(), count);
        let one = json.iter().find(|one| one["symbol"] == symbol).unwrap();
        assert_eq!((&one["exchange"], &one["venue_symbol"]), (&exchange.into(), &venue_symbol.into()));
        let id = data_manager::market::instrument::instrument_id(exchange, symbol);
        assert_eq!((&one["instrument_id"], &one["trading"]), (&id.into(), &true.into()));
        let csv = list("csv");
        assert_eq!(csv.lines().count(), count + 1);
        assert!(csv.starts_with("exchange,symbol,venue_symbol,tick_size,lot_size,instrument_id,trading\n"), "{csv}");
        let start = format!("{exchange},{symbol},{venue_symbol},");
        assert!(csv.lines().any(|line| line.starts_with(&start) && line.contains(&id.to_string())), "{csv}");
        let pretty = list("pretty");
        assert_eq!(pretty.lines().count(), count + 1);
        assert!(pretty.lines().any(|line| line.starts_with(symbol) && line.ends_with("yes")), "{pretty}");
    }
}

#[test]
fn symbols_tells_what_it_could_not_reach() {
    let arguments = ["symbols", "--exchange", "binance"];
    run_with(&arguments, &[(REST, "http://127.0.0.1:1")], "").expect_code(1).tells("http://127.0.0.1:1/");
    run_with(&arguments, &[(REST, "nonsense")], "").expect_code(78).tells(&format!("${REST}"));
}

#[test]
fn what_was_captured_is_replayed_frame_by_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let capture = |url: &str, name: &str, count: &str| {
        let to = path(name);
        let arguments = ["capture", "--exchange", "binance", "--symbols", "BTCUSDT", "-o", &to, "--count", count];
        run_with(&arguments, &[(WS, url)], "").expect_code(0).tells(&format!("{count} frames"));
        to
    };
    let (mut live, url) = sim(&["--rate", "2000", "--seed", "7"]);
    let first = capture(&url, "first.jsonl", "40");
    live.signal(Signal::TERM);
    live.end().expect_code(0);
    let times = std::fs::read_to_string(path("first.recv_ns.txt")).unwrap();
    let times: Vec<u64> = times.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(times.len(), 40, "a time beside every frame");
    assert!(times.is_sorted());

    let recorded = trades(&first);
    assert_eq!(recorded.len(), 39, "the venue's answer to the subscription and 39 trades");
    let (mut replay, url) = sim(&["--capture", &first, "--rate", "0"]);
    replay.until(|_, err| err.contains("once all of its symbols are subscribed").then_some(()));
    let second = capture(&url, "second.jsonl", "40");
    assert_eq!(trades(&second), recorded);
    replay.signal(Signal::INT);
    replay.end().expect_code(0);
}

#[test]
fn a_capture_that_is_told_to_stop_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("frames.jsonl").display().to_string();
    let (_sim, url) = sim(&["--rate", "5000"]);
    let arguments = ["capture", "--exchange", "binance", "--symbols", "BTCUSDT", "-o", &to];
    let mut capture = Running::with(&arguments, &[(WS, &url)]);
    // What goes through its buffer is on disk only now and then: some is there, so more was taken.
    capture.until(|_, _| std::fs::metadata(&to).is_ok_and(|file| file.len() > 0).then_some(()));
    capture.signal(Signal::TERM);
    let done = capture.end().expect_code(0);
    let text = std::fs::read_to_string(&to).unwrap();
    assert!(text.ends_with("}\n"), "the last frame is cut off");
    done.tells(&format!("{} frames", text.lines().count()));
}

#[test]
fn captures_that_cannot_be_are_refused() {
    run(&["capture", "--exchange", "binance"]).expect_code(78).tells("exchanges.binance.symbols is empty");
    let to = ["capture", "--exchange", "binance", "--symbols", "BTCUSDT", "-o", "/no/such/frames.jsonl"];
    run(&to).expect_code(1).tells("/no/such/frames.jsonl");
    run(&["sim", "--exchange", "binance", "--capture", "/no/such.jsonl"]).expect_code(1).tells("/no/such.jsonl");
    run(&["sim", "--capture", "/no/such.jsonl"]).expect_code(2).tells("name it with --exchange");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["sim", "--exchange", "binance", "--listen", &address]).expect_code(1).tells(&address);
}

#[test]
fn faults_are_injected_by_file_and_by_flag_and_told_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, "[[fault]]\nkind = \"withhold\"\nafter = 3\ncount = 2\nsymbol = \"BTCUSDT\"\n").unwrap();
    let file = path.display().to_string();
    let (mut running, _) = sim(&["--rate", "500", "--faults", &file, "--fault", "burst at=10ms lasting=1ms"]);
    running.until(|_, err| {
        let withheld = err.contains("withhold exchange=binance symbol=BTCUSDT which=all count=2");
        (withheld && err.contains("burst exchange=binance factor=100 lasting=1ms") && err.contains("number"))
            .then_some(())
    });
    running.signal(Signal::TERM);
    running.end().expect_code(0);
}

#[test]
fn a_wrong_plan_of_faults_is_wrong_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, "[[fault]]\nkind = \"drop\"\nwhich = \"some\"\n").unwrap();
    let file = path.display().to_string();
    for command in [&["sim"][..], &["serve", "--sim", "--ipc"]] {
        let done = run(&[command, &["--faults", &file]].concat()).expect_code(78);
        done.tells("plan.toml:3: which = \"some\": there are all, oldest, newest");
    }
    run(&["sim", "--faults", "/no/such.toml"]).expect_code(78).tells("/no/such.toml: cannot be read");
}
