//! The shape of the house, held by a test: who imports whom, where `unsafe`, clock and tasks are, how long things are.
//!
//! It reads the sources as text. What the compiler and clippy hold already is not repeated here.

#[path = "imports/code.rs"]
mod code;
#[path = "imports/rules.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use code::Code;
use rules::{COLUMNS_MAX, FILE_LINES_MAX, FUNCTION_LINES_MAX, Violation, paths, violations};

const VENUES: [&str; 3] = ["binance", "coinbase", "okx"];

#[test]
fn the_house_keeps_its_shape() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<Code> = sources(root)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            Code::new(&name, &fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the sources were not found");
    let venues: Vec<String> = files.iter().filter_map(rules::venue).collect();
    assert!(!venues.is_empty(), "no venue was found in src/exchange/");
    let found = violations(&files, &venues.iter().map(String::as_str).collect::<Vec<_>>());
    let list: Vec<String> =
        found.iter().map(|Violation { place, rule, message }| format!("{place}: [{rule}] {message}")).collect();
    assert!(list.is_empty(), "{} violations of the house's rules:\n{}\n", list.len(), list.join("\n"));
}

/// Each line plants one violation: the path of the file, its text behind the `//!`, the rule that must find it.
#[test]
fn every_rule_finds_a_planted_violation() {
    let long_line = format!("// {}", "x".repeat(COLUMNS_MAX));
    let long_file = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX + 1);
    let long_function = format!("fn f() {{\n{}}}\n", "    step();\n".repeat(FUNCTION_LINES_MAX + 1));
    let planted: [(&str, &str, &str); 34] = [
        ("src/market/a.rs", "use crate::exchange::Row;", "import"),
        ("src/config/a.rs", "use crate::{telemetry::clock, app::serve};", "import"),
        (
            "src/config/a.rs",
            "use crate::{\n    telemetry::clock,\n    market::{Symbol, trade::TradeMsg},\n};",
            "import",
        ),
        ("src/feed/deep/a.rs", "use super::super::super::sim::Sim;", "import"),
        ("src/feed/a.rs", "use super::super::app;", "import"),
        ("src/feed/a.rs", "fn f() { crate::cli::main() }", "import"),
        ("src/feed/mod.rs", "use super::sim::Sim;", "import"),
        ("src/exchange/a.rs", "mod inner { use super::super::super::feed::session; }", "import"),
        ("src/transport/ipc/writer.rs", "use crate::transport::nats::Publisher;", "import"),
        ("src/transport/nats/mod.rs", "use super::ipc::Writer;", "import"),
        ("src/transport/nats/window/mod.rs", "use super::super::ipc;", "import"),
        ("src/exchange/kraken.rs", "use super::binance::Binance;", "import"),
        ("src/exchange/kraken.rs", "use super::{Event, registry};", "import"),
        ("src/exchange/kraken.rs", "use crate::transport::Transport;", "import"),
        ("src/exchange/kraken.rs", "use crate::telemetry::clock;", "import"),
        ("src/feed/a.rs", "use crate::nowhere::X;", "import"),
        ("src/attic/a.rs", "use crate::market::Symbol;", "import"),
        ("src/feed/a.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("src/feed/a.rs", "fn f() { std::time::Instant::now(); }", "clock"),
        ("src/feed/a.rs", "#[cfg(test)]\nmod tests { fn f() { SystemTime::now(); } }", "clock"),
        ("src/feed/a.rs", "fn f() { tokio::spawn(g()); }", "spawn"),
        ("src/cli/a.rs", "fn f() { std::thread::spawn(g); }", "spawn"),
        ("src/app/a.rs", "fn f() { tokio::sync::mpsc::unbounded_channel(); }", "bounds"),
        ("src/feed/a.rs", "use crate::telemetry::metrics::Metrics;", "metrics"),
        ("src/market/a.rs", "fn f() { todo!() }", "unfinished"),
        ("tests/a.rs", "#[test]\n#[ignore]\nfn f() {}", "unfinished"),
        ("src/feed/session.rs", "use tokio::time::sleep;", "pure"),
        ("src/exchange/kraken.rs", "async fn f() {}", "pure"),
        ("src/transport/nats/window/state.rs", "use std::fs::File;", "pure"),
        ("src/feed/a.rs", "const A: &str = \"Binance\";", "venue name"),
        ("src/app/a.rs", "fn coinbase_only() {}", "venue name"),
        ("src/app/a.rs", &long_line, "columns"),
        ("src/app/a.rs", &long_file, "length"),
        ("src/app/a.rs", &long_function, "function"),
    ];
    for (path, text, rule) in planted {
        let found = violations(&[Code::new(path, &format!("//! A.\n{text}\n"))], &VENUES);
        assert!(found.iter().any(|violation| violation.rule == rule), "{rule} did not find {text:?} in {path}");
        assert!(found.iter().all(|violation| violation.rule == rule), "{text:?} in {path} found {found:?}");
    }
    let bare = violations(&[Code::new("src/feed/a.rs", "use std::fmt;\n")], &VENUES);
    assert!(matches!(&bare[..], [only] if only.rule == "opening"), "{bare:?}");
}

