//! The rules of the house as a table: what is looked for, where it may stand, and why.

use crate::code::{Code, whole_words};

/// The rooms in the order in which data flows. A room imports only from rooms to its right.
pub(crate) const ROOMS: [&str; 11] =
    ["cli", "app", "sim", "feed", "exchange", "source", "transport", "topology", "market", "config", "telemetry"];

/// Longest file, in lines.
pub(crate) const FILE_LINES_MAX: usize = 400;
/// Longest function body, in lines that hold code.
pub(crate) const FUNCTION_LINES_MAX: usize = 60;
/// Longest line, in columns.
pub(crate) const COLUMNS_MAX: usize = 120;

/// Files of the exchange room that are no venue.
const EXCHANGE_SHARED: [&str; 6] = ["history", "mod", "profile", "registry", "trades", "wire"];
/// What a venue may import of its own room; names that `mod.rs` itself defines begin with a capital letter.
const VENUE_IMPORTS: [&str; 4] = ["history", "profile", "trades", "wire"];

/// One finding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// `src/feed/session.rs:12`.
    pub(crate) place: String,
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// What is wrong, and what would be right.
    pub(crate) message: String,
}

/// Words that may stand only in some places.
struct Confined {
    rule: &'static str,
    words: &'static [&'static str],
    /// Path prefixes where they may stand.
    allowed: &'static [&'static str],
    /// Whether test code may use them anyway.
    tests_may: bool,
    why: &'static str,
}

const CONFINED: [Confined; 6] = [
    Confined {
        rule: "unsafe",
        words: &["unsafe"],
        allowed: &["src/transport/ipc/"],
        tests_may: false,
        why: "unsafe code lives in transport/ipc only",
    },
    Confined {
        rule: "clock",
        words: &["SystemTime::now", "Instant::now", "OffsetDateTime::now_utc"],
        allowed: &["src/telemetry/clock.rs", "tests/", "benches/"],
        tests_may: false,
        why: "telemetry::clock is the one place that reads the clock; pure code takes `now`",
    },
    Confined {
        rule: "spawn",
        words: &["tokio::spawn", "spawn_local", "spawn_blocking", "thread::spawn", "thread::Builder"],
        allowed: &["src/app/", "src/sim/"],
        tests_may: true,
        why: "only app (and sim, beside it) starts tasks and threads",
    },
    Confined {
        rule: "bounds",
        words: &["unbounded_channel", "UnboundedSender", "UnboundedReceiver", "mpsc::unbounded"],
        allowed: &[],
        tests_may: false,
        why: "every queue has a bound, and the bound has a name and a unit",
    },
    Confined {
        rule: "metrics",
        words: &["telemetry::metrics", "metrics::counter", "metrics::gauge", "metrics::histogram"],
        allowed: &["src/telemetry/", "src/app/", "src/cli/", "tests/", "benches/"],
        tests_may: false,
        why: "a room keeps plain integers; app copies them to metrics",
    },
    Confined {
        rule: "unfinished",
        words: &["todo!", "unimplemented!", "dbg!", "#[ignore"],
        allowed: &[],
        tests_may: false,
        why: "nothing unfinished, and no test that does not run",
    },
];

/// Code that decides and does no IO: it takes time, bytes and events, and returns actions.
const PURE: [&str; 41] = [
    "src/market/",
    "src/exchange/",
    "src/feed/session",
    "src/feed/sequence",
    "src/feed/backoff",
    "src/feed/audit",
    "src/feed/mend",
    "src/feed/ranges",
    "src/feed/backfill/budget",
    "src/feed/backfill/job",
    "src/feed/backfill/watch",
    "src/app/gate",
    "src/app/registry/entries",
    "src/app/registry/puts",
    "src/cli/top/arrange",
    "src/cli/top/columns",
    "src/cli/top/footer",
    "src/cli/top/keys",
    "src/cli/top/lags",
    "src/cli/top/meter",
    "src/cli/top/model",
    "src/cli/top/screen",
    "src/cli/top/status",
    "src/cli/top/text",
    "src/source/handover/seam",
    "src/transport/nats/durable/order",
    "src/transport/nats/snapshot/content",
    "src/transport/nats/snapshot/expect",
    "src/transport/nats/snapshot/s2",
    "src/transport/nats/window",
    "src/transport/ipc/layout",
    "src/topology/acl",
    "src/topology/audit",
    "src/topology/change",
    "src/topology/model",
    "src/topology/plan",
    "src/topology/rights",
    "src/topology/subject",
    "src/topology/validate",
    "src/topology/wire",
    "src/telemetry/clock",
];

