//! `serve --sim --ipc` and those who read it: `tail` in every format, the HTTP pages, a second daemon.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::process::{Done, Running, binary, run_with};

/// A place in shared memory that no other test has; emptied at the end.
struct Place {
    prefix: String,
}

impl Place {
    fn new(name: &str) -> Self {
        Self { prefix: format!("/dm_cli_{}_{name}_", std::process::id()) }
    }

    fn env<'a>(&'a self, listen: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("DATA_MANAGER__TRANSPORT__IPC__SHM_PATH_PREFIX", &self.prefix),
            ("DATA_MANAGER__TRANSPORT__IPC__CAPACITY", "1024"),
            ("DATA_MANAGER__HTTP__LISTEN", listen),
            ("DATA_MANAGER__LOG__FORMAT", "json"),
        ]
    }

    /// A daemon with simulated venues, and the address of its pages.
    fn serve(&self) -> (Running, String) {
        let mut running = Running::with(&["serve", "--sim", "--ipc", "--rate", "2000"], &self.env("127.0.0.1:0"));
        let address = running.until(|_, err| {
            let mut lines = err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let started = lines.find(|line| line["message"] == "started")?;
            // Rings come after it: `tail` must find them.
            err.matches("ring created").nth(2)?;
            started["http"].as_str().map(str::to_owned)
        });
        (running, address)
    }

    fn tail(&self, flags: &[&str]) -> Done {
        run_with(&[&["tail", "--ipc"], flags].concat(), &self.env("127.0.0.1:0"), "")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(self.prefix.trim_start_matches('/')) {
                // Another part of the test may have removed it.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Status code and body of a page.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn tail_reads_what_serve_writes() {
    let place = Place::new("tail");
    let (_serve, _) = place.serve();
    let json = place.tail(&["--count", "20", "--format", "json"]).expect_code(0).out;
    assert_eq!(json.lines().count(), 20);
    for line in json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert!(["binance", "coinbase", "okx"].iter().any(|name| line["exchange"] == *name), "{line}");
        let number = |key: &str| line[key].as_str().and_then(|text| text.parse::<f64>().ok());
        assert!(number("price") > Some(0.0) && number("size") > Some(0.0), "{line}");
        assert!(line["side"] == "buy" || line["side"] == "sell", "{line}");
        assert!(line["ts_event"].as_u64() > Some(0) && number("trade_id").is_some(), "{line}");
    }
    let csv = place.tail(&["--count", "20", "--format", "csv", "--since", "start"]).expect_code(0).out;
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("exchange,symbol,price,size,side,ts_event,trade_id,flags,ts_recv"));
    assert!(rows.clone().count() == 20 && rows.all(|row| row.split(',').count() == 9), "{csv}");
    let flags = ["--exchange", "coinbase", "--symbols", "btcusd", "--count", "20", "--format", "pretty"];
    let pretty = place.tail(&flags).expect_code(0).out;
    assert_eq!(pretty.lines().count(), 20);
    assert!(pretty.lines().all(|line| line.contains("coinbase") && line.contains("BTCUSD")), "{pretty}");
}

#[test]
fn a_reader_that_has_enough_ends_tail_well() {
    let place = Place::new("enough");
    let (_serve, _) = place.serve();
    for format in ["json", "csv", "pretty"] {
        let mut tail = binary(&["tail", "--ipc", "--format", format])
            .envs(place.env("127.0.0.1:0"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(tail.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let done = tail.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!((done.status.code(), line.is_empty()), (Some(0), false), "{format}: {err}");
        assert!(!err.contains("ipe") && !err.contains("panic"), "{format}: {err}");
    }
}

#[test]
fn the_pages_answer() {
    let place = Place::new("pages");
    let (mut serve, address) = place.serve();
    let (code, body) = get(&address, "/healthz");
    assert_eq!((code, serde_json::from_str::<Value>(&body).unwrap()["alive"].clone()), (200, true.into()));
    serve.until(|_, _| (get(&address, "/readyz").0 == 200).then_some(()));
    let status = serve.until(|_, _| {
        let status: Value = serde_json::from_str(&get(&address, "/status").1).ok()?;
        let feeds = status["shards"][0]["connections"].as_array()?;
        feeds.iter().all(|feed| feed["trades"].as_u64() > Some(0)).then(|| status.clone())
    });
    assert_eq!(status["ready"], true);
    assert_eq!(status["shards"][0]["connections"].as_array().unwrap().len(), 3);
    let (code, metrics) = get(&address, "/metrics");
    assert_eq!(code, 200);
    for name in ["data_manager_trades_received_total{exchange=\"binance\"}", "data_manager_ready 1"] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
    assert_eq!(get(&address, "/").0, 200);
    assert_eq!(get(&address, "/nothing").0, 404);
}

#[test]
fn simulated_venues_fail_as_told_and_the_daemon_comes_back() {
    let place = Place::new("faults");
    let flags = ["serve", "--sim", "--ipc", "--fault", "drop exchange=binance at=300ms"];
    let mut serve = Running::with(&flags, &place.env("127.0.0.1:0"));
    serve.until(|_, err| {
        let lines: Vec<Value> = err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let fault = lines.iter().position(|line| line["fault"] == "drop exchange=binance which=all")?;
        assert_eq!(lines[fault]["number"], 1);
        lines[fault..].iter().find(|line| line["message"] == "subscribed" && line["conn"] == "binance/0").map(|_| ())
    });
}

#[test]
fn a_second_daemon_on_the_same_ring_is_refused() {
    let place = Place::new("twice");
    let (mut first, address) = place.serve();
    let second = run_with(&["serve", "--sim", "--ipc"], &place.env("127.0.0.1:0"), "").expect_code(1);
    let second = second.tells("a live writer (pid ").tells("shm_path_prefix");
    assert!(second.err.contains(&place.prefix), "{}", second.err);
    // The first one has not noticed.
    assert_eq!(get(&address, "/healthz").0, 200);
    place.tail(&["--count", "5"]).expect_code(0);
    first.signal(Signal::TERM);
    first.end().expect_code(0);
}

#[test]
fn a_port_that_is_taken_is_told_with_its_key() {
    let place = Place::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = run_with(&["serve", "--sim", "--ipc"], &place.env(&address), "").expect_code(1);
    done.tells(&format!("http.listen {address}")).tells("DATA_MANAGER__HTTP__LISTEN");
}

#[test]
fn tail_tells_once_that_the_writer_has_gone_and_goes_on_with_the_next() {
    let place = Place::new("next");
    let (mut first, _) = place.serve();
    let flags = ["tail", "--ipc", "--exchange", "binance", "--format", "json"];
    let mut tail = Running::with(&flags, &place.env("127.0.0.1:0"));
    tail.until(|out, _| out.contains("trade_id").then_some(()));
    first.signal(Signal::INT);
    first.end().expect_code(0);
    let seen = tail.until(|out, err| err.contains("the writer has closed the ring").then(|| out.lines().count()));
    let (_second, _) = place.serve();
    tail.until(|out, err| (err.contains("a new writer has taken over") && out.lines().count() > seen).then_some(()));
    tail.signal(Signal::KILL);
    let done = tail.end();
    assert_eq!(done.err.matches("the writer has closed the ring").count(), 1, "{}", done.err);
}

#[test]
fn tail_without_a_ring_says_who_would_make_one() {
    let place = Place::new("none");
    place.tail(&[]).expect_code(1).tells("data-manager serve --ipc");
}