/// What looks like a violation and is none.
#[test]
fn nothing_else_is_found() {
    let long_literal = format!("const A: &str = \"{}\";", "x".repeat(COLUMNS_MAX));
    let fine: [(&str, &str); 18] = [
        ("src/lib.rs", "pub mod cli;\npub use crate::app::serve;"),
        (
            "src/cli/a.rs",
            "use crate::{app, telemetry::metrics};\n/// e.g. binance\nconst A: &str = \"--exchange binance\";",
        ),
        ("src/feed/a.rs", "use crate::exchange::by_name;\nuse super::session::Session;\nuse crate::market::Symbol;"),
        ("src/feed/a.rs", "// crate::app, unsafe, Instant::now, binance\n/* crate::app /* todo!() */ unsafe */"),
        ("src/feed/a.rs", "const A: &str = \"crate::app unsafe todo!() Instant::now \\\" tokio::spawn\";"),
        (
            "src/feed/a.rs",
            "const A: &str = r#\"crate::app \" unsafe\"#;\nconst B: char = '\"';\nconst C: char = '\\'';",
        ),
        ("src/feed/a.rs", "fn f<'a>(a: &'a str, c: char) -> bool { c == 'a' || c == '{' || a.is_empty() }"),
        ("src/feed/a.rs", &long_literal),
        ("src/feed/a.rs", "#[expect(unsafe_code, reason = \"unsafe\")]\nfn unsafely() {}"),
        ("src/feed/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { tokio::spawn(g(\"binance\")); }\n}"),
        ("src/feed/session.rs", "#[cfg(test)]\nmod tests { use super::*; async fn f() { g().await } }"),
        (
            "src/exchange/kraken.rs",
            "use super::{Event, Frame, profile::Pace, trades::Trades, wire};\nuse super::Exchange;",
        ),
        (
            "src/exchange/kraken.rs",
            "mod inner { use super::super::Event; use super::helper; }\nuse crate::market::Decimal;",
        ),
        ("src/exchange/registry.rs", "use super::{binance::Binance, coinbase::Coinbase};"),
        ("src/transport/nats/a.rs", "use super::super::Transport;\nuse crate::transport::TransportStats;"),
        ("src/transport/ipc/a.rs", "fn f() { unsafe { g() } }"),
        ("src/sim/a.rs", "fn f() { std::thread::Builder::new(); }\nconst A: &str = \"coinbase\";"),
        ("src/telemetry/clock.rs", "fn f() { Instant::now(); }"),
    ];
    for (path, text) in fine {
        let found = violations(&[Code::new(path, &format!("//! A.\n{text}\n"))], &VENUES);
        assert!(found.is_empty(), "{text:?} in {path} found {found:?}");
    }
}

#[test]
fn groups_and_supers_are_taken_apart() {
    let file = Code::new("src/feed/deep/a.rs", "use crate::{a::{b, c as d}, e};\nuse super::super::{f::*, g};\n");
    let mut found: Vec<String> = paths(&file).into_iter().map(|(_, path)| path.join("::")).collect();
    found.sort();
    assert_eq!(found, ["a::b", "a::c", "e", "feed::f", "feed::g"]);
}

/// Every Rust file of the crate that people write.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = ["src", "tests", "benches"].iter().map(|name| root.join(name)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