/// What pure code never names.
const IMPURE: [&str; 11] = [
    "tokio",
    "async",
    "await",
    "reqwest",
    "async_nats",
    "tokio_tungstenite",
    "socket2",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
];

/// The venue that a file is about: `binance` of `src/exchange/binance.rs` and of `src/exchange/binance/a.rs`.
pub(crate) fn venue(file: &Code) -> Option<String> {
    let module = file.module();
    let [room, venue, ..] = module.as_slice() else { return None };
    (room == "exchange" && !EXCHANGE_SHARED.contains(&venue.as_str())).then(|| venue.clone())
}

/// Everything that is wrong in these files. `venues` are the names of the venues.
pub(crate) fn violations(files: &[Code], venues: &[&str]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files {
        shape(file, &mut found);
        confined(file, &mut found);
        if file.path.starts_with("src/") {
            imports(file, &mut found);
            pure(file, &mut found);
            venue_names(file, venues, &mut found);
        }
    }
    found
}

/// Opening, length of file, functions and lines.
fn shape(file: &Code, found: &mut Vec<Violation>) {
    if !file.text.starts_with("//!") {
        found.push(at(
            file,
            1,
            "opening",
            "a file opens with `//!`: one sentence of purpose, then what it does not do",
        ));
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(at(file, lines, "length", &format!("{lines} lines; a file has at most {FILE_LINES_MAX}: split it")));
    }
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !file.ends_in_literal(index) {
            let message = format!("{columns} columns; a line has at most {COLUMNS_MAX}");
            found.push(at(file, index + 1, "columns", &message));
        }
    }
    for (byte, name, lines) in file.functions() {
        if lines > FUNCTION_LINES_MAX && !file.in_tests(byte) {
            let message = format!("`{name}` has {lines} lines of code; a function has at most {FUNCTION_LINES_MAX}");
            found.push(at(file, file.line(byte), "function", &message));
        }
    }
}

/// Words outside the places where they may stand.
fn confined(file: &Code, found: &mut Vec<Violation>) {
    for rule in &CONFINED {
        if rule.allowed.iter().any(|prefix| file.path.starts_with(prefix)) {
            continue;
        }
        for word in rule.words {
            for byte in file.find(word) {
                if !(rule.tests_may && file.in_tests(byte)) {
                    let message = format!("`{word}`: {}", rule.why);
                    found.push(at(file, file.line(byte), rule.rule, &message));
                }
            }
        }
    }
}

/// Pure code that names a runtime, a socket, a file.
fn pure(file: &Code, found: &mut Vec<Violation>) {
    if !PURE.iter().any(|prefix| file.path.starts_with(prefix)) {
        return;
    }
    for word in IMPURE {
        for byte in file.find(word) {
            if !file.in_tests(byte) {
                let message = format!("`{word}` in pure code: it takes time, bytes and events, and returns actions");
                found.push(at(file, file.line(byte), "pure", &message));
            }
        }
    }
}

/// A venue's name outside the rooms that know venues. Comments may give examples; so may the help texts of cli.
fn venue_names(file: &Code, venues: &[&str], found: &mut Vec<Violation>) {
    let knows = ["src/exchange/", "src/sim/", "src/cli/"].iter().any(|prefix| file.path.starts_with(prefix));
    if knows {
        return;
    }
    let text = file.bare.to_ascii_lowercase();
    for venue in venues {
        for byte in text.match_indices(venue).map(|(byte, _)| byte).filter(|byte| !file.in_tests(*byte)) {
            let message = format!("`{venue}`: a venue's name stands only in exchange/ and sim/; ask the registry");
            found.push(at(file, file.line(byte), "venue name", &message));
        }
    }
}

/// Imports against the direction of the house, between siblings of transport, and of venues.
fn imports(file: &Code, found: &mut Vec<Violation>) {
    for (byte, path) in paths(file) {
        if let Some(message) = refused(&file.module(), &path) {
            found.push(at(file, file.line(byte), "import", &message));
        }
    }
}

