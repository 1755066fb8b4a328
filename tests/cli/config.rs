//! Configuration: where values come from, and what is said of wrong ones. Exit code 78.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;

use super::process::{binary, run, run_with};

/// A file with this text, in a folder that goes with it.
pub(super) fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("dm.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path.display().to_string())
}

/// The line that `config show` prints of a key, its spaces made one.
fn shown(out: &str, key: &str) -> String {
    let line = out.lines().find(|line| line.starts_with(&format!("{key} = ")));
    let line = line.unwrap_or_else(|| panic!("no {key} in {out}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn show_tells_where_every_value_comes_from() {
    let (_one, first) = file("shards = 2\n[transport.nats]\nwindow = 7\nack_timeout = '9s'\n");
    let (_two, second) = file("[transport.nats]\n\nack_timeout = '8s'\n");
    let env = [("DATA_MANAGER__TRANSPORT__IPC__CAPACITY", "4096"), ("DATA_MANAGER__TRANSPORT__NATS__SERVERS", "a, b")];
    let out = run_with(&["config", "show", "--config", &first, "--config", &second], &env, "").expect_code(0).out;
    assert_eq!(shown(&out, "shards"), format!("shards = 2 # {first}:1"));
    assert_eq!(shown(&out, "transport.nats.window"), format!("transport.nats.window = 7 # {first}:3"));
    assert_eq!(shown(&out, "transport.nats.ack_timeout"), format!("transport.nats.ack_timeout = \"8s\" # {second}:3"));
    assert_eq!(
        shown(&out, "transport.ipc.capacity"),
        "transport.ipc.capacity = 4096 # $DATA_MANAGER__TRANSPORT__IPC__CAPACITY"
    );
    assert!(shown(&out, "transport.nats.servers").starts_with("transport.nats.servers = [\"a\", \"b\"] # $DATA_"));
    assert_eq!(shown(&out, "http.listen"), "http.listen = \"127.0.0.1:9464\" # default");
    // The file can be named by the environment too.
    let out = run_with(&["config", "show"], &[("DATA_MANAGER_CONFIG", &first)], "").expect_code(0).out;
    assert_eq!(shown(&out, "shards"), format!("shards = 2 # {first}:1"));
}

#[test]
fn a_flag_is_told_as_the_origin_of_a_wrong_value() {
    let arguments = ["serve", "--ipc", "--exchange", "binance", "--symbols", "BTCUSDT,"];
    run(&arguments).expect_code(78).tells("--symbols: exchanges.binance.symbols: holds an empty name");
}

#[test]
fn show_ends_well_where_its_reader_has_enough() {
    let mut child = binary(&["config", "show"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_the_nearest_one() {
    let (_folder, path) = file("[transport.nats]\nenabled = true\n  ack_timeot = '5s'\n");
    for action in ["check", "show"] {
        run(&["config", action, "--config", &path])
            .expect_code(78)
            .tells(&format!("{path}:3:3: unknown field `ack_timeot`"))
            .tells("did you mean `ack_timeout`?");
    }
    let env = [("DATA_MANAGER__TRANSPORT__NATS__WINDOWS", "5")];
    run_with(&["config", "show"], &env, "")
        .expect_code(78)
        .tells("$DATA_MANAGER__TRANSPORT__NATS__WINDOWS")
        .tells("did you mean `window`?");
    run(&["config", "check", "--config", "/no/such.toml"]).expect_code(78).tells("/no/such.toml");
}

#[test]
fn several_problems_are_told_at_once() {
    let text = "[transport.ipc]\ncapacity = 1000\nmode = '0444'\n[http]\nlisten = 'here'\n[exchanges.binance]\n\
                symbols = ['BTCUSDT']\nws_url = 'binance.com'\n";
    let (_folder, path) = file(text);
    let env = [("DATA_MANAGER__TRANSPORT__NATS__WINDOW", "0")];
    let done = run_with(&["config", "check", "--config", &path], &env, "").expect_code(78);
    let done = done
        .tells(&format!("{path}:2: transport.ipc.capacity: 1000 is no power of two; 1024 is the next one"))
        .tells(&format!("{path}:3: transport.ipc.mode"))
        .tells(&format!("{path}:5: http.listen"))
        .tells(&format!("{path}:8: exchanges.binance.ws_url"))
        .tells("$DATA_MANAGER__TRANSPORT__NATS__WINDOW: transport.nats.window: 0 is out of range; 1 to 100000");
    assert_eq!(done.err.lines().count(), 5, "{}", done.err);
    assert!(done.err.lines().all(|line| line.starts_with("error: ")), "{}", done.err);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("DATA_MANAGER__TRANSPORT__NATS__WINDOW", "many"),
        ("DATA_MANAGER__SHUTDOWN_TIMEOUT", "soon"),
        ("DATA_MANAGER__TRANSPORT__NATS__OUTBOX", "much"),
        ("DATA_MANAGER__HTTP__LISTEN", "here"),
        ("DATA_MANAGER__TRANSPORT__NATS__JETSTREAM__STORAGE", "tape"),
    ] {
        run_with(&["config", "check"], &[(name, value)], "").expect_code(78).tells(&format!("${name}"));
    }
}

#[test]
fn symbols_and_exchanges_that_cannot_be_are_refused() {
    let (_folder, path) = file("[exchanges.binance]\nsymbols = ['BTCUSDT', 'BTC USDT', 'btcusdt']\n");
    run(&["config", "check", "--config", &path])
        .expect_code(78)
        .tells("binance cannot have a symbol \"BTC USDT\"")
        .tells("configured twice");
    let (_folder, path) = file("[exchanges.coinbse]\nsymbols = ['BTCUSD']\n[exchanges.binance]\n");
    run(&["config", "check", "--config", &path])
        .expect_code(78)
        .tells("did you mean coinbase?")
        .tells("`data-manager symbols --exchange binance` lists them");
    run(&["serve", "--ipc"]).expect_code(78).tells("no exchange is configured");
}

#[test]
fn check_says_what_a_right_configuration_would_run() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/data-manager.toml");
    let done = run(&["config", "check", "--config", path]).expect_code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("right: binance, coinbase, okx with 6 symbols\n", ""));
    let done = run(&["config", "check"]).expect_code(0);
    assert!(done.out.contains("no exchange is configured"), "{}", done.out);
}