/// Why a module may not name this path; `None` where it may.
fn refused(module: &[String], path: &[String]) -> Option<String> {
    let own = module.first()?; // lib.rs and main.rs may name every room
    let target = path.first()?;
    let rank = |room: &str| ROOMS.iter().position(|name| *name == room);
    let Some(target_rank) = rank(target) else {
        return Some(format!("`crate::{target}` is no room; the rooms are {}", ROOMS.join(", ")));
    };
    let Some(own_rank) = rank(own) else {
        return Some(format!("`{own}` is no room; the rooms are {}", ROOMS.join(", ")));
    };
    if target_rank < own_rank {
        return Some(format!("{own} imports from {target}: imports go one way, {}", ROOMS.join(" -> ")));
    }
    let second = path.get(1).map(String::as_str);
    match (own.as_str(), module.get(1).map(String::as_str)) {
        ("transport", Some(mine @ ("ipc" | "nats"))) if target == "transport" => {
            let sibling = if mine == "ipc" { "nats" } else { "ipc" };
            (second == Some(sibling)).then(|| format!("transport/{mine} imports from its sibling {sibling}"))
        }
        ("exchange", Some(venue)) if !EXCHANGE_SHARED.contains(&venue) => venue_refused(venue, target, second),
        _ => None,
    }
}

/// Why a venue may not name this path.
fn venue_refused(venue: &str, target: &str, second: Option<&str>) -> Option<String> {
    let fine = match (target, second) {
        ("market", _) => true,
        ("exchange", Some(name)) => {
            name == venue
                || name == "*"
                || name == "self"
                || VENUE_IMPORTS.contains(&name)
                || name.starts_with(char::is_uppercase)
        }
        ("exchange", None) => true,
        _ => false,
    };
    (!fine).then(|| {
        let path = second.map_or_else(|| target.to_owned(), |second| format!("{target}::{second}"));
        format!("venue {venue} names {path}: a venue knows the nouns of exchange and market, and no other venue")
    })
}

/// Every path within the crate that a file names, from the crate's root, with its byte.
pub(crate) fn paths(file: &Code) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for byte in whole_words(&file.code, "crate") {
        if file.code.get(byte + 5..).is_some_and(|rest| rest.starts_with("::")) && !preceded(file, byte) {
            expand(file.code.get(byte + 7..).unwrap_or(""), &[], byte, &mut found);
        }
    }
    for byte in whole_words(&file.code, "super") {
        if preceded(file, byte) {
            continue; // the second of `super::super`, taken with the first
        }
        let mut base = file.module_at(byte);
        let mut rest = file.code.get(byte..).unwrap_or("");
        while let Some(behind) = rest.strip_prefix("super::") {
            base.pop();
            rest = behind;
        }
        expand(rest, &base, byte, &mut found);
    }
    found
}

/// Whether `::` stands in front of a byte.
fn preceded(file: &Code, byte: usize) -> bool {
    file.code.get(..byte).is_some_and(|before| before.trim_end().ends_with("::"))
}

/// Adds the paths that `rest` spells behind `base`, groups taken apart, down to two names: more is not asked for.
fn expand(rest: &str, base: &[String], byte: usize, found: &mut Vec<(usize, Vec<String>)>) {
    let rest = rest.trim_start();
    if base.len() >= 2 {
        found.push((byte, base.to_vec()));
        return;
    }
    if let Some(group) = rest.strip_prefix('{') {
        for member in members(group) {
            expand(member, base, byte, found);
        }
        return;
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*').collect();
    let mut path = base.to_vec();
    if !name.is_empty() {
        path.push(name.clone());
    }
    match rest.get(name.len()..).and_then(|behind| behind.strip_prefix("::")) {
        Some(behind) => expand(behind, &path, byte, found),
        None => found.push((byte, path)),
    }
}

/// The members of a use group, its opening brace already taken.
fn members(group: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' | b'}' if depth == 0 => {
                let member = group.get(start..index).unwrap_or("").trim();
                if !member.is_empty() {
                    out.push(member);
                }
                start = index + 1;
                if byte == b'}' {
                    break;
                }
            }
            _ => {}
        }
    }
    out
}

fn at(file: &Code, line: usize, rule: &'static str, message: &str) -> Violation {
    Violation { place: format!("{}:{line}", file.path), rule, message: message.to_owned() }
}
